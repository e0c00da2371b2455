/* SPDX-License-Identifier: MIT
 *
 * linalg: small dense systems in double (n of tens), row major. For the critic and the reward
 * model; plain loops in fixed order, so that results do not depend on a BLAS or on threads.
 */
#ifndef RAISE_POLICY_LINALG_H
#define RAISE_POLICY_LINALG_H

#include <stdint.h>

/* A [n, n], symmetric positive definite, becomes its lower Cholesky factor; the part above the
 * diagonal is zeroed. -1 when A is not positive definite. */
int linalg_cholesky(double *A, int64_t n);
/* Solves L L' x = b in place, L from linalg_cholesky. */
void linalg_solve(const double *L, int64_t n, double *b);
/* log |L L'| */
double linalg_logdet(const double *L, int64_t n);

#endif
