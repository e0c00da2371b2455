/* SPDX-License-Identifier: MIT
 *
 * log: what a program says on standard error. For tools/ only: library code returns errors.
 *
 * Levels: 0 errors (always), 1 notes (default; off with -q), 2 details (-v), 3 more (-vv).
 * The bar shows rate and time left from the first second, on a terminal only, at most six times
 * a second, and is never wider than the terminal: at its narrowest it is percentage and time
 * left. HF_HUB_DISABLE_PROGRESS_BARS=1 (or true, yes, on) switches it off, and so does a
 * parallel make, whose jobs would draw over each other. Without a bar there is one plain line
 * every 30 seconds instead, so that a log file shows life. RAISE_JOB=1, which the pipelines
 * set, leaves out these lines and all notes: make itself prints a line a job. Warnings stay.
 */
#ifndef RAISE_BASE_LOG_H
#define RAISE_BASE_LOG_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

extern const char *log_program; /* set by opt_parse */
extern int log_level;

void log_error(const char *fmt, ...) RAISE_PRINTF(1, 2);
void log_warn(const char *fmt, ...) RAISE_PRINTF(1, 2); /* "warning: ", shown unless -q */
void log_note(const char *fmt, ...) RAISE_PRINTF(1, 2);
void log_detail(const char *fmt, ...) RAISE_PRINTF(1, 2);

/* Progress, counted in two ways: in `unit`s (steps, tokens), for a person, and in work, for
 * percentage and time left, where units do not cost the same or not all work is in them.
 *
 *     struct log_bar b;
 *     log_bar_start(&b, "episode", "steps", 10);
 *     log_bar_work(&b, 1200, 90000);      if work is told, units count from the first
 * log_bar_set log_bar_set(&b, 1); log_bar_end(&b);
 */
struct log_bar {
    const char *what, *unit; /* borrowed; what may be changed on the way */
    double total, done, work, worked;
    double start, last;
    double counted_from, counted_to; /* the time in which `done` units were done */
    int is_shown;                    /* enum in log.c */
    bool is_passing;
};
/* total 0: unknown. */
void log_bar_start(struct log_bar *b, const char *what, const char *unit, double total);
/* Of what is mostly over at once: the bar comes when it is not, after some tenths of a second,
 * and leaves nothing behind. */
void log_bar_start_passing(struct log_bar *b, const char *what, const char *unit, double total);
/* The caller reports absolute progress. */
void log_bar_set(struct log_bar *b, double done);
void log_bar_work(struct log_bar *b, double worked, double work);
void log_bar_end(struct log_bar *b);

/* What is printed, once, when a signal ends the program from here on; NULL: nothing. A copy is
 * made. For what a user wants to know then: what is kept, and how to go on. */
void log_when_killed(const char *fmt, ...) RAISE_PRINTF(1, 2);

/* The work begins: what came before, waiting for another program, is not the closing line's. */
void log_start_clock(void);
/* The closing line: "raise-embed: 52002 records, 7.1M tokens, 812 s wall, 1603 s CPU, 1.9 GiB
 * peak". `what` is the program's own part of it. With RAISE_SPENT=FILE, which the pipelines
 * set, FILE gets a line too, at any level: program,wall seconds,CPU seconds,peak bytes. */
void log_summary(const char *what, ...) RAISE_PRINTF(1, 2);

#endif
