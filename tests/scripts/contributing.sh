#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The example of CONTRIBUTING.md builds as it says, and tells what a features file holds; and every
# target and file that the page names is there, and every file that common/README.md does.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
top=$RAISE_TESTS/..
page=$top/CONTRIBUTING.md
unset MAKEFLAGS MAKELEVEL MFLAGS
sed -n '/^    #include/,/^    }/s/^    //p' "$page" >"$dir/example.c"
cp "$RAISE_BUILD/libraise.a" "$dir"
make -s -C "$top" B="$dir" LDFLAGS="${RAISE_LDFLAGS:-}" SRC="$dir/example.c" -o "$dir/libraise.a" example
# the library is made of its own files, not of the example
make -n -s -C "$top" B="$dir/b" SRC="$dir/example.c" example >"$dir/out" 2>&1
grep -q 'b/common/data/dataset\.o' "$dir/out" || { echo "SRC= replaces the library"; exit 1; }
"$dir/example" "$RAISE_TESTS/fixtures/features/small.safetensors" >"$dir/out"
grep -qx '[0-9]* rows, [0-9]* classes' "$dir/out" || { cat "$dir/out"; exit 1; }

tick=$(printf '\140')
grep -oh "${tick}[a-z]*/[A-Za-z0-9_./]*$tick" "$page" "$top/common/README.md" | tr -d "$tick" | sort -u >"$dir/names"
sed -n 's/^    make \([a-z-][a-z-]*\) .*/\1/p' "$page" | sort -u >"$dir/targets"
[ -s "$dir/names" ] && [ -s "$dir/targets" ]
status=0
while read -r name; do
    case $name in build/* | *NAME* | *_X.* | X.* | */X.*) continue ;; esac
    [ -e "$top/$name" ] || [ -e "$top/common/$name" ] || { echo "no file $name"; status=1; }
done <"$dir/names"
while read -r target; do
    grep -q "^$target:" "$top/Makefile" || { echo "no target $target"; status=1; }
done <"$dir/targets"
exit $status
