# SPDX-License-Identifier: MIT
# Which of DATA's instructions make MODEL better at questions of multiple choice, such as MMLU.
#
#     make -f pipelines/general.mk MODEL=SmolLM2.gguf DATA=alpaca_data.json.zst \
#         VAL_CSV=mmlu/dev TEST_CSV=mmlu/test
#
# Rewards are losses of the letter after the question; in the end TEST_LIMIT questions, taken from the
# subjects in turn, are asked as well (eval.csv: acc). Other benchmarks than MMLU: VAL= and TEST= name
# files that are records (raise-data(5)) and questions (raise-eval(1)) at once, or EVAL= leaves the
# asking out. `make -f pipelines/general.mk help` lists the variables.

## folder with the validation questions, in MMLU's CSV, a file a subject
VAL_CSV ?=
## the same of the test questions
TEST_CSV ?=
## the target as records
VAL ?= $(if $(VAL_CSV),$(OUT)/questions/val.jsonl,$(error VAL_CSV= or VAL= names the validation questions))
## the test as records that raise-eval can ask
TEST ?= $(if $(TEST_CSV),$(OUT)/questions/test.jsonl,$(error TEST_CSV= or TEST= names the test questions))
## folder of the run
OUT ?= build/general
## records of TEST, the first; 0: all
TEST_LIMIT ?= 500
## a task of raise-eval that TEST is asked by in the end; empty: none
EVAL ?= choice

FOLDERS = VAL_CSV TEST_CSV
INPUTS = DATA $(if $(VAL_CSV),,VAL) $(if $(TEST_CSV),,TEST)
.PHONY: general
general: run
HERE := $(dir $(lastword $(MAKEFILE_LIST)))
include $(HERE)data.mk

ifdef RULES
define questions
$(OUT)/questions/$(1).jsonl: $(call kept,$(2))
	$$(fresh)
	@awk -f $(HERE)mmlu.awk $($(2))/*.csv | sort -s -n -k1,1 | cut -f2- $$(write)
endef
$(if $(VAL_CSV),$(eval $(call questions,val,VAL_CSV)))
$(if $(TEST_CSV),$(eval $(call questions,test,TEST_CSV)))
endif
