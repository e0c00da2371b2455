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
EMBED = $(RUN) $(BIN)raise-embed -m $(MODEL) $(ENCODE) --dim $(or $(1),$(DIM)) $(EMBED_OPTS)
FEATURES = $(OUT)/features.st.zst

# ---- what a method has of its own (methods.mk): $(call X,METHOD) ----
methods := $(LEARNERS) $(BASELINES)
features-of = $(OUT)/$(if $(POOL_$(1)),$(1)/features,$(call features-named,$(DIM_$(1)),$(CLASSES_$(1)))).st.zst
features-named = features$(addprefix .d,$(1))$(addprefix .c,$(2))
pool-of = $(or $(POOL_$(1)),$(POOL))
# Expanded by the shell of a recipe: they are known when the features are there.
steps-of = $(or $(STEPS_$(1)),$(if $(PERCENT_$(1)),,$(strip $(STEPS))),$$(cat $(call steps-named,$(PERCENT_$(1)))))
steps-named = $(OUT)/steps$(addprefix .,$(1))
steps-file = $(if $(or $(STEPS_$(1)),$(if $(PERCENT_$(1)),,$(strip $(STEPS)))),,$(call steps-named,$(PERCENT_$(1))))

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
	$$(call job,embed-set)$$(call EMBED) -o $$@ $$<
	$$(made)
endef
$(foreach s,$(SEEDS),$(eval $(call drawn,$s)))

# The model's tokenizer and the template, on one record.
$(OUT)/checked: $(call input,POOL) $(ENCODING) $(target-file) $(foreach s,$(SEEDS),$(OUT)/s$s/val.jsonl)
	$(fresh)
	@$(BIN)raise-rollout --show 1 --on-error skip -m $(MODEL) -d $(POOL) $(ENCODE) >$@ || \
	  { echo "MODEL=$(MODEL) TEMPLATE=$(TEMPLATE) MAX_LENGTH=$(MAX_LENGTH): a record of $(POOL) cannot be encoded" >&2; exit 1; }
	$(made)

# ---- features: of the pool, $(call pool-features,DIM), with classes, $(call features,DIM,CLASSES);
# of a pool of a method's own, $(call own-features,METHOD) ----
define pool-features
$(OUT)/pool$(addprefix .d,$(1)).st.zst: $(call input,POOL) $(ENCODING) $(target-file) \
    $(call kept,DIM EMBED_OPTS POOL_OPTS TARGET_LIMIT $(if $(target-file),LR TARGET_OPTS)) | $(OUT)/checked
	$$(fresh)
	$$(call job,embed)$$(call EMBED,$(1)) $(POOL_OPTS) $(if $(target-file),--target $(target-file) --target-lr $(LR) $(TARGET_OPTS)) -o $$@ $(POOL)
	$$(made)
endef
define features
$(OUT)/$(call features-named,$(1),$(2)).st.zst: $(OUT)/pool$(addprefix .d,$(1)).st.zst $(call kept,CLASSES)
	$$(fresh)
	$$(call job,cluster)$(BIN)raise-cluster -k $(or $(2),$(CLASSES)) -s 1 -t $(THREADS) -o $$@ $$<
	$$(made)
endef
define own-features
$(OUT)/$(1)/features.st.zst: $(call input,POOL_$(1)) $(ENCODING) $(call kept,DIM EMBED_OPTS) | $(OUT)/checked
	$$(fresh)
	$$(call job,embed-set)$$(call EMBED) -o $$@ $(POOL_$(1))
	$$(made)
endef
define steps-rule
$(call steps-named,$(1)): $(FEATURES) $(call kept,BATCH STEPS EPOCHS $(if $(1),,PERCENT))
	$$(fresh)
	@n=$$$$($(BIN)raise-view --table source $$< | tail -n +2 | wc -l); \
	awk -v n="$$$$n" 'BEGIN { t = int(n * $(EPOCHS) * $(or $(1),$(PERCENT)) / 100 / $(BATCH) + 1e-9); print (t > 5 ? t : 5) }' >$$@
	@echo "$$$$(cat $$@) steps an episode: $(or $(1),$(PERCENT)) % of $(EPOCHS) epochs of the pool, at least 5"
endef
part = $(subst -,,$(word $(1),$(subst /, ,$(2))))
$(foreach d,$(sort - $(foreach m,$(methods),$(DIM_$m))),$(eval $(call pool-features,$(subst -,,$d))))
$(foreach x,$(sort -/- $(foreach m,$(methods),$(or $(DIM_$m),-)/$(or $(CLASSES_$m),-))),$(eval \
  $(call features,$(call part,1,$x),$(call part,2,$x))))
