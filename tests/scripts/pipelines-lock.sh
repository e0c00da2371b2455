#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Two makes in one folder: the second is told. The lock goes with the run, however that ends.
set -eu
# shellcheck source=tests/pipeline.sh
. "$RAISE_TESTS/pipeline.sh"

cat >wait.sh <<'SH'
#!/bin/bash
echo $$ >started
while [ ! -e go-on ]; do sleep 0.02; done
exec "$@"
SH
chmod +x wait.sh
begin() { # a run that stands still at its first heavy command; $first is its make
    rm -f started go-on
    make -s -f "$pipelines/gsm8k.mk" BUILD="$RAISE_BUILD" OUT=a DATA=pool.jsonl MODEL="$model" VAL=val.jsonl \
        TEST=test.jsonl TEMPLATE=plain TARGET_LIMIT=0 DIM=8 STEPS=2 BATCH=4 EPISODES=2 LEARNERS=reward-model BASELINES=random \
        THREADS=1 PRECISION=fp32 MAX_LENGTH=256 RUN=./wait.sh >first.log 2>&1 &
    first=$!
    for ((i = 0; i < 500; i++)); do
        [ ! -s started ] || return 0
        sleep 0.02
    done
    fail "it did not start"
}
begin
if go a; then fail "a second make in the folder"; fi
told 'OUT=a: another make is at work in this folder'
if go ./a/; then fail "the same folder by another name"; fi
told 'another make is at work'
mkdir b && touch b/.spent.1 # of a job that was killed
go b b/test.jsonl || fail "another folder is free"
[ ! -e b/.spent.1 ] || fail "what a killed job left"
go a -n || fail "-n takes no lock"
touch go-on
wait "$first" || { cat first.log; fail "the first run"; }
[ "$(wc -l <a/table.csv)" = 4 ]
go a -q || fail "something is left to do"

# Killed: what it had started ends, too, and the next one goes on.
for signal in TERM KILL; do
    rm a/pool.st.zst
    begin
    kill -s "$signal" "$first"
    wait "$first" 2>/dev/null || :
    for ((i = 0; i < 250; i++)); do
        kill -0 "$(cat started)" 2>/dev/null || break
        sleep 0.02
    done
    [ "$i" -lt 250 ] || { touch go-on; fail "SIG$signal: its command goes on"; }
    for ((i = 0; i < 250; i++)); do # its make has a moment to end
        flock -n a/.lock true && break
        sleep 0.02
    done
    go a || fail "SIG$signal: the folder is still in use"
done
go a LOCK= -q || fail "without a lock"
