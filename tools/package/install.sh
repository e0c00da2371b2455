#!/bin/sh
# SPDX-License-Identifier: MIT
# Puts files below DESTDIR/PREFIX, and takes away again just what it put there. Usage:
#
#     install.sh install DESTDIR PREFIX MODE:SOURCE:TARGET...    TARGET from PREFIX on
#     install.sh uninstall DESTDIR PREFIX
#
# PREFIX/share/raise/installed tells what it did, a path without DESTDIR a line: "f" for a file, "d"
# for a folder that was not there before, "/" being DESTDIR itself. So uninstall leaves no empty
# folder of ours and every folder that was there, and installing another version over an old one
# removes the files that only the old one had. A tree that was staged by DESTDIR and moved is
# uninstalled where it went.
set -eu
what=$1 root=${2%/} prefix=${3%/}
shift 3
case $prefix in
/* | '') ;;
*) echo "PREFIX=$prefix is no absolute path" >&2 && exit 2 ;;
esac
list=$prefix/share/raise/installed

taken() { sed -n "s/^$1 //p" "$root$list"; } # kind: paths that are on the list

make_folder() { # path from root on; "": root itself
    [ -d "$root$1/" ] && return
    if [ -n "$1" ]; then make_folder "${1%/*}"; else mkdir -p "$(dirname "$root")"; fi
    # As seen from its parent, so that a folder of the list is one that mkdir made.
    mkdir -m 755 "$root$1"
    echo "d ${1:-/}" >>"$new"
}

remove_files() { # standard input: paths
    while IFS= read -r path; do rm -f "$root$path"; done
}

install_all() {
    new=$(mktemp)
    trap 'rm -f "$new"' EXIT
    make_folder "${list%/*}"
    for entry; do
        mode=${entry%%:*} entry=${entry#*:}
        target=$prefix/${entry#*:}
        make_folder "${target%/*}"
        install -m "$mode" "${entry%%:*}" "$root$target"
        echo "f $target" >>"$new"
    done
    if [ -e "$root$list" ]; then
        taken d | sed 's/^/d /' >>"$new"
        grep '^f ' "$root$list" | grep -vxFf "$new" | sed 's/^f //' | remove_files
    fi
    install -m 644 "$new" "$root$list"
}

uninstall_all() {
    [ -e "$root$list" ] || { echo "nothing is installed there: no $root$list" >&2 && exit 1; }
    folders=$(taken d | LC_ALL=C sort -ru) # what is in a folder comes before it
    taken f | remove_files
    rm "$root$list"
    echo "$folders" | while IFS= read -r path; do
        [ -z "$path" ] || rmdir "$root${path%/}" 2>/dev/null || : # others may have put something there
    done
}

case $what in
install) install_all "$@" ;;
uninstall) uninstall_all ;;
*) exit 2 ;;
esac
