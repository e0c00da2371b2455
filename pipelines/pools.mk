# SPDX-License-Identifier: MIT
# Pools whose answer is known, of real records, to measure a selection on.
#
#     make -f pipelines/pools.mk ALPACA=alpaca_data.json.zst GSM8K=gsm8k_train.jsonl.zst
#
#   OUT/A.jsonl      ALPACA_N records of Alpaca: nothing in it is of the target's kind
#   OUT/C.jsonl      the same, with CLEAN_N problems of GSM8K, and CORRUPT_N more that carry another
#                    problem's answer: as like the target as the clean ones, and harmful
#   OUT/val.jsonl    what is left of GSM8K, for VAL=
#   OUT/clean.jsonl OUT/corrupt.jsonl      what C has besides: who looks for its content in a
#                    subset can count

## Alpaca's records, in any form that raise-data(5) knows
ALPACA ?= $(error ALPACA= names Alpaca's records)
## GSM8K's training problems, JSON lines of "question" and "answer" as they are published
GSM8K ?= $(error GSM8K= names GSM8K's training problems)
## folder of the pools
OUT ?= build/pools
## records of Alpaca
ALPACA_N ?= 1800
## problems with their own answer
CLEAN_N ?= 100
## problems with another's answer
CORRUPT_N ?= 100
## of the samples
SEED ?= 1

HERE := $(dir $(lastword $(MAKEFILE_LIST)))
include $(HERE)programs.mk
DRAW = $(BIN)raise-export -q -F jsonl --on-error skip -s $(SEED)
.DELETE_ON_ERROR:

.PHONY: pools help
ifneq ($(filter help,$(MAKECMDGOALS)),)
help:
	@awk -f $(HERE)help.awk $(MAKEFILE_LIST)
else
pools: $(OUT)/A.jsonl $(OUT)/C.jsonl $(OUT)/val.jsonl
	@wc -l $^
$(OUT)/A.jsonl: $(ALPACA)
	@mkdir -p $(@D)
	$(DRAW) -n $(ALPACA_N) --sample -o $@ $<
$(OUT)/clean.jsonl: $(GSM8K)
	@mkdir -p $(@D)
	$(DRAW) -n $(CLEAN_N) --sample -o $@ $<
$(OUT)/originals.jsonl: $(GSM8K) $(OUT)/clean.jsonl
	$(DRAW) -n $(CORRUPT_N) --sample --without $(OUT)/clean.jsonl -o $@ $<
# Each problem gets the next one's answer. What stands between the two cannot be within a string,
# where quotes are escaped.
$(OUT)/corrupt.jsonl: $(OUT)/originals.jsonl
	@awk -F'", *"answer": *"' 'NF != 2 { print FILENAME ":" NR ": not {\"question\": ..., \"answer\": ...}" >"/dev/stderr"; exit 1 } \
	  { q[NR] = $$1; a[NR] = $$2 } END { for (i = 1; i <= NR; i++) print q[i] "\", \"answer\": \"" a[i % NR + 1] }' $< >$@.tmp
	@mv $@.tmp $@
$(OUT)/C.jsonl: $(OUT)/A.jsonl $(OUT)/clean.jsonl $(OUT)/corrupt.jsonl
	@cat $^ >$@.tmp; mv $@.tmp $@
$(OUT)/used.jsonl: $(OUT)/clean.jsonl $(OUT)/originals.jsonl
	@cat $^ >$@.tmp; mv $@.tmp $@
$(OUT)/val.jsonl: $(GSM8K) $(OUT)/used.jsonl
	$(DRAW) --without $(OUT)/used.jsonl -o $@ $<
endif
