#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# raise-rollout --checkpoint: killed after any step, the same command goes on, and what it writes has
# the bytes of a run that was never stopped: choices that are drawn, deployed as a list, planned, in
# pairs, over more than one round of the pool; adapters and all weights.
set -euo pipefail
# shellcheck source=tests/scratch.sh
. "$RAISE_TESTS/scratch.sh"
compiler
records pool 22 >d.jsonl
records val 4 >v.jsonl
records test 3 >t.jsonl
raise-embed -q -m "$model" --template none -t 1 -d 8 -o e d.jsonl
raise-cluster -q -k 2 -o f e
raise-ppo -q --init --learner ppo -f f -o ppo
raise-ppo -q --init --learner reward-model -f f -o reward
raise-ppo -q --init --learner lead -f f -o lead
raise-plan -q --repeats -f f -T 6 -B 4 -o plan random
roll() { raise-rollout -q -t 1 -f f -m "$model" -d d.jsonl --val v.jsonl --test t.jsonl --template none --precision fp32 -T 6 -b 4 "$@"; }

# The n-th checkpoint that is written is the last act: the rename, and then SIGKILL.
cat >die.c <<'C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int rename(const char *from, const char *to)
{
    static int n;
    int (*real)(const char *, const char *);
    *(void **)&real = dlsym(RTLD_NEXT, "rename");
    const char *dot = strrchr(to, '.');
    int is_it = dot && !strcmp(dot, ".checkpoint") && ++n == atoi(getenv("DIE_AT"));
    if (is_it && !strcmp(getenv("DIE"), "before"))
        raise(SIGKILL);
    int rc = real(from, to);
    if (is_it)
        raise(SIGKILL);
    return rc;
}
C
"${cc[@]}" -shared -fPIC -o die.so die.c -ldl
killed() { # before|after n command...
    local when=$1 n=$2 status=0
    shift 2
    (ASAN_OPTIONS=${ASAN_OPTIONS:-}:verify_asan_link_order=0 DIE=$when DIE_AT=$n LD_PRELOAD=$dir/die.so "$@") 2>/dev/null || status=$?
    [ $status = 137 ] || { echo "not killed: $status: $*"; exit 1; }
}
same() { # file...: of x and y
    for f; do
        diff -r "x$f" "y$f" || { echo "$*: differs"; exit 1; }
    done
}
goes_on() { # kills options...
    local kills=$1 n
    shift
    rm -rf x* y*
    roll "$@" -o x --metrics xm.csv
    for n in $kills; do
        killed "${n%%:*}" "${n##*:}" roll "$@" --checkpoint 1 -o y --metrics ym.csv
        [ ! -e y ] || { echo "an output of a killed run"; exit 1; }
    done
    roll "$@" --checkpoint 1 -o y --metrics ym.csv
    same ""
    cmp <(cut -d, -f1-7,9 xm.csv) <(cut -d, -f1-7,9 ym.csv)
    [ -z "$(compgen -G 'y.*')" ] || { echo "left:" y.*; exit 1; }
}
goes_on 'after:1 after:2 before:1 after:2' -p ppo -e 3
for k in 1 2 3 4 5; do # over the end of the pool's 22 rows, too
    goes_on "after:$k" -p ppo --test-limit 1
done
goes_on 'after:2 before:2' -p ppo --repeats --tau 0.1
goes_on 'after:3' -p ppo --deploy
goes_on 'after:2 after:1' -p ppo --deploy --draw
goes_on 'after:3' -p reward
goes_on 'after:3' -p reward --greedy
goes_on 'after:2 after:1' -p lead --deploy
goes_on 'after:4' --plan plan
goes_on 'after:2' --plan plan --full
rm -rf x* y*
roll -p ppo -o x --save-adapter xa --schedule cosine --warmup 4
killed after 3 roll -p ppo -o y --save-adapter ya --checkpoint 1 --schedule cosine --warmup 4
cp y.checkpoint kept
roll -p ppo -o y --save-adapter ya --checkpoint 1 --schedule cosine --warmup 4
same "" a

# Another run's is begun anew, and so is one that is damaged; it is said.
anew() { # pattern options...
    local pattern=$1
    shift
    rm -f z && cp "${from:-kept}" z.checkpoint
    raise-rollout -t 1 -f f -m "$model" -d d.jsonl --val v.jsonl --test t.jsonl --template none --precision fp32 -T 6 -b 4 \
        -p ppo -o z --checkpoint 2 "$@" 2>err
    grep -q "$pattern" err || { cat err; exit 1; }
    [ ! -e z.checkpoint ] || { echo "a checkpoint is left"; exit 1; }
}
anew 'z.checkpoint: goes on after step 3' --schedule cosine --warmup 4
cmp x z
anew 'z.checkpoint: of another run, or of other inputs; the episode begins anew'
roll -p ppo -o w
cmp w z
anew 'z.checkpoint: of another run' --schedule cosine --warmup 4 --lr 1e-3
anew 'z.checkpoint: of another run' --schedule cosine --warmup 4 -s 2
head -c 1000 kept >torn
from=torn anew 'z.checkpoint: .*; the episode begins anew' --schedule cosine --warmup 4
cmp x z
from=x anew 'z.checkpoint: expected checkpoint, found trajectory; the episode' --schedule cosine --warmup 4
cmp x z
raise-view kept | grep -q checkpoint

# By the clock; a place that cannot be written; misuse.
roll -p ppo -o u --checkpoint 0.000001s && cmp u w && [ ! -e u.checkpoint ]
for bad in 0 -1 1.5 s x 5m ''; do
    status=0
    roll -p ppo -o q --checkpoint "$bad" 2>err || status=$?
    if [ $status != 2 ] || ! grep -q -- '--checkpoint' err; then echo "'$bad': $status" && cat err && exit 1; fi
done
status=0
roll -p ppo --checkpoint 1 2>err >/dev/null || status=$?
[ $status = 2 ] && grep -q 'needs a name' err
