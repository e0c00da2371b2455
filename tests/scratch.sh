# SPDX-License-Identifier: MIT
# For the scripts that test programs: a scratch folder to work in, a model so small that it loads at
# once, and records to make data of. What a script cannot do without it says by `needs COMMAND...`.
# shellcheck shell=bash
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
export OMP_WAIT_POLICY=passive
# shellcheck disable=SC2034
model=$RAISE_TESTS/fixtures/tiny-llama

needs() { # command...
    for need; do
        command -v "$need" >/dev/null || { echo "$need is not installed"; exit 77; }
    done
}
compiler() { # ${cc[@]} is how the programs were compiled, a launcher before it too
    read -ra cc <<<"${CC:-cc}"
    needs "${cc[0]}"
}
records() { # tag number
    awk -v tag="$1" -v n="$2" 'BEGIN { for (i = 0; i < n; i++)
        printf "{\"prompt\":\"%s %d\",\"completion\":\"%d and %d\"}\n", tag, i, i % 7, i * i }'
}
