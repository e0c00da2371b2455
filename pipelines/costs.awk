# SPDX-License-Identifier: MIT
# costs.csv -> a line a method: the mean over its seeds of what the choice cost, and the training on it.
NR > 1 {
    if (!($1 in n))
        name[++k] = $1
    n[$1, $2] || n[$1]++
    n[$1, $2] = 1
    phi[$1, $3] += $6
}
END {
    printf "%-24s %10s %10s %10s   cost, in units of %s epochs on the pool\n", "method", "features", "episodes", "training", epochs
    for (i = 1; i <= k; i++)
        printf "%-24s %10.4f %10.4f %10.4f\n", name[i], phi[name[i], "features"] / n[name[i]], phi[name[i], "episodes"] / n[name[i]], phi[name[i], "training"] / n[name[i]]
}
