#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What is wrong with a pipeline's settings is told in one line that names the variable, before
# anything is run; what can only be read from the datasets, before anything is embedded.
set -eu
# shellcheck source=tests/pipeline.sh
. "$RAISE_TESTS/pipeline.sh"

refuses 'SEEDS= is empty' a SEEDS=
refuses 'SEEDS=8 010: 010 begins with 0' a SEEDS='8 010'
refuses 'SEEDS=1 2 1: 1 stands there twice' a SEEDS='1 2 1'
refuses 'SEEDS=1 x: x is not' a SEEDS='1 x'
refuses 'PER_UPDATE=0: not a whole number of at least 1' a PER_UPDATE=0
refuses 'EPISODES=2.5: not' a EPISODES=2.5
refuses 'BATCH=016: 016 begins with 0' a BATCH=016
refuses 'BATCH=: not' a BATCH=
refuses 'STEPS=ten: not' a STEPS=ten
refuses 'PERCENT=1%: not a number above 0' a STEPS= PERCENT=1%
refuses 'PERCENT=0.0: not a number above 0' a STEPS= PERCENT=0.0
refuses 'LR=1e: not' a LR=1e
refuses 'CHECKPOINT=5m: neither' a CHECKPOINT=5m
refuses 'LIMIT=1x: not' a LIMIT=1x
refuses 'VAL_LIMIT=-1: not' a VAL_LIMIT=-1
refuses 'unknown method "selectit"; known:  random full ifd rds' a BASELINES=selectit
refuses 'deita needs its options in PLAN_OPTS_deita' a BASELINES=deita
refuses 'BASELINES: validation needs TARGET_LIMIT' a BASELINES=validation
refuses 'BASELINES: x needs TARGET_OPTS=--influence' a BASELINES=x PLAN_x=less TARGET_LIMIT=2
refuses 'BASELINES: best-of needs EPISODES' a BASELINES='random best-of' EPISODES=0
refuses 'unknown learner "sac"; known: ppo' a LEARNERS='ppo sac'
refuses 'PPO_OPTS: --without is an option of a new policy: INIT_OPTS' a PPO_OPTS='--without stage'
refuses 'PPO_OPTS_reward-model: --with=influence is an option of a new policy' a PPO_OPTS_reward-model=--with=influence
refuses 'LEARNERS and BASELINES are both empty' a LEARNERS= BASELINES=
refuses 'LEARNERS and BASELINES both have "x"' a LEARNERS=x LEARNER_x=ppo BASELINES=x PLAN_x=ifd
refuses 'scores needs its options in PLAN_OPTS_scores' a BASELINES=scores
refuses 'BASELINES=a/b: a/b: a name has' a BASELINES=a/b
refuses 'the name s3 means something else' a BASELINES=s3 PLAN_s3=ifd
for out in 'a b' 'a:b' 'run[1]' 'a*' 'a;b' "a'b" 'a=b' 'a%b' '~a' -a 'a&b'; do
    refuses "OUT=$out: a path" "$out"
done
refuses 'OUT= is empty' ''
refuses 'DATA=my data.jsonl: a path with a blank' a DATA='my data.jsonl'
refuses "DATA=none.jsonl: there is no such file" a DATA=none.jsonl
refuses "TEST=$dir: is a folder" a TEST="$dir"
refuses "MODEL=no.gguf: there is no such" a MODEL=no.gguf
[ -z "$(bash "$pipelines/check.sh" model:MODEL org/name@pr/1)" ] || fail "a name of the Hub with a revision"
refuses "TEMPLATE=no/tmpl: there is no such" a TEMPLATE=no/tmpl
refuses "BIN=nowhere/: there is no raise-embed" a BIN=nowhere/
[ ! -e a ] || fail "something was made"
[ "$(find . -maxdepth 1 | wc -l)" = 5 ] || fail "something was made: $(ls)"

embeds() { # nothing has been embedded
    [ ! -e "$1/pool.st.zst" ] || fail "it was embedded first"
}
cat test.jsonl <(sed -n 7p pool.jsonl) >leaky.jsonl
if go b TEST=leaky.jsonl; then fail "a leak into the test"; fi
told 'leaky.jsonl:9: record 8: is also pool.jsonl:7: record 6' && embeds b
if go c VAL=leaky.jsonl; then fail "a leak into the validation"; fi
told 'leaky.jsonl:9: record 8: is also pool.jsonl:7: record 6' && embeds c
head -n 3 test.jsonl >shared.jsonl
if go g VAL=shared.jsonl; then fail "validation is in the test"; fi
told 'is also g/test.jsonl:1: record 0' && embeds g
echo 'what is this?' >text.txt
if go e TEST=text.txt; then fail "a text as test"; fi
told 'text.txt:1: not a JSON' && embeds e
if go f TEMPLATE=alpacca; then fail "an unknown template"; fi
told 'TEMPLATE=alpacca' && embeds f

# What is allowed, as commands. (-n makes nothing.)
go d -n LIMIT=1k STEPS= PERCENT=0.5 TEST_LIMIT=3 ROLLOUT_OPTS=--full INIT_OPTS='--without stage' \
    PPO_OPTS='--memory 0.1' BASELINES='ifd near' PLAN_near=rds PLAN_OPTS_near='--match max' || fail "-n"
[ ! -e d ] || fail "-n has made something"
lines() { # number pattern
    [ "$(grep -cE -- "$2" log)" = "$1" ] || fail "not $1 lines with $2"
}
lines 1 'raise-embed .*--limit 1k --sample -s 1 .*pool.jsonl'
lines 1 'raise-export .* -n 3 -o d/test.jsonl'
lines 5 'raise-rollout -f .* --full' # 2 episodes, 3 last ones
lines 1 'raise-ppo --init .* --without stage '
lines 2 'raise-ppo -s 1 --memory 0.1'
lines 1 'raise-plan .*--val-features d/s1/val.st.zst  *--match max -o d/near/s1/plan.st.zst rds'

make -s -f "$pipelines/gsm8k.mk" help >log 2>&1 || fail "help"
for v in DATA VAL TEST MODEL LIMIT EPISODES PER_UPDATE TEST_LIMIT RUN INIT_OPTS; do
    grep -q "^$v  *[a-zT]" log || fail "help does not have $v"
done
told 'DATA          the instruction dataset (needed)'
told '[200]' # gsm8k.mk's own default, not raise.mk's
lines 1 '^TEST_LIMIT'

# a number too long for the shell's arithmetic
for n in 100000000000000000 999999999999999999; do
    [ -z "$(bash "$pipelines/check.sh" positive:N $n)" ] || fail "$n is refused"
done
[ -n "$(bash "$pipelines/check.sh" positive:N 1000000000000000000)" ] || fail "nineteen digits are taken"
