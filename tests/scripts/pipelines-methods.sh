#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Methods with something of their own: widths and classes of the features, numbers of episodes and
# steps, another pool, all data, the best of random episodes; what each cost, and further tests.
set -eu
# shellcheck source=tests/pipeline.sh
. "$RAISE_TESTS/pipeline.sh"

cp test.jsonl extra.jsonl
meta() { raise-view --meta "raise.$1" "$2"; }
ran() { raise-view --history "$1" | tail -n 1; }
go a LEARNERS='reward-model wide two none-learnt lead' LEARNER_wide=reward-model LEARNER_two=ppo \
    LEARNER_none-learnt=reward-model DIM_wide=12 CLASSES_two=2 EPISODES_two=1 EPISODES_none-learnt=0 PERCENT_two=13.4 \
    DEPLOY_OPTS_two=--greedy TARGET_LIMIT=3 EPOCHS=2 BASELINES='random full validation best-of near long' STEPS_long=3 \
    PLAN_long=length EXTRA=extra.jsonl || fail "the run"
[ "$(cd a && echo *.st.zst)" = 'features.c2.st.zst features.c7.st.zst features.d12.st.zst features.st.zst pool.d12.st.zst pool.st.zst untrained.st.zst' ]
# LEAD has no episode but its last, and the losses of that one's steps.
[ "$(cd a/lead/s1 && echo *.st.zst)" = 'final.st.zst policy.0.st.zst' ]
ran a/features.c7.st.zst | grep -q -- ' --classes 7 ' || fail "not 7 classes"
[ "$(raise-view --table pick_loss a/lead/s1/final.st.zst | awk 'NR > 1 && $NF > 0' | wc -l)" = 8 ] || fail "no losses"
if grep 'RAISE (lead)' a/table.txt; then fail "LEAD is no RAISE"; fi
raise-view a/features.d12.st.zst | grep -q 'embedding .*60, 12' || fail "not 12 wide"
ran a/features.c2.st.zst | grep -q -- ' --classes 2 ' || fail "not 2 classes"
[ "$(cd a/two/s1 && echo traj.*)" = traj.1.st.zst ]
[ "$(cd a/none-learnt/s1 && echo *.st.zst)" = 'final.st.zst policy.0.st.zst' ]
[ "$(cat a/steps.13.4)" = 5 ] && [ "$(meta n_steps a/two/s1/final.st.zst)" = 5 ] # at least 5
[ "$(meta n_steps a/long/s1/final.st.zst)" = 3 ]
ran a/two/s1/final.st.zst | grep -q -- '--deploy --greedy' || fail "not deployed greedily"

# All 60, twice, in steps of 4; the target's three records, over and over.
[ "$(meta n_steps a/full/s1/final.st.zst)" = 30 ]
raise-view --table source a/full/s1/final.st.zst | tail -n +2 | sort | uniq -c | awk '$1 != 2 { exit 1 } END { exit NR != 60 }'
[ "$(raise-view --table source a/validation/s1/plan.st.zst | tail -n +2 | sort | uniq -c | sort -rn | awk '{ printf "%s ", $1 }')" = '3 3 2 ' ]
ran a/validation/s1/final.st.zst | grep -q -- ' --data a/target.jsonl' || fail "another pool"

# The best of the random episodes is what the last one is trained on, and their gains are told.
best=$(awk -F, '$1 == "best-of" && (best == "" || $4 > most) { best = $3; most = $4 } END { print best }' a/episodes.csv)
[ "$(awk -F, '$1 == "best-of"' a/episodes.csv | wc -l)" = 2 ]
for f in plan final; do
    cmp <(raise-view --table pick "a/best-of/s1/traj.$best.st.zst") <(raise-view --table pick a/best-of/s1/$f.st.zst)
done
if cmp -s a/best-of/s1/plan.1.st.zst a/best-of/s1/plan.2.st.zst; then fail "twice the same episode"; fi
[ "$(cut -d, -f1,3 a/table.csv | tr '\n' ' ')" = "method,steps best-of,2 full,30 lead,2 long,3 near,2 none,0 none-learnt,2 \
random,2 reward-model,2 two,5 validation,2 wide,2 " ]

# What raise-eval finds on a copy of the test set is what raise-rollout did.
[ "$(awk -F, 'FNR == 1 { next } FILENAME ~ /table/ { loss[$1] = $4; next } $5 == "loss" { n++; d = $6 - loss[$1]; if (d * d > 1e-10) exit }
    END { print n }' a/table.csv a/eval.csv)" = 12 ] || fail "another loss: $(cat a/table.csv a/eval.csv)"
go c LEARNERS=lead BASELINES= CLASSES=2 || fail "LEAD alone"
[ "$(cd c && echo features*)" = features.st.zst ] && [ ! -e c/episodes.png ] && grep -q '^LEAD ' c/table.txt
cat pool.jsonl >>extra.jsonl
if go b EXTRA=extra.jsonl; then fail "a further test that is in the pool"; fi
told 'extra.jsonl:9: record 8: is also pool.jsonl:1: record 0'
refuses 'EXTRA: none.jsonl: there is no such file' a EXTRA='extra.jsonl none.jsonl'
refuses 'EVAL=mmlu: choice, gsm8k or nothing' a EVAL=mmlu

# Costs in passes over the pool's tokens: all data, twice, is 1; an episode is what it trained on, three
# tokens scored each, and the validation set before it and after its two steps.
read -r n x y <a/pool.tokens
[ "$n" = 60 ] && [ "$((x + y))" = "$(raise-view --table len_x,len_y a/features.st.zst | awk -F, 'NR > 1 { n += $1 + $2 } END { print n }')" ]
cost() { awk -F, -v m="$1" -v p="$2" '$1 == m && $3 == p { print $4, $5, $6 }' a/costs.csv; }
[ "$(cost full training)" = "0 $((2 * (x + y))) 1" ] || fail "$(cost full training)"
[ "$(cost random features)$(cost random episodes)$(cost full features)" = "0 0 00 0 00 0 0" ] || fail "free choices"
[ "$(cost near features | cut -d' ' -f1)" = "$(awk -v s=$((x + y)) '{ print s + $2 + $3 }' a/target.tokens)" ] || fail "near"
trained=$(for k in 1 2; do raise-view --table n_tokens "a/best-of/s1/traj.$k.st.zst"; done | awk '{ n += $1 } END { print n }')
[ "$(cost best-of episodes | cut -d' ' -f1,2)" = "$(awk -v t="$trained" '{ print 6 * ($2 + $3), t }' a/s1/val.tokens)" ] || fail "best-of"
# the reward model: two passes, log P(y) alone, the target, three steps of its three records
[ "$(cost reward-model features)" = "$(awk -v x="$x" -v y="$y" '{ t = $2 + $3; s = 2 * (x + y) + y + 3 * t; printf "%d %d %.6g", s, 3 * t, (s + 9 * t) / (6 * (x + y)) }' a/target.tokens)" ] ||
    fail "$(cost reward-model features)"
[ "$(cost none-learnt episodes)" = "0 0 0" ]
[ "$(cost lead features | cut -d' ' -f1) $(cost lead episodes)" = "$((x + y)) 0 0 0" ] || fail "LEAD's costs"
