# SPDX-License-Identifier: MIT
# method,seed,steps,test_loss -> mean and standard deviation over seeds, best last.
NR > 1 && $4 != "" {
    n[$1]++; sum[$1] += $4; sq[$1] += $4 * $4; steps[$1] = $3
}
END {
    label["none"] = "no training"; label["ppo"] = "RAISE (PPO)"
    label["reward-model"] = "RAISE (reward model)"; label["rds"] = "RDS"; label["ifd"] = "IFD"
    label["target"] = "target only (ceiling)"
    printf "%-24s %5s %5s  %9s  %8s\n", "method", "steps", "seeds", "test loss", "sd"
    fflush()
    for (m in n) {
        mean = sum[m] / n[m]; var = n[m] > 1 ? (sq[m] - n[m] * mean * mean) / (n[m] - 1) : 0
        row = sprintf("%-24s %5d %5d  %9.4f  %8.4f", m in label ? label[m] : m, steps[m], n[m], mean, var > 0 ? sqrt(var) : 0)
        print mean "\t" row | "sort -rg | cut -f2-"
    }
}
