# SPDX-License-Identifier: MIT
# Summaries of raise-eval, METHOD/sSEED/eval.K.csv -> rows of all records, with method and seed. K counts
# what was `asked`, TASK:FILE each; the untrained model, none/eval.K.csv, is every seed's.
BEGIN {
    n_seeds = split(seeds, seed, " ")
    split(asked, evaluation, " ")
    print "method,seed,task,file,metric,value,standard_error,n"
}
FNR == 1 {
    depth = split(FILENAME, place, "/")
    split(place[depth], part, ".")
    is_none = place[depth - 1] == "none"
    method = is_none ? "none" : place[depth - 2]
    split(evaluation[part[2]], what, ":")
    next
}
$2 == "" {
    for (i = 1; i <= (is_none ? n_seeds : 1); i++)
        print method "," (is_none ? seed[i] : substr(place[depth - 1], 2)) "," $1 "," what[2] "," $3 "," $5 "," $6 "," $4
}
