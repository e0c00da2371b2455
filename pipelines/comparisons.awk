# SPDX-License-Identifier: MIT
# comparisons.csv -> a sentence a learner and rival.
function is_learner(m) { return index(" " learners " ", " " m " ") > 0 }
NR > 1 && is_learner($4) {
    where = $1 == "all" ? "all runs together" : $1 "/" $2
    if ($1 == "all" && n_pairs < 2)
        next
    text = where ": " $4
    if ($3 == "error")
        text = text ", by its answers,"
    if ($7 == 0 && ($8 == "" || $8 == 0))
        text = text " and " $5 " are equal in every seed"
    else
        text = text sprintf(" is %.4f %s %s", $7 < 0 ? -$7 : $7, $7 > 0 ? "below" : $7 < 0 ? "above" : "from", $5)
    if ($6 == 1)
        print text " (one seed: how far that is chance is not known)."
    else if ($9 == "")
        print text sprintf(" (%d pairs, sd %.4f: more than the exact test is made for).", $6, $8)
    else
        print text sprintf(" (%d pairs, sd %.4f, p = %.4f one-sided, %.4f two-sided).", $6, $8, $9, $10)
    if ($1 != "all" && !seen[$1, $2]++)
        n_pairs++
    least = !least || $6 < least ? $6 : least
}
END {
    if (least > 1 && least <= 20)
        printf "With %d pairs no p can be below %.4f one-sided, %.4f two-sided.\n", least, 1 / 2 ^ least, least == 1 ? 1 : 2 / 2 ^ least
}
