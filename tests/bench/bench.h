/* SPDX-License-Identifier: MIT
 *
 * bench: what the benchmarks share.
 */
#ifndef RAISE_TESTS_BENCH_H
#define RAISE_TESTS_BENCH_H

#include "base/err.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Seconds of the processor, all threads: with OMP_NUM_THREADS=1 what a machine takes that does
 * nothing else. */
static inline double bench_cpu_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* For qsort, of doubles. */
static inline int bench_by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Ends the program after a failure. */
static inline void bench_must(const char *name, int code, const struct err *e)
{
    if (code >= 0)
        return;
    fprintf(stderr, "%s: %s\n", name, e->msg);
    exit(1);
}
#define must(code, e) bench_must(BENCH_NAME, code, e)

#endif
