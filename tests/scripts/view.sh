#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# raise-view as a Unix program: what it says of a file, what --cat refuses, full disks, closed
# pipes, terminals.
set -euo pipefail
command -v python3 >/dev/null || { echo "python3 is not installed"; exit 77; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 "$RAISE_TESTS/stream_make.py" "$dir" 5 3 4
cd "$dir"
mv part.0.safetensors a && mv part.1.safetensors b && mv part.2.safetensors c

fails() { # status message command...
    local want=$1 says=$2 status=0
    shift 2
    "$@" >out 2>err || status=$?
    [ $status = "$want" ] || { echo "$*: exit status $status"; cat err; exit 1; }
    if [ "$(wc -l <err)" != 1 ] || ! grep -qF -- "$says" err; then
        echo "$*: expected '$says', got:" && cat err && exit 1
    fi
    [ -z "$(find . -name 'x*')" ] || { echo "$*: left something behind"; exit 1; }
}
set_meta() { # file key value: a copy in d
    python3 - "$@" <<'PY'
import json, struct, sys
data = open(sys.argv[1], "rb").read()
n = struct.unpack_from("<Q", data)[0]
head = json.loads(data[8:8 + n])
if sys.argv[3]:
    head["__metadata__"][sys.argv[2]] = sys.argv[3]
else:
    del head["__metadata__"][sys.argv[2]]
text = json.dumps(head).encode()
open("d", "wb").write(struct.pack("<Q", len(text)) + text + data[8 + n:])
PY
}

# What it says.
raise-view --cat a b c -o all
raise-view all >text
for line in "all: features, format version 1" "  compressed, 3 shards, *" "  raise.model *0123456789abcdef" \
    "  raise.n_rows *12" "  grid *F32 *\[12, 2, 3\]" "  centroids *F32 *\[2, 3\]  whole" "    raise-view --cat a b c" \
    "    input b [0-9a-f]*"; do
    grep -q "^$line" text || { echo "missing: $line"; cat text; exit 1; }
done
[ "$(raise-view --history all | wc -l)" = 1 ]
[ -z "$(raise-view --history a)" ]
[ "$(raise-view --meta raise.kind all)" = features ]
[ -z "$(raise-view --check all a b c)" ]
[ "$(raise-view a b | grep -c identity)" = 2 ]
raise-view --cat --no-provenance all -o plain && [ -z "$(raise-view --history plain)" ]
fails 1 'all: no metadata "nix"' raise-view --meta nix all
fails 1 'all: no tensor "nix"' raise-view --table c_U8,nix all
fails 1 'all: "c_U8" and "centroids" are no columns of one table' raise-view --table c_U8,centroids all

# What does not belong together.
fails 1 'b: rows 0 to 4 are missing before it' raise-view --cat b a c -o x
fails 1 'c: rows 5 to 7 are missing before it' raise-view --cat a c -o x
fails 1 'a: starts at row 0, but the rows before end at 5' raise-view --cat a a -o x
fails 1 'rows 8 to 11 are in no file' raise-view --cat a b -o x
set_meta b raise.model fedcba9876543210
fails 1 'd: metadata raise.model is "fedcba9876543210", in a it is "0123456789abcdef"' raise-view --cat a d c -o x
set_meta b note ""
fails 1 'd: metadata note is "(absent)"' raise-view --cat a d c -o x
set_meta b raise.whole grid
fails 1 'd: metadata raise.whole' raise-view --cat a d c -o x
set_meta b raise.n_rows ""
raise-view --cat a d c -o y 2>err && [ ! -s err ]
set_meta b raise.first_row 7
fails 1 'd: rows 5 to 6 are missing before it' raise-view --cat a d -o x
fails 1 'x1: No such file or directory' raise-view --cat a x1 -o x
mkfifo p && { cat b >p & } # neither seekable nor mapped
raise-view --cat a p c | cmp <(raise-view --csv) <(raise-view --csv all)

# What raise-embed makes in three jobs is what it makes in one.
for i in 1 2 3 4 5 6 7; do
    echo "{\"instruction\": \"Add $i and $i\", \"output\": \"$((2 * i))\"}"
done >data.jsonl
embed() { raise-embed -q -t 1 -m "$RAISE_TESTS/fixtures/tiny-llama" --dim 4 "$@" data.jsonl; }
embed -o whole && embed --shard 0/3 -o e.0 && embed --shard 1/3 -o e.1 && embed --shard 2/3 -o e.2
raise-view --cat e.0 e.1 e.2 -o e
cmp <(raise-view e | sed -n '3,/^history/p') <(raise-view whole | sed -n '3,/^history/p')
cmp <(raise-view --csv e) <(raise-view --csv whole)
fails 1 'e.2: rows 2 to 3 are missing before it' raise-view --cat e.0 e.2 -o x
fails 1 'rows 4 to 6 are in no file' raise-view --cat e.0 e.1 -o x

# Options.
fails 2 'only one of' raise-view --csv --check all
fails 2 'CSV is of one file' raise-view --csv all a
fails 2 '-u goes with --cat' raise-view -u all
fails 2 "unknown option '--nix'" raise-view --nix

# Full disks and closed pipes.
for how in "" "--csv" "--cat" "--cat -u" "--history" "-h"; do
    # shellcheck disable=SC2086
    fails 1 'No space left on device' bash -c "raise-view $how all >/dev/full"
done
fails 1 '/dev/full: No space left on device' raise-view --cat all -o /dev/full
fails 1 '/nonexistent/x: No such file or directory' raise-view --cat all -o /nonexistent/x
[ -c /dev/full ]
python3 "$RAISE_TESTS/stream_make.py" . 30000
for how in --csv --cat; do
    status=0
    (raise-view $how part.0.safetensors 2>err; echo $? >status) | head -c 10 >/dev/null || status=$?
    if [ "$(cat status)" != 141 ] || [ -s err ]; then
        echo "closed pipe, $how: $(cat status)" && cat err && exit 1
    fi
done

# No binary data to a terminal, and none from one.
python3 - <<'PY'
import os, pty, subprocess
ours, theirs = pty.openpty()
done = subprocess.run(["raise-view", "--cat", "all"], stdout=theirs, stderr=subprocess.PIPE)
assert done.returncode == 1 and b"will not write binary data to a terminal" in done.stderr, done
assert b"raise-view" in subprocess.run(["raise-view"], stdin=theirs, stdout=subprocess.PIPE, check=True).stdout
os.close(theirs)
PY
