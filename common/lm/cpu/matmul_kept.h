/* SPDX-License-Identifier: MIT
 *
 * matmul_kept: products with a frozen matrix that is kept as its file has it, for linear.c.
 */
#ifndef RAISE_LM_CPU_MATMUL_KEPT_H
#define RAISE_LM_CPU_MATMUL_KEPT_H

#include "lm/cpu/cpu.h"

struct lm_matrix {
    const float *w; /* borrowed, [n_out, n_in]; NULL: it is the parts that are read */
    int64_t n_out, n_in;
    struct lm_kept *parts; /* owned; NULL: float */
    int n_parts;
};

/* As linear_fwd and linear_bwd, and the same bytes as a float matrix of the same values. */
void CPU_SYM(cpu_kept_fwd)(struct lm_dev *d, void *y, int64_t ldy, const void *x, int64_t ldx,
                           const struct lm_matrix *m, int64_t T, bool is_accumulated);
void CPU_SYM(cpu_kept_bwd)(struct lm_dev *d, void *dx, int64_t lddx, const void *dy,
                           int64_t lddy, const struct lm_matrix *m, int64_t T,
                           bool is_accumulated);

#endif