$(foreach m,$(methods),$(if $(POOL_$m),$(eval $(call own-features,$m))))
$(foreach p,- $(percents),$(eval $(call steps-rule,$(subst -,,$p))))

# An episode: $(call rollout,METHOD,SEED); what it depends on: $(call trained-with,METHOD)
trained-with = $(steps-file) $(ENCODING) $(call kept,STEPS BATCH LR LORA_RANK ROLLOUT_OPTS ROLLOUT_OPTS_$(1) OWN_$(1))
rollout = $(RUN) $(BIN)raise-rollout -f $(features-of) -m $(MODEL) -d $(pool-of) --val $(OUT)/s$(2)/val.jsonl \
  $(ENCODE) --lr $(LR) --lora-rank $(LORA_RANK) -s $(2) --untrained $(OUT)/untrained.st.zst $(addprefix --checkpoint ,$(CHECKPOINT)) $(ROLLOUT_OPTS) $(ROLLOUT_OPTS_$(1))
# The last one, which is tested, and whose model is kept: $(call last,METHOD,SEED)
last = $(rollout) --test $(OUT)/test.jsonl $(if $(filter --full,$(ROLLOUT_OPTS) $(ROLLOUT_OPTS_$(1))),--save-model \
  $(@D)/model,--save-adapter $(@D)/adapter)

# ---- the loop: $(call learner,METHOD,SEED), $(call episode,METHOD,SEED,K), $(call update,METHOD,SEED,U) ----
# Episode k is drawn from the policy of update floor((k-1)/PER_UPDATE); an update reads all
# episodes so far, and the last one all there are. $(call schedule,METHOD): how many that are.
numbers = $(shell seq 1 $(1))
per-update = $(shell awk 'BEGIN { e = $(1); p = $(PER_UPDATE); $(2) }')
define schedule
EPISODE_LIST_$(1) := $(call numbers,$(2))
POLICY_OF_$(1) := $(call per-update,$(2),for (k = 1; k <= e; k++) print int((k - 1) / p))
LAST_OF_$(1) := $(call per-update,$(2),for (k = p; k < e + p; k += p) print k < e ? k : e)
endef
$(foreach m,$(LEARNERS) $(best-ofs),$(eval $(call schedule,$m,$(or $(EPISODES_$m),$(EPISODES)))))
trajectories = $(foreach k,$(EPISODE_LIST_$(1)),$(OUT)/$(1)/s$(2)/traj.$k.st.zst)

# Where there is another choice to fall back on, the learned one is a contender: $(call learned,METHOD,SEED)
learned = $(OUT)/$(1)/s$(2)/$(if $(FALLBACK_OF_$(1)),learned/)final.st.zst
contenders = $(learned) $(FALLBACK_OF_$(1):%=$(OUT)/%/s$(2)/final.st.zst)
define fall-back
$(OUT)/$(1)/s$(2)/final.st.zst: $(contenders) $(call kept,FALLBACK_OF_$(1))
	$$(fresh)
	@bash $(HERE)fallback.sh $(BIN) $$@ $$(made-of)
	$$(made)
KEPT += $(OUT)/$(1)/s$(2)/kept.csv
endef

define learner
$(OUT)/$(1)/s$(2)/policy.0.st.zst: $(call features-of,$(1)) $(call kept,LEARNER_$(1) INIT_OPTS INIT_OPTS_$(1) OWN_$(1))
	$$(fresh)
	$$(call job,policy)$(BIN)raise-ppo --init --learner $(call LEARNER_OF,$(1)) -s $(2) $(INIT_OPTS) $(INIT_OPTS_$(1)) -f $$< -o $$@
	$$(made)
$(call learned,$(1),$(2)): $(OUT)/$(1)/s$(2)/policy.$(words $(LAST_OF_$(1))).st.zst $(OUT)/s$(2)/val.jsonl \
    $(OUT)/test.jsonl $(call trained-with,$(1)) $(call kept,EPISODES DEPLOY_OPTS $(if $(FALLBACK_OF_$(1)),,FALLBACK_OF_$(1)))
	$$(fresh)
	$$(call job,last)$$(call last,$(1),$(2)) --steps $$(call steps-of,$(1)) --batch $(BATCH) -p $$< --deploy $(DEPLOY_OPTS) $(DEPLOY_OPTS_$(1)) -o $$@
	$$(made)
$(if $(FALLBACK_OF_$(1)),$(fall-back))
$(OUT)/$(1)/s$(2)/subset.jsonl: $(OUT)/$(1)/s$(2)/final.st.zst
	$$(fresh)
	$$(call job,export)$(BIN)raise-export --with step,class,score -o $$@ $$< $(call pool-of,$(1))
	$$(made)
