#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Every page by both formatters, mandoc and groff (man-db's): no warnings, no word that one shows and
# the other loses (a surname that is a macro's name), and what a page lists is what there is.
set -eu
command -v mandoc >/dev/null || { echo "mandoc is not installed"; exit 77; }
man=$RAISE_TESTS/../man
# shellcheck source=tests/scratch.sh
. "$RAISE_TESTS/scratch.sh"
fail() { echo "$*"; exit 1; }

# Every template by name.
raise-embed -m "$RAISE_TESTS/fixtures/tiny-llama" --template no-such-one /dev/null 2>err && fail "no-such-one"
known=$(sed -n 's/.*; known: \(.*\); or a file.*/\1/p' err)
[ -n "$known" ] || fail "no names: $(cat err)"
mandoc -T utf8 -O width=500 "$man/raise-embed.1" | sed 's/.\x08//g' >page
grep -qF "($known)" page || fail "raise-embed(1) does not list $known"

# What raise-data(5) lists of records and messages is what is read: layouts' fields, roles, members.
data=$RAISE_TESTS/../common/data
mandoc -T utf8 -O width=500 "$man/raise-data.5" | sed 's/.\x08//g' >page
grep -oE '\{DATA_[A-Z]+, \{[^}]*\}' "$data/dataset_layout.c" | grep -oE '"[a-z_]+"' | tr -d '"' >names
sed -n '/role_names\[\]/,/^};/p' "$data/dataset_messages.c" | grep -oE '"[a-z_]+"' | tr -d '"' >>names
sed -n '/^} names\[\]/,/^};/p' "$data/dataset_keys.c" | grep -oE '"[a-z_]+"' | tr -d '"' >members
[ "$(cat names members | wc -l)" -gt 40 ] || fail "the tables of layouts, roles or members were not found"
while IFS= read -r name; do
    grep -qE "(^|[^a-z_])$name([^a-z_]|\$)" page || fail "raise-data(5) does not tell of \"$name\""
done < <(cat names members)
sed -n '/What else a message says/,/Null is absent/p' page | sed -nE 's/^ {5,15}([a-z_]+(, [a-z_]+)*)( .*)?$/\1/p' |
    tr -d ' ' | tr , '\n' | grep -vx all >told
[ "$(wc -l <told)" -ge 6 ] || fail "raise-data(5): the table of members was not found"
while IFS= read -r name; do
    grep -qx "$name" members || fail "raise-data(5) tells of \"$name\", which nothing reads"
done <told

# No little word stands twice.
for page in "$man"/*.[157]; do
    mandoc -T lint -W warning "$page" 2>&1 | grep -v 'outdated mandoc.db' >err || :
    [ ! -s err ] || { cat err; fail "mandoc warns"; }
    twice=$(mandoc -T utf8 -O width=500 "$page" | sed 's/.\x08//g' | grep -oE '\b(a|an|and|as|at|be|by|for|in|is|it|of|on|or|the|to|with) \1\b' | head -n 1) || :
    [ -z "$twice" ] || fail "${page##*/}: $twice"
done

command -v groff >/dev/null || { echo "groff is not installed"; exit 77; }
words() { sed -e 's/.\x08//g' -e 's/\x1b\[[0-9;]*m//g' | perl -0pe 's/\xe2\x80\x90\n\s*//g' | tr -cs A-Za-z0-9 '\n' | sort -u; }
for page in "$man"/*.[157]; do
    groff -mandoc -Tutf8 -ww "$page" 2>err >shown
    [ ! -s err ] || { cat err; fail "${page##*/}: groff warns"; }
    words <shown >words.groff
    mandoc -T utf8 "$page" | words | grep -vx Debian >words.mandoc
    lost=$(comm -23 words.mandoc words.groff)
    [ -z "$lost" ] || fail "${page##*/}: groff loses: $lost"
done
