#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# raise-eval choice: each choice's log-likelihood is the loss of a record that says the same, be the
# choices one token each or several; picks and means follow from them; the same bytes for any number
# of threads; questions that are wrong, too long or a shot are named.
set -eu
# shellcheck source=tests/scratch.sh
. "$RAISE_TESTS/scratch.sh"
needs python3
cp -r "$RAISE_TESTS/fixtures/tiny-llama" model
cp -r model letters # the same, where " A" to " D" are one token each

python3 - <<'PY'
import csv, json, os
t = json.load(open("letters/tokenizer.json"))
vocab = t["model"]["vocab"]
free = [k for k, v in vocab.items() if v in (250, 251, 252, 253)]
for old, letter in zip(free, "ABCD"):
    vocab["\u0120" + letter] = vocab.pop(old)
t["model"]["merges"] = [["\u0120", letter] for letter in "ABCD"]
json.dump(t, open("letters/tokenizer.json", "w"))
for split, n in (("dev", 3), ("test", 7)):
    os.makedirs(split, exist_ok=True)
    for subject in ("sea_life", "law"):
        w = csv.writer(open(f"{split}/{subject}_{split}.csv", "w"), lineterminator="\n")
        for i in range(n):
            w.writerow([f"{split} {i}?", i, "x, y", "\u00e4\u00f6", i * i, "ABCD"[i * 3 % 4]])
with open("arc.jsonl", "w") as f:
    for i in range(5):
        json.dump({"question": f"How many are {i}?", "answerKey": str(i % 3 + 1),
                   "choices": {"text": ["some \u00fcber", str(i), "a long one"], "label": ["1", "2", "3"]}}, f)
        f.write("\n")
