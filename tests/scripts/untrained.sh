#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# raise-rollout --untrained: what is measured before the first step is measured once, and trajectories
# have the same bytes as without the file: before it is there, with it, after a kill, of other seeds; what
# makes another loss is another row; no other file is taken or written over for it.
set -euo pipefail
# shellcheck source=tests/scratch.sh
. "$RAISE_TESTS/scratch.sh"
needs python3
needs zstd
records pool 22 >d.jsonl
records val 6 >v.jsonl
records test 5 >t.jsonl
raise-embed -q -m "$model" --template none -t 1 -d 8 d.jsonl | raise-cluster -q -k 2 -t 1 -o f -
raise-ppo -q --init -f f -o p
roll() { raise-rollout -q -t 1 -f f -p p -m "$model" -d d.jsonl --val v.jsonl --template none --precision fp32 -T 2 -b 4 "$@"; }
rows() { raise-view --table key u | tail -n +2 | wc -l; }

# The file is made, found, added to; trajectories and metrics do not differ.
n=0
for opts in '' '-e 2' '-s 9' '--test t.jsonl' '--test t.jsonl -e 1' '-T 3 --checkpoint 1'; do
    n=$((n + 1))
    # shellcheck disable=SC2086
    roll $opts -o x --metrics xm.csv
    # shellcheck disable=SC2086
    roll $opts -o y --metrics ym.csv --untrained u
    cmp x y || { echo "$opts: other bytes"; exit 1; }
    cmp <(cut -d, -f1-7,9 xm.csv) <(cut -d, -f1-7,9 ym.csv)
    want=$([ $n -gt 3 ] && echo 2 || echo 1)
    [ "$(rows)" = "$want" ] || { echo "$opts: $(rows) rows, not $want"; exit 1; }
done
# By whichever order, the same file.
cp u both
rm u
roll --test t.jsonl -o x --untrained u
cmp u both

# What changes the loss, or might, is measured.
for opts in '--val-limit 3' --full '--micro-batch 64' '--lora-rank 2'; do
    before=$(rows)
    # shellcheck disable=SC2086
    roll $opts -o x
    # shellcheck disable=SC2086
    roll $opts -o y --untrained u
    cmp x y || { echo "$opts: other bytes"; exit 1; }
    [ "$(rows)" = $((before + 1)) ] || { echo "$opts: no row more"; exit 1; }
done

# It is indeed read: with other losses in it, others are found.
cat >shift.py <<'PY'
import json, struct, sys
raw = open(sys.argv[1], "rb").read()
n = 8 + struct.unpack("<Q", raw[:8])[0]
at, end = json.loads(raw[8:n])["loss"]["data_offsets"]
loss = struct.unpack("<%dd" % ((end - at) // 8), raw[n + at:n + end])
open(sys.argv[2], "wb").write(raw[:n + at] + struct.pack("<%dd" % len(loss), *(x + 1 for x in loss)) + raw[n + end:])
PY
zstd -dqcf both >plain
python3 shift.py plain more
roll --test t.jsonl -o x
roll --test t.jsonl -o y --untrained more
first() { raise-view --table loss "$1" | sed -n 2p; }
before() { raise-view --meta raise.test_loss_before "$1"; }
awk -v a="$(first x)" -v b="$(first y)" -v c="$(before x)" -v d="$(before y)" \
    'BEGIN { exit !(b - a > 0.999 && b - a < 1.001 && d - c > 0.999 && d - c < 1.001) }'

# Another kind of file, or a damaged one, is refused by its name and stays; so is one that is an input.
refused() { # status pattern options...
    local status=0 want=$1 pattern=$2
    shift 2
    roll "$@" -o none 2>err || status=$?
    if [ $status != "$want" ] || ! grep -q "$pattern" err || [ -e none ]; then cat err && exit 1; fi
}
cp x other
refused 1 '^raise-rollout: other: expected untrained, found trajectory$' --untrained other
cmp x other
head -c 60 both >torn
refused 1 '^raise-rollout: torn: ' --untrained torn
refused 2 'untrained' --untrained f
