#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Compares a pipeline's settings with those that its folder was made with, OUT/settings/NAME.
#
#   settings.sh look OUT KIND:NAME VALUE ...          prints the names that differ, and says how
#   settings.sh keep OUT REBUILD KIND:NAME VALUE ... -- MAKE ...
#                        before anything is made: refuses what would mix, or removes what was made
#                        with other settings, and keeps the new ones
#
# KIND is value (files that it names count by their content), input (a file or folder, by content),
# grows (a number that may become larger), rows (what the tables show: may change), names (a list
# that is only remembered). MAKE ... says which files depend on a setting, by a run with -n.
#
# That a file is out of date is nowhere told by its time alone: what a change makes invalid is
# removed before the change is kept. So a copy, whose times mean nothing, can take one time for all.
set -euo pipefail
LC_ALL=C
mode=$1 out=$2 rebuild=
shift 2
[ "$mode" = look ] || { rebuild=$1 && shift; }
kept=$out/settings
seen=$kept/.seen # hash, size, time and path of what was hashed: unchanged, it is not read again
declare -A hash_of now old kind
changed=() first_seen=() differences=() invalid=()

hash_file() { # path: sets $hash
    local what
    what="$(stat -L -c '%s %.Y %i' -- "$1") $(realpath -- "$1")"
    hash=${hash_of[$what]:-}
    [ -n "$hash" ] || hash=$(sha256sum <"$1" | cut -c 1-64)
    hash_of[$what]=$hash
}
hash_path() { # file or folder: sets $text, a line a file
    local f
    text=
    if [ -d "$1" ]; then
        for f in "$1"/*; do
            [ -f "$f" ] || continue
            hash_file "$f"
            text+="$hash  ${f##*/}"$'\n'
        done
    else
        hash_file "$1"
        text=$hash$'\n'
    fi
}
describe() { # kind value: sets $text
    local word before='' all=$2$'\n'
    case $1 in
    input)
        if [ -e "$2" ]; then hash_path "$2"; else text=$2$'\n'; fi
        return
        ;;
    value)
        for word in $2; do # an option's argument that is a file, but no output
            word=${word#--*=}
            if [[ ! $before =~ ^(-o|--(output|metrics|left-out|weights|stanza|save-adapter|save-model))$ && -e $word ]]; then
                hash_path "$word"
                all+=$text
            fi
            before=$word
        done
        ;;
    esac
    text=$all
}
short() { # text: its first line
    local line=${1%%$'\n'*}
    [ -n "$line" ] && printf '%s' "$line" || printf '(empty)'
}
compare() { # name value
    local was is
    if [ ! -e "$kept/$1" ]; then # an input that a rule has made since stands for itself
        if [ "${kind[$1]}" = input ] && [ -d "$kept" ]; then first_seen+=("$1"); else changed+=("$1"); fi
        return
    fi
    old[$1]=$(cat "$kept/$1"; printf x) && old[$1]=${old[$1]%x}
    [ "${old[$1]}" != "${now[$1]}" ] || return 0
    was=$(short "${old[$1]}") is=$(short "${now[$1]}")
    case ${kind[$1]} in
    rows) ;;
    grows) [ "$is" -ge "$was" ] || differences+=("$1 was $was, is $is") ;;
    input) differences+=("$1=$2 has other content") ;;
    *) if [ "$was" != "$is" ]; then differences+=("$1 was $was, is $is"); else differences+=("a file that $1 names has other content"); fi ;;
    esac
    changed+=("$1")
}

if [ -r "$seen" ]; then
    while read -r hash what; do
        hash_of[$what]=$hash
    done <"$seen"
