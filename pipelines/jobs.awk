# SPDX-License-Identifier: MIT
# What the file of job.sh says: of a `target` that was just done, a line for people; else, of the whole
# folder, lines for status.awk:
#
#   jobs DONE TOTAL LEFT IS_UNKNOWN     LEFT: seconds, where one job runs at a time
#   runs TARGET SECONDS                 so far
#
# The second file, then, has `todo` lines of what there is to do now, the third all that there ever was.
function duration(s) {
    return s < 100 ? sprintf("%.1fs", s) : s < 6000 ? sprintf("%dm%02ds", s / 60, s % 60) : sprintf("%dh%02dm", s / 3600, s / 60 % 60)
}
FNR == 1 { file++ }
!NF { next }
file == 3 { total++; next }
file == 2 { todo[$2]++; left_of[$3] = 1; n_left++; next }
$1 == "start" { start = $2; end = $2 }
$1 == "was" { did[$2]++; sum[$2] += $4 }
$1 == "todo" && target != "" { n++; todo[$2]++ }
$1 == "run" { since[$3] = $4; kind_of[$3] = $2 }
$1 == "done" && !mine {
    k++; todo[$2] -= target != ""; did[$2]++; sum[$2] += $4; all += $4; end = $5
    delete since[$3]
    if ($3 == target)
        mine = $4
}
# Time left: of every kind that is still to do, as many as there are at the mean of those that are
# done. A kind of which none is done is unknown, but the last episodes, which are as the others; and
# the small ones, which do not count, embed-set among them: validation records, and pools of a
# method's own, which are no measure of the pool, nor it of them.
function time_left(    kind, as, left) {
    for (kind in todo) {
        if (todo[kind] <= 0)
            continue
        as = kind == "last" && !did[kind] ? "episode" : kind == "episode" && !did[kind] ? "last" : kind
        if (did[as])
            left += todo[kind] * sum[as] / did[as]
        else if (as ~ /^(embed|episode|last|eval)$/)
            is_unknown = 1
    }
    return left
}
END {
    side = end > start ? all / (end - start) : 1
    if (side < 1)
        side = 1
    left = time_left()
    if (target == "") {
        for (t in since)
            if (is_at_work && t in left_of) {
                print "runs", t, now - since[t]
                kind = kind_of[t]
                done_of_it = did[kind] ? now - since[t] : 0
                left -= did[kind] && done_of_it > sum[kind] / did[kind] ? sum[kind] / did[kind] : done_of_it
            }
        print "jobs", total - n_left, total, left + 0, is_unknown + 0
        exit
    }
    if (n < k)
        n = k
    printf "%d of %d: %s, %s%s\n", k, n, substr(target, length(folder) + 2), duration(mine), \
        k < n && !is_unknown ? sprintf("; about %s left", duration(left / side)) : ""
}
