#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# raise-cluster as a filter: what goes in comes out, file or pipe, once or in shards, one thread
# or several; classing again replaces the classes; damage is found and leaves nothing behind.
set -eu
command -v python3 >/dev/null || { echo "python3 is not installed"; exit 77; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
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
