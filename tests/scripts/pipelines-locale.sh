#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A machine with decimal commas makes the same bytes.
set -eu
# shellcheck source=tests/pipeline.sh
. "$RAISE_TESTS/pipeline.sh"
command -v localedef >/dev/null || { echo "no localedef"; exit 77; }
mkdir locales
localedef -i de_DE -f UTF-8 locales/de_DE.UTF-8 >/dev/null 2>&1 ||
    { echo "localedef has no source for de_DE (Debian: locales)"; exit 77; }
export LOCPATH=$dir/locales
german=de_DE.UTF-8
[ "$(LC_ALL=$german bash -c 'printf "%.1f" 2,5')" = 2,5 ] || { echo "the locale has no effect"; exit 77; }

go a EPISODES=1 SEEDS='1 2' STEPS= PERCENT=7.5 || fail "the run"
mv a kept
LC_ALL=$german go a LC_ALL=$german EPISODES=1 SEEDS='1 2' STEPS= PERCENT=7.5 || fail "the run in German"
diff -r -x .lock -x .jobs -x times.csv -x .seen a kept
