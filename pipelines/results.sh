#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Results as data, and whether they can be had again.
#
#   results.sh write OUT FILE BIN COMMAND POOL/TARGET:BASE ...
#   results.sh figure OUT FILE BIN COMMAND TABLE
#   results.sh check OUT FILE BIN METHODS MAKE POOL/TARGET VARIABLES ...
#
# write: OUT/table.csv of a proof, with lines before it, each "# key value":
#
#   command, date, machine, version, arithmetic
#   base POOL/TARGET NAME          the makefile of that run
#   setting POOL/TARGET NAME VALUE the variables of that run that are not empty
#   input POOL/TARGET NAME HASH    the hash of a file that one of them names; of a folder one for each
#
# figure: the same of OUT/TABLE, a table of one run: without pairs, and without what the run's methods have of
# their own, which the command tells.
#
# check: makes the first seed of some METHODS of FILE anew, in OUT, by the settings of FILE, with the files
# that VARIABLES name for each pair; and compares the test losses. On other arithmetic than that of FILE they
# may differ by 0.01, else by 1e-6 (TOLERANCE=). Exit status 1 if one differs, or none was compared.
set -euo pipefail
export LC_ALL=C
mode=$1 out=$2 file=$3 bin=$4
[ -n "$file" ] || { echo "RESULTS= names the file of results" >&2; exit 1; }
inputs='^(POOL|VAL|TEST|MODEL|VAL_CSV|TEST_CSV|POOL_.*)$'

arithmetic() { # run's folder
    local last
    last=$(find "$1" -name final.st.zst | sort | head -n 1)
    "${bin}raise-view" --history "$last" | sed -n 's/^raise-rollout [^,]*, seed [^,]*, \([^:]*\):.*/\1/p' | tail -n 1
}
machine() {
    echo "$(uname -sm), $(nproc) x $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)," \
        "$(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo)"
}
settings_of() { # pair: "setting" and "input" lines
    local f name
    for f in "$out/$1"/settings/*; do
        name=${f##*/}
        if [ ! -s "$f" ] || [ "$name" = TABLE ]; then continue; fi
        if [[ $name =~ $inputs && $name != POOL_OPTS ]]; then
            sed "s|^|# input $1 $name |" "$f"
        else
            head -n 1 "$f" | sed -n "s|^..*|# setting $1 $name &|p"
        fi
    done
}
head_of() { # command folder
    echo "# command $1"
    echo "# date $(date -u +%Y-%m-%d)"
    echo "# machine $(machine)"
    echo "# version $("${bin}raise-view" -V | head -n 1)"
    echo "# arithmetic $(arithmetic "$2")"
}
if [ "$mode" = figure ]; then
    {
        head_of "$5" "$out"
        settings_of . | sed 's|^# \([a-z]*\) \. |# \1 |' | grep -vE '^# setting (LEARNER|PLAN|OWN|[A-Z]*_OPTS)_'
        cat "$out/$6"
    } >"$file.tmp"
    mv "$file.tmp" "$file"
    exit 0
fi
if [ "$mode" = write ]; then
    command=$5
    shift 5
    {
        head_of "$command" "$out/${1%:*}"
        for x; do
            echo "# base ${x%:*} ${x##*:}"
            settings_of "${x%:*}"
        done
        cat "$out/table.csv"
    } >"$file.tmp"
    mv "$file.tmp" "$file"
    exit 0
fi

[ -r "$file" ] || { echo "RESULTS=$file: there is no such file" >&2; exit 1; }
methods=$5 make=$6
shift 6
mkdir -p "${out%/*}"
told() { sed -n "s|^# $1 ||p" "$file"; } # key [pair]: its values
seed=$(awk -F, '!/^#/ && $4 ~ /^[0-9]+$/ { print $4; exit }' "$file")
learners_known="|$("${bin}raise-ppo" -h | tr -s '\n ' ' ' | sed -n 's/.*--learner NAME [^:]*: \([a-z|-]*\) .*/\1/p')|"
n_compared=0 status=0
while [ $# -ge 2 ]; do
    pair=$1 variables=$2 arguments=() learners='' baselines=''
    shift 2
    base=$(told "base $pair")
    [ -n "$base" ] || { echo "$file: has no $pair" >&2; exit 1; }
    while read -r name value; do
        case $name in
        OWN_*)
            rest=
            for word in $value; do
                case $word in
                POOL) ;;
                [A-Z]*=*) arguments+=("${word%%=*}_${name#OWN_}=${word#*=}") ;;
                *) rest+=" $word" ;;
                esac
            done
            [ -z "$rest" ] || arguments+=("DEPLOY_OPTS_${name#OWN_}=${rest# }")
            ;;
        *) arguments+=("$name=$value") ;;
        esac
    done < <(told "setting $pair")
    for m in $methods; do
        if [[ $learners_known == *"|$(told "setting $pair LEARNER_$m" | grep . || echo "$m")|"* ]]; then
            learners+="$m "
        else
            baselines+="$m "
        fi
    done
    eval "own=($variables)"
    # shellcheck disable=SC2154
    $make -f "${0%/*}/$base.mk" OUT="$out/$pair" "${arguments[@]}" SEEDS="$seed" LEARNERS="$learners" BASELINES="$baselines" "${own[@]}" \
        "$out/$pair/table.csv" >"$out.log" 2>&1 || { tail -n 5 "$out.log" >&2; exit 1; }
    if ! diff <(grep "^# input $pair " "$file" | grep -v ' POOL_') <(settings_of "$pair" | grep '^# input' | grep -v ' POOL_') >&2; then
        echo "$pair: other files than those of $file" >&2
        exit 1
    fi
    tolerance=${TOLERANCE:-1e-6}
    if [ "$(arithmetic "$out/$pair")" != "$(told arithmetic)" ]; then
        echo "$pair: arithmetic $(arithmetic "$out/$pair"), of $file $(told arithmetic)"
        tolerance=${TOLERANCE:-0.01}
    fi
    awk -F, -v pair="$pair" -v methods=" $methods " -v tolerance="$tolerance" '
        FNR == 1 { file++ }
        file == 1 { again[$1, $2] = $4; next }
        !/^#/ && $1 "/" $2 == pair && index(methods, " " $3 " ") && ($3, $4) in again {
            d = again[$3, $4] - $7
            is_same = d <= tolerance && -d <= tolerance
            printf "%s: %s, seed %s: %.9g, was %.9g%s\n", pair, $3, $4, again[$3, $4], $7, is_same ? "" : ": not within " tolerance
            n++; n_bad += !is_same
        }
        END { exit !n || n_bad }' "$out/$pair/table.csv" "$file" || status=1
    n_compared=$((n_compared + 1))
done
[ $n_compared -gt 0 ] || { echo "nothing was compared" >&2; exit 1; }
exit $status
