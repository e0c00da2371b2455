/* SPDX-License-Identifier: MIT
 * RMS norms of rows and of heads.
 *
 * A row of up to 16,384 values stays in a block's registers between the sum and the result, so
 * that it is read once; longer rows, and rows that are not aligned to 16 bytes, are read twice.
 */
#include "lm/cuda/columns.h"

/* N * 8 values a thread. */
template <int N>
__global__ static void rmsnorm_fwd8_kernel(act_t *y, float *rstd, float *x, const float *from,
                                           const act_t *delta, const float *w, int64_t T,
                                           int64_t D, float eps)
{
    for (int64_t t = blockIdx.x; t < T; t += gridDim.x) {
        float v[N][8], sum = 0;
        UNROLL
        for (int k = 0; k < N; k++) {
            int64_t c = 8 * (int64_t)(k * blockDim.x + threadIdx.x), at = t * D + c;
            if (c >= D)
                continue;
            load8(v[k], from + at);
            if (delta) {
                float add[8];
                load8(add, delta + at);
                UNROLL
                for (int i = 0; i < 8; i++)
                    v[k][i] += add[i];
                store8(x + at, v[k]);
            }
            UNROLL
            for (int i = 0; i < 8; i++)
                sum += v[k][i] * v[k][i];
        }
        float r = 1 / sqrtf(block_sum(sum) / (float)D + eps);
        UNROLL
        for (int k = 0; k < N; k++) {
            int64_t c = 8 * (int64_t)(k * blockDim.x + threadIdx.x);
            float wk[8];
            if (c >= D)
                continue;
            load8(wk, w + c);
            UNROLL
            for (int i = 0; i < 8; i++)
                wk[i] *= v[k][i] * r;
            store8(y + t * D + c, wk);
        }
        if (rstd && threadIdx.x == 0)
            rstd[t] = r;
    }
}

__global__ static void rmsnorm_fwd_kernel(act_t *y, float *rstd, float *x, const float *from,
                                          const act_t *delta, const float *w, int64_t T,
                                          int64_t D, float eps)
{
    for (int64_t t = blockIdx.x; t < T; t += gridDim.x) {
        const float *row = delta ? x + t * D : from + t * D;
        float sum = 0;
        for (int64_t i = threadIdx.x; i < D; i += blockDim.x) {
            float v = from[t * D + i];
            if (delta)
                x[t * D + i] = v += act_to_float(delta[t * D + i]);
            sum += v * v;
        }
        float r = 1 / sqrtf(block_sum(sum) / (float)D + eps);
        for (int64_t i = threadIdx.x; i < D; i += blockDim.x)
            y[t * D + i] = float_to_act(row[i] * r * w[i]);
        if (rstd && threadIdx.x == 0)
            rstd[t] = r;
    }
}

/* How many groups of 8 values a thread holds; 0: more than fit into registers. */
static int groups(int64_t D, unsigned n_threads)
{
    int64_t n = (D / 8 + n_threads - 1) / n_threads;
    return n <= 1 ? 1 : n <= 2 ? 2 : n <= 4 ? 4 : n <= 8 ? 8 : 0;
}

void cuda_rmsnorm_fwd(struct lm_dev *d, void *y, float *rstd, float *x, const float *from,
                      const void *delta, const float *w, int64_t T, int64_t D, float eps)
{
    if (!T)
        return;
    struct cuda_state *s = state_of(d);
    unsigned n_threads = threads(D / 8), n = blocks(T, 1);
    const act_t *add = (const act_t *)delta;
#define ROWS(N)                                                                                \
    RUN(s, rmsnorm_fwd8_kernel<N>, (n), n_threads, (act_t *)y, rstd, x, from, add, w, T, D, eps)
    switch (is_by8(D, y, x, from, delta, w) ? groups(D, n_threads) : 0) {
    case 1:
        ROWS(1);
        break;
    case 2:
        ROWS(2);
        break;
    case 4:
        ROWS(4);
        break;
    case 8:
        ROWS(8);
        break;
    default:
        RUN(s, rmsnorm_fwd_kernel, (n), BLOCK, (act_t *)y, rstd, x, from, add, w, T, D, eps);
    }
#undef ROWS
}

