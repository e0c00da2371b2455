/* SPDX-License-Identifier: MIT
 *
 * log: what a program says on standard error. For tools/ only: library code returns errors.
 *
 * Levels: 0 errors (always), 1 notes (default; off with -q), 2 details (-v), 3 more (-vv).
 * The bar shows rate and time left from the first second, on a terminal only, at most six times
 * a second; NO_COLOR and HF_HUB_DISABLE_PROGRESS_BARS are respected. Without a terminal it
 * prints one plain line every 30 seconds instead (level 1), so that a log file shows life.
 */
#ifndef RAISE_BASE_LOG_H
#define RAISE_BASE_LOG_H

#include "base/err.h"

#include <stdint.h>

extern const char *log_program; /* set by opt_parse */
extern int log_level;

void log_error(const char *fmt, ...) RAISE_PRINTF(1, 2);
void log_warn(const char *fmt, ...) RAISE_PRINTF(1, 2); /* "warning: ", shown unless -q */
void log_note(const char *fmt, ...) RAISE_PRINTF(1, 2);
void log_detail(const char *fmt, ...) RAISE_PRINTF(1, 2);

struct log_bar {
    const char *what, *unit;
    double total, done, start, last;
    int is_shown;
};
/* `total` in `unit`s of work (tokens, steps); the caller reports absolute progress. */
void log_bar_start(struct log_bar *b, const char *what, const char *unit, double total);
void log_bar_set(struct log_bar *b, double done);
void log_bar_end(struct log_bar *b);

/* The closing line: "raise-embed: 52002 records, 7.1M tokens, 812 s wall, 1603 s CPU, 1.9 GiB
 * peak". `what` is the program's own part of it. */
void log_summary(const char *what, ...) RAISE_PRINTF(1, 2);

#endif
