#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# -h of every program: on standard output, status 0, within 80 columns; and options that stand in
# several programs read the same in all of them.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
for program in "$RAISE_BUILD"/raise-*; do
    if [ ! -x "$program" ] || [ ! -f "$program" ] || [[ $program == *.so ]]; then continue; fi
    name=${program##*/}
    "$program" -h >"$name" 2>err
    [ ! -s err ]
    awk -v name="$name" 'length > 80 { print name ": " $0; bad = 1 } END { exit bad }' "$name"
done
[ -s raise-embed ] && [ -s raise-rollout ]
for option in model adapter template max-length on-error precision device force output threads seed; do
    sed -n "s/^  \(-., \|    \)--$option /& /p" raise-* | sed 's/ \[.*//' | sort -u >lines
    [ "$(wc -l <lines)" = 1 ] || { echo "--$option reads differently:" && cat lines && exit 1; }
done
