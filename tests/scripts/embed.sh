#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# raise-embed: the same rows from a file, a pipe, zstd, in shards and with other threads; a run
# killed by SIGKILL and one whose part was torn go on to the same bytes; what drops out is named.
set -eu
# shellcheck source=tests/scratch.sh
. "$RAISE_TESTS/scratch.sh"
needs python3
awk 'BEGIN { for (i = 0; i < 2300; i++)
    printf "{\"prompt\":\"add %d and %d\",\"completion\":\"%s\"}\n", i, 7 * i % 100, i + 7 * i % 100 }' >data.jsonl
set -- -q -m "$model" -t 1 -d 8 --template none --no-provenance

raise-embed "$@" -o a.st.zst data.jsonl
raise-embed "$@" <data.jsonl | cmp - a.st.zst
zstd -q -c data.jsonl | raise-embed "$@" - | cmp - a.st.zst
raise-embed "$@" -t 3 -o b.st.zst data.jsonl
cmp a.st.zst b.st.zst
raise-embed -q -m "$model" -t 1 -d 8 --template none -o c.st.zst data.jsonl
raise-embed -m "$model" -v -d 8 --template none -t 2 --resume -o d.st.zst data.jsonl 2>/dev/null
cmp c.st.zst d.st.zst # the history keeps what can change the result
[ "$(raise-view --meta raise.n_total a.st.zst)" = 2300 ]
raise-view a.st.zst | grep -q '1 shard'

# a plain file holds the same tensors
raise-embed "$@" -u -o a.safetensors data.jsonl
identity() { raise-view "$1" | sed -n 's/^ *identity //p'; }
[ "$(identity a.safetensors)" = "$(identity a.st.zst)" ]

# shards of the work
for i in 0 1 2; do raise-embed "$@" --shard $i/3 -o "part$i.st.zst" data.jsonl; done
[ "$(raise-view --meta raise.first_row part1.st.zst)" = 766 ]
raise-view --cat --no-provenance part0.st.zst part1.st.zst part2.st.zst >joined.st.zst
[ "$(raise-view --table source,hash,len_x,len_y joined.st.zst | cksum)" = \
  "$(raise-view --table source,hash,len_x,len_y a.st.zst | cksum)" ]

# columns of the record itself: asked for by name, the same in shards and after raise-cluster, named
# in tables; all else has the same bytes; each is in the page
raise-embed "$@" --columns chars_y,n_turns -o own.st.zst data.jsonl
for i in 0 1 2; do raise-embed "$@" --columns chars_y,n_turns --shard $i/3 -o "part$i.st.zst" data.jsonl; done
raise-view --cat --no-provenance part0.st.zst part1.st.zst part2.st.zst | raise-view --table record - >joined.csv
raise-embed "$@" --columns chars_y,n_turns --reduce pca data.jsonl | raise-view --table record - | cmp - joined.csv
raise-cluster -q own.st.zst | raise-view --table record - | cmp - joined.csv
{ echo chars_y,n_turns; sed 's/.*"completion":"\(.*\)"}/\1/' data.jsonl | awk '{ print length($0) ",2" }'; } | cmp - joined.csv
columns=source,hash,len_x,len_y,logp_yx,logp_y,embedding
[ "$(raise-view --table $columns own.st.zst | cksum)" = "$(raise-view --table $columns a.st.zst | cksum)" ]
[ "$(raise-view --meta raise.record own.st.zst)" = chars_y,n_turns ]
if raise-view --meta raise.record a.st.zst 2>/dev/null; then exit 1; fi
raise-embed "$@" --columns all data.jsonl | raise-view --meta raise.record - | tr , '\n' >names
[ "$(wc -l <names)" -ge 2 ]
while read -r name; do
    grep -q "^\.It Li $name$" "$RAISE_TESTS/../man/raise-embed.1" || { echo "raise-embed(1) lacks $name"; exit 1; }
done <names
status=0; raise-embed "$@" --columns n_turns,moon data.jsonl 2>err || status=$?
[ $status = 2 ]
grep -q "^raise-embed: --columns: 'moon' is not one of n_turns, chars_y, .*all (try -h)$" err

# killed, then continued
raise-embed "$@" -o k.st.zst data.jsonl &
pid=$!
for _ in $(seq 600); do
    [ "$(stat -c %s k.st.zst.part 2>/dev/null || echo 0)" -gt 30000 ] && break
    [ -e k.st.zst ] && break
    sleep 0.02
