#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes a folder of a llama with a byte-level tokenizer as GGUF: the same model, all weights F32,
or, with type=BF16, its matrices as they are in the folder.
Standard library only, so that tests can make what they need.

    gguf_make.py FOLDER OUT [VERSION [PARTS]] [pre=NAME] [token=ID:TEXT] [type=BF16]

PARTS > 1: OUT-00001-of-PARTS.gguf and so on. pre=: no tokenizer.ggml.pre, or another than gpt-2.
token=: the vocabulary goes on to this token, which the embedding has no row for.
"""
import json
import struct
import sys

F32, STRING, U16, U32, I32, ARRAY = 6, 8, 2, 4, 5, 9


def string(s):
    s = s.encode()
    return struct.pack("<Q", len(s)) + s


def value(v, kind):
    if kind == STRING:
        return string(v)
    return struct.pack({F32: "<f", U16: "<H", U32: "<I", I32: "<i"}[kind], v)


def pair(key, v, kind):
    if not isinstance(v, list):
        return string(key) + struct.pack("<I", kind) + value(v, kind)
    head = string(key) + struct.pack("<IIQ", ARRAY, kind, len(v))
    return head + b"".join(value(x, kind) for x in v)


def tensors_of(folder):
    """(name, shape, F32 bytes) of the folder's model, named and permuted as GGUF has them."""
    with open(folder + "/model.safetensors", "rb") as f:
        data = f.read()
    with open(folder + "/config.json", encoding="utf-8") as f:
        config = json.load(f)
    n = struct.unpack("<Q", data[:8])[0]
    header, data = json.loads(data[8:8 + n]), data[8 + n:]
    header.pop("__metadata__", None)
    names = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
             "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
             "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
             "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
    whole = {"model.embed_tokens.weight": "token_embd.weight", "lm_head.weight": "output.weight",
             "model.norm.weight": "output_norm.weight"}
    for name, x in header.items():
        raw = data[slice(*x["data_offsets"])]
        assert x["dtype"] == "BF16"
        raw = b"".join(b"\0\0" + raw[i:i + 2] for i in range(0, len(raw), 2))
        shape = x["shape"]
        heads = {"q": config["num_attention_heads"], "k": config["num_key_value_heads"]}
        if name in whole:
            name = whole[name]
        else:
            _, _, layer, part = name.split(".", 3)
            stem, kind = part.rsplit(".", 1)
            if stem in ("self_attn.q_proj", "self_attn.k_proj"):  # halves to pairs
                row, k = 4 * shape[1], shape[0] // heads[stem[10]]
                rows = [raw[i * row:(i + 1) * row] for i in range(shape[0])]
                raw = b"".join(rows[h * k + i // 2 + i % 2 * (k // 2)]
                               for h in range(shape[0] // k) for i in range(k))
            name = f"blk.{layer}.{names[stem]}.{kind}"
        yield name, shape, raw


def metadata_of(folder, more):
    with open(folder + "/config.json", encoding="utf-8") as f:
        c = json.load(f)
    with open(folder + "/tokenizer.json", encoding="utf-8") as f:
        t = json.load(f)
    vocab = sorted(t["model"]["vocab"].items(), key=lambda x: x[1])
    special = {x["id"] for x in t["added_tokens"]}
    if "token" in more:
        last, text = more["token"].split(":", 1)
        vocab += [(f"<{i}>", i) for i in range(len(vocab), int(last))] + [(text, int(last))]
        special.add(int(last))
    pairs = [("general.architecture", "llama", STRING),
            ("llama.block_count", c["num_hidden_layers"], U32),
            ("llama.embedding_length", c["hidden_size"], U32),
            ("llama.attention.head_count", c["num_attention_heads"], U32),
            ("llama.attention.head_count_kv", c["num_key_value_heads"], U32),
            ("llama.feed_forward_length", c["intermediate_size"], U32),
            ("llama.context_length", c["max_position_embeddings"], U32),
            ("llama.attention.layer_norm_rms_epsilon", c["rms_norm_eps"], F32),
            ("llama.rope.freq_base", c["rope_theta"], F32),
            ("tokenizer.ggml.model", "gpt2", STRING),
            ("tokenizer.ggml.pre", more.get("pre", "gpt-2"), STRING),
            ("tokenizer.ggml.tokens", [s for s, _ in vocab], STRING),
            ("tokenizer.ggml.token_type", [3 if i in special else 1 for _, i in vocab], I32),
            ("tokenizer.ggml.merges", [], STRING),
            ("tokenizer.ggml.bos_token_id", c["bos_token_id"], U32),
            ("tokenizer.ggml.eos_token_id", c["eos_token_id"], U32)]
    return [p for p in pairs if p[1] != ""]


def write(path, version, pairs, tensors, is_bf16):
    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(pairs))
    out += b"".join(pair(*p) for p in pairs)
    data = b""
    for name, shape, raw in tensors:
        data += bytes(-len(data) % 32)
        kind = 30 if is_bf16 and len(shape) == 2 else 0
        if kind:
            raw = b"".join(raw[i + 2:i + 4] for i in range(0, len(raw), 4))
        out += string(name) + struct.pack("<I", len(shape))
        out += b"".join(struct.pack("<Q", n) for n in reversed(shape))
        out += struct.pack("<IQ", kind, len(data))
        data += raw
    with open(path, "wb") as f:
        f.write(out + bytes(-len(out) % 32) + data)


def main():
    folder, to, *rest = (x for x in sys.argv[1:] if "=" not in x)
    more = dict(x.split("=", 1) for x in sys.argv[1:] if "=" in x)
    version, parts = (int(x) for x in rest + ["3", "1"][len(rest):])
    pairs, tensors = metadata_of(folder, more), list(tensors_of(folder))
    is_bf16 = more.get("type") == "BF16"
    if parts == 1:
        write(to, version, pairs, tensors, is_bf16)
        return
    for i in range(parts):
        split = [("split.no", i, U16), ("split.count", parts, U16),
                 ("split.tensors.count", len(tensors), I32)]
        write(f"{to}-{i + 1:05}-of-{parts:05}.gguf", version, split + (pairs if i == 0 else []),
              tensors[i::parts], is_bf16)


main()
