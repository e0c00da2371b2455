# SPDX-License-Identifier: MIT
# For the scripts that test pipelines: a scratch folder with a pool, a validation and a test set,
# and `go OUT VARIABLE=...`, a small run of pipelines/gsm8k.mk, or of $makefile.
# shellcheck shell=bash
# shellcheck source=tests/scratch.sh
. "$RAISE_TESTS/scratch.sh"
unset MAKEFLAGS MAKELEVEL MFLAGS RAISE_FOLDER
pipelines=$RAISE_TESTS/../pipelines

records pool 60 >pool.jsonl
records val 8 >val.jsonl
records test 8 >test.jsonl

go() { # out variables...
    local out=$1 own=(VAL=val.jsonl TEST=test.jsonl LEARNERS=reward-model BASELINES=random)
    shift
    [ -z "${makefile:-}" ] || own=()
    : >log
    make -s -f "$pipelines/${makefile:-gsm8k}.mk" BUILD="$RAISE_BUILD" OUT="$out" DATA=pool.jsonl MODEL="$model" \
        TEMPLATE=plain TARGET_LIMIT=0 DIM=8 STEPS=2 BATCH=4 EPISODES=2 "${own[@]}" \
        THREADS=1 PRECISION=fp32 MAX_LENGTH=256 "$@" >>log 2>&1
}
fail() { echo "$*"; tail -n 20 log; exit 1; }
told() { grep -qF -- "$*" log || fail "not told: $*"; }
refuses() { # message out variables...: nothing is run
    local message=$1
    shift
    if go "$@"; then fail "accepted: $*"; fi
    told "$message"
    [ "$(wc -l <log)" = 1 ] || fail "more than a line: $*"
}
