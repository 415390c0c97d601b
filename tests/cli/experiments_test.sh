#!/bin/bash
# Every published experiment: its README gives the command, its sweeps are valid; and the demo is run
# and published, at a tiny size, in a copy of the tree.
# Usage: experiments_test.sh SOURCE_DIR MTA_PROGRAM
set -euo pipefail
source=$(realpath "$1")
export MTA=$(realpath "$2")
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT

fail() {
  echo "experiments_test: $*" >&2
  exit 1
}

cd "$source"
for folder in experiments/*/; do
  [ -e "${folder}sweep.json" ] || fail "$folder has no sweep.json"
  grep -q "^mta sweep ${folder}sweep.json " "${folder}README.md" || fail "${folder}README.md does not give its command"
  grep -qi 'device' "${folder}README.md" || fail "${folder}README.md names no device"
  for sweep in "$folder"*sweep.json; do
    "$MTA" sweep "$sweep" --out "$copy/nothing" --dry-run >/dev/null || fail "$sweep is refused"
  done
done

if ! command -v gnuplot >/dev/null; then
  echo "experiments_test: no gnuplot: the demo is not tested"
  exit 0
fi
cp -r scripts experiments "$copy"
mkdir "$copy/results"
cd "$copy"
echo '{"experiments": ["experiments/demo/standard.json", "experiments/demo/multi_token.json"],
  "set": {"/train/steps": 2, "/evaluate/every": 1, "/evaluate/samples": 8}, "seeds": [1, 2]}' >tiny.json
said=$(scripts/demo tiny.json runs/tiny 2>/dev/null) || fail "the demo ended with $?"
for part in '| multi_token |  2 |' 'Seen: no variant got below' 'Picture:  runs/tiny/curves.svg' 'Maps:     runs/tiny/maps/index.html'; do
  [[ $said == *"$part"* ]] || fail "the demo does not say \"$part\": $said"
done
[ -s runs/tiny/curves.svg ] && [ -s runs/tiny/maps/index.html ] || fail "the demo left no picture or no page"
scripts/results --add runs/tiny demo >/dev/null
expected="bars.svg curves.svg multi_token-seed1.json multi_token-seed2.json standard-seed1.json standard-seed2.json steps.svg table.md"
[ "$(ls results/demo | paste -sd' ')" = "$expected" ] || fail "results/demo holds: $(ls results/demo)"
grep -q '^| standard *|  2 |' results/demo/table.md || fail "the table: $(cat results/demo/table.md)"
scripts/results --check >/dev/null || fail "making results again changes them"
sed -i 's/"err_seq": [0-9.]*/"err_seq": 0.125/' results/demo/standard-seed1.json
if scripts/results --check >/dev/null 2>&1; then fail "a changed report passes for unchanged"; fi
if scripts/results --add runs/tiny dmo 2>message; then fail "an unknown experiment is accepted"; fi
grep -q 'experiments/dmo: no such folder' message || fail "it says: $(cat message)"
echo "experiments_test: every experiment is whole; the demo was run and published"
