# SPDX-License-Identifier: MIT
# `make demo`: the whole loop on a small pool and a small model that ship with the sources, in
# about a minute: embed, cluster, K x (rollout, ppo), deploy, export, for both learners and three
# seeds, beside random choice, IFD, RDS and training on the target's own kind alone.
# Prints build/demo/table.txt; the numbers are in build/demo/table.csv.

BUILD ?= build
OUT = $(BUILD)/demo
D = $(OUT)/data
MODEL = pipelines/demo/model
POOL = $D/pool.jsonl
VAL = $D/validation.jsonl
TEST = $D/test.jsonl
TEMPLATE = pipelines/demo/demo.tmpl
MAX_LENGTH = 128
DIM = 32
CLASSES = 2
STEPS = 12
BATCH = 16
EPISODES ?= 8
LR = 3e-3
LORA_RANK = 8
VAL_LIMIT = 48
THREADS = 1
SEEDS ?= 1 2 3
MAKEFLAGS += -j2 --no-print-directory
export OMP_WAIT_POLICY = passive

.PHONY: demo
demo: run

include pipelines/raise.mk

$(POOL):
	@mkdir -p $(@D)
	$(BUILD)/demo-generate pool 2000 1 >$@.tmp && mv $@.tmp $@
$(VAL):
	@mkdir -p $(@D)
	$(BUILD)/demo-generate validation 200 2 >$@.tmp && mv $@.tmp $@
$(TEST):
	@mkdir -p $(@D)
	$(BUILD)/demo-generate test 200 3 >$@.tmp && mv $@.tmp $@

# The ceiling: as many steps on word problems alone (of the pool's kind, not the test's).
$D/target.jsonl:
	@mkdir -p $(@D)
	$(BUILD)/demo-generate problems 400 4 >$@.tmp && mv $@.tmp $@
$(OUT)/target.st.zst: $D/target.jsonl
	$(EMBED) -o $@ $<
define ceiling
$(OUT)/target/s$(1)/plan.st.zst: $(OUT)/target.st.zst
	@mkdir -p $$(@D)
	$(BIN)raise-plan --steps $(STEPS) --batch $(BATCH) -f $$< -s $(1) -o $$@ random
$(OUT)/target/s$(1)/final.st.zst: $(OUT)/target/s$(1)/plan.st.zst $(VAL) $(TEST)
	$(subst $(OUT)/features.st.zst,$(OUT)/target.st.zst,$(subst $(POOL),$D/target.jsonl,$(FINAL))) --plan $$< -s $(1) -o $$@
$(OUT)/table.csv: $(OUT)/target/s$(1)/final.st.zst
FINALS += $(OUT)/target/s$(1)/final.st.zst
endef
$(foreach s,$(SEEDS),$(eval $(call ceiling,$s)))
