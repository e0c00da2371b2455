#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Checks a pipeline's settings: check.sh KIND:NAME VALUE ... prints one line about the first that
# is wrong, nothing if none is. Exit status 0 either way: make shows the line.
LC_ALL=C

wrong() { # text
    printf '%s=%s: %s\n' "$name" "$value" "$1"
    exit 0
}

# Make and the shell would cut, match or run a path with such characters.
path() {
    case $value in
    '') printf '%s= is empty\n' "$name" && exit 0 ;;
    -*) wrong "a path that begins with -" ;;
    *[[:space:]]*) wrong "a path with a blank in it" ;;
    *:*) wrong "a path with a colon in it" ;;
    *[]\[\{\}\(\)*?\<\>\|\&\;\#%\$\'\"\`\\~!=]*) wrong "a path with one of []{}()*?<>|&;#%\$'\"\`\\~!= in it" ;;
    esac
}
file() {
    [ ! -d "$value" ] || wrong "is a folder, not a file"
    [ -r "$value" ] || wrong "there is no such file"
}
model() { # org/name may be found elsewhere: the programs know
    [[ -e $value || $value =~ ^[^./][^/]*/[^/@]+(@.+)?$ && $value != *.gguf ]] || wrong "there is no such folder or file"
}
template() { # a name has neither / nor .
    [[ $value != *[./]* || -r $value ]] || wrong "there is no such file"
}
program() {
    [ -n "$(command -v "${value%./}raise-embed" "${value}raise-embed")" ] ||
        wrong "there is no raise-embed; build it (make) or say where it is"
}

whole() { # text: a decimal number
    case $1 in
    '' | *[!0-9]*) return 1 ;;
    0?*) wrong "$1 begins with 0; write numbers in decimal, without it" ;;
    esac
    [ ${#1} -le 18 ]
}
count() { whole "$value" || wrong "not a whole number"; }
positive() { { whole "$value" && [ "$value" -ge 1 ]; } || wrong "not a whole number of at least 1"; }
size() { whole "${value%[kKMG]}" || wrong "not a whole number (k, M and G are allowed)"; }
every() { # steps or seconds; empty: never
    [[ -z $value || $value =~ ^[1-9][0-9]{0,8}s?$ ]] || wrong "neither a number of steps nor of seconds (600s)"
}
real() {
    [[ $value =~ ^([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$ && $value =~ ^[^eE]*[1-9] ]] ||
        wrong "not a number above 0"
}

once() { # words: none twice
    local seen=' ' w
    for w; do
        [[ $seen != *" $w "* ]] || wrong "$w stands there twice"
        seen="$seen$w "
    done
}
words() { read -ra list <<<"$value"; }
seeds() {
    words
    [ ${#list[@]} -gt 0 ] || { printf '%s= is empty: at least one seed is needed\n' "$name" && exit 0; }
    for w in "${list[@]}"; do
        whole "$w" || wrong "$w is not a whole number"
    done
    once "${list[@]}"
}
names() { # of folders and of rows in tables
    words
    for w in "${list[@]}"; do
        [[ $w =~ ^[A-Za-z][A-Za-z0-9_-]*$ ]] || wrong "$w: a name has letters, digits, - and _"
        [[ ! $w =~ ^(none|s[0-9]+)$ ]] || wrong "the name $w means something else"
    done
    once "${list[@]}"
}

while [ $# -ge 2 ]; do
    name=${1#*:} value=$2
    "${1%%:*}"
    shift 2
done
