#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A number that nobody measured is in no table: programs that fail, files that a lost node never
# wrote, the last update's episodes, steps by the pool's own rows, one seed's deviation.
set -eu
# shellcheck source=tests/pipeline.sh
. "$RAISE_TESTS/pipeline.sh"

# The last update takes what is left; steps come from the 60 rows; one target for all; no
# deviation of one seed.
go a STEPS= EPISODES=3 PER_UPDATE=2 VAL_LIMIT=5 TEST_LIMIT=3 BASELINES='random rds' || fail "the run"
[ "$(ls a/reward-model/s1/traj.*)" = "$(printf 'a/reward-model/s1/traj.%d.st.zst\n' 1 2 3)" ]
[ -e a/reward-model/s1/policy.2.st.zst ]
[ ! -e a/reward-model/s1/policy.3.st.zst ]
[ "$(cat a/steps)" = 5 ]
raise-view --history a/reward-model/s1/traj.3.st.zst | tail -n 1 >history
grep -q -- '--steps 5 .*policy.1.st.zst --episode 3' history
[ "$(cut -d, -f1,3,5 a/episodes.csv | tr '\n' ' ')" = \
    "method,episode,status reward-model,1,ok reward-model,2,ok reward-model,3,ok " ]
awk -F, 'NR > 1 && ($4 == "" || $4 == 0) { exit 1 }' a/episodes.csv
[ "$(wc -l <a/s1/val.jsonl)" = 5 ]
[ "$(wc -l <a/test.jsonl)" = 3 ]
[ "$(raise-view --meta raise.n_total a/s1/val.st.zst)" = 5 ]
raise-export -q -n 5 --sample -s 1 val.jsonl | cmp - a/s1/val.jsonl
[ "$(awk 'NR > 1 && !/\.$/ { print $NF }' a/table.txt | sort -u)" = - ]
grep -q 'has the lowest test loss: .* below .*, the next\.$' a/table.txt
tail -n 1 a/table.txt | grep -qE '^RAISE \(reward model\) (is|did not beat) .*random choice.* \(one seed: '
[ "$(cut -d, -f1,3 a/table.csv | tr '\n' ' ')" = "method,steps none,0 random,5 rds,5 reward-model,5 " ]
# A thousand rows: 1 % of 3 epochs in steps of 4 is 7.
go n -n a/steps STEPS= || fail "-n"
records pool 1000 >many.jsonl
go many many/steps DATA=many.jsonl STEPS= || fail "steps"
[ "$(cat many/steps)" = 7 ]
rm many/steps
go many many/steps DATA=many.jsonl STEPS= PERCENT=2.2 REBUILD=yes || fail "steps"
[ "$(cat many/steps)" = 16 ]
# Two disjoint samples: at most half of VAL for the features, the others for the rewards.
go t t/s1/val.jsonl TARGET_LIMIT=3 VAL_LIMIT=5 || fail "a target beside"
[ "$(wc -l <t/target.jsonl)" = 3 ]
[ "$(sort -u t/target.jsonl t/s1/val.jsonl | wc -l)" = 8 ]
go half half/s1/val.jsonl TARGET_LIMIT=1k || fail "half of VAL"
[ "$(wc -l <half/target.jsonl)" = 4 ] && [ "$(sort -u half/target.jsonl half/s1/val.jsonl | wc -l)" = 8 ]
go half half/prior/s1/plan.st.zst TARGET_LIMIT=1k LR=1e-2 BASELINES=prior || fail "features with a target"
raise-view half/features.st.zst | grep -q ' gain_sum ' || fail "no gain"
raise-view half/features.st.zst | grep -q ' near ' || fail "no near"

