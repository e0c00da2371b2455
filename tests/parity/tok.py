#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares our tokenizers with Hugging Face's `tokenizers`, text by text.

    tok.py --build DIR [--random N] [--chars] [--time] [--rows] --tokenizer MODEL... --data FILE...

MODEL is a folder or file with a tokenizer.json (plain or .zst), or a GGUF file. FILE is a JSON
array, JSON lines or a tar of CSV files (plain or .zst): every string in it is a text. Prints a
line for each tokenizer and check: texts, bytes, number that differ; with --time, CPU time on one
thread (median of five turns). --rows prints all of it as check,worst,bound,verdict. Exit status 1
when one differs, 77 when tokenizers or zstandard cannot be imported.
"""
import argparse, array, csv, io, json, os, random, statistics, struct, subprocess, sys, tarfile
import tempfile, time

try:
    import zstandard
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from tokenizers import Regex, processors
except ImportError as x:
    print(f"needs a Python with tokenizers and zstandard: {x}")
    sys.exit(77)

SPECIAL, ADD = 1, 2


def read(path):
    with open(path, "rb") as f:
        data = f.read()
    if data[:4] == b"\x28\xb5\x2f\xfd":
        data = zstandard.ZstdDecompressor().stream_reader(data).read()
    return data


def strings(o):
    if isinstance(o, str):
        yield o
    elif isinstance(o, dict):
        for v in o.values():
            yield from strings(v)
    elif isinstance(o, list):
        for v in o:
            yield from strings(v)


def texts_of(path):
    data = read(path)
    if ".tar" in path:
        out = []
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            for m in tar:
                if m.name.endswith(".csv"):
                    rows = csv.reader(io.StringIO(tar.extractfile(m).read().decode()))
                    out += [field for row in rows for field in row]
        return out
    if ".jsonl" in path:
        return [s for line in data.decode().splitlines() if line for s in strings(json.loads(line))]
    return list(strings(json.loads(data)))


RANGES = [(0x20, 0x7e), (0, 0x1f), (0x7f, 0x9f), (0xa0, 0x24f), (0x300, 0x36f), (0x370, 0x3ff),
          (0x400, 0x4ff), (0x590, 0x5ff), (0x600, 0x6ff), (0x900, 0x97f), (0xe00, 0xe7f),
          (0x1100, 0x11ff), (0x1e00, 0x1eff), (0x2000, 0x206f), (0x20a0, 0x20cf),
          (0x2100, 0x218f), (0x2460, 0x24ff), (0x2600, 0x27bf), (0x3000, 0x303f),
          (0x3040, 0x30ff), (0x4e00, 0x9fff), (0xac00, 0xd7a3), (0xf900, 0xfaff),
          (0xfb00, 0xfb4f), (0xfe00, 0xfe0f), (0xff00, 0xffef), (0x1f300, 0x1faff),
          (0x1f1e6, 0x1f1ff), (0x20000, 0x2a6df), (0xe0000, 0xe007f), (0, 0x10ffff)]
PIECES = [" ", "  ", "    ", "\n", "\n\n", "\r\n", "\t", " \n", "\u3000", "\u00a0", "\u180e",
          "\u200d", "\ufe0f", "'s", "'LL", "'\u017f", "'re", "don't", "123456", "\u0661\u0662",
          "e\u0301", "\u1100\u1161\u11a8", "\u05e9\u05dc\u05d5\u05dd", "\u202e", "<s>", "</s>",
          "<|im_start|>", "<|eot_id|>", "<unk>", "<0x41>", "\u2581", "\u2581\u2581", "Hello",
          " world", "...", "://", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\0", "a" * 40, "MASK",
          "word", "wordy ", " left", "leftmost", "right ", " both ", "|", "zebra"]


def random_texts(n, seed=42):
    rng = random.Random(seed)

    def char(lo, hi):
        c = rng.randint(lo, hi)
        return "" if 0xd800 <= c < 0xe000 else chr(c)

    def text():
        parts = []
        for _ in range(rng.randint(1, 12)):
            if rng.random() < 0.4:
                parts.append(rng.choice(PIECES) * rng.choice([1, 1, 1, 2, 5, 30]))
            else:
                r = rng.choice(RANGES)
                parts.append("".join(char(*r) for _ in range(rng.randint(1, 8))))
        return "".join(parts)

    return [text() for _ in range(n)]


def each_char():
    """Every code point where the rules may tell characters apart."""
    for c in range(0x110000):
        if not 0xd800 <= c < 0xe000:
            k = chr(c)
            yield f"a{k}b '{k} 1{k}2  {k}{k}\n{k}e{k} \u0301"


GPT2_DIGITS = lambda: pre_tokenizers.Sequence([
    pre_tokenizers.Digits(individual_digits=True),
    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
PRE = {"smollm": GPT2_DIGITS, "starcoder": GPT2_DIGITS,
       "gpt-2": lambda: pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)}


def from_gguf(path):
    """The reference for a GGUF file, put together from its metadata."""
    import gguf
    fields = gguf.GGUFReader(path).fields
    get = lambda key: fields["tokenizer.ggml." + key].contents()
    tokens, types = get("tokens"), get("token_type")
    if get("model") != "gpt2" or get("pre") not in PRE:
        raise SystemExit(f"{path}: no reference for this kind of tokenizer")
    t = Tokenizer(models.BPE({s: i for i, s in enumerate(tokens)},
                             [tuple(m.split(" ")) for m in get("merges")]))
    t.pre_tokenizer = PRE[get("pre")]()
    t.decoder = decoders.ByteLevel()
    t.add_special_tokens([AddedToken(s, special=True, normalized=False)
                          for s, k in zip(tokens, types) if k == 3])
    return t


def reference(path):
    if path.endswith(".gguf"):
        return from_gguf(path)
    if os.path.isdir(path):
        path = next(p for p in (os.path.join(path, "tokenizer.json" + z) for z in ("", ".zst"))
                    if os.path.exists(p))
    return Tokenizer.from_str(read(path).decode())


def pack(texts):
    out = bytearray()
    for s in texts:
        b = s.encode()
        out += struct.pack("<I", len(b)) + b
    return bytes(out)


def unpack(data, width):
    p = 0
    while p < len(data):
        n = struct.unpack_from("<I", data, p)[0] * width
        yield data[p + 4:p + 4 + n]
        p += 4 + n


def compile_dump(build):
    here = os.path.dirname(os.path.abspath(__file__))
    root = os.path.dirname(os.path.dirname(here))
    exe = os.path.join(tempfile.mkdtemp(), "tok_dump")
    cc = os.environ.get("CC", "cc").split()
    subprocess.run(cc + ["-O2", "-std=c17", "-D_POSIX_C_SOURCE=200809L", "-D_DEFAULT_SOURCE",
                         "-I" + os.path.join(root, "common"), os.path.join(here, "tok_dump.c"),
                         os.path.join(build, "libraise.a"), "-o", exe, "-lzstd", "-ljansson",
                         "-lpcre2-8", "-lutf8proc", "-lxxhash", "-lm", "-fopenmp"], check=True)
    return exe


def run(exe, *args, data):
    return subprocess.run([exe, *args], input=data, stdout=subprocess.PIPE, check=True).stdout


def name_of(path):
    return os.path.basename(os.path.normpath(path))


def show(kind, n, text, *answers):
    """The first three differences of a kind, to standard error."""
    if n <= 3:
        print(f"  {kind}: {text!r}", *answers, sep="\n    ", file=sys.stderr)


def comes_back(text, want_text, original, normalize):
    """Decoding gives the text again, normalised as the tokenizer does, or what the reference's
    decoder gives."""
    expected = normalize(original)
    if "\u2581" in expected:  # the decoder makes spaces of these
        expected = expected.replace("\u2581", " ")[1:]
    return text in (want_text, expected)


def compare(exe, path, ref, what, texts, flags, is_rows):
    """Number of texts whose ids differ, and of those that do not come back."""
    ref.encode_special_tokens = not flags & SPECIAL
    packed = pack(texts)
    ids = run(exe, path, str(flags), data=packed)
    n_ids = n_text = 0
    normalize = ref.normalizer.normalize_str if ref.normalizer else lambda s: s
    back = unpack(run(exe, "-d", path, data=ids), 1) if flags == 0 else None
    for i, got in enumerate(unpack(ids, 4)):
        want = ref.encode(texts[i], add_special_tokens=bool(flags & ADD)).ids
        have = array.array("i", got).tolist()
        if have != want:
            n_ids += 1
            show("ids", n_ids, texts[i], f"ours {have}", f"want {want}")
        if back is not None:
            text, want_text = next(back).decode(), ref.decode(want, skip_special_tokens=False)
            if not comes_back(text, want_text, texts[i], normalize):
                n_text += 1
                show("text", n_text, texts[i], f"back {text!r}", f"want {want_text!r}")
    report(name_of(path), what, flags, len(texts), len(packed), n_ids, n_text, is_rows)
    return n_ids + n_text


def report(name, what, flags, n, n_bytes, n_ids, n_text, is_rows):
    verdict = lambda bad: "FAIL" if bad else "ok"
    if not is_rows:
        print(f"{name:24.24} {what:10} flags {flags}: {n} texts, {n_bytes} bytes, "
              f"{n_ids} differ, {n_text} do not come back: {verdict(n_ids + n_text)}", flush=True)
        return
    how = " with special tokens" if flags else ""
    print(f"tokenizer {name}: ids of {n} {what} texts{how},{n_ids},0,{verdict(n_ids)}", flush=True)
    if not flags:
        print(f"tokenizer {name}: decoding {n} {what} texts,{n_text},0,{verdict(n_text)}", flush=True)


def measure(exe, path, ref, texts, is_rows, rounds=5):
    """True when ours takes longer."""
    n = sum(len(s.encode()) for s in texts)
    packed = pack(texts)
    ours, theirs = [], []
    for _ in range(rounds):  # taking turns, so that both see the machine's moods
        ours += map(float, run(exe, "-t", path, "3", data=packed).split())
        start = time.process_time()
        for s in texts:
            ref.encode(s, add_special_tokens=False)
        theirs.append(time.process_time() - start)
    a, b = n / statistics.median(ours) / 1e6, n / statistics.median(theirs) / 1e6
    if is_rows:
        print(f"tokenizer {name_of(path)}: time beside tokenizers ({a:.0f} and {b:.1f} MB/s),"
              f"{b / a:.3f},1,{'ok' if b <= a else 'FAIL'}", flush=True)
    else:
        print(f"{name_of(path):24.24} ours {a:.1f} MB/s, tokenizers {b:.1f} MB/s, ratio {a / b:.1f}",
              flush=True)
    return b > a


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--build", default="build")
    ap.add_argument("--tokenizer", nargs="+", required=True)
    ap.add_argument("--data", nargs="*", default=[])
    ap.add_argument("--random", type=int, default=0)
    ap.add_argument("--chars", action="store_true")
    ap.add_argument("--time", action="store_true")
    ap.add_argument("--rows", action="store_true")
    args = ap.parse_args()
    exe = compile_dump(args.build)
    sets = [(os.path.basename(p).split(".")[0], texts_of(p)) for p in args.data]
    if args.random:
        sets.append(("random", random_texts(args.random)))
    if args.chars:
        sets.append(("characters", list(each_char())))
    n_bad = 0
    for path in args.tokenizer:
        ref = reference(path)
        if args.time:
            ref.encode_special_tokens = False
            n_bad += measure(exe, path, ref, [s for _, texts in sets for s in texts][:20000],
                             args.rows)
            continue
        for what, texts in sets:
            for flags in (0, SPECIAL | ADD):
                n_bad += compare(exe, path, ref, what, texts, flags, args.rows)
    return 1 if n_bad else 0


if __name__ == "__main__":
    sys.exit(main())
