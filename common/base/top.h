/* SPDX-License-Identifier: MIT
 *
 * top: the best rows of many, in an order that is total: larger key first, equal keys by the
 * smaller tie (a hash, so that no row is favoured for where it stands), then the smaller row.
 * What is kept does not depend on the order of the offers.
 *
 *     struct top_row best[10];
 *     int64_t n = 0;
 *     for (int64_t i = 0; i < n_rows; i++)
 *         top_offer(best, &n, 10, (struct top_row){score[i], hash(i), i});
 *     top_sort(best, n);
 */
#ifndef RAISE_BASE_TOP_H
#define RAISE_BASE_TOP_H

#include <stdbool.h>
#include <stdint.h>

struct top_row {
    double key; /* no NaN */
    uint64_t tie;
    int64_t row;
};

/* Does a come before b? */
bool top_is_before(const struct top_row *a, const struct top_row *b);
/* Keeps the best `cap` of what is offered, *n of them so far, as a heap with the worst in
 * heap[0]: once *n is cap, a key below heap[0].key need not be offered. */
void top_offer(struct top_row *heap, int64_t *n, int64_t cap, struct top_row x);
/* Best first. */
void top_sort(struct top_row *rows, int64_t n);

#endif
