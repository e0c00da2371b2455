#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# pipelines/pools.mk: what is left of the target is in no pool, each corrupted problem carries the
# answer of another, and what is not GSM8K's layout is refused.
set -eu
# shellcheck source=tests/scratch.sh
. "$RAISE_TESTS/scratch.sh"
unset MAKEFLAGS MAKELEVEL MFLAGS
pools() { make -s -f "$RAISE_TESTS/../pipelines/pools.mk" BUILD="$RAISE_BUILD" ALPACA=a.json GSM8K="$1" OUT="$2" \
    ALPACA_N=5 CLEAN_N=4 CORRUPT_N=3 >log 2>&1; }
awk 'BEGIN { print "["; for (i = 0; i < 9; i++)
    printf "%s{\"instruction\": \"do %d\", \"input\": \"\", \"output\": \"%d\"}\n", i ? "," : "", i, i; print "]" }' >a.json
awk 'BEGIN { for (i = 0; i < 20; i++)
    printf "{\"question\": \"say \\\"%d\\\"\", \"answer\": \"it is %d\"}\n", i, i }' >g.jsonl
pools g.jsonl o || { cat log; exit 1; }
[ "$(wc -l <o/A.jsonl)" = 5 ] && [ "$(wc -l <o/C.jsonl)" = 12 ] && [ "$(wc -l <o/val.jsonl)" = 13 ]
head -n 5 o/C.jsonl | cmp - o/A.jsonl
if cat o/clean.jsonl o/originals.jsonl | grep -qxFf - o/val.jsonl; then echo "a problem is in both"; exit 1; fi
grep -o '[0-9]*' o/corrupt.jsonl | paste - - | awk '$1 == $2 { exit 1 }' || { echo "its own answer"; exit 1; }
grep -o '"say[^}]*' o/corrupt.jsonl | cut -d: -f1 | sort | cmp - <(grep -o '"say[^}]*' o/originals.jsonl | cut -d: -f1 | sort)
cut -d: -f3 o/corrupt.jsonl | sort | cmp - <(cut -d: -f3 o/originals.jsonl | sort)
sed 's/"question": \(.*\), "answer": \(.*\)}/"answer": \2, "question": \1}/' g.jsonl >h.jsonl
if pools h.jsonl p; then echo "another layout was taken"; exit 1; fi
grep -q 'originals.jsonl:1: not {"question"' log || { cat log; exit 1; }
[ ! -e p/C.jsonl ]
