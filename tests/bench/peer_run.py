# SPDX-License-Identifier: MIT
"""What a user would write for a selection: peer_run.py MODEL POOL VAL ROWS EPISODES T MEASURED

transformers and peft: the last hidden state's mean and log P(y | x) of every record, log P(y), in
length-grouped batches of 16; then EPISODES times T steps of LoRA on 16 records, and the loss of VAL
before the first and after each. MEASURED batches of each are timed, after one that is not; prints
the seconds that all would take, how many records were embedded, and how many steps were made.
"""
import json
import os
import subprocess
import sys
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
import torch
import transformers

import peer_lm

BATCH, MOST = 16, 1024


def tokenizer(path):
    kind = transformers.AutoTokenizer
    if path.endswith(".gguf"):
        folder, name = os.path.split(os.path.abspath(path))
        return kind.from_pretrained(folder, gguf_file=name)
    return kind.from_pretrained(path)


def texts(record):
    for x, y in (("instruction", "output"), ("question", "answer"), ("prompt", "completion")):
        if x in record and y in record:
            return "\n".join(t for t in (record[x], record.get("input")) if t), record[y]
    raise ValueError("no field that is known: %s" % ", ".join(record))


def records(path, tok, n):
    text = subprocess.run(["zstd", "-dcqf", path], check=True, stdout=subprocess.PIPE).stdout
    rows = json.loads(text) if text.lstrip()[:1] == b"[" else list(map(json.loads,
                                                                       text.splitlines()))
    out = []
    for r in rows[::max(1, len(rows) // n)][:n]:
        x, y = texts(r)
        if tok.chat_template:
            x = tok.apply_chat_template([{"role": "user", "content": x}], tokenize=False,
                                        add_generation_prompt=True)
        x, y = tok(x).input_ids, tok(y).input_ids
        out.append((len(x), (x + y)[:MOST]))
    return out


def grouped(rows):
    rows = sorted(rows, key=lambda r: len(r[1]))
    return [rows[i:i + BATCH] for i in range(0, len(rows), BATCH)]


def timed(do, todo):
    """Seconds for each, after the first."""
    do(todo[0])
    start = time.perf_counter()
    for x in todo:
        do(x)
    return (time.perf_counter() - start) / len(todo)


def embed(m, batch):
    with torch.inference_mode():
        for rows in (batch, [(1, ids[max(k - 1, 0):]) for k, ids in batch]):
            b = peer_lm.padded(rows)
            out = m(**b, output_hidden_states=True, use_cache=False)
            mask = b["attention_mask"].unsqueeze(-1)
            (out.hidden_states[-1] * mask).sum(1) / mask.sum(1)


def main():
    model, pool, val = sys.argv[1:4]
    n_rows, episodes, n_steps, n = map(int, sys.argv[4:8])
    tok = tokenizer(model)
    rows, problems = records(pool, tok, n * BATCH), records(val, tok, 1 << 30)
    base = peer_lm.Work(model, "forward-fp32")
    embedding = timed(lambda b: embed(base.m, b), grouped(rows)) * n_rows / BATCH
    tuned = peer_lm.Work(model, "lora-fp32")
    a_step = timed(tuned.step, [peer_lm.padded(rows[i:i + BATCH])
                                for i in range(0, len(rows), BATCH)])

    def validate(batches):
        with torch.inference_mode():
            for b in batches:
                tuned.m(**peer_lm.padded(b), use_cache=False)

    a_validation = timed(validate, [grouped(problems)])
    total = embedding + episodes * (n_steps * a_step + (n_steps + 1) * a_validation)
    print("%.3f %d %d" % (total, len(rows), (len(rows) + BATCH - 1) // BATCH))


if __name__ == "__main__":
    main()
