# SPDX-License-Identifier: MIT
# What can be known to be wrong before anything is run: one line that names the variable.
# An including makefile may set
#   INPUTS  variables that name files which must be there [POOL VAL TEST]

INPUTS ?= POOL VAL TEST
checks = $(foreach v,$(2),$(1):$v '$(subst ','\'',$($v))')
learners-known := $(shell $(BIN)raise-ppo -h 2>/dev/null | \
  tr -s '\n ' ' ' | sed -n 's/.*--learner NAME [^:]*: \([a-z|-]*\) .*/\1/p' | tr '|' ' ')
plans-known := $(shell $(BIN)raise-plan -h 2>/dev/null | sed -n '2,/^$$/s/^  \([a-z-]*\)  .*/\1/p')
trouble := $(shell bash $(HERE)check.sh \
  $(call checks,path,OUT MODEL TEMPLATE $(or $(filter DATA,$(INPUTS)),POOL) VAL TEST) $(call checks,file,$(INPUTS)) \
  $(call checks,model,MODEL) $(call checks,template,TEMPLATE) $(call checks,program,BIN) \
  $(call checks,count,EPISODES) $(call checks,positive,PER_UPDATE BATCH CLASSES LORA_RANK) \
  $(if $(strip $(STEPS)),$(call checks,positive,STEPS),$(call checks,real,PERCENT EPOCHS)) \
  $(call checks,size,DIM VAL_LIMIT TEST_LIMIT TARGET_LIMIT MAX_LENGTH THREADS $(SIZES)) \
  $(call checks,real,LR) $(call checks,every,CHECKPOINT) $(call checks,seeds,SEEDS) $(call checks,names,LEARNERS BASELINES))
$(if $(trouble),$(error $(trouble)))
$(if $(filter-out yes,$(REBUILD)),$(error REBUILD=$(REBUILD): yes, or nothing))

$(if $(strip $(LEARNERS) $(BASELINES)),,$(error LEARNERS and BASELINES are both empty))
$(foreach l,$(LEARNERS),$(if $(filter-out $(learners-known),$(call LEARNER_OF,$l)),$(if \
  $(learners-known),$(error LEARNERS: unknown learner "$(call LEARNER_OF,$l)"; known: $(learners-known)))))
$(foreach b,$(BASELINES),$(if $(filter-out $(plans-known),$(call PLAN_OF,$b)),$(if \
  $(plans-known),$(error BASELINES: unknown method "$(call PLAN_OF,$b)"; known: $(plans-known)))))
$(foreach b,$(BASELINES),$(if $(filter scores deita alpagasus only,$(call PLAN_OF,$b)),$(if $(PLAN_OPTS_$b),,$(error \
  BASELINES: $b needs its options in PLAN_OPTS_$b))))
$(foreach m,$(filter $(LEARNERS),$(BASELINES)),$(error LEARNERS and BASELINES both have "$m"))
$(foreach v,PPO_OPTS $(LEARNERS:%=PPO_OPTS_%),$(foreach o,$(filter --start% --with% --without%,$($v)),$(error \
  $v: $o is an option of a new policy: $(v:PPO%=INIT%))))
