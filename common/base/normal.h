/* SPDX-License-Identifier: MIT
 *
 * normal: ranks as numbers of a standard normal distribution, for columns with wild tails.
 */
#ifndef RAISE_BASE_NORMAL_H
#define RAISE_BASE_NORMAL_H

#include <stdint.h>

/* z [n]: of each x the z below which a standard normal number lies with probability
 * (rank - 1/2) / n, the smallest x having rank 1; equal values share their mean rank, so all
 * equal: zeros. */
void normal_scores(const double *x, int64_t n, float *z);

#endif
