#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# One job of a pipeline: job.sh JOBS KIND TARGET COMMAND... runs the command, and when it ended well
# says so in one line: which of how many that was, how long it took, and about how long the rest will.
#
# JOBS is a file of the run, which the make that holds the lock begins with the jobs that there are
# to do (`job.sh JOBS begin GPU ...` reads them out of make -n), and which grows by a line a finished job:
#
#     start TIME GPU ...
#     todo KIND TARGET
#     done KIND TARGET SECONDS TIME
#
# and with it OUT/times.csv, which is kept: a row a finished job, its seconds, and what its program told
# of itself (CPU seconds, peak bytes). Without the file of jobs nothing is said. GPU ... are those that jobs side by side share out; a job has
# one of them (CUDA_VISIBLE_DEVICES) as long as nobody else has it, and any where all are taken.
set -euo pipefail
LC_ALL=C
jobs=$1
if [ "$2" = begin ]; then
    shift 2
    {
        echo "start $EPOCHREALTIME $*"
        sed -n 's/^bash [^ ]*job\.sh [^ ]* \([a-z]*\) \([^ ]*\) .*/todo \1 \2/p'
    } >"$jobs"
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
embed | episode | last | eval)
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
if [ -n "$(command -v setpriv)" ]; then setpriv --pdeathsig TERM bash -c '"$@"' job "$@"; else "$@"; fi
now=$EPOCHREALTIME
seconds=$(awk -v a="$began" -v b="$now" 'BEGIN { printf "%.3f", b - a }')
keep_times "$seconds"
[ -e "$jobs" ] || exit 0
echo "done $kind $target $seconds $now" >>"$jobs"

# Time left: of every kind that is still to do, as many as there are at the mean of those that are
# done, over as many as ran side by side so far. A kind of which none is done is unknown, but the last
# episodes, which are as the others; and the small ones, which do not count.
line=$(awk -v target="$target" -v folder="${jobs%/*}" '
function duration(s) {
    return s < 100 ? sprintf("%.1fs", s) : s < 6000 ? sprintf("%dm%02ds", s / 60, s % 60) : sprintf("%dh%02dm", s / 3600, s / 60 % 60)
}
$1 == "start" { start = $2 }
$1 == "todo" { n++; todo[$2]++ }
$1 == "done" && !mine {
    k++; todo[$2]--; did[$2]++; sum[$2] += $4; all += $4; end = $5
    if ($3 == target) mine = $4
}
END {
    side = end > start ? all / (end - start) : 1
    if (side < 1) side = 1
    for (kind in todo) {
        if (todo[kind] <= 0) continue
        as = kind == "last" && !did[kind] ? "episode" : kind == "episode" && !did[kind] ? "last" : kind
        if (did[as]) left += todo[kind] * sum[as] / did[as]
        else if (as ~ /^(embed|episode|last|eval)$/) is_unknown = 1
    }
    if (n < k) n = k
    printf "%d of %d: %s, %s", k, n, substr(target, length(folder) + 2), duration(mine)
    if (k < n && !is_unknown) printf "; about %s left", duration(left / side)
}' "$jobs")
printf '%s\n' "$line" >&2
