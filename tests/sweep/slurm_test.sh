#!/bin/bash
# scripts/sweep-slurm.sh with a program and a scontrol that only write down how they are called, and
# then with the real program, preempted and put back.
# Usage: slurm_test.sh SOURCE_DIR MTA_PROGRAM
set -euo pipefail
script=$1/scripts/sweep-slurm.sh
program=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

fail() {
  echo "slurm_test: $*" >&2
  exit 1
}

# Ends with the code in the file `code`; as a sweep does, with 1 when it is interrupted, once its runs
# have saved.
cat >mta <<'END'
#!/bin/bash
trap 'echo stopped >>calls; sleep 0.5; echo saved >>calls; exit 1' TERM
echo "mta $*" >>calls
for _ in $(seq "$(cat turns)"); do sleep 0.05; done
exit "$(cat code)"
END
printf '#!/bin/bash\necho "scontrol $*" >>calls\n' >scontrol
chmod +x mta scontrol
export PATH=$work:$PATH MTA=$work/mta

# An array 5-8: its third job is part 3 of 4.
export SLURM_ARRAY_JOB_ID=77 SLURM_ARRAY_TASK_ID=7 SLURM_ARRAY_TASK_MIN=5 SLURM_ARRAY_TASK_COUNT=4

run() { # turns code
  echo "$1" >turns
  echo "$2" >code
  : >calls
  code=0
  "$script" s.json out --retries 2 2>messages || code=$?
}

run 0 0
[ "$code" = 0 ] || fail "a sweep that is done gives $code"
[ "$(cat calls)" = "mta sweep s.json --out out --shard 3/4 --progress plain --retries 2" ] ||
  fail "called: $(cat calls)"

run 0 3
[ "$code" = 3 ] || fail "a sweep with failures gives $code"
if grep -q scontrol calls; then fail "a failure goes back to the queue"; fi

interrupt() { # by a signal as soon as the sweep runs, whose parent may not know its number yet; then again
  echo 200 >turns
  : >calls
  "$script" s.json out 2>messages &
  job=$!
  until grep -q sweep calls; do sleep 0.05; done
  kill -TERM "$job"
  until grep -q stopped calls; do sleep 0.05; done
  kill -TERM "$job"
  code=0
  wait "$job" || code=$?
  [ "$code" = 1 ] || fail "an interrupted sweep gives $code"
  [ "$(tail -n 3 calls)" = $'stopped\nsaved\nscontrol requeue 77_7' ] || fail "called: $(cat calls)"
}

interrupt
echo "trap 'case \$BASH_COMMAND in child=*) sleep 0.5 ;; esac' DEBUG" >slow_parent
BASH_ENV=$work/slow_parent interrupt

# The real program in an array 1-2: the first job is preempted and comes back.
cat >e.json <<'END'
{"name": "e", "task": {"kind": "block_finding", "block_length": 2, "query_length": 1, "alphabet": 10,
 "length": 15}, "model": {"dim": 16, "layers": 1, "heads": 2, "ffn_hidden": 32},
 "train": {"steps": 3000, "batch": 8, "threads": 1}, "evaluate": {"every": 1000, "samples": 32}}
END
echo '{"experiments": ["e.json"], "seeds": [1, 2]}' >s.json
export MTA=$program SLURM_ARRAY_TASK_MIN=1 SLURM_ARRAY_TASK_COUNT=2 SLURM_ARRAY_TASK_ID=1
: >calls
"$script" s.json out 2>messages >/dev/null &
job=$!
until [ -s out/e-seed1/metrics.jsonl ]; do sleep 0.02; done
kill -TERM "$job"
code=0
wait "$job" || code=$?
[ "$code" = 1 ] || fail "a preempted job gives $code: $(cat messages)"
[ "$(cat calls)" = "scontrol requeue 77_1" ] || fail "called: $(cat calls)"
grep -q '"status": "stopped"' out/e-seed1/report.json || fail "it has not stopped: $(cat messages)"
: >calls
for SLURM_ARRAY_TASK_ID in 1 2; do
  "$script" s.json out 2>>messages >table || fail "job $SLURM_ARRAY_TASK_ID: $(cat messages)"
done
grep -q 'resumed    e-seed1' messages || fail "it began anew: $(cat messages)"
grep -q '^| e    |  2 |' table || fail "the table: $(cat table)"
[ ! -s calls ] || fail "called: $(cat calls)"

export MTA=$work/mta
unset SLURM_ARRAY_TASK_ID
run 0 0
[ "$code" = 2 ] && grep -q 'not in a job array' messages || fail "outside of an array: $(cat messages)"
