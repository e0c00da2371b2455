#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# raise-export behind raise-embed and raise-plan: the chosen records of a whole pipe, formats that
# trainers read, damaged inputs, a full disk, a closed pipe.
set -eu
# shellcheck source=tests/scratch.sh
. "$RAISE_TESTS/scratch.sh"
awk 'BEGIN { for (i = 0; i < 60; i++)
    printf "{\"question\": \"what is %d?\", \"answer\": \"%s%d\", \"id\": %d}\n", i, i == 7 ? "" : "it is ", i, 1000 + i }' >data.jsonl
printf '{"question": "nothing", "answer": ""}\n' >>data.jsonl
zstd -q data.jsonl
raise-embed -q -m "$model" -d 8 -t 1 --template none --on-error skip -o f.st.zst data.jsonl

# through a pipe, from compressed data: the records that the list names, byte for byte
printf '%s\n' 59 7 0 33 7 12 >list
awk '!seen[$0]++' list >once
want() { while read -r i; do sed -n "$((i + 1))p" data.jsonl; done; }
raise-plan -q -f f.st.zst --top 5 -T 3 -B 2 -o p.st.zst only --list once --repeats
raise-plan -q -f f.st.zst --top 5 -T 3 -B 2 only --list once --repeats |
    raise-export -q - data.jsonl.zst >out.jsonl
raise-export -q -f indices p.st.zst data.jsonl >numbers
want <numbers | cmp - out.jsonl
[ "$(sort -nu numbers | tr '\n' ' ')" = "0 7 12 33 59 " ]
raise-export -q --unique -t 3 p.st.zst data.jsonl | cmp - <(awk '!seen[$0]++' numbers | want)

# other programs read what is written
raise-export -q -w step,score -o s.json --stanza info.json p.st.zst data.jsonl
raise-export -q -w source -f csv p.st.zst data.jsonl >s.csv
raise-export -q -f messages p.st.zst data.jsonl >s.jsonl
if command -v python3 >/dev/null; then
    python3 - <<'PY'
import csv, json
lines = [json.loads(x) for x in open("data.jsonl")]
chosen = [int(x) for x in open("numbers")]
array = json.load(open("s.json"))
assert [r["id"] for r in array] == [1000 + i for i in chosen]
assert [r["raise_step"] for r in array] == [1, 1, 2, 2, 3, 3]
rows = list(csv.DictReader(open("s.csv", newline="")))
assert [(r["answer"], int(r["raise_source"])) for r in rows] == [(lines[i]["answer"], i) for i in chosen]
talks = [json.loads(x) for x in open("s.jsonl")]
assert [t["messages"][1]["content"] for t in talks] == [lines[i]["answer"] for i in chosen]
assert all([m["role"] for m in t["messages"]] == ["user", "assistant"] for t in talks)
info = json.load(open("info.json"))["s"]
assert info["file_name"] == "s.json" and info["columns"] == {"prompt": "question", "response": "answer"}
PY
fi

# what was written is a dataset again, from which the same records can be chosen
raise-export -q -f jsonl --match records p.st.zst s.json | cut -d, -f1-3 | cmp - <(sed 's/}$//' out.jsonl | cut -d, -f1-3)

# a plan that is cut or damaged anywhere gives one line and nothing else
size=$(stat -c %s p.st.zst)
for ((n = 0; n < size; n += 23)); do
    head -c "$n" p.st.zst >cut.st.zst
    if raise-export -q -o never.json cut.st.zst data.jsonl 2>err; then exit 1; fi
    [ "$(wc -l <err)" = 1 ] && [ ! -e never.json ] && grep -q '^raise-export: cut.st.zst' err
done
head -c 150 data.jsonl.zst >cut.jsonl.zst
if raise-export -q -o never.json p.st.zst cut.jsonl.zst 2>err; then exit 1; fi
[ "$(wc -l <err)" = 1 ] && [ ! -e never.json ]
sed 's/what is 33/what was 33/' data.jsonl >edited.jsonl
if raise-export -q p.st.zst edited.jsonl 2>err; then exit 1; fi
grep -q '^raise-export: edited.jsonl: not the file that p.st.zst was chosen from' err
if raise-export -q --match records p.st.zst edited.jsonl 2>err; then exit 1; fi
grep -q '^raise-export: edited.jsonl: no record with the content of record 33 of p.st.zst' err

# a full disk is an error, a reader that stops early is none of ours
if raise-export -q p.st.zst data.jsonl 2>err >/dev/full; then exit 1; fi
[ "$(wc -l <err)" = 1 ] && grep -q 'No space left' err
raise-export -q p.st.zst data.jsonl | head -n 1 | cmp - <(head -n 1 out.jsonl)
[ -z "$(find . -name '*never*')" ]
