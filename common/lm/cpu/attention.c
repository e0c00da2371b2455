/* SPDX-License-Identifier: MIT
 *
 * Causal attention within each sequence, as small matrix products that stay in the cache.
 *
 * A task is one sequence and one key head, with all the query heads that share it. Its keys and
 * values are copied to float panels once: K^T [K, n] and V [n, K] forward; K, K^T, V^T
 * backward. Queries go by blocks of BQ rows, scaled as they are copied. Forward keeps a block's
 * whole rows of scores [BQ, n]; backward, which knows their sums, goes by blocks of BK keys.
 * Blocks above the diagonal are never visited. All panels are padded with zeros to whole tiles.
 */
#include "lm/cpu/cpu.h"
#include "lm/cpu/tile.h"

#include <math.h>
#include <omp.h>

enum { BQ = 48, BK = 96 }; /* multiples of MR; BK of VL, too */
_Static_assert(BQ % MR == 0 && BK % MR == 0 && BK % VL == 0, "whole tiles");

/* One task's view of the arguments. */
struct task {
    int64_t first, n, g; /* rows first .. first + n - 1 of key head g */
    int64_t n_pad;       /* columns of K^T and V^T: odd in lines, so that they do not alias */
    int64_t k_pad;       /* columns of K, V, Q, O */
};

struct shape {
    const int32_t *offsets;
    int64_t n_seqs, T, H, G, K;
    float scale;
};

static int64_t round_up(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}

static int64_t pad_columns(int64_t n)
{
    return round_up(n, 16) | 16;
}

static struct task task_at(const struct shape *s, int64_t i)
{
    int64_t seq = i / s->G, first = s->offsets[seq], n = s->offsets[seq + 1] - first;
    return (struct task){first, n, i % s->G, pad_columns(n), round_up(s->K, VL)};
}

static int64_t longest(const struct shape *s)
{
    int64_t n = 0;
    for (int64_t i = 0; i < s->n_seqs; i++)
        n = s->offsets[i + 1] - s->offsets[i] > n ? s->offsets[i + 1] - s->offsets[i] : n;
    return n;
}

/* ---- panels ---- */

/* dst [n_rows, k_pad] = factor * src [n, K], zeros around. Rows lie far apart in src, where the
 * hardware's prefetcher does not follow. */
static void pack_rows(float *dst, int64_t k_pad, int64_t n_rows, const act *src, int64_t ld,
                      int64_t n, int64_t K, float factor)
{
    enum { AHEAD = 6, LINE = 64 / sizeof(act) };
    for (int64_t i = 0; i < n; i++) {
        for (int64_t c = 0; c < K && i + AHEAD < n; c += LINE)
            __builtin_prefetch(src + (i + AHEAD) * ld + c);
#pragma omp simd
        for (int64_t c = 0; c < K; c++)
            dst[i * k_pad + c] = factor * act_get(src[i * ld + c]);
        for (int64_t c = K; c < k_pad; c++)
            dst[i * k_pad + c] = 0;
    }
    memset(dst + n * k_pad, 0, (size_t)((n_rows - n) * k_pad) * sizeof *dst);
}

typedef float v4 __attribute__((vector_size(16)));
typedef v4 v4_any __attribute__((aligned(4), may_alias));

static inline v4 load4(const act *p)
{
    return (v4){act_get(p[0]), act_get(p[1]), act_get(p[2]), act_get(p[3])};
}

/* dst[c][i] = src[i][c] for c, i < 4. */
static inline void transpose4(float *dst, int64_t ldd, const act *src, int64_t lds)
{
    v4 a = load4(src), b = load4(src + lds), c = load4(src + 2 * lds), d = load4(src + 3 * lds);
    v4 ac0 = __builtin_shufflevector(a, c, 0, 4, 1, 5),
       ac1 = __builtin_shufflevector(a, c, 2, 6, 3, 7);
    v4 bd0 = __builtin_shufflevector(b, d, 0, 4, 1, 5),
       bd1 = __builtin_shufflevector(b, d, 2, 6, 3, 7);
    *(v4_any *)dst = __builtin_shufflevector(ac0, bd0, 0, 4, 1, 5);
    *(v4_any *)(dst + ldd) = __builtin_shufflevector(ac0, bd0, 2, 6, 3, 7);
    *(v4_any *)(dst + 2 * ldd) = __builtin_shufflevector(ac1, bd1, 0, 4, 1, 5);
    *(v4_any *)(dst + 3 * ldd) = __builtin_shufflevector(ac1, bd1, 2, 6, 3, 7);
}

