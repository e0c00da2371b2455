# SPDX-License-Identifier: MIT
# The proof: every method on every pool for every target, with paired seeds, against the rivals.
#
#     make -f pipelines/proof.mk MODEL=SmolLM2.gguf POOLS='A C' DATA_A=A.jsonl DATA_C=C.jsonl \
#         TARGETS='gsm8k mmlu' VAL_gsm8k=gsm8k_train.jsonl.zst TEST_gsm8k=gsm8k_test.jsonl.zst \
#         BASE_mmlu=general VAL_CSV_mmlu=mmlu/dev TEST_CSV_mmlu=mmlu/test PAIRS='A/gsm8k C/gsm8k A/mmlu'
#
# Each pair is a run of BASE (gsm8k, general, demo) in OUT/POOL/TARGET, with all that such a run has, its
# report too. A variable of it is told for all, or, with _POOL or _TARGET behind its name, for one:
# DATA_A, STEPS_mmlu. `... status` says how far all of it is. Writes
#
#   OUT/table.csv        pool,target,method,seed,steps,selection_phi,test_nll,test_accuracy,
#                        features_phi,episodes_phi,training_phi
#                        selection_phi: features and episodes, in units of training on all of the pool
#                        for EPOCHS epochs (cost.awk has the rule); test_accuracy: with EVAL
#   OUT/comparisons.csv  pool,target,metric,method,rival,seeds,below,sd,p_one_sided,p_two_sided
#                        below: how far the method's mean is below the rival's, seed by seed (of accuracy:
#                        of the share that is wrong); p by the exact paired permutation test; all/all
#                        takes the pairs of all runs together
#   OUT/proof.txt        both in words
#
# `... results RESULTS=FILE` puts table.csv there as data, with the command, the settings, the inputs' hashes
# and the machine; `... check-results RESULTS=FILE` makes one seed of two methods of it anew, in OUT/check,
# and compares (results.sh): of every pair in FILE, or of those that are named by PAIRS, POOLS or TARGETS.

## makefile of a run: gsm8k, general, demo
BASE ?= gsm8k
## names of the pools; DATA_NAME is the file
POOLS ?= pool
## names of the targets; VAL_NAME and TEST_NAME are the files
TARGETS ?= target
## which of them together, POOL/TARGET; all by default
PAIRS ?= $(foreach p,$(POOLS),$(TARGETS:%=$p/%))
## folder of the proof
OUT ?= build/proof
## paired seeds
SEEDS ?= 1 2 3 4 5
## what to learn with; paper: PPO with the paper's state and settings; lead: LEAD, over classes (methods.mk)
LEARNERS ?= reward-model ppo paper lead
## what to compare with (methods.mk)
BASELINES ?= random full best-of validation prior near gain less rds ifd loss self-paced length
## of the target's features; less needs --influence
TARGET_OPTS ?= $(if $(filter less,$(BASELINES)),--influence)
## of the learners: what LESS has to pay for they do not see
INIT_OPTS ?= $(if $(filter less,$(BASELINES)),--without influence)
## whom every method is compared with
RIVALS ?= random rds less
## file of results
RESULTS ?=
## methods that check-results makes anew
CHECK ?= $(firstword $(LEARNERS)) $(firstword $(BASELINES))

HERE := $(dir $(lastword $(MAKEFILE_LIST)))
include $(HERE)programs.mk
.DELETE_ON_ERROR:
write = >$@.tmp; mv $@.tmp $@
pool = $(firstword $(subst /, ,$(1)))
target = $(lastword $(subst /, ,$(1)))
quoted = '$(subst ','\'',$(1))'
# Variables that a pool or target has of its own: NAME_POOL or NAME_TARGET, of whatever a run knows.
knows := $(shell sed -n 's/^\([A-Z_]*\) ?=.*/\1/p' $(foreach f,raise data gsm8k general demo,$(HERE)$f.mk) | sort -u)
own_of = $(foreach v,$(knows),$(foreach x,$(call pool,$(1)) $(call target,$(1)),$(if $($v_$x),$v=$(call quoted,$($v_$x)))))
# $(call sub,PAIR,FOLDER): the make of one run, without its goals
sub = $(MAKE) --no-print-directory -f $(HERE)$(or $(BASE_$(call target,$(1))),$(BASE)).mk OUT=$(2)/$(1) $(foreach v,SEEDS LEARNERS \
  BASELINES TARGET_OPTS INIT_OPTS,$v=$(call quoted,$($v))) $(call own_of,$(1))
tables = $(PAIRS:%=$(OUT)/%/table.csv)

.PHONY: proof help status results check-results again
proof: $(OUT)/proof.txt
	@cat $<
help:
	@awk -f $(HERE)help.awk $(MAKEFILE_LIST)
status:
	@{ $(foreach x,$(PAIRS),$(call sub,$x,$(OUT)) -s status-lines;) } | awk -f $(HERE)status.awk
again:
$(tables): $(OUT)/%/table.csv: again
	+@$(call sub,$*,$(OUT)) run

# A run's rows: table.csv with what stands beside it.
rows = awk -F, -v pool=$(call pool,$(1)) -v target=$(call target,$(1)) -f $(HERE)proof.awk $(OUT)/$(1)/table.csv \
  $(OUT)/$(1)/costs.csv $(wildcard $(OUT)/$(1)/eval.csv)
$(OUT)/table.csv: $(tables)
	@{ echo pool,target,method,seed,steps,selection_phi,test_nll,test_accuracy,features_phi,episodes_phi,training_phi; \
	$(foreach x,$(PAIRS),$(call rows,$x);) } $(write)
$(OUT)/comparisons.csv: $(OUT)/table.csv
	@{ echo pool,target,metric,method,rival,seeds,below,sd,p_one_sided,p_two_sided; \
	for x in $(PAIRS) all/all; do for metric in nll error; do \
	  awk -F, -v "pair=$$x" -v metric=$$metric -f $(HERE)proof-table.awk $< | \
	  awk -F, -v "pair=$$x" -v metric=$$metric -v rivals='$(RIVALS)' -f $(HERE)results.awk -f $(HERE)compare.awk; done; done; } $(write)
$(OUT)/proof.txt: $(OUT)/comparisons.csv
	@{ for x in $(PAIRS); do echo "$$x"; awk -F, -v "pair=$$x" -v metric=nll -f $(HERE)proof-table.awk $(OUT)/table.csv | \
	  awk -F, -v learners='$(LEARNERS)' -f $(HERE)results.awk -f $(HERE)table.awk; echo; done; \
	awk -F, -v learners='$(LEARNERS)' -f $(HERE)comparisons.awk $<; } $(write)

results: $(OUT)/table.csv
	@bash $(HERE)results.sh write $(OUT) $(call quoted,$(RESULTS)) $(BIN) $(call quoted,make -f pipelines/proof.mk $(MAKEOVERRIDES)) $(foreach x,$(PAIRS),$x:$(or $(BASE_$(call \
	  target,$x)),$(BASE)))
check-pairs = $(if $(filter command% environment%,$(origin PAIRS) $(origin POOLS) $(origin TARGETS)),$(PAIRS),$(if $(wildcard $(RESULTS)),$(shell \
  sed -n 's/^. base \([^ ]*\) .*/\1/p' $(RESULTS))))
check-results:
	+@bash $(HERE)results.sh check $(OUT)/check $(call quoted,$(RESULTS)) $(BIN) $(call quoted,$(CHECK)) $(call quoted,$(MAKE) --no-print-directory -s) \
	  $(foreach x,$(check-pairs),$x $(call quoted,$(call own_of,$x)))
