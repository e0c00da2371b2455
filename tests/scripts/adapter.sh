#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# An adapter's identity is its content: it stands in features and histories, a moved adapter goes
# on with a killed run and another one does not, and features of models with different adapters
# are not compared.
set -eu
# shellcheck source=tests/scratch.sh
. "$RAISE_TESTS/scratch.sh"
records pool 6000 >d.jsonl
head -n 30 d.jsonl >few.jsonl
records val 6 >v.jsonl
embed() { raise-embed -q -m "$model" --template none -t 1 -d 8 "$@"; }
meta() { raise-view --meta "$2" "$1"; }
embed -o f few.jsonl
raise-ppo -q --init -f f -o p
tune() { raise-rollout -q -t 1 -f f -p p -m "$model" -d few.jsonl --val v.jsonl --template none \
    --steps 2 -b 4 --lora-rank 2 --lr 1e-2 "$@"; }
tune -o 1 --save-adapter one
tune -o 2 --save-adapter two -s 7
cp -r one moved

# in features, where there is an adapter
if meta f raise.adapter 2>/dev/null; then exit 1; fi
embed --adapter one -o f.one few.jsonl
embed --adapter moved -o f.moved few.jsonl
embed --adapter two -o f.two few.jsonl
one=$(meta f.one raise.adapter)
[ ${#one} = 16 ] && [ "$one" = "$(meta f.moved raise.adapter)" ] && [ "$one" != "$(meta f.two raise.adapter)" ]
[ "$(meta f raise.model)" = "$(meta f.one raise.model)" ]

# in histories, beside the model
meta f.one raise.history | grep -q "{\"name\":\"one\",\"xxh64\":\"$one\"}"
tune --adapter one -o 3
meta 3 raise.history | grep -q "{\"name\":\"one\",\"xxh64\":\"$one\"}"

# embeddings of two adapters, or of one and none, are not compared
embed --adapter one -o v.one v.jsonl
plan() { raise-plan -q -f "$1" --val-features v.one -T 2 -B 4 -o rds rds; }
plan f.one && plan f.moved
if plan f 2>err; then exit 1; fi
grep -q '^raise-plan: f and v.one: embeddings of a model with and without an adapter cannot be compared$' err
if plan f.two 2>err; then exit 1; fi
grep -q '^raise-plan: f.two and v.one: embeddings of a model with another adapter cannot be compared$' err

# a killed run goes on with the same adapter wherever it lies, not with another under its name
embed --adapter one -o whole d.jsonl
raise-embed -q -m "$model" --template none -t 1 -d 8 --adapter one -o k d.jsonl &
pid=$!
for _ in $(seq 600); do
    [ "$(stat -c %s k.part 2>/dev/null || echo 0)" -gt 60000 ] && break
    [ -e k ] && break
    sleep 0.02
done
kill -9 $pid 2>/dev/null || true
wait $pid 2>/dev/null || true
if [ -e k.part ]; then
    mv one gone && cp -r two one
    if embed --adapter one --resume -o k d.jsonl 2>err; then exit 1; fi
    grep -q "k.part: of another run: it had adapter=$one, this one has adapter=" err
    embed --adapter moved --resume -o k d.jsonl
    rows() { raise-view --table source,len_y,logp_yx,embedding "$1" | cksum; }
    [ "$(rows k)" = "$(rows whole)" ]
fi
