# SPDX-License-Identifier: MIT
# Tables and pictures of raise.mk. What a method and seed has to say is a file of rows beside its
# last episode; a table is those files, all of them its prerequisites, those of makefiles that
# include raise.mk among them.

PICTURES := $(if $(shell command -v gnuplot),$(OUT)/loss.png $(if $(strip $(foreach m,$(LEARNERS) $(best-ofs),\
  $(EPISODE_LIST_$m))),$(OUT)/episodes.png))
run: $(OUT)/loss.csv $(OUT)/episodes.csv $(PICTURES)
meta = $(BIN)raise-view --meta raise.$(1) $<
# The last episode's status is looked at here, so that its file stays when it is not a good one.
is-ok = status=$$($(call meta,status)); [ "$$status" = ok ] || { echo "$<: the last episode ended as\
  \"$$status\" and has no result; with a lower LR it may end well" >&2; exit 1; }
write = >$@.tmp; mv $@.tmp $@

# $(call rows,METHOD,SEED): `none` is the untrained model.
define rows
$(OUT)/$(1)/s$(2)/test.csv: $(OUT)/$(1)/s$(2)/final.st.zst
	@$$(is-ok); before=$$$$($$(call meta,test_loss_before)); steps=$$$$($$(call meta,n_steps)); \
	after=$$$$($$(call meta,test_loss)); \
	printf '%s\n' none,$(2),0,$$$$before $(1),$(2),$$$$steps,$$$$after $$(write)
$(OUT)/$(1)/s$(2)/loss.csv: $(OUT)/$(1)/s$(2)/final.st.zst
	@$$(is-ok); $(BIN)raise-view --table perf $$< | \
	awk 'NR > 1 { printf "$(1),$(2),%d,%.17g\n", NR - 2, -$$$$NF }' $$(write)
TESTS += $(OUT)/$(1)/s$(2)/test.csv
LOSSES += $(OUT)/$(1)/s$(2)/loss.csv
endef
# What an episode brought: does the learner learn? One that ended badly brought no number.
define gains
$(OUT)/$(1)/s$(2)/gains.csv: $(call trajectories,$(1),$(2)) $(call kept,EPISODES)
	$$(fresh)
	@for k in $(EPISODE_LIST_$(1)); do \
	  t=$$(@D)/traj.$$$$k.st.zst; status=$$$$($(BIN)raise-view --meta raise.status $$$$t); gain=; \
	  [ "$$$$status" != ok ] || gain=$$$$($(BIN)raise-view --table perf $$$$t | \
	    awk 'NR == 2 { first = $$$$NF } END { printf "%.17g", $$$$NF - first }'); \
	  echo "$(1),$(2),$$$$k,$$$$gain,$$$${status%%:*}"; \
	done $$(write)
GAINS += $(OUT)/$(1)/s$(2)/gains.csv
endef

$(OUT)/table.csv: $$(TESTS) $(call kept,TABLE)
	@{ echo method,seed,steps,test_loss; cat $(made-of) | sort -s -u -t, -k1,1 -k2,2; } $(write)
$(OUT)/table.txt: $(OUT)/table.csv $$(SUBSETS)
	@{ awk -F, -v learners="$(LEARNERS)" -f $(HERE)results.awk -f $(HERE)table.awk $<; \
	  cat /dev/null $(KEPT) | awk -F, -f $(HERE)kept.awk; } $(write); cat $@
$(OUT)/loss.csv: $$(LOSSES) $(call kept,TABLE)
	@{ echo method,seed,step,validation_loss; cat $(made-of); } $(write)
$(OUT)/episodes.csv: $$(GAINS) $(call kept,TABLE)
	@{ echo method,seed,episode,gain,status; cat /dev/null $(made-of); } $(write)
$(OUT)/loss.png $(OUT)/episodes.png: $(OUT)/%.png: $(OUT)/%.csv
	@gnuplot -e "here='$(HERE)'; csv='$<'; png='$@.tmp'" $(HERE)$*.gp; mv $@.tmp $@

# The figures that the makefile names, as data: `results RESULTS=pipelines/results/mine` writes mine-figure3.csv.
word-of = '$(subst ','\'',$(1))'
ifdef FIGURES
.PHONY: results
results: $(FIGURES:%=$(OUT)/figure%.csv)
	@$(if $(RESULTS),,echo "RESULTS= names the files of results" >&2; exit 1;) for f in $(^F); do \
	  bash $(HERE)results.sh figure $(OUT) $(RESULTS)-$$f $(BIN) $(call word-of,make -f pipelines/$(notdir $(firstword $(MAKEFILE_LIST))) $(MAKEOVERRIDES)) $$f; done
endif

$(foreach s,$(SEEDS),$(foreach l,$(LEARNERS),$(eval $(call learner,$l,$s)) \
  $(foreach k,$(EPISODE_LIST_$l),$(eval $(call episode,$l,$s,$k))) \
  $(foreach u,$(wordlist 1,$(words $(LAST_OF_$l)),$(EPISODE_LIST_$l)),$(eval $(call update,$l,$s,$u)))))
$(foreach s,$(SEEDS),$(foreach m,$(BASELINES) $(fallbacks),$(eval $(call baseline,$m,$s)) \
  $(if $(filter $m,$(best-ofs)),$(foreach k,$(EPISODE_LIST_$m),$(eval $(call random-episode,$m,$s,$k))))))
