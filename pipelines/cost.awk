# SPDX-License-Identifier: MIT
# What a choice cost, counted in tokens: a token scored is one forward pass, a token trained three
# (the backward pass takes twice the forward one). phi is the cost in units of training on the whole
# pool for `epochs` epochs, which is 3 * epochs * (prompt + response tokens).
#
#   awk -v method=m -v seed=1 -v how=ifd -v options='--target' -v epochs=3 -f cost.awk POOL VAL TARGET -
#
# POOL, VAL and TARGET hold "records prompt-tokens response-tokens"; standard input has a line an
# episode, "is-last steps tokens-trained". Parts:
#
#   features  what the method has to know of the pool beforehand, whatever else the run embedded
#   episodes  of a learner, or of best-of: each trains on its batches, and is measured on VAL before
#             its first step and after every step; that of the learned choice is one of them, and those
#             of `fallback`, methods whose choices it was held against
#   training  the last episode, which is no cost of the choice; without measuring
function needs(what) { return index(" " of[how] " ", " " what " ") > 0 }
function option(name, otherwise) {
    return match(options, "(^| )--" name "[ =][0-9]+") ? substr(options, RSTART + length(name) + (substr(options, RSTART, 1) == " ") + 3) + 0 : otherwise
}
function row(part, s, t) { printf "%s,%s,%s,%.0f,%.0f,%.6g\n", method, seed, part, s, t, (s + 3 * t) / (3 * epochs * (x + y)) }
function less(times) { # its warm-up on a twentieth of the pool, then gradients of pool and target
    trained += times * ((x + y) / 20 + x + y + target)
}
FILENAME == ARGV[1] { x = $2; y = $3; next }
FILENAME == ARGV[2] { val = $2 + $3; next }
FILENAME == ARGV[3] { n_target = $1; target = $2 + $3; next }
$1 { last = $3; next }
{ episodes += $3; measured += ($2 + 1) * val }
END {
    # yx: log P(y|x) and the embedding; y: log P(y) alone; target, val: embeddings of those; gain: steps
    # of 32 of the target's records, its loss before and after, and the pool once more
    of["ifd"] = "yx y"; of["loss"] = of["self-paced"] = of["lead"] = "yx"; of["rds"] = "yx val"; of["near"] = "yx target"
    of["gain"] = "yx gain"; of["prior"] = "yx y target gain"; of["less"] = "less"
    of["random"] = of["full"] = of["length"] = of["scores"] = of["deita"] = of["alpagasus"] = of["only"] = of["best-of"] = ""
    if (how == "learner") {
        without = match(options, /--without[ =][^ ]+/) ? "," substr(options, RSTART + 10, RLENGTH - 10) "," : ","
        if (options ~ /(^| )--paper( |$)/)
            without = without "target,influence,"
        of[how] = "yx y"
        if (options ~ /(^| )--target( |$)/ && without !~ /,target,/)
            of[how] = of[how] " target gain"
        if (options ~ /--influence/ && without !~ /,influence,/)
            of[how] = of[how] " less"
    }
    if (!(how in of)) {
        print "cost.awk: what " how " needs is not known" >"/dev/stderr"
        exit 1
    }
    for (i = split(fallback, held, " "); i; i--)
        of[how] = of[how] " " of[held[i]]
    if (options ~ /--max-cosine/ && !needs("yx"))
        of[how] = of[how] " yx"
    scored = (x + y) * needs("yx") + y * needs("y") + target * needs("target") + val * needs("val")
    if (needs("gain")) {
        steps = option("target-steps", 3)
        scored += x + y + 2 * target
        trained += n_target ? steps * (n_target < 32 ? n_target : 32) * target / n_target : 0
    }
    if (needs("less"))
        less(option("influence-epochs", 4))
    row("features", scored, trained)
    row("episodes", measured, episodes)
    row("training", 0, last)
}
