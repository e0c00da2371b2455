/* SPDX-License-Identifier: MIT
 * check: what k-means and PCA demand of their rows. Used inside cluster/ only. */
#ifndef RAISE_CLUSTER_CHECK_H
#define RAISE_CLUSTER_CHECK_H

#include "base/err.h"

#include <stdint.h>

#define CLUSTER_MAX_VALUE 1e15F /* sums of squares of 1e6 such values are still floats */

/* ERR_RANGE or ERR_NONFINITE, with row and column. */
int cluster_check(const float *x, int64_t n, int64_t dim, struct err *e);

#endif
