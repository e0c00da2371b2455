#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# make on a machine that has not what is needed says so in a line, before anything is compiled, and the
# build asks for nothing that only tests need.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
unset MAKEFLAGS MAKELEVEL MFLAGS
lacks() { # text variables...
    if make -j4 -C "$RAISE_TESTS/.." B="$dir" "${@:2}" >"$dir.log" 2>&1; then echo "built"; exit 1; fi
    grep -v '^make' "$dir.log" >"$dir.said"
    [ "$(cat "$dir.said")" = "$1: \`make deps\` installs what is needed" ] || { cat "$dir.log"; exit 1; }
    rm "$dir.log" "$dir.said"
}
lacks 'there is no xxhash.h' CC='gcc -nostdinc'
lacks 'there is no C compiler (no-such-cc)' CC=no-such-cc
make -n -s -C "$RAISE_TESTS/.." deps-build >"$dir/build"
make -n -s -C "$RAISE_TESTS/.." deps >"$dir/all"
for package in libcmocka-dev mandoc; do
    if grep -qw "$package" "$dir/build"; then echo "$package is for tests"; exit 1; fi
    grep -qw "$package" "$dir/all"
done
grep -qw libzstd-dev "$dir/build"
