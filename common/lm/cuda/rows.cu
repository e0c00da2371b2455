/* SPDX-License-Identifier: MIT
 * Ops that work row by row: norms, rotary positions, embedding, SwiGLU, loss. */
#include "lm/cuda/cuda.h"

/* ---- column sums, in slabs of rows that are added in order ---- */

/* term(t, c) of row t and column c; partial [n_slabs, N] */
template <class Term>
__device__ static void slab_sums(float *partial, int64_t T, int64_t N, Term term)
{
    int64_t n_slabs = gridDim.y, slab = blockIdx.y;
    for (int64_t c = first(); c < N; c += stride()) {
        float sum = 0;
        for (int64_t t = T * slab / n_slabs; t < T * (slab + 1) / n_slabs; t++)
            sum += term(t, c);
        partial[slab * N + c] = sum;
    }
}

__global__ static void add_slabs_kernel(float *out, const float *partial, int64_t n_slabs,
                                        int64_t N)
{
    for (int64_t c = first(); c < N; c += stride()) {
        double sum = (double)out[c];
        for (int64_t s = 0; s < n_slabs; s++)
            sum += (double)partial[s * N + c];
        out[c] = (float)sum;
    }
}

static unsigned n_slabs_for(int64_t N)
{
    int64_t n = (int64_t)(WORKSPACE / sizeof(float)) / N;
    return (unsigned)(n < 1 ? 1 : n > MAX_SLABS ? MAX_SLABS : n);
}

#define COLUMN_SUMS(state, kernel, out, N, ...)                                                \
    do {                                                                                       \
        unsigned n_slabs = n_slabs_for(N);                                                     \
        float *partial = (float *)(state)->workspace;                                          \
        LAUNCH(state, kernel, (blocks(N, BLOCK), n_slabs), BLOCK, partial, __VA_ARGS__);       \
        LAUNCH(state, add_slabs_kernel, (blocks(N, BLOCK)), BLOCK, out, partial, n_slabs, N);  \
    } while (0)

/* ---- biases ---- */

__global__ static void bias_fwd_kernel(act_t *y, int64_t ldy, const float *bias, int64_t T,
                                       int64_t N)
{
    for (int64_t t = blockIdx.x; t < T; t += gridDim.x)
        for (int64_t i = threadIdx.x; i < N; i += blockDim.x)
            y[t * ldy + i] = float_to_act(act_to_float(y[t * ldy + i]) + bias[i]);
}

void cuda_bias_fwd(struct lm_dev *d, void *y, int64_t ldy, const float *bias, int64_t T,
                   int64_t N)
{
    if (T)
        LAUNCH(state_of(d), bias_fwd_kernel, (blocks(T, 1)), BLOCK, (act_t *)y, ldy, bias, T,
               N);
}

__global__ static void bias_bwd_kernel(float *partial, const act_t *dy, int64_t lddy, int64_t T,
                                       int64_t N)
{
    slab_sums(partial, T, N,
              [=](int64_t t, int64_t c) { return act_to_float(dy[t * lddy + c]); });
}

void cuda_bias_bwd(struct lm_dev *d, float *dbias, const void *dy, int64_t lddy, int64_t T,
                   int64_t N)
{
    if (T)
        COLUMN_SUMS(state_of(d), bias_bwd_kernel, dbias, N, (const act_t *)dy, lddy, T, N);
}

/* ---- embedding and rows ---- */

template <class F> __device__ static float load(F x);
template <> __device__ float load<float>(float x)
{
    return x;
}
template <> __device__ float load<act_t>(act_t x)
{
    return act_to_float(x);
}

template <class F>
__global__ static void gather_kernel(float *dst, const F *src, const int32_t *rows, int64_t n,
                                     int64_t D)
{
    for (int64_t i = blockIdx.x; i < n; i += gridDim.x)
        for (int64_t c = threadIdx.x; c < D; c += blockDim.x)
            dst[i * D + c] = load<F>(src[rows[i] * D + c]);
}

void cuda_gather_rows(struct lm_dev *d, float *dst, const float *src, const int32_t *rows,
                      int64_t n, int64_t D)
{
    if (n)
        LAUNCH(state_of(d), gather_kernel<float>, (blocks(n, 1)), BLOCK, dst, src, rows, n, D);
}

