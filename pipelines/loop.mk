# SPDX-License-Identifier: MIT
# The rules of raise.mk: from datasets to the last episode of every learner and baseline.

.DELETE_ON_ERROR:
.SECONDEXPANSION:
run: $(OUT)/table.txt
table: run

# Recipes: nothing old stands where a result will be, and after a command its file is looked for,
# since srun exits 0 when a node is lost.
fresh = @mkdir -p $(@D); rm -f $@
made = @[ -s $@ ] || { echo "$@: its command ended well, and did not write it" >&2; exit 1; }
# $(call job,KIND)command: says in one line that it is done (job.sh); with V=1 it is the command alone.
job = $(if $(filter 1,$V),,@bash $(HERE)job.sh $(OUT)/.jobs $(1) $@ )

ENCODING = $(call input,MODEL) $(call kept,TEMPLATE MAX_LENGTH PRECISION)
ENCODE = --template $(TEMPLATE) --max-length $(MAX_LENGTH) -t $(THREADS) --precision $(PRECISION)
EMBED = $(RUN) $(BIN)raise-embed -m $(MODEL) $(ENCODE) --dim $(DIM) $(EMBED_OPTS)
FEATURES = $(OUT)/features.st.zst
# Expanded by the shell of a recipe: they are known when the features are there.
steps = $(or $(strip $(STEPS)),$$(cat $(OUT)/steps))
steps-file = $(if $(strip $(STEPS)),,$(OUT)/steps)

# ---- what is measured on: drawn once, read by rewards, baselines and tests alike ----
# A record that is in the pool, too, is told here, before anything is embedded.
DRAW = $(BIN)raise-export -f jsonl -t $(THREADS) --apart $(POOL) $(DRAW_OPTS)
draws-from = $(call input,$(1)) $(call input,POOL) $(call kept,DRAW_OPTS $(2))
has-limit = $(filter-out 0,$($(1)_LIMIT))
sample = -s $(2) -n $($(1)_LIMIT) $(if $(call has-limit,$(1)),--sample)
# TARGET_LIMIT, but no more than half of VAL: the other half is for the rewards.
half = $(BIN)raise-export -q -f indices $(DRAW_OPTS) $(VAL) | \
  awk -v n="$$(numfmt --from=iec $(call upper,$(TARGET_LIMIT)))" 'END { h = int(NR / 2); print (n < h || !h ? n : h) }'
upper = $(subst g,G,$(subst m,M,$(subst k,K,$(1))))
target-file = $(if $(call has-limit,TARGET),$(OUT)/target.jsonl)

$(OUT)/test.jsonl: $(call draws-from,TEST,TEST_LIMIT)
	$(fresh)
	$(call job,draw)$(DRAW) -n $(TEST_LIMIT) -o $@ $(TEST)
	$(made)
$(OUT)/target.jsonl: $(call draws-from,VAL,TARGET_LIMIT) $(OUT)/test.jsonl
	$(fresh)
	$(call job,draw)$(DRAW) -s 1 --sample -n $$($(half)) -o $@ $(VAL)
	$(made)
	@$(BIN)raise-export -q -f indices --apart $(OUT)/test.jsonl $@ >/dev/null
define drawn
$(OUT)/s$(1)/val.jsonl: $(call draws-from,VAL,VAL_LIMIT TARGET_LIMIT) $(OUT)/test.jsonl $(target-file)
	$$(fresh)
	$$(call job,draw)$$(DRAW) $(call sample,VAL,$(1)) $(addprefix --without ,$(target-file)) -o $$@ $(VAL)
	$$(made)
	@$(BIN)raise-export -q -f indices --apart $(OUT)/test.jsonl $$@ >/dev/null
$(OUT)/s$(1)/val.st.zst: $(OUT)/s$(1)/val.jsonl $$(ENCODING) $(call kept,DIM EMBED_OPTS)
	$$(fresh)
	$$(call job,embed)$$(EMBED) -o $$@ $$<
	$$(made)
