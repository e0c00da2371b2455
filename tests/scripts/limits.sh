#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What a program may take, and what may be done to its inputs meanwhile: bombs, pipes in a model's
# place, patterns that take for ever, address space, threads; files that are cut short, written to or
# replaced while they are mapped. A message that names the file, and no output.
set -euo pipefail
# shellcheck source=tests/scratch.sh
. "$RAISE_TESTS/scratch.sh"
compiler
export OMP_NUM_THREADS=2
for i in 1 2 3 4 5 6 7 8; do
    echo "{\"prompt\": \"$i\", \"completion\": \"$((i * i))\"}"
done >d.jsonl
embed() { timeout 20 raise-embed -q --template plain -d 4 -t 1 --precision fp32 "$@"; }
embed -u -m "$model" -o e d.jsonl
raise-cluster -q -u -k 2 -o f e
cp -r "$model" m
fails() { # pattern command...: one line, status 1, nothing written
    local status=0 pattern=$1
    shift
    ("$@") >out.txt 2>err.txt || status=$?
    if [ $status != 1 ] || ! grep -q -- "$pattern" err.txt || [ "$(wc -l <err.txt)" != 1 ]; then
        echo "$*: status $status, wanted '$pattern':" && cat err.txt && exit 1
    fi
    rm -f x.part # what was done so far, for the next run
    [ -z "$(compgen -G 'x*')" ] || { echo "$*: left" x*; exit 1; }
}

# Bombs.
is_sanitized=$(nm "$(command -v raise-view)" 2>/dev/null | grep -c __asan_init || :)
head -c 200M /dev/zero | tr '\0' ' ' | zstd -q >blanks.zst
small() (if [ "$is_sanitized" = 0 ]; then ulimit -v 800000; fi; "$@")
fails 'blanks.zst:1: more than 64.0 MiB without a record' small raise-export -o x blanks.zst
piped() { raise-export -o x - <blanks.zst; }
fails '(standard input):1: more than 64.0 MiB without a record' small piped
python3 - <<'PY'
import json, struct, subprocess
data = 1 << 25
head = json.dumps({"a": {"dtype": "U8", "shape": [data], "data_offsets": [0, data]}}).encode()
head += b" " * (-len(head) % 8)
plain = struct.pack("<Q", len(head)) + head + bytes(data)
frame = subprocess.run(["zstd", "-q", "-c", "--check", "--stream-size=%d" % len(plain)], input=plain, stdout=subprocess.PIPE).stdout
open("bomb.zst", "wb").write(frame * 8)
PY
fails 'bomb.zst: .* unfold to .*: over 1000 to 1' small raise-view bomb.zst
viewed() { raise-view - <bomb.zst; }
fails '(standard input): .* unfold to' small viewed

# A pipe in the place of a model's file is not waited for.
for name in model.safetensors config.json tokenizer.json; do
    mv m/$name kept && mkfifo m/$name
    fails "m/$name: not a regular file" embed -m m -o x d.jsonl
    rm m/$name && mv kept m/$name
done
mkfifo pipe.gguf
fails 'pipe.gguf: neither a folder nor a regular file' embed -m pipe.gguf -o x d.jsonl

# A pattern that takes exponentially long is stopped.
python3 - <<'PY'
import json
t = json.load(open("m/tokenizer.json"))
t["pre_tokenizer"] = {"type": "Split", "pattern": {"Regex": "(?:(?:a+)+)+b"}, "behavior": "Isolated", "invert": False}
json.dump(t, open("m/tokenizer.json", "w"))
open("a.jsonl", "w").write(json.dumps({"prompt": "a" * 40 + "c b", "completion": "d"}) + "\n")
PY
start=$(date +%s%N)
fails 'pre-tokenizer: match limit exceeded' embed -m m -o x a.jsonl
[ $(($(date +%s%N) - start)) -lt 5000000000 ] || { echo "a pattern took long"; exit 1; }
cp "$model/tokenizer.json" m/

# Threads and address space.
OMP_NUM_THREADS=1000000 raise-view e >out.txt 2>err.txt && { echo "a million threads"; exit 1; }
grep -q 'OMP_NUM_THREADS: at most 4096' err.txt
if [ "$is_sanitized" = 0 ]; then
    for kib in 150000 200000 300000 500000; do
        limited() (ulimit -v $kib && "$@")
        limited raise-view -V | grep -q '^blas *none'
        limited raise-view e >out.txt
        limited raise-plan -q -f f -T 2 -B 2 -o p random
        limited raise-ppo -q --init -f f -o p
        rm p
        fails "^raise-cluster: ulimit -v leaves $((kib / 1024)) MiB of address space" limited raise-cluster -q -k 2 -o x e
    done
fi

# What happens to a file once it is mapped, is done by a library that waits for that.
cat >meddle.c <<'C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
void *mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset)
{
    void *(*real)(void *, size_t, int, int, int, off_t);
    *(void **)&real = dlsym(RTLD_NEXT, "mmap");
    void *p = real(at, len, prot, flags, fd, offset);
    const char *victim = getenv("VICTIM"), *what = getenv("MEDDLE");
    struct stat a, b;
    static int n_maps;
    if (fd < 0 || !victim || fstat(fd, &a) || stat(victim, &b) || a.st_ino != b.st_ino)
        return p;
    if (++n_maps < atoi(getenv("NTH")))
        return p;
    if (!strcmp(what, "cut") && truncate(victim, 8192) == 0)
        return p;
    if (!strcmp(what, "write")) {
        struct timespec now[2] = {{0, 1}, {0, 1}};
        utimensat(AT_FDCWD, victim, now, 0);
    } else if (!strcmp(what, "replace")) {
        rename("other", victim);
    } else if (!strcmp(what, "remove")) {
        unlink(victim);
    }
    return p;
}
C
"${cc[@]}" -shared -fPIC -o meddle.so meddle.c -ldl
meddled() { # what, victim, command...
    local what=$1 victim=$2
    shift 2
    ASAN_OPTIONS=${ASAN_OPTIONS:-}:handle_sigbus=0:verify_asan_link_order=0 \
        LD_PRELOAD=$dir/meddle.so NTH=$NTH MEDDLE=$what VICTIM=$victim "$@"
}
for what in cut write replace remove; do
    said='changed while it was read: nothing is written'
    [ $what != cut ] || said='was made shorter while it was read: nothing is written'
    cp "$model/model.safetensors" other
    NTH=2 fails "^raise-embed: m/model.safetensors: $said" meddled $what m/model.safetensors raise-embed -q --template plain -d 4 -t 1 --precision fp32 -m m -o x d.jsonl
    cp "$model/model.safetensors" m/
    head -c 20000 /dev/zero | tr '\0' ' ' >pad # so that the data is in a page of its own
    python3 - <<'PY'
import struct
b = open("e", "rb").read()
n = struct.unpack("<Q", b[:8])[0]
pad = open("pad", "rb").read()
open("g", "wb").write(struct.pack("<Q", n + len(pad)) + b[8:8 + n] + pad + b[8 + n:])
PY
    cp g other
    NTH=1 fails "^raise-cluster: g: $said" meddled $what g raise-cluster -q -u -k 2 -o x g
done
