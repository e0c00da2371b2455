#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# -h of every program: on standard output, status 0, within 80 columns; and options that stand in
# several programs read the same in all of them.
set -eu
# shellcheck source=tests/scratch.sh
. "$RAISE_TESTS/scratch.sh"
needs python3
for program in "$RAISE_BUILD"/raise-*; do
    if [ ! -x "$program" ] || [ ! -f "$program" ] || [[ $program == *.so ]]; then continue; fi
    name=${program##*/}
    "$program" -h >"$name" 2>err
    [ ! -s err ]
    awk -v name="$name" 'length > 80 { print name ": " $0; bad = 1 } END { exit bad }' "$name"
done
[ -s raise-embed ] && [ -s raise-rollout ]
for option in model adapter template max-length on-error precision device force output threads seed; do
    sed -n "s/^  \(-., \|    \)--$option /& /p" raise-* | sed 's/ \[.*//' | sort -u >lines
    [ "$(wc -l <lines)" = 1 ] || { echo "--$option reads differently:" && cat lines && exit 1; }
done

# Every help ends with two examples at least, of options that it has.
for name in raise-*; do
    sed -n '/^Examples:/,$p' "$name" | sed -e ':a' -e '/\\$/{N;s/\\\n *//;ta' -e '}' >examples
    [ "$(grep -c "^  $name \|| $name " examples)" -ge 2 ] || { echo "$name: no two examples" && exit 1; }
    # shellcheck disable=SC2013
    for option in $(grep "^  $name " examples | sed 's/|.*//' | grep -oE ' --?[A-Za-z][a-z-]*' | sort -u); do
        grep -qE -- "^ ( |.*, )*($option|-., $option)[, ]|^  $option, " "$name" ||
            { echo "$name: an example has $option, which is no option" && exit 1; }
    done
done

# A letter means the same in every program, and raise(7) has it so.
cat raise-* | sed -n 's/^  -\(.\), --\([a-z-]*\).*/\1 \2/p' | sort -u >letters
[ -z "$(cut -d' ' -f1 letters | uniq -d)" ] || { echo "letters of two meanings:" && cat letters && exit 1; }
sed -n 's/^\.It Fl \(.\) Ta Fl -\([a-z-]*\) Ta .*/\1 \2/p' "$RAISE_TESTS/../man/raise.7" | sort >table
diff letters table

# Old letters, other programs' names and slips.
says() { # status text command...
    local status=0
    "${@:3}" >out 2>err </dev/null || status=$?
    { [ $status = "$1" ] && grep -qF -- "$2" err; } || { echo "${*:3}: status $status, expected '$2' in" && cat err && exit 1; }
}
says 2 '-d: 0 is not between' raise-embed -d 0
says 2 '-B: 0 is not between' raise-plan -B 0
says 2 '-k: -1 is not between' raise-rollout -k -1
says 2 "-f: 'x' is not one of" raise-export -f x
says 2 "--lr: 'x' is not a number" raise-rollout --learning_rate x
says 2 "--batch: 'x' is not a whole number" raise-rollout --per_device_train_batch_size=x
says 2 "--max-length: 'x' is not a whole number" raise-embed --cutoff-len x
says 2 "'--output-dir': did you mean --output? (try -h)" raise-rollout --output_dir x
says 2 "'--bf16': did you mean --precision?" raise-rollout --bf16
says 2 "'--seeed': did you mean --seed?" raise-plan --seeed 3
says 2 "'--learning-ratte': did you mean --lr?" raise-rollout --learning_ratte=3
says 2 "unknown option '--quite-another-thing' (try -h)" raise-plan --quite-another-thing
says 2 "option '--lora' may be --lora-rank, --lora-alpha, --lora-targets" raise-rollout --lora 3
says 2 "the file stands without one: raise-embed -m MODEL" raise-embed --dataset x
says 2 "unknown option '-Z'" raise-view -Z

# Started on a terminal without a word: what it reads, with the examples.
for name in raise-*; do
    [ -x "$RAISE_BUILD/$name" ] || continue
    python3 -c 'import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))' \
        "$RAISE_BUILD/$name" </dev/null | tr -d '\r' >short
    { grep -q '^It reads' short && grep -q '^Examples:' short && grep -q "^Usage: $name" short; } ||
        { echo "$name:" && cat short && exit 1; }
    awk -v name="$name" 'length > 80 { print name ": " $0; bad = 1 } END { exit bad }' short
done