# Programs that fail: every one that a table is made with.
cp -r a kept
mkdir bin
for p in "$RAISE_BUILD"/raise-*; do ln -s "$p" bin/; done
rm bin/raise-view bin/raise-cuda.so 2>/dev/null || :
view() { # pattern of arguments, what happens then
    cat >bin/raise-view <<SH
#!/bin/bash
pattern='*$1'
[[ "\$*" != \$pattern ]] || { echo "broken: \$*" >&2; $2; }
exec "$RAISE_BUILD/raise-view" "\$@"
SH
    chmod +x bin/raise-view
}
again() { # file that is made again, with bin/
    rm -f "a/$1"
    go a BIN=bin/ STEPS= EPISODES=3 PER_UPDATE=2 VAL_LIMIT=5 TEST_LIMIT=3 BASELINES='random rds'
}
view never-asked :
again table.csv || fail "the programs in bin"
cmp a/table.csv kept/table.csv
for broken in test_loss test_loss_before n_steps status; do
    view "raise.$broken *rds/*" 'exit 1'
    if again rds/s1/test.csv; then fail "a table without $broken"; fi
    told "broken: --meta raise.$broken a/rds/s1/final.st.zst"
    [ ! -e a/rds/s1/test.csv ] || fail "rows without $broken"
done
view 'perf *rds/*' 'head -c 100 /dev/zero; exit 1'
if again rds/s1/loss.csv; then fail "a picture without losses"; fi
told 'broken: --table perf'
view 'perf *traj.2*' 'exit 1'
if again reward-model/s1/gains.csv; then fail "an episode that cannot be read"; fi
told 'broken: --table perf'
view 'raise.test_loss *rds/*' 'echo; exit 0'
if again rds/s1/test.csv; then fail "an empty test loss"; fi
told '"" is not a test loss'
view 'table*source*' 'exit 1'
if again steps; then fail "steps of an unknown number of rows"; fi
told 'broken: --table source'
rm a/rds/s1/test.csv a/rds/s1/loss.csv
# What a table is made of is its prerequisite: all is as it was.
view never-asked :
for f in reward-model/s1/gains.csv rds/s1/loss.csv random/s1/test.csv steps reward-model/s1/traj.1.st.zst; do
    again $f || fail "without $f"
done
for f in table.csv table.txt loss.csv episodes.csv reward-model/s1/subset.jsonl; do
    cmp a/$f kept/$f
done

# A node is lost: the command ends well and has written nothing.
if go lost RUN=:; then fail "nothing was written"; fi
told 'lost/pool.st.zst: its command ended well, and did not write it'

# An episode that went astray has its status and no gain, and the run goes on to its tables.
cat >bin/astray <<'SH'
#!/bin/bash
[[ "$*" != *"-o b/reward-model/s1/traj.1.st.zst"* ]] || set -- "${@/3e-4/1e30}"
exec "$@"
SH
chmod +x bin/astray
go b RUN=bin/astray || fail "the run with an episode that diverged"
[ "$(cut -d, -f3,5 b/episodes.csv | tr '\n' ' ')" = "episode,status 1,diverged at step 1 2,ok " ]
awk -F, 'NR > 1 && ($5 == "ok") != ($4 != "") { exit 1 }' b/episodes.csv
[ "$(wc -l <b/table.csv)" = 4 ]

# A lost node leaves no old file in the place of the new one, either.
cat >bin/lossy <<'SH'
#!/bin/bash
[[ "$*" == *"-o b/reward-model/s1/traj.2.st.zst"* ]] || exec "$@"
SH
chmod +x bin/lossy
rm b/reward-model/s1/traj.1.st.zst # the second is older than its policy will be
if go b RUN=bin/lossy; then fail "a lost episode"; fi
told 'traj.2.st.zst: its command ended well'
[ ! -e b/reward-model/s1/traj.2.st.zst ] || fail "an old file stands for a lost one"

# No episode: the learner's first policy alone.
go none EPISODES=0 BASELINES= || fail "no episode"
[ "$(wc -l <none/table.csv)" = 3 ]
[ "$(cat none/episodes.csv)" = method,seed,episode,gain,status ]

