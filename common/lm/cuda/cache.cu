/* SPDX-License-Identifier: MIT
 * A cache of keys and values: rows stored, and attention of single rows over it.
 *
 * A block a row and head goes over the row's keys in chunks, a warp a key: its lanes share the
 * head's width, so that they read a key together. What limits it is the cache's bandwidth,
 * which a step of generation reads once. */
#include "lm/cuda/cuda.h"

static constexpr int64_t CHUNK = 128, MAX_K = 1024;
static constexpr unsigned THREADS = 128;

__global__ static void store_kernel(act_t *dst, int64_t ldd, const act_t *src, int64_t lds,
                                    const int32_t *rows, int64_t n, int64_t N)
{
    for (int64_t i = blockIdx.x; i < n; i += gridDim.x)
        for (int64_t c = threadIdx.x; c < N; c += blockDim.x)
            dst[rows[i] * ldd + c] = src[i * lds + c];
}

void cuda_store_rows(struct lm_dev *d, void *dst, int64_t ldd, const void *src, int64_t lds,
                     const int32_t *rows, int64_t n, int64_t N)
{
    if (n && N)
        RUN(state_of(d), store_kernel, (blocks(n, 1)), threads(N), (act_t *)dst, ldd,
            (const act_t *)src, lds, rows, n, N);
}

struct cached {
    const act_t *q, *k, *v;
    int64_t ldo, ldq, ldc;
    const int32_t *first, *last;
    int64_t H, G, K;
    float scale;
};

__global__ static void cached_kernel(act_t *o, struct cached a)
{
    __shared__ float p[CHUNK], acc[MAX_K], q[MAX_K];
    int64_t i = blockIdx.x, h = blockIdx.y, g = h / (a.H / a.G);
    int64_t n = a.last[i] - a.first[i] + 1, at = a.first[i] * a.ldc + g * a.K;
    const act_t *k = a.k + at, *v = a.v + at;
    int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    float max = -INFINITY, sum = 0;
    for (int64_t c = threadIdx.x; c < a.K; c += blockDim.x) {
        q[c] = act_to_float(a.q[i * a.ldq + h * a.K + c]);
        acc[c] = 0;
    }
    for (int64_t from = 0; from < n; from += CHUNK) {
        int64_t m = n - from < CHUNK ? n - from : CHUNK;
        __syncthreads(); /* q is there; the last chunk's p has been read */
        for (int64_t j = warp; j < m; j += THREADS / WARP) {
            float part = 0;
            for (int64_t c = lane; c < a.K; c += WARP)
                part += q[c] * act_to_float(k[(from + j) * a.ldc + c]);
            part = warp_sum(part);
            if (lane == 0)
                p[j] = a.scale * part;
        }
        __syncthreads();
        float top = max, share = 0;
        for (int64_t j = threadIdx.x; j < m; j += blockDim.x)
            top = op_max()(top, p[j]);
        top = block_max(top);
        float shrink = from ? expf(max - top) : 0;
        for (int64_t j = threadIdx.x; j < m; j += blockDim.x)
            share += p[j] = expf(p[j] - top);
        sum = sum * shrink + block_sum(share); /* its barriers also publish p */
        for (int64_t c = threadIdx.x; c < a.K; c += blockDim.x) {
            float x = acc[c] * shrink;
            for (int64_t j = 0; j < m; j++)
                x += p[j] * act_to_float(v[(from + j) * a.ldc + c]);
            acc[c] = x;
        }
        max = top;
    }
    for (int64_t c = threadIdx.x; c < a.K; c += blockDim.x)
        o[i * a.ldo + h * a.K + c] = float_to_act(acc[c] / sum);
}

void cuda_attention_cached(struct lm_dev *d, void *o, int64_t ldo, const void *q, int64_t ldq,
                           const void *k, const void *v, int64_t ldc, const int32_t *first,
                           const int32_t *last, int64_t T, int64_t H, int64_t G, int64_t K,
                           float scale)
{
    struct cached a = {(const act_t *)q,
                       (const act_t *)k,
                       (const act_t *)v,
                       ldo,
                       ldq,
                       ldc,
                       first,
                       last,
                       H,
                       G,
                       K,
                       scale};
    if (K > MAX_K)
        cuda_note(state_of(d), (cudaError_t)1, "attention: heads of more than 1024");
    else if (T)
        RUN(state_of(d), cached_kernel, ((unsigned)T, (unsigned)H), THREADS, (act_t *)o, a);
}
