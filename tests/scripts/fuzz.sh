#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Every parser over its corpus, and some seconds of mutations of it (tests/fuzz).
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
[ -x "$RAISE_BUILD/fuzz" ] || { echo "fuzz is not built"; exit 77; }
"$RAISE_BUILD/fuzz" "$RAISE_TESTS" 400
[ -z "$(ls)" ] || { ls; exit 1; }
