/* SPDX-License-Identifier: MIT
 * record_of: a record of a dataset, for tests that look at one after another without a care for
 * its lifetime: its reader is kept until the program ends. */
#ifndef RAISE_TESTS_RECORD_OF_H
#define RAISE_TESTS_RECORD_OF_H

#include "base/mem.h"
#include "data/dataset.h"

#include <stdio.h>
#include <stdlib.h>

static inline const struct data_record *record_of(const struct dataset *d, int64_t i)
{
    static struct data_reader **kept; /* reachable, so no leak */
    static size_t n, cap;
    struct err e = ERR_INIT;
    MEM_GROW(kept, cap, n + 1);
    kept[n] = data_reader_new(d);
    const struct data_record *r = data_reader_get(kept[n++], i, &e);
    if (r)
        return r;
    fprintf(stderr, "record %lld: %s\n", (long long)i, e.msg);
    abort();
}

#endif
