# SPDX-License-Identifier: MIT
# What a run was made with. OUT/settings has a file for each variable that its files depend on: the
# value, or the hashes of the input that it names. These files are prerequisites, and inputs are
# not: what counts is content, so that a copy of the folder, or of an input, is as fresh as the
# original. settings.sh compares, and keeps; more episodes, seeds, learners and baselines change
# nothing that is there, anything else is refused with the difference, or rebuilt on request.
#
#   $(call kept,NAME ...)   the files of these variables, as prerequisites
#   $(call input,NAME)      the file of a variable that names an input; the input itself, where a
#                           rule of the pipeline makes it
#   $(made-of)              the prerequisites that are no such files
#
# A makefile that includes raise.mk names what its own files depend on in OWN_SETTINGS.

kept = $(addprefix $(OUT)/settings/,$(1))
made-of = $(filter-out $(OUT)/settings/%,$^)
is-ours = $(or $(filter $(abspath $(OUT))/%,$(abspath $($(1)))),$(if $(wildcard $($(1))),,$(filter-out MODEL,$(1))))
input = $(if $(call is-ours,$(1)),$($(1)),$(call kept,$(1)))

quoted = '$(subst ','\'',$(strip $($(1))))'
each = $(foreach v,$(2),$(1):$v $(call quoted,$v))
rows-of-table = $(sort $(foreach s,$(SEEDS),$(addsuffix /$s,$(LEARNERS) $(BASELINES))))
settings = $(foreach v,POOL VAL TEST MODEL $(FOLDERS) $(addprefix POOL_,$(LEARNERS) $(BASELINES)),$(if $(call is-ours,$v),,$(call each,input,$v))) \
  $(call each,value,TEMPLATE TEST_LIMIT VAL_LIMIT TARGET_LIMIT DRAW_OPTS DIM CLASSES MAX_LENGTH \
    PRECISION EMBED_OPTS POOL_OPTS STEPS BATCH LR LORA_RANK ROLLOUT_OPTS INIT_OPTS PPO_OPTS DEPLOY_OPTS \
    EVAL EVAL_OPTS EXTRA EXTRA_CHOICE EPOCHS $(OWN_SETTINGS) \
    PER_UPDATE $(if $(strip $(STEPS)),,PERCENT) \
    $(if $(filter-out 0,$(TARGET_LIMIT)),TARGET_OPTS) \
    $(foreach l,$(LEARNERS),LEARNER_$l INIT_OPTS_$l PPO_OPTS_$l ROLLOUT_OPTS_$l OWN_$l FALLBACK_OF_$l) \
    $(foreach b,$(BASELINES) $(fallbacks),PLAN_$b PLAN_OPTS_$b ROLLOUT_OPTS_$b OWN_$b)) \
  $(call each,grows,EPISODES) 'rows:TABLE' '$(rows-of-table)' \
  $(foreach v,LEARNERS BASELINES SEEDS,$(call each,names,$v))

# With -n nothing is kept: what would be is taken for new.
ifneq ($(is-dry),)
changed := $(or $(SETTINGS_CHANGED),$(shell bash $(HERE)settings.sh look '$(OUT)' $(settings)))
.PHONY: $(call kept,$(changed))
endif
