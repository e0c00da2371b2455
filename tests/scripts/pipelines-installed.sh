#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What was installed runs from any folder: the pipelines find their programs, the demonstration its
# model; nothing is left after uninstall.
set -eu
# shellcheck source=tests/pipeline.sh
. "$RAISE_TESTS/pipeline.sh"
[ -x "$RAISE_BUILD/demo-generate" ] || { echo "demo-generate is not built"; exit 77; }

make -s -C "$RAISE_TESTS/.." B="$RAISE_BUILD" DESTDIR= PREFIX="$dir/usr" install >log 2>&1 || fail "install"
pipelines=$dir/usr/share/raise/pipelines
bin=$(dirname "$(command -v raise-view)")
PATH=$(tr ':' '\n' <<<"$PATH" | grep -vFx "$bin" | paste -sd:)
if command -v raise-view; then echo "raise-view is installed on this machine"; exit 77; fi
RAISE_BUILD=build go a EPISODES=1 || fail "gsm8k.mk"
[ "$(wc -l <a/table.csv)" = 4 ]
make -f "$pipelines/demo.mk" build/demo/data/pool.jsonl build/demo/checked >log 2>&1 || fail "demo.mk"
[ "$(wc -l <build/demo/data/pool.jsonl)" = 2000 ]
if grep -F 'demo-generate pool' log; then fail "demo.mk shows make's commands"; fi
grep -q . build/demo/checked
make -s -C "$RAISE_TESTS/.." B="$bin" DESTDIR= PREFIX="$dir/usr" uninstall >log 2>&1 || fail "uninstall"
[ ! -e usr ] || fail "left: $(find usr)"
