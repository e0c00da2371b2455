#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# raise-eval gsm8k: prompts are lm-evaluation-harness's; what was found and what counts as right is
# what Python's expressions say; tokens are those of generation one prompt at a time; the same bytes
# for any number of threads and slots; problems that are wrong, too long or a shot are named.
set -eu
# shellcheck source=tests/scratch.sh
. "$RAISE_TESTS/scratch.sh"
needs python3
cp -r "$RAISE_TESTS/fixtures/tiny-llama" model
python3 - <<'PY'
import json
for name, n in (("train", 5), ("test", 6)):
    with open(f"{name}.jsonl", "w") as f:
        for i in range(n):
            print(json.dumps({"question": f"{name} {i}, \u00fc?" + i * " so", "answer": f"{i}+1={i + 1}\n#### {i + 1}"}), file=f)
PY
gsm8k() { raise-eval gsm8k -q -m model --max-new 48 "$@"; }
gsm8k -t 2 --shots 2 --shots-from train.jsonl test.jsonl -o rows.csv --log-samples rows.jsonl --summary rows.sum
python3 - <<'PY'
import json
# the same problems; the answer is what the model says
with open("said.jsonl", "w") as f:
    for line in open("rows.jsonl"):
        s = json.loads(line)
        q = s["context"].split("Question: ")[-1].removesuffix("\nAnswer:")
        a = s["flexible"].strip(",.$") if s["flexible"] != "[invalid]" else "7"
        print(json.dumps({"question": q, "answer": f"#### {a or 7}"}), file=f)
PY
gsm8k --shots 2 --shots-from train.jsonl said.jsonl -o said.csv --log-samples said.out
gsm8k test.jsonl -o none.csv --log-samples none.jsonl
gsm8k --template smollm2 test.jsonl -o chat.csv --log-samples chat.jsonl

python3 - <<'PY'
import csv, json, math, re
def rows(name):
    return list(csv.DictReader(open(name)))
def load(name):
    return [json.loads(line) for line in open(name)]
shots = "".join(f"Question: {r['question']}\nAnswer: {r['answer']}\n\n" for r in load("train.jsonl")[:2])
def normal(x):
    for r in (",", r"\$", r"(?s).*#### ", r"\.$"):
        x = re.sub(r, "", x)
    return x.lower()
def strict(t):
    return (re.findall(r"#### (\-?[0-9\.\,]+)", t) or ["[invalid]"])[0]
def flexible(t):
    m = re.findall(r"(-?[$0-9.,]{2,})|(-?[0-9]+)", t)
    return [x for x in m[-1] if x][0] if m else "[invalid]"
right = 0
for name, log, data, before in (("rows.csv", "rows.jsonl", "test.jsonl", shots), ("said.csv", "said.out", "said.jsonl", shots),
                                ("none.csv", "none.jsonl", "test.jsonl", "")):
    for r, s, d in zip(rows(name), load(log), load(data), strict=True):
        assert s["context"] == before + "Question: " + d["question"] + "\nAnswer:", s
        assert s["strict"] == strict(s["generated"]) and s["flexible"] == flexible(s["generated"]), s
        assert int(r["strict_match"]) == (normal(s["strict"]) == normal(d["answer"])), (r, s)
        assert int(r["flexible_extract"]) == (normal(s["flexible"]) == normal(d["answer"])), (r, s)
        assert int(r["new_tokens"]) == len(s["ids"]) <= 48 and r["prompt"] == s["prompt"]
        assert int(r["unfinished"]) == (s["end"] == "length") and s["answer"] == d["answer"]
        assert not any(x in s["generated"] for x in ("Question:", "</s>", "<|im_end|>"))
        right += int(r["flexible_extract"]) * (name == "said.csv")
assert right >= 1, right
for s in load("chat.jsonl"):
    assert s["context"].startswith("<|im_start|>") and s["context"].endswith("<|im_start|>assistant\n"), s
    assert "<|im_start|>user\nQuestion: test" in s["context"], s
of = [int(r["flexible_extract"]) for r in rows("rows.csv")]
m, r = sum(of) / len(of), [x for x in rows("rows.sum") if x["metric"] == "flexible_extract"][0]
assert abs(float(r["mean"]) - m) < 1e-12 and abs(float(r["stderr"]) - math.sqrt(m * (1 - m) / (len(of) - 1))) < 1e-12
PY

