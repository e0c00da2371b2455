# SPDX-License-Identifier: MIT
# How much the sizes matter: the width of the embedding (Figure 3 of the paper), and the number of
# classes at several lengths of training (Figure 5).
#
#     make -f pipelines/sweep.mk BASE=demo
#     make -f pipelines/sweep.mk MODEL=... DATA=... VAL=... TEST=... SEEDS='1 2 3 4 5'
#
# BASE names the makefile whose data and settings it takes: gsm8k, general or demo. Writes, and with
# gnuplot installed draws as OUT/figure3.png and figure5.png:
#
#   OUT/figure3.csv  width,seeds,test_loss,sd
#   OUT/figure5.csv  percent,classes,seeds,test_loss,sd    classes empty: random choice
#
# `... results RESULTS=pipelines/results/demo` puts them there as data, demo-figure3.csv and demo-figure5.csv.

## makefile whose data and settings are taken: gsm8k, general, demo
BASE ?= gsm8k
## folder of the run
OUT ?= build/sweep
## the learner
LEARNER ?= reward-model
## widths of the embedding
DIMS ?= 8 16 32 64 128
## numbers of classes
CLASS_COUNTS ?= 1 2 4 8 16
## lengths of training, as PERCENT
PERCENTS ?= 1 5

# Names: d8; c4-p1; random-p1. A point of a number is an underscore in a name.
as-name = $(subst .,_,$(1))
LEARNERS = $(DIMS:%=d%) $(foreach p,$(PERCENTS),$(CLASS_COUNTS:%=c%-p$(call as-name,$p)))
BASELINES = $(foreach p,$(PERCENTS),random-p$(call as-name,$p))
$(foreach d,$(DIMS),$(eval DIM_d$d = $d))
$(foreach p,$(PERCENTS),$(foreach c,$(CLASS_COUNTS),$(eval CLASSES_c$c-p$(call as-name,$p) = $c)) \
  $(foreach m,random $(CLASS_COUNTS:%=c%),$(eval PERCENT_$m-p$(call as-name,$p) = $p)) $(eval PLAN_random-p$(call as-name,$p) = random))
$(foreach l,$(LEARNERS),$(eval LEARNER_$l = $(LEARNER)))
# Another choice kept in its place would hide what a size loses.
FALLBACK ?=

# settings.sh asks with all learners that there ever were.
$(if $(SETTINGS_CHANGED),,$(if $(filter command%,$(origin LEARNERS)),$(error LEARNERS: LEARNER= names the one)))
FIGURES = 3 5
.PHONY: sweep
sweep: run
include $(dir $(lastword $(MAKEFILE_LIST)))$(BASE).mk

ifdef RULES
run: $(OUT)/figure3.csv $(OUT)/figure5.csv $(if $(PICTURES),$(OUT)/figure3.png $(OUT)/figure5.png)
$(OUT)/figure3.csv $(OUT)/figure5.csv: $(OUT)/figure%.csv: $(OUT)/table.csv
	@awk -F, -v figure=$* -v dims='$(DIMS)' -v classes='$(CLASS_COUNTS)' -v percents='$(PERCENTS)' \
	  -f $(HERE)results.awk -f $(HERE)sweep.awk $< $(write); cat $@
$(OUT)/figure3.png $(OUT)/figure5.png: %.png: %.csv
	@gnuplot -e "here='$(HERE)'; csv='$<'; png='$@.tmp'" $(HERE)$(*F).gp; mv $@.tmp $@
endif
