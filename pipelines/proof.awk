# SPDX-License-Identifier: MIT
# table.csv, costs.csv and eval.csv of one run -> its rows of the proof's table.csv. The accuracy is the first
# metric of multiple choice or of generated answers on the run's own test.jsonl; the untrained model cost
# nothing.
FNR == 1 { file = FILENAME; sub(/.*\//, "", file); next }
file == "costs.csv" { phi[$1, $2, $3] = $6 }
file == "eval.csv" && $3 != "loss" && $4 ~ /\/test\.jsonl$/ && !(($1, $2) in right) { right[$1, $2] = $6 }
file == "table.csv" { row[++n] = $0 }
END {
    for (i = 1; i <= n; i++) {
        split(row[i], x, ",")
        if (x[1] != "none" && !((x[1], x[2], "features") in phi)) {
            print "costs.csv has no row of " x[1] ", seed " x[2] >"/dev/stderr"
            exit 1
        }
        f = phi[x[1], x[2], "features"] + 0; e = phi[x[1], x[2], "episodes"] + 0; t = phi[x[1], x[2], "training"] + 0
        printf "%s,%s,%s,%s,%s,%.6g,%s,%s,%.6g,%.6g,%.6g\n", pool, target, x[1], x[2], x[3], f + e, x[4], right[x[1], x[2]], f, e, t
    }
}
