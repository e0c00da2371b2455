#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# raise-ppo: both learners over episodes of a tiny model; metrics and weights; the same bytes for
# any number of threads and any place of the own episodes; settings; refusals that name the files.
set -eu
# shellcheck source=tests/scratch.sh
. "$RAISE_TESTS/scratch.sh"
records pool 89 | sed 1p >pool.jsonl # a record stands there twice
records val 12 >val.jsonl
embed() { raise-embed -q -m "$model" --template plain -t 1 -d "$1" pool.jsonl; }
embed 8 | raise-cluster -q -k 2 -t 1 - >f.st.zst
embed 4 | raise-cluster -q -k 2 -t 1 - >g.st.zst
go() { # options...
    raise-rollout -q -t 1 -f f.st.zst -m "$model" -d pool.jsonl --val val.jsonl --template plain \
        --batch 6 --steps 4 --lr 1e-2 --lora-rank 4 --precision fp32 "$@"
}
meta() { raise-view --meta "$2" "$1"; }
ppo() { raise-ppo -q -f f.st.zst "$@"; }

# policy 0: the seed makes it, and nothing else
for learner in ppo reward-model; do
    ppo --init --learner $learner --no-provenance -o $learner.0
    ppo --init --learner $learner --no-provenance -t 1 | cmp - $learner.0
    [ "$(meta $learner.0 raise.learner) $(meta $learner.0 raise.iteration)" = "$learner 0" ]
done
ppo --init -s 7 -o other.0
cmp -s other.0 ppo.0 && exit 1
ppo --init --without stage,semantic,consistency --hidden 5 -o small.0
[ "$(meta small.0 raise.parts)" = 10 ]

# two rounds of each: one update's own episodes are found by identity, wherever they stand
for learner in ppo reward-model; do
    go -p $learner.0 --episode 1 -o $learner.t1
    go -p $learner.0 --episode 2 -o $learner.t2
    ppo -p $learner.0 --metrics $learner.csv --no-provenance -o $learner.1 $learner.t1 $learner.t2
    ppo -p $learner.0 --no-provenance -t 3 --new 2 $learner.t1 $learner.t2 | cmp - $learner.1
    [ "$(meta $learner.1 raise.iteration)" = 1 ]
    go -p $learner.1 --episode 3 -o $learner.t3
    ppo -p $learner.1 --no-provenance -o $learner.2 $learner.t1 $learner.t2 $learner.t3
    # (a reward model of two episodes is still its prior, and all of them its own)
    [ $learner != ppo ] || ppo -p ppo.1 --no-provenance ppo.t3 ppo.t1 ppo.t2 | cmp - ppo.2
    raise-view --check $learner.2 >check
done
[ "$(wc -l <ppo.csv) $(wc -l <reward-model.csv)" = "5 2" ]
[ "$(head -n 1 ppo.csv)" = iteration,epoch,loss,policy_loss,entropy,kl,clip_fraction,grad_norm,explained_variance,mean_return,reward_sd,s2,v,log_evidence ]
# at the first epoch nothing has moved yet: divergence 0; what is known beforehand leaves an entropy below 1
awk -F, 'NR == 2 { exit !($1 == 1 && $2 == 1 && $5 > 0.5 && $5 < 0.9999 && $6 < 1e-9 && $7 == 0) }' ppo.csv
awk -F, 'NR == 5 { exit !($2 == 4 && $6 > 0) }' ppo.csv
cmp -s ppo.1 ppo.2 && exit 1

# what the target likes: one row a feature, while learning or from a policy alone
ppo -p reward-model.0 --weights w1.csv -o again.1 reward-model.t1 reward-model.t2
raise-ppo -p reward-model.1 --weights - | cmp - w1.csv
[ "$(wc -l <w1.csv)" = 14 ]
[ "$(head -n 2 w1.csv | cut -d, -f1 | tr '\n' ' ')" = "feature len_x " ]
awk -F, 'NR > 1 && !($3 > 0) { exit 1 }' w1.csv

