#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Every parser (tests/fuzz) over its corpus, some seconds of mutations of it, and damage: files cut
# short, bits flipped. The files of the corpus are read, but for a few that once broke something.
set -eu
# shellcheck source=tests/scratch.sh
. "$RAISE_TESTS/scratch.sh"
[ -x "$RAISE_BUILD/fuzz" ] || { echo "fuzz is not built"; exit 77; }
"$RAISE_BUILD/fuzz" "$RAISE_TESTS" 0 >seeds
awk '/^(jsonl?|csv|packed|tokenizer|special|config|index|adapter|safetensors|gguf|stream|kinds|questions|results|template|jinja) / && $2 != $6 {
    print "not read:", $0; n++ } END { exit n > 0 || NR < 20 }' seeds
"$RAISE_BUILD/fuzz" "$RAISE_TESTS" 400
"$RAISE_BUILD/fuzz" "$RAISE_TESTS" /29
[ -z "$(ls -I seeds)" ] || { ls; exit 1; }
