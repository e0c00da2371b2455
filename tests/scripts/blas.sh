#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# OpenBLAS's kernel suits the CPU: programs that multiply matrices start themselves again, once,
# with the right one; a choice made by the user stands. An OpenBLAS that mistakes the CPU is
# played by a library put before it.
set -eu
[ "$(uname -m)" = x86_64 ] || { echo "not an x86-64 machine"; exit 77; }
grep -q avx2 /proc/cpuinfo || { echo "no AVX2: every kernel suits"; exit 77; }
unset OPENBLAS_CORETYPE RAISE_REEXEC RAISE_ISA
# shellcheck source=tests/scratch.sh
. "$RAISE_TESTS/scratch.sh"
kernel() { sed -n 's/^blas .*kernel //p'; }
slow='^(Prescott|Core2|Penryn|Dunnington|Nehalem|Atom|Barcelona|Opteron|Generic)'

for program in raise-embed raise-rollout; do
    now=$("$program" -V | kernel)
    [ -n "$now" ]
    if printf %s "$now" | grep -qiE "$slow"; then echo "$program uses $now"; exit 1; fi
    forced=$(OPENBLAS_CORETYPE=Prescott "$program" -V | kernel)
    [ "$forced" = Prescott ] || { echo "$program: the user's choice gave $forced"; exit 1; }
done

compiler
cat >"$dir/mistaken.c" <<'C'
#include <stdlib.h>
char *openblas_get_corename(void);
char *openblas_get_corename(void)
{
    char *set = getenv("OPENBLAS_CORETYPE");
    static char mistaken[] = "Prescott";
    return set ? set : mistaken;
}
C
"${cc[@]}" -shared -fPIC -o "$dir/mistaken.so" "$dir/mistaken.c"
for program in raise-embed raise-rollout; do
    mended=$(LD_PRELOAD=$dir/mistaken.so "$program" -V | kernel)
    case $mended in
    "SkylakeX (set by re-execution)" | "Haswell (set by re-execution)") ;;
    *) echo "$program: a mistaken OpenBLAS was left at $mended"; exit 1 ;;
    esac
done
