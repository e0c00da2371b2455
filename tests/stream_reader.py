#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A second reader of RAISE streams, written from raise-stream(5) alone, to test that the page is
complete and the programs keep to it. Standard library only; the zstd program decompresses a frame.

    stream_reader.py check FILE...         names of the files that are damaged, a line each; 0 or 1
    stream_reader.py csv FILE [NAMES]      the largest table, or these tensors
    stream_reader.py identity FILE
    stream_reader.py meta FILE             metadata of the first shard, as JSON
"""
import csv
import json
import struct
import subprocess
import sys

M = (1 << 64) - 1
P1, P2, P3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
P4, P5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
DTYPES = {"BOOL": "?", "U8": "B", "I8": "b", "U16": "H", "I16": "h", "F16": "e", "BF16": "H",
          "U32": "I", "I32": "i", "F32": "f", "F64": "d", "U64": "Q", "I64": "q"}


class Refused(Exception):
    pass


def demand(condition, why):
    if not condition:
        raise Refused(why)


def rotl(x, r):
    return (x << r | x >> 64 - r) & M


def xxh64(data):
    """xxHash's 64-bit hash, seed 0."""
    def mix(acc, lane):
        return rotl((acc + lane * P2) & M, 31) * P1 & M
    n, at = len(data), 0
    if n >= 32:
        v = [(P1 + P2) & M, P2, 0, -P1 & M]
        for a, b, c, d in struct.iter_unpack("<4Q", data[:n // 32 * 32]):
            v = [mix(v[0], a), mix(v[1], b), mix(v[2], c), mix(v[3], d)]
        h = (rotl(v[0], 1) + rotl(v[1], 7) + rotl(v[2], 12) + rotl(v[3], 18)) & M
        for x in v:
            h = ((h ^ mix(0, x)) * P1 + P4) & M
        at = n // 32 * 32
    else:
        h = P5
    h = (h + n) & M
    while at + 8 <= n:
        h = (rotl(h ^ mix(0, struct.unpack_from("<Q", data, at)[0]), 27) * P1 + P4) & M
        at += 8
    if at + 4 <= n:
        h = (rotl(h ^ struct.unpack_from("<I", data, at)[0] * P1 & M, 23) * P2 + P3) & M
        at += 4
    for byte in data[at:]:
        h = rotl(h ^ byte * P5 & M, 11) * P1 & M
    h = (h ^ h >> 33) * P2 & M
    h = (h ^ h >> 29) * P3 & M
    return h ^ h >> 32


def no_twins(pairs):
    demand(len(dict(pairs)) == len(pairs), "a key twice")
    return dict(pairs)


def parse_message(data):
    """Metadata and {name: (dtype, shape, bytes)} of one safetensors message."""
    demand(len(data) >= 8, "truncated: no header length")
    n = struct.unpack_from("<Q", data)[0]
    demand(n <= 100000000, "header too long")
    demand(n <= len(data) - 8, "truncated: header beyond the end")
    demand(data[8:9] == b"{", "no header")
    try:
        header = json.loads(data[8:8 + n].decode("utf-8"), object_pairs_hook=no_twins)
    except (UnicodeDecodeError, json.JSONDecodeError) as e:
        raise Refused(f"header: {e}")
    meta = header.pop("__metadata__", {})
    demand(isinstance(meta, dict) and all(isinstance(v, str) for v in meta.values()), "metadata")
    body, tensors, places = data[8 + n:], {}, []
    for name, t in header.items():
        demand(isinstance(t, dict) and set(t) == {"dtype", "shape", "data_offsets"}, f"{name}: keys")
        demand(t["dtype"] in DTYPES, f"{name}: dtype")
        demand(len(t["shape"]) <= 8, f"{name}: dimensions")
        size = struct.calcsize("<" + DTYPES[t["dtype"]])
        for d in t["shape"]:
            demand(type(d) is int and d >= 0, f"{name}: shape")
            size *= d
        demand(len(t["data_offsets"]) == 2, f"{name}: offsets")
        begin, end = t["data_offsets"]
        demand(type(begin) is int and type(end) is int and 0 <= begin <= end, f"{name}: offsets")
        demand(end <= len(body), f"{name}: truncated")
        demand(end - begin == size, f"{name}: offsets do not hold the shape")
        tensors[name] = (t["dtype"], t["shape"], body[begin:end])
        places.append((begin, end))
    at = 0
    for begin, end in sorted(places):
        demand(begin == at, "overlap or gap")
        at = end
    demand(at == len(body), "bytes after the last tensor")
    return meta, tensors


def frame_end(data, at):
    """Where the zstd frame at `at` ends, and its content size (RFC 8878, 3.1.1)."""
    demand(len(data) >= at + 6, "truncated frame header")
    descriptor = data[at + 4]
    demand(descriptor & 0x1F == 4, "a frame without checksum, with dictionary or reserved bits")
    is_single, size_flag = descriptor >> 5 & 1, descriptor >> 6
    demand(is_single or size_flag, "a frame without content size")
    n_size = {0: 1, 1: 2, 2: 4, 3: 8}[size_flag]
    p = at + 5 + (0 if is_single else 1)
    size = int.from_bytes(data[p:p + n_size], "little") + (256 if size_flag == 1 else 0)
    p += n_size
    while True:
        demand(len(data) >= p + 3, "truncated block")
        block = int.from_bytes(data[p:p + 3], "little")
        is_last, kind, n = block & 1, block >> 1 & 3, block >> 3
        demand(kind != 3, "reserved block")
        p += 3 + (1 if kind == 1 else n)
        if is_last:
            break
    p += 4
    demand(len(data) >= p, "truncated frame")
    return p, size


def decompress(frame, size):
    done = subprocess.run(["zstd", "-dcq"], input=frame, capture_output=True)
    demand(done.returncode == 0, "zstd: " + done.stderr.decode(errors="replace").strip())
    demand(len(done.stdout) == size, "content size")
    demand(frame[-4:] == struct.pack("<I", xxh64(done.stdout) & 0xFFFFFFFF), "checksum")
    return done.stdout


def parse_stream(data):
    at, entries, shards = 0, b"", []
    while data[at:at + 4] == struct.pack("<I", 0xFD2FB528):
        end, size = frame_end(data, at)
        shards.append(parse_message(decompress(data[at:end], size)))
        entries += struct.pack("<II", end - at, size) + data[end - 4:end]
        at = end
    digest = struct.pack("<II8sQ", 0x184D2A5D, 16, b"RAISEXXH", xxh64(data[:at]))
    m = len(shards) + 1
    table = struct.pack("<II", 0x184D2A5E, 12 * m + 9) + entries
    table += struct.pack("<III", len(digest), 0, 0x51D8E999) + struct.pack("<IBI", m, 0x80, 0x8F92EAB1)
    want = digest + table
    demand(len(data) >= at + len(want), "truncated: no digest or seek table")
    demand(data[at:] == want, "digest or seek table do not agree, or something follows")
    return shards


def check_shards(shards):
    first_meta, first = shards[0]
    whole = [n for n in first_meta.get("raise.whole", "").split(",") if n]
    for meta, tensors in shards:
        demand(meta.get("raise.version", "1") == "1", "version")
        demand(meta.get("raise.kind") == first_meta.get("raise.kind"), "kind")
        demand(set(tensors) == set(first), "not the same tensors")
        for name, (dtype, shape, values) in tensors.items():
            if name in whole:
                demand((dtype, shape, values) == first[name], f"{name} is not the same in all shards")
            else:
                demand((dtype, shape[1:]) == (first[name][0], first[name][1][1:]), f"{name}: shape")
    return whole


def read(path):
    """Metadata of the first shard, and {name: (dtype, shape, bytes)} of the stream."""
    with open(path, "rb") as f:
        data = f.read()
    shards = parse_stream(data) if data[:4] == b"\x28\xB5\x2F\xFD" else [parse_message(data)]
    whole = check_shards(shards)
    tensors = {}
    for name, (dtype, shape, values) in shards[0][1].items():
        if name not in whole and len(shards) > 1:
            parts = [t[name] for _, t in shards]
            shape = [sum(p[1][0] for p in parts)] + shape[1:]
            values = b"".join(p[2] for p in parts)
        tensors[name] = (dtype, shape, values)
    return shards[0][0], whole, tensors


def identity(tensors):
    text = b""
    for name in sorted(tensors, key=lambda s: s.encode()):
        dtype, shape, values = tensors[name]
        text += name.encode() + b"\0" + dtype.encode() + b"\0"
        text += struct.pack(f"<{1 + len(shape)}Q", len(shape), *shape) + struct.pack("<Q", xxh64(values))
    return f"{xxh64(text):016x}"


def number(v, dtype):
    """The fewest digits that give the value back, as raise-view(1) prints it."""
    if dtype == "BOOL":
        return str(int(v))
    if dtype not in ("F16", "BF16", "F32", "F64"):
        return str(v)
    if v != v:
        return "nan"
    if v in (float("inf"), float("-inf")):
        return "inf" if v > 0 else "-inf"
    for digits in range({"F64": 15, "F32": 6}.get(dtype, 3), 18):
        s = f"{v:.{digits}g}"
        if (float(s) if dtype == "F64" else to_f32(float(s))) == v:
            return s
    raise AssertionError


def to_f32(v):
    try:
        return struct.unpack("<f", struct.pack("<f", v))[0]
    except OverflowError:
        return float("inf") if v > 0 else float("-inf")


def values_of(dtype, raw):
    v = [x[0] for x in struct.iter_unpack("<" + DTYPES[dtype], raw)]
    if dtype == "BF16":
        v = [struct.unpack("<f", struct.pack("<I", x << 16))[0] for x in v]
    return v


def suffixes(shape):
    names = [""]
    for d in shape:
        names = [f"{n}_{i}" for n in names for i in range(d)]
    return names


def print_csv(whole, tensors, names):
    if not names:
        rows = [t[1][0] for n, t in tensors.items() if t[1] and n not in whole]
        best = max(rows, key=lambda r: (rows.count(r), r))
        names = [n for n, t in tensors.items() if t[1] and n not in whole and t[1][0] == best]
    head, columns = [], []
    for name in names:
        dtype, shape, raw = tensors[name]
        values, labels = values_of(dtype, raw), suffixes(shape[1:])
        head += [name + s for s in labels]
        columns += [[number(v, dtype) for v in values[k::len(labels)]] for k in range(len(labels))]
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(head)
    out.writerows(zip(*columns))


def check(paths):
    bad = []
    for path in paths:
        try:
            read(path)
        except Refused:
            bad.append(path)
    print("\n".join(bad), end="\n" if bad else "")
    sys.exit(1 if bad else 0)


def main(mode, path, *names):
    if mode == "check":
        check((path, *names))
    meta, whole, tensors = read(path)
    if mode == "csv":
        print_csv(whole, tensors, names[0].split(",") if names else [])
    elif mode == "identity":
        print(identity(tensors))
    elif mode == "meta":
        print(json.dumps(meta))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Refused as e:
        sys.exit(f"{sys.argv[2]}: {e}")
