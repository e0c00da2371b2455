#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What a run says: a line a finished job, k of n, the time left once it is known, warnings, and nothing
# else; with V=1 the commands instead. Jobs side by side have a GPU each.
set -eu
# shellcheck source=tests/pipeline.sh
. "$RAISE_TESTS/pipeline.sh"
loud() { # out variables...: as go, but not -s
    local out=$1
    shift
    make -f "$pipelines/gsm8k.mk" BUILD="$RAISE_BUILD" OUT="$out" DATA=pool.jsonl MODEL="$model" \
        VAL=val.jsonl TEST=test.jsonl TEMPLATE=plain TARGET_LIMIT=0 DIM=8 STEPS=2 BATCH=4 EPISODES=2 LEARNERS=reward-model \
        BASELINES=random THREADS=1 PRECISION=fp32 MAX_LENGTH=256 VAL_LIMIT=8 TEST_LIMIT=8 "$@" >log 2>&1
}
loud a || fail "the run"
grep -E '^[0-9]+ of [0-9]+: ' log >finished
[ "$(cut -d: -f1 finished)" = "$(seq -f '%g of 13' 13)" ] || fail "not 1 of 13 to 13 of 13"
grep -qE '^6 of 13: reward-model/s1/traj\.1\.st\.zst, [0-9.]+s; about [0-9.]+s left$' finished || fail "the first episode"
grep -qE '^3 of 13: pool\.st\.zst, [0-9.]+s$' finished || fail "a time left before an episode is known"
[ "$(grep -c left finished)" = 7 ] || fail "times left"
costs() { awk -F, -v epochs=3 -f "$pipelines/costs.awk" "$1/costs.csv"; }
comm -23 <(grep -v 'warning: consistency is the same for all' log | sort) <({ cat finished a/table.txt a/next.txt && costs a; } | sort) >others
[ ! -s others ] || { cat others; fail "something else"; }
# A row of times.csv each, with what the program told of itself.
awk -F, 'NR > 1 && !($3 > 0 && ($1 == "policy" || $4 >= 0 && $5 > 1e6)) { print; bad = 1 } END { exit bad || NR != 14 }' a/times.csv || fail "times.csv"
[ "$(cut -d, -f2 a/times.csv | sort | uniq -d)" = "" ] || fail "a job stands twice in times.csv"
[ "$(find a -name '.spent*')" = "" ] || fail "left: $(find a -name '.spent*')"

# What is done counts no more; a warning stays.
rm a/reward-model/s1/final.st.zst a/s1/val.st.zst 2>/dev/null || :
loud a || fail "the run goes on"
grep -qE '^1 of 2: reward-model/s1/final\.st\.zst, ' log || fail "the second run"
grep -q '^2 of 2: ' log || fail "the second run's end"

# The commands, and all that programs say; or nothing at all.
loud b V=1 || fail "V=1"
grep -q '^.*raise-rollout -f b/features.st.zst' log || fail "no commands"
told 'raise-rollout: validation loss'
if grep -q '^1 of 1' log; then fail "both"; fi
go c || fail "-s"
told 'raise-export: warning: val.jsonl: 8 records, fewer than --limit 32'
comm -23 <(grep -v 'warning: consistency is the same for all' log | sort) <({ cat c/table.txt c/next.txt && costs c; } | sort) | grep -v warning: >others || :
[ ! -s others ] || { cat others; fail "something in a silent run"; }

# Two GPUs: never twice the same at one time, and both in use; one: left to the programs.
cat >gpu.sh <<'SH'
#!/bin/bash
gpu=${CUDA_VISIBLE_DEVICES-none}
mkdir "gpu.$gpu" || echo "$gpu is in use" >>clash
echo "$gpu" >>gpus
sleep 0.1
rmdir "gpu.$gpu"
exec "$@"
SH
chmod +x gpu.sh
loud d -j2 GPUS='4 6' RUN=./gpu.sh SEEDS='1 2' EPISODES=1 || fail "two GPUs"
[ ! -e clash ] || { cat clash; fail "one GPU for two jobs"; }
[ "$(sort -u gpus | paste -sd' ')" = '4 6' ] || fail "GPUs: $(sort gpus | uniq -c)"
rm gpus
loud e GPUS=4 RUN=./gpu.sh LEARNERS= || fail "one GPU"
[ "$(sort -u gpus)" = none ] || fail "GPUs: $(sort gpus | uniq -c)"

# How far it is, without a word to the folder: from nothing, half way, while a job runs, at the end.
makes() { make -s -f "$pipelines/gsm8k.mk" BUILD="$RAISE_BUILD" OUT=f DATA=pool.jsonl MODEL="$model" VAL=val.jsonl TEST=test.jsonl \
    TEMPLATE=plain TARGET_LIMIT=0 DIM=8 STEPS=2 BATCH=4 EPISODES=2 LEARNERS=reward-model BASELINES=random THREADS=1 PRECISION=fp32 \
    MAX_LENGTH=256 VAL_LIMIT=8 TEST_LIMIT=8 "$@"; }
[ "$(makes status | head -n 1)" = '0 of 13 jobs are done; none runs.' ] || fail "before anything: $(makes status)"
[ ! -e f ] || fail "status makes something"
loud f f/reward-model/s1/traj.1.st.zst || fail "an episode"
makes status >said
[ "$(head -n 1 said)" = '6 of 13 jobs are done; none runs.' ] || fail "half way: $(cat said)"
grep -qE '^The rest takes about [0-9]+ (s|min), by the times of those that are done\.$' said || fail "$(cat said)"
cat >wait.sh <<'SH'
#!/bin/bash
while [ ! -e go-on ]; do sleep 0.02; done
exec "$@"
SH
chmod +x wait.sh
loud f RUN=./wait.sh &
waits=$!
for ((i = 0; i < 1000; i++)); do
    ! grep -q '^run episode .*traj\.2' f/.jobs 2>/dev/null || break
    sleep 0.02
done
makes status >said
touch go-on
wait "$waits" || fail "the rest"
grep -qE '^7 of 13 jobs are done\. One runs: f/reward-model/s1/traj\.2\.st\.zst \([0-9]+ s so far\)\.$' said || fail "at work: $(cat said)"
grep -qE ': until [0-9-]+ [0-9:]+\.$' said || fail "until when: $(cat said)"
[ "$(makes status)" = '13 of 13 jobs are done.' ] || fail "in the end: $(makes status)"

# The time left is not measured by other work: records to validate on are embedded in no time.
printf '%s\n' 'start 0' 'todo embed x/pool' 'todo embed-set x/val' 'todo episode x/t1' 'todo episode x/t2' \
    'done embed x/pool 1000 1000' 'done episode x/t1 10 1010' >forged
[ "$(awk -v target=x/t1 -v folder=x -f "$pipelines/jobs.awk" forged)" = '2 of 4: t1, 10.0s; about 10.0s left' ] || fail "a forged run"
loud g BASELINES='random rds' || fail "RDS"
[ "$(grep ' embed' g/.jobs | awk '$1 == "done" { print $2, $3 }' | sort | paste -sd' ')" = 'embed g/pool.st.zst embed-set g/s1/val.st.zst' ]
