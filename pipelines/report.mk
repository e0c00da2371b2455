# SPDX-License-Identifier: MIT
# `make report`: OUT/report.html, a run on one page; what it shows is in OUT/report.

REPORTED = OUT BIN UPDATES REPORT_BY MODEL POOL VAL TEST LEARNERS BASELINES SEEDS EPISODES PER_UPDATE \
  STEPS PERCENT EPOCHS BATCH DIM CLASSES VAL_LIMIT TEST_LIMIT TARGET_LIMIT LR LORA_RANK TEMPLATE \
  MAX_LENGTH PRECISION RUN EMBED_OPTS TARGET_OPTS POOL_OPTS ROLLOUT_OPTS INIT_OPTS PPO_OPTS DRAW_OPTS

# Made anew whenever it is asked for: that takes a second.
.PHONY: report
report: $(OUT)/table.csv $(OUT)/loss.csv $(OUT)/episodes.csv
	@bash $(HERE)report.sh $(foreach v,$(REPORTED),$v=$(call quoted,$v)) >$(OUT)/report.html.tmp
	@mv $(OUT)/report.html.tmp $(OUT)/report.html
	@echo $(OUT)/report.html