# the rows at a weight's two ends: the longest and the shortest prompts of different content
ppo -p reward-model.0 --liked l1.csv -o again.1 reward-model.t1 reward-model.t2 reward-model.t3
raise-ppo -p again.1 -f f.st.zst --liked - | cmp - l1.csv
raise-ppo -p again.1 --weights w3.csv
raise-view --table len_x,hash,source f.st.zst | awk -F, 'NR == FNR { if ($1 == "len_x") w = $2; next }
    FNR > 1 { print (w > 0 ? $1 : -$1), FNR - 2, $2, $3 }' w3.csv - >rows
ends() { # sort's flags, sign
    sort -k1,1"$1" -k2,2n -s rows | awk -v sign="$2" '!seen[$3]++ && ++n <= 5 { print "len_x," sign n "," $2 "," $4 }'
}
grep '^len_x,' l1.csv | cut -d, -f1-4 | cmp - <(ends rn '' && ends n -)
awk -F, 'NR > 1 { n[$1]++ } $2 == 1 { most[$1] = $5 } $2 == -1 && !($5 < most[$1]) { exit 1 }
    END { for (f in n) if (n[f] != 10) exit 1; exit !("score" in n) }' l1.csv

# numbers are as short as they read back
for csv in ppo.csv reward-model.csv w1.csv; do
    awk -F, 'NR > 1 { for (i = 1; i <= NF; i++) if ($i == $i + 0) {
        for (d = 15; d < 17 && sprintf("%." d "g", $i) + 0 != $i + 0;) d++
        if (sprintf("%." d "g", $i) != $i) { print FILENAME ": " $i; long = 1 } n++ } }
        END { exit !n || long }' $csv
done

# the reward model learns from any choices, PPO from its own only; PPO may start from a model
raise-plan -q --steps 4 --batch 6 -f f.st.zst -o plan.st.zst random
go --plan plan.st.zst -o plan.t
ppo -p reward-model.0 -o planned.1 plan.t ppo.t1 reward-model.t1
ppo --init --start reward-model.1 -o started.0
go -p started.0 --episode 1 -o started.t1
ppo -p started.0 -o started.1 plan.t started.t1

# what columns a policy weighs stands in it; parts that are asked for are there
[ "$(meta ppo.0 raise.columns)" = 'len_x len_y logp_yx logp_y embedding[8] consistency' ]
ppo --init --with difficulty,stage --no-provenance | cmp - ppo.0

# settings: --paper changes defaults, options beside it hold
for order in "--paper --gamma 0.5" "--gamma 0.5 --paper"; do
    # shellcheck disable=SC2086
    ppo -p ppo.0 --no-provenance -o paper.1 $order ppo.t1 ppo.t2
    ppo -p ppo.0 --no-provenance --lr 3e-4 --gamma 0.5 --ratio class --baseline ridge ppo.t1 ppo.t2 | cmp - paper.1
done
ppo --init --without target,consistency --no-provenance -o small.0
ppo --init --paper --no-provenance | cmp - small.0
[[ $(raise-ppo --paper -h | tr -s ' \n' ' ') == *'--lr X Adam'?'s learning rate [0.0003]'*'--gamma X discount [0.99]'*'--ratio KIND '*' mean|class|item [class] '* ]]

# provenance: what went in, and no seed where nothing is random
ppo -p ppo.0 -o history.1 ppo.t1 ppo.t2
history=$(meta history.1 raise.history)
[[ $history == *'"program":"raise-ppo"'*'"name":"f.st.zst"'*'"name":"ppo.t2"'* ]]

