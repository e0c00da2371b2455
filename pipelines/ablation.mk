# SPDX-License-Identifier: MIT
# What each part of RAISE is worth: the learner as it is, and with one part left out (Figure 4 of the
# paper, and ours).
#
#     make -f pipelines/ablation.mk BASE=demo
#     make -f pipelines/ablation.mk MODEL=... DATA=... VAL=... TEST=... SEEDS='1 2 3 4 5'
#
# BASE names the makefile whose data and settings it takes: gsm8k, general or demo. Writes
# OUT/figure4.csv, with gnuplot installed OUT/figure4.png:
#
#   part,seeds,test_loss,sd,difference,difference_sd,p    difference: what leaving it out loses, seed by
#   seed, and p that it loses nothing: one-sided, by the exact paired permutation test
#
# `... results RESULTS=pipelines/results/demo` puts it there as data, demo-figure4.csv.

## makefile whose data and settings are taken: gsm8k, general, demo
BASE ?= gsm8k
## folder of the run
OUT ?= build/ablation
## the learner that is taken apart
LEARNER ?= reward-model
## parts of the state that are left out, each by itself
PARTS ?= stage difficulty semantic availability target consistency
## of what else there is: prior, learning (no episode), shuffle (deployed step by step)
FEATS ?= prior learning shuffle

ABLATED = $(addprefix without-,$(PARTS) $(FEATS))
LEARNERS = $(LEARNER) $(ABLATED)
BASELINES ?= random
$(foreach m,$(ABLATED),$(eval LEARNER_$m = $(LEARNER)))
# What INIT_OPTS leaves out stays out: of two --without the last one holds.
comma := ,
always-out = $(shell printf '%s\n' '$(INIT_OPTS)' | sed -n 's/.*--without[ =]\([^ ]*\).*/,\1/p')
$(foreach p,$(PARTS),$(eval INIT_OPTS_without-$p = --without $p$(always-out)))
INIT_OPTS_without-prior = $(if $(filter ppo,$(LEARNER)),--spread,--prior) 0
EPISODES_without-learning = 0
DEPLOY_OPTS_without-shuffle = --draw
# Another choice kept in its place would hide what leaving something out loses.
FALLBACK ?=

# settings.sh asks with all learners that there ever were.
$(if $(SETTINGS_CHANGED),,$(if $(filter command%,$(origin LEARNERS)),$(error LEARNERS: LEARNER= names the one)))
FIGURES = 4
.PHONY: ablation
ablation: run
include $(dir $(lastword $(MAKEFILE_LIST)))$(BASE).mk

ifdef RULES
run: $(OUT)/figure4.csv $(if $(PICTURES),$(OUT)/figure4.png)
$(OUT)/figure4.csv: $(OUT)/table.csv
	@awk -F, -v whole=$(LEARNER) -v learners='$(LEARNERS)' -f $(HERE)results.awk -f $(HERE)ablation.awk $< $(write); cat $@
$(OUT)/figure4.png: $(OUT)/figure4.csv
	@gnuplot -e "here='$(HERE)'; csv='$<'; png='$@.tmp'" $(HERE)figure4.gp; mv $@.tmp $@
endif
