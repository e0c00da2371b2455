/* SPDX-License-Identifier: MIT
 * Causal attention on the tensor cores, backward, without atomic additions: the probabilities
 * are computed twice, once in a kernel that owns rows of dq and once in one that owns rows of
 * dk and dv (7 products instead of 5; and the same bytes every time).
 *
 * Both: four warps, 16 rows each, whose own operands stay in registers as fragments; the other
 * side passes by in tiles of 64, two stages in shared memory, one barrier a step. A tile is
 * used in parts, as no softmax ties its columns together; parts beyond the diagonal are
 * skipped. dkv computes s^T = k q^T, so that p^T and ds^T come out as the a of the next
 * product, and goes over all query heads that share its key head.
 *
 * No spills: 168 and 197 registers (dq, dkv) for heads of 64, 241 and 255 for 128, where dkv
 * reads v from shared memory again as there is no room. Not run on a device yet. NaN as in
 * forward. */
#include "lm/cuda/attention.h"
#include "lm/cuda/mma.h"

namespace
{
constexpr int THREADS = 128, ROWS = 64;
constexpr float LOG2E = 1.44269504f;

template <int K> struct sizes {
    static constexpr place_t ROW = K * sizeof(act_t), TILE = ROWS * ROW;
    static constexpr place_t STAGE = 2 * TILE + 2 * ROWS * sizeof(float); /* lse and delta */
    static constexpr bool HOLDS_V = K <= 64; /* dkv has its v in registers */
    static constexpr int DQ_PART = 32, DKV_PART = K > 64 ? 16 : 32; /* rows at a time */
};

/* ---- delta = sum do o ---- */

/* A warp a row and head. */
__global__ void delta_kernel(float *delta, struct attention a)
{
    int lane = (int)threadIdx.x % WARP;
    for (int64_t e = first() / WARP; e < a.T * a.H; e += stride() / WARP) {
        int64_t t = e / a.H, h = e % a.H;
        int64_t at = t * a.ldo + h * a.K;
        const uint32_t *o = (const uint32_t *)(const void *)(a.o + at); /* pairs */
        const uint32_t *dout = (const uint32_t *)(const void *)(a.dout + at);
        float sum = 0;
        for (int64_t c = lane; c < a.K / 2; c += WARP)
            sum += act_to_float((act_t)o[c]) * act_to_float((act_t)dout[c]) +
                   act_to_float((act_t)(o[c] >> 16)) * act_to_float((act_t)(dout[c] >> 16));
        for (int k = WARP / 2; k > 0; k /= 2)
            sum += __shfl_xor_sync(0xffffffffu, sum, k);
        if (lane == 0)
            delta[h * a.T + t] = sum;
    }
}

/* ---- products ---- */

template <int N> __device__ void clear(float (&c)[N][4])
{
    UNROLL
    for (int n = 0; n < N; n++)
        c[n][0] = c[n][1] = c[n][2] = c[n][3] = 0;
}

/* The warp's own 16 rows: fragments, or (IS_HELD false) where to read them again. */
template <int K, bool IS_HELD> struct own {
    place_t at;
    uint32_t a[IS_HELD ? K / 16 : 1][4];

    __device__ explicit own(place_t tile)
        : at(rows_at<K>(tile) + threadIdx.x / WARP * 16 * sizes<K>::ROW)
    {
        UNROLL
        for (int k = 0; IS_HELD && k < K / 16; k++)
            load<K, false>(a[k], at, 0, k * 2);
    }
    __device__ const uint32_t *get(int k)
    {
        if (!IS_HELD)
            load<K, false>(a[0], at, 0, k * 2);
        return a[IS_HELD ? k : 0];
    }
};

/* c = own x^T for PART rows x, from `row` on; `columns`: where this lane reads them */
template <int K, int PART, bool IS_HELD>
__device__ void multiply(float (&c)[PART / 8][4], struct own<K, IS_HELD> &y, place_t columns,
                         int row)
{
    clear(c);
    UNROLL
    for (int k = 0; k < K / 16; k++) {
        const uint32_t *a = y.get(k);
        UNROLL
        for (int n = 0; n < PART / 16; n++) {
            uint32_t b[4];
            load<K, false>(b, columns, row + n * 16, k * 2);
            mma(c[2 * n], a, b);
            mma(c[2 * n + 1], a, b + 2);
        }
    }
}

/* c += x y for x [16, PART] and PART rows y, from `row` on */
template <int K, int PART>
__device__ void add_product(float (&c)[1][K / 8][4], const float (&x)[PART / 8][4],
                            place_t rows, int row)
{
    UNROLL
    for (int k = 0; k < PART / 16; k++) {
        uint32_t a[4], b[4];
        to_operand(a, x[2 * k], x[2 * k + 1]);
        UNROLL
        for (int n = 0; n < K / 16; n++) {
            load<K, true>(b, rows, row + k * 16, n * 2);
            mma(c[0][2 * n], a, b);
            mma(c[0][2 * n + 1], a, b + 2);
        }
    }
}

/* ---- dq ---- */

/* The lane's two rows. */
struct row_stats {
    float lse2[2], delta[2]; /* lse in powers of two */
    int row[2];              /* in the sequence */
};

/* s, dp of the rows and PART keys from key0 on; dp becomes ds. */
template <int PART>
__device__ void row_gradients(float (&dp)[PART / 8][4], const float (&s)[PART / 8][4],
                              const struct row_stats &y, int key0, float c)
{
    int key = key0 + (int)threadIdx.x % 4 * 2;
    UNROLL
    for (int n = 0; n < PART / 8; n++) {
        UNROLL
        for (int e = 0; e < 4; e++) {
            float p = exp2_quick(s[n][e] * c - y.lse2[e / 2]);
            float ds = p * (dp[n][e] - y.delta[e / 2]);
            dp[n][e] = key + n * 8 + e % 2 > y.row[e / 2] ? 0 : ds;
        }
    }
}

__device__ void load_stats(struct row_stats *y, const float *lse, const float *delta, int row0,
                           int len)
{
    UNROLL
    for (int r = 0; r < 2; r++) {
        y->row[r] = row0 + (int)threadIdx.x % WARP / 4 + r * 8;
        int row = min(y->row[r], len - 1);
        y->lse2[r] = lse[row] * LOG2E;
        y->delta[r] = delta[row];
    }
}

template <int K>
__global__ void __launch_bounds__(THREADS, 2)
    dq_tensor_kernel(act_t *dq, const float *delta, const float *lse, struct attention a,
                     int n_tiles)
{
    typedef sizes<K> z;
    struct tile p;
    int H = (int)a.H, h = (int)blockIdx.x % H, g = h / (H / (int)a.G);
    if (!find_tile<ROWS>(&p, a, n_tiles - 1 - (int)blockIdx.x / H))
        return;
    int warp = (int)threadIdx.x / WARP, len = p.end - p.start;
    int tile0 = p.row - p.start, row0 = tile0 + warp * 16;
    int last = row0 >= len ? -1 : min(row0 + 16, len) - 1, end = min(tile0 + ROWS, len);
    place_t tiles = place_of(dynamic_shared()), own_tiles = tiles + z::STAGE; /* stages: k, v */
    const act_t *k = a.k + p.start * a.ldk + g * K, *v = a.v + p.start * a.ldv + g * K;
    copy_tile<K, ROWS, THREADS>(own_tiles, a.q + p.row * a.ldq + h * K, a.ldq, len - tile0);
    copy_tile<K, ROWS, THREADS>(own_tiles + z::TILE, a.dout + p.row * a.ldo + h * K, a.ldo,
                                len - tile0);
    copy_tile<K, ROWS, THREADS>(tiles, k, a.ldk, len);
    copy_tile<K, ROWS, THREADS>(tiles + z::TILE, v, a.ldv, len);
    copy_commit();
    struct row_stats y;
    load_stats(&y, lse + h * a.T + p.start, delta + h * a.T + p.start, row0, len);
    copy_wait<0>();
    __syncthreads();
    struct own<K, true> q(own_tiles), dout(own_tiles + z::TILE);
    float acc[1][K / 8][4];
    clear(acc[0]);
    for (int key0 = 0; key0 < end; key0 += ROWS) {
        copy_wait<0>();
        __syncthreads(); /* this stage is there, and the other has been used */
        int next = key0 + ROWS;
        place_t at = tiles + (key0 & ROWS ? z::STAGE : 0);
        place_t other = tiles + (key0 & ROWS ? 0 : z::STAGE);
        if (next < end) {
            copy_tile<K, ROWS, THREADS>(other, k + next * a.ldk, a.ldk, len - next);
            copy_tile<K, ROWS, THREADS>(other + z::TILE, v + next * a.ldv, a.ldv, len - next);
        }
        copy_commit();
        NO_UNROLL
        for (int part = 0; part < ROWS && key0 + part <= last; part += z::DQ_PART) {
            float s[z::DQ_PART / 8][4], dp[z::DQ_PART / 8][4];
            place_t columns = columns_at<K>(at) + part * z::ROW;
            multiply<K, z::DQ_PART>(s, q, columns, 0);
            multiply<K, z::DQ_PART>(dp, dout, columns, ROWS);
            row_gradients<z::DQ_PART>(dp, s, y, key0 + part, a.scale * LOG2E);
            add_product<K, z::DQ_PART>(acc, dp, rows_at<K>(at) + part * z::ROW, 0);
        }
    }
    float scale[1][2] = {{a.scale, a.scale}};
    bool is_odd = (end - 1) & ROWS; /* the stage used last; warps may still be reading it */
    if (last >= 0)
        store_rows<K, 1>(dq + (p.start + row0) * a.ldq + h * K, a.ldq, last + 1 - row0,
                         dynamic_shared() + (is_odd ? 0 : z::STAGE / 2) + warp * 16 * K, acc,
                         scale);
}

/* ---- dk and dv ---- */

/* s^T becomes p^T, dp^T becomes ds^T: the warp's keys and PART queries. stats: lse of the
 * queries, and 64 numbers further on delta; ahead: of the first query is the first key. */
template <int PART>
__device__ void column_gradients(float (&s)[PART / 8][4], float (&dp)[PART / 8][4],
                                 const float *stats, int ahead, float c)
{
    int lane = (int)threadIdx.x % WARP;
    stats += lane % 4 * 2;
    ahead += lane / 4 - lane % 4 * 2;
    UNROLL
    for (int n = 0; n < PART / 8; n++) {
        UNROLL
        for (int e = 0; e < 4; e++) {
            int i = n * 8 + e % 2;
            bool is_hidden = ahead > i - e / 2 * 8;
            float p = exp2_quick(s[n][e] * c - stats[i] * LOG2E);
            float ds = p * (dp[n][e] - stats[ROWS + i]);
            s[n][e] = is_hidden ? 0 : p;
            dp[n][e] = is_hidden ? 0 : ds;
        }
    }
}

/* Starts copying 64 rows of q and do of one head, with their lse and delta. */
template <int K>
__device__ void copy_queries(place_t stage, const struct attention &a, const float *lse,
                             const float *delta, int h, int64_t row, int n_rows)
{
    copy_tile<K, ROWS, THREADS>(stage, a.q + row * a.ldq + h * K, a.ldq, n_rows);
    copy_tile<K, ROWS, THREADS>(stage + sizes<K>::TILE, a.dout + row * a.ldo + h * K, a.ldo,
                                n_rows);
    int i = (int)threadIdx.x % ROWS;
    const float *from = (threadIdx.x < ROWS ? lse : delta) + h * a.T + row;
    copy_async<4>(stage + 2 * sizes<K>::TILE + threadIdx.x * 4, from + (i < n_rows ? i : 0),
                  i < n_rows);
}

template <int K>
__global__ void __launch_bounds__(THREADS, 2)
    dkv_tensor_kernel(act_t *dk, act_t *dv, const float *delta, const float *lse,
                      struct attention a)
{
    typedef sizes<K> z;
    struct tile p;
    int G = (int)a.G, g = (int)blockIdx.x % G, ratio = (int)a.H / G, h = g * ratio;
    if (!find_tile<ROWS>(&p, a, (int)blockIdx.x / G))
        return;
    int warp = (int)threadIdx.x / WARP, n_rows = p.end - p.row; /* from the tile on */
    int n_own = min(max(n_rows - warp * 16, 0), 16);
    place_t tiles = place_of(dynamic_shared()),
            own_tiles = tiles + z::STAGE; /* stages: q, do */
    place_t v_tile = z::HOLDS_V ? own_tiles + z::TILE : tiles + 2 * z::STAGE;
    copy_tile<K, ROWS, THREADS>(own_tiles, a.k + p.row * a.ldk + g * K, a.ldk, n_rows);
    copy_tile<K, ROWS, THREADS>(v_tile, a.v + p.row * a.ldv + g * K, a.ldv, n_rows);
    copy_queries<K>(tiles, a, lse, delta, h, p.row, n_rows);
    copy_commit();
    copy_wait<0>();
    __syncthreads();
    struct own<K, true> k(own_tiles);
    struct own<K, z::HOLDS_V> v(v_tile);
    float acc_k[1][K / 8][4], acc_v[1][K / 8][4];
    clear(acc_k[0]);
    clear(acc_v[0]);
    place_t at = 0; /* the stage in use, from tiles on */
    for (int end = h + ratio, query0 = 0; h < end; at = z::STAGE - at) {
        copy_wait<0>();
        __syncthreads(); /* this stage is there, and the other has been used */
        int next = query0 + ROWS < n_rows ? query0 + ROWS : 0, next_h = h + (next == 0);
        if (next_h < end)
            copy_queries<K>(tiles + (z::STAGE - at), a, lse, delta, next_h, p.row + next,
                            n_rows - next);
        copy_commit();
        const float *stats =
            (const float *)(const void *)(dynamic_shared() + (at + 2 * z::TILE) / 2);
        int part = query0 == 0 ? warp * 16 / z::DKV_PART * z::DKV_PART : 0;
        NO_UNROLL
        for (; n_own > 0 && part < ROWS && query0 + part < n_rows; part += z::DKV_PART) {
            float s[z::DKV_PART / 8][4], dp[z::DKV_PART / 8][4];
            place_t columns = columns_at<K>(tiles + at) + part * z::ROW;
            multiply<K, z::DKV_PART>(s, k, columns, 0);
            multiply<K, z::DKV_PART>(dp, v, columns, ROWS);
            column_gradients<z::DKV_PART>(s, dp, stats + part, warp * 16 - query0 - part,
                                          a.scale * LOG2E);
            place_t rows = rows_at<K>(tiles + at) + part * z::ROW;
            add_product<K, z::DKV_PART>(acc_v, s, rows, ROWS);
            add_product<K, z::DKV_PART>(acc_k, dp, rows, 0);
        }
        query0 = next;
        h = next_h;
    }
    /* the stage that would be next is free, the other may still be read */
    act_t *room = dynamic_shared() + at / 2 + warp * 16 * K;
    float scale[1][2] = {{a.scale, a.scale}}, one[1][2] = {{1, 1}};
    int64_t row = p.row + warp * 16;
    if (n_own > 0) {
        store_rows<K, 1>(dk + row * a.ldk + g * K, a.ldk, n_own, room, acc_k, scale);
        store_rows<K, 1>(dv + row * a.ldv + g * K, a.ldv, n_own, room + ROWS * K, acc_v, one);
    }
}

template <int K>
void launch(struct cuda_state *s, act_t *dq, act_t *dk, act_t *dv, float *delta,
            const float *lse, const struct attention *a)
{
    int n_tiles = n_tiles_for<ROWS>(a);
    size_t bytes = 2 * sizes<K>::STAGE; /* dq has lse and delta in registers */
    LAUNCH(s, delta_kernel, (blocks(a->T * a->H, BLOCK / WARP)), BLOCK, delta, *a);
    LAUNCH_SHARED(s, dq_tensor_kernel<K>, ((unsigned)(n_tiles * a->H)), THREADS, bytes, dq,
                  delta, lse, *a, n_tiles);
    if (!sizes<K>::HOLDS_V)
        bytes += sizes<K>::TILE;
    LAUNCH_SHARED(s, dkv_tensor_kernel<K>, ((unsigned)(n_tiles * a->G)), THREADS, bytes, dk, dv,
                  delta, lse, *a);
}
} // namespace

bool attention_bwd_tensor(struct cuda_state *s, act_t *dq, act_t *dk, act_t *dv, float *delta,
                          const float *lse, const struct attention *a)
{
    if (!attention_suits_tensor(a) || !attention_is_aligned(a->o, a->ldo) ||
        !attention_is_aligned(a->dout, a->ldo) || !attention_is_aligned(dq, a->ldq) ||
        !attention_is_aligned(dk, a->ldk) || !attention_is_aligned(dv, a->ldv))
        return false;
    if (a->K == 64)
        launch<64>(s, dq, dk, dv, delta, lse, a);
    else
        launch<128>(s, dq, dk, dv, delta, lse, a);
    return true;
}
