# SPDX-License-Identifier: MIT
# The proof's table.csv -> method,seed,steps,value of one pair, or of all/all, where a seed is of its pair;
# value: the loss, or with metric=error the share that is wrong, of rows that have it.
NR == 1 { print "method,seed,steps,test_loss"; next }
pair == "all/all" || $1 "/" $2 == pair {
    seed = pair == "all/all" ? $1 "/" $2 ":" $4 : $4
    if (metric == "nll")
        print $3 "," seed "," $5 "," $7
    else if ($8 != "")
        printf "%s,%s,%s,%.12g\n", $3, seed, $5, 1 - $8
}
