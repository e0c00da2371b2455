#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# raise-eval loss: the loss that an episode measures on the same file; the same bytes for any number
# of threads; what is left out is named; each output holds the same; outputs are tried first.
set -eu
# shellcheck source=tests/scratch.sh
. "$RAISE_TESTS/scratch.sh"
needs python3
records pool 40 >d.jsonl
records val 6 >v.jsonl
loss() { raise-eval loss -q -m "$model" --template plain "$@"; }

# what raise-rollout calls the validation loss, which is the performance with the other sign
raise-embed -q -m "$model" --template plain -d 8 -o f d.jsonl
raise-plan -q -f f -T 1 -B 4 -o p random
raise-rollout -q -f f --plan p -m "$model" -d d.jsonl --val v.jsonl --template plain -o t
loss v.jsonl --summary s.csv -o rows.csv --json all.json --log-samples samples.jsonl
python3 - "$(raise-view --table perf t | sed -n 2p)" <<'PY'
import csv, json, sys
rows, summary = list(csv.DictReader(open("rows.csv"))), list(csv.DictReader(open("s.csv")))
made, samples = json.load(open("all.json")), [json.loads(line) for line in open("samples.jsonl")]
loss, record_loss = (float(r["mean"]) for r in summary)
assert abs(loss + float(sys.argv[1])) < 1e-6 * loss, (loss, sys.argv[1])
nll, tokens = [float(r["nll"]) for r in rows], [int(r["tokens"]) for r in rows]
assert abs(loss - sum(nll) / sum(tokens)) < 1e-12
assert abs(record_loss - sum(a / b for a, b in zip(nll, tokens)) / 6) < 1e-12
assert made["metrics"]["loss"]["mean"] == loss and made["metrics"]["loss"]["n"] == 6
assert [r["prompt"] for r in made["records"]] == [r["prompt"] for r in rows] == [s["prompt"] for s in samples]
assert len({r["prompt"] for r in rows}) == 6 and [int(r["line"]) for r in rows] == [1, 2, 3, 4, 5, 6]
assert [r["nll"] for r in made["records"]] == nll
text = samples[2]["segments"]
assert "".join(s["text"] for s in text if not s["is_response"]).startswith("val 2\n"), text
assert [s["text"] for s in text if s["is_response"]][0].strip() == "2 and 4", text
PY

# threads and batches; a file name with .json is JSON; several files are one after the other
loss v.jsonl d.jsonl -t 1 >1.csv
loss v.jsonl d.jsonl -t 2 | cmp - 1.csv
[ "$(wc -l <1.csv)" = 47 ] && grep -q '^loss,d.jsonl,39,40,' 1.csv
loss v.jsonl -t 2 -o 2.json --no-provenance
grep -q '"metrics"' 2.json && ! grep -q '"model"' 2.json

# what does not fit, and what is bad, is named and counted, and the rest is scored
(printf '{"prompt":"a","completion":"%0600d"}\n' 7; cat v.jsonl; echo '{"prompt": 3') >bad.jsonl
raise-eval loss -m "$model" --template plain --on-error skip bad.jsonl -o bad.csv --json bad.json 2>err
grep -q 'warning: 2 of 8 records left out:' err
grep -q 'bad.jsonl:1: record 0: does not fit into 512 tokens' err
grep -q 'bad.jsonl:8: record 7: ' err
cut -d, -f7 bad.csv >a && cut -d, -f7 rows.csv | cmp - a
grep -q '"left_out": \[$' bad.json
status=0 && loss bad.jsonl 2>err || status=$?
[ "$status" = 1 ] && grep -q '^raise-eval: bad.jsonl:8: record 7: ' err
status=0 && loss --overlong fail --on-error skip bad.jsonl 2>err || status=$?
[ "$status" = 1 ] && grep -q '^raise-eval: bad.jsonl:1: record 0: .* more than the 512 allowed' err

# places
refused() { # status pattern command...
    local status=0 want=$1 pattern=$2
    shift 2
    ("$@") >out 2>err || status=$?
    if [ "$status" != "$want" ] || ! grep -q -- "$pattern" err; then
        echo "$*: status $status, wanted $want and '$pattern':" && cat err && exit 1
    fi
}
# an adapter of another model
mkdir small && sed 's/^D, LAYERS, HEADS, KV, FF, VOCAB = 32,/D, LAYERS, HEADS, KV, FF, VOCAB = 16,/' "$model/make.py" >small/make.py
python3 small/make.py
raise-embed -q -m small --template plain -d 8 -o sf d.jsonl
raise-plan -q -f sf -T 1 -B 4 -o sp random
raise-rollout -q -f sf --plan sp -m small -d d.jsonl --val v.jsonl --template plain --save-adapter other -o /dev/null
refused 1 '^raise-eval: other/adapter_model.safetensors: ' loss v.jsonl --adapter other -o x