fi
shopt -s nullglob
set -f
declare -A remembered
while [ $# -ge 2 ] && [ "$1" != -- ]; do
    name=${1#*:} kind[$name]=${1%%:*}
    if [ "${kind[$name]}" = names ]; then
        remembered[$name]=$2
    else
        set +f
        describe "${kind[$name]}" "$2"
        set -f
        now[$name]=$text
        compare "$name" "$2"
    fi
    shift 2
done
set +f
joined=$(printf '; %s' "${differences[@]}")

put() { # file text: whole, or not at all
    printf '%s' "$2" >"$kept/.new"
    mv "$kept/.new" "$1"
}
# A copy, or a clock that was set back: times say nothing, and all that is there is valid. A file
# that says its own time tells a copy.
stamp=$kept/.time
if [ -d "$kept" ] && { [ ! -e "$stamp" ] || [ "$(stat -c %Y "$stamp")" != "$(cat "$stamp")" ] ||
    [ -n "$(find "$out" -newermt '5 seconds' -print -quit)" ]; }; then
    long_ago=$(($(date +%s) / 2 * 2 - 100))
    find "$out" -type f -exec touch -d "@$long_ago" {} +
    put "$stamp" "$long_ago"
    touch -d "@$long_ago" "$stamp"
fi
if [ "$mode" = look ]; then
    [ ${#differences[@]} = 0 ] || echo "OUT=$out: ${joined#; }" >&2
    printf '%s\n' "${changed[@]}"
    exit 0
fi
shift # --

# Names that were used before, and are not now: their files depend on the settings, too.
ever=()
for list in LEARNERS BASELINES SEEDS; do
    was=
    [ ! -e "$kept/.$list" ] || was=$(cat "$kept/.$list")
    remembered[$list]=$(tr ' ' '\n' <<<"$was ${remembered[$list]-}" | awk 'NF && !seen[$0]++' | paste -sd ' ')
    ever+=("$list=${remembered[$list]}")
done
was=${old[EPISODES]-0}
[ "$((was))" -le "$((now[EPISODES]))" ] || ever+=("EPISODES=$((was))")
find_invalid() { # make...: the files that are there and depend on a changed setting
    local f said
    said=$("$@" -n --debug=b SETTINGS_CHANGED="${changed[*]}" "${ever[@]}" run 2>&1) || {
        printf '%s\n' "$said" | grep -F '***' >&2
        echo "OUT=$out: settings differ, and what depends on them is not known" >&2
        exit 1
    }
    while read -r f; do
        [[ $f != "$out"/* || $f == "$kept"/* || ! -f $f ]] || invalid+=("$f")
    done < <(sed -n "s/^ *Must remake target '\(.*\)'\.$/\1/p" <<<"$said")
}
if [ ! -d "$kept" ] && [ -n "$(compgen -G "$out/*.zst")" ] && [ "$rebuild" != yes ]; then
    echo "OUT=$out: has files, and nothing that says with which settings they were made; REBUILD=yes makes them anew" >&2
    exit 1
fi
mkdir -p "$kept"
# An episode that was killed between its last two acts.
find "$out" -name '*.checkpoint' | while read -r f; do
    [ ! -e "${f%.checkpoint}" ] || rm -f -- "$f"
done
if [ ${#changed[@]} -gt 0 ] && [ -n "$(find "$out" -type f ! -path "$kept/*" ! -name .lock ! -name ".jobs*" -print -quit)" ]; then
    find_invalid "$@"
    if [ ${#differences[@]} -gt 0 ] && [ ${#invalid[@]} -gt 0 ] && [ "$rebuild" != yes ]; then
        echo "OUT=$out: ${joined#; } (files made otherwise: ${#invalid[@]}); take another OUT, or REBUILD=yes makes them anew" >&2
        exit 1
    fi
    [ ${#differences[@]} = 0 ] || echo "OUT=$out: ${joined#; } (files made anew: ${#invalid[@]})"
    [ ${#invalid[@]} = 0 ] || rm -f -- "${invalid[@]}"
fi
for name in "${changed[@]}" "${first_seen[@]}"; do
    put "$kept/$name" "${now[$name]}"
done
for list in LEARNERS BASELINES SEEDS; do
    [ "$(cat "$kept/.$list" 2>/dev/null)" = "${remembered[$list]}" ] || put "$kept/.$list" "${remembered[$list]}"
done
[ -e "$stamp" ] || { printf '%s' 1000000000 >"$stamp" && touch -d @1000000000 "$stamp"; }
put "$seen" "$(for what in "${!hash_of[@]}"; do printf '%s %s\n' "${hash_of[$what]}" "$what"; done | sort)"$'\n'
