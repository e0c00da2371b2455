#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Streams as raise-view writes them, read by a second reader that was written from the man page
# (tests/stream_reader.py): same tables, same identity, same verdict on damaged files; and the
# worked example of the page itself.
set -euo pipefail
for need in python3 zstd; do
    command -v $need >/dev/null || { echo "$need is not installed"; exit 77; }
done
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
reader() { python3 "$RAISE_TESTS/stream_reader.py" "$@"; }
man="$RAISE_TESTS/../man/raise-stream.5"
python3 "$RAISE_TESTS/stream_make.py" "$dir" 40 1 0 200 3
cd "$dir"

# The same file by both readers.
same() { # file
    raise-view --check "$1"
    cmp <(reader csv "$1") <(raise-view --csv "$1")
    cmp <(reader csv "$1" centroids) <(raise-view --table centroids "$1")
    cmp <(reader csv "$1" grid,c_F16) <(raise-view --table grid,c_F16 - <"$1")
    raise-view "$1" | grep -q "identity $(reader identity "$1")" || { echo "$1: identity"; exit 1; }
}
raise-view --cat part.?.safetensors -o all.st.zst
raise-view --cat -u part.?.safetensors -o all.safetensors
raise-view --cat part.0.safetensors | cat >one.st.zst
for f in all.st.zst all.safetensors one.st.zst part.0.safetensors part.2.safetensors; do same $f; done
[ "$(raise-view --csv all.st.zst | wc -l)" = 245 ]
[ "$(raise-view all.st.zst | grep identity)" = "$(raise-view all.safetensors | grep identity)" ]
[ "$(raise-view --meta raise.n_rows all.safetensors)" = 244 ]

# A stream of one shard, decompressed, is a plain file; zstd accepts every stream.
raise-view --cat --no-provenance part.0.safetensors -o one.st.zst
raise-view --cat --no-provenance -u part.0.safetensors -o one.safetensors
zstd -qt one.st.zst all.st.zst
cmp <(zstd -dc one.st.zst) one.safetensors
zstd -dc one.st.zst | cmp <(raise-view --csv) <(raise-view --csv part.0.safetensors)

# The same bytes for any number of threads, through a pipe or not.
for t in 1 3; do
    raise-view --cat --no-provenance -t $t all.safetensors >t.$t
    raise-view --cat --no-provenance -t $t <all.safetensors | cat >p.$t
done
cmp t.1 t.3 && cmp t.1 p.1 && cmp t.1 p.3

# Damage: both readers refuse; raise-view says so in one line that names the file.
size=$(stat -c %s one.st.zst)
for n in 0 3 4 17 $((size / 2)) $((size - 70)) $((size - 50)) $((size - 42)) $((size - 41)) $((size - 9)) $((size - 1)); do
    head -c "$n" one.st.zst >"bad.cut.$n"
done
python3 - one.st.zst <<'PY'
import random, sys
data, rng = open(sys.argv[1], "rb").read(), random.Random(7)
for i in range(20):
    bit = rng.randrange(8 * len(data))
    bad = bytearray(data)
    bad[bit // 8] ^= 1 << bit % 8
    open(f"bad.bit.{bit}", "wb").write(bad)
PY
cat one.st.zst one.st.zst >bad.twice
zstd -qdc one.st.zst | zstd -qc >bad.no-end
echo "hello, world" >bad.text
cmp <(reader check bad.*) <(printf '%s\n' bad.*)
for f in bad.*; do
    status=0
    raise-view --check "$f" >out 2>err || status=$?
    if [ $status != 1 ] || [ -s out ] || [ "$(wc -l <err)" != 1 ] || ! grep -q "^raise-view: $f: " err; then
        echo "$f: exit status $status" && cat out err && exit 1
    fi
done

# The examples of the page.
python3 - "$man" <<'PY'
import re, sys
dumps = re.findall(r"\.Bd -literal\n((?:[0-9a-f]{8}  .*\n)+)\.Ed", open(sys.argv[1]).read())
assert len(dumps) == 2
for name, dump in zip(("example.safetensors", "example.st.zst"), dumps):
    open(name, "wb").write(b"".join(bytes.fromhex(line[10:58]) for line in dump.splitlines()))
PY
for f in example.safetensors example.st.zst; do
    [ "$(raise-view --csv $f | tr '\n' ' ')" = "id,x 7,0.5 8,-2 " ]
    [ "$(reader csv $f | tr '\n' ' ')" = "id,x 7,0.5 8,-2 " ]
done
cmp <(zstd -dc example.st.zst) example.safetensors
