# SPDX-License-Identifier: MIT
# The RAISE loop for other makefiles to include: settings, their checks, and the lock that keeps a
# second make out of the folder. The rules are in loop.mk (embed, cluster, K times rollout and
# ppo, deploy, export, baselines) and tables.mk. Every file is a target: a missing file is work to
# do, so a killed run goes on with `make` again, and `make -j` runs what does not depend on each
# other side by side (learners, seeds, baselines, the episodes of one update).
#
#     OUT ?= build/mine                     settings first; what is not set has a default below
#     POOL = pool.jsonl
#     JOBS = -j2                            flags for the make that runs the rules, if any
#     mine: run
#     include pipelines/raise.mk
#     ifdef RULES                           then rules of its own, for the make that holds the lock
#     endif
#
#   OUT/test.jsonl, OUT/sSEED/val.jsonl   the records that are measured on, by every method
#   OUT/features.st.zst OUT/steps
#   OUT/LEARNER/sSEED/policy.K.st.zst traj.K.st.zst final.st.zst subset.jsonl adapter/
#   OUT/LEARNER/sSEED/learned/final.st.zst kept.csv  the learned choice, and which was kept (fallback.sh)
#   OUT/BASELINE/sSEED/plan.st.zst final.st.zst
#   OUT/table.csv  method,seed,steps,test_loss       OUT/table.txt  means and deviations
#   OUT/loss.csv   method,seed,step,validation_loss  OUT/loss.png   the same as a picture
#   OUT/episodes.csv  method,seed,episode,gain,status  OUT/episodes.png (with gnuplot installed)
#   OUT/costs.csv  method,seed,part,tokens_scored,tokens_trained,phi: what each choice cost; costs.txt: means
#   OUT/eval.csv   method,seed,task,file,metric,value,standard_error,n, with EVAL or EXTRA
#   OUT/settings/NAME  what it was made with (settings.mk)     OUT/.jobs  what was done, when (job.sh)
#   OUT/times.csv  kind,target,seconds,cpu_seconds,peak_bytes: a row a finished job (not with V=1)
#   OUT/LEARNER/sSEED/train-TRAINER.yaml  to train on the choice, in its order (trainers.sh)
#   OUT/next.txt  where all of it is, and the next commands
#   OUT/report.html  all of it on one page, by `make report`; what it shows is in OUT/report
#
# A learner or baseline is a name with options, sizes or a pool of its own (methods.mk):
# LEARNERS='reward-model blind' with LEARNER_blind=reward-model INIT_OPTS_blind='--without stage';
# BASELINES='rds near' with PLAN_near=rds PLAN_OPTS_near='--match max'.

HERE := $(dir $(lastword $(MAKEFILE_LIST)))

## folder of the run
OUT ?= build/run
## what to learn with: reward-model, ppo
LEARNERS ?= reward-model ppo
## fixed choices to compare with: methods of raise-plan
BASELINES ?= random ifd rds $(if $(filter-out 0,$(TARGET_LIMIT)),prior)
## baselines whose choice is kept where the learned one does not end with less validation loss; each is
## another episode of a learner's cost; empty: what was learnt is kept in any case
FALLBACK ?= $(if $(filter-out 0,$(TARGET_LIMIT)),prior)
## a run of everything for each
SEEDS ?= 1 2 3
## training episodes of a learner
EPISODES ?= 20
## episodes between two updates of the policy; the last update takes what is left
PER_UPDATE ?= 1
## T, training steps of an episode; empty: PERCENT of EPOCHS epochs on the pool's rows, at least 5
STEPS ?=
## of the steps of EPOCHS epochs; decimals allowed
PERCENT ?= 1
## epochs that full training would take
EPOCHS ?= 3
## B, records a step
BATCH ?= 16
## width of the embedding
DIM ?= 32
## classes; each gives its share of every batch: no more than a C-th of it is of one kind
CLASSES ?= 1
## records of VAL that rewards are measured on, a sample for each seed; 0: all
VAL_LIMIT ?= 32
## records of TEST, the first; 0: all
TEST_LIMIT ?= 0
## records of VAL for raise-embed --target, in no sample of VAL_LIMIT; 0: features without a target
TARGET_LIMIT ?= 64
## learning rate
LR ?= 3e-4
## rank of the adapters
LORA_RANK ?= 16
## prompt template: auto (the model's own, else alpaca), a name or a file
TEMPLATE ?= auto
## tokens a record
MAX_LENGTH ?= 1024
## arithmetic: auto, fp32, bf16
PRECISION ?= auto
## threads of a program; 0: all
THREADS ?= 0
## prefix of every heavy command: RUN='srun -n1 --gpus=1'
RUN ?=
## more options of raise-embed
EMBED_OPTS ?=
## more options of raise-embed where it has a target; its rate is LR unless they say another
TARGET_OPTS ?=
## more options of raise-rollout
ROLLOUT_OPTS ?=
## more options of raise-rollout where a learner's policy is deployed
DEPLOY_OPTS ?=
## more options of raise-ppo where it makes policy 0
INIT_OPTS ?=
## more options of raise-ppo where it learns
PPO_OPTS ?=
## more options of raise-export where it draws VAL and TEST
DRAW_OPTS ?=
## a task of raise-eval that TEST is asked by in the end: choice, gsm8k; empty: none
EVAL ?=
## more options of raise-eval, but for losses
EVAL_OPTS ?=
## further test files: the loss of each is measured in the end
EXTRA ?=
## the same of multiple choice, by how many are right
EXTRA_CHOICE ?=
## yes: what was made with other settings than these is made anew; empty: that is refused
REBUILD ?=
## an episode stands still every N steps, or seconds (600s), and goes on from there after a kill; empty: begins anew
CHECKPOINT ?=
## 1: print the commands, and all that the programs say, not a line a finished job
V ?=
## GPUs that jobs side by side share out, one each: GPUS='0 1'; empty: those that there are
GPUS ?=
## field of the records that the report shows the picks by: where they come from
REPORT_BY ?= source
## empty: do without the lock, on a file system that has none
LOCK ?= yes

