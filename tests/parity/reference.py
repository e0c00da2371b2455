#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What transformers and peft compute, written as safetensors for test_lm_fixtures to compare.

  reference.py tiny OUT [MORE]     a folder a configuration: a small random model, its logits, losses,
                                   gradients and the losses of 20 AdamW steps, full and with LoRA;
                                   in MORE the same as GGUF files, and LoRA on single projections
  reference.py gguf OUT FILE DATA  scores of 200 records of an Alpaca file under a real GGUF model,
                                   and a short LoRA run
  reference.py roundtrip OUT DIR...  loads what test_lm_fixtures --write DIR OUT/DIR saved

In fp32 on the CPU, and in float64 where a name ends in 64. Sequences are run one at a time, so no
packing of the reference's is trusted: the loss of a batch is the sum over its sequences' targets
divided by their number.
"""
import contextlib, copy, json, os, shutil, sys

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file

STEPS, LR, RANK, ALPHA = 20, 3e-3, 4, 6
COMMON = dict(vocab_size=83, hidden_size=24, intermediate_size=40, num_hidden_layers=2,
              num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
              rms_norm_eps=1e-5, initializer_range=0.3, bos_token_id=1, eos_token_id=2)
ROPE3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
             original_max_position_embeddings=16, rope_theta=10000.0)
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16, rope_theta=10000.0)
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CASES = {  # name: (class of configuration, changes, adapted projections)
    "llama": ("Llama", dict(rope_parameters=dict(rope_type="default", rope_theta=10000.0)), ALL),
    "llama-tied-llama3": ("Llama", dict(tie_word_embeddings=True, rope_parameters=ROPE3),
                          ["q_proj", "v_proj"]),
    "llama-mha-linear": ("Llama", dict(num_key_value_heads=4, head_dim=10, rope_parameters=dict(
        rope_type="linear", factor=2.0, rope_theta=10000.0)), ["gate_proj", "down_proj"]),
    "llama-bias": ("Llama", dict(attention_bias=True), ["o_proj", "up_proj"]),
    "mistral": ("Mistral", dict(sliding_window=None, head_dim=8, num_key_value_heads=1), ALL),
    "qwen2": ("Qwen2", dict(tie_word_embeddings=True, rope_parameters=YARN), ALL),
    "qwen3": ("Qwen3", dict(head_dim=12, rope_parameters=dict(
        rope_type="default", rope_theta=1000000.0)), ALL),
}
HALVES = {  # weights that are stored in half precision; not among the committed fixtures
    "llama-f16": ("Llama", dict(dtype=torch.float16), ALL),
    "qwen2-bf16": ("Qwen2", dict(dtype=torch.bfloat16), ALL),
}


def batch_of(lengths, vocab, gen):
    """Random ids; the first third of each sequence is prompt. The last sequence has no target."""
    ids, loss, offsets = [], [], [0]
    for n in lengths:
        ids.append(torch.randint(0, vocab, (n,), generator=gen))
        mask = torch.arange(n) > n // 3
        mask[n // 2] = False  # a hole: targets need not be one run
        loss.append(mask)
        offsets.append(offsets[-1] + n)
    loss[-1][:] = False
    return torch.cat(ids), torch.cat(loss), offsets


def forward(model, batch, with_logits=False):
    """(sum of NLL of each sequence, logits of all tokens)"""
    ids, mask, offsets = batch
    sums, logits = [], []
    for a, b in zip(offsets, offsets[1:]):
        rows = mask[a + 1:b].nonzero()[:, 0]  # that predict a target
        kept = torch.arange(b - a) if with_logits else rows
        out = model(input_ids=ids[a:b][None], use_cache=False, logits_to_keep=kept).logits[0]
        # torch's own in float32 is 4e-6 off over 49152 columns, and its gradient 4e-4
        logp = torch.log_softmax((out[rows] if with_logits else out).double(), -1)
        sums.append(-logp.gather(1, ids[a + 1:b][rows, None]).sum())
        if with_logits:
            logits.append(out)
    return torch.stack(sums), (torch.cat(logits) if with_logits else None)


def train(model, batches, out, tag):
    """Gradient of the first batch, then the losses and gradient norms of STEPS AdamW steps."""
    params = {n: p for n, p in model.named_parameters() if p.requires_grad}
    sums, logits = forward(model, batches[0], True)
    n = batches[0][1].sum()
    (sums.sum() / n).backward()
    out[f"{tag}.logits"], out[f"{tag}.nll"] = logits.detach(), sums.detach()
    for name, p in params.items():
        out[f"{tag}.grad.{strip(name)}"] = p.grad.clone()
    decay = [p for p in params.values() if p.dim() > 1]
    plain = [p for p in params.values() if p.dim() == 1]
    opt = torch.optim.AdamW([dict(params=decay, weight_decay=0.1),
                             dict(params=plain, weight_decay=0.0)],
                            lr=LR, betas=(0.9, 0.95), eps=1e-8)
    curve, norms = [], []
    for step in range(STEPS):
        batch = batches[step % len(batches)]
        opt.zero_grad()
        loss = forward(model, batch)[0].sum() / batch[1].sum()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(params.values(), 1.0))
        opt.step()
        curve.append(loss.detach())
    out[f"{tag}.curve"], out[f"{tag}.norms"] = torch.stack(curve), torch.stack(norms).detach()


def put_batches(batches, out):
    for i, (ids, mask, offsets) in enumerate(batches):
        out[f"batch{i}.ids"] = ids.to(torch.int32)
        out[f"batch{i}.is_loss"] = mask.to(torch.uint8)
        out[f"batch{i}.offsets"] = torch.tensor(offsets, dtype=torch.int64)


def perturb(model, gen):
    """Norms and biases away from 1 and 0, or an error in them would not show."""
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() == 1:
                p.add_(0.2 * torch.randn(p.shape, generator=gen))


@contextlib.contextmanager
def doubled(model):
    """The model in float64 *throughout*: transformers takes softmax and norms in float32 even then,
    which alone is 7e-7 nats a token (standard deviation, SmolLM2-135M)."""
    kind = type(next(m for m in model.modules() if type(m).__name__.endswith("RMSNorm")))
    softmax, norm = torch.nn.functional.softmax, kind.forward
    torch.nn.functional.softmax = lambda x, dim=None, dtype=None: softmax(x, dim=dim)
    kind.forward = lambda self, x: self.weight * x * torch.rsqrt(
        x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
    try:
        yield model.double()
    finally:
        torch.nn.functional.softmax, kind.forward = softmax, norm
        model.float()


def lora_of(model, targets, gen, **more):
    model = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=targets,
                                             lora_dropout=0.0, bias="none",
                                             task_type="CAUSAL_LM", **more))
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_" in name:
                p.copy_(0.1 * torch.randn(p.shape, generator=gen))
    return model


def finish(out, path):
    out = {k: v.detach().contiguous().clone() for k, v in out.items()}
    for k, v in out.items():
        if v.dtype == torch.float64:
            out[k] = v.float()
    save_file(out, path)


def model_of(kind, changes, seed):
    """A random model whose weights are exact in the dtype that it is stored in. Weights only: .to()
    would round the rotary frequencies, too."""
    gen = torch.Generator().manual_seed(100 + seed)
    torch.manual_seed(200 + seed)
    config = getattr(transformers, kind + "Config")(**{**COMMON, **changes, "dtype": "float32"})
    config._attn_implementation = "eager"
    model = getattr(transformers, kind + "ForCausalLM")(config).float().eval()
    perturb(model, gen)
    dtype = changes.get("dtype", torch.float32)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(p.to(dtype))
    return model, dtype, gen


def remove(folder, *names):
    for name in names:
        if os.path.exists(os.path.join(folder, name)):
            os.remove(os.path.join(folder, name))


def fresh(*parts):
    folder = os.path.join(*parts)
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def tiny(root, more=None):
    torch.set_num_threads(1)  # faster, at this size
    cases = {**CASES, **HALVES} if more else CASES
    for i, (name, (kind, changes, targets)) in enumerate(cases.items()):
        model, dtype, gen = model_of(kind, changes, i)
        folder = fresh(root, name)
        stored = copy.deepcopy(model).to(dtype)
        stored.save_pretrained(folder, max_shard_size="24KB" if name == "qwen3" else "50GB")
        remove(folder, "generation_config.json", "README.md")
        batches = [batch_of(lengths, 83, gen)
                   for lengths in ([9, 1, 14, 7, 3], [12, 5, 2], [4, 11, 6, 2])]
        out = {}
        put_batches(batches, out)
        state = {k: v.clone() for k, v in model.state_dict().items()}
        train(model, batches, out, "full")
        model.load_state_dict(state)
        if more and name in GGUF_ARCH:
            as_gguf(stored, fresh(more, name + "-gguf"), GGUF_ARCH[name], folder)
        tuned = lora_of(model, targets, gen)
        tuned.save_pretrained(os.path.join(folder, "adapter"))
        remove(os.path.join(folder, "adapter"), "README.md")
        train(tuned, batches, out, "lora")
        finish(out, os.path.join(folder, "expect.safetensors"))
        print(name, "loss", float(out["full.curve"][0]), "->", float(out["full.curve"][-1]),
              "lora ->", float(out["lora.curve"][-1]), file=sys.stderr)
    if more:
        single_adapters(root, more)


def single_adapters(root, more):
    """LoRA on each projection alone, and rank-stabilised LoRA, on the models of tiny()."""
    cases = {f"only-{t}": ([t], {}) for t in ALL} | {"rslora": (ALL, dict(use_rslora=True))}
    for i, (name, (targets, options)) in enumerate(cases.items()):
        base = ("llama", "qwen3")[i % 2]
        gen = torch.Generator().manual_seed(300 + i)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            os.path.join(root, base), dtype=torch.float32, attn_implementation="eager").eval()
        folder = fresh(more, f"{base}-{name}")
        out, batches = {}, [batch_of(n, 83, gen) for n in ([9, 1, 7], [5, 8], [11, 2])]
        put_batches(batches, out)
        tuned = lora_of(model, targets, gen, **options)
        tuned.save_pretrained(os.path.join(folder, "adapter"))
        train(tuned, batches, out, "lora")
        finish(out, os.path.join(folder, "expect.safetensors"))
        point_to(folder, os.path.join(root, base))


def point_to(folder, model):
    with open(os.path.join(folder, "model"), "w") as f:
        f.write(os.path.abspath(model) + "\n")


GGUF_ARCH = {"llama": "llama", "llama-mha-linear": "llama", "mistral": "llama",
             "llama-f16": "llama", "qwen2": "qwen2", "qwen2-bf16": "qwen2", "qwen3": "qwen3"}
GGUF_NAMES = [("model.embed_tokens", "token_embd"), ("model.norm", "output_norm"),
              ("lm_head", "output"), ("model.layers.", "blk."), ("input_layernorm", "attn_norm"),
              ("post_attention_layernorm", "ffn_norm"), ("self_attn.o_proj", "attn_output"),
              ("self_attn.", "attn_"), ("mlp.", "ffn_"), ("_proj", "")]


def as_gguf(model, folder, arch, published):
    """The model as llama.cpp's converter lays it out: in Llama's q and k, rotary pairs adjoin.
    `published` gets what is expected later; the folder borrows it."""
    import gguf
    os.makedirs(folder)
    c, path = model.config, os.path.join(folder, "model.gguf")
    w = gguf.GGUFWriter(path, arch)
    w.add_block_count(c.num_hidden_layers)
    w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size)
    w.add_feed_forward_length(c.intermediate_size)
    w.add_head_count(c.num_attention_heads)
    w.add_head_count_kv(c.num_key_value_heads)
    w.add_layer_norm_rms_eps(c.rms_norm_eps)
    w.add_rope_freq_base(c.rope_parameters["rope_theta"])
    kind = c.rope_parameters["rope_type"]
    if kind in ("linear", "yarn"):
        w.add_rope_scaling_type(gguf.RopeScalingType(kind))
        w.add_rope_scaling_factor(c.rope_parameters["factor"])
    if kind == "yarn":
        w.add_rope_scaling_orig_ctx_len(c.rope_parameters["original_max_position_embeddings"])
    K = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    w.add_key_length(K)
    w.add_value_length(K)
    w.add_rope_dimension_count(K)
    for name, x in model.state_dict().items():
        if name == "lm_head.weight" and c.tie_word_embeddings:
            continue
        if arch == "llama" and ("q_proj" in name or "k_proj" in name):
            x = x.reshape(-1, 2, K // 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)
        for a, b in GGUF_NAMES:
            name = name.replace(a, b)
        if x.dtype == torch.bfloat16:
            w.add_tensor(name, x.contiguous().view(torch.uint8).numpy().copy(),
                         raw_dtype=gguf.GGMLQuantizationType.BF16)
        else:
            w.add_tensor(name, x.contiguous().numpy().copy())
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    point_to(folder, path)
    for what in ("expect.safetensors", "adapter"):
        os.symlink(os.path.abspath(os.path.join(published, what)), os.path.join(folder, what))


def alpaca_batches(path, tokenizer, n_records, n_batch):
    if path.endswith(".zst"):
        import zstandard
        text = zstandard.ZstdDecompressor().stream_reader(open(path, "rb")).read()
    else:
        text = open(path, "rb").read()
    records = json.loads(text)[:n_records]
    seqs = []
    for r in records:
        x = ("Below is an instruction that describes a task.\n\n### Instruction:\n"
             + r["instruction"] + ("\n\n### Input:\n" + r["input"] if r.get("input") else "")
             + "\n\n### Response:\n")
        a = tokenizer(x, add_special_tokens=False)["input_ids"]
        b = tokenizer(r["output"], add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
        seqs.append((a, b))
    batches = []
    for i in range(0, len(seqs), n_batch):
        ids, mask, offsets = [], [], [0]
        for a, b in seqs[i:i + n_batch]:
            ids += a + b
            mask += [0] * len(a) + [1] * len(b)
            offsets.append(len(ids))
        batches.append((torch.tensor(ids), torch.tensor(mask, dtype=torch.bool), offsets))
    return batches


def relative(a, b):
    return float(((a - b).abs() / b.abs().clamp(min=1)).max())


def strip(name):
    return name.replace("base_model.model.", "").replace(".default.", ".")


def gguf(root, path, data, n_records=200):
    """Losses and logits in float32 and in float64, a gradient in float64, a run in float32."""
    folder, name = os.path.split(os.path.abspath(path))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=name)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=name,
                                                               dtype=torch.float32)
    config = type(loaded.config)(**loaded.config.to_dict())
    config._attn_implementation = "eager"
    model = type(loaded)(config).float().eval()  # the loaded one refuses save_pretrained
    model.load_state_dict(loaded.state_dict())
    del loaded
    os.makedirs(root, exist_ok=True)
    [scored] = alpaca_batches(data, tokenizer, n_records, n_records)
    steps = alpaca_batches(data, tokenizer, 16, 4)
    ids, mask, offsets = scored
    few = (ids[:offsets[4]], mask[:offsets[4]], offsets[:5])  # 49152 logits a token
    out = {}
    put_batches([scored], out)
    for i, batch in enumerate(steps):
        put_batches([batch], own := {})
        out.update({k.replace("batch0", f"step{i}"): v for k, v in own.items()})
    with torch.no_grad():
        out["scored.nll"] = forward(model, scored)[0]
        out["scored.logits"] = forward(model, few, True)[1]
        with doubled(model):
            out["scored64.nll"] = forward(model, scored)[0]
            out["scored64.logits"] = forward(model, few, True)[1]
    own = out["scored.nll"] - out["scored64.nll"]
    n = torch.tensor([mask[a:b].sum() for a, b in zip(offsets, offsets[1:])])
    print(f"the reference's own float32 against float64: log P(y|x) "
          f"{relative(out['scored.nll'], out['scored64.nll']):.2g} relative, "
          f"{float((own / n.sqrt()).pow(2).mean().sqrt()):.2g} nats a token (root mean square), "
          f"mean loss {abs(float(own.sum() / out['scored64.nll'].sum())):.2g}", file=sys.stderr)
    tuned = lora_of(model, ALL, torch.Generator().manual_seed(7))
    tuned.save_pretrained(os.path.join(root, "adapter"))
    with doubled(tuned):
        loss = forward(tuned, steps[0])[0].sum() / steps[0][1].sum()
        loss.backward()
        out["step64.loss"] = loss.detach()[None]
        for name, p in tuned.named_parameters():
            if p.requires_grad:
                out["step64.grad." + strip(name)] = p.grad.clone()
                p.grad = None
    params = [p for p in tuned.parameters() if p.requires_grad]
    opt = torch.optim.AdamW(params, lr=3e-4, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    curve = []
    for step in range(8):
        batch = steps[step % len(steps)]
        opt.zero_grad()
        loss = forward(tuned, batch)[0].sum() / batch[1].sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        opt.step()
        curve.append(loss.detach())
    out["step.curve"] = torch.stack(curve)
    finish(out, os.path.join(root, "expect.safetensors"))
    point_to(root, path)


def roundtrip(folder, written):
    """Loads what `test_lm_fixtures --write FOLDER WRITTEN` saved; prints rows for the table."""
    from peft import PeftModel
    from safetensors.torch import load_file
    want = load_file(os.path.join(written, "logits.safetensors"))
    batch = load_file(os.path.join(folder, "expect.safetensors"))
    batch = (batch["batch0.ids"].long(), batch["batch0.is_loss"].bool(),
             batch["batch0.offsets"].tolist())
    name = os.path.basename(folder)
    load = lambda p: transformers.AutoModelForCausalLM.from_pretrained(
        p, dtype=torch.float32, attn_implementation="eager").eval()
    bad = 0
    models = {"peft loads our adapter: logits":
              PeftModel.from_pretrained(load(folder), os.path.join(written, "adapter")),
              "transformers loads our merged model: logits": load(os.path.join(written, "model"))}
    for what, model in models.items():
        with torch.no_grad():
            have = forward(model, batch, True)[1]
        worst = float((have - want["logits"]).abs().max() / want["logits"].abs().max())
        bad += not worst <= 1e-5
        print(f"{name} {what},{worst:.3g},1e-05,{'ok' if worst <= 1e-5 else 'FAIL'}")
    return bad


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    if len(sys.argv) in (3, 4) and sys.argv[1] == "tiny":
        tiny(*sys.argv[2:])
    elif len(sys.argv) == 5 and sys.argv[1] == "gguf":
        gguf(*sys.argv[2:])
    elif len(sys.argv) > 3 and sys.argv[1] == "roundtrip":
        sys.exit(sum(roundtrip(d, os.path.join(sys.argv[2], os.path.basename(d)))
                     for d in sys.argv[3:]) > 0)
    else:
        sys.exit(__doc__)
