#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The examples of raise-data(5): its template file, and records of several layouts that are the
# same to the model; a template that names tokens which the model lacks.
set -eu
# shellcheck source=tests/scratch.sh
. "$RAISE_TESTS/scratch.sh"
needs python3
python3 - "$RAISE_TESTS/../man/raise-data.5" <<'PY'
import re, sys
section = re.search(r"^\.Sh EXAMPLES\n(.*?)(?=^\.Sh )", open(sys.argv[1]).read(), re.M | re.S).group(1)
blocks = re.findall(r"^\.Bd -literal.*?\n(.*?)^\.Ed", section, re.M | re.S)
template, records = [b.replace("\\e", "\\") for b in blocks]
open("qa.tmpl", "w").write(template)
open("same.jsonl", "w").write(records.replace(",\n ", ","))
PY
show() { raise-rollout "$@" -q -m "$model" 2>err; }
show --show 4 -d same.jsonl --template ./qa.tmpl >shown
grep -v '^same.jsonl:' shown | awk '{ n = /^[0-9]+ tokens/ ? n + 1 : n; print >"shown." n }'
for i in 2 3 4; do cmp shown.1 "shown.$i"; done
text() { sed -n 's/^.\{8\}'"$1"'.|\(.*\)|$/\1/p' shown.1 | tr -d '\n'; }
[ "$(text ' ')" = 'Q: Add.\n1 2\nA:' ]
[ "$(text '\*')" = ' 3\n###' ]

raise-rollout --show 1 -d same.jsonl --template chatml -m "$model" 2>err >shown
grep -q '^raise-rollout: warning: template chatml: <|im_start|>, <|im_end|>: no tokens of ' err

# a field is known by its name, however a file escapes it
awk 'BEGIN { for (i = 0; i < 8; i++)
    printf "{\"question\": \"q%d\", \"answer\": \"a\", \"qualit\\u00e9\": %d}\n", i, i * 3 % 8 }' >q.jsonl
grep -q 'u00e9": 7}' q.jsonl
raise-embed -q -m "$model" -d 4 -t 1 --template none -o q.st.zst q.jsonl
raise-plan -q -f q.st.zst -d q.jsonl --field qualité -T 1 -B 2 scores |
    raise-export -q -f indices - q.jsonl >best
[ "$(tr '\n' ' ' <best)" = "5 2 " ]