# A last one that went astray stops the run, and is not run again.
for _ in 1 2; do
    if go e LR=1e30 LEARNERS=; then fail "a last episode that diverged"; fi
    told 'e/random/s1/final.st.zst: the last episode ended as "diverged at step 1'
done
if grep -q raise-rollout log; then fail "it was run again"; fi

# Rows that a makefile adds by itself are prerequisites as all others (a run in parts had left them out).
make -n -f "$pipelines/demo.mk" BUILD="$RAISE_BUILD" OUT=demo demo/loss.csv demo/table.csv >log 2>&1 || fail "the demonstration"
grep -q 'cat .* demo/target/s3/loss.csv' log || fail "loss.csv without the ceiling"
grep -q 'cat .* demo/target/s3/test.csv' log || fail "table.csv without the ceiling"

# The deviation is that of a sample; the best method stands last, and the verdict is by seeds that
# both have.
told_by() { # rows...: table.txt of them
    printf '%s\n' method,seed,steps,test_loss "$@" | awk -F, -f "$pipelines/results.awk" -f "$pipelines/table.awk" >table
}
told_by none,1,0,9 ppo,1,4,1 rds,1,4,3 ppo,2,4,2 rds,2,4,3 ppo,3,4,3 target,1,4,0.5
[ "$(awk 'NR > 1 && !/\.$/ { print $1, $(NF - 1), $NF }' table)" = \
    "$(printf 'no 9.0000 -\nRDS 3.0000 0.0000\nRAISE 2.0000 1.0000\ntarget 0.5000 -')" ] || fail "a table of seven losses"
[ "$(tail -n 1 table)" = 'RAISE (PPO) has the lowest test loss: 1.5000 below RDS, the next (differences over 2 seeds: sd 0.7071).' ] ||
    fail "the verdict"

# Against random choice: of all ways to give the differences a sign, those whose sum is at least
# theirs. 0.3 0.2 0.1 -0.05: two of 16, 0.65 and 0.55 itself.
against() { # differences...
    local rows=() s=0 d
    for d; do
        s=$((s + 1))
        rows+=("ppo,$s,4,1" "random,$s,4,$(awk -v d="$d" 'BEGIN { print 1 + d }')")
    done
    told_by "${rows[@]}"
    grep 'random choice' table | grep '\.$' | tail -n 1
}
is() { [ "$1" = "$2" ] || fail "expected: $2, is: $1"; }
is "$(against 0.3 0.2 0.1 -0.05)" 'RAISE (PPO) is 0.1375 below random choice (4 seeds, p = 0.1250, one-sided).'
is "$(against 0.1 0.1 0.1 0.1 0.1)" 'RAISE (PPO) is 0.1000 below random choice (5 seeds, p = 0.0312, one-sided).'
is "$(against -0.1 -0.2)" 'RAISE (PPO) did not beat random choice: its test loss is 0.1500 above (2 seeds, p = 1.0000, one-sided).'
tail -n 1 table | grep -q '^What to try: more episodes (EPISODES=).*, random choice\.$' && fail "random choice is what is best"
tail -n 1 table | grep -q '^What to try: more episodes (EPISODES=)' || fail "what to try"
is "$(against 0.25)" 'RAISE (PPO) is 0.2500 below random choice (one seed: how far that is chance is not known).'
against 0.1 -0.2 0.3 0.1 0.5 -0.1 0.2 0.05 0.15 -0.3 >/dev/null
python3 -c '
import itertools
d = [0.1, -0.2, 0.3, 0.1, 0.5, -0.1, 0.2, 0.05, 0.15, -0.3]
p = sum(sum(s * x for s, x in zip(w, d)) >= sum(d) - 1e-9 for w in itertools.product((1, -1), repeat=10)) / 1024
print(f"p = {p:.4f},")' >p 2>/dev/null || { echo "python3 is not installed"; exit 77; }
grep -qF "$(cat p)" table || fail "not $(cat p)"
