/* SPDX-License-Identifier: MIT
 *
 * neighbours: the nearest rows of every row, by cosine, through FAISS's C API.
 *
 * Rows come from a callback, block by block, and neighbours go to another one, row by row, so
 * that no [n, k] array is held: memory is one copy of the rows. Up to `max_exact` rows every
 * row is compared with every other. Beyond, rows are put into 4 sqrt(n) cells by spherical
 * k-means, and those of a cell are compared with the rows of the n_probes cells whose centres
 * are nearest to its own: some neighbours across a border are missed, in exchange for a cost
 * that grows as n sqrt(n).
 *
 * The same neighbours for any number of threads: cells are trained on one, and rows are looked
 * up in blocks and cells, each on one.
 *
 *     struct neighbours_options o = NEIGHBOURS_OPTIONS_DEFAULTS;
 *     if (neighbours_find(n, dim, fill, found, &world, &o, &e) < 0) ...
 */
#ifndef RAISE_CLUSTER_NEIGHBOURS_H
#define RAISE_CLUSTER_NEIGHBOURS_H

#include "base/err.h"

#include <stdint.h>

struct neighbours_options {
    int64_t k;         /* [20] neighbours wanted */
    int64_t max_exact; /* [100000] rows */
    int64_t n_probes;  /* [16] cells looked into */
    uint64_t seed;     /* of the cells */
};
#define NEIGHBOURS_OPTIONS_DEFAULTS                                                            \
    {                                                                                          \
        .k = 20, .max_exact = 100000, .n_probes = 16, .seed = 42                               \
    }

/* Writes rows [first, first + n) to out [n, dim], each scaled to length 1, or zero (its cosine
 * to any row is 0). Called from several threads at once, and more than once for a row. */
typedef void neighbours_rows(void *arg, int64_t first, int64_t n, float *out);

/* Takes the neighbours of one row: id [n] and cosine [n], nearest first, without the row
 * itself. n is k, or less where there are fewer other rows or the cells hold fewer. Called from
 * several threads at once, for different rows. */
typedef void neighbours_found(void *arg, int64_t row, const int64_t *id, const float *cosine,
                              int64_t n);

/* Of equal rows, which count as neighbours is FAISS's choice. ERR_RANGE: no rows, or options
 * below 1; ERR_UNSUPPORTED: what FAISS says. */
int neighbours_find(int64_t n, int64_t dim, neighbours_rows *rows, neighbours_found *found,
                    void *arg, const struct neighbours_options *o,
                    struct err *e) RAISE_MUST_CHECK;

/* best [n]: each row's largest cosine to one of target [n_target, dim], whose rows have length
 * 1 or are zero. */
int neighbours_best(float *best, int64_t n, int64_t dim, neighbours_rows *rows, void *arg,
                    const float *target, int64_t n_target, struct err *e) RAISE_MUST_CHECK;

#endif