/* dst [K, n_pad] = src [n, K]^T, zeros in the columns from n. */
static void pack_transposed(float *dst, int64_t n_pad, const act *src, int64_t ld, int64_t n,
                            int64_t K)
{
    int64_t n4 = n / 4 * 4, K4 = K / 4 * 4;
    for (int64_t i = 0; i < n4; i += 4)
        for (int64_t c = 0; c < K4; c += 4)
            transpose4(dst + c * n_pad + i, n_pad, src + i * ld + c, ld);
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = i < n4 ? K4 : 0; c < K; c++)
            dst[c * n_pad + i] = act_get(src[i * ld + c]);
    for (int64_t c = 0; c < K; c++)
        memset(dst + c * n_pad + n, 0, (size_t)(n_pad - n) * sizeof *dst);
}

static void unpack_rows(act *dst, int64_t ld, const float *src, int64_t k_pad, int64_t n,
                        int64_t K, float factor)
{
    for (int64_t i = 0; i < n; i++)
#pragma omp simd
        for (int64_t c = 0; c < K; c++)
            dst[i * ld + c] = act_put(factor * src[i * k_pad + c]);
}

/* ---- forward ---- */

struct fwd_scratch {
    float *kt;     /* [K, n_pad] */
    float *v;      /* [n rounded up to MR, k_pad] */
    float *q, *o;  /* [BQ, k_pad] */
    float *scores; /* [BQ, n_pad] */
};

static size_t fwd_floats(int64_t n, int64_t K)
{
    int64_t n_pad = pad_columns(n), k_pad = round_up(K, VL);
    return (size_t)(K * n_pad + round_up(n, MR) * k_pad + 2 * BQ * k_pad + BQ * n_pad);
}

static struct fwd_scratch fwd_layout(float *p, const struct task *t, int64_t K)
{
    struct fwd_scratch f = {.kt = p};
    f.v = f.kt + K * t->n_pad;
    f.q = f.v + round_up(t->n, MR) * t->k_pad;
    f.o = f.q + BQ * t->k_pad;
    f.scores = f.o + BQ * t->k_pad;
    return f;
}

/* Lanes j, j + 1, ... that lie below n. */
static inline vi lanes_below(int64_t j, int64_t n)
{
    vi lane;
    for (int i = 0; i < VL; i++)
        lane[i] = i;
    return lane < (int32_t)(n - j);
}

/* z [n_columns] becomes softmax's numerators over its first n_valid, then zeros. Returns the
 * log of their sum's true value and, in *inverse, 1 / sum. */
static float softmax_row(float *z, int64_t n_valid, int64_t n_columns, float *inverse)
{
    const vf none = vf_all(-INFINITY);
    vf largest = none, sum = vf_all(0);
    for (int64_t j = 0; j < n_columns; j += VL)
        largest = vf_max(vf_select(lanes_below(j, n_valid), vf_load(z + j), none), largest);
    float max = vf_largest(largest);
    for (int64_t j = 0; j < n_columns; j += VL) {
        vf e = vf_exp(vf_select(lanes_below(j, n_valid), vf_load(z + j) - max, none));
        vf_store(z + j, e);
        sum += e;
    }
    float total = vf_sum(sum);
    *inverse = 1 / total;
    return max + logf(total);
}

/* Rows i0 .. i0 + m - 1 of one query head: f->q is packed, f->o is the result. */
static void fwd_block(const struct fwd_scratch *f, const struct task *t, float *lse, int64_t i0,
                      int64_t m, int64_t K)
{
    int64_t m_pad = round_up(m, MR);
    for (int64_t j = 0; j < i0 + m; j += BK) /* a block of K^T stays in the first cache */
        for (int64_t r = 0; r < m_pad; r += MR) {
            int64_t n = cpu_min(BK, round_up(cpu_min(i0 + r + MR, t->n) - j, VL));
            if (n > 0)
                tile_strip(f->scores + r * t->n_pad + j, t->n_pad,
                           (struct tile_a){f->q + r * t->k_pad, t->k_pad, 1}, f->kt + j,
                           t->n_pad, n, K, false);
        }
    for (int64_t r = 0; r < m_pad; r += MR) {
        int64_t n = cpu_min(i0 + r + MR, t->n);
        float inverse[MR];
        for (int64_t i = r; i < r + MR; i++) {
            float l = softmax_row(f->scores + i * t->n_pad, cpu_min(i0 + i + 1, n),
                                  round_up(n, VL), &inverse[i - r]);
            if (i < m)
                lse[i0 + i] = l;
        }
        tile_strip(f->o + r * t->k_pad, t->k_pad,
                   (struct tile_a){f->scores + r * t->n_pad, t->n_pad, 1}, f->v, t->k_pad,
                   t->k_pad, n, false);
        for (int64_t i = 0; i < MR; i++)
#pragma omp simd
            for (int64_t c = 0; c < t->k_pad; c++)
                f->o[(r + i) * t->k_pad + c] *= inverse[i];
    }
}

