# SPDX-License-Identifier: MIT
# The recipe of pipelines/demo/model: 1,000 full steps of 32 records on demo-generate's
# pretraining families, from random weights, by raise-rollout itself.
#
#     make -f pipelines/demo-model.mk          writes build/demo-model/model

BUILD ?= build
OUT = $(BUILD)/demo-model
N = 12000
STEPS = 1000
BATCH = 32
ENCODE = --template pipelines/demo/demo.tmpl --max-length 128 -t 1

.PHONY: all
all: $(OUT)/model/config.json
$(OUT)/text.jsonl:
	@mkdir -p $(@D)
	$(BUILD)/demo-generate pretrain $(N) 11 >$@.tmp && mv $@.tmp $@
$(OUT)/words.jsonl: $(OUT)/text.jsonl
	{ cat $<; $(BUILD)/demo-generate problems 1500 12; } >$@.tmp && mv $@.tmp $@
$(OUT)/held-out.jsonl:
	@mkdir -p $(@D)
	$(BUILD)/demo-generate validation 32 2 >$@.tmp && mv $@.tmp $@
$(OUT)/blank/config.json: $(OUT)/words.jsonl
	$(BUILD)/demo-blank $< $(@D) 1
$(OUT)/features.st.zst: $(OUT)/text.jsonl $(OUT)/blank/config.json
	$(BUILD)/raise-embed -m $(OUT)/blank $(ENCODE) -o $@ $<
$(OUT)/plan.st.zst: $(OUT)/features.st.zst
	$(BUILD)/raise-plan --steps $(STEPS) --batch $(BATCH) --repeats -s 1 -f $< -o $@ random
$(OUT)/model/config.json: $(OUT)/plan.st.zst $(OUT)/held-out.jsonl
	$(BUILD)/raise-rollout --plan $< -f $(OUT)/features.st.zst -m $(OUT)/blank -d $(OUT)/text.jsonl \
	  --val $(OUT)/held-out.jsonl --val-limit 8 $(ENCODE) --steps $(STEPS) --batch $(BATCH) --full \
	  --lr 2e-3 --warmup 100 --schedule cosine --metrics $(OUT)/loss.csv --save-model $(@D) -o $(OUT)/final.st.zst
