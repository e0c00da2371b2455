#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Methods with something of their own: widths and classes of the features, numbers of episodes and
# steps, another pool, all data, the best of random episodes.
set -eu
# shellcheck source=tests/pipeline.sh
. "$RAISE_TESTS/pipeline.sh"

meta() { raise-view --meta "raise.$1" "$2"; }
ran() { raise-view --history "$1" | tail -n 1; }
go a LEARNERS='reward-model wide two none-learnt' LEARNER_wide=reward-model LEARNER_two=ppo \
    LEARNER_none-learnt=reward-model DIM_wide=12 CLASSES_two=2 EPISODES_two=1 EPISODES_none-learnt=0 PERCENT_two=13.4 \
    DEPLOY_OPTS_two=--greedy TARGET_LIMIT=3 EPOCHS=2 BASELINES='random full validation best-of near long' STEPS_long=3 \
    PLAN_long=length || fail "the run"
[ "$(cd a && echo *.st.zst)" = 'features.c2.st.zst features.d12.st.zst features.st.zst pool.d12.st.zst pool.st.zst' ]
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
[ "$(cut -d, -f1,3 a/table.csv | tr '\n' ' ')" = "method,steps best-of,2 full,30 long,3 near,2 none,0 none-learnt,2 \
random,2 reward-model,2 two,5 validation,2 wide,2 " ]
