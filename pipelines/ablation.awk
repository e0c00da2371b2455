# SPDX-License-Identifier: MIT
# table.csv -> figure4.csv; after results.awk: what is left out against the `whole` learner.
END {
    if (is_bad)
        exit 1
    if (!(whole in n))
        fail(FILENAME ": no row of " whole)
    print "part,seeds,test_loss,sd,difference,difference_sd,p"
    print_part(whole, "whole")
    for (i = 1; i <= split(learners, name, " "); i++)
        if (name[i] in n && sub(/^without-/, "", name[i]))
            print_part("without-" name[i], name[i])
    if ("random" in n)
        print_part("random", "everything (random choice)")
}
function known(x, form) { return x == "-" ? "" : sprintf(form, x) }
function print_part(m, part) {
    paired(whole, m)
    printf "%s,%d,%.9g,%s,%s,%s,%s\n", part, n[m], mean(m), known(deviation(m), "%s"), m == whole ? "" : known(pair_mean, "%.9g"), \
        m == whole ? "" : known(pair_sd, "%.9g"), m == whole ? "" : known(pair_p, "%.6g")
}
