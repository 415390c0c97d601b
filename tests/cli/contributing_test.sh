#!/bin/bash
# Applies the worked examples of CONTRIBUTING.md to a copy of the source tree, compiles what they
# touch, links it with the libraries of this build, and runs what they add.
# Usage: contributing_test.sh SOURCE_DIR BUILD_DIR
set -euo pipefail
source=$(realpath "$1")
build=$(realpath "$2")
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT

fail() {
  echo "contributing_test: $*" >&2
  exit 1
}

cp -r "$source"/{lib,tasks,tests,apps,experiments} "$copy"
awk '/^```diff$/ {inside = 1; next} /^```$/ {inside = 0} inside' "$source/CONTRIBUTING.md" > "$copy/examples.diff"
GIT_CEILING_DIRECTORIES=$(dirname "$copy") git -C "$copy" apply --unidiff-zero --ignore-whitespace examples.diff ||
  fail "a diff does not apply"

# The command that compiles FILE, taken from that of SIBLING in the same library.
compile() {
  local file=$1 sibling=$2 object=$3 command
  command=$(ninja -C "$build" -t commands "$sibling" | tail -1)
  [ -n "$command" ] || fail "ninja knows no command for $sibling"
  # Headers and source from the copy; everything else as in the build.
  command=${command//-I$source /-I$copy }
  command=$(sed -E "s#-c [^ ]+\.cpp#-c $copy/$file#; s#-o [^ ]+\.o#-o $object#; s#-MF [^ ]+#-MF $object.d#; s#-MT [^ ]+##" <<< "$command")
  (cd "$build" && eval "$command") || fail "$file does not compile"
}

attention=lib/attention/CMakeFiles/mta_attention.dir
tasks=tasks/CMakeFiles/mta_tasks.dir
compile lib/attention/variants/distance_bias.cpp $attention/registry.cpp.o "$copy/distance_bias.o"
compile lib/attention/registry.cpp $attention/registry.cpp.o "$copy/variants.o"
compile tasks/reverse.cpp $tasks/registry.cpp.o "$copy/reverse.o"
compile tasks/registry.cpp $tasks/registry.cpp.o "$copy/tasks.o"

# Links TARGET anew: objects that stand before the libraries win over the libraries' own.
link() {
  local target=$1 output=$2 objects=$3 command
  command=$(ninja -C "$build" -t commands "$target" | tail -1)
  command=$(sed -E "s#-o [^ ]+#$objects -o $output#" <<< "$command")
  (cd "$build" && eval "$command") || fail "$target does not link"
}

variants="$copy/distance_bias.o $copy/variants.o"
link mta "$copy/mta" "$variants $copy/reverse.o $copy/tasks.o"
mta=$copy/mta

"$mta" list variants | grep -q '^distance_bias ' || fail "the variant is not listed"
"$mta" list tasks | grep -q '^reverse ' || fail "the task is not listed"
"$mta" generate reverse --set letters=5 --count 3 > "$copy/samples.jsonl"
[ "$(wc -l < "$copy/samples.jsonl")" = 3 ] || fail "generate did not write 3 samples"

tiny="--set /train/steps=4 --set /train/batch=4 --set /evaluate/samples=8 --set /model/dim=16 --set /model/heads=2 --progress none"
cd "$copy"
# shellcheck disable=SC2086
"$mta" train experiments/demo/standard.json --set /attention/variant=distance_bias --out bias $tiny > /dev/null
# shellcheck disable=SC2086
"$mta" train experiments/demo/standard.json --set '/task={"kind": "reverse"}' --out reverse $tiny > /dev/null
grep -q '"status": "done"' bias/report.json reverse/report.json || fail "a run did not end"

# The new variant goes through the tests that hold for all variants.
link attention_test "$copy/attention_test" "$variants"
(cd "$source" && "$copy/attention_test" --gtest_filter='*/distance_bias' | tee "$copy/tests.log") ||
  fail "the variant breaks a test that holds for all"
grep -q 'PASSED.* [1-9][0-9]* tests' "$copy/tests.log" || fail "no test runs the variant"
echo "contributing_test: both examples work"
