#!/bin/bash
#SBATCH --job-name=mta-sweep
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@120
# A sweep as a Slurm job array: each job runs every n-th point. From the top of the source tree:
#
#   sbatch --array=1-8 [--gres=gpu:1] [--time=...] scripts/sweep-slurm.sh SWEEP.json OUT [FLAG ...]
#
# FLAG is passed on to `mta sweep` (--jobs, --retries, ...). Two minutes before the time is up, and
# when the job is preempted, the runs save a checkpoint, and the job goes back to the queue; it
# then goes on where it was. OUT must be on a file system that all nodes share.
set -euo pipefail

fail() {
  echo "sweep-slurm: error: $*" >&2
  exit 2
}

[ $# -ge 2 ] || fail "usage: sbatch --array=1-N scripts/sweep-slurm.sh SWEEP.json OUT [FLAG ...]"
[ -n "${SLURM_ARRAY_TASK_ID:-}" ] || fail "not in a job array: submit it with sbatch --array=1-N"
[ "${SLURM_ARRAY_TASK_STEP:-1}" = 1 ] || fail "the array must count in steps of 1"
sweep=$1
out=$2
shift 2
mta=${MTA:-build/mta} # sbatch copies this script elsewhere: the folder it was called from counts
[ -x "$mta" ] || fail "$mta: no such program: run make build, submit from there, or set MTA"
part=$((SLURM_ARRAY_TASK_ID - ${SLURM_ARRAY_TASK_MIN:-1} + 1))

# `wait` ends when a signal comes, so the sweep runs in the background. It is told once, as a second
# signal kills its runs before they have saved; a signal that comes while it starts is passed on then.
preempted=no
told=no
child=
stop() {
  preempted=yes
  if [ -n "$child" ] && [ "$told" = no ]; then
    told=yes
    kill -TERM "$child" 2>/dev/null || true
  fi
}
trap stop TERM
"$mta" sweep "$sweep" --out "$out" --shard "$part/$SLURM_ARRAY_TASK_COUNT" --progress plain "$@" &
child=$!
if [ "$preempted" = yes ]; then stop; fi
while kill -0 "$child" 2>/dev/null; do wait "$child" || true; done # until the runs have saved
code=0
wait "$child" || code=$?
if [ "$preempted" = yes ] && [ "$code" != 0 ]; then
  echo "sweep-slurm: interrupted: back to the queue" >&2
  # A job that Slurm itself is putting back refuses this, and that is fine.
  scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID" || true
fi
exit "$code"
