/* SPDX-License-Identifier: MIT
 * Matrix products and biases: the definition. */
#include "base/mem.h"
#include "lm/ref/ref.h"

#include <stdlib.h>

struct lm_matrix {
    const float *w; /* borrowed, [n_out, n_in] */
    int64_t n_out, n_in;
};

struct lm_matrix *ref_matrix_new(struct lm_dev *d, const float *w, int64_t n_out, int64_t n_in,
                                 struct err *e)
{
    (void)d, (void)e;
    struct lm_matrix *m = mem_zalloc(1, sizeof *m);
    *m = (struct lm_matrix){w, n_out, n_in};
    return m;
}

void ref_matrix_update(struct lm_dev *d, struct lm_matrix *m, const float *w)
{
    (void)d;
    m->w = w;
}

void ref_matrix_free(struct lm_dev *d, struct lm_matrix *m)
{
    (void)d;
    free(m);
}

void ref_gemm(struct lm_dev *d, bool is_ta, bool is_tb, int64_t M, int64_t N, int64_t K,
              float alpha, const void *a_act, int64_t lda, const void *b_act, int64_t ldb,
              float beta, void *c_act, int64_t ldc)
{
    (void)d;
    const float *a = a_act, *b = b_act;
    float *c = c_act;
    for (int64_t i = 0; i < M; i++)
        for (int64_t j = 0; j < N; j++) {
            double sum = 0;
            for (int64_t k = 0; k < K; k++)
                sum += (double)(is_ta ? a[k * lda + i] : a[i * lda + k]) *
                       (double)(is_tb ? b[j * ldb + k] : b[k * ldb + j]);
            double old = beta == 0.0f ? 0 : (double)beta * (double)c[i * ldc + j];
            c[i * ldc + j] = (float)((double)alpha * sum + old);
        }
}

void ref_linear_fwd(struct lm_dev *d, void *y, int64_t ldy, const void *x, int64_t ldx,
                    const struct lm_matrix *m, int64_t T, bool is_accumulated)
{
    ref_gemm(d, false, true, T, m->n_out, m->n_in, 1, x, ldx, m->w, m->n_in,
             is_accumulated ? 1 : 0, y, ldy);
}

void ref_linear_bwd(struct lm_dev *d, void *dx, int64_t lddx, const void *dy, int64_t lddy,
                    const struct lm_matrix *m, int64_t T, bool is_accumulated)
{
    ref_gemm(d, false, false, T, m->n_in, m->n_out, 1, dy, lddy, m->w, m->n_in,
             is_accumulated ? 1 : 0, dx, lddx);
}

void ref_linear_fwd_f32(struct lm_dev *d, float *y, int64_t ldy, const void *x, int64_t ldx,
                        const struct lm_matrix *m, int64_t T)
{
    ref_linear_fwd(d, y, ldy, x, ldx, m, T, false);
}

void ref_weight_grad(struct lm_dev *d, float *dw, const void *dy, int64_t lddy, const void *x,
                     int64_t ldx, int64_t T, int64_t n_out, int64_t n_in)
{
    ref_gemm(d, true, false, n_out, n_in, T, 1, dy, lddy, x, ldx, 1, dw, n_in);
}

void ref_bias_fwd(struct lm_dev *d, void *y_act, int64_t ldy, const float *bias, int64_t T,
                  int64_t N)
{
    (void)d;
    float *y = y_act;
    for (int64_t t = 0; t < T; t++)
        for (int64_t i = 0; i < N; i++)
            y[t * ldy + i] += bias[i];
}

void ref_bias_bwd(struct lm_dev *d, float *dbias, const void *dy_act, int64_t lddy, int64_t T,
                  int64_t N)
{
    (void)d;
    const float *dy = dy_act;
    for (int64_t i = 0; i < N; i++) {
        double sum = (double)dbias[i];
        for (int64_t t = 0; t < T; t++)
            sum += (double)dy[t * lddy + i];
        dbias[i] = (float)sum;
    }
}
