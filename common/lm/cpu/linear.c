/* SPDX-License-Identifier: MIT
 * Products with a model's frozen matrices, fp32: of floats (matmul.c), or of what the file has
 * (matmul_kept.c). Those of bf16 are in matmul_bf16.c. */
#include "lm/cpu/cpu.h"
#include "lm/cpu/matmul_kept.h"

#if !CPU_ACT_BF16

#include "base/mem.h"

#include <stdlib.h>

struct lm_matrix *CPU_OP(matrix_new)(struct lm_dev *d, const float *w, int64_t n_out,
                                     int64_t n_in, struct err *e)
{
    (void)d, (void)e;
    struct lm_matrix *m = mem_zalloc(1, sizeof *m);
    *m = (struct lm_matrix){.w = w, .n_out = n_out, .n_in = n_in};
    return m;
}

void CPU_OP(matrix_update)(struct lm_dev *d, struct lm_matrix *m, const float *w)
{
    (void)d;
    m->w = w;
}

void CPU_OP(matrix_free)(struct lm_dev *d, struct lm_matrix *m)
{
    (void)d;
    if (m)
        free(m->parts);
    free(m);
}

void CPU_OP(linear_fwd)(struct lm_dev *d, void *y, int64_t ldy, const void *x, int64_t ldx,
                        const struct lm_matrix *m, int64_t T, bool is_accumulated)
{
    if (!m->w)
        CPU_SYM(cpu_kept_fwd)(d, y, ldy, x, ldx, m, T, is_accumulated);
    else
        CPU_OP(gemm)
    (d, false, true, T, m->n_out, m->n_in, 1, x, ldx, m->w, m->n_in, is_accumulated ? 1 : 0, y,
     ldy);
}

void CPU_OP(linear_bwd)(struct lm_dev *d, void *dx, int64_t lddx, const void *dy, int64_t lddy,
                        const struct lm_matrix *m, int64_t T, bool is_accumulated)
{
    if (!m->w)
        CPU_SYM(cpu_kept_bwd)(d, dx, lddx, dy, lddy, m, T, is_accumulated);
    else
        CPU_OP(gemm)
    (d, false, false, T, m->n_in, m->n_out, 1, dy, lddy, m->w, m->n_in, is_accumulated ? 1 : 0,
     dx, lddx);
}

void CPU_OP(linear_fwd_f32)(struct lm_dev *d, float *y, int64_t ldy, const void *x, int64_t ldx,
                            const struct lm_matrix *m, int64_t T)
{
    CPU_OP(linear_fwd)(d, y, ldy, x, ldx, m, T, false);
}

#endif
