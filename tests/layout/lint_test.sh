#!/bin/bash
# Lints a scratch tree with planted faults: scripts/lint must name the file and line of each, in
# whatever unit it stands, and nothing else; and lint again what changed, but only that.
# Usage: lint_test.sh ROOT; exits with 77 where the clang-tidy of scripts/check is not installed.
set -euo pipefail
root=$(realpath "$1")
# shellcheck source=scripts/pins.sh
source "$root/scripts/pins.sh"
tidy=clang-tidy-$clang_tidy_version
command -v "$tidy" >/dev/null || {
  echo "lint_test: no $tidy"
  exit 77
}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
mkdir -p scripts lib/core build
cp "$root/scripts/lint" scripts/
cp "$root/.clang-tidy" .

fail() {
  echo "lint_test: $*" >&2
  exit 1
}

write() { # FILE LINE...
  printf '%s\n' "${@:2}" >"$1"
}

# Builds what is in lib/core, as CMake's Ninja files do.
build() {
  local source name commands=()
  cat >build/build.ninja <<'END'
rule cxx
  command = g++ -std=c++20 -I.. -MD -MF $out.d -c $in -o $out
  depfile = $out.d
  deps = gcc
END
  for source in lib/core/*.cpp; do
    name=$(basename "$source" .cpp)
    echo "build $name.o: cxx ../$source" >>build/build.ninja
    commands+=("{\"directory\": \"$scratch/build\", \"file\": \"$scratch/$source\",
      \"command\": \"g++ -std=c++20 -I$scratch -o $name.o -c $scratch/$source\"}")
  done
  (IFS=,; echo "[${commands[*]}]") >build/compile_commands.json
  ninja -C build >build/log || fail "the scratch tree does not compile: $(cat build/log)"
}

# expect CODE FINDING...: lint ends so and finds these places and no other.
expect() {
  local code=0 wanted
  build
  scripts/lint "$tidy" >out 2>&1 || code=$?
  [ "$code" = "$1" ] || fail "exit code $code, expected $1: $(cat out)"
  wanted=$(printf '%s\n' "${@:2}" | sort)
  [ "$(grep -oE '^lib/[^:]+:[0-9]+' out | sort -u)" = "$wanted" ] || fail "expected $wanted, found: $(cat out)"
}

# said TEXT: the last lint printed it.
said() { grep -qF "$1" out || fail "\"$1\" expected in: $(cat out)"; }

header='#include "lib/core/shared.h"'
write lib/core/shared.h '#pragma once' 'inline int twice(int x) { return 2 * x; }'
for name in a b c d; do
  write "lib/core/$name.cpp" "$header" "int of_$name() { return twice(1); }"
done
# The same name twice is no mistake in two files.
for name in e f; do
  write "lib/core/$name.cpp" "$header" 'static int hidden() { return twice(2); }' "int of_$name() { return hidden(); }"
done
expect 0
said 'lint: 6 files in 2 units'
expect 0
[ ! -s out ] || fail "what passed is linted again: $(cat out)"

write lib/core/b.cpp "$header" '' 'int* of_b() { return 0; }'
write lib/core/e.cpp "$header" 'static int hidden() { return twice(2); }' 'int OfE() { return hidden(); }'
expect 1 lib/core/b.cpp:3 lib/core/e.cpp:3
said 'modernize-use-nullptr'
said 'readability-identifier-naming'
said '2 files did not pass'
expect 1 lib/core/b.cpp:3 lib/core/e.cpp:3 # a finding leaves no stamp

write lib/core/b.cpp "$header" '' 'int* of_b() { return nullptr; }'
write lib/core/e.cpp "$header" 'static int hidden() { return twice(2); }' 'int of_e() { return hidden(); }'
expect 0
said 'lint: 2 files in 1 units'

# What includes a header is linted again with it.
write lib/core/shared.h '#pragma once' 'inline int twice(int x) { return 2 * x; }' 'inline int* none() { return 0; }'
expect 1 lib/core/shared.h:3
said 'lint: 6 files in 2 units'
said '6 files did not pass'

if scripts/lint clang-tidy-none >out 2>&1; then fail "a clang-tidy that is not there is no error"; fi
said 'no clang-tidy-none'
echo "lint_test: passed"