void cuda_embed_fwd(struct lm_dev *d, float *x, const void *table, bool is_act,
                    const int32_t *ids, int64_t T, int64_t D)
{
    if (!is_act)
        cuda_gather_rows(d, x, (const float *)table, ids, T, D);
    else if (T)
        LAUNCH(state_of(d), gather_kernel<act_t>, (blocks(T, 1)), BLOCK, x,
               (const act_t *)table, ids, T, D);
}

__global__ static void scatter_kernel(float *dst, const float *src, const int32_t *rows,
                                      int64_t n, int64_t D)
{
    for (int64_t i = blockIdx.x; i < n; i += gridDim.x)
        for (int64_t c = threadIdx.x; c < D; c += blockDim.x)
            dst[rows[i] * D + c] += src[i * D + c];
}

void cuda_scatter_rows(struct lm_dev *d, float *dst, const float *src, const int32_t *rows,
                       int64_t n, int64_t D)
{
    if (n)
        LAUNCH(state_of(d), scatter_kernel, (blocks(n, 1)), BLOCK, dst, src, rows, n, D);
}

/* The block of an id's first token adds the rows of all its tokens, in order. */
__global__ static void embed_bwd_kernel(float *dtable, const float *dx, const int32_t *ids,
                                        int64_t T, int64_t D)
{
    for (int64_t t = blockIdx.x; t < T; t += gridDim.x) {
        int32_t id = ids[t];
        int seen = 0;
        for (int64_t i = threadIdx.x; i < t; i += blockDim.x)
            seen |= ids[i] == id;
        if (__syncthreads_or(seen))
            continue;
        for (int64_t from = t; from < T; from += BLOCK) {
            int64_t to = from + BLOCK < T ? from + BLOCK : T;
            int is_here = 0;
            for (int64_t i = from + threadIdx.x; i < to; i += blockDim.x)
                is_here |= ids[i] == id;
            if (!__syncthreads_or(is_here))
                continue;
            for (int64_t i = from; i < to; i++)
                for (int64_t c = threadIdx.x; ids[i] == id && c < D; c += blockDim.x)
                    dtable[id * D + c] += dx[i * D + c];
        }
    }
}

void cuda_embed_bwd(struct lm_dev *d, float *dtable, const float *dx, const int32_t *ids,
                    int64_t T, int64_t D, int64_t V)
{
    (void)V;
    if (T)
        LAUNCH(state_of(d), embed_bwd_kernel, (blocks(T, 1)), BLOCK, dtable, dx, ids, T, D);
}

__global__ static void segment_mean_kernel(float *out, const act_t *x, const int32_t *offsets,
                                           int64_t D)
{
    int64_t s = blockIdx.y, n = offsets[s + 1] - offsets[s];
    for (int64_t c = first(); c < D; c += stride()) {
        float sum = 0;
        for (int64_t t = offsets[s]; t < offsets[s + 1]; t++)
            sum += act_to_float(x[t * D + c]);
        out[s * D + c] = n ? sum / (float)n : 0;
    }
}

void cuda_segment_mean(struct lm_dev *d, float *out, const void *x, const int32_t *offsets,
                       int64_t n_seqs, int64_t D)
{
    constexpr int64_t MOST = 65535; /* of gridDim.y */
    for (int64_t s = 0; s < n_seqs; s += MOST) {
        unsigned n = (unsigned)(n_seqs - s < MOST ? n_seqs - s : MOST);
        LAUNCH(state_of(d), segment_mean_kernel, (blocks(D, BLOCK), n), BLOCK, out + s * D,
               (const act_t *)x, offsets + s, D);
    }
}

/* ---- norms ---- */

__global__ static void rmsnorm_fwd_kernel(act_t *y, float *rstd, float *x, const act_t *delta,
                                          const float *w, int64_t T, int64_t D, float eps)
{
    for (int64_t t = blockIdx.x; t < T; t += gridDim.x) {
        float sum = 0;
        for (int64_t i = threadIdx.x; i < D; i += blockDim.x) {
            float v = x[t * D + i];
            if (delta)
                x[t * D + i] = v += act_to_float(delta[t * D + i]);
            sum += v * v;
        }
        float r = 1 / sqrtf(block_sum(sum) / (float)D + eps);
        for (int64_t i = threadIdx.x; i < D; i += blockDim.x)
            y[t * D + i] = float_to_act(x[t * D + i] * r * w[i]);
        if (rstd && threadIdx.x == 0)
            rstd[t] = r;
    }
}

