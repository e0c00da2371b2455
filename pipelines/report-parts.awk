# SPDX-License-Identifier: MIT
# Tables of a report that are a CSV's own: after html.awk, with -F,
#   part=costs  costs.csv: means over seeds, in units of full training
#   part=times  times.csv: by kind of job
#   part=evals  eval.csv: means over seeds
#   part=plain  as it is: id, caption
FNR == 1 { head = $0; next }
part == "plain" { row[++n_rows] = $0; n_columns = NF }
part == "costs" {
    if (!(($1, $2) in seen)) {
        seen[$1, $2]
        if (!n_seeds[$1]++)
            name[++n_names] = $1
    }
    phi[$1, $3] += $6
    scored[$1] += $4; trained[$1] += $5
}
part == "times" { kind[$2] = $1; seconds[$2] = $3; cpu[$2] = $4; peak[$2] = $5 }
part == "evals" {
    what = $3 ", " $4 ", " $5
    if (!column[what]++)
        columns[++n_columns] = what
    if (!known[$1]++)
        name[++n_names] = $1
    sum[$1, what] += $6; squares[$1, what] += $6 ^ 2; n[$1, what]++
}
function mean_and_sd(m, what,    k, mean, variance) {
    k = n[m, what]
    if (!k)
        return "-"
    mean = sum[m, what] / k
    variance = k > 1 ? (squares[m, what] - k * mean ^ 2) / (k - 1) : 0
    return sprintf("%.4f (%s)", mean, k > 1 ? sprintf("%.4f", variance > 0 ? sqrt(variance) : 0) : "-")
}
function duration(s) {
    return s < 100 ? sprintf("%.1f s", s) : s < 6000 ? sprintf("%d min %02d s", s / 60, s % 60) : sprintf("%d h %02d min", s / 3600, s / 60 % 60)
}
function put_costs(    i, m, k) {
    table_begin("costs-table", "What each choice cost, in units of full training; means over seeds.")
    table_head("method|features|episodes|the choice|the last training|tokens scored|tokens trained")
    for (i = 1; i <= n_names; i++) {
        m = name[i]; k = n_seeds[m]
        print "<tr>" row_head(m) cell(sprintf("%.4f", phi[m, "features"] / k)) cell(sprintf("%.4f", phi[m, "episodes"] / k)) \
            cell(sprintf("%.4f", (phi[m, "features"] + phi[m, "episodes"]) / k)) cell(sprintf("%.4f", phi[m, "training"] / k)) \
            cell(sprintf("%.0f", scored[m] / k)) cell(sprintf("%.0f", trained[m] / k)) "</tr>"
    }
}
function put_times(    t, k, i, count, all, cpus, most, kinds, n_kinds) {
    for (t in kind) {
        k = kind[t]
        count[k]++; all[k] += seconds[t]; cpus[k] += cpu[t]
        if (peak[t] + 0 > most[k] + 0)
            most[k] = peak[t] + 0
    }
    table_begin("times-table", "Time and memory of the jobs of this run.")
    table_head("job|how many|seconds each|in all|CPU time in all|peak memory")
    n_kinds = split("draw embed embed-set cluster plan policy episode last eval export", kinds, " ")
    for (i = 1; i <= n_kinds; i++) {
        k = kinds[i]
        if (count[k])
            print "<tr>" row_head(k) cell(count[k]) cell(sprintf("%.2f", all[k] / count[k])) cell(duration(all[k])) cell(duration(cpus[k])) \
                cell(most[k] ? sprintf("%.1f MiB", most[k] / 1048576) : "-") "</tr>"
    }
}
END {
    if (part == "costs")
        put_costs()
    else if (part == "times")
        put_times()
    else if (part == "evals") {
        heads = "method"
        for (i = 1; i <= n_columns; i++)
            heads = heads "|" columns[i]
        table_begin("evals-table", "What raise-eval says of the last models: task, file, metric; means over seeds, and their deviation.")
        table_head(heads)
        for (i = 1; i <= n_names; i++) {
            printf "<tr>%s", row_head(name[i])
            for (j = 1; j <= n_columns; j++)
                printf "%s", cell(mean_and_sd(name[i], columns[j]))
            print "</tr>"
        }
    } else {
        gsub(/,/, "|", head)
        table_begin(id, caption)
        table_head(head)
        for (i = 1; i <= n_rows; i++) {
            split(row[i], field, ",")
            printf "<tr>%s", row_head(field[1])
            for (j = 2; j <= n_columns; j++)
                printf "%s", cell(field[j] ~ /\.[0-9][0-9][0-9][0-9][0-9]/ ? sprintf("%.4f", field[j]) : field[j])
            print "</tr>"
        }
    }
    table_end()
}