endef
$(foreach s,$(SEEDS),$(eval $(call drawn,$s)))

# The model's tokenizer and the template, on one record.
$(OUT)/checked: $(call input,POOL) $(ENCODING) $(target-file) $(foreach s,$(SEEDS),$(OUT)/s$s/val.jsonl)
	$(fresh)
	@$(BIN)raise-rollout --show 1 --on-error skip -m $(MODEL) -d $(POOL) $(ENCODE) >$@ || \
	  { echo "MODEL=$(MODEL) TEMPLATE=$(TEMPLATE): a record of $(POOL) cannot be encoded" >&2; exit 1; }
	$(made)

# ---- features ----
$(OUT)/pool.st.zst: $(call input,POOL) $(ENCODING) $(call kept,DIM EMBED_OPTS POOL_OPTS TARGET_LIMIT $(if $(target-file),LR TARGET_OPTS)) $(target-file) | $(OUT)/checked
	$(fresh)
	$(call job,embed)$(EMBED) $(POOL_OPTS) $(if $(target-file),--target $(target-file) --target-lr $(LR) $(TARGET_OPTS)) -o $@ $(POOL)
	$(made)
$(FEATURES): $(OUT)/pool.st.zst $(call kept,CLASSES)
	$(fresh)
	$(call job,cluster)$(BIN)raise-cluster -k $(CLASSES) -s 1 -t $(THREADS) -o $@ $<
	$(made)
$(OUT)/steps: $(FEATURES) $(call kept,BATCH STEPS PERCENT EPOCHS)
	$(fresh)
	@n=$$($(BIN)raise-view --table source $< | tail -n +2 | wc -l); \
	awk -v n="$$n" 'BEGIN { t = int(n * $(EPOCHS) * $(PERCENT) / 100 / $(BATCH) + 1e-9); print (t > 5 ? t : 5) }' >$@
	@echo "$$(cat $@) steps an episode: $(PERCENT) % of $(EPOCHS) epochs of the pool, at least 5"

# An episode: $(call rollout,METHOD,SEED,FEATURES,POOL); $(call trained-with,METHOD)
trained-with = $(steps-file) $(ENCODING) $(call kept,STEPS BATCH LR LORA_RANK ROLLOUT_OPTS ROLLOUT_OPTS_$(1))
rollout = $(RUN) $(BIN)raise-rollout -f $(3) -m $(MODEL) -d $(4) --val $(OUT)/s$(2)/val.jsonl \
  $(ENCODE) --steps $(steps) --batch $(BATCH) --lr $(LR) --lora-rank $(LORA_RANK) -s $(2) \
  $(ROLLOUT_OPTS) $(ROLLOUT_OPTS_$(1))

# ---- the loop: $(call learner,METHOD,SEED), $(call episode,METHOD,SEED,K), $(call update,METHOD,SEED,U) ----
# Episode k is drawn from the policy of update floor((k-1)/PER_UPDATE); an update reads all
# episodes so far, and the last one all there are.
numbers = $(shell seq 1 $(1))
per-update = $(shell awk 'BEGIN { e = $(EPISODES); p = $(PER_UPDATE); $(1) }')
EPISODE_LIST := $(call numbers,$(EPISODES))
POLICY_OF := $(call per-update,for (k = 1; k <= e; k++) print int((k - 1) / p))
LAST_OF := $(call per-update,for (k = p; k < e + p; k += p) print k < e ? k : e)
UPDATES := $(words $(LAST_OF))
trajectories = $(foreach k,$(EPISODE_LIST),$(OUT)/$(1)/s$(2)/traj.$k.st.zst)

define learner
$(OUT)/$(1)/s$(2)/policy.0.st.zst: $(FEATURES) $(call kept,LEARNER_$(1) INIT_OPTS INIT_OPTS_$(1))
	$$(fresh)
	$$(call job,policy)$(BIN)raise-ppo --init --learner $(call LEARNER_OF,$(1)) -s $(2) $(INIT_OPTS) $(INIT_OPTS_$(1)) -f $$< -o $$@
	$$(made)
