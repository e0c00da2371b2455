#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Builds the Debian package from the tree as it is, what is not committed included. Usage:
#
#     tools/package/deb.sh BUILD        leaves BUILD/raise_VERSION_ARCH.deb, .changes, .buildinfo
#
# debian/ stands beside this file and not at the top of the tree, where Debian's own packages of a
# program put theirs (format 3.0 replaces an upstream's); it is put into a copy of the sources here.
# DEB_BUILD_OPTIONS is nocheck unless set: `make check` is what runs the tests.
set -eu
here=$(dirname "$(realpath "$0")")
cd "$here/../.."
build=$(realpath -m "$1")
version=$(sed -n 's/^#define RAISE_VERSION "\(.*\)"/\1/p' common/base/version.h)
missing=
for p in dpkg-dev debhelper; do dpkg -s $p >/dev/null 2>&1 || missing="$missing $p"; done
[ -z "$missing" ] || { echo "make deb needs$missing: apt install$missing" >&2 && exit 1; }
[[ $(head -n 1 "$here/debian/changelog") == "raise ($version-"* ]] ||
    { echo "debian/changelog is of another version than $version" >&2 && exit 1; }

sources=$build/deb/raise-$version
rm -rf "$build/deb"
mkdir -p "$sources"
if git rev-parse --show-cdup >/dev/null 2>&1; then
    git ls-files -z --cached --others --exclude-standard --deduplicate
else # what `make dist` made
    find . \( -path "./${build#"$PWD/"}" -o -path ./build -o -path ./.git \) -prune -o -type f -print0
fi | tar --null -T - -c --ignore-failed-read -f - | tar -x -C "$sources" -f -
cp -r "$here/debian" "$sources/debian"
cd "$sources"
export DEB_BUILD_OPTIONS=${DEB_BUILD_OPTIONS-nocheck parallel=${JOBS:-$(nproc)}}
# Without what the make that called was told; but B in the environment names another build folder.
env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL dpkg-buildpackage -b -nc -us -uc
cd "$build"
mv deb/*.deb deb/*.changes deb/*.buildinfo .
rm -rf deb
ls raise_*.deb
