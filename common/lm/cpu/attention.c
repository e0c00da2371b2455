/* SPDX-License-Identifier: MIT
 *
 * Causal attention within each sequence, as small matrix products that stay in the cache.
 *
 * A task is one sequence and one key head, with all the query heads that share it. Its keys and
 * values are copied to panels once: K^T and V forward; K, K^T, V^T backward. Queries go by
 * blocks of BQ rows. Forward keeps a block's whole rows of scores; backward, which knows their
 * sums, goes by blocks of BK keys. What lies above the diagonal is not visited, but for the
 * rest of a vector. A panel holds words (tile.h): as the left side of a product [rows, words
 * along k], as the right side [words along k, columns], where in bf16 a word joins two rows.
 *
 * 2048 tokens in records of 110-200, H 9, G 3, K 64, one thread of a Zen 4, forward / backward:
 * row by row 24 / 43 ms; tiles 7.5 / 14.5; keys cut to each strip, transposes in registers,
 * exponentials in vectors 6.1 / 13.0; words of two bf16 instead of floats 4.0 / 8.8.
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
    int64_t k_pad, k_words; /* columns of K, V, Q, O; words of a row of them */
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

static int64_t words(int64_t n)
{
    return (n + PAIR - 1) / PAIR;
}

static int64_t pad_columns(int64_t n)
{
    return round_up(n, 16) | 16;
}

static struct task task_at(const struct shape *s, int64_t i)
{
    int64_t seq = i / s->G, first = s->offsets[seq], n = s->offsets[seq + 1] - first;
    return (struct task){first, n, i % s->G, pad_columns(n), round_up(s->K, VL), words(s->K)};
}

static int64_t longest(const struct shape *s)
{
    int64_t n = 0;
    for (int64_t i = 0; i < s->n_seqs; i++)
        n = s->offsets[i + 1] - s->offsets[i] > n ? s->offsets[i + 1] - s->offsets[i] : n;
    return n;
}

/* ---- panels ---- */

/* Rows lie far apart in a batch's matrices, where the hardware's prefetcher does not follow. */
static inline void prefetch_row(const act *row, int64_t K)
{
    enum { LINE = 64 / sizeof(act) };
    for (int64_t c = 0; c < K; c += LINE)
        __builtin_prefetch(row + c);
}
enum { AHEAD = 6 }; /* rows */

/* A left side: dst [n_rows, ld] words = src [n, K], zeros around. */
static void pack_left(float *dst, int64_t ld, int64_t n_rows, const act *src, int64_t lds,
                      int64_t n, int64_t K)
{
    size_t used = (size_t)K * sizeof *src, size = (size_t)ld * sizeof *dst;
    for (int64_t i = 0; i < n; i++) {
        if (i + AHEAD < n)
            prefetch_row(src + (i + AHEAD) * lds, K);
        memcpy(dst + i * ld, src + i * lds, used);
        memset((char *)(dst + i * ld) + used, 0, size - used);
    }
    memset(dst + n * ld, 0, (size_t)(n_rows - n) * size);
}

/* A right side: dst [words(n_rows), k_pad] = src [n, K], zeros around. */
#if CPU_ACT_BF16
typedef uint32_t word_any __attribute__((may_alias));

static void pack_right(float *dst, int64_t k_pad, int64_t n_rows, const act *src, int64_t lds,
                       int64_t n, int64_t K)
{
    memset(dst, 0, (size_t)(words(n_rows) * k_pad) * sizeof *dst);
    for (int64_t i = 0; i < n; i += 2) {
        const act *low = src + i * lds, *high = low + lds;
        word_any *out = (word_any *)dst + i / 2 * k_pad;
        if (i + 1 == n) {
            for (int64_t c = 0; c < K; c++)
                out[c] = low[c];
            break;
        }
#pragma omp simd
        for (int64_t c = 0; c < K; c++)
            out[c] = low[c] | (uint32_t)high[c] << 16;
    }
}
#else
static void pack_right(float *dst, int64_t k_pad, int64_t n_rows, const act *src, int64_t lds,
                       int64_t n, int64_t K)
{
    pack_left(dst, k_pad, n_rows, src, lds, n, K);
}
#endif

typedef float v4 __attribute__((vector_size(16)));
typedef v4 v4_any __attribute__((aligned(2), may_alias));

static inline v4 load4(const act *p)
{
    return *(const v4_any *)p;
}

/* dst[c][i] = word c of src[i] for c, i < 4. */
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

