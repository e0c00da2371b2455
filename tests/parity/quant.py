#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""GGUF tensors as our reader decodes them, against the `gguf` Python package, bit for bit.

    quant.py DUMP WORK [MODEL.gguf]

DUMP is build/tests/test_gguf. A row for each type: 4,096 blocks of random bytes, so that scales are
subnormal, infinite and NaN, too (two NaN are equal: payloads differ between CPUs); then one for
all tensors of MODEL. Prints check,values that differ,0,verdict. Exit status 1 when one differs.
"""
import os, subprocess, sys

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T

TYPES = (T.F32, T.F16, T.BF16, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.Q4_K, T.Q5_K, T.Q6_K)


def make(path):
    rng = np.random.default_rng(21)
    writer = gguf.GGUFWriter(path, "test")
    for t in TYPES:
        block, size = gguf.GGML_QUANT_SIZES[t]
        rows = 64 * max(1, 32 // block)
        raw = rng.integers(0, 256, (rows, 4096 * max(1, 32 // block) // rows * size), dtype=np.uint8)
        writer.add_tensor(t.name, raw, raw_dtype=t)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def n_different(dump, path):
    """(type, values, values that differ) of each tensor."""
    ours = subprocess.Popen([dump, "--dump", path], stdout=subprocess.PIPE)
    for t in gguf.GGUFReader(path).tensors:
        want = gguf.dequantize(t.data, t.tensor_type).astype("<f4", copy=False).ravel()
        have = np.frombuffer(ours.stdout.read(4 * want.size), "<f4")
        if have.size != want.size:
            raise SystemExit(f"{path}: {t.name}: {have.size} values instead of {want.size}")
        same = (have.view("<u4") == want.view("<u4")) | (np.isnan(have) & np.isnan(want))
        yield t.tensor_type.name, want.size, int((~same).sum())
    if ours.stdout.read() or ours.wait():
        raise SystemExit(f"{dump} --dump {path} failed")


def row(what, n):
    print(f"{what},{n},0,{'FAIL' if n else 'ok'}", flush=True)
    return n > 0


def main(dump, work, model=None):
    path = os.path.join(work, "types.gguf")
    np.seterr(all="ignore")
    make(path)
    bad = sum(row(f"gguf {kind}: of {n} values differ", d)
              for kind, n, d in n_different(dump, path))
    if model:
        found = list(n_different(dump, model))
        kinds = "/".join(sorted({k for k, _, _ in found}))
        bad += row(f"gguf {os.path.basename(model)} ({kinds}): of {sum(n for _, n, _ in found)} "
                   "values differ", sum(d for _, _, d in found))
    return bad


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) > 0)
