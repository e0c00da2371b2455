/* SPDX-License-Identifier: MIT
 *
 * cached: pieces whose keys and values go to a cache, and see what is there. Internal to lm/.
 *
 * A sequence has a place in the cache, rows from `base` on; its token at position i is in row
 * base + i. A piece is of one of two kinds: whole sequences from position 0, which see
 * themselves only and leave their keys and values; or tokens that go on from there, each of
 * which sees its sequence's rows up to its own.
 *
 *     struct lm_cached c = {.m = m};
 *     lm_cached_alloc(&c, 2 * n, &e);
 *     lm_cached_begin(&c);
 *     lm_cached_add(&c, ids, 7, 0, 0);           // positions 0 to 6, in rows 0 to 6
 *     lm_cached_upload(&c, true);
 *     lm_forward(m, &c.p, false);
 *     lm_cached_copy(&c, n, 0, 7);               // the same beginning for another sequence
 *     lm_cached_begin(&c);
 *     lm_cached_add(&c, other, 2, 7, n);
 *     lm_cached_row(&c, 1, target, 0);           // the second of them predicts `target`
 *     lm_cached_upload(&c, false);
 *     lm_forward(m, &c.p, false);
 *     lm_cached_free(&c);
 */
#ifndef RAISE_LM_CACHED_H
#define RAISE_LM_CACHED_H

#include "lm/model.h"

struct lm_cached {
    struct lm *m;
    struct lm_cache cache;
    struct lm_piece p;      /* ids, positions, offsets, rows, targets, row_seq */
    int32_t *cells, *first; /* [p.T] */
    size_t cap_cells, cap_first;
};

/* The cache, of n_rows rows; ERR_MEMORY. Activations are the caller's (lm_acts_reserve). */
int lm_cached_alloc(struct lm_cached *c, int64_t n_rows, struct err *e) RAISE_MUST_CHECK;
void lm_cached_free(struct lm_cached *c);

void lm_cached_begin(struct lm_cached *c); /* an empty piece */
/* n tokens of one sequence, the first at `position`, whose row 0 is cell `base`. */
void lm_cached_add(struct lm_cached *c, const int32_t *ids, int64_t n, int64_t position,
                   int64_t base);
/* The piece's token `token` becomes a row, which predicts `target` (-1: nothing yet), and is
 * told apart by `to`, in p.row_seq. */
void lm_cached_row(struct lm_cached *c, int64_t token, int32_t target, int64_t to);
/* In one upload, as piece.c has it. What stands in s.targets may be overwritten. */
void lm_cached_upload(struct lm_cached *c, bool is_whole);
/* Keys and values of n rows, of every layer; the two ranges do not overlap. */
void lm_cached_copy(struct lm_cached *c, int64_t to, int64_t from, int64_t n);

#endif