/* A right side: dst [words(K), n_pad] = src [n, K]^T, zeros around. */
static void pack_transposed(float *dst, int64_t n_pad, const act *src, int64_t lds, int64_t n,
                            int64_t K)
{
    int64_t n4 = n / 4 * 4, K4 = K / (4 * PAIR) * 4; /* in words */
    for (int64_t i = 0; i < n4; i += 4)
        for (int64_t c = 0; c < K4; c += 4)
            transpose4(dst + c * n_pad + i, n_pad, src + i * lds + c * PAIR, lds);
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = i < n4 ? K4 : 0; c < words(K); c++) {
            act pair[PAIR] = {0};
            for (int64_t k = 0; k < PAIR && c * PAIR + k < K; k++)
                pair[k] = src[i * lds + c * PAIR + k];
            memcpy(dst + c * n_pad + i, pair, sizeof *dst);
        }
    for (int64_t c = 0; c < words(K); c++)
        memset(dst + c * n_pad + n, 0, (size_t)(n_pad - n) * sizeof *dst);
}

/* dst [n, K] = factor * src [n, k_pad] */
static void unpack(act *dst, int64_t ld, const float *src, int64_t k_pad, int64_t n, int64_t K,
                   float factor)
{
    for (int64_t i = 0; i < n; i++)
#pragma omp simd
        for (int64_t c = 0; c < K; c++)
            dst[i * ld + c] = act_put(factor * src[i * k_pad + c]);
}

/* Takes `n` floats from a scratch block. */
static float *take(float **block, int64_t n)
{
    float *p = *block;
    *block += n;
    return p;
}

/* Lanes j, j + 1, ... that lie below n. */
static inline vi lanes_below(int64_t j, int64_t n)
{
    vi lane = {0};
    for (int i = 0; i < VL; i++)
        lane[i] = i;
    return lane < (int32_t)(n - j);
}

/* ---- forward ---- */

struct fwd_scratch {
    float *kt;     /* right side [K, n_pad] */
    float *v;      /* right side [n, k_pad] */
    float *q;      /* left side [BQ, k_words] */
    float *o;      /* [BQ, k_pad] */
    float *scores; /* [BQ, n_pad]; becomes a left side in place */
};

static int64_t fwd_floats(int64_t n, int64_t K)
{
    int64_t k_pad = round_up(K, VL);
    return (K + BQ) * pad_columns(n) + (n + 2 * BQ) * k_pad;
}

static struct fwd_scratch fwd_layout(float *block, const struct task *t)
{
    struct fwd_scratch f;
    f.kt = take(&block, t->k_words * t->n_pad);
    f.v = take(&block, words(t->n) * t->k_pad);
    f.q = take(&block, BQ * t->k_words);
    f.o = take(&block, BQ * t->k_pad);
    f.scores = take(&block, BQ * t->n_pad);
    return f;
}

/* z [n_columns] becomes softmax's numerators over its first n_valid, then zeros, as acts.
 * Returns the log of the sum of e^(scale z) and, in *inverse, what turns numerators into
 * weights. */
static float softmax_row(float *z, int64_t n_valid, int64_t n_columns, float scale,
                         float *inverse)
{
    const vf none = vf_all(-INFINITY);
    vf largest = none, sum = vf_all(0);
    act *p = (act *)(void *)z; /* never ahead of what is still to be read */
    for (int64_t j = 0; j < n_columns; j += VL)
        largest = vf_max(vf_select(lanes_below(j, n_valid), vf_load(z + j), none), largest);
    float max = vf_largest(largest) * scale;
    for (int64_t j = 0; j < n_columns; j += VL) {
        vf x = vf_fma(vf_load(z + j), vf_all(scale), vf_all(-max));
        vf e = vf_exp(vf_select(lanes_below(j, n_valid), x, none));
        act_store_m(p + j, e, VL);
        sum += e;
    }
    float total = vf_sum(sum);
    *inverse = 1 / total;
    return max + logf(total);
}

