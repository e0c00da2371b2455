/* SPDX-License-Identifier: MIT
 *
 * attention: what the kernels of attention share.
 *
 * attention.cu has kernels for any head size, and chooses; attention_fwd.cu and
 * attention_bwd.cu have those that use the tensor cores (see mma.h) for the usual sizes. Those
 * take their work in tiles of rows of one sequence and one head. */
#ifndef RAISE_LM_CUDA_ATTENTION_H
#define RAISE_LM_CUDA_ATTENTION_H

#include "lm/cuda/cuda.h"

struct attention {
    const act_t *q, *k, *v, *o, *dout;
    int64_t ldq, ldk, ldv, ldo;
    const int32_t *offsets;
    int64_t n_seqs, T, H, G, K;
    float scale;
};

/* On the tensor cores; false if they have no kernel for these sizes, strides and addresses. */
bool attention_fwd_tensor(struct cuda_state *s, act_t *o, float *lse,
                          const struct attention *a);
bool attention_bwd_tensor(struct cuda_state *s, act_t *dq, act_t *dk, act_t *dv, float *delta,
                          const float *lse, const struct attention *a);

static inline bool attention_is_aligned(const void *p, int64_t ld)
{
    return ((uintptr_t)p & 15) == 0 && ld % 8 == 0;
}

/* Softmax in powers of two keeps the greatest product, so scale must not turn the order round.
 */
static inline bool attention_suits_tensor(const struct attention *a)
{
    return (a->K == 64 || a->K == 128) && a->scale > 0 && isfinite(a->scale) &&
           attention_is_aligned(a->q, a->ldq) && attention_is_aligned(a->k, a->ldk) &&
           attention_is_aligned(a->v, a->ldv);
}

/* ---- tiles ---- */

struct tile {
    int start, end; /* the sequence */
    int row;        /* the tile's first */
};

/* Sequence s takes the numbers from offsets[s] / ROWS + s on: at least as many as it has tiles,
 * so that a block finds its tile without sums over the sequences before. */
template <int ROWS> static int n_tiles_for(const struct attention *a)
{
    return (int)(a->T / ROWS + a->n_seqs);
}

/* Tile number x; false: there is none. All lanes of a warp call it. */
template <int ROWS>
__device__ static bool find_tile(struct tile *p, const struct attention &a, int x)
{
    int lane = (int)threadIdx.x % WARP, n_seqs = (int)a.n_seqs, s = -1;
    for (int from = 0; from < n_seqs; from += WARP) {
        int i = from + lane;
        bool has_begun = i < n_seqs && a.offsets[i] / ROWS + i <= x;
        int n = __popc(__ballot_sync(0xffffffffu, has_begun));
        s += n;
        if (n < WARP)
            break;
    }
    p->start = a.offsets[s];
    p->end = a.offsets[s + 1];
    p->row = p->start + (x - (p->start / ROWS + s)) * ROWS;
    return p->row < p->end;
}

#endif
