/* SPDX-License-Identifier: MIT
 * Softmax cross-entropy over rows of logits.
 *
 * A block a row. Maximum and sum come from one pass: each thread keeps the sum of e^(z - m) for
 * its own maximum m so far; the block's threads then agree on one. The gradient is a second
 * pass. So a row is read twice and its gradient written once, which is all the time there is:
 * rows are much longer than what a block could keep. */
#include "lm/cuda/cuda.h"

/* sum of e^(z - max) over the values seen */
struct running {
    float max, sum;
};

/* n values more. A NaN makes max and sum NaN; so does +infinity the sum, as inf - inf. */
template <int N> __device__ static inline void see(struct running *r, const float *z)
{
    float max = r->max;
    UNROLL
    for (int i = 0; i < N; i++)
        max = op_max()(max, z[i]);
    if (max == -INFINITY)
        return; /* nothing yet that counts */
    float sum = r->sum * expf(r->max - max);
    UNROLL
    for (int i = 0; i < N; i++)
        sum += expf(z[i] - max);
    r->max = max;
    r->sum = sum;
}

/* The block's; a row of nothing but -infinity has no softmax: NaN. */
__device__ static inline struct running combine(struct running r)
{
    float max = block_max(r.max);
    float sum = r.max == -INFINITY && max != -INFINITY ? 0 : r.sum * expf(r.max - max);
    struct running all = {max, block_sum(sum)};
    return all;
}

template <bool IS_BY8>
__global__ static void xent_kernel(float *loss, act_t *dlogits, const float *logits,
                                   const int32_t *targets, int64_t n, int64_t V, float scale)
{
    constexpr int STEP = IS_BY8 ? 8 : 1;
    for (int64_t row = blockIdx.x; row < n; row += gridDim.x) {
        const float *z = logits + row * V;
        int64_t target = targets[row];
        struct running r = {-INFINITY, 0};
        float v[8];
        for (int64_t c = threadIdx.x * STEP; c < V; c += blockDim.x * STEP) {
            if (IS_BY8)
                load8(v, z + c);
            else
                v[0] = z[c];
            see<STEP>(&r, v);
        }
        r = combine(r);
        if (threadIdx.x == 0)
            loss[row] = logf(r.sum) + (r.max - z[target]);
        float k = scale / r.sum;
        for (int64_t c = threadIdx.x * STEP; dlogits && c < V; c += blockDim.x * STEP) {
            if (IS_BY8)
                load8(v, z + c);
            else
                v[0] = z[c];
            UNROLL
            for (int i = 0; i < STEP; i++)
                v[i] = k * expf(v[i] - r.max) - (c + i == target ? scale : 0);
            if (IS_BY8)
                store8(dlogits + row * V + c, v);
            else
                dlogits[row * V + c] = float_to_act(v[0]);
        }
    }
}

void cuda_xent(struct lm_dev *d, float *loss, void *dlogits, const float *logits,
               const int32_t *targets, int64_t n, int64_t V, float scale)
{
    act_t *out = (act_t *)dlogits;
    if (n && is_by8(V, logits, dlogits))
        RUN(state_of(d), xent_kernel<true>, (blocks(n, 1)), 2 * threads(V / 16), loss, out,
            logits, targets, n, V, scale);
    else if (n)
        RUN(state_of(d), xent_kernel<false>, (blocks(n, 1)), threads(V), loss, out, logits,
            targets, n, V, scale);
}
