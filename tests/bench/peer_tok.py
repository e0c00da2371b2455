# SPDX-License-Identifier: MIT
"""`tokenizers` over texts, as bench_tok: peer_tok.py MODEL TEXTS; a pass for a line of input."""
import os
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "parity"))
from tok import reference  # transformers' own reading of a GGUF file gives other ids


def main():
    tok = reference(sys.argv[1])
    with open(sys.argv[2], "rb") as f:
        texts = f.read().decode().split("\0")[:-1]
    n_bytes = sum(len(t.encode()) for t in texts)
    encode = getattr(tok, "encode_batch_fast", tok.encode_batch)
    for _ in sys.stdin:
        start = time.perf_counter()
        n_ids = sum(len(x.ids) for x in encode(texts, add_special_tokens=False))
        print("%.6f %d %d" % (time.perf_counter() - start, n_bytes, n_ids), flush=True)


main()
