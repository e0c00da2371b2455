#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""raise-eval choice beside EleutherAI's lm-evaluation-harness, question by question:

    harness.py BUILD WORK GGUF MMLU [QUESTIONS]

The same model in float32, the same files: MMLU without and with five shots (one question a subject,
of the subjects whose prompts are not long, then a second one, up to QUESTIONS [60]), and as many
records of ARC, CommonsenseQA, OpenBookQA and MathQA as the first subjects' questions make, in the layouts
of their copies on Hugging Face and, of the latter two, as they were published. The tasks are the harness's own files; only where their records come from is changed. MMLU: a
folder with dev/ and test/, or a tar of it, plain or zstd. Prints rows check,worst,bound,verdict."""
import csv
import glob
import io
import json
import os
import sys
import tarfile

import beside  # first: it sets the environment
import datasets
import lm_eval
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks._yaml_loader import load_yaml

LONG = 1000  # characters of five shots: longer ones would take most of the time
BOUND = 1e-4  # of a log-likelihood, or of 1 nat: logits of float32 agree within 1e-5 of the largest


def open_mmlu(path, work):
    if os.path.isdir(path):
        found = path
    else:
        found = os.path.join(work, "mmlu")
        if not os.path.isdir(found):
            data = open(path, "rb").read()
            if path.endswith(".zst"):
                import zstandard
                data = zstandard.ZstdDecompressor().stream_reader(data).read()
            with tarfile.open(fileobj=io.BytesIO(data)) as tar:
                tar.extractall(found, filter="data")
    [dev] = glob.glob(found + "/dev") or glob.glob(found + "/*/dev")
    return os.path.dirname(dev)


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as f:
        return list(csv.reader(f))


def choose(mmlu, n):
    """subject: (its shots, its questions), of n questions in all."""
    found = {}
    for path in sorted(glob.glob(mmlu + "/test/*_test.csv")):
        name = os.path.basename(path).removesuffix("_test.csv")
        dev = rows_of(f"{mmlu}/dev/{name}_dev.csv")
        if sum(len(cell) for row in dev for cell in row) < LONG:
            found[name] = (dev, rows_of(path))
    chosen, k = {name: 0 for name in found}, 0
    while sum(chosen.values()) < min(n, sum(len(q) for _, q in found.values())):
        name = list(found)[k % len(found)]
        chosen[name] += chosen[name] < len(found[name][1])
        k += 1
    return {name: (dev, q[:chosen[name]]) for name, (dev, q) in found.items() if chosen[name]}


def put_csv(path, rows):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as f:
        csv.writer(f).writerows(rows)


def put_json(path, records):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        f.writelines(json.dumps(r) + "\n" for r in records)
    return path


def mmlu_row(name, row):
    return {"question": row[0], "subject": name, "choices": row[1:5], "answer": "ABCD".index(row[5])}


def others(questions):
    """The layouts of the other benchmarks as their copies on Hugging Face have them."""
    labelled = lambda row, n: {"text": (row[1:5] + ["none"])[:n], "label": list("ABCDE")[:n]}
    out = {"arc_easy": [], "commonsense_qa": [], "openbookqa": [], "mathqa": []}
    for i, row in enumerate(questions):
        out["arc_easy"].append({"id": str(i), "question": row[0], "choices": labelled(row, 4), "answerKey": row[5]})
        out["openbookqa"].append({"id": str(i), "question_stem": row[0], "choices": labelled(row, 4),
                                  "answerKey": row[5]})
        out["commonsense_qa"].append({"id": str(i), "question": row[0], "question_concept": "x",
                                      "choices": labelled(row, 5), "answerKey": row[5]})
        texts = [t.replace(", ", "; ") for t in row[1:5] + ["rs . 1,200"]]
        out["mathqa"].append({"Problem": row[0], "Rationale": "", "correct": row[5].lower(), "category": "x",
                              "options": " , ".join(f"{c} ) {t}" for c, t in zip("abcde", texts))})
    return out


def published(task, records):
    """The same records as their authors have them, and the options that say what they are: OpenBookQA in the
    layout of ARC, MathQA as one array; None: no other layout."""
    if task == "openbookqa":
        rows = [{"id": r["id"], "question": {"stem": r["question_stem"], "choices": [
            {"text": t, "label": c} for t, c in zip(r["choices"]["text"], r["choices"]["label"])]},
            "answerKey": r["answerKey"]} for r in records]
        return "".join(json.dumps(r) + "\n" for r in rows), ["--prompt", "openbookqa"]
    if task == "mathqa":
        rows = [{**r, "annotated_formula": "add(n0,n1)", "linear_formula": "add(n0,n1)|"} for r in records]
        return json.dumps(rows, indent=1), []
    return None


def task_of(yaml, splits, shots):
    config = load_yaml(os.path.join(beside.TASKS, yaml))
    for key in ("dataset_name", "training_split", "validation_split", "tag", "group"):
        config.pop(key, None)
    config.update(test_split="test", num_fewshot=shots, custom_dataset=lambda **_: datasets.DatasetDict(
        {split: datasets.Dataset.from_list(records) for split, records in splits.items()}))
    if "dev" not in splits:
        config.pop("fewshot_split", None)
        config.pop("fewshot_config", None)
    return ConfigurableTask(config=config)


def harness(reference, work, tasks, shots=0):
    """Of (file, records by split): the samples in order, (log-likelihoods, {metric: 0 or 1}); each question
    is kept by itself."""
    def run(yaml, splits):
        task = task_of(yaml, splits, shots)
        result = lm_eval.simple_evaluate(reference.lm, tasks=[task], num_fewshot=shots, log_samples=True,
                                         bootstrap_iters=0, verbosity="ERROR")
        [[s]] = result["samples"].values()
        return [r[0] for r in s["filtered_resps"]], {m: s[m] for m in ("acc", "acc_norm") if m in s}
    out = []
    for yaml, splits in tasks:
        for record in splits["test"]:
            one = {**splits, "test": [record]}
            out.append(reference.kept(work, [yaml, shots, one], lambda: run(yaml, one)))
    return out


def ours(build, model, work, files, *options):
    return [(sample["logp"], {m: float(r[m]) for m in ("acc", "acc_norm")})
            for sample, r in beside.ours(build, "choice", model, work, *options, *files)]


def compare(what, have, want):
    """Two rows of the table; whether both are right."""
    worst = max(abs(a - b) / max(1, abs(b)) for h, w in zip(have, want, strict=True)
                for a, b in zip(h[0], w[0], strict=True))
    other = sum(h[1][m] != value for h, w in zip(have, want) for m, value in w[1].items())
    n = sum(len(w[0]) for w in want)
    for row, value, bound in ((f"{what}: {n} log-likelihoods", worst, BOUND),
                              (f"{what}: {len(want)} questions answered otherwise", other, 0)):
        beside.row(row, value, bound)
    right = sum(w[1]["acc"] for w in want)
    print(f"{what}: {right:.0f} of {len(want)} right", file=sys.stderr)


def main(build, work, model, mmlu, n="60"):
    work = os.path.join(work, "harness")
    subjects = choose(open_mmlu(mmlu, work), int(n))
    reference = beside.Reference(model)
    files, splits = [], {}
    for subject, (dev, questions) in subjects.items():
        put_csv(f"{work}/dev/{subject}_dev.csv", dev)
        put_csv(f"{work}/test/{subject}_test.csv", questions)
        files.append(f"{work}/test/{subject}_test.csv")
        splits[subject] = {"dev": [mmlu_row(subject, r) for r in dev],
                           "test": [mmlu_row(subject, r) for r in questions]}
    for shots in (0, 5):
        options = ["--shots", str(shots), "--shots-from", f"{work}/dev"] if shots else []
        want = harness(reference, work, [(f"mmlu/default/mmlu_{s}.yaml", splits[s]) for s in subjects], shots)
        compare(f"MMLU; {shots} shots", ours(build, model, work, files, *options), want)
    few = [q[0] for _, q in list(subjects.values())[:8]]
    yamls = {"arc_easy": "arc/arc_easy.yaml", "commonsense_qa": "commonsense_qa/default.yaml",
             "openbookqa": "openbookqa/openbookqa.yaml", "mathqa": "mathqa/mathqa.yaml"}
    for task, records in others(few).items():
        path = put_json(f"{work}/rows/{task}.jsonl", records)
        want = harness(reference, work, [(yamls[task], {"test": records})])
        compare(task, ours(build, model, work, [path]), want)
        text, options = published(task, records) or (None, None)
        if text:
            path = f"{work}/rows/{task}-published.json"
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)
            compare(f"{task} as published", ours(build, model, work, [path], *options), want)


if __name__ == "__main__":
    if not 5 <= len(sys.argv) <= 6:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    main(*sys.argv[1:])