include $(HERE)programs.mk

goals := $(or $(MAKECMDGOALS),$(.DEFAULT_GOAL),run)
# With -n, -q, -t nothing is run, so nothing is locked.
is-dry := $(strip $(foreach f,n q t,$(findstring $f,$(firstword -$(MAKEFLAGS)))))

.PHONY: run table help status status-lines
ifneq ($(filter help,$(goals)),)
help:
	@awk -f $(HERE)help.awk $(MAKEFILE_LIST)
else ifneq ($(filter status%,$(goals)),)
# How far the run is; that takes no lock and changes nothing.
AGAIN = $(MAKE) --no-print-directory -f $(firstword $(MAKEFILE_LIST))
status:
	@$(AGAIN) -s status-lines | awk -f $(HERE)status.awk
status-lines:
	@bash $(HERE)job.sh $(OUT)/.jobs status $(AGAIN)
else
include $(HERE)methods.mk
ifndef SETTINGS_CHANGED
include $(HERE)check.mk
endif
include $(HERE)settings.mk
ifneq ($(or $(is-dry),$(filter $(abspath $(OUT)),$(RAISE_FOLDER))),)
RULES := yes
include $(HERE)loop.mk $(HERE)tables.mk $(HERE)measure.mk $(HERE)end.mk $(HERE)report.mk
else
# GPUs are left to RUN, where that hands out the jobs.
quiet = $(findstring s,$(firstword -$(MAKEFLAGS)))$(filter 1,$V)
gpus = $(or $(GPUS),$(if $(strip $(RUN)),,$(or $(subst $(comma), ,$(CUDA_VISIBLE_DEVICES)),$$(nvidia-smi --query-gpu=index --format=csv,noheader 2>/dev/null || :))))
comma := ,
# The lock is the open file, which all that is started here inherits: it is free again when the
# last of them has ended, however it ended. A make whose starter is killed is ended, too. What a job
# that was killed left of its program's times (job.sh) goes.
.PHONY: $(goals) locked
$(goals): locked
locked:
	+@mkdir -p $(OUT); exec 9>>$(OUT)/.lock; \
	$(if $(LOCK),flock -n 9 || { echo "OUT=$(OUT): another make is at work in this folder" >&2; exit 1; };) \
	rm -f $(OUT)/.spent.*; \
	bash $(HERE)settings.sh keep '$(OUT)' '$(REBUILD)' $(settings) -- $(MAKE) -f $(firstword $(MAKEFILE_LIST)); \
	$(if $(quiet),rm -f $(OUT)/.jobs,$(MAKE) -n -f $(firstword $(MAKEFILE_LIST)) $(MAKECMDGOALS) | bash $(HERE)job.sh $(OUT)/.jobs begin $(gpus)); \
	RAISE_FOLDER=$(abspath $(OUT)) exec $(if $(shell command -v setpriv),setpriv --pdeathsig TERM) \
	  $(MAKE) --no-print-directory $(JOBS) -f $(firstword $(MAKEFILE_LIST)) $(MAKECMDGOALS)
endif
endif
