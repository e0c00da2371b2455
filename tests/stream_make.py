#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Plain streams to test with: stream_make.py DIR [ROWS...] writes part.0.safetensors and so on, parts
of one features-like dataset with a column of every dtype."""
import json
import random
import struct
import sys

FLOATS = [0.0, -0.0, 0.1, 1 / 3, -2.5, 1e-7, 65504.0, float("nan"), float("inf"), float("-inf")]


def column(dtype, n, width, rng):
    if dtype in ("F16", "F32", "F64"):
        v = [rng.choice(FLOATS) if rng.random() < 0.3 else rng.gauss(0, 10) for _ in range(n * width)]
        return struct.pack(f"<{n * width}{ {'F16': 'e', 'F32': 'f', 'F64': 'd'}[dtype]}", *v)
    if dtype == "BOOL":
        return bytes(rng.randrange(2) for _ in range(n * width))
    size = {"8": 1, "16": 2, "32": 4, "64": 8}[dtype.lstrip("BFUI")]
    if dtype == "BF16":
        return b"".join(struct.pack("<f", rng.gauss(0, 1e4))[2:] for _ in range(n * width))
    return rng.randbytes(n * width * size)


def message(meta, tensors):
    header, body = {"__metadata__": meta}, b""
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body


def main(folder, *rows):
    rng, at, rows = random.Random(1), 0, [int(r) for r in rows]
    centroids = ("F32", [2, 3], struct.pack("<6f", *[rng.gauss(0, 1) for _ in range(6)]))
    for i, n in enumerate(rows):
        tensors = {f"c_{t}": (t, [n], column(t, n, 1, rng))
                   for t in "BOOL U8 I8 U16 I16 F16 BF16 U32 I32 F32 F64 U64 I64".split()}
        tensors["grid"] = ("F32", [n, 2, 3], column("F32", n, 6, rng))
        tensors['a "name", quoted'] = ("I32", [n, 2], column("I32", n, 2, rng))
        tensors["centroids"] = centroids
        meta = {"raise.kind": "features", "raise.version": "1", "raise.whole": "centroids",
                "raise.model": "0123456789abcdef", "raise.n_total": str(sum(rows)),
                "raise.first_row": str(at), "raise.n_rows": str(n), "note": "snow \u2603\n\"quoted\""}
        with open(f"{folder}/part.{i}.safetensors", "wb") as f:
            f.write(message(meta, tensors))
        at += n


if __name__ == "__main__":
    main(*sys.argv[1:])
