/* SPDX-License-Identifier: MIT
 * Causal attention within each sequence. The kernels here are for any head size: one block a
 * row and head, which goes over the row's keys (or the key's rows) in chunks. Products are
 * summed in float. What the tensor cores' kernels can do, they do. */
#include "lm/cuda/attention.h"

static constexpr int64_t CHUNK = 128, MAX_K = 1024;
static constexpr unsigned THREADS = 128;

/* Which sequence has row t: offsets[s] <= t < offsets[s + 1]. Some may be empty. */
__device__ static int64_t sequence_of(const int32_t *offsets, int64_t n_seqs, int64_t t)
{
    int64_t low = 0, high = n_seqs;
    while (high - low > 1) {
        int64_t mid = (low + high) / 2;
        if (offsets[mid] <= t)
            low = mid;
        else
            high = mid;
    }
    return low;
}

__device__ static float dot(const act_t *a, const act_t *b, int64_t n)
{
    float sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += act_to_float(a[i]) * act_to_float(b[i]);
    return sum;
}

__global__ static void fwd_kernel(act_t *o, float *lse, struct attention a)
{
    __shared__ float p[CHUNK], acc[MAX_K];
    int64_t i = blockIdx.x, h = blockIdx.y, g = h / (a.H / a.G);
    int64_t start = a.offsets[sequence_of(a.offsets, a.n_seqs, i)];
    const act_t *q = a.q + i * a.ldq + h * a.K, *k = a.k + g * a.K, *v = a.v + g * a.K;
    float max = -INFINITY, sum = 0;
    for (int64_t c = threadIdx.x; c < a.K; c += blockDim.x)
        acc[c] = 0;
    for (int64_t from = start; from <= i; from += CHUNK) {
        int64_t n = i + 1 - from < CHUNK ? i + 1 - from : CHUNK;
        float top = max, part = 0;
        __syncthreads(); /* the last chunk's p has been read */
        for (int64_t j = threadIdx.x; j < n; j += blockDim.x) {
            p[j] = a.scale * dot(q, k + (from + j) * a.ldk, a.K);
            top = op_max()(top, p[j]);
        }
        top = block_max(top);
        float shrink = from == start ? 0 : expf(max - top);
        for (int64_t j = threadIdx.x; j < n; j += blockDim.x)
            part += p[j] = expf(p[j] - top);
        sum = sum * shrink + block_sum(part); /* its barriers also publish p */
        for (int64_t c = threadIdx.x; c < a.K; c += blockDim.x) {
            float x = acc[c] * shrink;
            for (int64_t j = 0; j < n; j++)
                x += p[j] * act_to_float(v[(from + j) * a.ldv + c]);
            acc[c] = x;
        }
        max = top;
    }
    for (int64_t c = threadIdx.x; c < a.K; c += blockDim.x)
        o[i * a.ldo + h * a.K + c] = float_to_act(acc[c] / sum);
    if (threadIdx.x == 0)
        lse[h * a.T + i] = max + logf(sum);
}

/* dq of one row and head, and delta = do.o */
__global__ static void dq_kernel(act_t *dq, float *delta, const float *lse, struct attention a)
{
    __shared__ float ds[CHUNK], acc[MAX_K];
    int64_t i = blockIdx.x, h = blockIdx.y, g = h / (a.H / a.G);
    int64_t start = a.offsets[sequence_of(a.offsets, a.n_seqs, i)];
    const act_t *q = a.q + i * a.ldq + h * a.K, *k = a.k + g * a.K, *v = a.v + g * a.K;
    const act_t *dout = a.dout + i * a.ldo + h * a.K, *o = a.o + i * a.ldo + h * a.K;
    float di = 0;
    for (int64_t c = threadIdx.x; c < a.K; c += blockDim.x) {
        di += act_to_float(dout[c]) * act_to_float(o[c]);
        acc[c] = 0;
    }
    di = block_sum(di);
    if (threadIdx.x == 0)
        delta[h * a.T + i] = di;
    for (int64_t from = start; from <= i; from += CHUNK) {
        int64_t n = i + 1 - from < CHUNK ? i + 1 - from : CHUNK;
        __syncthreads();
        for (int64_t j = threadIdx.x; j < n; j += blockDim.x) {
            float p = expf(a.scale * dot(q, k + (from + j) * a.ldk, a.K) - lse[h * a.T + i]);
            ds[j] = p * (dot(dout, v + (from + j) * a.ldv, a.K) - di) * a.scale;
        }
        __syncthreads();
        for (int64_t c = threadIdx.x; c < a.K; c += blockDim.x)
            for (int64_t j = 0; j < n; j++)
                acc[c] += ds[j] * act_to_float(k[(from + j) * a.ldk + c]);
    }
    for (int64_t c = threadIdx.x; c < a.K; c += blockDim.x)
        dq[i * a.ldq + h * a.K + c] = float_to_act(acc[c]);
}

