# SPDX-License-Identifier: MIT
# `make report`: OUT/report.html, a run on one page; what it shows is in OUT/report.

REPORTED = OUT BIN REPORT_BY MODEL POOL VAL TEST LEARNERS BASELINES SEEDS EPISODES PER_UPDATE \
  STEPS PERCENT EPOCHS BATCH DIM CLASSES VAL_LIMIT TEST_LIMIT TARGET_LIMIT LR LORA_RANK TEMPLATE \
  MAX_LENGTH PRECISION RUN EMBED_OPTS TARGET_OPTS POOL_OPTS ROLLOUT_OPTS INIT_OPTS PPO_OPTS DEPLOY_OPTS DRAW_OPTS EVAL EXTRA \
  EXTRA_CHOICE
# What a method has of its own: its features, pool, episodes and updates.
reported-method = 'method:$(1)=$(features-of):$(pool-of):$(words $(EPISODE_LIST_$(1))):$(words $(LAST_OF_$(1)))'

# Made anew whenever it is asked for: that takes a second.
.PHONY: report
report: $(OUT)/table.csv $(OUT)/loss.csv $(OUT)/episodes.csv $(OUT)/costs.csv $(if $(evaluations),$(OUT)/eval.csv)
	@bash $(HERE)report.sh $(foreach v,$(REPORTED),$v=$(call quoted,$v)) \
	  $(foreach m,$(methods),$(call reported-method,$m)) >$(OUT)/report.html.tmp
	@mv $(OUT)/report.html.tmp $(OUT)/report.html
	@echo $(OUT)/report.html
