/* SPDX-License-Identifier: MIT
 *
 * matmul_rows: products of lm_dev's is_rowwise, for matmul.c.
 */
#ifndef RAISE_LM_CPU_MATMUL_ROWS_H
#define RAISE_LM_CPU_MATMUL_ROWS_H

#include "lm/cpu/cpu.h"

/* c [M, N] = alpha a [M, K] b [N, K]^T + beta c, strides lda, ldb, ldc; c is not read with
 * beta 0. Each element's bytes depend on its row of a, its row of b and K alone. */
struct cpu_rows_product {
    int64_t M, N, K, lda, ldb, ldc;
    float alpha, beta;
    const float *a, *b;
    float *c;
};
void CPU_SYM(cpu_rows_multiply)(const struct cpu_rows_product *p);

#endif
