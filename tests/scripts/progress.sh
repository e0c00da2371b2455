#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What a terminal shows while a program works: a bar that fits, counts all work, and stays out of a
# parallel make's way; what a killed run says that it keeps.
set -euo pipefail
# shellcheck source=tests/scratch.sh
. "$RAISE_TESTS/scratch.sh"
needs python3
unset HF_HUB_DISABLE_PROGRESS_BARS MAKEFLAGS RAISE_JOB COLUMNS
records() { # from to
    for ((i = $1; i < $2; i++)); do
        printf '{"prompt": "%d and %d", "completion": "%0*d"}\n' "$i" "$((i * i))" 40 "$i"
    done
}
records 0 1500 >pool.jsonl
records 2000 2020 >val.jsonl
records 3000 3600 >test.jsonl
export model
raise-embed -q -m "$model" -n 64 -d 4 -t 1 -o f pool.jsonl
raise-ppo -q --init --learner ppo -f f -o p

cat >on_terminal.py <<'PY'
"""on_terminal.py COLUMNS COMMAND...: runs it on a terminal of its own, and checks each redraw."""
import fcntl, os, pty, re, struct, sys, termios
columns, command = int(sys.argv[1]), sys.argv[2:]
pid, fd = pty.fork()
if not pid:
    fcntl.ioctl(2, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    os.execvp(command[0], command)
said = b""
while True:
    try:
        got = os.read(fd, 65536)
    except OSError:
        break
    if not got:
        break
    said += got
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
text = said.decode().replace("\r\n", "\n")
assert status == 0, (status, text)
bars = [b for b in re.split("\r|\n", text.replace("\x1b[K", "")) if re.search(r"\d% .*left", b)]
for b in bars:
    assert len(b) < columns, (columns, len(b), b)
share = [int(re.search(r"(\d+)%", b)[1]) for b in bars]
assert share == sorted(share), share
sys.stdout.write("\n".join(bars) + ("\n" if bars else ""))
sys.stderr.write(text)
PY
on_terminal() { # columns command...
    python3 on_terminal.py "$@"
}
rollout=(raise-rollout -f f -p p -m "$model" -d pool.jsonl --val val.jsonl --val-limit 4 --test test.jsonl -t 1
    --steps 10 --batch 2 -o t)

# It fits, at any width; the name, the count and the bar give way, percentage and time left do not.
on_terminal 80 "${rollout[@]}" >bars 2>said
grep -qF 'raise-rollout: episode [' bars
grep -q 'of 10 steps' bars
for columns in 20 40; do
    on_terminal $columns "${rollout[@]}" >narrow 2>>said
    grep -q '% .* left$' narrow
done

# All work counts: the two measurements of the test set, which are most of it, are before and after
# the steps, and it is not done before the last of them.
grep -q '0 of 10 steps' bars
[ "$(grep -c '100%' bars)" = 1 ] || { echo "100% before the end:" && cat bars && exit 1; }
tail -n 1 bars | grep -q '100% 10 of 10 steps'
steps=$(grep -o '[0-9]*% 10 of 10' bars | head -n 1)
[ "${steps%%%*}" -lt 90 ] || { echo "after the last step: $steps" && exit 1; }

# What takes its time before the work begins shows, too, and leaves no line; what does not, shows not.
slow() { on_terminal 80 bash -c "{ head -n 9 pool.jsonl; sleep $1; tail -n 9 pool.jsonl; } | raise-export -F jsonl -o x -" 2>said; }
slow 1.2 >bars
grep -q 'raise-export: reading .* bytes' bars
tail -n 1 said | tr '\r' '\n' | tail -n 1 | grep -q 'raise-export: 18 records'

# Off where it was asked for; "0" does not ask.
bars() { on_terminal 80 env "$@" raise-embed -m "$model" -n 400 -d 4 -t 1 -o g pool.jsonl 2>/dev/null | wc -l; }
[ "$(bars HF_HUB_DISABLE_PROGRESS_BARS=0)" -gt 1 ]
[ "$(bars HF_HUB_DISABLE_PROGRESS_BARS=1)" = 0 ]
[ "$(bars HF_HUB_DISABLE_PROGRESS_BARS=Yes)" = 0 ]
[ "$(bars 'MAKEFLAGS= -j2 --jobserver-auth=3,4')" = 0 ]
[ "$(bars 'MAKEFLAGS= -j1')" -gt 1 ]

# One of make's jobs: warnings only; the bar leaves no line behind.
RAISE_JOB=1 raise-embed -m "$model" -n 400 -d 4 -t 1 -o g pool.jsonl 2>said
[ ! -s said ] || { cat said && exit 1; }
on_terminal 80 env RAISE_JOB=1 raise-embed -m "$model" -n 400 -d 4 -t 1 -o g pool.jsonl 2>said >bars
[ -s bars ] && ! grep -q . <(tr '\r' '\n' <said | sed 's/\x1b\[K//' | grep -v '% .*left$')
sed -i '1i broken' pool.jsonl
RAISE_JOB=1 raise-embed -m "$model" -n 400 -d 4 -t 1 --on-error skip -o g pool.jsonl 2>said
grep -q 'warning: .* left out' said

# Killed: what is kept is said in the last line, in one write, and the same command goes on.
sed -i 1d pool.jsonl
python3 - <<'PY'
import os, signal, subprocess, time
command = ["raise-embed", "-m", os.environ["model"], "-d", "4", "-t", "1", "-o", "k", "pool.jsonl"]
p = subprocess.Popen(command, stderr=subprocess.PIPE)
def size():
    return os.path.getsize("k.part") if os.path.exists("k.part") else 0
while size() < 10000 and p.poll() is None:
    time.sleep(0.002)
time.sleep(0.1)  # it is synced, too
p.send_signal(signal.SIGINT)
said = p.stderr.read().decode()
assert p.wait() == -signal.SIGINT, (p.returncode, said)
last = said.splitlines()[-1]
assert "windows kept; the same command goes on" in last, said
assert "continuing after" in subprocess.run(command, stderr=subprocess.PIPE).stderr.decode()
PY
raise-embed -q -m "$model" -d 4 -t 1 -o g pool.jsonl
cmp g k
