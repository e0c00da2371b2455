/* SPDX-License-Identifier: MIT
 * Causal attention on the tensor cores, forward: FlashAttention-2 (arXiv 2307.08691).
 *
 * A block of four warps has a tile of rows of one head, 32 rows a warp, and goes over the
 * sequence's keys up to the diagonal, 64 at a time. The next 64 keys and values are copied
 * while these are used, 32 at a time: two stages in shared memory, one barrier a step. Scores,
 * exponentials and the output stay in registers. Only the diagonal is masked, and a warp skips
 * what is beyond its own rows. With 16 rows a warp, shared memory's bandwidth would be the
 * limit. No spills: 168 registers for heads of 64 (three blocks a multiprocessor), 252 for 128
 * (two). Not run on a device yet.
 *
 * NaN in a row of q, k or v makes its scores, sum and output NaN; as 0 * NaN is NaN, one in v
 * reaches the rows of its sequence that share its keys, even earlier ones. */
#include "lm/cuda/attention.h"
#include "lm/cuda/mma.h"

namespace
{
constexpr int THREADS = 128, KEYS = 64, PART = 32, MT = 2, WARP_ROWS = 16 * MT,
              ROWS = 4 * WARP_ROWS;

/* A warp's rows: the softmax so far. o is sum p v / sum p, p = 2^(c (s - max)). */
template <int K> struct rows {
    float o[MT][K / 8][4];
    float max[MT][2], sum[MT][2]; /* sum: of this lane's columns */
};

template <int K> constexpr size_t shared_bytes()
{
    return (size_t)(ROWS + 4 * KEYS) * K * sizeof(act_t);
}

/* s = q k^T: the warp's rows, PART keys */
template <int K> __device__ void scores(float (&s)[MT][PART / 8][4], place_t q_at, place_t k_at)
{
    UNROLL
    for (int m = 0; m < MT; m++) {
        UNROLL
        for (int n = 0; n < PART / 8; n++)
            s[m][n][0] = s[m][n][1] = s[m][n][2] = s[m][n][3] = 0;
    }
    UNROLL_4
    for (int k = 0; k < K / 16; k++) {
        uint32_t q[MT][4], b[4];
        UNROLL
        for (int m = 0; m < MT; m++)
            load<K, false>(q[m], q_at, m * 16, k * 2);
        UNROLL
        for (int n = 0; n < PART / 16; n++) {
            load<K, false>(b, k_at, n * 16, k * 2);
            UNROLL
            for (int m = 0; m < MT; m++) {
                mma(s[m][2 * n], q[m], b);
                mma(s[m][2 * n + 1], q[m], b + 2);
            }
        }
    }
}

/* No row sees a later key. ahead: of the first row is the first key */
__device__ void mask(float (&s)[MT][PART / 8][4], int ahead)
{
    int lane = (int)threadIdx.x % WARP;
    ahead += lane % 4 * 2 - lane / 4;
    UNROLL
    for (int m = 0; m < MT; m++) {
        UNROLL
        for (int n = 0; n < PART / 8; n++) {
            UNROLL
            for (int e = 0; e < 4; e++)
                if (ahead > m * 16 + e / 2 * 8 - n * 8 - e % 2)
                    s[m][n][e] = -INFINITY;
        }
    }
}

/* s becomes p; what the rows have so far is scaled to the new maximum. */
template <int K>
__device__ void softmax(struct rows<K> &y, float (&s)[MT][PART / 8][4], float c, int m, int r)
{
    float max = y.max[m][r], sum = 0;
    UNROLL
    for (int n = 0; n < PART / 8; n++)
        max = fmaxf(max, fmaxf(s[m][n][2 * r], s[m][n][2 * r + 1]));
    max = quad_max(max);
    float base = max == -INFINITY ? 0 : max * c, shrink = exp2_quick(y.max[m][r] * c - base);
    UNROLL
    for (int n = 0; n < PART / 8; n++) {
        UNROLL
        for (int e = 2 * r; e < 2 * r + 2; e++)
            sum += s[m][n][e] = exp2_quick(s[m][n][e] * c - base);
    }
    y.max[m][r] = max;
    y.sum[m][r] = y.sum[m][r] * shrink + sum;
    UNROLL
    for (int n = 0; n < K / 8; n++) {
        y.o[m][n][2 * r] *= shrink;
        y.o[m][n][2 * r + 1] *= shrink;
    }
}

/* o += p v */
template <int K>
__device__ void weigh(struct rows<K> &y, const float (&p)[MT][PART / 8][4], place_t v_at)
{
    UNROLL
    for (int k = 0; k < PART / 16; k++) {
        uint32_t a[MT][4], b[4];
        UNROLL
        for (int m = 0; m < MT; m++)
            to_operand(a[m], p[m][2 * k], p[m][2 * k + 1]);
        UNROLL
        for (int n = 0; n < K / 16; n++) {
            load<K, true>(b, v_at, k * 16, n * 2);
            UNROLL
            for (int m = 0; m < MT; m++) {
                mma(y.o[m][2 * n], a[m], b);
                mma(y.o[m][2 * n + 1], a[m], b + 2);
            }
        }
    }
}

/* PART keys from key0 on */
template <int K>
__device__ void step(struct rows<K> &y, place_t q_at, place_t k_at, place_t v_at, int row0,
                     int key0, float c)
{
    float s[MT][PART / 8][4];
    scores<K>(s, q_at, k_at);
    if (key0 + PART - 1 > row0)
        mask(s, key0 - row0);
    UNROLL
    for (int i = 0; i < 2 * MT; i++)
        softmax<K>(y, s, c, i / 2, i % 2);
    weigh<K>(y, s, v_at);
}

template <int K> __device__ void clear(struct rows<K> &y)
{
    UNROLL
    for (int m = 0; m < MT; m++) {
        UNROLL
        for (int n = 0; n < K / 8; n++)
            y.o[m][n][0] = y.o[m][n][1] = y.o[m][n][2] = y.o[m][n][3] = 0;
        y.max[m][0] = y.max[m][1] = -INFINITY;
        y.sum[m][0] = y.sum[m][1] = 0;
    }
}

/* The warp's n_rows rows of o and lse; `tile` is its part of sq, which is done with. */
template <int K>
__device__ void finish(struct rows<K> &y, act_t *o, int64_t ldo, float *lse, int n_rows,
                       float scale, act_t *tile)
{
    int lane = (int)threadIdx.x % WARP;
    float inverse[MT][2];
    UNROLL
    for (int m = 0; m < MT; m++) {
        UNROLL
        for (int r = 0; r < 2; r++) {
            int row = m * 16 + r * 8 + lane / 4;
            float sum = quad_sum(y.sum[m][r]);
            inverse[m][r] = 1 / sum;
            if (lane % 4 == 0 && row < n_rows)
                lse[row] = y.max[m][r] * scale + logf(sum);
        }
    }
    store_rows<K, MT>(o, ldo, n_rows, tile, y.o, inverse);
}

/* A block a tile and head, tiles in reverse: a sequence's last ones have the most keys. */
template <int K>
__global__ void __launch_bounds__(THREADS, K > 64 ? 2 : 3)
    fwd_tensor_kernel(act_t *o, float *lse, struct attention a, int n_tiles)
{
    struct tile p;
    int H = (int)a.H, h = (int)blockIdx.x % H, g = h / (H / (int)a.G);
    if (!find_tile<ROWS>(&p, a, n_tiles - 1 - (int)blockIdx.x / H))
        return;
    constexpr place_t ROW = K * sizeof(act_t), STAGE = KEYS * ROW;
    int warp = (int)threadIdx.x / WARP, len = p.end - p.start;
    int tile0 = p.row - p.start, row0 = tile0 + warp * WARP_ROWS; /* the warp's first */
    int last = row0 >= len ? -1 : min(row0 + WARP_ROWS, len) - 1, end = min(tile0 + ROWS, len);
    act_t *sq = dynamic_shared() + warp * WARP_ROWS * K;
    place_t tiles = place_of(dynamic_shared()), sk = tiles + ROWS * ROW, sv = sk + 2 * STAGE;
    place_t q_at = rows_at<K>(tiles) + warp * WARP_ROWS * ROW, k_at = columns_at<K>(sk);
    place_t v_at = rows_at<K>(sv);
    const act_t *k = a.k + p.start * a.ldk + g * K, *v = a.v + p.start * a.ldv + g * K;
    copy_tile<K, ROWS, THREADS>(tiles, a.q + p.row * a.ldq + h * K, a.ldq, len - tile0);
    struct rows<K> y;
    clear(y);
    for (int key0 = -KEYS; key0 < end; key0 += KEYS) {
        copy_wait<0>();
        __syncthreads(); /* this stage is there, and the other has been used */
        int next = key0 + KEYS;
        place_t at = key0 & KEYS ? STAGE : 0, other = STAGE - at;
        if (next < end) {
            copy_tile<K, KEYS, THREADS>(sk + other, k + next * a.ldk, a.ldk, len - next);
            copy_tile<K, KEYS, THREADS>(sv + other, v + next * a.ldv, a.ldv, len - next);
        }
        copy_commit();
        NO_UNROLL
        for (int part = 0; key0 >= 0 && part < KEYS && key0 + part <= last; part += PART)
            step<K>(y, q_at, k_at + at + part * ROW, v_at + at + part * ROW, row0, key0 + part,
                    a.scale * 1.44269504f);
    }
    if (last >= 0)
        finish<K>(y, o + (p.start + row0) * a.ldo + h * K, a.ldo,
                  lse + h * a.T + p.start + row0, last + 1 - row0, a.scale, sq);
}

template <int K>
void launch(struct cuda_state *s, act_t *o, float *lse, const struct attention *a)
{
    int n_tiles = n_tiles_for<ROWS>(a);
    LAUNCH_SHARED(s, fwd_tensor_kernel<K>, ((unsigned)(n_tiles * a->H)), THREADS,
                  shared_bytes<K>(), o, lse, *a, n_tiles);
}
} // namespace

bool attention_fwd_tensor(struct cuda_state *s, act_t *o, float *lse, const struct attention *a)
{
    if (!attention_suits_tensor(a) || !attention_is_aligned(o, a->ldo))
        return false;
    if (a->K == 64)
        launch<64>(s, o, lse, a);
    else
        launch<128>(s, o, lse, a);
    return true;
}