done
kill -9 $pid 2>/dev/null || true
wait $pid 2>/dev/null || true
if [ -e k.st.zst.part ]; then
    [ ! -e k.st.zst ]
    cp k.st.zst.part torn
    if raise-embed "$@" --resume --max-length 77 -o k.st.zst data.jsonl 2>err; then exit 1; fi
    grep -q 'k.st.zst.part: of another run: it had max-length=512, this one has max-length=77' err
    if raise-embed "$@" --resume --columns all -o k.st.zst data.jsonl 2>err; then exit 1; fi
    grep -q 'k.st.zst.part: of another run: it had nothing more, this one has column-0=n_turns (' err
    raise-embed "$@" --resume -o k.st.zst data.jsonl
    [ ! -e k.st.zst.part ]
    head -c 29000 torn >k2.st.zst.part
    raise-embed "$@" --resume -o k2.st.zst data.jsonl
    cmp k2.st.zst a.st.zst
fi
cmp k.st.zst a.st.zst

# records that give no row are counted and named
{
    head -n 20 data.jsonl
    echo '{"prompt":"Z","completion":"one"}'
    echo '{"prompt":"no completion"}'
    printf '{"prompt":"%0300d","completion":"long"}\n' 1
} >few.jsonl
python3 - "$model" bad <<'PY'
import json, os, shutil, struct, sys
shutil.copytree(sys.argv[1], sys.argv[2])
path = os.path.join(sys.argv[2], "model.safetensors")
os.chmod(path, 0o644)
data = bytearray(open(path, "rb").read())
n = struct.unpack("<Q", data[:8])[0]
at = 8 + n + json.loads(data[8:8 + n])["model.embed_tokens.weight"]["data_offsets"][0]
data[at + 2 * 32 * ord("Z"):at + 2 * 32 * ord("Z") + 2] = b"\xc0\x7f"  # NaN
open(path, "wb").write(data)
config = json.load(open(os.path.join(sys.argv[2], "config.json")))
config["tie_word_embeddings"] = False
json.dump(config, open(os.path.join(sys.argv[2], "config.json"), "w"))
header = json.loads(data[8:8 + n])
weights = data[8 + n:]
first, last = header["model.embed_tokens.weight"]["data_offsets"]
header["lm_head.weight"] = dict(header["model.embed_tokens.weight"],
                                data_offsets=[len(weights), len(weights) + last - first])
head = bytearray(weights[first:last])
head[2 * 32 * ord("Z"):2 * 32 * ord("Z") + 2] = b"\0\0"
text = json.dumps(header).encode()
open(path, "wb").write(struct.pack("<Q", len(text)) + text + weights + head)
PY
raise-embed -m bad -t 1 -d 8 --template none --max-length 200 --on-error skip -o few.st.zst few.jsonl 2>err
grep -q 'few.jsonl: 3 of 23 records left out:$' err
grep -q 'few.jsonl:21: record 20: its log-probability is not finite$' err
grep -q 'few.jsonl:22: record 21: ' err
grep -q 'few.jsonl:23: record 22: longer than --max-length$' err
[ "$(raise-view --table source few.st.zst | tail -n 1)" = 19 ]
grep -v 'no completion' few.jsonl | sed '$s/long/&&&&/' >long.jsonl
raise-embed -m "$model" -t 1 -d 8 --template none --max-length 303 --overlong cut -o cut.st.zst long.jsonl 2>err
grep -q 'long.jsonl: 1 records cut to 303 tokens$' err
[ "$(raise-view --table len_y cut.st.zst | tail -n 1)" = 3 ]
if raise-embed -m "$model" -d 8 --template none --max-length 303 --overlong fail -o x.st.zst long.jsonl 2>err; then exit 1; fi
grep -q 'raise-embed: long.jsonl:22: record 21: ' err

# what seems too much is refused, and --force tries it: the estimate is of a whole micro-batch
if (ulimit -v 1500000 && raise-embed -h) >/dev/null 2>&1; then
    huge() { (ulimit -v 1500000 && raise-embed "$@" --batch-tokens 2000000 data.jsonl); }
    if huge "$@" -o huge.st.zst 2>err; then exit 1; fi
    grep -q '^raise-embed: needs [0-9.]* GiB of memory and [0-9.]* [GM]iB are available: lower --batch-tokens' err
    [ ! -e huge.st.zst ]
    huge "$@" --force -o huge.st.zst
    [ "$(raise-view --meta raise.n_total huge.st.zst)" = 2300 ]
fi

# failure leaves nothing behind
mkdir empty && cd empty
if raise-embed -q -m "$model" -d 8 --template none -o x.st.zst ../few.jsonl 2>/dev/null; then exit 1; fi
if raise-embed -q -m "$model" -d 8 --template none ../data.jsonl >/dev/full 2>../err; then exit 1; fi
grep -q 'No space left on device' ../err
[ -z "$(ls -A)" ]
raise-embed -q -m "$model" -d 8 --template none ../data.jsonl | head -c 1 >/dev/null || true
