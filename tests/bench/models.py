# SPDX-License-Identifier: MIT
"""Models of published shapes with random bf16 weights, and what they take: rows model-*.

Each is written to RAISE_SCRATCH (else BUILD/bench/models), measured by bench_model, each work in a
process of its own, and removed. One that has no room on the disk or in memory is left out, with
the reason. Rows, NAME as in SHAPES:

    model-NAME-load      seconds of opening it; ids are random, so no tokenizer is needed
    model-NAME-forward   tokens a second of scoring, and of transformers where NAME is PEER
    model-NAME-lora      the same of a step of LoRA on all projections, layers recomputed
    model-NAME-memory    bytes at the peak of the step; the peer is the plan
"""
import json
import os
import shutil
import statistics
import struct
import subprocess

# layers, D, heads, kv heads, head, F, V, tied, architecture
SHAPES = {
    "llama-3.2-1b": (16, 2048, 32, 8, 64, 8192, 128256, True, "Llama"),
    "llama-3.2-3b": (28, 3072, 24, 8, 128, 8192, 128256, True, "Llama"),
    "qwen2.5-3b": (36, 2048, 16, 2, 128, 11008, 151936, True, "Qwen2"),
    "llama-3.1-8b": (32, 4096, 32, 8, 128, 14336, 128256, False, "Llama"),
}
PEER = "llama-3.2-1b"
BLOCK = 64 << 20


def config_of(shape):
    L, D, H, G, K, F, V, is_tied, kind = shape
    c = dict(architectures=[kind + "ForCausalLM"], model_type=kind.lower(), hidden_size=D,
             num_hidden_layers=L, num_attention_heads=H, num_key_value_heads=G,
             intermediate_size=F, vocab_size=V, tie_word_embeddings=is_tied, rms_norm_eps=1e-5,
             max_position_embeddings=131072 if kind == "Llama" else 32768, hidden_act="silu",
             rope_theta=500000.0 if kind == "Llama" else 1000000.0, torch_dtype="bfloat16",
             bos_token_id=1, eos_token_id=2)
    if kind == "Llama":
        c.update(head_dim=K, attention_bias=False, mlp_bias=False,
                 rope_scaling=dict(rope_type="llama3", factor=32.0 if is_tied else 8.0,
                                   low_freq_factor=1.0, high_freq_factor=4.0,
                                   original_max_position_embeddings=8192))
    return c


def tensors_of(shape):
    L, D, H, G, K, F, V, is_tied, kind = shape
    yield "model.embed_tokens.weight", [V, D]
    for l in range(L):
        p = "model.layers.%d." % l
        for x, rows, cols in (("self_attn.q", H * K, D), ("self_attn.k", G * K, D),
                              ("self_attn.v", G * K, D), ("self_attn.o", D, H * K),
                              ("mlp.gate", F, D), ("mlp.up", F, D), ("mlp.down", D, F)):
            yield p + x + "_proj.weight", [rows, cols]
            if kind == "Qwen2" and x[-1] in "qkv" and x.startswith("self"):
                yield p + x + "_proj.bias", [rows]
        yield p + "input_layernorm.weight", [D]
        yield p + "post_attention_layernorm.weight", [D]
    yield "model.norm.weight", [D]
    if not is_tied:
        yield "lm_head.weight", [V, D]


def size_of(shape):
    n = 2
    for x in shape:
        n *= x
    return n


def bytes_of(shape):
    return sum(size_of(s) for _, s in tensors_of(shape))


