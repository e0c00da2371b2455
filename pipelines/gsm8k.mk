# SPDX-License-Identifier: MIT
# Which of DATA's instructions make MODEL good at VAL's problems, measured on TEST.
#
#     make -f pipelines/gsm8k.mk MODEL=SmolLM2.gguf DATA=alpaca_data.json.zst \
#         VAL=gsm8k_train.jsonl.zst TEST=gsm8k_test.jsonl.zst LIMIT=4000
#
# Kill it at will; the same command goes on. -jN runs N episodes side by side (give each its
# share with THREADS=); RUN='srun -n1 --gpus=1' hands every heavy command to a cluster.
# Variables: those of pipelines/raise.mk, and
#   LIMIT   use a seeded sample of this many records of DATA; 0: all
#   STEPS   T; by default 1 % of EPOCHS (3) epochs' steps on the pool, at least 5
#   TEST_LIMIT   test problems that count; 0: all
#   CLASSES [1]  each class gets its share of every batch, so at C classes no more than a C-th of
#                a batch is of one kind, and a narrow target such as this one wants one kind

DATA ?= $(error DATA= names the instruction dataset)
VAL ?= $(error VAL= names the validation problems)
TEST ?= $(error TEST= names the test problems)
MODEL ?= $(error MODEL= names a Hugging Face folder or a .gguf file)
OUT ?= build/gsm8k
LIMIT ?= 0
TEST_LIMIT ?= 200
VAL_LIMIT ?= 32
EPOCHS ?= 3
BATCH ?= 16
EPISODES ?= 20
SEEDS ?= 1
PERCENT ?= 1
# 1,900 Alpaca and 100 GSM8K records, SmolLM2-135M, 10 steps of 16, 5 episodes, one seed: with one
# class the reward model took 85 of the 100 (test loss 1.101) and PPO 79 (1.093), with four the
# reward model 47 (1.119); random choice 10 (1.216), RDS 100 (1.079), no training 1.437.
CLASSES ?= 1

POOL = $(DATA)
# Records without an answer (Alpaca-52K has 28) are skipped, counted and listed.
POOL_OPTS = --on-error skip $(if $(filter-out 0,$(LIMIT)),--limit $(LIMIT) --sample -s 1)
# RDS needs embeddings of the validation records that the reward is measured on, not of all.
VAL_EMBED_OPTS = --limit $(VAL_LIMIT) --sample -s 1
STEPS ?= $(shell n=$(LIMIT); [ $$n -gt 0 ] || n=52002; t=$$((n * $(EPOCHS) * $(PERCENT) / 100 / $(BATCH))); echo $$((t > 5 ? t : 5)))
ROLLOUT_OPTS ?= --test-limit $(TEST_LIMIT)

.PHONY: gsm8k
gsm8k: run

include $(dir $(lastword $(MAKEFILE_LIST)))raise.mk
