/* SPDX-License-Identifier: MIT
 *
 * opt_impl: between opt.c, which parses, opt_help.c and opt_complete.c, which print, and
 * opt_near.c, which knows what users of other programs type.
 */
#ifndef RAISE_BASE_OPT_IMPL_H
#define RAISE_BASE_OPT_IMPL_H

#include "base/opt.h"

/* The program's table and the common options it takes, side by side for parser and help. */
enum { OPT_MAX_ROWS = 96 };
struct opt_merged {
    struct opt row[OPT_MAX_ROWS];
    int n;
};

/* ---- opt_help.c: to standard output ---- */

/* options: what they hold is the default that is printed. */
void opt_print_help(const struct opt_spec *spec, const struct opt_merged *m,
                    const void *options);
/* A screen of what the program reads, with its examples. */
void opt_print_short(const struct opt_spec *spec);

/* ---- opt_complete.c: to standard output ---- */

/* ERR_RANGE: it speaks bash, zsh and fish. */
int opt_print_completions(const struct opt_spec *spec, const struct opt_merged *m,
                          const char *shell) RAISE_MUST_CHECK;

/* ---- opt_near.c: long names are given by n bytes, with dashes ---- */

/* A name from transformers, TRL, LLaMA-Factory, axolotl or lm-evaluation-harness. is_same: ours
 * means the same and takes the same argument, so that it is taken for ours; else it is only
 * named. */
struct opt_habit {
    const char *theirs, *ours;
    bool is_same;
};
const struct opt_habit *opt_habit(const char *name, size_t n); /* NULL: no such */
/* The program's option that was meant: by habit, or by the fewest letters that differ (a third
 * of them at most); NULL: none is near. */
const char *opt_near(const struct opt_merged *m, const char *name, size_t n);
/* An option that names the dataset elsewhere. */
bool opt_means_data(const char *name, size_t n);

#endif
