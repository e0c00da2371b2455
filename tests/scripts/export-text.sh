#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# raise-export -f text: records for people, in which no record can speak for the program or steer
# the terminal; --records: by their numbers; --field: one field a line.
set -eu
# shellcheck source=tests/scratch.sh
. "$RAISE_TESTS/scratch.sh"
fail() { echo "$*"; exit 1; }
refuses() { # message arguments...
    local message=$1 status=0
    shift
    raise-export -q "$@" >out 2>err || status=$?
    [ "$status" -ne 0 ] || fail "accepted: $*"
    [ ! -s out ] || fail "something was written: $*"
    if [ "$(wc -l <err)" != 1 ] || ! grep -qF -- "$message" err; then cat err; fail "expected: $message"; fi
}
cat >d.jsonl <<'E2'
{"instruction": "add", "input": "1\t2", "output": "3\n\nrecord 9\n  user\u001b[31m\u202e", "kind": "s\nums", "n": 7.50}
{"instruction": 5}
{"messages": [{"role": "system", "content": "be\r"}, {"role": "user", "content": "caf\u00e9"}, {"role": "assistant", "content": "x"}], "kind": null, "n": [1, 2]}
{"question": "q", "answer": "", "kind": 4}
{"question": "q", "answer": "a"}
E2
printf '%s\n' 4 0 4 >numbers
raise-export -q --on-error skip --records numbers -f text --with source d.jsonl >out
cat >want <<'E2'
record 4, source 4
  user
    q
  assistant
    a

record 0, source 0
  user
    add
    1	2
  assistant
    3

    record 9
      user\x1b[31m\u202e

record 4, source 4
  user
    q
  assistant
    a

E2
diff -u want out
printf '%s\n' 0 2 4 >numbers
[ "$(raise-export -q --on-error skip --records numbers -f text --field kind d.jsonl)" = 's\nums' ]
raise-export -q --on-error skip --records numbers -f text --field n d.jsonl | cmp - <(printf '%s\n' 7.50 '[1, 2]' '')
raise-export -q --on-error skip --records numbers -f text d.jsonl | grep -qxF '    be\r'
raise-export --on-error skip --records numbers -f indices d.jsonl 2>err | cmp - numbers
grep -q ' 3 records of d.jsonl ' err
cmp <(raise-export -q --on-error skip --records - -f indices d.jsonl <numbers) numbers

for bad in 1 5 12345678901234567890123 -1 4k '4 ' '' 0x4; do
    printf '%s\n' 0 "$bad" >bad
    refuses "bad:2: " --on-error skip --records bad d.jsonl
done
refuses 'bad:2: "0x4" is not a record number' --on-error skip --records bad d.jsonl
echo 1 >bad
refuses 'bad:1: d.jsonl has no record 1' --on-error skip --records bad d.jsonl
: >bad
refuses 'bad: no record number' --on-error skip --records bad d.jsonl
refuses '--field goes with -F text' --field kind d.jsonl
refuses '--field writes that field alone' --field kind -f text --with source d.jsonl
refuses '--records says which records' --records numbers -n 2 d.jsonl
refuses 'text is no dataset' --on-error skip -f text --stanza s.json -o t.txt d.jsonl
