# SPDX-License-Identifier: MIT
"""transformers + peft on a GPU, beside bench_cuda: the same records, shapes and batches.

    peer_cuda.py RECORDS

Commands on standard input, each answered by a line:

    open DIR WORK B SECONDS  a model of DIR/config.json with random weights; tries padded and packed
                             batches, whole and in pieces of 16 records, then torch.compile of the
                             best, as long as SECONDS last; says what was kept, and all speeds
    step K                   seconds, real tokens and loss of one optimizer step
    memory                   the most bytes that tensors took
    close

Packed: one row, position_ids that start again at each record, no mask and no cache: with these
sdpa keeps the records apart. Pieces are of similar length. bf16 throughout (weights, adapters, the
fused AdamW's state), which is the fastest here though not what one would train with. Without a GPU
everything runs on the CPU: to test the script.
"""
import os
import signal
import sys
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
import torch
import transformers

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
MAX_BATCHES, PIECE = 4, 16
HOWS = [("padded", PIECE), ("packed", PIECE), ("padded", 0), ("packed", 0)]


class Late(Exception):
    pass


def on_alarm(*_):
    raise Late()


def wait():
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def tensor(rows):
    return torch.tensor(rows, device=DEVICE)


def padded(records):
    n = max(len(ids) for _, ids in records)
    pad = lambda ids, x: ids + [x] * (n - len(ids))
    return dict(input_ids=tensor([pad(ids, 0) for _, ids in records]),
                labels=tensor([pad([-100] * k + ids[k:], -100) for k, ids in records]),
                attention_mask=tensor([pad([1] * len(ids), 0) for _, ids in records]))


def packed(records):
    # A record's first token is no target: it would be predicted from the record before.
    row = lambda f: tensor([sum((f(max(k, 1), ids) for k, ids in records), [])])
    return dict(input_ids=row(lambda k, ids: ids),
                labels=row(lambda k, ids: [-100] * k + ids[k:]),
                position_ids=row(lambda k, ids: list(range(len(ids)))))


def pieces(batch, how, size):
    """Model inputs and the share of the batch's targets, for each piece."""
    records = sorted(batch, key=lambda r: len(r[1]))
    size = size or len(records)
    make, out = (packed if how == "packed" else padded), []
    total = sum(len(ids) - max(k, 1) for k, ids in records)
    for i in range(0, len(records), size):
        few = records[i:i + size]
        out.append((make(few), sum(len(ids) - max(k, 1) for k, ids in few) / total))
    return out


class Work:
    def __init__(self, path, kind, batches):
        config = transformers.AutoConfig.from_pretrained(path)
        config.use_cache = False
        with torch.device(DEVICE):
            m = transformers.AutoModelForCausalLM.from_config(
                config, dtype=torch.bfloat16, attn_implementation="sdpa")
        m.requires_grad_(kind == "full")
        if kind != "full":
            import peft
            m = peft.get_peft_model(m, peft.LoraConfig(
                r=16, lora_alpha=32, lora_dropout=0, task_type="CAUSAL_LM", target_modules=[
                    x + "_proj" for x in ("q", "k", "v", "o", "gate", "up", "down")]),
                autocast_adapter_dtype=False)
        self.m = self.run = m.train()
        self.vocab = config.vocab_size
        self.params = [p for p in m.parameters() if p.requires_grad]
        self.opt = torch.optim.AdamW(self.params, 1e-5, weight_decay=0, fused=DEVICE == "cuda")
        self.batches = [[(k, [i % self.vocab for i in ids]) for k, ids in b] for b in batches]
        self.todo = []

    def prepare(self, how, size):
        self.todo = [pieces(b, how, size) for b in self.batches]

    def step(self, k):
        k %= len(self.todo)
        wait()
        start = time.perf_counter()
        loss = 0.0
        for inputs, share in self.todo[k]:
            part = self.run(**inputs, use_cache=False).loss * share
            part.backward()
            loss = loss + part.detach()
        torch.nn.utils.clip_grad_norm_(self.params, 1.0)
        self.opt.step()
        self.opt.zero_grad(set_to_none=True)
        loss = float(loss)
        wait()
        return time.perf_counter() - start, sum(len(i) for _, i in self.batches[k]), loss

    def speed(self):
        """Real tokens a second over all batches, after one pass to warm up."""
        for k in range(len(self.todo)):
            self.step(k)
        steps = [self.step(k) for k in range(len(self.todo))]
        return sum(s[1] for s in steps) / sum(s[0] for s in steps)


def attempt(work, tried, name, how, size, seconds):
    if seconds <= 0:
        return
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        work.prepare(how, size)
        tried[name, how, size] = work.speed()
    except Late:
        sys.stderr.write("peer: %s %s %d: no time left\n" % (name, how, size))
    except RuntimeError as e:  # out of memory, and what the compiler cannot do
        sys.stderr.write("peer: %s %s %d: %s\n" % (name, how, size, str(e).split("\n")[0]))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        work.opt.zero_grad(set_to_none=True)
        if DEVICE == "cuda":
            torch.cuda.empty_cache()


def choose(work, seconds):
    end, tried = time.monotonic() + seconds, {}
    left = lambda: end - time.monotonic()
    for how, size in HOWS:
        if not size or len(work.batches[0]) > size or DEVICE == "cpu":
            attempt(work, tried, "eager", how, size, left())
    if not tried:
        raise RuntimeError("no way to run it fits")
    best = max(tried, key=tried.get)
    if left() > 20 or DEVICE == "cpu" and left() > 5:
        torch._dynamo.reset()
        work.run = torch.compile(work.m, dynamic=True)
        attempt(work, tried, "compiled", best[1], best[2], left())
    best = max(tried, key=tried.get)
    if best[0] == "eager":
        work.run = work.m
    work.prepare(best[1], best[2])
    return "%s %s %s (%s)" % (*best, ", ".join("%s %s %s: %.0f" % (*k, v) for k, v in
                                               tried.items()))


def read(path):
    records = []
    for line in open(path, encoding="ascii"):
        k, *ids = map(int, line.split())
        records.append((k, ids))
    return records


def group(records, size):
    n = min(MAX_BATCHES, len(records) // size)
    return [records[i * size:(i + 1) * size] for i in range(n)]


def main():
    records, work = read(sys.argv[1]), None
    signal.signal(signal.SIGALRM, on_alarm)
    torch.set_float32_matmul_precision("high")
    for line in iter(sys.stdin.readline, ""):
        word = line.split()
        if word[0] == "open":
            work = Work(word[1], word[2].split("-")[0], group(records, int(word[3])))
            how = choose(work, float(word[4]))
            if DEVICE == "cuda":
                torch.cuda.reset_peak_memory_stats()
            print(how, flush=True)
        elif word[0] == "step":
            print("%.6f %d %.6f" % work.step(int(word[1])), flush=True)
        elif word[0] == "memory":
            print(torch.cuda.max_memory_allocated() if DEVICE == "cuda" else 0, flush=True)
        else:
            work = None
            if DEVICE == "cuda":
                torch.cuda.empty_cache()
            print("closed", flush=True)


main()
