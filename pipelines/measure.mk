# SPDX-License-Identifier: MIT
# What each choice of raise.mk cost, and what else its model can do.

# ---- costs.csv: in tokens that were counted, so that the same run tells the same (cost.awk) ----
run: $(OUT)/costs.txt
count = awk '{ x += $$1; y += $$2 } END { print NR, x, y }' $(write)
lengths = $(BIN)raise-rollout --show 1000000000 --on-error skip -m $(MODEL) -d $< $(ENCODE) | \
  sed -n 's/^[^ ]*: record [0-9]*: \([0-9]*\) prompt and \([0-9]*\) response tokens$$/\1 \2/p'

$(OUT)/pool.tokens: $(FEATURES)
	@$(BIN)raise-view --table len_x,len_y $< | tail -n +2 | tr , ' ' | $(count)
$(OUT)/target.tokens $(SEEDS:%=$(OUT)/s%/val.tokens): %.tokens: %.jsonl $(ENCODING)
	@$(lengths) | $(count)

# $(call tried,METHOD,SEED): the episodes that it took to find its choice
tried = $(trajectories) $(if $(FALLBACK_OF_$(1)),$(contenders))
define cost
$(OUT)/$(1)/s$(2)/cost.csv: $(OUT)/pool.tokens $(OUT)/s$(2)/val.tokens $(if $(target-file),$(OUT)/target.tokens) \
    $(OUT)/$(1)/s$(2)/final.st.zst $(call tried,$(1),$(2)) $(call kept,EPOCHS)
	@for t in $(call tried,$(1),$(2)) $(OUT)/$(1)/s$(2)/final.st.zst; do \
	  $(BIN)raise-view --table n_tokens $$$$t | awk -v is_last=$$$$([ $$$$t != $(OUT)/$(1)/s$(2)/final.st.zst ]; echo $$$$?) 'NR > 1 { n += $$$$1 } END { print is_last, NR - 1, n }'; done | \
	awk -v method=$(1) -v seed=$(2) -v epochs=$(EPOCHS) -v how=$(if $(filter $(1),$(LEARNERS)),$(or $(filter lead,$(call LEARNER_OF,$(1))),learner),$(call PLAN_OF,$(1))) -v fallback='$(foreach m,$(FALLBACK_OF_$(1)),$(call PLAN_OF,$m))' \
	  -v options='$(strip $(if $(target-file),--target $(TARGET_OPTS)) $(if $(filter $(1),$(LEARNERS)),$(INIT_OPTS) $(INIT_OPTS_$(1)),$(PLAN_OPTS_$(1))))' \
	  -f $(HERE)cost.awk $(OUT)/pool.tokens $(OUT)/s$(2)/val.tokens $(if $(target-file),$(OUT)/target.tokens,/dev/null) - $$(write)
COSTS += $(OUT)/$(1)/s$(2)/cost.csv
endef
$(OUT)/costs.csv: $$(COSTS) $(call kept,TABLE)
	@{ echo method,seed,part,tokens_scored,tokens_trained,phi; cat $(made-of); } $(write)
$(OUT)/costs.txt: $(OUT)/costs.csv $(call kept,EPOCHS)
	@awk -F, -v epochs=$(EPOCHS) -f $(HERE)costs.awk $< $(write); cat $@

# ---- eval.csv: what raise-eval says of the last models, and of the untrained one ----
evaluations := $(if $(EVAL),$(EVAL):$(OUT)/test.jsonl) $(addprefix loss:,$(EXTRA)) $(addprefix choice:,$(EXTRA_CHOICE))
task-of = $(firstword $(subst :, ,$(1)))
file-of = $(lastword $(subst :, ,$(1)))
evaluate = $(RUN) $(BIN)raise-eval $(call task-of,$(1)) $(2) -t $(THREADS) --precision $(PRECISION) $(if $(filter loss,$(call \
  task-of,$(1))),--template $(TEMPLATE) --max-length $(MAX_LENGTH),$(EVAL_OPTS)) --summary $@ $(call file-of,$(1)) >/dev/null

# $(call evaluation,PLACE,K,EVALUATION,PREREQUISITES,MODEL)
define evaluation
$(OUT)/$(1)/eval.$(2).csv: $(4) $(call file-of,$(3)) $(ENCODING) $(call kept,EVAL EVAL_OPTS EXTRA EXTRA_CHOICE)
	$$(fresh)
	$(if $(filter loss,$(call task-of,$(3))),@$(BIN)raise-export -q -f indices --apart $(POOL) $(call file-of,$(3)) >/dev/null)
	$$(call job,eval)$$(call evaluate,$(3),$(5))
	$$(made)
EVALS += $(OUT)/$(1)/eval.$(2).csv
endef
tuned = $(if $(filter --full,$(ROLLOUT_OPTS) $(ROLLOUT_OPTS_$(1))),-m $(OUT)/$(1)/s$(2)/model,-m $(MODEL) --adapter $(OUT)/$(1)/s$(2)/adapter)
ifneq ($(evaluations),)
run: $(OUT)/eval.csv
$(OUT)/eval.csv: $$(EVALS) $(call kept,TABLE)
	@awk -F, -v seeds='$(SEEDS)' -v asked='$(evaluations)' -f $(HERE)eval.awk $(made-of) $(write)
$(foreach k,$(call numbers,$(words $(evaluations))),$(eval \
  $(call evaluation,none,$k,$(word $k,$(evaluations)),,-m $(MODEL))) $(foreach s,$(SEEDS),$(foreach m,$(methods),$(eval \
  $(call evaluation,$m/s$s,$k,$(word $k,$(evaluations)),$(OUT)/$m/s$s/final.st.zst,$(call tuned,$m,$s))))))
endif
$(foreach s,$(SEEDS),$(foreach m,$(methods),$(eval $(call cost,$m,$s))))
