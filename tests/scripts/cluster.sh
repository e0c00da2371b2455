#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# raise-cluster as a filter: what goes in comes out, file or pipe, once or in shards, one thread
# or several; classing again replaces the classes; damage is found and leaves nothing behind.
set -eu
# shellcheck source=tests/scratch.sh
. "$RAISE_TESTS/scratch.sh"
needs python3
small=$RAISE_TESTS/fixtures/features/small.safetensors

raise-cluster -q -k 3 -u -o a.safetensors "$small"
python3 - "$small" a.safetensors <<'PY'
import json, struct, sys
def read(path):
    data = open(path, "rb").read()
    n = struct.unpack("<Q", data[:8])[0]
    head = json.loads(data[8:8 + n])
    meta = head.pop("__metadata__")
    body = data[8 + n:]
    return meta, {k: (v["dtype"], v["shape"], body[slice(*v["data_offsets"])]) for k, v in head.items()}
meta_in, old = read(sys.argv[1])
meta, new = read(sys.argv[2])
assert all(new[k] == v for k, v in old.items())
assert all(meta[k] == v for k, v in meta_in.items())
assert meta["raise.whole"] == "centroids"
history = json.loads(meta["raise.history"])
assert [h["program"] for h in history] == ["raise-cluster"] and history[0]["seed"] == 42
assert new["class"][:2] == ("I32", [60]) and new["centroids"][:2] == ("F32", [3, 4])
classes = struct.unpack("<60i", new["class"][2])
assert [classes.count(c) for c in range(4)] == [30, 20, 10, 0]
x = struct.unpack("<240f", new["embedding"][2])
c = struct.unpack("<12f", new["centroids"][2])
for i, k in enumerate(classes):
    d = [sum((x[4 * i + j] - c[4 * m + j]) ** 2 for j in range(4)) for m in range(3)]
    assert d[k] == min(d)
PY

raise-cluster -q -k 3 --no-provenance "$small" >1.st.zst
raise-cluster -q -k 3 --no-provenance -t 1 <"$small" | cat >2.st.zst
raise-cluster -q -k 3 --no-provenance -t 3 - <1.st.zst >3.st.zst
raise-cluster -q -k 3 --no-provenance -s 7 --redo 30 -o 4.st.zst "$small"
cmp 1.st.zst 2.st.zst && cmp 1.st.zst 3.st.zst && cmp 1.st.zst 4.st.zst

# consistency and near: made where their inputs are there, and left to themselves otherwise
python3 - "$small" target.safetensors bare.safetensors <<'PY'
import json, struct, sys
data = open(sys.argv[1], "rb").read()
n = struct.unpack("<Q", data[:8])[0]
head, body = json.loads(data[8:8 + n]), data[8 + n:]
meta = head.pop("__metadata__")
def write(path, meta, tensors):
    out, blob = {"__metadata__": meta}, b""
    for name, (dtype, shape, b) in tensors.items():
        out[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(blob), len(blob) + len(b)]}
        blob += b
    text = json.dumps(out).encode()
    text += b" " * (-len(text) % 8)
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + blob)
t = {k: (v["dtype"], v["shape"], body[slice(*v["data_offsets"])]) for k, v in head.items()}
t = dict(sorted(t.items(), key=lambda kv: kv[1][0][-2:] != "64"))
rows = t["embedding"][2][:2 * 16]
write(sys.argv[2], dict(meta, **{"raise.whole": "target_embedding"}),
      dict(t, target_embedding=("F32", [2, 4], rows)))
write(sys.argv[3], meta, {"embedding": t["embedding"]})
PY
raise-cluster -q --no-provenance -k 3 -u -o t.safetensors target.safetensors
python3 - t.safetensors <<'PY'
import json, struct, sys
data = open(sys.argv[1], "rb").read()
n = struct.unpack("<Q", data[:8])[0]
head = json.loads(data[8:8 + n])
meta = head.pop("__metadata__")
assert set(meta["raise.whole"].split(",")) == {"target_embedding", "centroids"}
def column(name, kind):
    b = data[8 + n:][slice(*head[name]["data_offsets"])]
    return struct.unpack(f"<{len(b) // 4}{kind}", b)
