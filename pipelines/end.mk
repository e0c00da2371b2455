# SPDX-License-Identifier: MIT
# The end of a run: what the common trainers need beside the chosen records, and where all of it is.

# $(call trainable,METHOD,SEED)
define trainable
$(OUT)/$(1)/s$(2)/subset.messages.jsonl: $(OUT)/$(1)/s$(2)/final.st.zst
	@bash $(HERE)trainers.sh FINAL=$$< POOL=$(call pool-of,$(1)) $(foreach v,BIN MODEL TEMPLATE MAX_LENGTH,$v=$(call quoted,$v))
SUBSETS += $(OUT)/$(1)/s$(2)/subset.messages.jsonl
endef
$(foreach s,$(SEEDS),$(foreach l,$(LEARNERS),$(eval $(call trainable,$l,$s))))

# The best learner's files, said last.
run: $(OUT)/next.txt
$(OUT)/next.txt: $(OUT)/table.txt $(OUT)/costs.csv $(if $(evaluations),$(OUT)/eval.csv) $(PICTURES)
	@bash $(HERE)end.sh $(OUT) $(call quoted,LEARNERS) $(firstword $(SEEDS)) $(write); cat $@