/* Rows i0 .. i0 + m - 1 of one query head: f->q is packed, f->o is the result. */
static void fwd_block(const struct fwd_scratch *f, const struct task *t, float *lse, int64_t i0,
                      int64_t m, float scale)
{
    int64_t m_pad = round_up(m, MR);
    for (int64_t j = 0; j < i0 + m; j += BK) /* a block of K^T stays in the first cache */
        for (int64_t r = 0; r < m_pad; r += MR) {
            int64_t n = cpu_min(BK, round_up(cpu_min(i0 + r + MR, t->n) - j, VL));
            if (n > 0)
                tile_strip(f->scores + r * t->n_pad + j, t->n_pad,
                           (struct tile_a){f->q + r * t->k_words, t->k_words, 1}, f->kt + j,
                           t->n_pad, n, t->k_words, false);
        }
    for (int64_t r = 0; r < m_pad; r += MR) {
        int64_t n = cpu_min(i0 + r + MR, t->n);
        float inverse[MR];
        for (int64_t i = r; i < r + MR; i++) {
            float l = softmax_row(f->scores + i * t->n_pad, cpu_min(i0 + i + 1, n),
                                  round_up(n, VL), scale, &inverse[i - r]);
            if (i < m)
                lse[i0 + i] = l;
        }
        tile_strip(f->o + r * t->k_pad, t->k_pad,
                   (struct tile_a){f->scores + r * t->n_pad, t->n_pad, 1}, f->v, t->k_pad,
                   t->k_pad, words(n), false);
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
    int64_t each = fwd_floats(longest(&s), K);
    float *scratch = CPU_SYM(cpu_scratch)(d, (size_t)(each * omp_get_max_threads()));
#pragma omp parallel for schedule(dynamic) if (T > 1)
    for (int64_t i = 0; i < n_seqs * G; i++) {
        struct task t = task_at(&s, i);
        struct fwd_scratch f = fwd_layout(scratch + each * omp_get_thread_num(), &t);
        pack_transposed(f.kt, t.n_pad, (const act *)k + t.first * ldk + t.g * K, ldk, t.n, K);
        pack_right(f.v, t.k_pad, t.n, (const act *)v + t.first * ldv + t.g * K, ldv, t.n, K);
        for (int64_t h = t.g * (H / G); h < (t.g + 1) * (H / G); h++)
            for (int64_t i0 = 0; i0 < t.n; i0 += BQ) {
                int64_t m = cpu_min(BQ, t.n - i0), row = t.first + i0;
                pack_left(f.q, t.k_words, BQ, (const act *)q + row * ldq + h * K, ldq, m, K);
                fwd_block(&f, &t, lse + h * T + t.first, i0, m, scale);
                unpack((act *)o + row * ldo + h * K, ldo, f.o, t.k_pad, m, K, 1);
            }
    }
}

/* ---- backward ---- */

struct bwd_scratch {
    float *kt, *vt;              /* right sides [K, n_pad] */
    float *k;                    /* right side [n, k_pad] */
    float *dk, *dv;              /* [n rounded up to BK, k_pad] */
    float *q_left, *dout_left;   /* [BQ, k_words], the rows of a block ... */
    float *q_right, *dout_right; /* ... and [words(BQ), k_pad] */
    float *dq;                   /* [BQ, k_pad] */
    float *p, *ds;               /* [words(BQ), BK]: left sides, read by columns */
    float *p_strip, *ds_strip;   /* [MR, BK] in bf16; parts of p and ds in fp32 */
    float lse[BQ], delta[BQ];
};

static int64_t bwd_floats(int64_t n, int64_t K)
{
    int64_t k_pad = round_up(K, VL), n_pad = pad_columns(n);
    return 2 * K * n_pad + (n + 1 + 2 * round_up(n, BK) + 5 * BQ) * k_pad + 2 * (BQ + MR) * BK;
}

static struct bwd_scratch bwd_layout(float *block, const struct task *t)
{
    int64_t n_keys = round_up(t->n, BK);
    struct bwd_scratch b;
    b.kt = take(&block, t->k_words * t->n_pad);
    b.vt = take(&block, t->k_words * t->n_pad);
    b.k = take(&block, words(t->n) * t->k_pad);
    b.dk = take(&block, n_keys * t->k_pad); /* dk and dv are neighbours: */
    b.dv = take(&block, n_keys * t->k_pad); /* one call zeroes them */
    b.q_left = take(&block, BQ * t->k_words);
    b.dout_left = take(&block, BQ * t->k_words);
    b.q_right = take(&block, words(BQ) * t->k_pad);
    b.dout_right = take(&block, words(BQ) * t->k_pad);
    b.dq = take(&block, BQ * t->k_pad);
    b.p = take(&block, words(BQ) * BK);
    b.ds = take(&block, words(BQ) * BK);
    b.p_strip = take(&block, MR * BK);
    b.ds_strip = take(&block, MR * BK);
    return b;
}

/* Turns a row of scores and a row of dp = do.v into p and ds = p (dp - delta); zeros from
 * n_valid on. */
static void scores_to_gradients(float *p, float *ds, float scale, float lse, float delta,
                                int64_t n_valid, int64_t n)
{
    const vf none = vf_all(-INFINITY);
    for (int64_t j = 0; j < n; j += VL) {
        vf x = vf_fma(vf_load(p + j), vf_all(scale), vf_all(-lse));
        vf e = vf_exp(vf_select(lanes_below(j, n_valid), x, none));
        vf_store(p + j, e);
        vf_store(ds + j, e * (vf_load(ds + j) - delta));
    }
}

#if CPU_ACT_BF16
/* Two rows of floats as one row of words, for products by columns. */
static void join_rows(float *dst, const float *low, const float *high, int64_t n)
{
    for (int64_t j = 0; j < n; j += VL) {
        __m512i l = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(vf_load(low + j)));
        __m512i h = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(vf_load(high + j)));
        vf_store(dst + j, (vf)_mm512_or_si512(l, _mm512_slli_epi32(h, 16)));
    }
}

