#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# raise-embed --target: the gain is what the probe's adapter does to log P(y|x), and all else is as
# without it; the same bytes in shards, with other threads, and after a kill; a probe that does
# harm is refused.
set -eu
# shellcheck source=tests/scratch.sh
. "$RAISE_TESTS/scratch.sh"
needs python3
export TMPDIR=$dir
records() { # from to
    awk -v from="$1" -v to="$2" 'BEGIN { for (i = from; i < to; i++)
        printf "{\"prompt\":\"add %d and %d\",\"completion\":\"%s\"}\n", i, 7 * i % 100, i + 7 * i % 100 }'
}
records 0 1600 >data.jsonl
records 5000 5050 >target.jsonl
set -- -q -m "$model" -t 1 -d 8 --template none --no-provenance
gain() { raise-embed "$@" --target target.jsonl data.jsonl; }

raise-embed "$@" -u -o base.safetensors data.jsonl
raise-embed "$@" -u -o target.safetensors target.jsonl
gain "$@" -u -o g.safetensors
gain "$@" -o g.st.zst
gain "$@" -t 3 | cmp - g.st.zst
ls ./*.probe ./raise-probe.* 2>/dev/null && exit 1

# killed, then continued; meanwhile the probe lies beside the part, an adapter like any other
raise-embed "$@" --target target.jsonl --resume -o k.st.zst data.jsonl &
pid=$!
for _ in $(seq 600); do
    [ "$(stat -c %s k.st.zst.part 2>/dev/null || echo 0)" -gt 30000 ] && break
    [ -e k.st.zst ] && break
    sleep 0.02
done
kill -9 $pid 2>/dev/null || true
wait $pid 2>/dev/null || true
if [ -e k.st.zst.part ]; then
    probe=$(raise-view --meta raise.probe g.st.zst)
    if gain "$@" --resume --target-lr 1e-3 -o k.st.zst 2>err; then exit 1; fi
    grep -q 'k.st.zst.part: of another run: it had target-lr=0.0003' err
    [ -e k.st.zst.probe/adapter_model.safetensors ]
    raise-embed "$@" -u --adapter k.st.zst.probe -o tuned.safetensors data.jsonl
    gain "${@/-q/-v}" --resume -o k.st.zst 2>err
    grep -q ' (made before)$' err
    [ "$(raise-view --meta raise.probe k.st.zst)" = "$probe" ]
fi
cmp k.st.zst g.st.zst
ls ./*.probe ./raise-probe.* 2>/dev/null && exit 1

# shards of the work
for i in 0 1 2; do gain "$@" --shard $i/3 -o "s$i.st.zst"; done
raise-view --cat --no-provenance s0.st.zst s1.st.zst s2.st.zst >joined.st.zst
identity() { raise-view "$1" | sed -n 's/^ *identity //p'; }
[ "$(identity joined.st.zst)" = "$(identity g.st.zst)" ]

# by PCA the target's embeddings are on the rows' axes
records 0 300 >both.jsonl
raise-embed "$@" -u --reduce pca --target both.jsonl -o pca.safetensors both.jsonl
raise-embed -m "$model" -d 8 --template none --target both.jsonl --target-limit 40 -o limit.st.zst \
    both.jsonl 2>err
grep -q 'warning: 40 records of both.jsonl are records of the target both.jsonl, too (the first: record [0-9]*)$' err
grep -q 'target: 40 records; 3 steps of 32 (about ' err
raise-view limit.st.zst | grep -q 'target_embedding *F32 *\[40, 8\]  whole'

python3 - <<'PY'
import json, os, struct
def read(path):
    data = open(path, "rb").read()
    n = struct.unpack("<Q", data[:8])[0]
    head = json.loads(data[8:8 + n])
    meta = head.pop("__metadata__")
    letter = {"F32": "f", "I32": "i", "I64": "q", "U64": "Q"}
    out = {}
    for k, v in head.items():
        b = data[8 + n:][slice(*v["data_offsets"])]
        out[k] = struct.unpack("<%d%s" % (len(b) // struct.calcsize(letter[v["dtype"]]), letter[v["dtype"]]), b)
    return meta, out
base_meta, base = read("base.safetensors")
meta, g = read("g.safetensors")
assert all(g[k] == v for k, v in base.items())
assert set(g) - set(base) == {"gain_sum", "target_embedding"}
assert set(meta) - set(base_meta) == {"raise.target", "raise.probe", "raise.target_loss",
                                      "raise.target_loss_tuned", "raise.whole"}
assert float(meta["raise.target_loss_tuned"]) < float(meta["raise.target_loss"]) - 0.01
assert len(g["target_embedding"]) == 50 * 8
_, t = read("target.safetensors")
loss = -sum(t["logp_yx"]) / sum(t["len_y"])
assert abs(float(meta["raise.target_loss"]) - loss) < 1e-4 * loss, loss
assert max(abs(a - b) for a, b in zip(t["embedding"], g["target_embedding"])) < 1e-4
if os.path.exists("tuned.safetensors"):
    _, tuned = read("tuned.safetensors")
    worst = max(abs(t - b - x) for t, b, x in zip(tuned["logp_yx"], base["logp_yx"], g["gain_sum"]))
    assert worst < 1e-4, worst
assert sum(g["gain_sum"]) > 0 and len(set(g["gain_sum"])) > 1000
_, p = read("pca.safetensors")
assert max(abs(a - b) for a, b in zip(p["embedding"], p["target_embedding"])) < 1e-4
assert max(p["embedding"]) > 0.01
PY

# influence: the same bytes whole, in shards and after a kill, and nothing else changes
records 0 1100 >some.jsonl
less() { raise-embed "$@" --target target.jsonl --target-limit 6 --influence --influence-epochs 2 some.jsonl; }
less "$@" -o l.st.zst
raise-embed "$@" --target target.jsonl --target-limit 6 -o n.st.zst some.jsonl
[ "$(raise-view --table logp_yx,gain_sum l.st.zst | cksum)" = "$(raise-view --table logp_yx,gain_sum n.st.zst | cksum)" ]
for i in 0 1; do less "$@" --shard $i/2 -o "l$i.st.zst"; done
raise-view --cat --no-provenance l0.st.zst l1.st.zst >l.joined
[ "$(identity l.joined)" = "$(identity l.st.zst)" ]
raise-embed "$@" --target target.jsonl --target-limit 6 --influence --influence-epochs 2 --resume \
    -o lk.st.zst some.jsonl &
pid=$!
for _ in $(seq 1200); do
    [ "$(stat -c %s lk.st.zst.part 2>/dev/null || echo 0)" -gt 30000 ] && break
    [ -e lk.st.zst ] && break
    sleep 0.02
done
kill -9 $pid 2>/dev/null || true
wait $pid 2>/dev/null || true
if [ -e lk.st.zst.part ]; then
    [ -e lk.st.zst.warmup ]
    less "${@/-q/-v}" --resume -o lk.st.zst 2>err
    grep -q '^raise-embed: influence: 2 epochs of warm-up on a twentieth of 1100 records (made before), ' err
fi
cmp lk.st.zst l.st.zst
[ ! -e lk.st.zst.warmup ]
raise-cluster -q -k 2 -o lc.st.zst l.st.zst
raise-plan -q -f lc.st.zst --steps 4 --batch 5 --order score -o less.st.zst less
raise-plan -q -f lc.st.zst --steps 4 --batch 5 -o prior.st.zst prior
best=$(raise-view --table influence l.st.zst | tail -n +2 | sort -gr | head -n 1)
[ "$(raise-view --table pick_score less.st.zst | sed -n 2p)" = "$best" ]

# what is known of a record stands beside it
raise-export -q --with gain,near,consistency,influence,source --features lc.st.zst -o l.jsonl prior.st.zst some.jsonl
python3 - <(raise-view --table source,gain_sum,near,consistency,influence lc.st.zst) l.jsonl <<'PY'
import csv, json, sys
rows = {int(r["source"]): r for r in csv.DictReader(open(sys.argv[1]))}
n = 0
for line in open(sys.argv[2]):
    r = json.loads(line)
    want = rows[r["raise_source"]]
    for ours, column in ("gain", "gain_sum"), ("near",) * 2, ("consistency",) * 2, ("influence",) * 2:
        assert abs(r["raise_" + ours] - float(want[column])) <= 1e-6 * abs(float(want[column])), (ours, r, want)
    n += 1
assert n == 20
PY
if raise-export -q --with near --features n.st.zst -o x.jsonl prior.st.zst some.jsonl 2>err; then exit 1; fi
grep -q '^raise-export: prior.st.zst: was chosen by other features than n.st.zst$' err
if raise-export -q --with near -o x.jsonl prior.st.zst some.jsonl 2>err; then exit 1; fi
grep -q -e '--with: near needs --features' err
if raise-plan -q -f l.st.zst --steps 2 --batch 2 -o x.st.zst prior 2>err; then exit 1; fi
grep -q '^raise-plan: prior: the features have no near (raise-embed --target, and raise-cluster after it)$' err

# a probe that does harm, or nothing, is of no use
mkdir empty && cd empty
if raise-embed "$@" --target ../target.jsonl --target-lr 30 -o x.st.zst ../data.jsonl 2>../err; then exit 1; fi
grep -q '^raise-embed: .*target.jsonl: step .*: the loss is not finite (--target-lr, --target-steps)$' ../err
if raise-embed "$@" --target ../target.jsonl --target-lr 0 -o x.st.zst ../data.jsonl 2>../err; then exit 1; fi
grep -q '^raise-embed: .*target.jsonl: .* no better: .* after 3 steps at a rate of 0 (--target-lr, --target-steps)$' ../err
if raise-embed "$@" --target ../none.jsonl -o x.st.zst ../data.jsonl 2>../err; then exit 1; fi
[ -z "$(ls -A)" ]
