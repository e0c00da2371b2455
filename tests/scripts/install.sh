#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# make install and uninstall: by PREFIX and by DESTDIR, whatever the umask; what was there before
# stays, what install made goes, empty folders too; files that only an older version had go.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
fail() { echo "$*"; exit 1; }
do_make() { make -s -C "$RAISE_TESTS/.." B="$RAISE_BUILD" "$@" >log 2>&1; }
list() { find "$1" -printf '%y %m %P\n' | sort; }

# Into a folder that is not there: nothing is left, not even the folder.
(umask 077 && do_make DESTDIR="$dir/stage" PREFIX=/usr install) || { cat log; fail "install"; }
[ "$(stat -c %a stage/usr/bin/raise-view stage/usr/bin stage/usr/share/man/man7/raise.7 | paste -sd' ')" = "755 755 644" ] ||
    fail "modes: $(ls -lR stage/usr/bin)"
for f in share/bash-completion/completions/raise-view share/zsh/site-functions/_raise-view \
    share/fish/vendor_completions.d/raise-view.fish lib/raise/demo-generate share/raise/pipelines/demo/model/config.json; do
    [ -s stage/usr/$f ] || fail "no $f"
done
grep -rqF "$dir" stage/usr/share/raise/installed && fail "the list knows DESTDIR"
do_make DESTDIR="$dir/stage" PREFIX=/usr uninstall || { cat log; fail "uninstall"; }
[ ! -e stage ] || fail "left: $(list stage)"

# Into one that is used: empty folders that were there stay, and another's file in a folder of ours.
mkdir -p root/opt/share/man/man1 root/opt/bin root/opt/share/zsh
echo other >root/opt/bin/other
list root >before
do_make DESTDIR="$dir/root" PREFIX=/opt install || { cat log; fail "install"; }
cp root/opt/share/raise/installed first
do_make DESTDIR="$dir/root" PREFIX=/opt install || fail "install again"
diff <(sort -u first) <(sort -u root/opt/share/raise/installed) || fail "the second install keeps another account"
[ "$(grep -c '^f ' first)" = "$(find root -type f | grep -cvE '/(other|installed)$')" ] || fail "the list lacks files"

# An older version had a file and a folder that this one has not.
mkdir root/opt/share/raise/old && touch root/opt/share/raise/old/gone.mk
printf 'd /opt/share/raise/old\nf /opt/share/raise/old/gone.mk\n' >>root/opt/share/raise/installed
do_make DESTDIR="$dir/root" PREFIX=/opt install || fail "install over an older one"
[ ! -e root/opt/share/raise/old/gone.mk ] || fail "an older version's file stays"
do_make DESTDIR="$dir/root" PREFIX=/opt uninstall || { cat log; fail "uninstall"; }
list root | diff before - || fail "not as before"

# A staged tree that moved; a folder of ours that somebody uses; a second uninstall.
do_make DESTDIR="$dir/stage" PREFIX="$dir/usr" install || fail "install"
mv "stage$dir/usr" usr && rm -r stage
touch usr/share/fish/mine
do_make DESTDIR= PREFIX="$dir/usr" uninstall || { cat log; fail "uninstall of what was staged"; }
[ "$(find usr -type f)" = usr/share/fish/mine ] || fail "left: $(find usr -type f)"
do_make DESTDIR= PREFIX="$dir/usr" uninstall && fail "nothing there, and uninstall says nothing"
grep -q "nothing is installed there: no $dir/usr/share/raise/installed" log || { cat log; fail "what it says"; }
do_make DESTDIR= PREFIX=usr install && fail "a relative PREFIX"
grep -q "PREFIX=usr is no absolute path" log || { cat log; fail "what is said of a relative PREFIX"; }
