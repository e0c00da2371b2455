#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Chat templates beside transformers, character by character.

    chat.py --build BUILD TEMPLATES... [--encode TOKENIZERS... --data DATASETS...]

TEMPLATES: files with a Jinja template, or tokenizer_config.json; folders of such. Each is given the
conversations below, with and without a generation prompt. A row a template: renderings that differ.
A row a tokenizer folder and template with {% generation %}: conversations made of the datasets'
records, one to six turns, whose ids or masks differ from apply_chat_template's; of the folder's own
template the ids alone.
Where transformers raises an exception, so must we, and where we refuse the template as beyond our
subset, the row says FAIL."""
import argparse
import collections
import contextlib
import datetime
import json
import os
import re
import subprocess
import sys
import tempfile

from transformers.utils import chat_template_utils

NOW = 1721995200  # 26 July 2024, noon


def said(role, content, **more):
    return {"role": role, "content": content, **more}


def call(name, arguments, ident="call12345"):
    return {"id": ident, "type": "function", "function": {"name": name, "arguments": arguments}}


WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "The weather of a city, e.g. \"Rome\" & <others>.",
    "parameters": {"type": "object", "required": ["city"], "properties": {
        "city": {"type": "string", "description": "Its name"},
        "unit": {"type": "string", "enum": ["C", "F"]}}}}}

CONVERSATIONS = [
    ("turn", [said("user", "What is 2+2?"), said("assistant", "4")], None),
    ("system", [said("system", "Be brief."), said("user", "Hi"), said("assistant", "Hello!")], None),
    ("turns", [said("user", "a"), said("assistant", "b"), said("user", "c"),
               said("assistant", "d\n\ne"), said("user", "f"), said("assistant", "g")], None),
    ("blanks", [said("system", "  padded \n"), said("user", "\n  x  \n"),
                said("assistant", "\t y \n\n")], None),
    ("unicode", [said("user", "caf\u00e9 \u2028 \U0001f600 '\"\\ <b> & {{ x }} {% y %}"),
                 said("assistant", "\u00a0\u65e5\u672c\u8a9e\u3000")], None),
    ("thought", [said("user", "hard?"),
                 said("assistant", "<think>\nlet me see\n</think>\n\nyes"), said("user", "sure?"),
                 said("assistant", "<think>\nagain\n</think>\n\nindeed")], None),
    ("reasoning", [said("user", "hard?"),
                   said("assistant", "yes", reasoning_content="let me see")], None),
    ("tool", [said("user", "weather?"),
              said("assistant", "", tool_calls=[call("get_weather", {"city": "Rome", "n": 1.5})]),
              said("tool", "sunny, 30 \u00b0C", tool_call_id="call12345", name="get_weather"),
              said("assistant", "It is sunny.")], [WEATHER]),
    ("tools", [said("system", "Use tools."), said("user", "both?"),
               said("assistant", "Let me look.",
                    tool_calls=[call("get_weather", {"city": "Rome"}, "abcdefgh1"),
                                call("get_weather", {"city": "Oslo", "unit": None}, "abcdefgh2")]),
               said("tool", "{\"t\": 30}", tool_call_id="abcdefgh1", name="get_weather"),
               said("tool", "[1, 2]", tool_call_id="abcdefgh2", name="get_weather"),
               said("assistant", "30 and 12.")], [WEATHER]),
    ("text", [said("user", "w?"),
              said("assistant", "", tool_calls=[call("get_weather", "{\"city\": \"Rome\"}")]),
              said("tool", "sunny", tool_call_id="call12345"), said("assistant", "fine")], None),
    ("open", [said("system", "S"), said("user", "one"), said("user", "two")], [WEATHER]),
    ("long", [said(*pair) for i in range(20)
              for pair in (("user", f"question {i}"), ("assistant", f"answer {i}\n"))], None),
]
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}


def templates(paths):
    for path in paths:
        if os.path.isdir(path):
            yield from templates(sorted(os.path.join(path, f) for f in os.listdir(path)))
            continue
        text = open(path, encoding="utf-8").read()
        name = os.path.basename(path).removesuffix(".jinja")
        if path.endswith(".json"):
            text = json.loads(text).get("chat_template")
            name = os.path.basename(os.path.dirname(path))
        for entry in text if isinstance(text, list) else [{"name": "", "template": text}]:
            if entry["template"]:
                yield name + (":" + entry["name"] if entry["name"] else ""), entry["template"]


class Noon(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(NOW, datetime.timezone.utc)


chat_template_utils.datetime = Noon


def expected(template, messages, variables):
    """(text, spans) or None: it raises."""
    try:
        compiled = chat_template_utils._compile_jinja_template(template)
        variables = dict(variables)
        return chat_template_utils._render_with_assistant_indices(
            compiled, messages, variables.pop("tools"), variables.pop("documents"),
            variables.pop("add_generation_prompt"), **variables)
    except Exception:  # whatever Python raises on what a template does
        return None


def merged(spans):
    out = []
    for a, b in spans:
        if out and out[-1][1] == a:
            out[-1][1] = b
        elif b > a:
            out.append([a, b])
    return out


def cases(paths):
    for name, template in templates(paths):
        for what, messages, tools in CONVERSATIONS:
            messages = chat_template_utils._alias_reasoning_fields(messages)
            for is_open in (False, True):
                variables = {"tools": tools, "documents": None, "add_generation_prompt": is_open,
                             **TOKENS}
                yield name, what, template, messages, variables


def compile_dump(build):
    here = os.path.dirname(os.path.abspath(__file__))
    exe = os.path.join(tempfile.mkdtemp(), "jinja_dump")
    cc = os.environ.get("CC", "cc").split()
    subprocess.run(cc + ["-O2", "-std=c17", "-D_POSIX_C_SOURCE=200809L", "-D_DEFAULT_SOURCE",
                         "-I" + os.path.join(here, "../../common"),
                         os.path.join(here, "jinja_dump.c"), os.path.join(build, "libraise.a"),
                         "-o", exe, "-ljansson", "-lm", "-lpthread"], check=True)
    return exe


# ---- ids and masks ----

def pairs_of(path):
    """(question, answer) of a dataset of ours, JSON or JSON lines, .zst or plain."""
    raw = subprocess.run(["zstdcat", "-f", path], stdout=subprocess.PIPE, check=True).stdout.decode()
    records = json.loads(raw) if raw.lstrip().startswith("[") else map(json.loads, raw.splitlines())
    for r in records:
        question = r.get("instruction") or r.get("question") or r.get("prompt")
        answer = r.get("output") or r.get("answer") or r.get("response") or r.get("completion")
        if isinstance(question, str) and isinstance(answer, str):
            yield question + ("\n" + r["input"] if r.get("input") else ""), answer


def conversations(paths, n):
    """n of them, of the datasets by turns, with one to six pairs, every third with a system text."""
    sources = [iter(pairs_of(p)) for p in paths]
    made = []
    for i in range(n):
        messages = [said("system", "You are helpful.")] if i % 3 == 0 else []
        for _ in range(1 + i % 6):
            pair = next(sources[i % len(sources)], None)
            if pair:
                messages += [said("user", pair[0]), said("assistant", pair[1])]
        if len(messages) > 1:
            made.append(messages)
    return made


CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 32,
          "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
          "intermediate_size": 64, "max_position_embeddings": 131072, "rms_norm_eps": 1e-5}


def model_folder(tokenizer, template):
    """A folder of that tokenizer and template, for both sides."""
    out = tempfile.mkdtemp()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        path = os.path.join(tokenizer, name)
        with open(os.path.join(out, name), "wb") as f:
            compressed = not os.path.exists(path)
            subprocess.run(["zstdcat", "-f", path + ".zst" * compressed], stdout=f, check=True)
    with open(os.path.join(out, "tokenizer.json")) as f:
        n = 1 + max(t["id"] for t in json.load(f)["added_tokens"])
    with open(os.path.join(out, "config.json"), "w") as f:
        json.dump(CONFIG | {"vocab_size": max(n, 200000)}, f)
    with open(os.path.join(out, "chat_template.jinja"), "w", newline="") as f:
        f.write(template)
    return out


def shown(build, folder, messages):
    """(ids, mask) of each, by raise-rollout --show."""
    path = os.path.join(folder, "data.jsonl")
    with open(path, "w") as f:
        f.writelines(json.dumps({"messages": m}) + "\n" for m in messages)
    out = subprocess.run([os.path.join(build, "raise-rollout"), "-q", "--show", str(len(messages)),
                          "-m", folder, "-d", path, "--template", "model"],
                         stdout=subprocess.PIPE, check=True).stdout.decode()
    records = []
    for line in out.split("\n"):
        if re.match(r"\S+:\d+: record \d+: ", line):
            records.append(([], []))
        elif line[:7].strip().isdigit() and line[10:11] == "|":
            records[-1][0].append(int(line[:7]))
            records[-1][1].append(int(line[8] == "*"))
    return records


def encode_rows(build, tokenizer, name, template, messages):
    """True when it is as transformers has it."""
    from transformers import PreTrainedTokenizerFast
    folder = model_folder(tokenizer, template)
    reference = PreTrainedTokenizerFast.from_pretrained(folder)
    is_masked = "endgeneration" in template
    n_bad = 0
    for m, (ids, mask) in zip(messages, shown(build, folder, messages), strict=True):
        want = reference.apply_chat_template(m, return_dict=True,
                                             return_assistant_tokens_mask=is_masked)
        is_same = ids == list(want["input_ids"])
        if is_masked:
            is_same &= mask == [0] + list(want["assistant_masks"])[1:]  # nothing predicts the first
        if not is_same and n_bad == 0:
            at = next((i for i, (a, b) in enumerate(zip(ids, want["input_ids"])) if a != b), -1)
            print(f"  {name}: {m!r:.300}\n    ids differ at {at} of {len(ids)}", file=sys.stderr)
        n_bad += not is_same
    what = "ids and masks" if is_masked else "ids"
    print(f"chats by {os.path.basename(os.path.normpath(tokenizer))} under {name}: {what} of "
          f"{len(messages)},{n_bad},0,{'FAIL' if n_bad else 'ok'}", flush=True)
    return n_bad == 0


def encode(args):
    messages = conversations(args.data, args.n) if args.data else []
    masked = [(n, t) for n, t in templates(args.templates) if "endgeneration" in t]
    is_ok = True
    for folder in args.encode if messages else []:
        own = list(templates([os.path.join(folder, "tokenizer_config.json")]))
        for name, template in own[:1] + masked:
            try:
                is_ok &= encode_rows(args.build, folder, name, template, messages)
            except subprocess.CalledProcessError:
                print(f"chats by {folder} under {name},1,0,FAIL", flush=True)
                is_ok = False
    return is_ok


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--build", default="build")
    ap.add_argument("templates", nargs="+")
    ap.add_argument("--encode", nargs="*", default=[])
    ap.add_argument("--data", nargs="*", default=[])
    ap.add_argument("-n", type=int, default=2000)
    args = ap.parse_args()
    todo = list(cases(args.templates))
    lines = "".join(json.dumps({"template": t, "messages": m, "vars": v}, ensure_ascii=False) + "\n"
                    for _, _, t, m, v in todo)
    out = subprocess.run([compile_dump(args.build), str(NOW)], input=lines.encode(),
                         stdout=subprocess.PIPE, check=True).stdout.decode()
    bad, n, n_raised = collections.Counter(), collections.Counter(), collections.Counter()
    for (name, what, template, messages, variables), line in zip(todo, out.split("\n")):
        got, want = json.loads(line), expected(template, messages, variables)
        is_same = got.get("is_read", False)
        if want is not None:
            is_same = got.get("text") == want[0] and got["spans"] == merged(want[1])
        n[name] += 1
        n_raised[name] += want is None
        bad[name] += not is_same
        if not is_same and bad[name] == 1:
            print(f"  {name}, {what}: {got}\n    want {want}", file=sys.stderr)
    for name in n:
        print(f"template {name}: {n[name]} renderings ({n_raised[name]} refused),{bad[name]},0,"
              f"{'FAIL' if bad[name] else 'ok'}")
    is_ok = encode(args)
    return 1 if sum(bad.values()) or not is_ok else 0


if __name__ == "__main__":
    sys.exit(main())
