# SPDX-License-Identifier: MIT
# method,seed,steps,test_loss -> mean and standard deviation over seeds, best last;
# then in words which was best, and by how much.
NR > 1 {
    if ($4 !~ /^[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?$/) {
        printf "%s:%d: \"%s\" is not a test loss\n", FILENAME, FNR, $4 >"/dev/stderr"
        is_bad = 1
        exit 1
    }
    loss[$1, ++n[$1]] = $4; sum[$1] += $4; steps[$1] = $3; of[$1, $2] = $4; is_seed[$2]
}

# The deviation of one seed is not known.
function deviation(m, mean,    i, squares) {
    for (i = 1; i <= n[m]; i++)
        squares += (loss[m, i] - mean) ^ 2
    return n[m] > 1 ? sprintf("%.4f", sqrt(squares / (n[m] - 1))) : "-"
}

# The best and the next, the untrained model and the ceiling apart; differences seed by seed.
function verdict(best, next_best,    s, d, k, total, squares, name) {
    for (s in is_seed)
        if ((best, s) in of && (next_best, s) in of) {
            d[++k] = of[next_best, s] - of[best, s]
            total += d[k]
        }
    if (!k)
        return
    for (s = 1; s <= k; s++)
        squares += (d[s] - total / k) ^ 2
    name = best in label ? label[best] : best
    printf "%s has the lowest test loss: %.4f below %s, the next", name, total / k, next_best in label ? label[next_best] : next_best
    if (k > 1)
        printf " (differences over %d seeds: sd %.4f)", k, sqrt(squares / (k - 1))
    print "."
}

END {
    if (is_bad)
        exit 1
    label["none"] = "no training"; label["ppo"] = "RAISE (PPO)"
    label["reward-model"] = "RAISE (reward model)"; label["rds"] = "RDS"; label["ifd"] = "IFD"
    label["prior"] = "prior (no episode)"; label["target"] = "target only (ceiling)"
    printf "%-24s %5s %5s  %9s  %8s\n", "method", "steps", "seeds", "test loss", "sd"
    for (m in n) {
        mean = sum[m] / n[m]
        row = sprintf("%-24s %5d %5d  %9.4f  %8s", m in label ? label[m] : m, steps[m], n[m], mean, deviation(m, mean))
        for (i = ++n_rows; i > 1 && (means[i - 1] < mean || means[i - 1] == mean && rows[i - 1] < row); i--) {
            means[i] = means[i - 1]; rows[i] = rows[i - 1]; names[i] = names[i - 1]
        }
        means[i] = mean; rows[i] = row; names[i] = m
    }
    for (i = 1; i <= n_rows; i++) {
        print rows[i]
        if (names[i] == "none" || names[i] == "target")
            continue
        second = first; first = names[i]
    }
    if (second != "")
        verdict(first, second)
}
