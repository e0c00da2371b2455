#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tokenizers against Hugging Face's, where RAISE_PYTHON names a Python that has `tokenizers`,
# `zstandard` and `gguf`. RAISE_TOKENIZERS and RAISE_TEXTS may name more models and data files
# (separated by spaces) than the small ones that are always compared.
set -eu
[ -n "${RAISE_PYTHON:-}" ] || { echo "RAISE_PYTHON names no Python with tokenizers"; exit 77; }
f="$RAISE_TESTS/fixtures/tok"
# shellcheck disable=SC2086
exec "$RAISE_PYTHON" "$RAISE_TESTS/parity/tok.py" --build "$RAISE_BUILD" --random 2000 \
    --tokenizer "$f"/bytes.json "$f"/bytes.gguf "$f"/split.json "$f"/pieces.json \
    "$f"/meta.json "$f"/unknown.json ${RAISE_TOKENIZERS:-} --data ${RAISE_TEXTS:-}
