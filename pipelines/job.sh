#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# One job of a pipeline: job.sh JOBS KIND TARGET COMMAND... runs the command, and when it ended well
# says so in one line: which of how many that was, how long it took, and about how long the rest will.
#
# JOBS is a file of the run, which the make that holds the lock begins with the jobs that there are
# to do (`job.sh JOBS begin GPU ...` reads them out of make -n), and which grows by a line a finished job:
#
#     start TIME GPU ...
#     was KIND TARGET SECONDS TIME      done under an earlier make
#     todo KIND TARGET
#     run KIND TARGET TIME
#     done KIND TARGET SECONDS TIME
#
# and with it OUT/times.csv, which is kept: a row a finished job, its seconds, and what its program told
# of itself (CPU seconds, peak bytes). Without the file of jobs nothing is said. `job.sh JOBS status MAKE ...`
# says how far the folder is. GPU ... are those that jobs side by side share out; a job has
# one of them (CUDA_VISIBLE_DEVICES) as long as nobody else has it, and any where all are taken.
set -euo pipefail
LC_ALL=C
jobs=$1
if [ "$2" = begin ]; then
    shift 2
    was=$(sed -n 's/^\(was\|done\) /was /p' "$jobs" 2>/dev/null) || was=
    {
        echo "start $EPOCHREALTIME $*"
        [ -z "$was" ] || printf '%s\n' "$was"
        sed -n 's/^bash [^ ]*job\.sh [^ ]* \([a-z-]*\) \([^ ]*\) .*/todo \1 \2/p'
    } >"$jobs"
    exit 0
fi
if [ "$2" = status ]; then # make...: how far the folder is, for status.awk
    shift 2
    list=$(mktemp -d)
    trap 'rm -rf "$list"' EXIT
    is_at_work=0
    [ ! -e "${jobs%/*}/.lock" ] || flock -n "${jobs%/*}/.lock" true || is_at_work=1
    [ ! -e "$jobs" ] || cp "$jobs" "$list/jobs"
    echo >>"$list/jobs"
    for which in left all; do
        how=n && [ $which = left ] || how=Bn
        "$@" -$how run >"$list/said"
        sed -n 's/^bash [^ ]*job\.sh [^ ]* \([a-z-]*\) \([^ ]*\) .*/todo \1 \2/p' "$list/said" >"$list/$which"
        [ -s "$list/$which" ] || echo >"$list/$which"
    done
    awk -v is_at_work=$is_at_work -v now="$EPOCHREALTIME" -f "${0%/*}/jobs.awk" "$list/jobs" "$list/left" "$list/all"
    exit 0
fi
kind=$2 target=$3
shift 3
export RAISE_JOB=1

take_gpu() { # gpu...
    local gpu lock
    [ $# -gt 1 ] || return 0
    for gpu; do
        exec {lock}>"$jobs.gpu.$gpu"
        if flock -n "$lock"; then
            export CUDA_VISIBLE_DEVICES=$gpu
            return
        fi
        exec {lock}>&-
    done
    shift $((RANDOM % $#))
    export CUDA_VISIBLE_DEVICES=$1
}
case $kind in
embed | embed-set | episode | last | eval)
    gpus=$(sed -n '1s/^start [^ ]* *//p' "$jobs" 2>/dev/null) || gpus=
    # shellcheck disable=SC2086
    take_gpu $gpus
    ;;
esac

export RAISE_SPENT=${jobs%/*}/.spent.$$
trap 'rm -f "$RAISE_SPENT"' EXIT
keep_times() { # seconds
    local times=${jobs%/*}/times.csv spent lock
    spent=$(tail -n 1 "$RAISE_SPENT" 2>/dev/null | cut -d, -f3,4) || spent=,
    exec {lock}>>"$times"
    flock "$lock"
    [ -s "$times" ] || echo kind,target,seconds,cpu_seconds,peak_bytes >>"$times"
    echo "$kind,$target,$1,$spent" >>"$times"
    exec {lock}>&-
}

# Who ends this script ends the command.
began=$EPOCHREALTIME
[ ! -e "$jobs" ] || echo "run $kind $target $began" >>"$jobs"
if [ -n "$(command -v setpriv)" ]; then setpriv --pdeathsig TERM bash -c '"$@"' job "$@"; else "$@"; fi
now=$EPOCHREALTIME
seconds=$(awk -v a="$began" -v b="$now" 'BEGIN { printf "%.3f", b - a }')
keep_times "$seconds"
[ -e "$jobs" ] || exit 0
echo "done $kind $target $seconds $now" >>"$jobs"

# Time left: of every kind that is still to do, as many as there are at the mean of those that are
# done, over as many as ran side by side so far. A kind of which none is done is unknown, but the last
# episodes, which are as the others; and the small ones, which do not count.
awk -v target="$target" -v folder="${jobs%/*}" -f "${0%/*}/jobs.awk" "$jobs" >&2