template <int N>
__global__ static void rmsnorm_bwd8_kernel(float *dx, act_t *dx_act, act_t *y, const act_t *dy,
                                           const float *x, const float *w, const float *rstd,
                                           int64_t T, int64_t D)
{
    for (int64_t t = blockIdx.x; t < T; t += gridDim.x) {
        float v[N][8], g[N][8], r = rstd[t], dot = 0;
        UNROLL
        for (int k = 0; k < N; k++) {
            int64_t c = 8 * (int64_t)(k * blockDim.x + threadIdx.x), at = t * D + c;
            float wk[8];
            if (c >= D)
                continue;
            load8(v[k], x + at);
            load8(g[k], dy + at);
            load8(wk, w + c);
            UNROLL
            for (int i = 0; i < 8; i++) {
                g[k][i] *= wk[i];
                dot += g[k][i] * v[k][i];
                wk[i] *= v[k][i] * r;
            }
            if (y)
                store8(y + at, wk);
        }
        float m = block_sum(dot) * r * r * r / (float)D;
        UNROLL
        for (int k = 0; k < N; k++) {
            int64_t c = 8 * (int64_t)(k * blockDim.x + threadIdx.x), at = t * D + c;
            float sum[8];
            if (c >= D)
                continue;
            load8(sum, dx + at);
            UNROLL
            for (int i = 0; i < 8; i++)
                sum[i] += r * g[k][i] - v[k][i] * m;
            store8(dx + at, sum);
            if (dx_act)
                store8(dx_act + at, sum);
        }
    }
}

__global__ static void rmsnorm_bwd_kernel(float *dx, act_t *dx_act, act_t *y, const act_t *dy,
                                          const float *x, const float *w, const float *rstd,
                                          int64_t T, int64_t D)
{
    for (int64_t t = blockIdx.x; t < T; t += gridDim.x) {
        float r = rstd[t], dot = 0;
        for (int64_t i = threadIdx.x; i < D; i += blockDim.x)
            dot += act_to_float(dy[t * D + i]) * w[i] * x[t * D + i];
        float k = block_sum(dot) * r * r * r / (float)D;
        for (int64_t i = threadIdx.x, j = t * D + i; i < D; i += blockDim.x, j += blockDim.x) {
            dx[j] += r * act_to_float(dy[j]) * w[i] - x[j] * k;
            if (dx_act)
                dx_act[j] = float_to_act(dx[j]);
            if (y)
                y[j] = float_to_act(x[j] * r * w[i]);
        }
    }
}

__global__ static void rmsnorm_dw_kernel(float *partial, const act_t *dy, const float *x,
                                         const float *rstd, int64_t T, int64_t D)
{
    slab_sums(partial, T, D, [=](int64_t t, int64_t c) {
        return act_to_float(dy[t * D + c]) * x[t * D + c] * rstd[t];
    });
}

void cuda_rmsnorm_bwd(struct lm_dev *d, float *dx, void *dx_act, float *dw, void *y,
                      const void *dy, const float *x, const float *w, const float *rstd,
                      int64_t T, int64_t D)
{
    if (!T)
        return;
    struct cuda_state *s = state_of(d);
    unsigned n_threads = threads(D / 8), n = blocks(T, 1);
    act_t *copy = (act_t *)dx_act, *again = (act_t *)y;
    const act_t *g = (const act_t *)dy;
#define ROWS(N)                                                                                \
    RUN(s, rmsnorm_bwd8_kernel<N>, (n), n_threads, dx, copy, again, g, x, w, rstd, T, D)
    switch (is_by8(D, dx, dx_act, y, dy, x, w) ? groups(D, n_threads) : 0) {
    case 1:
        ROWS(1);
        break;
    case 2:
        ROWS(2);
        break;
    case 4:
        ROWS(4);
        break;
    case 8:
        ROWS(8);
        break;
    default:
        RUN(s, rmsnorm_bwd_kernel, (n), BLOCK, dx, copy, again, g, x, w, rstd, T, D);
    }
#undef ROWS
    if (dw)
        COLUMN_SUMS(s, rmsnorm_dw_kernel, dw, D, g, x, rstd, T, D);
}