PY
printf '[user]\n{user}\n[assistant]\n{assistant}\n[options]\neos = no\n' >said.tmpl
choice() { raise-eval choice -q -t 2 "$@"; }
choice -m letters --shots 2 --shots-from dev test/*.csv -o mmlu.csv --log-samples mmlu.jsonl --summary mmlu.sum
choice -m model --by text test/*.csv -o text.csv --log-samples text.jsonl
choice -m model arc.jsonl -o arc.csv --log-samples arc.out
choice -m model --by letter arc.jsonl -o arc-letters.csv --log-samples arc-letters.out

python3 - <<'PY'
import csv, json, math, subprocess
def rows(name):
    return list(csv.DictReader(open(name)))
def loss_of(model, pairs): # the losses of records that say the same
    with open("said.jsonl", "w") as f:
        for context, choice in pairs:
            print(json.dumps({"prompt": context, "completion": choice}), file=f)
    subprocess.run(["raise-eval", "loss", "-q", "-m", model, "--template", "./said.tmpl", "-o", "said.csv", "said.jsonl"], check=True)
    return [float(r["nll"]) for r in rows("said.csv")]
def argmax(x):
    return max(range(len(x)), key=lambda i: x[i])
for name, log, model in (("mmlu.csv", "mmlu.jsonl", "letters"), ("text.csv", "text.jsonl", "model"),
                         ("arc.csv", "arc.out", "model"), ("arc-letters.csv", "arc-letters.out", "model")):
    samples = [json.loads(line) for line in open(log)]
    nll = loss_of(model, [(s["context"], c) for s in samples for c in s["choices"]])
    for r, s in zip(rows(name), samples, strict=True):
        logp, words = s["logp"], [c[1:] for c in s["choices"]]
        want = [-nll.pop(0) for _ in logp]
        assert all(abs(a - b) <= 2e-6 * abs(b) for a, b in zip(logp, want)), (name, logp, want)
        answer, by_char = int(r["answer"]), [p / len(w) for p, w in zip(logp, words)]
        by_byte = [p / len(w.encode()) for p, w in zip(logp, words)]
        assert answer == s["answer"] and int(r["pick"]) == argmax(logp) and int(r["pick_norm"]) == argmax(by_char)
        assert [int(r["acc"]), int(r["acc_norm"]), int(r["acc_bytes"])] == [argmax(x) == answer for x in (logp, by_char, by_byte)]
        assert float(r["logp"]) == logp[answer] and r["prompt"] == s["prompt"]
        share = logp[answer] - math.log(sum(map(math.exp, logp)))
        assert abs(float(r["choice_nll"]) + share) < 1e-9, (r, share)
    assert not nll
mmlu = rows("mmlu.csv")
assert {r["group"] for r in mmlu} == {"law", "sea life"} and len({r["prompt"] for r in mmlu}) == 14
summary = {(r["group"], r["metric"]): r for r in rows("mmlu.sum")}
for group in ("", "law", "sea life"):
    of = [int(r["acc"]) for r in mmlu if group in ("", r["group"])]
    m, r = sum(of) / len(of), summary[group, "acc"]
    assert abs(float(r["mean"]) - m) < 1e-12 and int(r["n"]) == len(of)
    assert abs(float(r["stderr"]) - math.sqrt(m * (1 - m) / (len(of) - 1))) < 1e-12
context = json.loads(open("mmlu.jsonl").readline())["context"]
assert context.startswith("The following are multiple choice questions (with answers) about law.\n\ndev 0?\nA. 0\n"), context
assert context.count("Answer:") == 3 and context.endswith("test 0?\nA. 0\nB. x, y\nC. \u00e4\u00f6\nD. 0\nAnswer:")
PY

# threads, batches, and one subject at a time
again() { raise-eval choice -q -m letters --shots 2 --shots-from dev "$@"; }
again -t 1 test/*.csv | cmp - mmlu.csv
(again test/law_test.csv; again test/sea_life_test.csv | tail -n +2) | cmp - mmlu.csv
raise-eval compare -q mmlu.csv mmlu.csv | grep -q '^choice,law,acc,7,.*,0,0,0,0,1$'

refused() { # status pattern command...
    local status=0 want=$1 pattern=$2
    shift 2
    ("$@") >out 2>err || status=$?
    if [ "$status" != "$want" ] || ! grep -q -- "$pattern" err; then
        echo "$*: status $status, wanted $want and '$pattern':" && cat err && exit 1
    fi
}
# another number of shots is another prompt
choice -m letters --shots 1 --shots-from dev test/*.csv -o one.csv
refused 1 'record 0 of test/law_test.csv (line 1): was asked otherwise' raise-eval compare mmlu.csv one.csv

# what does not fit is left out, cut from the left, or an error
(cat test/law_test.csv; printf '%0600d,1,2,3,4,A\n' 5) >long_test.csv
raise-eval choice -m model long_test.csv -o long.csv 2>err
grep -q 'warning: 1 of 8 records left out:' err
grep -q 'long_test.csv:8: record 7: [0-9]* tokens, more than the 512 allowed' err
[ "$(wc -l <long.csv)" = 8 ]
refused 1 'raise-eval: long_test.csv:8: record 7: [0-9]* tokens, more than the 512 allowed' choice -m model --overlong fail long_test.csv
choice -m model --overlong cut long_test.csv | tail -n 1 | grep -q '^choice,long_test.csv,7,8,long,'

# wrong questions, shots and options
printf 'q,1,2,3,4,E\n' >bad_test.csv
refused 1 'raise-eval: bad_test.csv:1: record 0: the answer "E" is not among the choices: A, B, C, D' choice -m model bad_test.csv
refused 1 'raise-eval: bad_test.csv: no usable question among 1' choice -m model --on-error skip bad_test.csv
printf 'q,1,,3,4,A\n' >empty_test.csv
choice -m model empty_test.csv -o /dev/null
refused 1 'raise-eval: empty_test.csv:1: record 0: choice 2 is empty' choice -m model --by text empty_test.csv
refused 1 'dev/law_dev.csv:1: record 0: is also a shot: dev/law_dev.csv:1' choice -m model --shots 1 --shots-from dev/law_dev.csv dev/law_dev.csv
refused 1 'law_dev.csv: 3 questions about law, fewer than 4 shots' choice -m model --shots 4 --shots-from dev test/law_test.csv
refused 1 'raise-eval: arc.jsonl:1: record 0: dev/arc_dev.csv: No such file' choice -m model --shots 1 --shots-from dev arc.jsonl
refused 2 'raise-eval: --shots and --shots-from go together' choice -m model --shots 1 arc.jsonl

# under a template a choice is a response: the same as the loss of such records
choice -m model --template chatml arc.jsonl -o chatml.csv --log-samples chatml.out
python3 - <<'PY'
import csv, json, subprocess
samples = [json.loads(line) for line in open("chatml.out")]
with open("said.jsonl", "w") as f:
    for s in samples:
        for c in s["choices"]:
            print(json.dumps({"prompt": s["context"], "completion": c[1:]}), file=f)
subprocess.run(["raise-eval", "loss", "-q", "-m", "model", "--template", "chatml", "-o", "said.csv", "said.jsonl"], check=True)
want = [-float(r["nll"]) for r in csv.DictReader(open("said.csv"))]
assert all(abs(a - b) <= 2e-6 * abs(b) for a, b in zip([p for s in samples for p in s["logp"]], want, strict=True))
PY
refused 1 'was asked otherwise' raise-eval compare chatml.csv arc.csv

refused 2 'raise-eval: --by: the task loss does not take it' raise-eval loss -m model --by text arc.jsonl
refused 2 'raise-eval: -o would overwrite --shots-from: dev/law_dev.csv' choice -m model --shots 1 --shots-from dev/law_dev.csv -o dev/law_dev.csv test/law_test.csv
