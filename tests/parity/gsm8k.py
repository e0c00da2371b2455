#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""raise-eval gsm8k beside EleutherAI's lm-evaluation-harness, problem by problem:

    gsm8k.py BUILD WORK GGUF TRAIN TEST [PROBLEMS [SHOTS]]        [10 3]

The same model in float32, the harness's own task file, its first_n sampler: TRAIN and TEST are GSM8K's
two files, JSON lines, plain or zstd. Texts must be equal, unless the reference, at some token that was
chosen, prefers another one by less than what float32 rounds: then the two go apart for good, which is
said with the margin. Prints rows check,worst,bound,verdict."""
import os
import sys

import beside  # first: it sets the environment
import lm_eval
import torch
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks._yaml_loader import load_yaml

TASK = os.path.join(beside.TASKS, "gsm8k", "gsm8k.yaml")
PART = 5  # problems that are kept together
NEAR = 2e-3  # of logits of size 20 that two programs sum in another order, through 30 layers
FILTERS = {"strict-match": "strict_match", "flexible-extract": "flexible_extract"}


def first_lines(path, n, to, skip=0):
    data = open(path, "rb").read()
    if path.endswith(".zst"):
        import zstandard
        data = zstandard.ZstdDecompressor().stream_reader(data).read()
    with open(to, "wb") as f:
        f.write(b"".join(data.splitlines(keepends=True)[skip:skip + n]))
    return to


def harness(lm, train, test, shots, work):
    """doc_id: (context, text, {metric: 0 or 1})."""
    config = load_yaml(TASK)
    for key in ("dataset_name", "tag"):
        config.pop(key, None)
    config.update(dataset_path="json", num_fewshot=shots, fewshot_config={"sampler": "first_n"},
                  dataset_kwargs={"data_files": {"train": train, "test": test},
                                  "cache_dir": os.path.join(work, "cache")})
    result = lm_eval.simple_evaluate(lm, tasks=[ConfigurableTask(config=config)], num_fewshot=shots,
                                     log_samples=True, bootstrap_iters=0)
    [samples] = result["samples"].values()
    found = {}
    for s in samples:
        context, text = s["arguments"][0][0], s["resps"][0][0]
        found.setdefault(s["doc_id"], (context, text, {}))[2][FILTERS[s["filter"]]] = s["exact_match"]
    return [found[i] for i in sorted(found)]


def harness_in_parts(reference, train, test, n, shots, work):
    """The same of all n problems, PART by PART, each kept."""
    found = []
    for at in range(0, n, PART):
        part = first_lines(test, PART, os.path.join(work, "part.jsonl"), at)
        key = ["gsm8k", shots, open(train).read(), open(part).read()]
        found += reference.kept(work, key, lambda: harness(reference.lm, train, part, shots, work))
    return found


def ours(build, model, train, test, shots, work):
    return [(sample, {m: float(r[m]) for m in FILTERS.values()})
            for sample, r in beside.ours(build, "gsm8k", model, work, "--shots", str(shots), "--shots-from", train, test)]


def margin(reference, sample):
    """The most by which the reference prefers another token to one that was chosen."""
    context = reference.tokenizer(sample["context"])["input_ids"]
    ids = torch.tensor([context + sample["ids"]])
    with torch.no_grad():
        logits = reference.model(ids).logits[0, len(context) - 1:-1]
    chosen = torch.tensor(sample["ids"])
    return float((logits.max(-1).values - logits[torch.arange(len(chosen)), chosen]).max())


def main(build, work, gguf, train, test, n="10", shots="3"):
    work, shots = os.path.join(work, "gsm8k"), int(shots)
    os.makedirs(work, exist_ok=True)
    train = first_lines(train, shots, os.path.join(work, "train.jsonl"))
    test = first_lines(test, int(n), os.path.join(work, "test.jsonl"))
    reference = beside.Reference(gguf)
    have = ours(build, gguf, train, test, shots, work)
    want = harness_in_parts(reference, train, test, len(have), shots, work)
    asked = other = apart = scored = 0
    worst = 0.0
    for i, ((sample, scores), (context, text, metrics)) in enumerate(zip(have, want, strict=True)):
        far = reference.kept(work, ["margin", context, sample["ids"]], lambda: margin(reference, sample))
        worst = max(worst, far)
        asked += sample["context"] != context
        scored += scores != metrics and sample["generated"] == text
        if sample["generated"] == text:
            continue
        apart += 1
        other += far == 0
        print(f"gsm8k: problem {i}: the texts part where two logits are {far:.2g} apart", file=sys.stderr)
    what = f"GSM8K; {shots} shots; {len(want)} problems"
    for row, value, bound in ((f"{what}: other prompts", asked, 0),
                              (f"{what}: logits by which another token is preferred", worst, NEAR),
                              (f"{what}: other texts without such a token", other, 0),
                              (f"{what}: same texts scored otherwise", scored, 0)):
        beside.row(row, value, bound)
    total = lambda rows, m: sum(r[m] for r in rows)
    for m in FILTERS.values():
        print(f"gsm8k: {m}: ours {total([h[1] for h in have], m):g}, harness {total([w[2] for w in want], m):g} "
              f"of {len(want)} right; {apart} texts differ", file=sys.stderr)


if __name__ == "__main__":
    if not 6 <= len(sys.argv) <= 8:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    main(*sys.argv[1:])
