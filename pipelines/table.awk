# SPDX-License-Identifier: MIT
# table.csv -> mean and standard deviation over seeds, best last; then in words which was best, and
# by how much. After results.awk.
END {
    if (is_bad)
        exit 1
    printf "%-24s %5s %5s  %9s  %8s\n", "method", "steps", "seeds", "test loss", "sd"
    rank()
    for (i = 1; i <= n_methods; i++) {
        m = ranked[i]
        printf "%-24s %5d %5d  %9.4f  %8s\n", label(m), steps[m], n[m], mean(m), deviation(m)
    }
    if (verdict_best() != "")
        print verdict_best()
    if (verdict_random() != "")
        print verdict_random()
    if (what_to_try() != "")
        print what_to_try()
}
