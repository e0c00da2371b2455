# SPDX-License-Identifier: MIT
# A learner or baseline is a name with what it has of its own; what it has not is the run's.
#
#   LEARNER_m PLAN_m               the learner of raise-ppo, the method of raise-plan [m]
#   INIT_OPTS_m PPO_OPTS_m PLAN_OPTS_m ROLLOUT_OPTS_m DEPLOY_OPTS_m    more options of its programs
#   EPISODES_m STEPS_m PERCENT_m   0 episodes: the learner as it begins
#   DIM_m CLASSES_m                features of its own, embedded and clustered once for each width
#   POOL_m                         another pool, which is embedded by itself; not what LIMIT takes
#   FALLBACK_m                     a learner's; none where it has steps of its own, or learns nothing
#
# These names are there for every pipeline:
#
#   full        all records, EPOCHS epochs
#   validation  the target's own records, those that the features know, over and over: who has
#               them could train on them alone
#   best-of     the best of EPISODES random episodes by its validation loss
#   paper       PPO with the paper's state and settings, deployed greedily
#   lead        LEAD's bandit over classes, which learns within its one episode; where the run
#               has one class, over 7 of its own

PLAN_OPTS_full ?= --epochs $(EPOCHS)
PLAN_validation ?= random
POOL_validation ?= $(OUT)/target.jsonl
LEARNER_paper ?= ppo
INIT_OPTS_paper ?= --paper
PPO_OPTS_paper ?= --paper
DEPLOY_OPTS_paper ?= --greedy
FALLBACK_paper ?=

LEARNER_OF = $(or $(LEARNER_$(1)),$(1))
$(foreach l,$(LEARNERS),$(if $(filter lead,$(call LEARNER_OF,$l)),$(eval EPISODES_$l ?= 0) \
  $(if $(filter 1,$(CLASSES)),$(eval CLASSES_$l ?= 7))))
PLAN_OF = $(or $(PLAN_$(1)),$(1))
by = $(strip $(foreach b,$(BASELINES),$(if $(filter $(1),$(call PLAN_OF,$b)),$b)))
best-ofs = $(call by,best-of)

# $(call fallbacks-of,LEARNER): whose choices its own is held against in the end.
fallbacks-of = $(if $(strip $(STEPS_$(1)) $(PERCENT_$(1)) $(POOL_$(1)) $(filter 0,$(or $(EPISODES_$(1)),$(EPISODES)))),,$(if \
  $(filter undefined,$(origin FALLBACK_$(1))),$(FALLBACK),$(FALLBACK_$(1))))
$(foreach l,$(LEARNERS),$(eval FALLBACK_OF_$l := $(strip $(call fallbacks-of,$l))))
# Those that are no rows of the table.
fallbacks := $(filter-out $(BASELINES),$(sort $(foreach l,$(LEARNERS),$(FALLBACK_OF_$l))))

percents = $(sort $(foreach m,$(LEARNERS) $(BASELINES),$(PERCENT_$m)))

# What a method has of its own, as one setting.
$(foreach m,$(LEARNERS) $(BASELINES),$(eval OWN_$m := $(strip $(foreach v,EPISODES STEPS PERCENT DIM CLASSES,$(addprefix \
  $v=,$($v_$m))) $(if $(POOL_$m),POOL) $(DEPLOY_OPTS_$m))))

# What these names need is told before anything is run.
needs = $(if $(1),$(if $(2),,$(error BASELINES: $(firstword $(1)) needs $(3))))
$(call needs,$(filter validation,$(BASELINES)),$(filter-out 0,$(TARGET_LIMIT)),TARGET_LIMIT)
$(call needs,$(call by,less),$(filter --influence,$(TARGET_OPTS)),TARGET_OPTS=--influence (which learners see \
  as well, but for INIT_OPTS='--without influence'))
$(call needs,$(best-ofs),$(filter-out 0,$(EPISODES)),EPISODES)
$(foreach f,$(EXTRA) $(EXTRA_CHOICE),$(if $(wildcard $f),,$(error EXTRA: $f: there is no such file)))
$(if $(filter-out choice gsm8k,$(EVAL)),$(error EVAL=$(EVAL): choice, gsm8k or nothing))
