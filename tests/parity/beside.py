# SPDX-License-Identifier: MIT
"""What the comparisons with EleutherAI's lm-evaluation-harness share. They take minutes to hours, so what
the harness found is kept in WORK/kept, a file an answer, and a run that was killed goes on there.
OMP_NUM_THREADS holds for both sides."""
import csv
import hashlib
import json
import os
import subprocess

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

import lm_eval  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from lm_eval.models.huggingface import HFLM  # noqa: E402

TASKS = os.path.join(os.path.dirname(lm_eval.__file__), "tasks")


class Reference:
    """A GGUF in float32 under transformers, loaded when it is first asked for."""

    def __init__(self, path):
        self.path = os.path.abspath(path)
        self.made = None

    def load(self):
        if not self.made:
            folder, name = os.path.split(self.path)
            model = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=name)
            self.made = (model.eval(), tokenizer, HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, device="cpu"))
        return self.made

    model = property(lambda self: self.load()[0])
    tokenizer = property(lambda self: self.load()[1])
    lm = property(lambda self: self.load()[2])

    def kept(self, work, key, make):
        """make()'s answer, or the one that was kept for this model, these packages and `key`."""
        full = [self.path, os.path.getsize(self.path), lm_eval.__version__, transformers.__version__, torch.__version__, key]
        name = hashlib.sha256(json.dumps(full).encode()).hexdigest()[:16]
        path = os.path.join(work, "kept", name + ".json")
        if not os.path.exists(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path + ".tmp", "w", encoding="utf-8") as f:
                json.dump(make(), f)
            os.rename(path + ".tmp", path)
        with open(path, encoding="utf-8") as f:
            return json.load(f)


def ours(build, task, model, work, *arguments):
    """Rows of raise-eval's CSV and of its samples, side by side."""
    rows, log = os.path.join(work, "rows.csv"), os.path.join(work, "samples.jsonl")
    subprocess.run([f"{build}/raise-eval", task, "-q", "-m", model, "--precision", "fp32", "-o", rows, "--log-samples",
                    log, "-t", os.environ.get("OMP_NUM_THREADS", "0"), *arguments], check=True)
    with open(rows, newline="", encoding="utf-8") as f:
        read = list(csv.DictReader(f))
    with open(log, encoding="utf-8") as f:
        return [(json.loads(line), r) for line, r in zip(f, read, strict=True)]


def row(what, value, bound):
    print(f"{what},{value:.3g},{bound:g},{'ok' if value <= bound else 'FAIL'}", flush=True)