/* dk and dv of one key and key head: over the query heads that share it, rows j to the end */
__global__ static void dkv_kernel(act_t *dk, act_t *dv, const float *delta, const float *lse,
                                  struct attention a)
{
    __shared__ float p[CHUNK], ds[CHUNK], acc_k[MAX_K], acc_v[MAX_K];
    int64_t j = blockIdx.x, g = blockIdx.y, n_heads = a.H / a.G;
    int64_t end = a.offsets[sequence_of(a.offsets, a.n_seqs, j) + 1];
    const act_t *k = a.k + j * a.ldk + g * a.K, *v = a.v + j * a.ldv + g * a.K;
    for (int64_t c = threadIdx.x; c < a.K; c += blockDim.x)
        acc_k[c] = acc_v[c] = 0;
    for (int64_t h = g * n_heads; h < (g + 1) * n_heads; h++)
        for (int64_t from = j; from < end; from += CHUNK) {
            int64_t n = end - from < CHUNK ? end - from : CHUNK;
            const act_t *q = a.q + from * a.ldq + h * a.K;
            const act_t *dout = a.dout + from * a.ldo + h * a.K;
            const float *row_lse = lse + h * a.T + from, *row_delta = delta + h * a.T + from;
            __syncthreads();
            for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
                p[i] = expf(a.scale * dot(q + i * a.ldq, k, a.K) - row_lse[i]);
                ds[i] = p[i] * (dot(dout + i * a.ldo, v, a.K) - row_delta[i]) * a.scale;
            }
            __syncthreads();
            for (int64_t c = threadIdx.x; c < a.K; c += blockDim.x)
                for (int64_t i = 0; i < n; i++) {
                    acc_k[c] += ds[i] * act_to_float(q[i * a.ldq + c]);
                    acc_v[c] += p[i] * act_to_float(dout[i * a.ldo + c]);
                }
        }
    for (int64_t c = threadIdx.x; c < a.K; c += blockDim.x) {
        dk[j * a.ldk + g * a.K + c] = float_to_act(acc_k[c]);
        dv[j * a.ldv + g * a.K + c] = float_to_act(acc_v[c]);
    }
}

static bool has_work(struct lm_dev *d, int64_t T, int64_t K)
{
    if (K > MAX_K)
        cuda_note(state_of(d), (cudaError_t)1, "attention: heads of more than 1024");
    return T > 0 && K <= MAX_K;
}

void cuda_attention_fwd(struct lm_dev *d, void *o, int64_t ldo, float *lse, const void *q,
                        int64_t ldq, const void *k, int64_t ldk, const void *v, int64_t ldv,
                        const int32_t *offsets, int64_t n_seqs, int64_t T, int64_t H, int64_t G,
                        int64_t K, float scale)
{
    struct attention a = {(const act_t *)q,
                          (const act_t *)k,
                          (const act_t *)v,
                          NULL,
                          NULL,
                          ldq,
                          ldk,
                          ldv,
                          ldo,
                          offsets,
                          n_seqs,
                          T,
                          H,
                          G,
                          K,
                          scale};
    if (has_work(d, T, K) && !attention_fwd_tensor(state_of(d), (act_t *)o, lse, &a))
        LAUNCH(state_of(d), fwd_kernel, ((unsigned)T, (unsigned)H), THREADS, (act_t *)o, lse,
               a);
}

void cuda_attention_bwd(struct lm_dev *d, void *dq, void *dk, void *dv, float *delta,
                        const void *dout, const void *o, int64_t ldo, const float *lse,
                        const void *q, int64_t ldq, const void *k, int64_t ldk, const void *v,
                        int64_t ldv, const int32_t *offsets, int64_t n_seqs, int64_t T,
                        int64_t H, int64_t G, int64_t K, float scale)
{
    struct attention a = {(const act_t *)q,
                          (const act_t *)k,
                          (const act_t *)v,
                          (const act_t *)o,
                          (const act_t *)dout,
                          ldq,
                          ldk,
                          ldv,
                          ldo,
                          offsets,
                          n_seqs,
                          T,
                          H,
                          G,
                          K,
                          scale};
    if (!has_work(d, T, K) || attention_bwd_tensor(state_of(d), (act_t *)dq, (act_t *)dk,
                                                   (act_t *)dv, delta, lse, &a))
        return;
    LAUNCH(state_of(d), dq_kernel, ((unsigned)T, (unsigned)H), THREADS, (act_t *)dq, delta, lse,
           a);
    LAUNCH(state_of(d), dkv_kernel, ((unsigned)T, (unsigned)G), THREADS, (act_t *)dk,
           (act_t *)dv, delta, lse, a);
}
