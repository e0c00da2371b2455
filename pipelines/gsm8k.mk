# SPDX-License-Identifier: MIT
# Which of DATA's instructions make MODEL good at VAL's problems, measured on TEST.
#
#     make -f pipelines/gsm8k.mk MODEL=SmolLM2.gguf DATA=alpaca_data.json.zst \
#         VAL=gsm8k_train.jsonl.zst TEST=gsm8k_test.jsonl.zst LIMIT=4000
#
# `make -f pipelines/gsm8k.mk help` lists the variables. Kill it at will; the same command goes
# on. -jN runs learners, seeds, baselines and the episodes of one update side by side (give each its
# share with THREADS=); RUN='srun -n1 --gpus=1' hands every heavy command to a cluster.

## the instruction dataset
DATA ?= $(error DATA= names the instruction dataset)
## the target: problems like those that the model should get good at
VAL ?= $(error VAL= names the validation problems)
## other problems of that kind
TEST ?= $(error TEST= names the test problems)
## a Hugging Face folder or a GGUF file
MODEL ?= $(error MODEL= names a Hugging Face folder or a .gguf file)
## folder of the run
OUT ?= build/gsm8k
## use a seeded sample of this many records of DATA; 0: all
LIMIT ?= 0
## records of TEST, the first; 0: all
TEST_LIMIT ?= 200
## a run of everything for each
SEEDS ?= 1
# 1,900 Alpaca and 100 GSM8K records, SmolLM2-135M, 10 steps of 16, 5 episodes, one seed: with one
# class the reward model took 85 of the 100 (test loss 1.101) and PPO 79 (1.093), with four the
# reward model 47 (1.119); random choice 10 (1.216), RDS 100 (1.079), no training 1.437.
## classes; at C of them no more than a C-th of a batch is of one kind, and a narrow target wants one
CLASSES ?= 1

POOL = $(DATA)
INPUTS = DATA VAL TEST
SIZES = LIMIT
# Records without an answer (Alpaca-52K has 28) are skipped, counted and listed.
POOL_OPTS = --on-error skip $(if $(filter-out 0,$(LIMIT)),--limit $(LIMIT) --sample -s 1)

.PHONY: gsm8k
gsm8k: run

include $(dir $(lastword $(MAKEFILE_LIST)))raise.mk
