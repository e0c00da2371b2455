#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Inputs as people have them, and what becomes of each: the tables tests/cases/*.txt. A case is a
# line that begins with "==" and says what is right, then lines that begin with
#
#   +NAME     a file of that name; its text are the lines after, which begin with "|"
#   $ COMMAND what is run, by bash, in a folder of the case's own
#   > LINE    what it prints, exactly
#   ! PATTERN a line of its standard error, a shell pattern, in order; all of them
#   ? STATUS  its exit status, where that is not 0
#
# There are $plain, a folder with a small model; "model NAME": a copy of it; "texts OPTIONS": a
# record a line as the model sees it, with what is learnt in braces; and "room KIB": ulimit -v, but
# under a sanitizer, which takes more than that for itself.
set -u
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export plain=$RAISE_TESTS/fixtures/tiny-llama
model() { cp -r "$plain" "$1" && chmod -R u+w "$1"; }
texts() {
    raise-rollout -q --show 1000 "$@" >shown || return
    awk '/^ .*\|$/ {
            learnt = substr($0, 9, 1) == "*"
            text = substr($0, 12, length($0) - 12)
            printf "%s%s", learnt == was ? "" : learnt ? "{" : "}", text
            was = learnt
            next
        }
        $0 == "" { print was ? "}" : ""; was = 0 }
        / tokens: / { next }' shown
}
room() { [ -n "${RAISE_LDFLAGS:-}" ] || ulimit -v "$1"; }
export -f model texts room
export OMP_WAIT_POLICY=passive OMP_NUM_THREADS=2
n=0 n_failed=0 title='' file='' status=0
cd "$dir" || exit 1
finish() { # compares what the last command gave with what was wanted
    local i err why=''
    [ -n "$command" ] || return
    mapfile -t err <"$dir/err"
    [ "$status" = "$want_status" ] || why="exit status $status, not $want_status"
    cmp -s "$dir/out" "$dir/want" || why="$why
$(diff -u "$dir/want" "$dir/out" | tail -n +3)"
    for i in "${!err[@]}"; do
        # shellcheck disable=SC2053
        [[ ${err[i]} == ${patterns[i]-} ]] || why="$why
standard error: ${err[i]}"
    done
    [ ${#err[@]} -ge ${#patterns[@]} ] || why="$why
standard error lacks: ${patterns[${#err[@]}]}"
    n=$((n + 1))
    [ -z "$why" ] || { n_failed=$((n_failed + 1)) && printf '%s: %s\n  %s\n%s\n' "$table" "$title" "$command" "$why"; }
}
begin() { command='' want_status=0 patterns=() && : >"$dir/want"; }
for path in "$RAISE_TESTS"/cases/*.txt; do
    table=${path##*/}
    begin
    while IFS= read -r line; do
        case $line in
        '=='*)
            finish && begin
            title=${line#== }
            rm -rf "$dir/case" && mkdir "$dir/case" && cd "$dir/case" || exit 1
            ;;
        +*) file=${line#+} && mkdir -p "$(dirname "$file")" && : >"$file" ;;
        '|'*) printf '%s\n' "${line#|}" >>"$file" ;;
        '$ '*)
            finish
            begin
            command=${line#"$ "} status=0
            bash -c "$command" >"$dir/out" 2>"$dir/err" </dev/null || status=$?
            ;;
        '> '* | '>') line=${line#>} && printf '%s\n' "${line# }" >>"$dir/want" ;;
        '! '*) patterns+=("${line#! }") ;;
        '? '*) want_status=${line#? } ;;
        esac
    done <"$path"
    finish
done
echo "$n commands, $n_failed failed"
[ "$n" -ge 20 ] && [ "$n_failed" = 0 ]
