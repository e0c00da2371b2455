# SPDX-License-Identifier: MIT
# Which of DATA's instructions make MODEL good at VAL's problems, measured on TEST.
#
#     make -f pipelines/gsm8k.mk MODEL=SmolLM2.gguf DATA=alpaca_data.json.zst \
#         VAL=gsm8k_train.jsonl.zst TEST=gsm8k_test.jsonl.zst LIMIT=4000
#
# `make -f pipelines/gsm8k.mk help` lists the variables. Kill it at will; the same command goes
# on. -jN runs learners, seeds, baselines and the episodes of one update side by side (give each its
# share with THREADS=); RUN='srun -n1 --gpus=1' hands every heavy command to a cluster.
#
# Is what was learnt of use elsewhere? Further tests, out of the target's domain:
#
#     EXTRA_CHOICE='mmlu/test/college_mathematics_test.csv mathqa_test.json'
#
# are asked in the end (eval.csv), of the untrained model as of every method's. EVAL=gsm8k has them write
# answers to TEST's problems, EVAL_OPTS='--shots 5 --shots-from gsm8k_train.jsonl' after worked ones.

## the target: problems like those that the model should get good at
VAL ?= $(error VAL= names the validation problems)
## other problems of that kind
TEST ?= $(error TEST= names the test problems)
## folder of the run
OUT ?= build/gsm8k
## records of TEST, the first; 0: all
TEST_LIMIT ?= 200

.PHONY: gsm8k
gsm8k: run
include $(dir $(lastword $(MAKEFILE_LIST)))data.mk
