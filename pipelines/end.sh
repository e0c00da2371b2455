#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The last words of a run: end.sh OUT LEARNERS SEED tells where the best learner's files are, and the
# next commands.
set -euo pipefail
export LC_ALL=C
out=$1 learners=$2 seed=$3 here=${BASH_SOURCE%/*}
best=$(awk -F, -v learners="$learners" -v part=best -f "$here"/results.awk -f "$here"/html.awk -f "$here"/report-table.awk "$out/table.csv")
[ -n "$best" ] || exit 0
folder=$out/$best/s$seed
line() { printf '  %-14s %s\n' "$@"; }
echo
echo "Of $best, seed $seed:"
line 'its choice' "$folder/subset.jsonl"
if [ -d "$folder/adapter" ]; then line 'the adapter' "$folder/adapter/"; fi
if [ -d "$folder/model" ]; then line 'the model' "$folder/model/"; fi
line 'all of it' "$out/report.html, by the same command with \"report\" behind it"
echo 'To train on its choice in its order (each file says what keeps it):'
line LLaMA-Factory "llamafactory-cli train $folder/train-llamafactory.yaml"
line TRL "trl sft --config $folder/train-trl.yaml"
line axolotl "axolotl train $folder/train-axolotl.yaml"
