# SPDX-License-Identifier: MIT
# kept.csv (fallback.sh) -> a line a learner: whose choice was kept, in how many of its seeds.
{
    if (!($1 in seeds))
        name[++n] = $1
    if ($3 == "learned")
        seeds[$1]++
    else if ($5) {
        if (!(($1, $3) in times))
            others[$1] = others[$1] " " $3
        times[$1, $3]++
    }
}
END {
    for (i = 1; i <= n; i++)
        for (k = split(others[name[i]], other, " "); k; k--)
            printf "%s: in %d of %d seeds the choice of %s was kept, which ended with less validation loss than the learned one.\n", \
                name[i], times[name[i], other[k]], seeds[name[i]], other[k]
}