refused() { # status pattern options...
    local want=$1 pattern=$2 status=0
    shift 2
    mkdir none
    raise-ppo "$@" -o none/x 2>err || status=$?
    [ "$status" = "$want" ] || { echo "exit status $status, expected $want"; cat err; return 1; }
    if [ "$(wc -l <err)" != 1 ] || ! grep -q -e "$pattern" err; then echo "$pattern"; cat err; return 1; fi
    [ -z "$(ls -A none)" ] || { ls -A none; return 1; }
    rmdir none
}
refused 1 '^raise-ppo: ppo.0: was made for other features than g.st.zst$' -f g.st.zst -p ppo.0 ppo.t1
ppo --init -f g.st.zst -o g.0
refused 1 '^raise-ppo: ppo.t1: was made with other features than g.st.zst$' -f g.st.zst -p g.0 ppo.t1
refused 1 '^raise-ppo: none of 1 trajectories was drawn from ppo.1$' -f f.st.zst -p ppo.1 ppo.t1
refused 1 '^raise-ppo: ppo.t2: was not drawn from ppo.1$' -f f.st.zst -p ppo.1 --new 1 ppo.t1 ppo.t2
refused 1 '^raise-ppo: ppo.t1 and ppo.t1 are the same trajectory$' -f f.st.zst -p ppo.0 ppo.t1 ppo.t1
refused 1 '^raise-ppo: f.st.zst: expected trajectory, found features$' -f f.st.zst -p ppo.0 f.st.zst
refused 1 '^raise-ppo: ppo.0: expected features, found policy$' -f ppo.0 -p ppo.0 ppo.t1
refused 1 '^raise-ppo: ppo.0: --weights: learner ppo has none$' -f f.st.zst -p ppo.0 --weights none/w ppo.t1
refused 1 '^raise-ppo: ppo.0: learner ppo has no weights to start from$' -f f.st.zst --init --start ppo.0
refused 1 '^raise-ppo: reward-model.1: was made with other parts of the state$' -f f.st.zst --init --start reward-model.1 --without semantic
refused 1 '^raise-ppo: no part of the state is left to score by$' -f f.st.zst --init --without stage,difficulty,semantic,availability,target,consistency
head -c 500 ppo.t1 >cut.t
refused 1 '^raise-ppo: cut.t: ' -f f.st.zst -p ppo.0 cut.t
refused 2 '^raise-ppo: --without: .moon. is not one of stage, difficulty, semantic, availability, target, consistency, influence, record, given (try -h)$' -f f.st.zst --init --without stage,moon
refused 2 '^raise-ppo: --with: .moon. is not one of ' -f f.st.zst --init --with moon
refused 2 '--with and --without name the same part' -f f.st.zst --init --with stage --without semantic,stage
refused 2 '--with and --without are for --init' -f f.st.zst -p ppo.0 --with stage ppo.t1
refused 2 'read only once' -f - -p ppo.0 -
refused 2 '^raise-ppo: --new 3, but 1 trajectories' -f f.st.zst -p ppo.0 --new 3 ppo.t1
refused 2 'trajectories, or --weights, are missing' -f f.st.zst -p ppo.0
refused 2 'need trajectories to learn from' -f f.st.zst -p reward-model.1 --weights none/w
refused 2 'need trajectories to learn from' -p reward-model.1 --weights none/w --metrics none/m
refused 2 '--metrics and --weights go to one place: none/w' -f f.st.zst -p reward-model.0 --weights none/w --metrics none/w reward-model.t1
refused 2 'need trajectories to learn from' -f f.st.zst -p reward-model.1 --liked none/l
refused 1 '^raise-ppo: ppo.0: --liked: learner ppo has none$' -f f.st.zst -p ppo.0 --liked none/l ppo.t1
refused 2 '--start is not for --learner reward-model' -f f.st.zst --init --learner reward-model --start reward-model.1
refused 2 '--init takes no policy' -f f.st.zst --init -p ppo.0
if ppo -p ppo.0 ppo.t1 >/dev/full 2>err; then exit 1; fi
grep -q 'No space left on device' err
