# SPDX-License-Identifier: MIT
# Where the programs are, and what every recipe runs under: the same words and numbers in any
# locale, and an end at the first command that fails. For makefiles that have set HERE, their folder.

## where programs were built
BUILD ?= build
## folder of the programs, with its slash; by default BUILD, or where they were installed
BIN ?= $(dir $(firstword $(wildcard $(BUILD)/raise-embed $(HERE)../build/raise-embed \
  $(HERE)../../../bin/raise-embed)))

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
unexport BASH_ENV
override LC_ALL := C
export LC_ALL
