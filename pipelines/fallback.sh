#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Is what was learnt better than what was known? fallback.sh BIN FINAL LEARNED OTHER... takes the last
# episodes of one seed, all measured on the same validation records, and keeps as FINAL, with its
# adapter or model beside it, the one that ends with the least validation loss, the learned one of
# equals. Beside FINAL, kept.csv: method,seed,contender,validation_loss,kept; no loss: it did not end well.
set -euo pipefail
export LC_ALL=C
bin=$1 final=$2
shift 2
folder=${final%/*}
seed=${folder##*/s} method=${folder%/*}
method=${method##*/}

loss_of() { # nothing, where it did not end well
    [ "$("$bin"raise-view --meta raise.status "$1")" != ok ] || "$bin"raise-view --table perf "$1" | awk 'END { printf "%.17g", -$NF }'
}
name_of() {
    local at=${1%/*}
    case ${at##*/} in
    learned) echo learned ;;
    *) at=${at%/*} && echo "${at##*/}" ;;
    esac
}

losses=()
for file; do
    losses+=("$(loss_of "$file")")
done
best=$(printf '%s\n' "${losses[@]}" | awk '$1 != "" && (!at || $1 < least) { at = NR; least = $1 } END { print at ? at : 1 }')
kept=${!best}

k=0
for file; do
    k=$((k + 1))
    echo "$method,$seed,$(name_of "$file"),${losses[k - 1]},$((k == best))"
done >"$folder/kept.csv.tmp"
mv "$folder/kept.csv.tmp" "$folder/kept.csv"

# Models are large: the same file twice, where the file system can.
for what in adapter model; do
    rm -rf "${folder:?}/$what"
    [ ! -e "${kept%/*}/$what" ] || cp -rl "${kept%/*}/$what" "$folder/$what" 2>/dev/null || {
        rm -rf "${folder:?}/$what"
        cp -r "${kept%/*}/$what" "$folder/$what"
    }
done
cp "$kept" "$final.tmp"
mv "$final.tmp" "$final"
