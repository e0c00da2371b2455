# SPDX-License-Identifier: MIT
# table.csv -> the verdict and the table of a report, best first. After results.awk and html.awk.
function compared(a, b) {
    if (a == b || !competes(a) || !competes(b) || !(a in n) || !(b in n))
        return cell("") cell("")
    paired(a, b)
    return cell(pair_n ? sprintf("%.4f", pair_mean) : "-") cell(p_text(pair_p))
}
function html_table(raise,    i, m) {
    table_begin("results", "Test loss of every method after as many steps, best first.")
    table_head("method|steps|seeds|test loss|sd" ("random" in n ? "|below random choice|p" : "") \
        (raise != "" ? "|" label(raise) " below it|p" : ""))
    for (i = n_methods; i > 0; i--) {
        m = ranked[i]
        print "<tr" (m == raise ? " class=\"ours\"" : "") ">" row_head(label(m)) cell(steps[m]) cell(n[m]) \
            cell(sprintf("%.4f", mean(m))) cell(deviation(m)) ("random" in n ? compared(m, "random") : "") \
            (raise != "" ? compared(raise, m) : "") "</tr>"
    }
    table_end()
}
function notes() {
    print "<p class=\"note\">Test loss in nats a token: the mean over seeds and its sample deviation; - where one seed tells none. Differences are paired by seed. " \
        "p is one-sided and exact: the share of all ways to give the differences a sign that come out at least as large. " \
        "With " n_seeds " seed" (n_seeds == 1 ? " it is not known." : "s it is never below " p_text(1 / 2 ^ n_seeds) ".") "</p>"
    if ("target" in n)
        print "<p class=\"note\">The ceiling was trained on records of the target's own kind alone, which no pool has so many of.</p>"
}
END {
    if (is_bad)
        exit 1
    rank()
    if (part == "verdict") {
        print "<p class=\"verdict\">" esc(verdict_best()) "</p>\n<p>" esc(verdict_random()) "</p>"
        if (what_to_try() != "")
            print "<p>" esc(what_to_try()) "</p>"
    } else if (part == "best") {
        print best(1, 1)
    } else if (part == "points") { # for results.gp
        for (i = 1; i <= n_methods; i++) {
            m = ranked[i]
            print label(m) "," i "," mean(m) >means
            for (j = 1; j <= n[m]; j++)
                print label(m) "," i "," loss[m, j]
        }
    } else {
        html_table(best(1, 1))
        notes()
    }
}
