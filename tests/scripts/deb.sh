#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The Debian package, made of what is built already: it holds what make install installs, pages
# compressed; lintian has nothing to say; its control file names what the build needs.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
fail() { echo "$*"; exit 1; }
top=$(realpath "$RAISE_TESTS/..")
control=$top/tools/package/debian/control
read -ra packages < <(sed -n '/^DEPS = /,/[^\\]$/p' "$top/Makefile" | sed -e 's/^DEPS = //' -e 's/[\\]$//' | paste -sd' ')
[ ${#packages[@]} -gt 10 ] || fail "the Makefile's DEPS: ${packages[*]}"
for p in "${packages[@]}"; do
    case $p in *-dev) grep -qE "\b$p\b" "$control" || fail "debian/control: no $p, which is one of the Makefile's DEPS" ;; esac
done
[ "$(sed -nE '1s/.*\((.*)-[0-9]+\).*/\1/p' "$top/tools/package/debian/changelog")" = \
    "$(sed -n 's/^#define RAISE_VERSION "\(.*\)"/\1/p' "$top/common/base/version.h")" ] || fail "debian/changelog: another version"

command -v dh >/dev/null || { echo "debhelper is not installed (make deps-deb)"; exit 77; }
B=$RAISE_BUILD "$top/tools/package/deb.sh" "$dir/out" >log 2>&1 || { tail -n 20 log; fail "deb.sh"; }
[ ! -e out/deb ] || fail "its working folder stays"
make -s -C "$top" B="$RAISE_BUILD" DESTDIR="$dir/stage" PREFIX=/usr ZSH_DIR=share/zsh/vendor-completions install >log 2>&1 ||
    { cat log; fail "install"; }
(cd stage && find . -type f ! -name installed | sed 's,\(/man/.*\),\1.gz,' | sort) >want
dpkg-deb -x out/raise_*.deb got
(cd got && find . -type f ! -path './usr/share/doc/*' ! -path './usr/share/lintian/*' | sort) >have
diff want have || fail "the package holds something else than what make install installs"
got/usr/bin/raise-view --version >shown || fail "raise-view of the package"
dpkg-deb -f out/raise_*.deb Depends >depends
grep -q 'libc6.*libopenblas0-openmp.*make' depends || fail "Depends: $(cat depends)"
[ -z "${RAISE_LDFLAGS:-}" ] || { echo "no lintian under a sanitizer"; exit 77; }
command -v lintian >/dev/null || { echo "lintian is not installed (make deps-deb)"; exit 77; }
lintian out/raise_*.changes >shown 2>&1 || { cat shown; fail "lintian"; }
grep -E '^[EWIP]: ' shown && fail "lintian"
exit 0
