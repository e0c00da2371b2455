/* SPDX-License-Identifier: MIT
 *
 * linear: a scorer that weighs phi, z_i = kappa (phi_i . w) / sd(phi . w), for learners whose
 * posterior of w is Gaussian.
 */
#ifndef RAISE_POLICY_LINEAR_H
#define RAISE_POLICY_LINEAR_H

#include "policy/state.h"

/* Scores of all rows, [n] (written), standard deviation kappa; w [n_static] that tells rows
 * apart no more than rounding does: zeros. Results do not depend on the number of threads. */
void linear_score(const struct state *s, const struct features *f, const double *w,
                  double kappa, float *scores);
/* w [n] = mean + L x, x ~ N(0, I) from (seed, t), covariance = L L'. ERR_NONFINITE: it is not
 * positive definite. */
int linear_draw(const double *mean, const double *covariance, int64_t n, uint64_t seed,
                int64_t t, double *w, struct err *e) RAISE_MUST_CHECK;
/* sd of phi . w over the pool, phi being centred: 0 where nothing is told apart. */
double linear_spread(const struct state *s, const struct features *f, const double *w);

#endif