void CPU_OP(attention_fwd)(struct lm_dev *d, void *o, int64_t ldo, float *lse, const void *q,
                           int64_t ldq, const void *k, int64_t ldk, const void *v, int64_t ldv,
                           const int32_t *offsets, int64_t n_seqs, int64_t T, int64_t H,
                           int64_t G, int64_t K, float scale)
{
    const struct shape s = {offsets, n_seqs, T, H, G, K, scale};
    size_t each = fwd_floats(longest(&s), K);
    float *scratch = CPU_SYM(cpu_scratch)(d, each * (size_t)omp_get_max_threads());
#pragma omp parallel for schedule(dynamic) if (T > 1)
    for (int64_t i = 0; i < n_seqs * G; i++) {
        struct task t = task_at(&s, i);
        struct fwd_scratch f = fwd_layout(scratch + each * (size_t)omp_get_thread_num(), &t, K);
        pack_transposed(f.kt, t.n_pad, (const act *)k + t.first * ldk + t.g * K, ldk, t.n, K);
        pack_rows(f.v, t.k_pad, round_up(t.n, MR), (const act *)v + t.first * ldv + t.g * K,
                  ldv, t.n, K, 1);
        for (int64_t h = t.g * (H / G); h < (t.g + 1) * (H / G); h++)
            for (int64_t i0 = 0; i0 < t.n; i0 += BQ) {
                int64_t m = cpu_min(BQ, t.n - i0), row = t.first + i0;
                pack_rows(f.q, t.k_pad, BQ, (const act *)q + row * ldq + h * K, ldq, m, K,
                          scale);
                fwd_block(&f, &t, lse + h * T + t.first, i0, m, K);
                unpack_rows((act *)o + row * ldo + h * K, ldo, f.o, t.k_pad, m, K, 1);
            }
    }
}

/* ---- backward ---- */

struct bwd_scratch {
    float *kt, *vt;       /* [K, n_pad] */
    float *k;             /* [n, k_pad] */
    float *dk, *dv;       /* [n rounded up to BK, k_pad] */
    float *q, *dout, *dq; /* [BQ, k_pad] */
    float *p, *ds;        /* [BQ, BK] */
    float lse[BQ], delta[BQ];
};

static size_t bwd_floats(int64_t n, int64_t K)
{
    int64_t n_pad = pad_columns(n), k_pad = round_up(K, VL);
    return (size_t)(2 * K * n_pad + n * k_pad + 2 * round_up(n, BK) * k_pad + 3 * BQ * k_pad +
                    2 * BQ * BK);
}

static struct bwd_scratch bwd_layout(float *p, const struct task *t, int64_t K)
{
    struct bwd_scratch b = {.kt = p};
    b.vt = b.kt + K * t->n_pad;
    b.k = b.vt + K * t->n_pad;
    b.dk = b.k + t->n * t->k_pad;
    b.dv = b.dk + round_up(t->n, BK) * t->k_pad;
    b.q = b.dv + round_up(t->n, BK) * t->k_pad;
    b.dout = b.q + BQ * t->k_pad;
    b.dq = b.dout + BQ * t->k_pad;
    b.p = b.dq + BQ * t->k_pad;
    b.ds = b.p + BQ * BK;
    return b;
}

/* Turns a row of scores and a row of dp = do.v into p and ds = p (dp - delta); zeros from
 * n_valid on. */
static void scores_to_gradients(float *p, float *ds, float lse, float delta, int64_t n_valid,
                                int64_t n)
{
    for (int64_t j = 0; j < n; j += VL) {
        vf x = vf_select(lanes_below(j, n_valid), vf_load(p + j) - lse, vf_all(-INFINITY));
        vf e = vf_exp(x), g = vf_load(ds + j) - delta;
        vf_store(p + j, e);
        vf_store(ds + j, e * g);
    }
}

