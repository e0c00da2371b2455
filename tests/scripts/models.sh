#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What a model has that only some records meet (a token without a row of the embedding, a sliding
# window, dynamic rotation) refuses these records, by name, and no other; tensors named without
# "model." load; a classifier that stands in the file is the one that is used and saved.
set -eu
# shellcheck source=tests/scratch.sh
. "$RAISE_TESTS/scratch.sh"
needs python3
plain=$model
python3 - "$plain" <<'PY'
import json, os, random, struct, sys
src = sys.argv[1]
raw = open(f"{src}/model.safetensors", "rb").read()
n = struct.unpack("<Q", raw[:8])[0]
head = json.loads(raw[8:8 + n])
head.pop("__metadata__", None)
T = {k: (v["dtype"], v["shape"], raw[8 + n:][slice(*v["data_offsets"])]) for k, v in head.items()}
config, names, tokenizer = (json.load(open(f"{src}/{f}.json"))
                            for f in ("config", "tokenizer_config", "tokenizer"))

def model(name, more=None, tensors=T, tok=tokenizer):
    os.mkdir(name)
    for f, x in ("config", config | (more or {})), ("tokenizer_config", names), ("tokenizer", tok):
        json.dump(x, open(f"{name}/{f}.json", "w"))
    h, data = {}, b""
    for k, (dtype, shape, b) in tensors.items():
        h[k] = dict(dtype=dtype, shape=shape, data_offsets=[len(data), len(data) + len(b)])
        data += b
    h = json.dumps(h).encode()
    open(f"{name}/model.safetensors", "wb").write(struct.pack("<Q", len(h)) + h + data)

dtype, shape, same = T["model.embed_tokens.weight"]
r = random.Random(1)
other = b"".join(struct.pack("<f", r.gauss(0, 0.3))[2:] for _ in range(len(same) // 2))
word = dict(id=259, content="zebra", single_word=False, lstrip=False, rstrip=False,
            normalized=False, special=False)
model("beyond", tok=tokenizer | {"added_tokens": tokenizer["added_tokens"] + [word]})
model("window", {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": 64})
model("dynamic", {"rope_scaling": {"type": "dynamic", "factor": 2.0, "original_max_position_embeddings": 64}})
model("bare", tensors={k.removeprefix("model."): v for k, v in T.items()})
model("same-head", tensors=T | {"lm_head.weight": (dtype, shape, same)})
model("other-head", tensors=T | {"lm_head.weight": (dtype, shape, other)})
model("untied", {"tie_word_embeddings": False}, T | {"lm_head.weight": (dtype, shape, other)})
PY
records() { # tag number
    awk -v tag="$1" -v n="$2" 'BEGIN { for (i = 0; i < n; i++)
        printf "{\"prompt\":\"%s %d\",\"completion\":\"%d and %d\"}\n", tag, i, i % 7, i * i }'
}
records pool 12 >short.jsonl
records val 4 >val.jsonl
embed() { # model options...
    raise-embed -q -t 1 --precision fp32 --template none -d 8 -m "$@"
}
rows() { embed "$1" --no-provenance short.jsonl | raise-view --table logp_yx,logp_y; }
refused() { # pattern command...
    local pattern=$1
    shift
    if "$@" >out 2>err; then exit 1; fi
    grep -q "$pattern" err || { cat err; exit 1; }
}
rows "$plain" >want
for m in beyond window dynamic bare same-head; do rows "$m" | cmp want -; done
rows untied >want.other
[ "$(wc -l <want)" = 13 ]
if cmp -s want want.other; then exit 1; fi
rows other-head | cmp want.other -

# the record that needs it, in the dataset, in a validation set, among the rows of features
{ cat short.jsonl; echo '{"prompt":"a zebra","completion":"yes"}'; } >zebra.jsonl
{ cat short.jsonl; printf '{"prompt":"%0100d","completion":"yes"}\n' 1; } >long.jsonl
zebra='zebra.jsonl:13: record 12: token [0-9]* is 259, outside the vocabulary of 259$'
refused "raise-embed: $zebra" embed beyond zebra.jsonl
for m in window dynamic; do
    refused 'raise-embed: long.jsonl:13: record 12: 10[0-9] tokens, more than the .*64' embed $m long.jsonl
    embed $m --max-length 64 long.jsonl >ok 2>err # dropped, as it is longer
done
make_policy() { embed "$plain" "$1" | raise-cluster -q -k 2 -t 1 - >f && raise-ppo -q --init -f f -o p; }
episode() { # model dataset options...
    raise-rollout -q -t 1 --precision fp32 --template none -f f -p p -m "$1" -d "$2" --batch 13 --steps 1 \
        --lora-rank 4 "${@:3}"
}
make_policy zebra.jsonl
refused "raise-rollout: step 1: $zebra" episode beyond zebra.jsonl --val val.jsonl -o t
make_policy long.jsonl
refused 'raise-rollout: long.jsonl:13: record 12: 10[0-9] tokens, more than' episode window long.jsonl --val val.jsonl -o t
make_policy short.jsonl
sed 's/pool/val/' zebra.jsonl >val-zebra.jsonl
refused "raise-rollout: val-$zebra" episode beyond short.jsonl --val val-zebra.jsonl --batch 12 -o t
episode beyond short.jsonl --val val.jsonl --batch 12 -o t

# the classifier of the file is tuned, saved, and read again
episode other-head short.jsonl --val val.jsonl --batch 12 --full --lr 1e-3 --save-model saved -o t
grep -q '"tie_word_embeddings": false' saved/config.json
raise-rollout -q -t 1 --precision fp32 --template none -f f -p p -m saved -d short.jsonl --val val.jsonl \
    --batch 12 --steps 1 --lr 0 -o t2
perf() { raise-view --table perf "$1" | sed -n "$2p"; }
[ "$(perf t 3)" = "$(perf t2 2)" ]
