/* SPDX-License-Identifier: MIT
 *
 * select: from scores to a batch.
 *
 * Quotas: b_c = min(n_c, floor(B/C)); while the sum is below min(B, N) one more goes to the
 * class with the largest n_c - b_c (ties: lowest c). n_c counts *available* items: those used
 * in this episode are masked unless repeats are allowed; when all are used the mask is cleared.
 * A step for which fewer than B are left takes them all, and draws the others of its B from the
 * rest of the pool, the mask cleared: every step has B records, and of two rounds through the
 * pool none takes a record twice. What was left over comes first in its class's list, and is no
 * part of the list's probability, since it was taken in any case; the next round may take it.
 *
 * Sampling: key_i = z_i + Gumbel_i, z = score/tau, Gumbel from rng_hash(seed, step, row): the
 * b_c largest keys of a class, in descending order, are a Plackett-Luce draw without
 * replacement. Greedy: the b_c largest scores; ties broken by rng_hash, never by row order.
 *
 * log pi of a list a_1..a_b with unpicked set U (Plackett-Luce), built upwards for precision:
 *     D_b = LSE(z over U and z_{a_b});  D_k = logaddexp(D_{k+1}, z_{a_k});
 *     log pi = sum_k z_{a_k} - D_k
 * One pass over N and memory of O(N/8 + B log) beyond the scores: 10 M rows are a second's
 * work. Results do not depend on the number of threads.
 */
#ifndef RAISE_POLICY_SELECT_H
#define RAISE_POLICY_SELECT_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct selector; /* state of one episode: who was used, how often; owned */
struct selector *selector_new(int64_t n, const int32_t *class_of, int64_t n_classes);
void selector_free(struct selector *s);
void selector_reset(struct selector *s); /* a new episode */
/* Times each row was selected in this episode, [n]; borrowed. The availability feature. */
const uint16_t *selector_counts(const struct selector *s);

struct select_options {
    int64_t batch; /* B */
    double tau;
    bool is_greedy;
    bool has_repeats;
    uint64_t seed; /* of the episode */
    int64_t step;  /* t, from 1 */
};

/* Chooses a batch from scores [n]. picks [<= B]: rows, class by class, each in order drawn;
 * list_offset [C+1] relative to picks; list_logp [C]. Returns the number of picks. Marks them
 * used. A score that is not finite: ERR_NONFINITE with the row. */
int64_t select_batch(struct selector *s, const float *scores, const struct select_options *o,
                     int64_t *picks, int64_t *list_offset, double *list_logp,
                     struct err *e) RAISE_MUST_CHECK;

/* The best n of all rows by score, ties broken by rng_hash, in an order that (seed) shuffles;
 * no quotas. n above n_rows: whole rounds of all rows, each shuffled, then the best of the
 * rest. rows [n] (written). ERR_NONFINITE names the first row whose score is not finite. */
int select_best(const float *scores, int64_t n_rows, int64_t n, uint64_t seed, int64_t *rows,
                struct err *e) RAISE_MUST_CHECK;

/* The quotas above, [n_classes] (written). */
void select_quotas(const int64_t *n_available, int64_t n_classes, int64_t batch,
                   int64_t *quota);
/* The quotas of a first batch in words: "class 0 gives 6, class 1 gives 5 of every 11", or
 * where all are the same "each class gives 4 of every 16"; class_size [n_classes]. Owned by the
 * caller. */
char *select_quotas_text(const int64_t *class_size, int64_t n_classes, int64_t batch);

/* For a replay of steps, what select_batch does by itself: how many rows may be chosen under
 * !has_repeats, the mask cleared, rows marked as used. */
int64_t selector_n_available(const struct selector *s);
void selector_clear(struct selector *s);
void selector_mark(struct selector *s, const int64_t *picks, int64_t n);
/* Whether row i may be chosen at this moment under !has_repeats. */
bool selector_is_available(const struct selector *s, int64_t i);

/* log pi of `list` (n_list rows in order) among the available rows `avail` (n_avail, holds the
 * list too) under z [n_avail]-aligned values; grad, if not NULL, gets d log pi / d z for each
 * of `avail` (written), and entropy, if not NULL, the entropy of the first draw (softmax of z).
 *     d/dz_j = 1[j picked] - sum_{k <= m(j)} exp(z_j - D_k), m(j) = place in the list, else b.
 * pos[i]: index into avail of the i-th of the list. O(n_avail + n_list), log domain, sums to 0.
 */
double pl_logp(const double *z, int64_t n_avail, const int64_t *pos, int64_t n_list,
               double *grad, double *entropy);

#endif