/* Queries i0 .. i0 + m - 1 against keys j0 .. j0 + BK - 1. */
static void bwd_block(const struct bwd_scratch *b, const struct task *t, int64_t i0, int64_t m,
                      int64_t j0, int64_t K)
{
    int64_t m_pad = round_up(m, MR), k_pad = t->k_pad;
    int64_t n_keys = cpu_min(BK, cpu_min(t->n, i0 + m) - j0);
    int64_t r0 = j0 > i0 ? (j0 - i0) / MR * MR : 0; /* rows above see none of these keys */
    for (int64_t r = r0; r < m_pad; r += MR) {
        struct tile_a q = {b->q + r * k_pad, k_pad, 1}, dout = {b->dout + r * k_pad, k_pad, 1};
        float *p = b->p + r * BK, *ds = b->ds + r * BK;
        /* These rows see keys up to the last row's own. Below, no product by columns looks
         * further right in them, since blocks of both kinds begin at multiples of MR. */
        int64_t n_seen = cpu_min(n_keys, i0 + r + MR - j0), n = round_up(n_seen, VL);
        tile_strip(p, BK, q, b->kt + j0, t->n_pad, n, K, false);
        tile_strip(ds, BK, dout, b->vt + j0, t->n_pad, n, K, false);
        for (int64_t i = r; i < r + MR; i++)
            scores_to_gradients(b->p + i * BK, b->ds + i * BK, b->lse[i], b->delta[i],
                                i < m ? i0 + i + 1 - j0 : 0, n);
        tile_strip(b->dq + r * k_pad, k_pad, (struct tile_a){ds, BK, 1}, b->k + j0 * k_pad,
                   k_pad, k_pad, n_seen, true);
    }
    for (int64_t j = 0; j < n_keys; j += MR) {
        int64_t r = j0 + j > i0 ? j0 + j - i0 : 0; /* the first row that sees these keys */
        r = r > r0 ? r : r0;
        struct tile_a p = {b->p + r * BK + j, 1, BK}, ds = {b->ds + r * BK + j, 1, BK};
        tile_strip(b->dv + (j0 + j) * k_pad, k_pad, p, b->dout + r * k_pad, k_pad, k_pad, m - r,
                   true);
        tile_strip(b->dk + (j0 + j) * k_pad, k_pad, ds, b->q + r * k_pad, k_pad, k_pad, m - r,
                   true);
    }
}

/* delta_i = do_i . o_i */
static void row_products(float *delta, const float *dout, int64_t k_pad, const act *o,
                         int64_t ldo, int64_t m, int64_t K)
{
    for (int64_t i = 0; i < m; i++) {
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t c = 0; c < K; c++)
            sum += dout[i * k_pad + c] * act_get(o[i * ldo + c]);
        delta[i] = sum;
    }
}

void CPU_OP(attention_bwd)(struct lm_dev *d, void *dq, void *dk, void *dv, float *delta,
                           const void *dout, const void *o, int64_t ldo, const float *lse,
                           const void *q, int64_t ldq, const void *k, int64_t ldk,
                           const void *v, int64_t ldv, const int32_t *offsets, int64_t n_seqs,
                           int64_t T, int64_t H, int64_t G, int64_t K, float scale)
{
    const struct shape s = {offsets, n_seqs, T, H, G, K, scale};
    size_t each = bwd_floats(longest(&s), K);
    float *scratch = CPU_SYM(cpu_scratch)(d, each * (size_t)omp_get_max_threads());
#pragma omp parallel for schedule(dynamic) if (T > 1)
    for (int64_t i = 0; i < n_seqs * G; i++) {
        struct task t = task_at(&s, i);
        struct bwd_scratch b = bwd_layout(scratch + each * (size_t)omp_get_thread_num(), &t, K);
        int64_t kv = t.first * ldk + t.g * K, vv = t.first * ldv + t.g * K;
        pack_transposed(b.kt, t.n_pad, (const act *)k + kv, ldk, t.n, K);
        pack_transposed(b.vt, t.n_pad, (const act *)v + vv, ldv, t.n, K);
        pack_rows(b.k, t.k_pad, t.n, (const act *)k + kv, ldk, t.n, K, 1);
        memset(b.dk, 0, (size_t)(2 * round_up(t.n, BK) * t.k_pad) * sizeof *b.dk);
        for (int64_t h = t.g * (H / G); h < (t.g + 1) * (H / G); h++)
            for (int64_t i0 = 0; i0 < t.n; i0 += BQ) {
                int64_t m = cpu_min(BQ, t.n - i0), row = t.first + i0;
                pack_rows(b.q, t.k_pad, BQ, (const act *)q + row * ldq + h * K, ldq, m, K,
                          scale);
                pack_rows(b.dout, t.k_pad, BQ, (const act *)dout + row * ldo + h * K, ldo, m, K,
                          1);
                row_products(b.delta, b.dout, t.k_pad, (const act *)o + row * ldo + h * K, ldo,
                             m, K);
                memcpy(delta + h * T + row, b.delta, (size_t)m * sizeof *delta);
                memcpy(b.lse, lse + h * T + row, (size_t)m * sizeof *lse);
                memset(b.dq, 0, (size_t)(BQ * t.k_pad) * sizeof *b.dq);
                for (int64_t j0 = 0; j0 < i0 + m; j0 += BK)
                    bwd_block(&b, &t, i0, m, j0, K);
                unpack_rows((act *)dq + row * ldq + h * K, ldq, b.dq, t.k_pad, m, K, scale);
            }
        unpack_rows((act *)dk + kv, ldk, b.dk, t.k_pad, t.n, K, 1);
        unpack_rows((act *)dv + vv, ldv, b.dv, t.k_pad, t.n, K, 1);
    }
}
