#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# pipelines/gsm8k.mk on a tiny model: everything is made once; a file that is removed is made again,
# the same; a learner or seed that is added is run; a run that was killed goes on to the same bytes.
set -eu
# shellcheck source=tests/pipeline.sh
. "$RAISE_TESTS/pipeline.sh"

go a || fail "the run failed"
# The end of a run: where it all is, and what a trainer needs, with the word that keeps the order.
l=a/reward-model/s1
for words in "$l/subset.jsonl" "$l/adapter/" 'a/report.html' "llamafactory-cli train $l/train-llamafactory.yaml" \
    "trl sft --config $l/train-trl.yaml" "axolotl train $l/train-axolotl.yaml"; do
    told "$words"
done
[ "$(wc -l <a/table.csv)" = 4 ] # the heading, none, random, the learner
[ "$(wc -l <a/reward-model/s1/subset.jsonl)" = 8 ]
go a -q || fail "something is left to do"

keeps() { # trainer line...: its file has these lines
    local f=$l/train-$1.yaml line
    shift
    for line; do grep -qxF -- "$line" "$f" || fail "$f has not: $line"; done
}
keeps llamafactory 'disable_shuffling: true' 'dataset: subset' "dataset_dir: $dir/$l" "model_name_or_path: $(realpath "$model")" \
    'lora_rank: 16' 'lora_alpha: 32' 'gradient_accumulation_steps: 4' 'learning_rate: 0.0003' 'warmup_steps: 0' 'cutoff_len: 256' \
    "# template: the model's own; RAISE trained with plain"
keeps trl 'train_sampling_strategy: sequential' 'shuffle_dataset: false' "    data_files: $dir/$l/subset.messages.jsonl" 'assistant_only_loss: true'
keeps axolotl 'shuffle_merged_datasets: false' 'curriculum_sampling: true' 'sample_packing: false' "  - path: $dir/$l/subset.messages.jsonl"
grep -qF '"file_name": "subset.messages.jsonl"' $l/dataset_info.json || fail "dataset_info.json"
raise-export -q -f messages $l/final.st.zst pool.jsonl | cmp - a/reward-model/s1/subset.messages.jsonl
trainers() { # variables...: of a copy
    rm -rf copy && mkdir copy && cp a/reward-model/s1/final.st.zst copy/
    bash "$pipelines/trainers.sh" BIN="$RAISE_BUILD/" FINAL=copy/final.st.zst POOL=pool.jsonl MODEL=org/name TEMPLATE=chatml MAX_LENGTH=0 "$@"
}
trainers
l=copy
keeps llamafactory 'finetuning_type: full' 'template: chatml' 'model_name_or_path: org/name' 'cutoff_len: 2048'
if grep -q 'lora' copy/train-*.yaml; then fail "LoRA where there was none"; fi
trainers MODEL=org/name@v1
keeps llamafactory 'model_name_or_path: org/name' 'model_revision: v1'
keeps trl 'model_name_or_path: org/name' 'model_revision: v1'
keeps axolotl 'base_model: org/name' 'revision_of_model: v1'
trainers MODEL=x/some.gguf
keeps trl 'model_name_or_path: /path/to/model  # the folder that some.gguf was made from: a GGUF file cannot be trained there'
if trainers POOL=val.jsonl >log 2>&1; then fail "another pool"; fi
[ ! -e copy/subset.messages.jsonl ] || fail "records of another pool"

cp -r a kept
rm a/reward-model/s1/traj.2.st.zst
if go a -q; then fail "a missing trajectory is not missed"; fi
go a || fail "the run did not go on"
cmp a/reward-model/s1/traj.2.st.zst kept/reward-model/s1/traj.2.st.zst
cmp a/reward-model/s1/subset.jsonl kept/reward-model/s1/subset.jsonl

go a LEARNERS="reward-model ppo" SEEDS="1 2" || fail "more learners and seeds"
[ "$(wc -l <a/table.csv)" = 9 ] # 2 none, 2 random, 2 and 2 learners'
cmp a/reward-model/s1/final.st.zst kept/reward-model/s1/final.st.zst

# Killed between two files, and in the middle of one. (Provenance names the paths, which differ.)
go b -k RUN=false && fail "it cannot have run"
go b b/reward-model/s1/traj.1.st.zst || fail "an episode alone"
n_killed=0
for seconds in 0.001 0.003 0.006 0.01 0.015; do
    go b RUN="timeout -s KILL $seconds" || n_killed=$((n_killed + 1))
done
[ "$n_killed" -gt 0 ] || fail "it was too quick to be killed"
go b || fail "the killed run did not go on"
cmp a/reward-model/s1/subset.jsonl b/reward-model/s1/subset.jsonl

# An episode that was killed goes on at its last checkpoint; one whose trajectory stands has none.
cat >once.sh <<'SH'
#!/bin/bash
[[ "$*" == *traj.1.st.zst* && ! -e killed ]] || exec "$@"
"$@" &
for ((i = 0; i < 2000; i++)); do
    [ -e c/reward-model/s1/traj.1.st.zst.checkpoint ] && break
    sleep 0.01
done
kill -KILL $! && touch killed
wait $!
SH
chmod +x once.sh
if go c STEPS=12 CHECKPOINT=1 RUN=./once.sh; then [ ! -e killed ] || fail "it cannot have run"; fi
go c STEPS=12 CHECKPOINT=1 V=1 || fail "the killed episode did not go on"
[ ! -e killed ] || told 'traj.1.st.zst.checkpoint: goes on after step'
touch c/reward-model/s1/traj.2.st.zst.checkpoint
go c STEPS=12 || fail "without checkpoints"
[ -z "$(find c -name '*.checkpoint')" ] || fail "a checkpoint is left"
go d STEPS=12 || fail "the whole run"
cmp c/reward-model/s1/subset.jsonl d/reward-model/s1/subset.jsonl