refused 2 'raise-eval: -o would overwrite a benchmark: v.jsonl' loss v.jsonl -o v.jsonl
refused 2 'raise-eval: --json and -o go to one place: ./x' loss v.jsonl -o ./x --json x
refused 1 'raise-eval: none/s: No such file' loss -v v.jsonl -o x --summary none/s
refused 1 'raise-eval: none/s: No such file' loss -v v.jsonl -o x --log-samples none/s
refused 2 'raise-eval: loss: no benchmark file' loss
[ ! -e x ]

# two results: b - a, paired; read from either kind of file
loss v.jsonl -o a.csv --json a.json
raise-rollout -q -f f --plan p -m "$model" -d d.jsonl --val v.jsonl --template plain --lr 0.01 --save-adapter tuned -o /dev/null
loss v.jsonl --adapter tuned -o b.csv --json b.json
raise-eval compare a.csv b.csv -q >ab.csv
raise-eval compare a.json b.json -q | cmp - ab.csv
raise-eval compare a.json b.csv -q | cmp - ab.csv
python3 - <<'PY'
import csv, math
a, b = (list(csv.DictReader(open(f))) for f in ("a.csv", "b.csv"))
[loss, mean] = csv.DictReader(open("ab.csv"))
d = [float(y["mean"]) - float(x["mean"]) for x, y in zip(a, b)]
assert any(d) and mean["metric"] == "record_loss" and mean["n"] == "6"
m = sum(d) / 6
assert abs(float(mean["difference"]) - m) < 1e-14
assert abs(float(mean["stderr"]) - math.sqrt(sum((x - m) ** 2 for x in d) / 5 / 6)) < 1e-14
more = sum(x > 0 for x in d)
assert [int(mean["more"]), int(mean["less"])] == [more, 6 - more]
p = min(1, 2 * sum(math.comb(6, k) for k in range(min(more, 6 - more) + 1)) / 64)
assert abs(float(mean["p_sign"]) - p) < 1e-12, (mean, p)
w = [int(x["tokens"]) for x in a]
D = sum(float(y["nll"]) - float(x["nll"]) for x, y in zip(a, b)) / sum(w)
assert abs(float(loss["difference"]) - D) < 1e-14 and abs(float(loss["b"]) - float(loss["a"]) - D) < 1e-12
PY
loss v.jsonl --template none -o other.csv
refused 1 'raise-eval: record 0 of v.jsonl (line 1): was asked otherwise: prompt .* in a.csv, .* in other.csv' raise-eval compare a.csv other.csv
head -n 5 a.csv >short.csv
refused 1 'raise-eval: a.csv has 6 records, short.csv has 4' raise-eval compare a.csv short.csv
sed 2d a.csv >gap.csv
refused 1 'a.csv goes on with record 0 of v.jsonl, gap.csv with record 1 of v.jsonl' raise-eval compare a.csv gap.csv
sed '3s/,[0-9]*,\([0-9.]*\)$/,99,\1/' a.csv >tokens.csv
refused 1 'record 1 of v.jsonl (line 2): .* tokens in the one, 99 in the other: other tokenizers?' raise-eval compare a.csv tokens.csv
sed '3s/,v.jsonl,1,/,v.jsonl,one,/' a.csv >word.csv
refused 1 'raise-eval: word.csv: row 1: no number in "record"' raise-eval compare a.csv word.csv
sed '2s/^loss/lost/' a.csv >lost.csv
refused 1 'lost.csv: row 0: is of an unknown task, "lost"' raise-eval compare a.csv lost.csv
refused 1 'd.jsonl: row 0: no results of raise-eval: no text in "task"' raise-eval compare a.csv d.jsonl
refused 2 'raise-eval: -o would overwrite a result: a.csv' raise-eval compare a.csv b.csv -o a.csv
refused 2 'raise-eval: compare: two results are compared, not 1' raise-eval compare a.csv
