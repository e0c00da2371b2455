# SPDX-License-Identifier: MIT
# What makefiles have in common that choose from a dataset of the user's: DATA and its LIMIT.

## the instruction dataset
DATA ?= $(error DATA= names the instruction dataset)
## a Hugging Face folder or a GGUF file
MODEL ?= $(error MODEL= names a Hugging Face folder or a .gguf file)
## use a seeded sample of this many records of DATA; 0: all
LIMIT ?= 0
## a run of everything for each
SEEDS ?= 1

POOL = $(DATA)
INPUTS ?= DATA VAL TEST
SIZES = LIMIT
# Records without an answer (Alpaca-52K has 28) are skipped, counted and listed.
POOL_OPTS = --on-error skip $(if $(filter-out 0,$(LIMIT)),--limit $(LIMIT) --sample -s 1)
include $(dir $(lastword $(MAKEFILE_LIST)))raise.mk
