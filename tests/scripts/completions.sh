#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What bash, zsh and fish offer, in a shell of each kind: the words of a choice, files, folders,
# nothing for a number; every option that -h has. A shell that is not installed is passed over, and
# that is said.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
fail() { echo "$*"; exit 1; }
command -v python3 >/dev/null || { echo "python3 is not installed"; exit 77; }
make -s -C "$RAISE_TESTS/.." B="$RAISE_BUILD" DESTDIR= PREFIX="$dir/usr" install >log 2>&1 || { cat log; fail "install"; }
mkdir -p work/tango work/tin && cd work && touch data.jsonl

shells=()
for shell in bash zsh fish; do
    command -v "$shell" >/dev/null && { [ $shell != bash ] || [ -e /usr/share/bash-completion/bash_completion ]; } &&
        shells+=("$shell")
done

# Each file is of its shell's grammar and has every option.
for program in embed cluster ppo rollout export plan eval view; do
    raise-$program -h | sed -nE 's/^  (-., |    )--([a-z-]+).*/\2/p' >../options
    [ "$(wc -l <../options)" -ge 8 ] || fail "raise-$program: no options in -h"
    for shell in bash zsh fish; do
        raise-$program --completions $shell >../script
        ! command -v $shell >/dev/null || $shell -n ../script || fail "raise-$program: $shell -n"
        while read -r option; do
            grep -qE -- "(--|-l )$option\b" ../script || fail "raise-$program: $shell does not know --$option"
        done <../options
    done
done
raise-view --completions tcsh 2>../err && fail "tcsh"
grep -q "'tcsh' is not one of bash, zsh, fish" ../err || fail "tcsh: $(cat ../err)"

# A line a row; then words that are offered, and !words that are not.
cat >../rows <<'END'
raise-embed --overlong :cut drop fail !data.jsonl
raise-rollout --device=c:cpu cuda !data.jsonl
raise-rollout --lora-targets q,:gate down !data.jsonl
raise-embed --template s:mollm2
raise-embed --columns :chars_y n_turns
raise-ppo --without :semantic
raise-export -w :step reward
raise-rollout --save-adapter t:tango tin
raise-rollout --save-adapter :tango !data.jsonl
raise-rollout -T :!data.jsonl
raise-rollout -d da:ta.jsonl
raise-view da:ta.jsonl
raise-eval -t 3 :choice compare gsm8k loss
raise-plan -T 4 :random best-of
raise-plan --max-c:osine
END
mapfile -t lines < <(cut -d: -f1 ../rows)
offered() { # shell: "## LINE" and what it shows, for each
    if [ "$1" = fish ]; then
        for line in "${lines[@]}"; do
            echo "## $line" && XDG_DATA_DIRS=$dir/usr/share HOME=$dir fish -c "complete -C '$line'"
        done
    else
        timeout 100 "$RAISE_TESTS/complete.py" "$1" "$dir/usr/share" "${lines[@]}"
    fi
}
for shell in "${shells[@]}"; do
    offered "$shell" >../shown || fail "$shell: $(cat ../shown)"
    while IFS=: read -r line words; do
        awk -v head="## $line" '/^## / { on = $0 == head; next } on' ../shown >../here
        for word in $words; do
            if [[ $word == !* ]]; then
                ! grep -qF -- "${word#!}" ../here || fail "$shell: '$line' offers ${word#!}: $(cat ../here)"
            else
                grep -qF -- "$word" ../here || fail "$shell: '$line' does not offer $word: $(cat ../here)"
            fi
        done
    done <../rows
done
if [ ${#shells[@]} -lt 3 ]; then echo "tried in ${shells[*]:-no shell} only: others, or bash-completion, are not installed" && exit 77; fi