/* One row of floats as acts, in place, for products by rows. */
static void narrow_row(float *row, int64_t n)
{
    act *out = (act *)(void *)row; /* never ahead of what is still to be read */
    for (int64_t j = 0; j < n; j += VL)
        act_store_m(out + j, vf_load(row + j), VL);
}
#endif

/* Rows r .. r + MR - 1 of the block against n keys from j0: p, ds, and dq's share. */
static void bwd_strip(const struct bwd_scratch *b, const struct task *t, int64_t i0, int64_t r,
                      int64_t m, int64_t j0, int64_t n_seen, float scale)
{
    int64_t n = round_up(n_seen, VL), k_words = t->k_words, k_pad = t->k_pad;
    float *p = PAIR == 1 ? b->p + r * BK : b->p_strip;
    float *ds = PAIR == 1 ? b->ds + r * BK : b->ds_strip;
    tile_strip(p, BK, (struct tile_a){b->q_left + r * k_words, k_words, 1}, b->kt + j0,
               t->n_pad, n, k_words, false);
    tile_strip(ds, BK, (struct tile_a){b->dout_left + r * k_words, k_words, 1}, b->vt + j0,
               t->n_pad, n, k_words, false);
    for (int64_t i = 0; i < MR; i++)
        scores_to_gradients(p + i * BK, ds + i * BK, scale, b->lse[r + i], b->delta[r + i],
                            r + i < m ? i0 + r + i + 1 - j0 : 0, n);
#if CPU_ACT_BF16
    for (int64_t i = 0; i < MR; i += 2) {
        join_rows(b->p + (r + i) / 2 * BK, p + i * BK, p + (i + 1) * BK, n);
        join_rows(b->ds + (r + i) / 2 * BK, ds + i * BK, ds + (i + 1) * BK, n);
        narrow_row(ds + i * BK, n);
        narrow_row(ds + (i + 1) * BK, n);
    }
#endif
    tile_strip(b->dq + r * k_pad, k_pad, (struct tile_a){ds, BK, 1}, b->k + j0 / PAIR * k_pad,
               k_pad, k_pad, words(n_seen), true);
}

/* Queries i0 .. i0 + m - 1 against keys j0 .. j0 + BK - 1. */
static void bwd_block(const struct bwd_scratch *b, const struct task *t, int64_t i0, int64_t m,
                      int64_t j0, float scale)
{
    int64_t k_pad = t->k_pad, n_keys = cpu_min(BK, cpu_min(t->n, i0 + m) - j0);
    int64_t r0 = j0 > i0 ? j0 - i0 : 0; /* rows above see none of these keys */
    for (int64_t r = r0; r < m; r += MR)
        bwd_strip(b, t, i0, r, m, j0, cpu_min(n_keys, i0 + r + MR - j0), scale);
    /* By columns: keys j0 + j and on are seen from row r on, which begins a strip that was
     * computed as far as the last of them, since all blocks begin at multiples of MR. */
    for (int64_t j = 0; j < n_keys; j += MR) {
        int64_t r = j0 + j > i0 ? j0 + j - i0 : 0;
        float *dv = b->dv + (j0 + j) * k_pad, *dk = b->dk + (j0 + j) * k_pad;
        int64_t at = r / PAIR * BK + j, right = r / PAIR * k_pad;
        tile_strip(dv, k_pad, (struct tile_a){b->p + at, 1, BK}, b->dout_right + right, k_pad,
                   k_pad, words(m - r), true);
        tile_strip(dk, k_pad, (struct tile_a){b->ds + at, 1, BK}, b->q_right + right, k_pad,
                   k_pad, words(m - r), true);
    }
}