SUBSETS += $(OUT)/$(1)/s$(2)/subset.jsonl
$(call rows,$(1),$(2))
$(call gains,$(1),$(2))
endef
define episode
$(OUT)/$(1)/s$(2)/traj.$(3).st.zst: $(OUT)/$(1)/s$(2)/policy.$(word $(3),$(POLICY_OF_$(1))).st.zst $(OUT)/s$(2)/val.jsonl \
    $(call trained-with,$(1)) $(call kept,PER_UPDATE)
	$$(fresh)
	$$(call job,episode)$$(call rollout,$(1),$(2)) --steps $$(call steps-of,$(1)) --batch $(BATCH) -p $$< --episode $(3) -o $$@
	$$(made)
endef
define update
$(OUT)/$(1)/s$(2)/policy.$(3).st.zst: $(OUT)/$(1)/s$(2)/policy.$(word $(3),0 $(EPISODE_LIST_$(1))).st.zst \
    $(wordlist 1,$(word $(3),$(LAST_OF_$(1))),$(call trajectories,$(1),$(2))) $(call kept,PPO_OPTS PPO_OPTS_$(1) PER_UPDATE)
	$$(fresh)
	$$(call job,policy)$(BIN)raise-ppo -s $(2) $(PPO_OPTS) $(PPO_OPTS_$(1)) -f $(call features-of,$(1)) -p $$< --metrics $$(@D)/metrics.$(3).csv \
	  -o $$@ $$(filter-out $$<,$$(made-of))
	$$(made)
endef

# ---- baselines: a fixed plan, trained on exactly as a policy's choices ----
# $(call baseline,METHOD,SEED); its plan by a ranking, $(call ranked,METHOD,SEED,NAME), or of the best
# of EPISODES episodes, $(call best-of,METHOD,SEED), each on a random plan, $(call random-episode,METHOD,SEED,K).
# Where the pool is smaller than that, it goes through it again, as a policy does.
PLAN = $(BIN)raise-plan --steps $(call steps-of,$(1)) --batch $(BATCH) --repeats
planned-with = $(steps-file) $(call kept,STEPS BATCH PLAN_$(1) PLAN_OPTS_$(1) OWN_$(1))
define ranked
$(OUT)/$(1)/s$(2)/plan.st.zst: $(features-of) $(planned-with) $(if $(filter rds,$(3)),$(OUT)/s$(2)/val.st.zst)
	$$(fresh)
	$$(call job,plan)$$(call PLAN,$(1)) -f $$< -s $(2) $(if $(filter rds,$(3)),--val-features $(OUT)/s$(2)/val.st.zst) \
	  $(if $(filter scores deita alpagasus,$(3)),-d $(pool-of)) $(PLAN_OPTS_$(1)) -o $$@ $(3)
	$$(made)
endef
define best-of
$(OUT)/$(1)/s$(2)/plan.st.zst: $(trajectories) $(call kept,EPISODES PLAN_OPTS_$(1) OWN_$(1))
	$$(fresh)
	$$(call job,plan)$(BIN)raise-plan $(PLAN_OPTS_$(1)) -o $$@ best-of $$(made-of)
	$$(made)
$(gains)
endef
define random-episode
$(OUT)/$(1)/s$(2)/plan.$(3).st.zst: $(features-of) $(planned-with)
	$$(fresh)
	$$(call job,plan)$$(call PLAN,$(1)) -f $$< -s $$$$(($(2) * 1000 + $(3))) -o $$@ random
	$$(made)
$(OUT)/$(1)/s$(2)/traj.$(3).st.zst: $(OUT)/$(1)/s$(2)/plan.$(3).st.zst $(OUT)/s$(2)/val.jsonl $(trained-with)
	$$(fresh)
	$$(call job,episode)$$(call rollout,$(1),$(2)) --plan $$< --episode $(3) -o $$@
	$$(made)
endef
define baseline
$(if $(filter $(1),$(best-ofs)),$(best-of),$(call ranked,$(1),$(2),$(call PLAN_OF,$(1))))
$(OUT)/$(1)/s$(2)/final.st.zst: $(OUT)/$(1)/s$(2)/plan.st.zst $(OUT)/s$(2)/val.jsonl $(OUT)/test.jsonl $(trained-with)
	$$(fresh)
	$$(call job,last)$$(call last,$(1),$(2)) --plan $$< -o $$@
	$$(made)
$(if $(filter $(1),$(BASELINES)),$(rows))
endef