near, consistency, x = column("near", "f"), column("consistency", "f"), column("embedding", "f")
N = len(near)
x = [x[4 * i:4 * i + 4] for i in range(N)]
mean = [sum(r[j] for r in x) / N for j in range(4)]
def centred(r):
    c = [a - b for a, b in zip(r, mean)]
    return c
def cosine(a, b):
    return sum(p * q for p, q in zip(a, b)) / (sum(p * p for p in a) * sum(q * q for q in b)) ** .5
c = [centred(r) for r in x]
assert all(abs(near[i] - max(cosine(c[i], c[0]), cosine(c[i], c[1]))) < 1e-5 for i in range(N))
len_x, len_y = column("len_x", "i"), column("len_y", "i")
u = [(a - b) / y for a, b, y in zip(column("logp_yx", "f"), column("logp_y", "f"), len_y)]
def z(v):
    m = sum(v) / N
    s = (sum((a - m) ** 2 for a in v) / N) ** .5
    return [(a - m) / s if s else 0 for a in v]
v = [c[i] + [a, b] for i, (a, b) in enumerate(zip(z(len_x), z(len_y)))]
for i in range(N):
    best = sorted(((cosine(v[i], v[j]), j) for j in range(N) if j != i), reverse=True)
    if best[19][0] - best[20][0] < 1e-6:
        continue
    us = [u[j] for _, j in best[:20]]
    m = sum(us) / 20
    d = (sum((a - m) ** 2 for a in us) / 20) ** .5
    trust = max(0, min(1, m / (d + .05)))
    assert abs(consistency[i] - trust * max(-1, min(1, (u[i] - m) / (d + .05)))) < 1e-4
assert len(set(consistency)) > N / 4
PY
raise-cluster -q --no-provenance -k 3 -u <t.safetensors >again.safetensors
cmp again.safetensors t.safetensors
raise-cluster -q --no-provenance -k 3 -u --neighbours 0 t.safetensors >without.safetensors
if raise-view without.safetensors | grep -q ' consistency '; then exit 1; fi
raise-view without.safetensors | grep -q ' near '
raise-cluster -k 3 -u -o b.safetensors bare.safetensors 2>err
grep -q '^raise-cluster: warning: no tensor "len_x": consistency left out$' err

size=$(stat -c %s 1.st.zst)
for n in 0 1 20 $((size / 2)) $((size - 1)); do
    if head -c "$n" 1.st.zst | raise-cluster -q -o x.st.zst 2>err; then
        echo "$n bytes of $size were taken for a whole stream"
        exit 1
    fi
    if [ "$(wc -l <err)" != 1 ] || [ -e x.st.zst ]; then
        echo "after $n bytes:" && ls && cat err
        exit 1
    fi
done
if raise-cluster -q "$small" >/dev/full 2>err; then
    echo "a full device went unnoticed"
    exit 1
fi

# The wall time is the work's, not the wait for a pipe's other end; one class says nothing of quotas.
begin=$(date +%s%N)
(sleep 2; cat "$RAISE_TESTS/fixtures/features/small.safetensors") | raise-cluster -k 1 - 2>said >one
all=$(($(date +%s%N) - begin))
grep -qE '^raise-cluster: [0-9]+ rows, one class, [0-9.]+s wall' said || { cat said; exit 1; }
awk -v all=$all '{ exit !($6 + 0 < all / 1e9 - 1.8) }' said || { cat said; exit 1; }
[ "$(wc -l <said)" = 1 ]
raise-cluster -k 2 "$RAISE_TESTS/fixtures/features/small.safetensors" 2>said >two
grep -q '^raise-cluster: each class gives 8 of every 16 that a policy draws' said || { cat said; exit 1; }
raise-cluster "$RAISE_TESTS/fixtures/features/small.safetensors" --no-provenance -q | cmp - <(raise-cluster -k 1 --no-provenance -q "$RAISE_TESTS/fixtures/features/small.safetensors")
