#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Writes, beside the chosen records of a method and seed, what the common trainers need to train on
# them as the last episode did, in the same order: trainers.sh NAME=VALUE ... with BIN, FINAL (the last
# episode), MODEL, POOL, TEMPLATE, MAX_LENGTH.
#
#   subset.messages.jsonl     the records as conversations, and dataset_info.json, LLaMA-Factory's
#                             entry for them
#   train-llamafactory.yaml train-trl.yaml train-axolotl.yaml
#
# Each of them shuffles unless it is told not to: disable_shuffling of LLaMA-Factory (0.9), of the
# transformers' Trainer, which TRL's is, train_sampling_strategy (transformers 5), and of axolotl
# shuffle_merged_datasets, before it packs, and curriculum_sampling, as it draws.
set -euo pipefail
LC_ALL=C
BIN='' FINAL='' MODEL='' POOL='' TEMPLATE='' MAX_LENGTH=''
for a; do
    declare "${a%%=*}=${a#*=}"
done
folder=$(realpath -- "${FINAL%/*}")
subset=$folder/subset.messages.jsonl
meta() { "${BIN}raise-view" --meta "raise.$1" "$FINAL"; }

rm -f "$subset"

# The last episode's own numbers.
n_steps=$(meta n_steps) batch=$(meta batch)
lrs=$("${BIN}raise-view" --table lr "$FINAL")
read -r lr warmup < <(awk 'NR > 1 && $1 > max { max = $1; at = NR - 1 } END { printf "%.9g %d\n", max, (at > 1 ? at : 0) }' <<<"$lrs")
[ "$MAX_LENGTH" != 0 ] || MAX_LENGTH=2048
number() { sed -n "s/^ *\"$1\": \([0-9.]*\),*$/\1/p" "$folder/adapter/adapter_config.json"; } # of adapter_config.json
is_lora='' rank='' alpha='' targets=''
if [ -e "$folder/adapter/adapter_config.json" ]; then
    is_lora=yes rank=$(number r) alpha=$(number lora_alpha)
    targets=$(sed -n '/"target_modules"/,/\]/s/^ *"\([a-z_]*\)",*$/\1/p' "$folder/adapter/adapter_config.json" | paste -sd, | sed 's/,/, /g')
fi
if [ -d "$MODEL" ]; then
    model=$(realpath -- "$MODEL") model_note=
elif [[ $MODEL == *.gguf || -e $MODEL ]]; then
    model=/path/to/model model_note="  # the folder that $(basename -- "$MODEL") was made from: a GGUF file cannot be trained there"
else
    model=$MODEL model_note=
fi
revision=
if [[ -z $model_note && ! -e $MODEL && $model == *@* ]]; then revision=${model#*@} model=${model%%@*}; fi
case $TEMPLATE in
alpaca | chatml | llama2 | llama3 | mistral | gemma | vicuna) template="template: $TEMPLATE" ;;
*) template="# template: the model's own; RAISE trained with $TEMPLATE" ;;
esac
head() { # trainer command
    echo "# $2"
    echo "# $n_steps steps of $batch records in the order of $subset:"
    echo "# what RAISE's last episode did, by $1. Mind the order: without the last lines it shuffles."
}

{
    head LLaMA-Factory "llamafactory-cli train train-llamafactory.yaml"
    cat <<YAML
model_name_or_path: $model$model_note${revision:+
model_revision: $revision}
stage: sft
do_train: true
dataset: subset
dataset_dir: $folder
$template
cutoff_len: $MAX_LENGTH
output_dir: $folder/llamafactory
$(if [ -n "$is_lora" ]; then printf '%s\n' 'finetuning_type: lora' "lora_rank: $rank" "lora_alpha: ${alpha%.0}" 'lora_dropout: 0.0' "lora_target: ${targets//, /,}"; else echo 'finetuning_type: full'; fi)
per_device_train_batch_size: 1
gradient_accumulation_steps: $batch
num_train_epochs: 1.0
learning_rate: $lr
lr_scheduler_type: constant_with_warmup
warmup_steps: $warmup
disable_shuffling: true
YAML
} >"$folder/train-llamafactory.yaml"

{
    head TRL "trl sft --config train-trl.yaml"
    cat <<YAML
model_name_or_path: $model$model_note${revision:+
model_revision: $revision}
datasets:
  - path: json
    data_files: $subset
    columns: [messages]
assistant_only_loss: true
max_length: $MAX_LENGTH
output_dir: $folder/trl
$([ -z "$is_lora" ] || printf '%s\n' 'use_peft: true' "lora_r: $rank" "lora_alpha: ${alpha%.0}" 'lora_dropout: 0.0' "lora_target_modules: [$targets]")
per_device_train_batch_size: 1
gradient_accumulation_steps: $batch
num_train_epochs: 1
learning_rate: $lr
lr_scheduler_type: constant_with_warmup
warmup_steps: $warmup
shuffle_dataset: false
train_sampling_strategy: sequential
YAML
} | sed '/^$/d' >"$folder/train-trl.yaml"

{
    head axolotl "axolotl train train-axolotl.yaml"
    cat <<YAML
base_model: $model$model_note${revision:+
revision_of_model: $revision}
datasets:
  - path: $subset
    ds_type: json
    type: chat_template
    field_messages: messages
sequence_len: $MAX_LENGTH
output_dir: $folder/axolotl
$([ -z "$is_lora" ] || printf '%s\n' 'adapter: lora' "lora_r: $rank" "lora_alpha: ${alpha%.0}" 'lora_dropout: 0.0' "lora_target_modules: [$targets]")
micro_batch_size: 1
gradient_accumulation_steps: $batch
num_epochs: 1
optimizer: adamw_torch
learning_rate: $lr
lr_scheduler: constant_with_warmup
warmup_steps: $warmup
val_set_size: 0
sample_packing: false
shuffle_merged_datasets: false
curriculum_sampling: true
YAML
} | sed '/^$/d' >"$folder/train-axolotl.yaml"
"${BIN}raise-export" -q -F messages --stanza "$folder/dataset_info.json" -o "$subset" "$FINAL" "$POOL"
