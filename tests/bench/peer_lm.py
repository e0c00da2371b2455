# SPDX-License-Identifier: MIT
"""transformers + peft on the records of bench_lm, one pass at a time, as tests/bench/run asks.

    bench_lm MODEL DATA <<<ids | peer_lm.py MODEL

Standard input is the records, up to an empty line, then commands like bench_lm's:

    open WORK    tries padded, length-grouped and packed batches on a quarter of the records,
                 keeps the fastest; says which, and all their speeds. RAISE_COMPILE=1: then that
                 one under torch.compile, which takes minutes, too.
    step         seconds, real tokens and mean loss of one pass with what was kept

Batches are of 16. Packed: one row, position_ids that start again at each record, no mask and no
cache: with these sdpa keeps the records apart. The bf16 runs are bf16 throughout (weights,
adapters, AdamW), which is the fastest here though not what one would train with.
"""
import os
import sys
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
import torch
import transformers

BATCH, PAD, MAX_TRIAL = 16, 0, 8
transformers.utils.logging.disable_progress_bar()


def padded(records):
    n = max(len(ids) for _, ids in records)
    rows = [(ids + [PAD] * (n - len(ids)), [-100] * k + ids[k:] + [-100] * (n - len(ids)),
             [1] * len(ids) + [0] * (n - len(ids))) for k, ids in records]
    ids, labels, mask = (torch.tensor([r[i] for r in rows]) for i in range(3))
    return dict(input_ids=ids, labels=labels, attention_mask=mask)


def packed(records):
    # A record's first token is no target: it would be predicted from the record before.
    row = lambda f: torch.tensor([sum((f(max(k, 1), ids) for k, ids in records), [])])
    return dict(input_ids=row(lambda k, ids: ids),
                labels=row(lambda k, ids: [-100] * k + ids[k:]),
                position_ids=row(lambda k, ids: list(range(len(ids)))))


def batches(records, how):
    if how == "length-grouped":
        records = sorted(records, key=lambda r: len(r[1]))
    make = packed if how == "packed" else padded
    return [make(records[i:i + BATCH]) for i in range(0, len(records), BATCH)]


def load(path, dtype):
    kind = transformers.AutoModelForCausalLM
    if path.endswith(".gguf"):
        folder, name = os.path.split(os.path.abspath(path))
        return kind.from_pretrained(folder, gguf_file=name, dtype=dtype)
    return kind.from_pretrained(path, dtype=dtype)


class Work:
    def __init__(self, path, name):
        self.kind, precision = name.split("-")
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        m = load(path, dtype)
        m.config.use_cache = False
        m.requires_grad_(self.kind == "full")
        if self.kind == "lora":
            import peft
            m = peft.get_peft_model(m, peft.LoraConfig(
                r=16, lora_alpha=32, lora_dropout=0, task_type="CAUSAL_LM", target_modules=[
                    x + "_proj" for x in ("q", "k", "v", "o", "gate", "up", "down")]),
                autocast_adapter_dtype=False)
        self.m = self.run = m.train(self.kind != "forward")
        self.params = [p for p in m.parameters() if p.requires_grad]
        self.opt = torch.optim.AdamW(self.params, 1e-5, weight_decay=0) if self.params else None

    def step(self, batch):
        if not self.opt:
            with torch.inference_mode():
                return self.run(**batch, use_cache=False).loss.item()
        loss = self.run(**batch, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.params, 1.0)
        self.opt.step()
        self.opt.zero_grad(set_to_none=True)
        return loss.item()

    def one_pass(self, todo):
        start = time.perf_counter()
        losses = [self.step(b) for b in todo]
        return time.perf_counter() - start, sum(losses) / len(losses)


def n_tokens(records):
    return sum(len(ids) for _, ids in records)


def trial(work, records, how):
    """Real tokens a second over a few records."""
    few = records[::len(records) // MAX_TRIAL]
    # Grouping is within a batch's worth here: halves stand for the two batches.
    halves = sorted(few, key=lambda r: len(r[1])) if how == "length-grouped" else few
    size = len(few) // 2 if how == "length-grouped" else len(few)
    todo = [b for i in range(0, len(few), size) for b in batches(halves[i:i + size], how)]
    work.one_pass([batches(few[:2], how)[0]])
    return n_tokens(few) / work.one_pass(todo)[0]


def choose(work, records):
    tried = {("eager", how): trial(work, records, how)
             for how in ("padded", "length-grouped", "packed")}
    how = max(tried, key=tried.get)[1]
    if os.environ.get("RAISE_COMPILE") == "1":
        work.run = torch.compile(work.m, dynamic=True)
        tried["compiled", how] = trial(work, records, how)
    best = max(tried, key=tried.get)
    if best[0] == "eager":
        work.run = work.m
    return best[1], "%s %s (%s)" % (*best, ", ".join(
        "%s %s %.0f" % (*k, v) for k, v in tried.items()))


def main():
    records = []
    for line in sys.stdin:
        if line == "\n":
            break
        k, *ids = map(int, line.split())
        records.append((k, ids))
    work = todo = None
    for line in iter(sys.stdin.readline, ""):
        word = line.split()
        if word[0] == "open":
            work = todo = None  # frees the model before
            work = Work(sys.argv[1], word[1])
            how, why = choose(work, records)
            todo = batches(records, how)
            print(why, flush=True)
        else:
            seconds, loss = work.one_pass(todo)
            print("%.6f %d %.6f" % (seconds, n_tokens(records), loss), flush=True)


if __name__ == "__main__":
    main()
