#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What transformers and peft compute, written as safetensors for test_lm_fixtures to compare.

  reference.py tiny OUT            a folder a configuration: a small random model, its logits, losses,
                                   gradients and the losses of 20 AdamW steps, full and with LoRA
  reference.py gguf OUT FILE DATA  scores of 200 records of an Alpaca file under a real GGUF model,
                                   and a short LoRA run
  reference.py roundtrip OUT DIR...  loads what test_lm_fixtures --write DIR OUT/DIR saved

Everything in fp32 on the CPU. Sequences are run one at a time, so no packing of the reference's is
trusted: the loss of a batch is the sum over its sequences' targets divided by their number.
"""
import json, os, shutil, sys

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
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CASES = {  # name: (class of configuration, changes, adapted projections)
    "llama": ("Llama", dict(rope_parameters=dict(rope_type="default", rope_theta=10000.0)), ALL),
    "llama-tied-llama3": ("Llama", dict(tie_word_embeddings=True, rope_parameters=ROPE3),
                          ["q_proj", "v_proj"]),
    "llama-mha-linear": ("Llama", dict(num_key_value_heads=4, head_dim=10, rope_parameters=dict(
        rope_type="linear", factor=2.0, rope_theta=10000.0)), ["gate_proj", "down_proj"]),
    "llama-bias": ("Llama", dict(attention_bias=True), ["o_proj", "up_proj"]),
    "mistral": ("Mistral", dict(sliding_window=None, head_dim=8, num_key_value_heads=1), ALL),
    "qwen2": ("Qwen2", dict(tie_word_embeddings=True), ALL),
    "qwen3": ("Qwen3", dict(head_dim=12, rope_parameters=dict(
        rope_type="default", rope_theta=1000000.0)), ALL),
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
        out = model(input_ids=ids[a:b][None], use_cache=False).logits[0]
        # torch's own in float32 is 4e-6 off over 49152 columns, and its gradient 4e-4
        logp = torch.log_softmax(out.double(), -1)
        nll = -logp[:-1].gather(1, ids[a + 1:b, None])[:, 0]
        sums.append((nll * mask[a + 1:b]).sum())
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


def lora_of(model, targets, gen):
    model = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=targets,
                                             lora_dropout=0.0, bias="none",
                                             task_type="CAUSAL_LM"))
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


def tiny(root):
    for i, (name, (kind, changes, targets)) in enumerate(CASES.items()):
        gen = torch.Generator().manual_seed(100 + i)
        torch.manual_seed(200 + i)
        config = getattr(transformers, kind + "Config")(**{**COMMON, **changes})
        config._attn_implementation = "eager"
        model = getattr(transformers, kind + "ForCausalLM")(config).float().eval()
        perturb(model, gen)
        folder = os.path.join(root, name)
        shutil.rmtree(folder, ignore_errors=True)
        model.save_pretrained(folder, max_shard_size="24KB" if name == "qwen3" else "50GB")
        for junk in ("generation_config.json", "README.md"):
            if os.path.exists(os.path.join(folder, junk)):
                os.remove(os.path.join(folder, junk))
        batches = [batch_of(lengths, 83, gen)
                   for lengths in ([9, 1, 14, 7, 3], [12, 5, 2], [4, 11, 6, 2])]
        out = {}
        put_batches(batches, out)
        state = {k: v.clone() for k, v in model.state_dict().items()}
        train(model, batches, out, "full")
        model.load_state_dict(state)
        tuned = lora_of(model, targets, gen)
        tuned.save_pretrained(os.path.join(folder, "adapter"))
        for junk in ("README.md",):
            os.remove(os.path.join(folder, "adapter", junk))
        train(tuned, batches, out, "lora")
        finish(out, os.path.join(folder, "expect.safetensors"))
        print(name, "loss", float(out["full.curve"][0]), "->", float(out["full.curve"][-1]),
              "lora ->", float(out["lora.curve"][-1]), file=sys.stderr)


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
    """Losses in float32, and of 40 records and for the gradient in float64 beside it."""
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
        model.double()
        some = (ids[:offsets[40]], mask[:offsets[40]], offsets[:41])
        out["scored64.nll"] = forward(model, some)[0]
        out["scored64.logits"] = forward(model, few, True)[1]
        model.float()
    print(f"the reference's own float32 against float64: log P(y|x) "
          f"{relative(out['scored.nll'][:40], out['scored64.nll']):.2g}", file=sys.stderr)
    tuned = lora_of(model, ALL, torch.Generator().manual_seed(7))
    tuned.save_pretrained(os.path.join(root, "adapter"))
    tuned.double()
    loss = forward(tuned, steps[0])[0].sum() / steps[0][1].sum()
    loss.backward()
    out["step64.loss"] = loss.detach()[None]
    for n, p in tuned.named_parameters():
        if p.requires_grad:
            out["step64.grad." + strip(n)] = p.grad.clone()
            p.grad = None
    tuned.float()
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
    with open(os.path.join(root, "model"), "w") as f:
        f.write(os.path.abspath(path) + "\n")


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
    if len(sys.argv) == 3 and sys.argv[1] == "tiny":
        tiny(sys.argv[2])
    elif len(sys.argv) == 5 and sys.argv[1] == "gguf":
        gguf(*sys.argv[2:])
    elif len(sys.argv) > 3 and sys.argv[1] == "roundtrip":
        sys.exit(sum(roundtrip(d, os.path.join(sys.argv[2], os.path.basename(d)))
                     for d in sys.argv[3:]) > 0)
    else:
        sys.exit(__doc__)
