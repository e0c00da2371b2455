# SPDX-License-Identifier: MIT
# What table.csv says (method,seed,steps,test_loss; the first file that is read): means, deviations,
# paired differences, and the two sentences on who was best. For table.awk and report.awk, which
# follow it: awk -F, -v learners="reward-model ppo" -f results.awk -f table.awk table.csv
function fail(text) {
    print text >"/dev/stderr"
    is_bad = 1
    exit 1
}
function label(m) {
    return m == "none" ? "no training" : m == "random" ? "random choice" : m == "rds" ? "RDS" : m == "ifd" ? "IFD" : \
        m == "less" ? "LESS" : m == "lead" ? "LEAD" : m == "prior" ? "prior (no episode)" : m == "target" ? "target only (ceiling)" : \
        m == "ppo" ? "RAISE (PPO)" : m == "reward-model" ? "RAISE (reward model)" : is_learner(m) ? "RAISE (" m ")" : m
}
# Not LEAD, which is a rival, though it is one of raise-ppo's learners.
function is_learner(m) {
    return m != "lead" && index(" " (learners == "" ? "reward-model ppo" : learners) " ", " " m " ") > 0
}
# The untrained model and the ceiling compete with nobody.
function competes(m) { return m != "none" && m != "target" }

FNR == NR && FNR > 1 {
    if ($4 !~ /^[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?$/)
        fail(FILENAME ":" FNR ": \"" $4 "\" is not a test loss")
    if (!n[$1]++)
        method[++n_methods] = $1
    loss[$1, n[$1]] = $4; sum[$1] += $4; steps[$1] = $3; of[$1, $2] = $4
    if (!is_seed[$2]++)
        seed[++n_seeds] = $2
}

function mean(m) { return sum[m] / n[m] }
# The deviation of one seed is not known.
function deviation(m,    i, squares) {
    for (i = 1; i <= n[m]; i++)
        squares += (loss[m, i] - mean(m)) ^ 2
    return n[m] > 1 ? sprintf("%.4f", sqrt(squares / (n[m] - 1))) : "-"
}

# How far a is below b, seed by seed over the seeds that both have: pair_n, pair_mean, pair_sd and
# pair_p, the latter two "-" where they are not known.
# pair_p is one-sided and exact: of the 2^n ways to give each difference a sign, the share whose sum
# is at least the observed one. With n seeds it is never less than 1 / 2^n.
function paired(a, b,    i, d, total, squares) {
    pair_n = 0; pair_mean = pair_sd = pair_p = "-"
    for (i = 1; i <= n_seeds; i++)
        if ((a, seed[i]) in of && (b, seed[i]) in of) {
            d[++pair_n] = of[b, seed[i]] - of[a, seed[i]]
            total += d[pair_n]
        }
    if (!pair_n)
        return
    pair_mean = total / pair_n
    if (pair_n == 1)
        return
    for (i = 1; i <= pair_n; i++)
        squares += (d[i] - pair_mean) ^ 2
    pair_sd = sqrt(squares / (pair_n - 1))
    if (pair_n <= 20)
        pair_p = share_of_signs(d, pair_n, total)
}
# One sign changes from each way to the next (a Gray code).
function share_of_signs(d, k, observed,    i, j, s, at_least, size, n_ways, is_minus) {
    for (i = 1; i <= k; i++) {
        s += d[i]
        size += d[i] < 0 ? -d[i] : d[i]
    }
    n_ways = 2 ^ k
    for (i = 1; ; i++) {
        at_least += s >= observed - 1e-9 * size
        if (i == n_ways)
            return at_least / n_ways
        for (j = 1; i % 2 ^ j == 0; j++)
            ;
        s += is_minus[j] ? 2 * d[j] : -2 * d[j]
        is_minus[j] = !is_minus[j]
    }
}
function p_text(p) { return p == "-" ? "-" : p < 0.0001 ? sprintf("%.1e", p) : sprintf("%.4f", p) }

# Methods by mean loss into ranked[1 ... n_methods], the best last; equal ones by name.
function rank(    i, j, m) {
    for (i = 1; i <= n_methods; i++) {
        m = method[i]
        for (j = i; j > 1 && (mean(ranked[j - 1]) < mean(m) || mean(ranked[j - 1]) == mean(m) && ranked[j - 1] < m); j--)
            ranked[j] = ranked[j - 1]
        ranked[j] = m
    }
}
# The k-th best of those that compete; "" if there are fewer.
function best(k, only_learners,    i) {
    for (i = n_methods; i > 0; i--)
        if (competes(ranked[i]) && (!only_learners || is_learner(ranked[i])) && !--k)
            return ranked[i]
    return ""
}

function verdict_best(    a, b) {
    a = best(1); b = best(2)
    if (b == "")
        return ""
    paired(a, b)
    if (!pair_n)
        return ""
    return sprintf("%s has the lowest test loss: %.4f below %s, the next%s.", label(a), pair_mean, label(b), \
        pair_n > 1 ? sprintf(" (differences over %d seeds: sd %.4f)", pair_n, pair_sd) : "")
}
# Of the best learner and random choice; "" where one is missing.
function verdict_random(    a, text) {
    a = best(1, 1)
    if (a == "" || !("random" in n))
        return ""
    paired(a, "random")
    if (!pair_n)
        return ""
    text = pair_mean > 0 ? sprintf("%s is %.4f below random choice", label(a), pair_mean) : \
        sprintf("%s did not beat random choice: its test loss is %.4f above", label(a), -pair_mean)
    if (pair_n == 1)
        return text " (one seed: how far that is chance is not known)."
    return text sprintf(" (%d seeds, p = %s, one-sided).", pair_n, p_text(pair_p))
}
# Where RAISE did not beat random choice, in words; "" where it did, or is not there.
function what_to_try(    a, b) {
    a = best(1, 1); b = best(1)
    if (a == "" || !("random" in n))
        return ""
    paired(a, "random")
    if (!pair_n || pair_mean > 0)
        return ""
    return "What to try: more episodes (EPISODES=) or more validation records for the rewards (VAL_LIMIT=), so that they tell more; " \
        "more steps an episode (STEPS= or PERCENT=), so that a choice has time to count; more seeds (SEEDS=), to see what is chance" \
        (is_learner(b) || b == "random" ? "." : "; or take what is best here, " label(b) ".")
}
