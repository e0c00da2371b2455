/* SPDX-License-Identifier: MIT
 *
 * scorer: the acquisition function F(s) = o . tanh(W s + b) over blocks of rows, forward and
 * backward. For policy/ and learn/.
 *
 * Rows are worked on SCORER_ROWS at a time, transposed: one row a SIMD lane, so that nothing is
 * ever summed across lanes and a row's score does not depend on its neighbours, on the block or
 * on the number of threads. W s + b falls into a part that never changes (difficulty and
 * semantic: `pre`, made once a block) and one that does (stage and count):
 *
 *     features --state_block--> phi [n_static, R] --scorer_static--> pre [h, R]
 *     pre, bias(stage), counts --scorer_score--> scores [R]          any number of steps
 *     d scores --scorer_grad--> d pre, sums --scorer_static_grad--> d W
 *
 * Lanes past the last row hold zeros; what they yield is to be ignored.
 */
#ifndef RAISE_POLICY_SCORER_H
#define RAISE_POLICY_SCORER_H

#include "policy/state.h"

enum { SCORER_ROWS = STATE_ROWS };

/* Weights, borrowed from a net: W [h, n_in], b [h], o [h], one block of h (n_in + 2) floats
 * whose columns of W stand as the state's inputs do: the stage's two, phi, the count. */
struct scorer {
    int64_t n_static, n_hidden, n_in;
    const float *Ws;    /* columns of phi: Ws[j * n_in + k] */
    const float *Wu;    /* columns of the stage, or NULL */
    const float *Wc;    /* column of the count, or NULL */
    const float *b, *o; /* [h] */
};
void scorer_init(struct scorer *s, const struct state *state, const float *net,
                 int64_t n_hidden);

/* F of all rows at one stage, [n] (written). counts: times selected so far, [n]. Streams over
 * the rows in blocks with all threads; no N x n_in block is ever made. */
void scorer_all(const struct scorer *s, const struct state *state, const struct features *f,
                const float u[2], const uint16_t *counts, float *scores);

/* pre [h, SCORER_ROWS] (written). */
void scorer_static(const struct scorer *s, const float *phi, float *pre);
/* bias [h] (written): b and the stage's share. */
void scorer_bias(const struct scorer *s, const float u[2], float *bias);
/* out [SCORER_ROWS] (written). count NULL: all zero. */
void scorer_score(const struct scorer *s, const float *pre, const float *bias,
                  const float *count, float *out);

/* Sums over rows, per hidden unit: of da, of count da, of d tanh; da = d o (1 - tanh^2). */
struct scorer_sums {
    double da, count_da, d_hidden;
};
/* From d = d loss / d score [SCORER_ROWS]: dpre [h, SCORER_ROWS] (accumulated), sums [h]
 * (accumulated; the stage's gradient is u times da). */
void scorer_grad(const struct scorer *s, const float *pre, const float *bias,
                 const float *count, const float *d, float *dpre, struct scorer_sums *sums);
/* dW (accumulated): that of Ws, rows n_in apart. */
void scorer_static_grad(const struct scorer *s, const float *phi, const float *dpre,
                        double *dW);

/* Sums over rows of e = exp(z - max) and of e z, with the largest z; z = -infinity is no row.
 */
struct scorer_exp {
    float max;
    double sum, sum_z;
};
void scorer_exp_sums(const float *z, struct scorer_exp *x);
/* d[r] (written) = a exp(z - D) + c exp(z - D) (z - D0 + H): what rows that were not picked
 * get from log pi and from the entropy; 0 where z = -infinity. All z <= D. */
void scorer_exp_grad(const float *z, float a, float c, float D, float D0, float H, float *d);

#endif
