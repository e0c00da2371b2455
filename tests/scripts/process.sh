#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What a program's surroundings may do to it: descriptors that are closed, lines of a log that several
# write, signals, seeds with zeros before them, names that steer a terminal.
set -euo pipefail
# shellcheck source=tests/scratch.sh
. "$RAISE_TESTS/scratch.sh"
needs python3
python3 "$RAISE_TESTS/stream_make.py" "$dir" 5 3
mv part.0.safetensors a && mv part.1.safetensors b
for i in 1 2 3 4 5 6 7 8; do
    echo "{\"prompt\": \"$i\", \"completion\": \"$((i * i))\"}"
done >data.jsonl
raise-embed -q -m "$RAISE_TESTS/fixtures/tiny-llama" -d 4 -t 1 -o f data.jsonl

says() { # message: the one line on stderr
    if [ "$(wc -l <err)" != 1 ] || ! grep -qF -- "$1" err; then
        echo "expected '$1', got:" && cat err && exit 1
    fi
}
fails() { # message command
    local status=0
    bash -c "$2" 2>err || status=$?
    [ $status = 1 ] || { echo "$2: exit status $status"; cat err; exit 1; }
    says "$1"
}

# Closed descriptors: what does not use one does not miss it, what does says so, and no other file
# takes its number.
raise-view -v --cat a b -o whole 2>err
bash -c 'raise-view -v --cat a b -o x >&- 2>err'
cmp x whole
bash -c 'raise-view -v --cat a b -o x 2>&-'
cmp x whole
bash -c 'raise-view -v --cat a b -o x <&- >&- 2>&-'
cmp x whole
fails '(standard output): Bad file descriptor' 'raise-view a >&-'
fails '(standard output): Bad file descriptor' 'raise-view -h >&-'
fails '(standard input): Bad file descriptor' 'raise-view <&-'
fails '(standard input): Bad file descriptor' 'raise-plan -f f -d - --field x scores <&-'

# A line on stderr is one write: none of another program's can stand inside it.
python3 - <<'PY'
import socket, subprocess
def writes(*command):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=theirs)
    theirs.close()
    ours.setblocking(False)
    got = []
    while True:
        try:
            got.append(ours.recv(65536))
        except (BlockingIOError, ConnectionResetError):
            return got
        if not got[-1]:
            return got[:-1]
for command in (["raise-view", "nix"], ["raise-view", "--nix"], ["raise-view", "-v", "--cat", "a", "b"]):
    got = writes(*command)
    assert len(got) == 1 and got[0].endswith(b"\n") and got[0].count(b"\n") == 1, (command, got)
PY

# Signals: nothing is left, and the program ends by that signal. It waits for the rest of its input.
mkfifo pipe
no_handlers=${ASAN_OPTIONS:-}:handle_segv=0:handle_sigbus=0 # else the sanitizer ends it
for sig in INT TERM HUP QUIT PIPE XCPU XFSZ USR1 USR2 ALRM BUS SEGV ABRT; do
    ( trap - INT QUIT; ulimit -c 0; export ASAN_OPTIONS=$no_handlers; exec raise-view --csv pipe -o y ) 2>/dev/null &
    pid=$!
    exec 5>pipe
    head -c 64 a >&5
    for _ in $(seq 100); do
        compgen -G 'y.tmp*' >/dev/null && break
        sleep 0.02
    done
    compgen -G 'y.tmp*' >/dev/null || { echo "there is no temporary file"; exit 1; }
    kill -s $sig $pid
    case $sig in INT|QUIT) exec 5>&- ;; esac # which may be ignored: the end of its input ends it
    status=0
    wait $pid 2>/dev/null || status=$?
    exec 5>&-
    if [ $sig != INT ] && [ $sig != QUIT ]; then # which a shell's background jobs ignore
        [ $status = $((128 + $(kill -l $sig))) ] || { echo "$sig: exit status $status"; exit 1; }
        [ -z "$(compgen -G 'y*')" ] || { echo "$sig: left" y*; exit 1; }
    fi
    rm -f y*
done

# Seeds are decimal.
seed() { raise-plan -q -s "$1" -T 2 -B 2 --no-provenance -f f random; }
seed 10 >ten
seed 010 | cmp - ten
seed 8 | cmp -s - ten && { echo "seeds 8 and 10 draw the same"; exit 1; }
seed 08 | cmp - <(seed 8)
for bad in 0x10 -1 1e3 +1 ''; do
    status=0
    seed "$bad" >x 2>err || status=$?
    [ $status = 2 ] || { echo "seed '$bad': exit status $status"; exit 1; }
    says "'$bad' is not a whole number"
done

# Names and texts of files do not reach a terminal as they are.
python3 - <<'PY'
import json, struct
steer = "\x1b]0;you\x07\x1b[2J\u202e\x9b"
def put(path, meta, name):
    head = json.dumps({"__metadata__": meta, name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    open(path, "wb").write(struct.pack("<Q", len(head)) + head + bytes(4))
history = [{"program": steer, "version": steer, "args": steer, "seed": steer, "path": steer, "inputs": [{"name": steer, "xxh64": steer}]}]
put("bad1", {"raise.kind": steer, "raise.version": steer, steer: steer, "raise.history": json.dumps(history)}, steer)
put("bad2", {steer: steer, "raise.history": json.dumps(history)}, steer)
open("bad.jsonl", "w").write(json.dumps({steer: "a", "text\x1b": 3}) + "\n")
open("bad.csv", "w").write(steer + ",b\n1,2\n")
PY
for command in "raise-view bad1" "raise-view bad2" "raise-view --history bad2" "raise-view --csv bad2" \
    "raise-view --meta nix bad2" "raise-view --table nix bad1" "raise-plan -f f -d bad.jsonl --field x scores" \
    "raise-plan -f f -d bad.csv --field x scores" "raise-view $(printf '\033]x')"; do
    $command >out 2>&1 || true
    [ -s out ] || { echo "$command: says nothing"; exit 1; }
    if LC_ALL=C grep -q $'[\x01-\x08\x0b-\x1f\x7f]\|\xe2\x80\xae\|\xc2\x9b' out; then
        echo "$command: control characters:" && cat -v out && exit 1
    fi
done
