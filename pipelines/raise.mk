# SPDX-License-Identifier: MIT
# The RAISE loop as make rules, for other makefiles to include: embed, cluster, K times (rollout,
# ppo), deploy, export; and the baselines at equal steps. Every file is a target: a missing file
# is work to do, so a killed run goes on with `make` again, and `make -j` runs what does not
# depend on each other side by side (learners, seeds, baselines, the episodes of one update).
#
# Set before including (each has a default below):
#   MODEL POOL VAL TEST   model and datasets           OUT       folder of the run
#   DIM CLASSES           embedding width, classes     STEPS BATCH   T and B of an episode
#   EPISODES PER_UPDATE   episodes in all, and between two updates
#   LEARNERS SEEDS BASELINES                           LR LORA_RANK TEMPLATE MAX_LENGTH
#   VAL_LIMIT             validation records that the reward is measured on
#   PRECISION THREADS     arithmetic and threads of a program
#   RUN                   prefix of every compute-heavy command: RUN='srun -n1 --gpus=1'
#
#   OUT/features.st.zst
#   OUT/LEARNER/sSEED/policy.K.st.zst traj.K.st.zst final.st.zst subset.jsonl adapter/
#   OUT/METHOD/sSEED/plan.st.zst final.st.zst
#   OUT/table.csv  method,seed,steps,test_loss       OUT/table.txt  means and deviations
#   OUT/loss.csv   method,seed,step,validation_loss  OUT/loss.png   the same as a picture
#   OUT/episodes.csv  learner,seed,episode,gain      OUT/episodes.png (with gnuplot installed)

BUILD ?= build
BIN ?= $(if $(wildcard $(BUILD)/raise-embed),$(BUILD)/)
RUN ?=
OUT ?= build/run
DIM ?= 32
CLASSES ?= 4
STEPS ?= 10
BATCH ?= 16
EPISODES ?= 20
PER_UPDATE ?= 1
LEARNERS ?= reward-model ppo
BASELINES ?= random ifd rds
SEEDS ?= 1 2 3
LR ?= 3e-4
LORA_RANK ?= 16
TEMPLATE ?= alpaca
MAX_LENGTH ?= 1024
VAL_LIMIT ?= 32
EMBED_OPTS ?=
ROLLOUT_OPTS ?=
PPO_OPTS ?=
THREADS ?= 0
PRECISION ?= auto

comma := ,
HERE := $(dir $(lastword $(MAKEFILE_LIST)))
numbers = $(shell seq 1 $(1))
ENCODE = --template $(TEMPLATE) --max-length $(MAX_LENGTH) -t $(THREADS) \
  --precision $(PRECISION)
EMBED = $(RUN) $(BIN)raise-embed -m $(MODEL) $(ENCODE) --dim $(DIM) --resume $(EMBED_OPTS)
ROLLOUT = $(RUN) $(BIN)raise-rollout -f $(OUT)/features.st.zst -m $(MODEL) -d $(POOL) --val $(VAL) \
  --val-limit $(VAL_LIMIT) $(ENCODE) --steps $(STEPS) --batch $(BATCH) --lr $(LR) \
  --lora-rank $(LORA_RANK) $(ROLLOUT_OPTS)
FINAL = $(ROLLOUT) --test $(TEST)

.DELETE_ON_ERROR:
.PHONY: run table
run: $(OUT)/table.txt $(if $(shell command -v gnuplot),$(OUT)/loss.png $(OUT)/episodes.png)
table: run

$(OUT)/pool.st.zst: $(POOL)
	@mkdir -p $(@D)
	$(EMBED) $(POOL_OPTS) -o $@ $<
$(OUT)/val.st.zst: $(VAL)
	@mkdir -p $(@D)
	$(EMBED) $(VAL_EMBED_OPTS) -o $@ $<
$(OUT)/features.st.zst: $(OUT)/pool.st.zst
	$(BIN)raise-cluster -k $(CLASSES) -s 1 -t $(THREADS) -o $@ $<

# ---- the loop: $(call learner,LEARNER,SEED) and, for each episode, $(call episode,L,S,K) ----
# Episode k is drawn from the policy of update floor((k-1)/PER_UPDATE); an update reads all
# episodes so far.
prev = $(shell echo $$(( ($(1) - 1) / $(PER_UPDATE) )))
UPDATES := $(shell echo $$(( $(EPISODES) / $(PER_UPDATE) )))

define learner
$(OUT)/$(1)/s$(2)/policy.0.st.zst: $(OUT)/features.st.zst
	@mkdir -p $$(@D)
	$(BIN)raise-ppo --init --learner $(1) -s $(2) $(PPO_OPTS) -f $$< -o $$@
$(OUT)/$(1)/s$(2)/final.st.zst: $(OUT)/$(1)/s$(2)/policy.$(UPDATES).st.zst $(VAL) $(TEST)
	$(FINAL) -p $$< --deploy -s $(2) --save-adapter $$(@D)/adapter -o $$@