/* delta_i = do_i . o_i */
static void row_products(float *delta, const act *dout, const act *o, int64_t ldo, int64_t m,
                         int64_t K)
{
    for (int64_t i = 0; i < m; i++) {
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t c = 0; c < K; c++)
            sum += act_get(dout[i * ldo + c]) * act_get(o[i * ldo + c]);
        delta[i] = sum;
    }
}

/* One block of queries of one head against all the keys that it sees. */
static void bwd_queries(struct bwd_scratch *b, const struct task *t, act *dq, const act *q,
                        int64_t ldq, const act *dout, int64_t ldo, int64_t i0, int64_t m,
                        int64_t K, float scale)
{
    pack_left(b->q_left, t->k_words, BQ, q, ldq, m, K);
    pack_right(b->q_right, t->k_pad, BQ, q, ldq, m, K);
    pack_left(b->dout_left, t->k_words, BQ, dout, ldo, m, K);
    pack_right(b->dout_right, t->k_pad, BQ, dout, ldo, m, K);
    memset(b->dq, 0, (size_t)(BQ * t->k_pad) * sizeof *b->dq);
    for (int64_t j0 = 0; j0 < i0 + m; j0 += BK)
        bwd_block(b, t, i0, m, j0, scale);
    unpack(dq, ldq, b->dq, t->k_pad, m, K, scale);
}

/* What the largest task of a batch takes, times threads: as the two functions here do. */
int64_t CPU_SYM(cpu_attention_bytes)(int64_t longest_seq, int64_t K, bool is_training)
{
    int64_t fwd = fwd_floats(longest_seq, K),
            bwd = is_training ? bwd_floats(longest_seq, K) : 0;
    return (fwd > bwd ? fwd : bwd) * omp_get_max_threads() * (int64_t)sizeof(float);
}

void CPU_OP(attention_bwd)(struct lm_dev *d, void *dq, void *dk, void *dv, float *delta,
                           const void *dout, const void *o, int64_t ldo, const float *lse,
                           const void *q, int64_t ldq, const void *k, int64_t ldk,
                           const void *v, int64_t ldv, const int32_t *offsets, int64_t n_seqs,
                           int64_t T, int64_t H, int64_t G, int64_t K, float scale)
{
    const struct shape s = {offsets, n_seqs, T, H, G, K, scale};
    int64_t each = bwd_floats(longest(&s), K);
    float *scratch = CPU_SYM(cpu_scratch)(d, (size_t)(each * omp_get_max_threads()));
#pragma omp parallel for schedule(dynamic) if (T > 1)
    for (int64_t i = 0; i < n_seqs * G; i++) {
        struct task t = task_at(&s, i);
        struct bwd_scratch b = bwd_layout(scratch + each * omp_get_thread_num(), &t);
        int64_t kv = t.first * ldk + t.g * K, vv = t.first * ldv + t.g * K;
        pack_transposed(b.kt, t.n_pad, (const act *)k + kv, ldk, t.n, K);
        pack_transposed(b.vt, t.n_pad, (const act *)v + vv, ldv, t.n, K);
        pack_right(b.k, t.k_pad, t.n, (const act *)k + kv, ldk, t.n, K);
        memset(b.dk, 0, (size_t)(2 * round_up(t.n, BK) * t.k_pad) * sizeof *b.dk);
        for (int64_t h = t.g * (H / G); h < (t.g + 1) * (H / G); h++)
            for (int64_t i0 = 0; i0 < t.n; i0 += BQ) {
                int64_t m = cpu_min(BQ, t.n - i0), row = t.first + i0;
                const act *q_row = (const act *)q + row * ldq + h * K;
                const act *do_row = (const act *)dout + row * ldo + h * K;
                float *delta_row = delta + h * T + row;
                row_products(delta_row, do_row, (const act *)o + row * ldo + h * K, ldo, m, K);
                memcpy(b.delta, delta_row, (size_t)m * sizeof *delta);
                memcpy(b.lse, lse + h * T + row, (size_t)m * sizeof *lse);
                memset(b.delta + m, 0, (size_t)(BQ - m) * sizeof *delta);
                memset(b.lse + m, 0, (size_t)(BQ - m) * sizeof *lse);
                bwd_queries(&b, &t, (act *)dq + row * ldq + h * K, q_row, ldq, do_row, ldo, i0,
                            m, K, scale);
            }
        unpack((act *)dk + kv, ldk, b.dk, t.k_pad, t.n, K, scale);
        unpack((act *)dv + vv, ldv, b.dv, t.k_pad, t.n, K, 1);
    }
}