void cuda_rmsnorm_fwd(struct lm_dev *d, void *y, float *rstd, float *x, const void *delta,
                      const float *w, int64_t T, int64_t D, float eps)
{
    if (T)
        LAUNCH(state_of(d), rmsnorm_fwd_kernel, (blocks(T, 1)), BLOCK, (act_t *)y, rstd, x,
               (const act_t *)delta, w, T, D, eps);
}

__global__ static void rmsnorm_bwd_kernel(float *dx, act_t *dx_act, const act_t *dy,
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

void cuda_rmsnorm_bwd(struct lm_dev *d, float *dx, void *dx_act, float *dw, const void *dy,
                      const float *x, const float *w, const float *rstd, int64_t T, int64_t D)
{
    if (!T)
        return;
    LAUNCH(state_of(d), rmsnorm_bwd_kernel, (blocks(T, 1)), BLOCK, dx, (act_t *)dx_act,
           (const act_t *)dy, x, w, rstd, T, D);
    if (dw)
        COLUMN_SUMS(state_of(d), rmsnorm_dw_kernel, dw, D, (const act_t *)dy, x, rstd, T, D);
}

/* A block a head of a token. */
__global__ static void headnorm_fwd_kernel(act_t *x, int64_t ldx, float *rstd, const float *w,
                                           int64_t T, int64_t n_heads, int64_t K, float eps)
{
    for (int64_t b = blockIdx.x; b < T * n_heads; b += gridDim.x) {
        act_t *row = x + b / n_heads * ldx + b % n_heads * K;
        float sum = 0;
        for (int64_t i = threadIdx.x; i < K; i += blockDim.x)
            sum += act_to_float(row[i]) * act_to_float(row[i]);
        float r = 1 / sqrtf(block_sum(sum) / (float)K + eps);
        for (int64_t i = threadIdx.x; i < K; i += blockDim.x)
            row[i] = float_to_act(act_to_float(row[i]) * r * w[i]);
        if (threadIdx.x == 0)
            rstd[b] = r;
    }
}

void cuda_headnorm_fwd(struct lm_dev *d, void *x, int64_t ldx, float *rstd, const float *w,
                       int64_t T, int64_t n_heads, int64_t K, float eps)
{
    if (T)
        LAUNCH(state_of(d), headnorm_fwd_kernel, (blocks(T * n_heads, 1)), WARP, (act_t *)x,
               ldx, rstd, w, T, n_heads, K, eps);
}

__global__ static void headnorm_bwd_kernel(act_t *dx, int64_t lddx, const act_t *x, int64_t ldx,
                                           const float *w, const float *rstd, int64_t T,
                                           int64_t n_heads, int64_t K)
{
    for (int64_t b = blockIdx.x; b < T * n_heads; b += gridDim.x) {
        act_t *g = dx + b / n_heads * lddx + b % n_heads * K;
        const act_t *row = x + b / n_heads * ldx + b % n_heads * K;
        float r = rstd[b], dot = 0;
        for (int64_t i = threadIdx.x; i < K; i += blockDim.x)
            dot += act_to_float(g[i]) * w[i] * act_to_float(row[i]);
        float k = block_sum(dot) * r * r * r / (float)K;
        for (int64_t i = threadIdx.x; i < K; i += blockDim.x)
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
    LAUNCH(state_of(d), headnorm_bwd_kernel, (blocks(T * n_heads, 1)), WARP, (act_t *)dx, lddx,
           (const act_t *)x_in, ldx, w, rstd, T, n_heads, K);
}

/* ---- rotary positions ---- */

__global__ static void rope_kernel(act_t *x, int64_t ldx, const int32_t *positions,
                                   const float *cos_sin, int64_t T, int64_t n_heads, int64_t K,
                                   float sign)
{
    for (int64_t t = blockIdx.x; t < T; t += gridDim.x) {
        const float *table = cos_sin + positions[t] * K;
        int64_t half = K / 2;
        for (int64_t i = threadIdx.x; i < n_heads * half; i += blockDim.x) {
            act_t *p = x + t * ldx + i / half * K + i % half;
            float c = table[i % half], s = sign * table[half + i % half];
            float a = act_to_float(p[0]), b = act_to_float(p[half]);
            p[0] = float_to_act(a * c - b * s);
            p[half] = float_to_act(b * c + a * s);
        }
    }
}

void cuda_rope(struct lm_dev *d, void *x, int64_t ldx, const int32_t *positions,
               const float *cos_sin, int64_t T, int64_t n_heads, int64_t K, bool is_inverse)
{
    if (T)
        LAUNCH(state_of(d), rope_kernel, (blocks(T, 1)), BLOCK, (act_t *)x, ldx, positions,
               cos_sin, T, n_heads, K, is_inverse ? -1.0f : 1.0f);
}

/* ---- SwiGLU ---- */

__global__ static void swiglu_fwd_kernel(act_t *h, const act_t *gate_up, int64_t T, int64_t F)
{
    for (int64_t t = blockIdx.x; t < T; t += gridDim.x)
        for (int64_t i = threadIdx.x; i < F; i += blockDim.x) {
            float z = act_to_float(gate_up[t * 2 * F + i]);
            float up = act_to_float(gate_up[t * 2 * F + F + i]);
            h[t * F + i] = float_to_act(z / (1 + expf(-z)) * up);
        }
}

void cuda_swiglu_fwd(struct lm_dev *d, void *h, const void *gate_up, int64_t T, int64_t F)
{
    if (T)
        LAUNCH(state_of(d), swiglu_fwd_kernel, (blocks(T, 1)), BLOCK, (act_t *)h,
               (const act_t *)gate_up, T, F);
}

__global__ static void swiglu_bwd_kernel(act_t *dgate_up, act_t *h, const act_t *dh,
                                         const act_t *gate_up, int64_t T, int64_t F)
{
    for (int64_t t = blockIdx.x; t < T; t += gridDim.x)
        for (int64_t i = threadIdx.x; i < F; i += blockDim.x) {
            float z = act_to_float(gate_up[t * 2 * F + i]);
            float up = act_to_float(gate_up[t * 2 * F + F + i]);
            float g = act_to_float(dh[t * F + i]), s = 1 / (1 + expf(-z));
            dgate_up[t * 2 * F + i] = float_to_act(g * up * s * (1 + z * (1 - s)));
            dgate_up[t * 2 * F + F + i] = float_to_act(g * z * s);
            if (h)
                h[t * F + i] = float_to_act(z * s * up);
        }
}

void cuda_swiglu_bwd(struct lm_dev *d, void *dgate_up, void *h, const void *dh,
                     const void *gate_up, int64_t T, int64_t F)
{
    if (T)
        LAUNCH(state_of(d), swiglu_bwd_kernel, (blocks(T, 1)), BLOCK, (act_t *)dgate_up,
               (act_t *)h, (const act_t *)dh, (const act_t *)gate_up, T, F);
}

/* ---- loss ---- */

__global__ static void xent_kernel(float *loss, act_t *dlogits, const float *logits,
                                   const int32_t *targets, int64_t n, int64_t V, float scale)
{
    for (int64_t row = blockIdx.x; row < n; row += gridDim.x) {
        const float *z = logits + row * V;
        float max = -INFINITY, sum = 0;
        for (int64_t v = threadIdx.x; v < V; v += blockDim.x)
            max = op_max()(max, z[v]);
        max = block_max(max);
        for (int64_t v = threadIdx.x; v < V; v += blockDim.x)
            sum += expf(z[v] - max);
        sum = block_sum(sum);
        if (threadIdx.x == 0)
            loss[row] = logf(sum) + (max - z[targets[row]]);
        for (int64_t v = threadIdx.x; dlogits && v < V; v += blockDim.x)
            dlogits[row * V + v] =
                float_to_act(scale * (expf(z[v] - max) / sum - (v == targets[row] ? 1.0f : 0)));
    }
}

void cuda_xent(struct lm_dev *d, float *loss, void *dlogits, const float *logits,
               const int32_t *targets, int64_t n, int64_t V, float scale)
{
    if (n)
        LAUNCH(state_of(d), xent_kernel, (blocks(n, 1)), BLOCK, loss, (act_t *)dlogits, logits,
               targets, n, V, scale);
}
