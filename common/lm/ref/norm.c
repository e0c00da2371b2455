/* SPDX-License-Identifier: MIT
 * RMS norms of rows and of heads: the definition.
 *
 * y_i = x_i r w_i with r = (mean(x^2) + eps)^-1/2. With g_i = dy_i w_i:
 * dx_i = r g_i - x_i r^3 / n * sum_j g_j x_j, and dw_i = sum over rows of dy_i x_i r. */
#include "lm/ref/ref.h"

#include <math.h>

static double row_rstd(const float *x, int64_t n, float eps)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return 1 / sqrt(sum / (double)n + (double)eps);
}

/* d/dx_i; `dot` is sum_j dy_j w_j x_j. */
static double row_dx(double dy, double w, double x, double r, double dot, int64_t n)
{
    return r * dy * w - x * r * r * r * dot / (double)n;
}

static double row_dot(const float *dy, const float *w, const float *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)dy[i] * (double)w[i] * (double)x[i];
    return sum;
}

void ref_rmsnorm_fwd(struct lm_dev *d, void *y_act, float *rstd, float *x, const float *from,
                     const void *delta_act, const float *w, int64_t T, int64_t D, float eps)
{
    (void)d;
    float *y = y_act;
    const float *delta = delta_act;
    for (int64_t i = 0; delta && i < T * D; i++)
        x[i] = from[i] + delta[i];
    for (int64_t t = 0; t < T; t++) {
        double r = row_rstd(x + t * D, D, eps);
        for (int64_t i = 0; i < D; i++)
            y[t * D + i] = (float)((double)x[t * D + i] * r * (double)w[i]);
        if (rstd)
            rstd[t] = (float)r;
    }
}

void ref_rmsnorm_bwd(struct lm_dev *d, float *dx, void *dx_act, float *dw, void *y_act,
                     const void *dy_act, const float *x, const float *w, const float *rstd,
                     int64_t T, int64_t D)
{
    (void)d;
    const float *dy = dy_act;
    float *copy = dx_act, *y = y_act;
    for (int64_t t = 0; t < T; t++) {
        double r = (double)rstd[t], dot = row_dot(dy + t * D, w, x + t * D, D);
        for (int64_t i = 0, k = t * D; i < D; i++, k++) {
            dx[k] = (float)((double)dx[k] +
                            row_dx((double)dy[k], (double)w[i], (double)x[k], r, dot, D));
            if (copy)
                copy[k] = dx[k];
            if (y)
                y[k] = (float)((double)x[k] * r * (double)w[i]);
        }
    }
    for (int64_t i = 0; dw && i < D; i++) {
        double sum = (double)dw[i];
        for (int64_t t = 0; t < T; t++)
            sum += (double)dy[t * D + i] * (double)x[t * D + i] * (double)rstd[t];
        dw[i] = (float)sum;
    }
}

void ref_headnorm_fwd(struct lm_dev *d, void *x_act, int64_t ldx, float *rstd, const float *w,
                      int64_t T, int64_t n_heads, int64_t K, float eps)
{
    (void)d;
    for (int64_t t = 0; t < T; t++)
        for (int64_t h = 0; h < n_heads; h++) {
            float *x = (float *)x_act + t * ldx + h * K;
            double r = row_rstd(x, K, eps);
            for (int64_t i = 0; i < K; i++)
                x[i] = (float)((double)x[i] * r * (double)w[i]);
            rstd[t * n_heads + h] = (float)r;
        }
}

void ref_headnorm_bwd(struct lm_dev *d, void *dx_act, int64_t lddx, float *dw,
                      const void *x_act, int64_t ldx, const float *w, const float *rstd,
                      int64_t T, int64_t n_heads, int64_t K)
{
    (void)d;
    float *dx = dx_act;
    const float *x = x_act;
    for (int64_t i = 0; dw && i < K; i++) {
        double sum = (double)dw[i];
        for (int64_t t = 0; t < T; t++)
            for (int64_t h = 0; h < n_heads; h++)
                sum += (double)dx[t * lddx + h * K + i] * (double)x[t * ldx + h * K + i] *
                       (double)rstd[t * n_heads + h];
        dw[i] = (float)sum;
    }
    for (int64_t t = 0; t < T; t++)
        for (int64_t h = 0; h < n_heads; h++) {
            float *g = dx + t * lddx + h * K;
            const float *xi = x + t * ldx + h * K;
            double r = (double)rstd[t * n_heads + h], dot = row_dot(g, w, xi, K);
            for (int64_t i = 0; i < K; i++)
                g[i] = (float)row_dx((double)g[i], (double)w[i], (double)xi[i], r, dot, K);
        }
}