again() { raise-eval gsm8k -q -m model --max-new 48 --shots 2 --shots-from train.jsonl "$@"; }
again -t 1 --slots 1 test.jsonl | cmp - rows.csv
again -t 2 --slots 4 --batch-tokens 60 test.jsonl | cmp - rows.csv
again --limit 2 test.jsonl | cmp - <(head -n 3 rows.csv)
# a model of which a token that it writes, and no prompt has, says "aQuestion:b"
cp -r model stops
cat >stops.py <<'PY'
import json, sys
samples = [[json.loads(line) for line in open(f)] for f in sys.argv[1:]]
new = lambda ids: [i for i, x in enumerate(ids) if x >= 128 and x not in (0xc3, 0xbc)]
first = next(s["ids"][new(s["ids"])[0]] for s in samples[0] if new(s["ids"]))
if len(samples) == 1:
    t = json.load(open("stops/tokenizer.json"))
    vocab = t["model"]["vocab"]
    vocab["aQuestion:b"] = vocab.pop(next(k for k, v in vocab.items() if v == first))
    json.dump(t, open("stops/tokenizer.json", "w"))
else:
    for a, b in zip(*samples, strict=True):
        n = a["ids"].index(first) + 1 if first in a["ids"] else len(a["ids"])
        assert b["ids"] == a["ids"][:n] and "Question" not in b["generated"], (first, a, b)
        assert b["end"] == ("text" if first in a["ids"] else a["end"]), (first, b)
        assert first not in a["ids"] or b["generated"].endswith("a"), b
PY
python3 stops.py rows.jsonl
raise-eval gsm8k -q -m stops --max-new 48 --shots 2 --shots-from train.jsonl test.jsonl -o /dev/null --log-samples stops.jsonl
python3 stops.py rows.jsonl stops.jsonl

# drawn shots are others, by the seed
again --sample-shots --seed 3 test.jsonl -o a.csv
again --sample-shots --seed 3 test.jsonl | cmp - a.csv
raise-eval compare a.csv rows.csv 2>&1 | grep -q 'was asked otherwise'
# ... those that raise-export draws
for seed in 1 2 3; do
    again --sample-shots --seed $seed --limit 1 --max-new 1 test.jsonl -o /dev/null --log-samples drawn.jsonl
    raise-export -q -f jsonl -n 2 --sample -s $seed -o "drawn.$seed" train.jsonl
    python3 - drawn.jsonl "drawn.$seed" <<'PY'
import json, sys
sample, *shots = [json.loads(line) for name in sys.argv[1:] for line in open(name)]
before = "".join(f"Question: {r['question']}\nAnswer: {r['answer']}\n\n" for r in shots)
assert len(shots) == 2 and sample["context"].startswith(before + "Question: test 0"), (sample, shots)
PY
done
if cmp -s drawn.1 drawn.2 && cmp -s drawn.1 drawn.3; then echo "one draw for every seed" && exit 1; fi

refused() { # status pattern command...
    local status=0 want=$1 pattern=$2
    shift 2
    ("$@") >out 2>err || status=$?
    if [ "$status" != "$want" ] || ! grep -q -- "$pattern" err; then
        echo "$*: status $status, wanted $want and '$pattern':" && cat err && exit 1
    fi
}
(cat test.jsonl; printf '{"question": "%0600d", "answer": "#### 5"}\n' 5) >long.jsonl
raise-eval gsm8k -m model --max-new 48 --shots 2 --shots-from train.jsonl long.jsonl -o long.csv 2>err
grep -q 'warning: 1 of 7 records left out:' err
grep -q 'long.jsonl:7: record 6: a prompt of [0-9]* tokens and 48 more, beyond the 512 allowed' err
sed 's/long.jsonl/test.jsonl/' long.csv | cmp - rows.csv
refused 1 'raise-eval: long.jsonl:7: record 6: a prompt of [0-9]* tokens and 48 more' gsm8k --overlong fail long.jsonl
gsm8k --overlong cut long.jsonl | tail -n 1 | grep -q '^gsm8k,long.jsonl,6,7,,.*,464,[0-9]*$'
refused 1 'none of the 6 problems fits into 512 tokens' raise-eval gsm8k -q -m model --max-new 510 test.jsonl
printf '{"question": "q", "answer": "5"}\n{"question": "r", "answer": "#### 5"}\n' >bad.jsonl
refused 1 'raise-eval: bad.jsonl:1: record 0: its answer does not end with "#### NUMBER"' gsm8k bad.jsonl
[ "$(gsm8k --on-error skip bad.jsonl | wc -l)" = 2 ]
refused 1 'raise-eval: bad.jsonl:1: record 0: its answer does not end' gsm8k --shots 1 --shots-from bad.jsonl test.jsonl
refused 1 'train.jsonl:1: record 0: is also a shot: train.jsonl:1: record 0' gsm8k --shots 1 --shots-from train.jsonl train.jsonl
refused 1 'raise-eval: train.jsonl: 5 problems, fewer than 6 shots' gsm8k --shots 6 --shots-from train.jsonl test.jsonl
refused 2 'raise-eval: --max-new: the task loss does not take it' raise-eval loss -m model --max-new 3 test.jsonl
refused 2 'raise-eval: --by: the task gsm8k does not take it' gsm8k --by text test.jsonl
