#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Where programs read and write: two outputs on one place, and an output that is an input, are
# misuse, under any spelling; an output that cannot be written is told before the work. In either
# case every file keeps its bytes, and nothing is made.
set -eu
# shellcheck source=tests/scratch.sh
. "$RAISE_TESTS/scratch.sh"
records pool 40 >d.jsonl
records val 6 >v.jsonl
embed() { raise-embed -q -m "$model" --template none -t 1 -d 8 "$@"; }
roll() { raise-rollout -q -t 1 -f f -p p -m "$model" -d d.jsonl --val v.jsonl --template none --steps 2 -b 4 "$@"; }
embed -o e d.jsonl
raise-cluster -q -k 2 -o f e
raise-ppo -q --init -f f -o p
roll -o t --save-adapter a
ln -s d.jsonl link
before=$(find . -type f -exec cksum {} + | sort)
refused() { # status pattern command...
    local status=0 want=$1 pattern=$2
    shift 2
    ("$@") >out 2>err || status=$?
    rm -f out
    if [ "$status" != "$want" ] || ! grep -q -- "$pattern" err; then
        echo "$*: status $status, wanted $want and '$pattern':" && cat err && exit 1
    fi
    rm err
    [ "$(find . -type f -exec cksum {} + | sort)" = "$before" ] || { echo "$*: files changed" && exit 1; }
}
onto() { local to=$1; shift; "$@" >>"$to"; } # standard output onto a file that there is

# an output that is an input
refused 2 '^raise-embed: -o would overwrite the dataset: d.jsonl (try -h)$' embed -o d.jsonl d.jsonl
refused 2 '^raise-embed: -o would overwrite --target: v.jsonl (try -h)$' embed --target v.jsonl -o v.jsonl d.jsonl
refused 2 'overwrite the dataset: ./link' embed -o ./link d.jsonl
refused 2 'overwrite the dataset: d.jsonl' onto d.jsonl embed d.jsonl
# shellcheck disable=SC2094 # which is the point
refused 2 'overwrite the dataset: d.jsonl' embed -o d.jsonl - <d.jsonl
refused 2 'raise-cluster: -o would overwrite the features: e' raise-cluster -k 2 -o e e
refused 2 'raise-ppo: -o would overwrite -p: p' raise-ppo -f f -p p -o p t
refused 2 'raise-ppo: --weights would overwrite -p: p' raise-ppo -p p --weights p
refused 2 'raise-ppo: --metrics would overwrite a trajectory: t' raise-ppo -f f -p p -o q --metrics t t
refused 2 'raise-export: -o would overwrite the dataset: d.jsonl' raise-export -o d.jsonl t d.jsonl
refused 2 'raise-export: --stanza would overwrite a trajectory: t' raise-export -o s.json --stanza t t d.jsonl
refused 2 'raise-plan: --left-out would overwrite -f: f' raise-plan -f f --left-out f -o q ifd
refused 2 'raise-view: -o would overwrite a file to read: e' raise-view --cat -o e e
refused 2 'raise-rollout: -o would overwrite --val: v.jsonl' roll -o v.jsonl
refused 2 "raise-rollout: --save-model would overwrite -m: $model/." roll -o q --save-model "$model/."
refused 2 'raise-rollout: --save-adapter would overwrite --adapter: a/' roll -o q --adapter a --save-adapter a/

# two outputs on one place
refused 2 'raise-plan: --left-out and -o go to one place: (standard output)' raise-plan -f f --left-out - ifd
refused 2 'raise-ppo: --metrics and -o go to one place: ./q' raise-ppo -f f -p p --metrics q -o ./q t
refused 2 'raise-ppo: --weights and -o go to one place: (standard output)' raise-ppo -f f -p p --weights /dev/stdout t
refused 2 'raise-rollout: --metrics and -o go to one place' roll --metrics -
refused 2 'go to one place: x/..*y' roll -o q --save-adapter x/y --save-model x/./y
refused 2 'go to one place: q' raise-export --stanza ./q -o q t d.jsonl
raise-plan -q -f f -T 2 -B 4 --left-out /dev/null -o /dev/null ifd

# two inputs from standard input
refused 2 'raise-plan: -f and --list are both standard input' raise-plan --list - -o q only
refused 2 'both standard input' raise-view - -

# what cannot be written is told before the work: no step is taken, no model is loaded
refused 1 '^raise-rollout: none/m: No such file or directory$' roll -v -o q --metrics none/m
refused 1 '^raise-rollout: none/q: No such file' roll -o none/q
refused 1 '^raise-rollout: d.jsonl/a: Not a directory$' roll -o q --save-adapter d.jsonl/a
refused 1 '^raise-embed: none/q: No such file' embed -m none -o none/q d.jsonl
refused 1 '^raise-plan: a: is a folder' raise-plan -f f --left-out a -o q ifd
refused 1 '^raise-ppo: none/w: No such file' raise-ppo -f f -p p -o q --weights none/w t
refused 1 '^raise-export: none/s: No such file' raise-export -o q --stanza none/s t d.jsonl
refused 1 '^raise-cluster: none/q: No such file' raise-cluster -k 2 -o none/q none
closed() { "$@" >&-; }
refused 1 '^raise-view: (standard output): Bad file descriptor' closed raise-view e
