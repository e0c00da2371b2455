#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# raise-export without a trajectory: the first records, a sample, without those of another file,
# apart from another file; whatever the layout, the records as they were.
set -eu
# shellcheck source=tests/scratch.sh
. "$RAISE_TESTS/scratch.sh"
fail() { echo "$*"; exit 1; }
refuses() { # message command...
    local message=$1 status=0
    shift
    "$@" >out 2>err || status=$?
    [ "$status" -ne 0 ] || fail "accepted: $*"
    [ ! -s out ] || fail "something was written: $*"
    if [ "$(wc -l <err)" != 1 ] || ! grep -qF -- "$message" err; then cat err; fail "expected: $message"; fi
}
awk 'BEGIN { for (i = 0; i < 90; i++)
    printf "{\"question\": \"what is %d?\", \"answer\": \"%d\", \"id\": %d.50}\n", i, i * i, i }' >d.jsonl

raise-export -q d.jsonl | cmp - d.jsonl
raise-export -q -n 7 d.jsonl | cmp - <(head -n 7 d.jsonl)
raise-export -q -n 30 --sample -s 5 -t 1 -o a.jsonl d.jsonl
[ "$(wc -l <a.jsonl)" = 30 ]
grep -Fxf a.jsonl d.jsonl | cmp - a.jsonl # the file's records, in its order
raise-export -q -n 30 --sample -s 5 -t 3 d.jsonl | cmp - a.jsonl
if raise-export -q -n 30 --sample -s 6 d.jsonl | cmp -s - a.jsonl; then fail "the seed says nothing"; fi
[ "$(raise-export -q -f csv --with source -n 1 d.jsonl | tail -n 1)" = '"what is 0?","0","0.50","0"' ]

# It is the sample that raise-rollout and raise-embed take.
raise-embed -q -m "$model" -d 4 -t 1 --template none --limit 30 --sample -s 5 -o e.st.zst d.jsonl
raise-view --table source e.st.zst | tail -n +2 >rows
raise-export -q -f indices -n 30 --sample -s 5 d.jsonl | cmp - <(cut -d, -f2 rows)

# Two samples with nothing in common, also where one is written in another layout.
raise-export -q -f messages -o a.messages.jsonl a.jsonl
for other in a.jsonl a.messages.jsonl; do
    raise-export -q -n 40 --sample -s 5 --without $other -o b.jsonl d.jsonl
    [ "$(wc -l <b.jsonl)" = 40 ]
    [ "$(sort -u a.jsonl b.jsonl | wc -l)" = 70 ]
done
raise-export -n 100 --without a.jsonl d.jsonl 2>err >rest
[ "$(wc -l <rest)" = 60 ]
grep -q 'd.jsonl: 60 records, fewer than --limit 100' err
grep -q '60 records of d.jsonl (.*), without 30 that are in a.jsonl' err
refuses "d.jsonl: every record is in d.jsonl, too" raise-export -q --without d.jsonl d.jsonl

raise-export -q --apart b.jsonl a.jsonl | cmp - a.jsonl
tail -n 1 a.jsonl >leak
cat b.jsonl leak >leaky
refuses "a.jsonl:30: record 29: is also leaky:41: record 40" raise-export -q --apart leaky a.jsonl
raise-export -q -n 29 --apart leaky a.jsonl | cmp - <(head -n 29 a.jsonl) # only what is drawn counts

# A bad record stops a draw that comes by it.
printf '{"question": 1}\n' >>d.jsonl
raise-export -q -n 7 d.jsonl | cmp - <(head -n 7 d.jsonl)
refuses "d.jsonl:91: record 90:" raise-export -q -n 30 --sample d.jsonl
raise-export --on-error skip d.jsonl 2>err | cmp - <(head -n 90 d.jsonl)
grep -q '1 bad ones skipped' err
refuses "--sample needs --limit" raise-export --sample d.jsonl
refuses "need a trajectory" raise-export --unique d.jsonl
refuses "--stanza needs -o" raise-export --stanza s.json d.jsonl
[ ! -e s.json ]
refuses "without a trajectory" raise-export -n 3 p.st.zst d.jsonl
refuses "only the field" raise-export --with step d.jsonl
refuses "read only once" raise-export --apart - -
