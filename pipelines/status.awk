# SPDX-License-Identifier: MIT
# Lines of jobs.awk, of one folder or of several -> how far that is, what runs, and when it will be over.
function duration(s) {
    return s < 100 ? sprintf("%.0f s", s) : s < 6000 ? sprintf("%d min", s / 60 + 0.5) : sprintf("%d h %02d min", s / 3600, s / 60 % 60)
}
$1 == "runs" { running = running (n++ ? ", " : "") $2 " (" duration($3) " so far)" }
$1 == "jobs" { done += $2; total += $3; left += $4; is_unknown += $5 }
END {
    printf "%d of %d jobs are done", done, total
    if (done >= total) {
        print "."
        exit
    }
    print n ? ". " (n == 1 ? "One runs: " : n " run: ") running "." : "; none runs."
    left /= n > 1 ? n : 1
    if (is_unknown)
        print "How long the rest will take is not known before one job of each kind is done."
    else
        print "The rest takes about " duration(left) ", by the times of those that are done" \
            (n ? ": until " clock(left) "." : ".")
}
function clock(s,    line, command) {
    command = "date -d '+" int(s) " seconds' '+%Y-%m-%d %H:%M'"
    command | getline line
    close(command)
    return line
}
