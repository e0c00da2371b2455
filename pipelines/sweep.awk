# SPDX-License-Identifier: MIT
# table.csv -> figure3.csv or figure5.csv, by the names that sweep.mk gives; after results.awk.
END {
    if (is_bad)
        exit 1
    print figure == 3 ? "width,seeds,test_loss,sd" : "percent,classes,seeds,test_loss,sd"
    for (i = 1; figure == 3 && i <= split(dims, d, " "); i++)
        point("d" d[i], d[i])
    for (i = 1; figure == 5 && i <= split(percents, p, " "); i++) {
        at = p[i]
        gsub(/\./, "_", at)
        point("random-p" at, p[i] ",")
        for (j = 1; j <= split(classes, c, " "); j++)
            point("c" c[j] "-p" at, p[i] "," c[j])
    }
}
function point(m, x) {
    if (!(m in n))
        fail(FILENAME ": no row of " m)
    printf "%s,%d,%.9g,%s\n", x, n[m], mean(m), deviation(m) == "-" ? "" : deviation(m)
}
