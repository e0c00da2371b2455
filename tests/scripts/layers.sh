#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The floors of common/ hold (tests/layers), and are those of its README; and tests/layers sees each
# kind of fault, in a small tree that is sound until it is broken.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
layers=$RAISE_TESTS/layers
out=$("$layers" "$RAISE_BUILD") || { echo "$out"; exit 1; }
[ -z "$out" ] || { echo "not looked at: $out"; exit 1; }
floors=$(sed -n 's/^FLOORS = "\(.*\)"\.split()$/\1/p' "$layers")
page=$(sed -n 's/^| .\([a-z]*\)\/. |.*/\1/p' "$RAISE_TESTS/../common/README.md" | paste -sd' ')
[ "${floors:-none}" = "$page" ] || { echo "README: $page; tests/layers: $floors"; exit 1; }

tree=$dir/tree build=$dir/build
fresh() {
    rm -rf "$tree" "$build"
    mkdir -p "$tree/common/base" "$tree/common/lm/cpu" "$tree/tools"
    write common/base/a.c 'int a(void); int a(void) { return 0; }'
    write common/base/b.c 'int a(void); int b(void); int b(void) { return a(); }'
    write common/base/b_priv.h 'int b(void);'
    write common/lm/c.c 'int b(void); int c(void); int c(void) { return b(); }'
    write common/lm/cpu/k.c 'int c(void); int k(void); int k(void) { return c(); }'
    write tools/t.c '#include "base/b.h"'
}
write() { printf '%s\n' "$2" >"$tree/$1"; }
compile() { # each file of the tree; those of lm/cpu for two instruction sets
    local f o
    for f in common/base/*.c common/lm/*.c common/lm/cpu/*.c; do
        [ -e "$tree/$f" ] || continue
        o=$build/${f%.c}
        mkdir -p "$(dirname "$o")"
        case $f in
        */cpu/*) cc -c -o "$o.base.o" "$tree/$f" && cp "$o.base.o" "$o.avx2.o" ;;
        *) cc -c -o "$o.o" "$tree/$f" ;;
        esac
    done
}
expect() { # what, status, all that is said
    local status=0 said
    said=$("$layers" "$build" "$tree" 2>&1) || status=$?
    [ "$status" = "$2" ] && [ "$said" = "$3" ] && return
    printf '%s: status %s, not %s:\n%s\nnot:\n%s\n' "$1" "$status" "$2" "$said" "$3"
    exit 1
}
cd "$dir"
broken() { (cd "$tree" && compile) && expect "$@"; }

fresh
expect unbuilt 0 'headers only: nothing is built'
broken sound 0 ''

fresh
write common/base/a.c 'int k(void); int a(void); int a(void) { return k(); }'
broken 'a call up' 1 'base/a.c needs lm/cpu/k.c, which is of a later floor: k'
fresh
write common/base/a.c 'extern int up; int a(void); int a(void) { return up; }'
write common/lm/d.c 'int up = 1;'
broken 'a look up' 1 'base/a.c needs lm/d.c, which is of a later floor: up'
fresh
write common/lm/d.c 'int k(void); int d(void); int d(void) { return k(); }'
write common/lm/c.c 'int d(void); int c(void); int c(void) { return d(); }'
broken 'a circle of three' 1 'lm/c.c and lm/d.c need each other: d
lm/cpu/k.c and lm/c.c need each other: c
lm/d.c and lm/cpu/k.c need each other: k'
rm "$tree/common/lm/d.c"
expect 'an object whose source is gone' 0 ''
fresh
write common/base/a.h '#include "lm/lm.h"'
broken 'a header up' 1 'common/base/a.h includes lm/lm.h, which is of a later floor'
fresh
write common/lm/c.h '#  include "base/b_priv.h"'
write tools/t.c '#include "base/b_priv.h"'
broken 'a private header' 1 'common/lm/c.h includes base/b_priv.h, which is for the files of base/ alone
tools/t.c includes base/b_priv.h, which is for the files of base/ alone'
fresh
mkdir "$tree/common/attic"
broken 'a new floor' 1 'common/attic is no floor that tests/layers knows'
