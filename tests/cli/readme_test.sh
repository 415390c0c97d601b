#!/bin/bash
# Runs every command of README.md's section "The program" in a scratch folder, and compares the
# outputs that the README shows with what the program says now.
# Usage: readme_test.sh SOURCE_DIR MTA_PROGRAM
set -euo pipefail
source=$(realpath "$1")
program=$(realpath "$2")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
ln -s "$source"/{experiments,tests,results,scripts} .
mkdir bin && ln -s "$program" bin/mta
export PATH=$scratch/bin:$PATH

fail() {
  echo "readme_test: $*" >&2
  exit 1
}

# The first code block after the heading.
awk '/^## The program$/ {section = 1} section && /^```/ {if (inside) exit; inside = 1; next} inside' \
  "$source/README.md" > commands
[ -s commands ] || fail "no commands found"
while read -r command; do
  if [[ $command == "mta plot"* ]] && ! command -v gnuplot >/dev/null; then
    echo "skipped, as there is no gnuplot: $command"
    continue
  fi
  bash -c "$command" > out 2> err < /dev/null || fail "\"$command\" ended with $?: $(tail -3 err)"
  echo "ok: $command"
done < commands

# A block after "<!-- run: COMMAND -->" shows the output of COMMAND, errors included.
shown=0
while IFS= read -r line; do
  case $line in
    '<!-- run: '*) command=${line#'<!-- run: '}; command=${command%' -->'}; shown=$((shown + 1))
      awk -v start="$line" '$0 == start {found = 1; next} found && /^```/ {if (inside) exit; inside = 1; next} inside' \
        "$source/README.md" > expected
      bash -c "$command" > actual 2>&1 < /dev/null || true
      diff -u expected actual || fail "the README shows something else for \"$command\"" ;;
  esac
done < "$source/README.md"
[ "$shown" -gt 0 ] || fail "no output to compare found"

# Every folder of the map and every link leads somewhere.
(grep '^|' "$source/README.md" | grep -oE '`[a-z_]+/([a-z_]+/)*`'
 grep -oE '\]\([A-Za-z0-9_/.-]+\)' "$source/README.md") | tr -d '`()]' | sort -u | while read -r path; do
  [ -e "$source/$path" ] || fail "$path does not exist"
done
echo "readme_test: $(wc -l < commands) commands run, $shown outputs compared"
