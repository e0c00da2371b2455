# SPDX-License-Identifier: MIT
# Every method against every rival, seed by seed: rows of the proof's comparisons.csv. After results.awk.
# One-sided: that the method is not below the rival. Two-sided: twice the smaller of both sides.
function known(x, form) { return x == "-" ? "" : sprintf(form, x) }
END {
    if (is_bad)
        exit 1
    split(pair, name, "/")
    for (i = 1; i <= split(rivals, rival, " "); i++)
        for (j = 1; j <= n_methods; j++) {
            m = method[j]
            if (m == rival[i] || !(rival[i] in n) || !(m in n))
                continue
            paired(rival[i], m)
            other = pair_p
            paired(m, rival[i])
            if (!pair_n)
                continue
            both = pair_p == "-" ? "-" : 2 * (pair_p < other ? pair_p : other)
            printf "%s,%s,%s,%s,%s,%d,%.9g,%s,%s,%s\n", name[1], name[2], metric, m, rival[i], pair_n, pair_mean, known(pair_sd, "%.9g"), \
                known(pair_p, "%.6g"), known(both != "-" && both > 1 ? 1 : both, "%.6g")
        }
}
