/* SPDX-License-Identifier: MIT
 * Embedding, and rows picked by number. */
#include "lm/cuda/cuda.h"

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

template <class F>
__global__ static void gather8_kernel(float *dst, const F *src, const int32_t *rows, int64_t n,
                                      int64_t D)
{
    for (int64_t i = blockIdx.x; i < n; i += gridDim.x)
        for (int64_t c = threadIdx.x * 8; c < D; c += blockDim.x * 8) {
            float v[8];
            load8(v, src + rows[i] * D + c);
            store8(dst + i * D + c, v);
        }
}

template <class F>
static void gather(struct lm_dev *d, float *dst, const F *src, const int32_t *rows, int64_t n,
                   int64_t D)
{
    if (n && is_by8(D, dst, src))
        RUN(state_of(d), gather8_kernel<F>, (blocks(n, 1)), threads(D / 8), dst, src, rows, n,
            D);
    else if (n)
        RUN(state_of(d), gather_kernel<F>, (blocks(n, 1)), threads(D), dst, src, rows, n, D);
}

void cuda_gather_rows(struct lm_dev *d, float *dst, const float *src, const int32_t *rows,
                      int64_t n, int64_t D)
{
    gather(d, dst, src, rows, n, D);
}

void cuda_embed_fwd(struct lm_dev *d, float *x, const void *table, bool is_act,
                    const int32_t *ids, int64_t T, int64_t D)
{
    if (is_act)
        gather(d, x, (const act_t *)table, ids, T, D);
    else
        gather(d, x, (const float *)table, ids, T, D);
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
        RUN(state_of(d), scatter_kernel, (blocks(n, 1)), BLOCK, dst, src, rows, n, D);
}

/* The block of an id's first token adds the rows of all its tokens, in order. */
__global__ static void embed_bwd_kernel(float *dtable, const float *dx, const int32_t *ids,
                                        const int32_t *order, int64_t T, int64_t D)
{
    for (int64_t i = blockIdx.x; i < T; i += gridDim.x) {
        int32_t id = ids[order[i]];
        if (i > 0 && ids[order[i - 1]] == id)
            continue;
        int64_t end = i + 1;
        while (end < T && ids[order[end]] == id)
            end++;
        for (int64_t c = threadIdx.x; c < D; c += blockDim.x) {
            float sum = dtable[id * D + c];
            for (int64_t k = i; k < end; k++)
                sum += dx[order[k] * D + c];
            dtable[id * D + c] = sum;
        }
    }
}

void cuda_embed_bwd(struct lm_dev *d, float *dtable, const float *dx, const int32_t *ids,
                    const int32_t *order, int64_t T, int64_t D, int64_t V)
{
    (void)V;
    if (T)
        RUN(state_of(d), embed_bwd_kernel, (blocks(T, 1)), BLOCK, dtable, dx, ids, order, T, D);
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
        RUN(state_of(d), segment_mean_kernel, (blocks(D, BLOCK), n), BLOCK, out + s * D,
            (const act_t *)x, offsets + s, D);
    }
}