def write(folder, shape):
    """config.json and model.safetensors: norms are 1, the rest +-0.008 to 0.031."""
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config_of(shape), f)
    header, at = {}, 0
    for name, s in tensors_of(shape):
        header[name] = dict(dtype="BF16", shape=s, data_offsets=[at, at + size_of(s)])
        at += size_of(s)
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    block = bytearray(BLOCK)
    block[0::2] = os.urandom(BLOCK // 2)
    block[1::2] = os.urandom(BLOCK // 2).translate(bytes([0x3c, 0xbc] * 128))
    with open(os.path.join(folder, "model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(head)) + head)
        for i, (name, s) in enumerate(tensors_of(shape)):
            if len(s) == 1 and "norm" in name:
                f.write(b"\x80\x3f" * s[0])
                continue
            left, start = size_of(s), i * 7919 * 4096 % BLOCK  # another part for each
            while left:
                n = min(left, BLOCK - start)
                f.write(memoryview(block)[start:start + n])
                left, start = left - n, 0


def peer_rates(python, folder, here, n, length, vocab, works, repeats):
    """Tokens a second of transformers on records of the same lengths, by work."""
    p = subprocess.Popen([python, os.path.join(here, "peer_lm.py"), folder], text=True,
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(line):
        p.stdin.write(line + "\n")
        p.stdin.flush()
        return p.stdout.readline()

    rates = {}
    ids = lambda i: " ".join(str((i * 7919 + t * 104729) % vocab) for t in range(length))
    p.stdin.write("".join("%d %s\n" % (length // 2, ids(i)) for i in range(n)) + "\n")
    for work in works:
        if not ask("open %s-fp32" % work):
            break
        steps = [[float(x) for x in ask("step").split()] for _ in range(repeats)]
        rates[work] = statistics.median(s[1] / s[0] for s in steps if s)
    p.stdin.close()
    p.wait()
    return rates


class Models:
    def __init__(self, table, build, here, wanted, note, python, repeats):
        self.table, self.build, self.here, self.wanted = table, build, here, wanted
        self.note, self.python, self.repeats = note, python, repeats
        self.n = int(os.environ.get("RAISE_RECORDS", "16"))
        self.length = int(os.environ.get("RAISE_LENGTH", "64"))
        self.micro = int(os.environ.get("RAISE_MICRO", "1024"))
        self.scratch = os.environ.get("RAISE_SCRATCH", os.path.join(build, "bench", "models"))

    def bench(self, work, folder):
        line = subprocess.run(
            [os.path.join(self.build, "bench", "bench_model"), work, folder, str(self.n),
             str(self.length), str(self.micro)], check=True, stdout=subprocess.PIPE, text=True)
        names = "load plan available peak tokens wall cpu loss".split()
        return dict(zip(names, map(float, line.stdout.split())))

    def one(self, name, folder):
        write(folder, SHAPES[name])
        plan = self.bench("plan", folder)
        if plan["plan"] * 1.15 > plan["available"]:
            self.note("model-%s: needs %.1f GiB of memory and %.1f are available: left out" % (
                name, plan["plan"] / 2**30, plan["available"] / 2**30))
            return
        rates = {}
        if name == PEER and self.python():
            rates = peer_rates(self.python(), folder, self.here, self.n, self.length,
                               SHAPES[name][6], ["forward", "lora"], 1)
        for work in ("forward", "lora"):
            seen = [self.bench(work, folder) for _ in range(self.repeats)]
            ours, peer = statistics.median(x["tokens"] / x["wall"] for x in seen), rates.get(work)
            self.table.add("model-%s-%s" % (name, work), ours, peer, peer and ours / peer,
                           "tokens/s")
            self.note("model-%s-%s: %.3g tokens a second of one processor" % (
                name, work, statistics.median(x["tokens"] / x["cpu"] for x in seen)))
        self.table.add("model-%s-load" % name, statistics.median(x["load"] for x in seen), None,
                       None, "s")
        x = seen[-1]
        self.table.add("model-%s-memory" % name, x["peak"], x["plan"], x["peak"] / x["plan"],
                       "bytes")

    def all(self):
        for name, shape in SHAPES.items():
            if not self.wanted("model-" + name):
                continue
            folder = os.path.join(self.scratch, name)
            os.makedirs(folder, exist_ok=True)
            n_free = shutil.disk_usage(folder).free
            if n_free < 1.1 * bytes_of(shape):
                self.note("model-%s: takes %.1f GiB of disk and %.1f are free: left out" % (
                    name, bytes_of(shape) / 2**30, n_free / 2**30))
                continue
            try:
                self.one(name, folder)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