$(OUT)/$(1)/s$(2)/subset.jsonl: $(OUT)/$(1)/s$(2)/final.st.zst
	$(BIN)raise-export --with step$(comma)class$(comma)score -o $$@ $$< $(POOL)
FINALS += $(OUT)/$(1)/s$(2)/final.st.zst
SUBSETS += $(OUT)/$(1)/s$(2)/subset.jsonl
endef
define episode
$(OUT)/$(1)/s$(2)/traj.$(3).st.zst: $(OUT)/$(1)/s$(2)/policy.$(call prev,$(3)).st.zst $(VAL)
	$(ROLLOUT) -p $$< --episode $(3) -s $(2) -o $$@
endef
define update
$(OUT)/$(1)/s$(2)/policy.$(3).st.zst: $(OUT)/$(1)/s$(2)/policy.$(shell echo $$(($(3) - 1))).st.zst \
    $(foreach k,$(call numbers,$(shell echo $$(($(3) * $(PER_UPDATE))))),$(OUT)/$(1)/s$(2)/traj.$k.st.zst)
	$(BIN)raise-ppo -s $(2) $(PPO_OPTS) -f $(OUT)/features.st.zst -p $$< --metrics $$(@D)/metrics.$(3).csv \
	  -o $$@ $$(filter %,$$(filter-out $$<,$$^))
endef
$(foreach l,$(LEARNERS),$(foreach s,$(SEEDS),$(eval $(call learner,$l,$s)) \
  $(foreach k,$(call numbers,$(EPISODES)),$(eval $(call episode,$l,$s,$k))) \
  $(foreach u,$(call numbers,$(UPDATES)),$(eval $(call update,$l,$s,$u)))))

# ---- baselines: a fixed plan, trained on exactly as a policy's choices ----
PLAN = $(BIN)raise-plan --steps $(STEPS) --batch $(BATCH) -f $(OUT)/features.st.zst
PLAN_OPTS_rds = --val-features $(OUT)/val.st.zst
define baseline
$(OUT)/$(1)/s$(2)/plan.st.zst: $(OUT)/features.st.zst $(if $(filter rds,$(1)),$(OUT)/val.st.zst)
	@mkdir -p $$(@D)
	$(PLAN) -s $(2) $(PLAN_OPTS_$(1)) -o $$@ $(1)
$(OUT)/$(1)/s$(2)/final.st.zst: $(OUT)/$(1)/s$(2)/plan.st.zst $(VAL) $(TEST)
	$(FINAL) --plan $$< -s $(2) -o $$@
FINALS += $(OUT)/$(1)/s$(2)/final.st.zst
endef
$(foreach m,$(BASELINES),$(foreach s,$(SEEDS),$(eval $(call baseline,$m,$s))))

# ---- table: one row a method and seed; `none` is the untrained model ----
$(OUT)/table.csv: $(FINALS)
	@{ echo method,seed,steps,test_loss; \
	for f in $(FINALS); do \
	  m=$${f#$(OUT)/}; s=$${m#*/s}; s=$${s%%/*}; m=$${m%%/*}; \
	  echo "none,$$s,0,$$($(BIN)raise-view --meta raise.test_loss_before $$f)"; \
	  echo "$$m,$$s,$$($(BIN)raise-view --meta raise.n_steps $$f),$$($(BIN)raise-view --meta raise.test_loss $$f)"; \
	done | sort -u; } >$@.tmp && mv $@.tmp $@
$(OUT)/table.txt: $(OUT)/table.csv $(SUBSETS)
	@awk -F, -f $(HERE)table.awk $< >$@.tmp && mv $@.tmp $@ && cat $@

# ---- pictures ----
$(OUT)/loss.csv: $(FINALS)
	@{ echo method,seed,step,validation_loss; \
	for f in $(FINALS); do \
	  m=$${f#$(OUT)/}; s=$${m#*/s}; s=$${s%%/*}; m=$${m%%/*}; \
	  $(BIN)raise-view --table perf $$f | awk -v m=$$m -v s=$$s 'NR > 1 { printf "%s,%s,%d,%.17g\n", m, s, NR - 2, -$$NF }'; \
	done; } >$@.tmp && mv $@.tmp $@
# What an episode brought, by the number of episodes learned from: does the learner learn?
$(OUT)/episodes.csv: $(FINALS)
	@{ echo learner,seed,episode,gain; \
	for l in $(LEARNERS); do for s in $(SEEDS); do for k in $(call numbers,$(EPISODES)); do \
	  $(BIN)raise-view --table perf $(OUT)/$$l/s$$s/traj.$$k.st.zst | \
	    awk -v l=$$l -v s=$$s -v k=$$k 'NR == 2 { first = $$NF } END { printf "%s,%s,%s,%.17g\n", l, s, k, $$NF - first }'; \
	done; done; done; } >$@.tmp && mv $@.tmp $@
$(OUT)/%.png: $(OUT)/%.csv
	@gnuplot -e "csv='$<'; png='$@.tmp'" $(HERE)$*.gp && mv $@.tmp $@
