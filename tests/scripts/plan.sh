#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# raise-plan: the plan's file, for each method; the same bytes again, through a pipe and with other
# threads; the right records for rds and only.
set -eu
# shellcheck source=tests/scratch.sh
. "$RAISE_TESTS/scratch.sh"
needs python3
small=$RAISE_TESTS/fixtures/features/small.safetensors
val=$RAISE_TESTS/fixtures/features/val.safetensors
printf '%s\n' 8 2 118 0 44 6 >list

for method in random ifd "rds --val-features $val" "rds --match mean --val-features $val" \
    "rds --match max --val-features $val" loss length self-paced \
    "loss --max-cosine 0.999" "only --list list"; do
    # shellcheck disable=SC2086
    set -- -q --steps 3 --batch 2 --no-provenance $method
    raise-plan -f "$small" -o 1.st.zst "$@"
    raise-plan "$@" -t 3 <"$small" | cat >2.st.zst
    cmp 1.st.zst 2.st.zst
    raise-plan -u -f "$small" "$@" >plan.safetensors
    python3 - "$small" plan.safetensors "$method" <<'PY'
import json, struct, sys
def read(path):
    data = open(path, "rb").read()
    n = struct.unpack("<Q", data[:8])[0]
    head = json.loads(data[8:8 + n])
    meta = head.pop("__metadata__")
    letter = {"F32": "f", "I32": "i", "I64": "q", "U64": "Q"}
    out = {}
    for k, v in head.items():
        block = data[8 + n:][slice(*v["data_offsets"])]
        out[k] = struct.unpack("<%d%s" % (len(block) // struct.calcsize(letter[v["dtype"]]), letter[v["dtype"]]), block)
    return meta, out
_, features = read(sys.argv[1])
meta, plan = read(sys.argv[2])
method = sys.argv[3].split()[0]
assert meta["raise.kind"] == "plan" and meta["raise.version"] == "1" and meta["raise.method"] == method
assert meta["raise.dataset"] == "00000000000000d1" and len(meta["raise.features"]) == 16
assert plan["step_offset"] == (0, 2, 4, 6)
assert len(set(plan["pick"])) == 6
for i, source, record in zip(plan["pick"], plan["source"], plan["record_hash"]):
    assert source == features["source"][i] == 2 * i and record == features["hash"][i]
scored = [s == s for s in plan["pick_score"]]
assert not any(scored) if method in ("random", "only") else all(scored)
if method == "only":
    assert plan["source"] == (8, 2, 118, 0, 44, 6)
if method == "rds": # the validation records are like the third group, axis 2
    x = features["embedding"]
    assert all(x[4 * i + 2] > 6 for i in plan["pick"])
PY
done

# all records, twice: 60 of them in 8 steps of 16, the last of 8; best-of is the episode itself
raise-plan -q -f "$small" -B 16 --epochs 2 -o full.st.zst full
[ "$(raise-view --table step_offset full.st.zst | tail -n 1)" = 120 ]
raise-view --table pick full.st.zst | tail -n +2 | sort -n | uniq -c | awk '$1 != 2 { exit 1 }'

# a list from standard input is known by its content, as one from a file; so is a plan
plan() { raise-plan -q -f "$small" --steps 3 --batch 2 only "$@"; }
plan --list list -o 1.st.zst
plan --list - <list >2.st.zst
raise-view 1.st.zst | sed -n 's/^ *input list //p' >by_name
[ -s by_name ]
raise-view 2.st.zst | sed -n 's/^ *input - //p' | cmp - by_name
