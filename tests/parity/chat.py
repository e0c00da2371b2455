#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Chat templates beside transformers, character by character.

    chat.py --build BUILD TEMPLATES... [--encode TOKENIZERS... --data DATASETS... -n N]

TEMPLATES: files with a Jinja template, or tokenizer_config.json; folders of such. Each is given the
conversations below, with and without a generation prompt. A row a template: renderings that differ.
A row a tokenizer folder and template: of -n conversations made of the datasets' records (talks.py),
those that the template takes and whose ids or masks differ from apply_chat_template's. Masks are
those of {% generation %}; of a template without, X.jinja, the row has the share of tokens that are
masked otherwise than in its twin with {% generation %}, X_training.jinja, where the ids are equal.
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

from talks import WEATHER, call, conversations, said

NOW = 1721995200  # 26 July 2024, noon


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


TWINS = 0.03  # their authors may count a line break behind an end marker, or the role before


def shown(build, folder, talks):
    """(ids, mask) of each, by raise-rollout --show; None: it refuses one of them."""
    path = os.path.join(folder, "data.jsonl")
    with open(path, "w", encoding="utf-8") as f:
        f.writelines(json.dumps({"messages": m} | ({"tools": t} if t else {}),
                                ensure_ascii=bool(i % 2)) + "\n" for i, (m, t) in enumerate(talks))
    made = subprocess.run([os.path.join(build, "raise-rollout"), "-q", "--show", str(len(talks)),
                           "-m", folder, "-d", path, "--template", "model"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if made.returncode:
        print("  " + made.stderr.decode().strip(), file=sys.stderr)
        return None
    records = []
    for line in made.stdout.decode().split("\n"):
        if re.match(r"\S+:\d+: record \d+: ", line):
            records.append(([], []))
        elif line[:7].strip().isdigit() and line[10:11] == "|":
            records[-1][0].append(int(line[:7]))
            records[-1][1].append(int(line[8] == "*"))
    return records


def wanted(reference, talk, template):
    """(ids, mask) by transformers, up to the last answer; None: the template raises."""
    messages, tools = talk
    n = max(i for i, m in enumerate(messages) if m["role"] == "assistant")
    try:
        made = reference.apply_chat_template(
            messages[:n + 1], tools=tools, chat_template=template, return_dict=True,
            return_assistant_tokens_mask="endgeneration" in template)
    except Exception:  # whatever Python raises on what a template does
        return None
    mask = list(made.get("assistant_masks", []))
    return list(made["input_ids"]), [0] + mask[1:] if mask else None  # nothing predicts the first


def fits(talk, template):
    """Calls of tools that a template does not speak of are refused."""
    return "tool_calls" in template or not any("tool_calls" in m for m in talk[0])


def difference(got, want):
    """(what, where, how many tokens) differ; None: nothing does."""
    if got[0] != want[0]:
        odd = [i for i, (a, b) in enumerate(zip(got[0], want[0])) if a != b]
        return "ids", odd[0] if odd else -1, len(got[0])
    odd = [i for i, (a, b) in enumerate(zip(got[1], want[1] or got[1])) if a != b]
    return ("masks", odd[0], len(odd)) if odd else None


def encode_row(build, tokenizer, name, template, talks, teacher=None):
    """True when it is as transformers has it. teacher: a template of the same text with
    {% generation %}, for the masks of one without."""
    from transformers import PreTrainedTokenizerFast
    folder = model_folder(tokenizer, template)
    reference = PreTrainedTokenizerFast.from_pretrained(folder)
    asked = [(t, wanted(reference, t, template)) for t in talks if fits(t, template)]
    asked = [(t, w) for t, w in asked if w]
    if teacher:
        taught = [wanted(reference, t, teacher) for t, _ in asked]
        asked = [(t, s) for (t, w), s in zip(asked, taught) if s and s[0] == w[0]]
    got = shown(build, folder, [t for t, _ in asked]) if asked else []
    n_bad = len(asked) if got is None else 0
    n_odd, n_tokens = 0, 1
    for (talk, want), one in zip(asked, got or [], strict=bool(got)):
        what = difference(one, want)
        if what and n_bad == 0:
            print(f"  {name}: {talk[0]!r:.400}\n    {what[0]} differ at {what[1]} of "
                  f"{len(want[0])}: {one[0][what[1]:what[1] + 8]}", file=sys.stderr)
        n_bad += what is not None
        n_odd += what[2] if what else 0
        n_tokens += len(want[0])
    what = "ids and masks" if teacher or "endgeneration" in template else "ids"
    worst, bound = (f"{n_odd / n_tokens:.4f}", TWINS) if teacher and got else (n_bad, 0)
    is_ok = float(worst) <= bound
    print(f"chats by {os.path.basename(os.path.normpath(tokenizer))} under {name}: {what} of "
          f"{len(asked)}{', tokens unlike its twin' if teacher else ''},{worst},{bound},"
          f"{'ok' if is_ok else 'FAIL'}", flush=True)
    return is_ok


def added_tokens(folder):
    with open(os.path.join(folder, "tokenizer_config.json"), encoding="utf-8") as f:
        return [t["content"] for t in json.load(f).get("added_tokens_decoder", {}).values()]


def encode(args):
    """Each tokenizer under its own template, and the templates with {% generation %}, and those
    that have such a twin (X.jinja and X_training.jinja), by the tokenizer that knows the most of
    their markers."""
    if not args.data or not args.encode:
        return True
    talks = conversations(args.data, args.n)
    named = dict(templates(args.templates))
    jobs = [(folder, *own, None) for folder in args.encode
            for own in templates([os.path.join(folder, "tokenizer_config.json")])]
    for name, template in sorted(named.items()):
        teacher = named.get(name + "_training")
        known = {f: sum(t in template for t in added_tokens(f)) for f in args.encode}
        if "endgeneration" in template or (teacher and max(known.values()) > 1):
            jobs.append((max(known, key=known.get), name, template, teacher))
    return all([encode_row(args.build, folder, name, template, talks, teacher)
                for folder, name, template, teacher in jobs])


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--build", default="build")
    ap.add_argument("templates", nargs="+")
    ap.add_argument("--encode", nargs="*", default=[])
    ap.add_argument("--data", nargs="*", default=[])
    ap.add_argument("-n", type=int, default=300)
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