$(OUT)/$(1)/s$(2)/final.st.zst: $(OUT)/$(1)/s$(2)/policy.$(UPDATES).st.zst $(OUT)/s$(2)/val.jsonl $(OUT)/test.jsonl \
    $(call trained-with,$(1)) $(call kept,EPISODES)
	$$(fresh)
	$$(call job,last)$$(call rollout,$(1),$(2),$(FEATURES),$(POOL)) --test $(OUT)/test.jsonl -p $$< --deploy --save-adapter $$(@D)/adapter -o $$@
	$$(made)
$(OUT)/$(1)/s$(2)/subset.jsonl: $(OUT)/$(1)/s$(2)/final.st.zst
	$$(fresh)
	$$(call job,export)$(BIN)raise-export --with step,class,score -o $$@ $$< $(POOL)
	$$(made)
SUBSETS += $(OUT)/$(1)/s$(2)/subset.jsonl
$(call rows,$(1),$(2))
$(call gains,$(1),$(2))
endef
define episode
$(OUT)/$(1)/s$(2)/traj.$(3).st.zst: $(OUT)/$(1)/s$(2)/policy.$(word $(3),$(POLICY_OF)).st.zst $(OUT)/s$(2)/val.jsonl $(call trained-with,$(1)) \
    $(call kept,PER_UPDATE)
	$$(fresh)
	$$(call job,episode)$$(call rollout,$(1),$(2),$(FEATURES),$(POOL)) -p $$< --episode $(3) -o $$@
	$$(made)
endef
define update
$(OUT)/$(1)/s$(2)/policy.$(3).st.zst: $(OUT)/$(1)/s$(2)/policy.$(word $(3),0 $(EPISODE_LIST)).st.zst \
    $(wordlist 1,$(word $(3),$(LAST_OF)),$(call trajectories,$(1),$(2))) $(call kept,PPO_OPTS PPO_OPTS_$(1) PER_UPDATE)
	$$(fresh)
	$$(call job,policy)$(BIN)raise-ppo -s $(2) $(PPO_OPTS) $(PPO_OPTS_$(1)) -f $(FEATURES) -p $$< --metrics $$(@D)/metrics.$(3).csv \
	  -o $$@ $$(filter-out $$<,$$(made-of))
	$$(made)
endef

# ---- baselines: a fixed plan, trained on exactly as a policy's choices ----
# $(call baseline,METHOD,SEED,FEATURES,POOL)
PLAN = $(BIN)raise-plan --steps $(steps) --batch $(BATCH)
is-known = $(if $(filter $(1),$(BASELINES) $(ALSO)),,$(error $(1): a baseline that is neither in BASELINES nor in ALSO))
define baseline
$(call is-known,$(1))
$(OUT)/$(1)/s$(2)/plan.st.zst: $(3) $(steps-file) $(call kept,STEPS BATCH PLAN_$(1) PLAN_OPTS_$(1)) $(if $(filter rds,$(call PLAN_OF,$(1))),$(OUT)/s$(2)/val.st.zst)
	$$(fresh)
	$$(call job,plan)$$(PLAN) -f $$< -s $(2) $$(addprefix --val-features ,$$(filter %/val.st.zst,$$^)) $(PLAN_OPTS_$(1)) -o $$@ $(call PLAN_OF,$(1))
	$$(made)
$(OUT)/$(1)/s$(2)/final.st.zst: $(OUT)/$(1)/s$(2)/plan.st.zst $(OUT)/s$(2)/val.jsonl $(OUT)/test.jsonl $(call trained-with,$(1))
	$$(fresh)
	$$(call job,last)$$(call rollout,$(1),$(2),$(3),$(4)) --test $(OUT)/test.jsonl --plan $$< -o $$@
	$$(made)
$(call rows,$(1),$(2))
endef
