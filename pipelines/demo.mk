# SPDX-License-Identifier: MIT
# `make demo`: the whole loop on a small pool and a small model that ship with the sources, in
# under two minutes: embed, cluster, K x (rollout, ppo), deploy, export, for both learners and three
# seeds, beside random choice, IFD, RDS, near, the prior that the reward model begins from, and
# training on the target's own kind alone. The pool has what real pools have: problems like the
# target's whose answers are worthless, copies, and a useful family that does not look like it
# (demo-generate's head). Prints build/demo/table.txt; the numbers are in build/demo/table.csv.

BUILD ?= build
OUT ?= $(BUILD)/demo
D = $(OUT)/data
DEMO := $(dir $(lastword $(MAKEFILE_LIST)))demo
GENERATE = $(firstword $(wildcard $(BUILD)/demo-generate $(DEMO)/../../build/demo-generate \
  $(DEMO)/../../../../lib/raise/demo-generate) $(BUILD)/demo-generate)
## misleading: a pool in which what looks best is worst; two: a target of two kinds
KIND ?= pool
OWN_SETTINGS = KIND
MODEL = $(DEMO)/model
POOL = $D/pool.jsonl
VAL = $D/validation.jsonl
TEST = $D/test.jsonl
TEMPLATE = $(DEMO)/demo.tmpl
MAX_LENGTH = 128
DIM ?= 32
CLASSES ?= 1
STEPS ?= 12
BATCH = 16
EPISODES ?= 12
LR = 3e-3
LORA_RANK = 8
VAL_LIMIT = 48
REPORT_BY = family
BASELINES ?= random ifd rds near prior target
of-kind = $(if $(filter two,$(KIND)),two-)
# The ceiling: as many steps on the target's kind alone (of the pool's kind, not the test's).
PLAN_target = random
POOL_target = $D/target.jsonl
TARGET_LIMIT = 96
THREADS = 1
SEEDS ?= 1 2 3
JOBS = $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j2)
export OMP_WAIT_POLICY = passive

.PHONY: demo
demo: run

INPUTS =
include $(dir $(lastword $(MAKEFILE_LIST)))raise.mk

ifdef RULES

$(POOL): $(call kept,KIND)
	$(fresh)
	$(if $(filter 1,$V),,@)$(GENERATE) $(KIND) 2000 1 $(write)
$(VAL): $(call kept,KIND)
	$(fresh)
	$(if $(filter 1,$V),,@)$(GENERATE) $(of-kind)validation 200 2 $(write)
$(TEST): $(call kept,KIND)
	$(fresh)
	$(if $(filter 1,$V),,@)$(GENERATE) $(of-kind)test 200 3 $(write)

$(POOL_target): $(call kept,KIND)
	$(fresh)
	$(if $(filter 1,$V),,@)$(GENERATE) $(of-kind)problems 400 4 $(write)
endif
