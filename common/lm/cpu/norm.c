/* SPDX-License-Identifier: MIT
 * RMS norms of rows and of heads. dw sums over rows in a fixed number of chunks, each summed in
 * order by one thread, then the chunks in order. */
#include "lm/cpu/cpu.h"

#include <math.h>

enum { N_CHUNKS = 32 };

/* Adds the chunks' sums [N_CHUNKS, n] to dw. */
static void reduce_chunks(float *dw, const float *chunks, int64_t n)
{
    for (int64_t c = 0; c < N_CHUNKS; c++)
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            dw[i] += chunks[c * n + i];
}

static float *zeroed_chunks(struct lm_dev *d, int64_t n)
{
    float *p = CPU_SYM(cpu_scratch)(d, (size_t)(N_CHUNKS * n));
    memset(p, 0, (size_t)(N_CHUNKS * n) * sizeof *p);
    return p;
}

static float add_and_sumsq(float *x, const float *from, const act *delta, int64_t D)
{
    float sum = 0;
    if (delta) {
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < D; i++) {
            float v = from[i] + act_get(delta[i]);
            x[i] = v;
            sum += v * v;
        }
    } else {
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < D; i++)
            sum += x[i] * x[i];
    }
    return sum;
}

void CPU_OP(rmsnorm_fwd)(struct lm_dev *d, void *y_act, float *rstd, float *x,
                         const float *from, const void *delta_act, const float *w, int64_t T,
                         int64_t D, float eps)
{
    (void)d;
#pragma omp parallel for schedule(static) if (T * D > CPU_SERIAL)
    for (int64_t t = 0; t < T; t++) {
        float *row = x + t * D;
        act *y = (act *)y_act + t * D;
        float sum = add_and_sumsq(row, from + t * D,
                                  delta_act ? (const act *)delta_act + t * D : NULL, D);
        float r = 1 / sqrtf(sum / (float)D + eps);
#pragma omp simd
        for (int64_t i = 0; i < D; i++)
            y[i] = act_put(row[i] * r * w[i]);
        if (rstd)
            rstd[t] = r;
    }
}

/* One row of rmsnorm_bwd; dw, if not NULL, gets this row's share. */
static void rmsnorm_bwd_row(float *dx, act *copy, float *dw, act *y, const act *dy,
                            const float *x, const float *w, float r, int64_t D)
{
    float dot = 0;
#pragma omp simd reduction(+ : dot)
    for (int64_t i = 0; i < D; i++)
        dot += act_get(dy[i]) * w[i] * x[i];
    float c = r * r * r * dot / (float)D;
#pragma omp simd
    for (int64_t i = 0; i < D; i++)
        dx[i] += r * act_get(dy[i]) * w[i] - c * x[i];
    if (dw)
#pragma omp simd
        for (int64_t i = 0; i < D; i++)
            dw[i] += act_get(dy[i]) * x[i] * r;
    if (copy)
#pragma omp simd
        for (int64_t i = 0; i < D; i++)
            copy[i] = act_put(dx[i]);
    if (y)
#pragma omp simd
        for (int64_t i = 0; i < D; i++)
            y[i] = act_put(x[i] * r * w[i]);
}

void CPU_OP(rmsnorm_bwd)(struct lm_dev *d, float *dx, void *dx_act, float *dw, void *y_act,
                         const void *dy_act, const float *x, const float *w, const float *rstd,
                         int64_t T, int64_t D)
{
    float *chunks = dw ? zeroed_chunks(d, D) : NULL;
#pragma omp parallel for schedule(static) if (T * D > CPU_SERIAL)
    for (int64_t c = 0; c < N_CHUNKS; c++)
        for (int64_t t = T * c / N_CHUNKS; t < T * (c + 1) / N_CHUNKS; t++)
            rmsnorm_bwd_row(dx + t * D, dx_act ? (act *)dx_act + t * D : NULL,
                            dw ? chunks + c * D : NULL, y_act ? (act *)y_act + t * D : NULL,
                            (const act *)dy_act + t * D, x + t * D, w, rstd[t], D);
    if (dw)
        reduce_chunks(dw, chunks, D);
}

void CPU_OP(headnorm_fwd)(struct lm_dev *d, void *x_act, int64_t ldx, float *rstd,
                          const float *w, int64_t T, int64_t n_heads, int64_t K, float eps)
{
    (void)d;
#pragma omp parallel for schedule(static) if (T * n_heads * K > CPU_SERIAL)
    for (int64_t t = 0; t < T; t++)
        for (int64_t h = 0; h < n_heads; h++) {
            act *x = (act *)x_act + t * ldx + h * K;
            float sum = 0;
#pragma omp simd reduction(+ : sum)
            for (int64_t i = 0; i < K; i++)
                sum += act_get(x[i]) * act_get(x[i]);
            float r = 1 / sqrtf(sum / (float)K + eps);
#pragma omp simd
            for (int64_t i = 0; i < K; i++)
                x[i] = act_put(act_get(x[i]) * r * w[i]);
            rstd[t * n_heads + h] = r;
        }
}

static void headnorm_bwd_row(act *dx, float *dw, const act *x, const float *w, float r,
                             int64_t K)
{
    float dot = 0;
#pragma omp simd reduction(+ : dot)
    for (int64_t i = 0; i < K; i++)
        dot += act_get(dx[i]) * w[i] * act_get(x[i]);
    float c = r * r * r * dot / (float)K;
    if (dw)
#pragma omp simd
        for (int64_t i = 0; i < K; i++)
            dw[i] += act_get(dx[i]) * act_get(x[i]) * r;
#pragma omp simd
    for (int64_t i = 0; i < K; i++)
        dx[i] = act_put(r * act_get(dx[i]) * w[i] - c * act_get(x[i]));
}

void CPU_OP(headnorm_bwd)(struct lm_dev *d, void *dx_act, int64_t lddx, float *dw,
                          const void *x_act, int64_t ldx, const float *w, const float *rstd,
                          int64_t T, int64_t n_heads, int64_t K)
{
    float *chunks = dw ? zeroed_chunks(d, K) : NULL;
#pragma omp parallel for schedule(static) if (T * n_heads * K > CPU_SERIAL)
    for (int64_t c = 0; c < N_CHUNKS; c++)
        for (int64_t t = T * c / N_CHUNKS; t < T * (c + 1) / N_CHUNKS; t++)
            for (int64_t h = 0; h < n_heads; h++)
                headnorm_bwd_row((act *)dx_act + t * lddx + h * K, dw ? chunks + c * K : NULL,
                                 (const act *)x_act + t * ldx + h * K, w, rstd[t * n_heads + h],
                                 K);
    if (dw)
        reduce_chunks(dw, chunks, K);
}
