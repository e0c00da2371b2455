# SPDX-License-Identifier: MIT
"""`tokenizers` over texts, as bench_tok: peer_tok.py MODEL TEXTS; a pass for a line of input."""
import os
import subprocess
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"


def load(path):
    import tokenizers
    if path.endswith(".gguf"):
        import transformers
        folder, name = os.path.split(os.path.abspath(path))
        return transformers.AutoTokenizer.from_pretrained(folder, gguf_file=name).backend_tokenizer
    name = path + "/tokenizer.json"
    if os.path.exists(name):
        return tokenizers.Tokenizer.from_file(name)
    text = subprocess.run(["zstd", "-dcq", name + ".zst"], check=True, capture_output=True).stdout
    return tokenizers.Tokenizer.from_str(text.decode())


def main():
    tok = load(sys.argv[1])
    with open(sys.argv[2], "rb") as f:
        texts = f.read().decode().split("\0")[:-1]
    n_bytes = sum(len(t.encode()) for t in texts)
    encode = getattr(tok, "encode_batch_fast", tok.encode_batch)
    for _ in sys.stdin:
        start = time.perf_counter()
        n_ids = sum(len(x.ids) for x in encode(texts, add_special_tokens=False))
        print("%.6f %d %d" % (time.perf_counter() - start, n_bytes, n_ids), flush=True)


main()
