# SPDX-License-Identifier: MIT
# A CSV of method,seed,KEY,VALUE -> a table, a row a key and a column a method: means of seeds. After
# html.awk, with -F, and id, caption, head, key, value. Values that are missing are left out.
FNR > 1 {
    if (!seen[$1]++)
        heads = heads "|" (method[++n_methods] = $1)
    if (!($key in is_key)) {
        is_key[$key]
        keys[++n_keys] = $key
    }
    if ($value != "") {
        sum[$1, $key] += $value
        n[$1, $key]++
    }
}
END {
    table_begin(id, caption)
    table_head(head heads)
    for (i = 1; i <= n_keys; i++) {
        printf "<tr>%s", row_head(keys[i])
        for (j = 1; j <= n_methods; j++)
            printf "%s", cell((method[j], keys[i]) in n ? sprintf("%.4f", sum[method[j], keys[i]] / n[method[j], keys[i]]) : "-")
        print "</tr>"
    }
    table_end()
}
