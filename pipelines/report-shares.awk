# SPDX-License-Identifier: MIT
# picks.csv -> a table of shares: rows are kinds of records, columns the steps of the last episode or
# the training episodes of one method, in at most ten parts. After html.awk, with -F,
#   method, by ("step" or "episode"), id, caption, kind: the column of picks.csv that tells the kind, or
#   names: a file with the kind of each row of the features, a line each (others: the rarest kinds)
# The first file is picks.csv, the second features.csv, whose rows are the pool.
function kind_of(row, class) {
    if (names == "")
        return "class " class
    return row in name_of ? (name_of[row] == "" ? "(none)" : name_of[row]) : "(none)"
}
BEGIN {
    if (names != "")
        while ((getline line <names) > 0)
            name_of[n_names++] = line
}
FNR == 1 {
    for (i = 1; i <= NF; i++)
        at[$i] = i
    next
}
NR == FNR && $at["method"] == method {
    x = $at[by]
    if (by == "step" && $at["episode"] != "last" || by == "episode" && x == "last")
        next
    if (x > last)
        last = x
    k = kind_of($at["row"], $at["class"])
    count[k, x]++; total[x]++
}
NR != FNR {
    k = kind_of(FNR - 2, $at["class"])
    if (!pool[k]++)
        kind[++n_kinds] = k
    n_pool++
}
# The kinds by their number in the pool; those beyond the twelfth are one.
function order(    i, j, k) {
    for (i = 2; i <= n_kinds; i++) {
        k = kind[i]
        for (j = i; j > 1 && (pool[kind[j - 1]] < pool[k] || pool[kind[j - 1]] == pool[k] && kind[j - 1] > k); j--)
            kind[j] = kind[j - 1]
        kind[j] = k
    }
}
function share(k, from, to,    x, c, t) {
    for (x = from; x <= to; x++) {
        c += count[k, x]
        t += total[x]
    }
    return t ? c / t : 0
}
function print_row(title, from, to,    i, j, s, all, in_pool, text) {
    for (i = from; i <= to; i++)
        in_pool += pool[kind[i]] / n_pool
    text = row_head(title) share_cell(in_pool)
    for (j = 0; j <= n_bins; j++) { # first all of them
        s = 0
        for (i = from; i <= to; i++)
            s += j ? share(kind[i], first[j], end[j]) : share(kind[i], 1, last)
        text = text share_cell(s)
    }
    print "<tr>" text "</tr>"
}
END {
    if (!last)
        exit
    order()
    n_bins = last < 10 ? last : 10
    heads = "kind|pool|all picks"
    for (j = 1; j <= n_bins; j++) {
        first[j] = int((j - 1) * last / n_bins) + 1
        end[j] = int(j * last / n_bins)
        heads = heads "|" by " " first[j] (end[j] > first[j] ? "-" end[j] : "")
    }
    table_begin(id, caption)
    table_head(heads)
    most = n_kinds == 13 ? 13 : 12
    for (i = 1; i <= n_kinds && i <= most; i++)
        print_row(kind[i], i, i)
    if (n_kinds > most)
        print_row((n_kinds - most) " others", most + 1, n_kinds)
    table_end()
}
