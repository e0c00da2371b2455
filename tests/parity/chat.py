#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Chat templates beside transformers, character by character.

    chat.py --build BUILD TEMPLATES...

TEMPLATES: files with a Jinja template, or tokenizer_config.json; folders of such. Each is given the
conversations below, with and without a generation prompt. A row a template: renderings that differ.
Where transformers raises an exception, so must we, and where we refuse the template as beyond our
subset, the row says FAIL."""
import argparse
import collections
import contextlib
import datetime
import json
import os
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


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--build", default="build")
    ap.add_argument("templates", nargs="+")
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
    return 1 if sum(bad.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