/* ---- heads ---- */

/* A warp a head of a token. */
__device__ static inline int64_t first_head(void)
{
    return (int64_t)blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
}

__device__ static inline int64_t head_stride(void)
{
    return (int64_t)gridDim.x * (blockDim.x / WARP);
}

__global__ static void headnorm_fwd_kernel(act_t *x, int64_t ldx, float *rstd, const float *w,
                                           int64_t T, int64_t n_heads, int64_t K, float eps)
{
    for (int64_t b = first_head(); b < T * n_heads; b += head_stride()) {
        act_t *row = x + b / n_heads * ldx + b % n_heads * K;
        float sum = 0;
        for (int64_t i = threadIdx.x % WARP; i < K; i += WARP)
            sum += act_to_float(row[i]) * act_to_float(row[i]);
        float r = 1 / sqrtf(warp_sum(sum) / (float)K + eps);
        for (int64_t i = threadIdx.x % WARP; i < K; i += WARP)
            row[i] = float_to_act(act_to_float(row[i]) * r * w[i]);
        if (threadIdx.x % WARP == 0)
            rstd[b] = r;
    }
}

void cuda_headnorm_fwd(struct lm_dev *d, void *x, int64_t ldx, float *rstd, const float *w,
                       int64_t T, int64_t n_heads, int64_t K, float eps)
{
    if (T)
        RUN(state_of(d), headnorm_fwd_kernel, (blocks(T * n_heads, BLOCK / WARP)), BLOCK,
            (act_t *)x, ldx, rstd, w, T, n_heads, K, eps);
}

__global__ static void headnorm_bwd_kernel(act_t *dx, int64_t lddx, const act_t *x, int64_t ldx,
                                           const float *w, const float *rstd, int64_t T,
                                           int64_t n_heads, int64_t K)
{
    for (int64_t b = first_head(); b < T * n_heads; b += head_stride()) {
        act_t *g = dx + b / n_heads * lddx + b % n_heads * K;
        const act_t *row = x + b / n_heads * ldx + b % n_heads * K;
        float r = rstd[b], dot = 0;
        for (int64_t i = threadIdx.x % WARP; i < K; i += WARP)
            dot += act_to_float(g[i]) * w[i] * act_to_float(row[i]);
        float k = warp_sum(dot) * r * r * r / (float)K;
        for (int64_t i = threadIdx.x % WARP; i < K; i += WARP)
            g[i] = float_to_act(r * act_to_float(g[i]) * w[i] - act_to_float(row[i]) * k);
    }
}

__global__ static void headnorm_dw_kernel(float *partial, const act_t *dx, int64_t lddx,
                                          const act_t *x, int64_t ldx, const float *rstd,
                                          int64_t T, int64_t n_heads, int64_t K)
{
    slab_sums(partial, T, K, [=](int64_t t, int64_t c) {
        float sum = 0;
        for (int64_t h = 0; h < n_heads; h++)
            sum += act_to_float(dx[t * lddx + h * K + c]) *
                   act_to_float(x[t * ldx + h * K + c]) * rstd[t * n_heads + h];
        return sum;
    });
}

void cuda_headnorm_bwd(struct lm_dev *d, void *dx, int64_t lddx, float *dw, const void *x_in,
                       int64_t ldx, const float *w, const float *rstd, int64_t T,
                       int64_t n_heads, int64_t K)
{
    if (!T)
        return;
    if (dw) /* first: dx still holds dy */
        COLUMN_SUMS(state_of(d), headnorm_dw_kernel, dw, K, (const act_t *)dx, lddx,
                    (const act_t *)x_in, ldx, rstd, T, n_heads, K);
    RUN(state_of(d), headnorm_bwd_kernel, (blocks(T * n_heads, BLOCK / WARP)), BLOCK,
        (act_t *)dx, lddx, (const act_t *)x_in, ldx, w, rstd, T, n_heads, K);
}
