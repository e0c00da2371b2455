# SPDX-License-Identifier: MIT
# `make demo`: the whole loop on a small pool and a small model that ship with the sources, in
# about a minute: embed, cluster, K x (rollout, ppo), deploy, export, for both learners and three
# seeds, beside random choice, IFD, RDS and training on the target's own kind alone.
# Prints build/demo/table.txt; the numbers are in build/demo/table.csv.

BUILD ?= build
OUT = $(BUILD)/demo
D = $(OUT)/data
DEMO := $(dir $(lastword $(MAKEFILE_LIST)))demo
GENERATE = $(firstword $(wildcard $(BUILD)/demo-generate $(DEMO)/../../build/demo-generate \
  $(DEMO)/../../../../lib/raise/demo-generate))
MODEL = $(DEMO)/model
POOL = $D/pool.jsonl
VAL = $D/validation.jsonl
TEST = $D/test.jsonl
TEMPLATE = $(DEMO)/demo.tmpl
MAX_LENGTH = 128
DIM = 32
CLASSES = 2
STEPS = 12
BATCH = 16
EPISODES ?= 8
LR = 3e-3
LORA_RANK = 8
VAL_LIMIT = 48
TARGET_LIMIT = 0
THREADS = 1
SEEDS ?= 1 2 3
JOBS = $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j2)
export OMP_WAIT_POLICY = passive

.PHONY: demo
demo: run

INPUTS =
include $(dir $(lastword $(MAKEFILE_LIST)))raise.mk

ifdef RULES

$(POOL):
	$(fresh)
	$(GENERATE) pool 2000 1 $(write)
$(VAL):
	$(fresh)
	$(GENERATE) validation 200 2 $(write)
$(TEST):
	$(fresh)
	$(GENERATE) test 200 3 $(write)

# The ceiling: as many steps on word problems alone (of the pool's kind, not the test's).
$D/target.jsonl:
	$(fresh)
	$(GENERATE) problems 400 4 $(write)
$(OUT)/target/features.st.zst: $D/target.jsonl
	$(fresh)
	$(EMBED) -o $@ $<
	$(made)
PLAN_target = random
$(foreach s,$(SEEDS),$(eval $(call baseline,target,$s,$(OUT)/target/features.st.zst,$D/target.jsonl)))
endif
