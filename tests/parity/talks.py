# SPDX-License-Identifier: MIT
"""Conversations of every kind that datasets have, made of records of datasets: by turns with and
without a system text (an empty one, too), of one to forty turns, with text of other scripts, with
code, padded, long, with turns of one role after one another, with thoughts, with calls of tools."""
import csv
import io
import itertools
import json
import random
import subprocess
import tarfile


def said(role, content, **more):
    return {"role": role, "content": content, **more}


def call(name, arguments, ident="call12345"):
    return {"id": ident, "type": "function", "function": {"name": name, "arguments": arguments}}


WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "The weather of a city, e.g. \"Rome\" & <others>.",
    "parameters": {"type": "object", "required": ["city"], "properties": {
        "city": {"type": "string", "description": "Its name"},
        "unit": {"type": "string", "enum": ["C", "F"]}}}}}


# ---- questions and answers ----

def choices_of(raw):
    """A tar of MMLU's CSV: question, four choices, the letter of one."""
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        for member in tar:
            if member.isfile() and member.name.endswith(".csv"):
                text = tar.extractfile(member).read().decode()
                for row in csv.reader(io.StringIO(text)):
                    letters = [f"{c}. {t}" for c, t in zip("ABCD", row[1:5])]
                    yield "\n".join([row[0]] + letters), f"The answer is {row[5]}."


def pairs_of(path):
    """(question, answer) of a dataset, JSON, JSON lines or a tar of MMLU's, .zst or plain."""
    raw = subprocess.run(["zstdcat", "-f", path], stdout=subprocess.PIPE, check=True).stdout
    if ".tar" in path:
        yield from choices_of(raw)
        return
    raw = raw.decode()
    records = json.loads(raw) if raw.lstrip().startswith("[") else map(json.loads, raw.splitlines())
    for r in records:
        question = r.get("instruction") or r.get("question") or r.get("prompt")
        answer = r.get("output") or r.get("answer") or r.get("response") or r.get("completion")
        if isinstance(question, str) and isinstance(answer, str) and answer.strip():
            yield question + ("\n" + r["input"] if r.get("input") else ""), answer


# ---- what is made of them ----

GREEK = {ord(a): b for a, b in zip("abdegiklmnoprstux", "αβδεγικλμνοπρστυξ")}
MARKS = ["\u0301", "\u200d", "\u00a0", "\u3000", "\u2028", "\ufeff", "\U0001f469\u200d\U0001f680",
         "日本語", "한국어", "हिन्दी", "العربية", "ไทย", "ﬁ", "\u1e9e", "\r\n", "\x7f", "\t"]


def scripts(text, rng):
    """The words of a text in other scripts, and between them what tokenizers stumble over."""
    words = text.split(" ")
    for _ in range(1 + len(words) // 8):
        i = rng.randrange(len(words))
        words[i] = rng.choice([words[i].translate(GREEK), words[i].upper(), rng.choice(MARKS),
                               words[i] + rng.choice(MARKS)])
    return " ".join(words)


def code(text, rng):
    body = "\n".join(f"    {'x' * rng.randint(1, 3)} = {json.dumps(line)}  # {i}"
                     for i, line in enumerate(text.split("\n")))
    return f"```python\ndef f(x: int) -> str:\n{body}\n\n\treturn x**2 != {rng.random()!r}\n```"


def markup(text, rng):
    """What looks like a template's. Names of special tokens are left out: transformers makes
    tokens of them, and of ours a record has none but the template's."""
    return rng.choice(["[/INST] ", "### Response:\n", "{{ x }}", "{% if %}", "<|user", "a:"]) + text


def padded(text, rng):
    return rng.choice(["\n", " ", "\n\n", "\t"]) + text + rng.choice(["\n", "  ", " \n\n"])


def turns(pairs, rng, n, change=lambda text, rng: text):
    messages = []
    for question, answer in itertools.islice(pairs, n):
        messages += [said("user", change(question, rng)), said("assistant", change(answer, rng))]
    return messages


def plain(pairs, rng):
    return turns(pairs, rng, rng.randint(1, 6)), None


def with_system(pairs, rng):
    text = rng.choice(["You are helpful.", " Be brief. \n", "Ты помощник.", "", "a\n\nb"])
    return [said("system", text)] + turns(pairs, rng, rng.randint(1, 4)), None


def changed(how):
    return lambda pairs, rng: (turns(pairs, rng, rng.randint(1, 3), how), None)


def long(pairs, rng):
    if rng.random() < 0.5:
        return turns(pairs, rng, 20), None
    parts = [a for _, a in itertools.islice(pairs, 60)]
    return [said("user", "Go on."), said("assistant", "\n\n".join(parts))], None


def unanswered(pairs, rng):
    """Two turns of one role, and a last one of the user's."""
    messages = turns(pairs, rng, 3)
    del messages[rng.choice([1, 2])]
    return messages + turns(pairs, rng, 1)[:rng.randint(0, 1)], None


def thoughts(pairs, rng):
    messages = turns(pairs, rng, rng.randint(1, 3))
    for m in messages[1::2]:
        if rng.random() < 0.5:
            m["reasoning_content"] = "\n".join(a for _, a in itertools.islice(pairs, 1))
        else:
            m["content"] = "<think>\nhm\n</think>\n\n" + m["content"]
    return messages, None


def tools(pairs, rng):
    messages = [said("system", "Use tools.")] * rng.randint(0, 1)
    for question, answer in itertools.islice(pairs, rng.randint(1, 2)):
        calls = [call("get_weather", {"city": question[:20], "n": [1.5, None, True]}, f"abcdefgh{i}")
                 for i in range(rng.randint(1, 2))]
        text = rng.choice(["", "Let me look."])
        messages += [said("user", question), said("assistant", text, tool_calls=calls)]
        messages += [said("tool", answer, tool_call_id=c["id"], name="get_weather") for c in calls]
        messages += [said("assistant", answer)]
    return messages, [WEATHER]


KINDS = [plain, with_system, changed(scripts), changed(code), changed(markup), changed(padded), long,
         unanswered, thoughts, tools]


def conversations(paths, n, seed=1):
    """n of them, (messages, tools), of the datasets and the kinds by turns."""
    sources = [itertools.cycle(list(pairs_of(p))) for p in paths]
    rng = random.Random(seed)
    return [KINDS[i % len(KINDS)](sources[i // len(KINDS) % len(sources)], rng) for i in range(n)]
