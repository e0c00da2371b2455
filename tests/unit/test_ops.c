/* SPDX-License-Identifier: MIT
 * Every op of the CPU backend against the reference.
 *
 * A case runs one op on buffers that are filled from a seed, so that it can be run again on
 * another device. All buffers are compared afterwards, inputs too: what an op must not touch
 * (inputs, the gaps between strided rows, the guards around each buffer) is checked with what
 * it must write. What is only written holds NaN before. Each case runs on the reference, then
 * on every instruction set and precision that this machine has, with one and with two threads,
 * which must give the same bytes, and on the CUDA plugin (its kernels run by the host, unless
 * RAISE_CUDA_PLUGIN names one for a GPU).
 *
 * Tolerances are relative to |value| + the root mean square of the buffer, so they bound the
 * error of a sum by its terms. The reference sums in double; a float sum of n terms in lanes is
 * off by a few roundings (6e-8 each), a long product's by sqrt(n) of them. */
#include "base/cpu.h"
#include "base/mem.h"
#include "base/rng.h"
#include "lm/backend.h"

#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

enum { MAX_BUFS = 12, GUARD = 64, GUARD_BYTE = 0xA5 };
enum kind { FLOAT, ACT };
enum fill { RANDOM, WRITTEN };

struct buffer {
    unsigned char *block; /* guard, data, guard */
    int64_t n;
    size_t size; /* bytes an element */
};

struct run {
    struct lm_dev *dev;
    bool is_bf16; /* activations are rounded to bf16, on the reference too */
    struct rng rng;
    struct buffer bufs[MAX_BUFS];
    int n_bufs;
};

struct shape {
    int64_t n[6]; /* sizes; n[5]: 1 / tolerance of bf16, 0 is 128: a rounding or two of 2^-9 */
    double tol;   /* in fp32 */
};

static bool is_simulated; /* the CUDA plugin is the simulated device */

typedef void op_case(struct run *r, const int64_t *n);

/* ---- buffers ---- */

static uint16_t to_bf16(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return (uint16_t)(isnan(x) ? 0x7fc0 : (u + 0x7fff + (u >> 16 & 1)) >> 16);
}

static float from_bf16(uint16_t h)
{
    uint32_t u = (uint32_t)h << 16;
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

static void put(const struct run *r, void *p, int64_t i, size_t size, enum kind kind, float x)
{
    if (size == 2)
        ((uint16_t *)p)[i] = to_bf16(x);
    else
        ((float *)p)[i] = r->is_bf16 && kind == ACT ? from_bf16(to_bf16(x)) : x;
}

static void *buf(struct run *r, int64_t n, enum kind kind, enum fill fill)
{
    assert_true(r->n_bufs < MAX_BUFS);
    struct buffer *b = &r->bufs[r->n_bufs++];
    b->n = n;
    b->size = kind == ACT ? lm_act_size(r->dev) : sizeof(float);
    size_t bytes = (size_t)n * b->size;
    b->block = r->dev->ops->alloc(r->dev, bytes + 2 * GUARD, NULL);
    assert_non_null(b->block);
    memset(b->block, GUARD_BYTE, bytes + 2 * GUARD);
    for (int64_t i = 0; i < n; i++)
        put(r, b->block + GUARD, i, b->size, kind,
            fill == WRITTEN ? NAN : (float)rng_normal(&r->rng));
    return b->block + GUARD;
}

static void *written(struct run *r, int64_t n, enum kind kind)
{
    return buf(r, n, kind, WRITTEN);
}

static void *random_act(struct run *r, int64_t n)
{
    return buf(r, n, ACT, RANDOM);
}

static float *random_float(struct run *r, int64_t n)
{
    return buf(r, n, FLOAT, RANDOM);
}

static float value(const struct buffer *b, int64_t i)
{
    const unsigned char *p = b->block + GUARD;
    return b->size == 2 ? from_bf16(((const uint16_t *)(const void *)p)[i])
                        : ((const float *)(const void *)p)[i];
}

static void run_free(struct run *r)
{
    for (int i = 0; i < r->n_bufs; i++)
        r->dev->ops->free(r->dev, r->bufs[i].block);
    lm_dev_close(r->dev);
}

/* ---- comparison ---- */

static double rms(const struct buffer *b)
{
    double sum = 0;
    int64_t n = 0;
    for (int64_t i = 0; i < b->n; i++)
        if (isfinite(value(b, i))) {
            sum += (double)value(b, i) * (double)value(b, i);
            n++;
        }
    return n ? sqrt(sum / (double)n) : 0;
}

static void check_guards(const char *what, const struct buffer *b)
{
    size_t end = GUARD + (size_t)b->n * b->size;
    for (size_t i = 0; i < GUARD; i++)
        if (b->block[i] != GUARD_BYTE || b->block[end + i] != GUARD_BYTE)
            fail_msg("%s: wrote outside a buffer of %lld", what, (long long)b->n);
}

static void check_close(const char *what, const struct run *got, const struct run *want,
                        double tol)
{
    assert_int_equal(got->n_bufs, want->n_bufs);
    for (int k = 0; k < got->n_bufs; k++) {
        const struct buffer *g = &got->bufs[k], *w = &want->bufs[k];
        double scale = rms(w);
        check_guards(what, g);
        check_guards(what, w);
        for (int64_t i = 0; i < w->n; i++) {
            float x = value(g, i), y = value(w, i);
            if (!isnan(x) != !isnan(y))
                fail_msg("%s: buffer %d[%lld]: %g, want %g", what, k, (long long)i, (double)x,
                         (double)y);
            if (!isnan(x) && x != y &&
                !(isfinite(y) &&
                  fabs((double)x - (double)y) <= tol * (fabs((double)y) + scale)))
                fail_msg("%s: buffer %d[%lld] of %lld: %.9g, want %.9g (rms %g)", what, k,
                         (long long)i, (long long)w->n, (double)x, (double)y, scale);
        }
    }
}

static void check_same(const char *what, const struct run *a, const struct run *b)
{
    for (int k = 0; k < a->n_bufs; k++)
        if (memcmp(a->bufs[k].block, b->bufs[k].block,
                   (size_t)a->bufs[k].n * a->bufs[k].size + 2 * GUARD) != 0)
            fail_msg("%s: buffer %d differs between two runs", what, k);
}

static struct run run_on(struct lm_dev *dev, bool is_bf16, op_case *op, const int64_t *n)
{
    struct run r = {.dev = dev, .is_bf16 = is_bf16};
    assert_non_null(dev);
    rng_init(&r.rng, 7, (uint64_t)n[0]);
    op(&r, n);
    dev->ops->sync(dev);
    return r;
}

static double bf16_tolerance(const struct shape *s)
{
    return 1.0 / (s->n[5] ? (double)s->n[5] : 128);
}

/* The CUDA plugin, which must give the same bytes in whatever order the simulated device runs
 * warps and blocks (a GPU: again). */
static void check_cuda(const char *name, op_case *op, const struct shape *s,
                       const struct run *ref)
{
    static const char *const orders[] = {"forward", "reverse", "1"};
    enum { N = sizeof orders / sizeof *orders };
    char what[128];
    struct run got[N];
    snprintf(what, sizeof what, "%s on cuda, shape %lld %lld %lld %lld", name,
             (long long)s->n[0], (long long)s->n[1], (long long)s->n[2], (long long)s->n[3]);
    for (int i = 0; i < N; i++) {
        setenv("RAISE_SIM_ORDER", orders[i], 1);
        got[i] = run_on(lm_dev_open_cuda(0, NULL), true, op, s->n);
    }
    check_close(what, &got[0], ref, s->tol + bf16_tolerance(s));
    for (int i = 1; i < N; i++)
        check_same(what, &got[0], &got[i]);
    for (int i = 0; i < N; i++)
        run_free(&got[i]);
}

/* One instruction set and precision, with one and with two threads. */
static void check_device(const char *name, enum cpu_isa isa, enum lm_dtype act, op_case *op,
                         const struct shape *s, const struct run *ref)
{
    char what[128];
    struct run got[2];
    bool is_bf16 = act == LM_BF16;
    snprintf(what, sizeof what, "%s on %s%s, shape %lld %lld %lld %lld", name,
             cpu_isa_name(isa), is_bf16 ? " bf16" : "", (long long)s->n[0], (long long)s->n[1],
             (long long)s->n[2], (long long)s->n[3]);
    for (int i = 0; i < 2; i++) {
        omp_set_num_threads(i + 1);
        got[i] = run_on(lm_dev_open_cpu(act, NULL), is_bf16, op, s->n);
    }
    check_close(what, &got[0], ref, is_bf16 ? s->tol + bf16_tolerance(s) : s->tol);
    check_same(what, &got[0], &got[1]);
    run_free(&got[0]);
    run_free(&got[1]);
}

static void check_op(const char *name, op_case *op, const struct shape *shapes)
{
    unsetenv("RAISE_ISA");
    enum cpu_isa best = cpu_isa();
    struct lm_dev *bf16 = lm_dev_open_cpu(LM_BF16, NULL);
    for (const struct shape *s = shapes; s->tol > 0; s++) {
        struct run ref = run_on(lm_dev_open_ref(), false, op, s->n);
        for (enum cpu_isa isa = CPU_BASE; isa <= best; isa++) {
            setenv("RAISE_ISA", cpu_isa_name(isa), 1);
            check_device(name, isa, LM_F32, op, s, &ref);
        }
        unsetenv("RAISE_ISA");
        run_free(&ref);
        ref = run_on(lm_dev_open_ref(), true, op, s->n);
        if (bf16)
            check_device(name, best, LM_BF16, op, s, &ref);
        check_cuda(name, op, s, &ref);
        run_free(&ref);
    }
    lm_dev_close(bf16);
}

#define OP_TEST(op, ...)                                                                       \
    static void op##_matches_the_reference(void **state)                                       \
    {                                                                                          \
        static const struct shape shapes[] = {__VA_ARGS__, {.tol = 0}};                        \
        (void)state;                                                                           \
        check_op(#op, case_##op, shapes);                                                      \
    }

/* What the reference hands to a next op must be rounded as an act buffer would be. */
static void round_to_act(const struct run *r, void *p, int64_t n)
{
    float *x = p;
    for (int64_t i = 0; r->is_bf16 && r->dev->act == LM_F32 && i < n; i++)
        x[i] = from_bf16(to_bf16(x[i]));
}

/* ---- matrix products ---- */

enum { GAP = 3 }; /* elements between strided rows */

static void round_weight(const struct run *r, float *w, int64_t n)
{
    for (int64_t i = 0; r->is_bf16 && i < n; i++)
        w[i] = from_bf16(to_bf16(w[i])); /* as the packed weight is */
}

static void case_linear_fwd(struct run *r, const int64_t *n)
{
    int64_t T = n[0], n_out = n[1], n_in = n[2], ldy = n_out + GAP, ldx = n_in + GAP;
    void *y = random_act(r, T * ldy), *x = random_act(r, T * ldx);
    float *y32 = written(r, T * ldy, FLOAT), *w = buf(r, n_out * n_in, FLOAT, RANDOM);
    round_weight(r, w, n_out * n_in);
    struct lm_matrix *m = r->dev->ops->matrix_new(r->dev, w, n_out, n_in, NULL);
    r->dev->ops->linear_fwd(r->dev, y, ldy, x, ldx, m, T, n[3]);
    r->dev->ops->linear_fwd_f32(r->dev, y32, ldy, x, ldx, m, T);
    r->dev->ops->matrix_update(r->dev, m, w);
    r->dev->ops->matrix_free(r->dev, m);
}
OP_TEST(linear_fwd, {{1, 1, 1, 0}, 1e-6}, {{7, 13, 5, 1}, 1e-6}, {{64, 48, 576, 0}, 2e-6},
        {{37, 131, 257, 1}, 2e-6}, {{129, 384, 288, 0}, 2e-6})

static void case_linear_bwd(struct run *r, const int64_t *n)
{
    int64_t T = n[0], n_out = n[1], n_in = n[2], lddy = n_out + GAP, lddx = n_in + GAP;
    void *dx = random_act(r, T * lddx), *dy = random_act(r, T * lddy);
    float *w = random_float(r, n_out * n_in);
    round_weight(r, w, n_out * n_in);
    struct lm_matrix *m = r->dev->ops->matrix_new(r->dev, w, n_out, n_in, NULL);
    r->dev->ops->linear_bwd(r->dev, dx, lddx, dy, lddy, m, T, n[3]);
    r->dev->ops->matrix_free(r->dev, m);
}
OP_TEST(linear_bwd, {{1, 1, 1, 0}, 1e-6}, {{7, 13, 5, 1}, 1e-6}, {{37, 131, 257, 1}, 2e-6},
        {{65, 1536, 144, 0}, 4e-6})

static void case_weight_grad(struct run *r, const int64_t *n)
{
    int64_t T = n[0], n_out = n[1], n_in = n[2], lddy = n_out + GAP, ldx = n_in + GAP;
    float *dw = random_float(r, n_out * n_in);
    void *dy = random_act(r, T * lddy), *x = random_act(r, T * ldx);
    r->dev->ops->weight_grad(r->dev, dw, dy, lddy, x, ldx, T, n_out, n_in);
}
OP_TEST(weight_grad, {{1, 1, 1}, 1e-6}, {{5, 16, 13}, 1e-6}, {{257, 16, 576}, 2e-6},
        {{301, 131, 67}, 2e-6})

static void case_gemm(struct run *r, const int64_t *n)
{
    int64_t M = n[0], N = n[1], K = n[2];
    bool is_ta = n[3] & 1, is_tb = n[3] & 2;
    int64_t lda = (is_ta ? M : K) + GAP, ldb = (is_tb ? K : N) + GAP, ldc = N + GAP;
    void *a = random_act(r, (is_ta ? K : M) * lda), *b = random_act(r, (is_tb ? N : K) * ldb);
    void *c = n[4] ? random_act(r, M * ldc) : written(r, M * ldc, ACT);
    r->dev->ops->gemm(r->dev, is_ta, is_tb, M, N, K, 0.5f, a, lda, b, ldb, (float)n[4], c, ldc);
}
OP_TEST(gemm, {{1, 1, 1, 0, 0}, 1e-6}, {{67, 16, 576, 2, 0}, 2e-6}, {{67, 576, 16, 2, 1}, 1e-6},
        {{67, 13, 31, 0, 2}, 1e-6}, {{16, 61, 131, 1, 1}, 2e-6}, {{5, 7, 3, 3, 1}, 1e-6})

/* Several products of one shape; where the device has no such op, one after the other. */
static void case_gemms(struct run *r, const int64_t *n)
{
    const struct lm_ops *f = r->dev->ops;
    bool is_float = n[4];
    struct lm_gemms g = {.n = n[0],
                         .M = n[1],
                         .N = n[2],
                         .K = n[3],
                         .alpha = is_float ? 1 : 0.5f,
                         .beta = is_float,
                         .is_ta = is_float,
                         .is_tb = !is_float,
                         .is_float = is_float};
    g.lda = (g.is_ta ? g.M : g.K) + GAP;
    g.ldb = (g.is_tb ? g.K : g.N) + GAP;
    g.ldc = g.N;
    g.step_a = (g.is_ta ? g.K : g.M) * g.lda;
    g.step_b = (g.is_tb ? g.N : g.K) * g.ldb + GAP;
    g.step_c = g.M * g.N;
    size_t size = lm_act_size(r->dev), size_c = is_float ? 4 : size;
    char *a = random_act(r, g.n * g.step_a), *b = random_act(r, g.n * g.step_b);
    char *c =
        is_float ? (void *)random_float(r, g.n * g.step_c) : written(r, g.n * g.step_c, ACT);
    if (f->gemms) {
        f->gemms(r->dev, &g, a, b, c);
        return;
    }
    for (int64_t i = 0; i < g.n; i++) {
        char *ai = a + (size_t)(i * g.step_a) * size, *bi = b + (size_t)(i * g.step_b) * size;
        void *ci = c + (size_t)(i * g.step_c) * size_c;
        if (is_float)
            f->weight_grad(r->dev, ci, ai, g.lda, bi, g.ldb, g.K, g.M, g.N);
        else
            f->gemm(r->dev, g.is_ta, g.is_tb, g.M, g.N, g.K, g.alpha, ai, g.lda, bi, g.ldb, 0,
                    ci, g.ldc);
    }
}
OP_TEST(gemms, {{1, 5, 3, 7, 0}, 1e-6}, {{3, 33, 48, 16, 0}, 2e-6}, {{2, 48, 16, 67, 1}, 2e-6})

static void case_bias(struct run *r, const int64_t *n)
{
    int64_t T = n[0], N = n[1], ld = N + GAP;
    void *y = random_act(r, T * ld), *dy = random_act(r, T * ld);
    float *bias = random_float(r, N), *dbias = random_float(r, N);
    r->dev->ops->bias_fwd(r->dev, y, ld, bias, T, N);
    r->dev->ops->bias_bwd(r->dev, dbias, dy, ld, T, N);
}
OP_TEST(bias, {{0, 5}, 1e-6}, {{1, 1}, 1e-6}, {{17, 131}, 1e-6}, {{301, 192}, 4e-6},
        {{9, 2565}, 2e-6})

/* ---- embedding and rows ---- */

/* n numbers below `limit`: any, or all different. */
static int32_t *indices(struct run *r, int64_t n, int64_t limit, bool is_distinct)
{
    int32_t *ids = buf(r, n, FLOAT, RANDOM);
    for (int64_t i = 0; i < n; i++)
        ids[i] = (int32_t)(is_distinct ? limit - 1 - i
                                       : (int64_t)rng_below(&r->rng, (uint64_t)limit));
    return ids;
}

/* Tokens by id, then by place. */
static int32_t *order_of(struct run *r, const int32_t *ids, int64_t T, int64_t V)
{
    int32_t *order = buf(r, T, FLOAT, RANDOM), at = 0;
    for (int32_t id = 0; id < V; id++)
        for (int32_t t = 0; t < T; t++)
            if (ids[t] == id)
                order[at++] = t;
    return order;
}

static void case_embed(struct run *r, const int64_t *n)
{
    int64_t T = n[0], D = n[1], V = n[2];
    int32_t *ids = indices(r, T, V, false);
    float *x = written(r, T * D, FLOAT), *x2 = written(r, T * D, FLOAT);
    float *dtable = random_float(r, V * D);
    r->dev->ops->embed_fwd(r->dev, x, random_float(r, V * D), false, ids, T, D);
    r->dev->ops->embed_fwd(r->dev, x2, random_act(r, V * D), true, ids, T, D);
    r->dev->ops->embed_bwd(r->dev, dtable, random_float(r, T * D), ids, order_of(r, ids, T, V),
                           T, D, V);
}
OP_TEST(embed, {{1, 1, 1}, 1e-6}, {{300, 131, 7}, 2e-6}, {{97, 576, 41}, 1e-6})

static void case_rows(struct run *r, const int64_t *n)
{
    int64_t m = n[0], D = n[1], T = n[2];
    int32_t *rows = indices(r, m, T, true);
    float *src = random_float(r, T * D), *dst = written(r, m * D, FLOAT);
    r->dev->ops->gather_rows(r->dev, dst, src, rows, m, D);
    r->dev->ops->scatter_rows(r->dev, src, random_float(r, m * D), rows, m, D);
}
OP_TEST(rows, {{1, 1, 1}, 1e-6}, {{31, 577, 45}, 1e-6}, {{0, 5, 1}, 1e-6})

/* Sequences of 1, 2, ... tokens (an empty one among them if asked) that end at T. */
static int32_t *offsets(struct run *r, int64_t T, int64_t n_seqs, bool has_empty)
{
    int32_t *o = buf(r, n_seqs + 1, FLOAT, RANDOM);
    for (int64_t s = 0; s < n_seqs; s++)
        o[s] = (int32_t)(s * (s + 1) / 2 < T ? s * (s + 1) / 2 : T);
    if (has_empty && n_seqs > 2)
        o[2] = o[1];
    o[n_seqs] = (int32_t)T;
    return o;
}

static void case_segment_mean(struct run *r, const int64_t *n)
{
    int64_t T = n[0], D = n[1], n_seqs = n[2];
    int32_t *o = offsets(r, T, n_seqs, true);
    float *out = written(r, n_seqs * D, FLOAT);
    r->dev->ops->segment_mean(r->dev, out, random_act(r, T * D), o, n_seqs, D);
}
OP_TEST(segment_mean, {{1, 1, 1}, 1e-6}, {{101, 67, 5}, 2e-6}, {{3, 576, 3}, 1e-6})

/* ---- norms and rotary positions ---- */

static void case_rmsnorm(struct run *r, const int64_t *n)
{
    int64_t T = n[0], D = n[1];
    bool has_all = n[2];
    const struct lm_ops *f = r->dev->ops;
    float *x = random_float(r, T * D), *rstd = written(r, T, FLOAT), *w = random_float(r, D);
    float *dx = random_float(r, T * D), *dw = random_float(r, D);
    void *y = written(r, T * D, ACT), *dy = random_act(r, T * D);
    void *delta = random_act(r, T * D), *copy = written(r, T * D, ACT);
    float *sum = written(r, T * D, FLOAT);
    void *again = written(r, T * D, ACT);
    f->rmsnorm_fwd(r->dev, y, rstd, x, x, has_all ? delta : NULL, w, T, D, 1e-5f);
    f->rmsnorm_bwd(r->dev, dx, has_all ? copy : NULL, has_all ? dw : NULL,
                   has_all ? again : NULL, dy, x, w, rstd, T, D);
    f->rmsnorm_fwd(r->dev, y, NULL, sum, x, delta, w, T, D, 1e-5f);
}
OP_TEST(rmsnorm, {{0, 4, 1}, 1e-6}, {{1, 1, 1}, 1e-6}, {{2, 17, 0}, 2e-6}, {{67, 576, 1}, 2e-6},
        {{131, 131, 1}, 4e-6}, {{3, 2048, 0}, 2e-6}, {{5, 4096, 1}, 2e-6}, {{2, 8200, 1}, 2e-6},
        {{2, 17000, 1}, 2e-6})

static void case_headnorm(struct run *r, const int64_t *n)
{
    int64_t T = n[0], H = n[1], K = n[2], ld = H * K + GAP;
    void *x = random_act(r, T * ld), *x_in = random_act(r, T * ld), *dx = random_act(r, T * ld);
    float *rstd = written(r, T * H, FLOAT), *w = random_float(r, K), *dw = random_float(r, K);
    r->dev->ops->headnorm_fwd(r->dev, x, ld, rstd, w, T, H, K, 1e-6f);
    r->dev->ops->headnorm_bwd(r->dev, dx, ld, n[3] ? dw : NULL, x_in, ld, w, rstd, T, H, K);
}
OP_TEST(headnorm, {{1, 1, 2, 1}, 4e-6}, {{35, 3, 64, 1}, 4e-6}, {{7, 5, 13, 0}, 4e-6},
        {{9, 16, 128, 1}, 4e-6})

static void case_rope(struct run *r, const int64_t *n)
{
    int64_t T = n[0], H = n[1], K = n[2], ld = H * K + GAP, n_pos = 50;
    int32_t *positions = indices(r, T, n_pos, false);
    float *table = random_float(r, n_pos * K);
    void *x = random_act(r, T * ld);
    r->dev->ops->rope(r->dev, x, ld, positions, table, T, H, K, n[3]);
}
OP_TEST(rope, {{1, 1, 2, 0}, 1e-6}, {{33, 3, 64, 0}, 1e-6}, {{33, 9, 64, 1}, 1e-6},
        {{5, 2, 26, 1}, 1e-6})

/* ---- attention ---- */

static void case_attention(struct run *r, const int64_t *n)
{
    int64_t T = n[0], n_seqs = n[1], H = n[2], G = n[3], K = n[4];
    int64_t ldq = (H + 2 * G) * K,
            ldo = H * K + GAP; /* q, k, v side by side, as in a fused qkv */
    int64_t size = (int64_t)lm_act_size(r->dev);
    const struct lm_ops *ops = r->dev->ops;
    int32_t *o = offsets(r, T, n_seqs, true);
    char *qkv = random_act(r, T * ldq), *dqkv = written(r, T * ldq, ACT);
    char *k = qkv + H * K * size, *v = k + G * K * size;
    void *out = written(r, T * ldo, ACT), *dout = random_act(r, T * ldo);
    float *lse = written(r, H * T, FLOAT), *delta = written(r, H * T, FLOAT);
    float scale = (float)(1 / sqrt((double)K));
    ops->attention_fwd(r->dev, out, ldo, lse, qkv, ldq, k, ldq, v, ldq, o, n_seqs, T, H, G, K,
                       scale);
    round_to_act(r, out, T * ldo);
    ops->attention_bwd(r->dev, dqkv, dqkv + H * K * size, dqkv + (H + G) * K * size, delta,
                       dout, out, ldo, lse, qkv, ldq, k, ldq, v, ldq, o, n_seqs, T, H, G, K,
                       scale);
}
/* Backward subtracts do.o from do.v, sums of K terms that nearly cancel where one key has all
 * the weight (always for a sequence's first token): hence looser than the products. */
OP_TEST(attention, {{1, 1, 1, 1, 1, 32}, 2e-6}, {{10, 3, 2, 1, 5, 32}, 4e-6},
        {{37, 1, 9, 3, 64, 32}, 1e-5}, {{131, 5, 6, 2, 64, 32}, 1e-5},
        {{109, 4, 4, 4, 128, 32}, 1e-5}, {{350, 2, 3, 1, 32, 32}, 2e-5},
        {{45, 9, 3, 3, 80, 32}, 1e-5})

/* Sizes and strides that the tensor cores' kernels take, lengths around their tiles. */
struct packed {
    int32_t *offsets;
    int64_t n_seqs, T, H, G, K, ld, ldo; /* q, k, v side by side: stride ld */
    float scale;
};

static struct packed pack(struct run *r, const int64_t *n)
{
    enum { N_SEQS = 8 };
    static const int32_t ends[][N_SEQS + 1] = {
        {0, 1, 1, 1, 1, 1, 1, 1, 1},         {0, 0, 63, 64, 128, 128, 193, 195, 195},
        {0, 129, 329, 329, 329, 329, 329},   {0, 128, 133, 325, 325, 325, 325, 325, 325},
        {0, 32, 32, 32, 65, 81, 98, 98, 99}, {0, 0, 0, 0, 0, 0, 0, 0, 311}};
    static const int64_t n_seqs[] = {8, 8, 2, 3, 8, 8};
    struct packed p = {.n_seqs = n_seqs[n[0]], .H = n[1], .G = n[2], .K = n[3]};
    p.offsets = buf(r, N_SEQS + 1, FLOAT, RANDOM);
    memcpy(p.offsets, ends[n[0]], sizeof ends[0]);
    p.T = p.offsets[p.n_seqs];
    p.ld = (p.H + 2 * p.G) * p.K;
    p.ldo = p.H * p.K + n[4];
    p.scale = (float)(1 / sqrt((double)p.K));
    return p;
}

static void attention_fwd(struct run *r, const struct packed *p, void *out, float *lse,
                          const char *qkv)
{
    const char *k = qkv + (size_t)(p->H * p->K) * lm_act_size(r->dev);
    const char *v = k + (size_t)(p->G * p->K) * lm_act_size(r->dev);
    r->dev->ops->attention_fwd(r->dev, out, p->ldo, lse, qkv, p->ld, k, p->ld, v, p->ld,
                               p->offsets, p->n_seqs, p->T, p->H, p->G, p->K, p->scale);
}

static void case_attention_fwd(struct run *r, const int64_t *n)
{
    struct packed p = pack(r, n);
    char *qkv = random_act(r, p.T * p.ld);
    attention_fwd(r, &p, written(r, p.T * p.ldo, ACT), written(r, p.H * p.T, FLOAT), qkv);
}
/* Softmax's weights are rounded before they meet v: an error of 2^-9 of the greatest |v|, which
 * is some three times the output's mean. */
OP_TEST(attention_fwd, {{0, 1, 1, 64, 0, 64}, 2e-6}, {{0, 4, 1, 128, 8, 64}, 2e-6},
        {{1, 9, 3, 64, 0, 64}, 1e-5}, {{1, 8, 1, 128, 0, 64}, 1e-5},
        {{2, 4, 1, 64, 8, 64}, 1e-5}, {{2, 3, 3, 128, 0, 64}, 1e-5},
        {{3, 8, 1, 64, 0, 64}, 1e-5}, {{4, 3, 1, 128, 0, 64}, 1e-5},
        {{5, 2, 2, 64, 0, 64}, 1e-5}, {{5, 2, 1, 128, 16, 64}, 1e-5})

/* The o that backward gets is not forward's, so that do.v - do.o does not cancel. p and ds
 * are rounded before the products that sum them. */
static void case_attention_bwd(struct run *r, const int64_t *n)
{
    struct packed p = pack(r, n);
    size_t size = lm_act_size(r->dev), q_bytes = (size_t)(p.H * p.K) * size;
    size_t k_bytes = (size_t)(p.G * p.K) * size;
    char *qkv = random_act(r, p.T * p.ld), *k = qkv + q_bytes, *v = k + k_bytes;
    char *dq = written(r, p.T * p.ld, ACT), *dk = dq + q_bytes, *dv = dk + k_bytes;
    void *o = written(r, p.T * p.ldo, ACT), *dout = random_act(r, p.T * p.ldo);
    float *lse = written(r, p.H * p.T, FLOAT), *delta = written(r, p.H * p.T, FLOAT);
    attention_fwd(r, &p, o, lse, qkv);
    r->dev->ops->sync(r->dev); /* the host writes o now */
    for (int64_t i = 0; i < p.T * p.ldo; i++)
        put(r, o, i, size, ACT, 0.25f * (float)rng_normal(&r->rng));
    r->dev->ops->attention_bwd(r->dev, dq, dk, dv, delta, dout, o, p.ldo, lse, qkv, p.ld, k,
                               p.ld, v, p.ld, p.offsets, p.n_seqs, p.T, p.H, p.G, p.K, p.scale);
}
OP_TEST(attention_bwd, {{0, 1, 1, 64, 0, 32}, 2e-6}, {{0, 4, 1, 128, 8, 32}, 2e-6},
        {{1, 9, 3, 64, 0, 32}, 1e-5}, {{1, 8, 1, 128, 0, 32}, 1e-5},
        {{2, 4, 1, 64, 8, 32}, 1e-5}, {{2, 3, 3, 128, 0, 32}, 1e-5},
        {{3, 8, 1, 64, 0, 32}, 1e-5}, {{4, 3, 1, 128, 0, 32}, 1e-5},
        {{5, 2, 2, 64, 0, 32}, 1e-5}, {{5, 2, 1, 128, 16, 32}, 1e-5})

/* ---- a prefix that sequences share ---- */

/* T rows, the i-th the sum of i % 4 others; with n[2] each a copy of one. */
static void case_sum_rows(struct run *r, const int64_t *n)
{
    int64_t T = n[0], N = n[1], ldd = N + GAP, lds = N + 2 * GAP, n_src = T + 5, n_rows = 0;
    int32_t *starts = buf(r, T + 1, FLOAT, RANDOM);
    starts[0] = 0;
    for (int64_t i = 0; i < T; i++)
        starts[i + 1] = (int32_t)(n_rows += n[2] ? 1 : i % 4);
    int32_t *rows = indices(r, n_rows, n_src, false);
    void *dst = random_act(r, T * ldd), *src = random_act(r, n_src * lds);
    r->dev->ops->sum_rows(r->dev, dst, ldd, src, lds, n[2] ? NULL : starts, rows, T, N);
}
OP_TEST(sum_rows, {{1, 1, 0}, 1e-6}, {{7, 13, 0}, 1e-6}, {{67, 384, 0}, 1e-6},
        {{67, 70, 1}, 1e-6}, {{0, 8, 0}, 1e-6})

/* ---- a cache of keys and values ---- */

static void case_store_rows(struct run *r, const int64_t *n)
{
    int64_t T = n[0], N = n[1], ldd = N + GAP, lds = N + 2 * GAP, n_cells = T + 5;
    int32_t *rows = indices(r, T, n_cells, true);
    void *dst = random_act(r, n_cells * ldd), *src = random_act(r, T * lds);
    r->dev->ops->store_rows(r->dev, dst, ldd, src, lds, rows, T, N);
}
OP_TEST(store_rows, {{1, 1}, 1e-6}, {{7, 13}, 1e-6}, {{67, 384}, 1e-6}, {{0, 8}, 1e-6})

/* Rows of T sequences that lie anywhere in a cache of n[4] rows, of 1 key up to all of them. */
static void case_attention_cached(struct run *r, const int64_t *n)
{
    int64_t T = n[0], H = n[1], G = n[2], K = n[3], n_cells = n[4];
    int64_t ldq = H * K + GAP, ldo = H * K + 1, ldc = 2 * G * K + GAP;
    int64_t size = (int64_t)lm_act_size(r->dev);
    int32_t *first = buf(r, T, FLOAT, RANDOM), *last = buf(r, T, FLOAT, RANDOM);
    for (int64_t i = 0; i < T; i++) {
        first[i] = (int32_t)(i * (i + 5) % n_cells);
        last[i] = (int32_t)(i == 1 ? first[i] : n_cells - 1 - i % 3);
        first[i] = first[i] > last[i] ? last[i] : first[i];
    }
    char *q = random_act(r, T * ldq), *kv = random_act(r, n_cells * ldc);
    void *o = written(r, T * ldo, ACT);
    r->dev->ops->attention_cached(r->dev, o, ldo, q, ldq, kv, kv + G * K * size, ldc, first,
                                  last, T, H, G, K, (float)(1 / sqrt((double)K)));
}
OP_TEST(attention_cached, {{1, 1, 1, 1, 1}, 2e-6}, {{3, 2, 1, 5, 7}, 4e-6},
        {{5, 9, 3, 64, 131}, 1e-5}, {{4, 4, 4, 128, 300}, 1e-5}, {{7, 6, 2, 80, 33}, 1e-5},
        {{0, 2, 1, 8, 4}, 1e-6})

static void case_argmax(struct run *r, const int64_t *n)
{
    int64_t T = n[0], V = n[1];
    float *z = random_float(r, T * V);
    int32_t *best = buf(r, T, FLOAT, RANDOM);
    for (int64_t i = 0; i < T * V; i++)
        z[i] = n[2] ? (float)floor(2 * (double)z[i]) : z[i]; /* equal ones: the first */
    if (n[3])
        z[T * V - 1] = NAN;
    if (n[3] > 1)
        for (int64_t v = 0; v < V; v++)
            z[v] = -INFINITY;
    r->dev->ops->argmax(r->dev, best, z, T, V);
    r->dev->ops->sync(r->dev);
    float *copy = buf(r, T, FLOAT, RANDOM); /* as numbers, which are compared as such */
    for (int64_t i = 0; i < T; i++) {
        copy[i] = (float)best[i];
        best[i] = 0;
    }
}
OP_TEST(argmax, {{1, 1, 0}, 1e-9}, {{5, 13, 1}, 1e-9}, {{7, 1024, 1}, 1e-9},
        {{3, 5003, 0}, 1e-9}, {{2, 300, 0, 1}, 1e-9}, {{3, 300, 1, 2}, 1e-9}, {{0, 8}, 1e-9})

/* ---- NaN ---- */

enum { NAN_ROW = 40, NAN_SEQ = 70 }; /* of one of two sequences of NAN_SEQ rows */

/* NaN in one row of q, k, v or dout. */
static struct run run_nan(struct lm_dev *dev, int which, int64_t K)
{
    struct run r = {.dev = dev, .is_bf16 = true};
    struct packed p = {.n_seqs = 2,
                       .T = 2 * NAN_SEQ,
                       .H = 2,
                       .G = 2,
                       .K = K,
                       .ld = 6 * K,
                       .ldo = 2 * K,
                       .scale = 0.125f};
    assert_non_null(dev);
    rng_init(&r.rng, 7, 7);
    p.offsets = buf(&r, 3, FLOAT, RANDOM);
    for (int i = 0; i < 3; i++)
        p.offsets[i] = i * NAN_SEQ;
    char *qkv = random_act(&r, p.T * p.ld), *dout = random_act(&r, p.T * p.ldo);
    char *dq = written(&r, p.T * p.ld, ACT), *out = written(&r, p.T * p.ldo, ACT);
    float *lse = written(&r, p.H * p.T, FLOAT), *delta = written(&r, p.H * p.T, FLOAT);
    size_t size = lm_act_size(dev), step = (size_t)(2 * K) * size;
    if (which == 3)
        put(&r, dout, NAN_ROW * p.ldo + 5, size, ACT, NAN);
    else
        put(&r, qkv, NAN_ROW * p.ld + which * 2 * K + 5, size, ACT, NAN);
    attention_fwd(&r, &p, out, lse, qkv);
    dev->ops->attention_bwd(dev, dq, dq + step, dq + 2 * step, delta, dout, out, p.ldo, lse,
                            qkv, p.ld, qkv + step, p.ld, qkv + 2 * step, p.ld, p.offsets, 2,
                            p.T, p.H, p.G, K, p.scale);
    return r;
}

/* What is NaN on the reference is NaN; the other sequence, the buffers' second half, is not. */
static void check_nan(int which, int64_t K, const struct run *got, const struct run *want)
{
    for (int k = 3; k < got->n_bufs; k++)
        for (int64_t i = 0; i < got->bufs[k].n; i++) {
            bool is_other = k < 5 ? i >= got->bufs[k].n / 2 : i % (2 * NAN_SEQ) >= NAN_SEQ;
            if (isnan(value(&want->bufs[k], i)) && !isnan(value(&got->bufs[k], i)))
                fail_msg("input %d, K %d: NaN lost in buffer %d[%d]", which, (int)K, k, (int)i);
            if (is_other && isnan(value(&got->bufs[k], i)))
                fail_msg("input %d, K %d: NaN in buffer %d[%d]", which, (int)K, k, (int)i);
        }
}

static void nan_reaches_what_depends_on_it(void **state)
{
    (void)state;
    for (int which = 0; which < 4; which++)
        for (int64_t K = 64; K <= 128; K += 32) { /* 96: not on the tensor cores */
            struct run want = run_nan(lm_dev_open_ref(), which, K);
            struct run got = run_nan(lm_dev_open_cuda(0, NULL), which, K);
            got.dev->ops->sync(got.dev);
            check_nan(which, K, &got, &want);
            run_free(&want);
            run_free(&got);
        }
}

/* ---- addresses ---- */

/* Zeros that end where memory that may not be touched begins. */
static void *at_the_edge(size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), n = (bytes + page - 1) / page * page;
    char *p = mmap(NULL, n + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(p != MAP_FAILED);
    assert_int_equal(mprotect(p + n, page, PROT_NONE), 0);
    return p + n - bytes;
}

static void attention_reads_no_row_too_many(void **state)
{
    enum { T = 65, H = 2, K = 64 };
    static int32_t off[] = {0, 1, T};
    (void)state;
    if (!is_simulated)
        skip(); /* the GPU would have to see these addresses */
    struct lm_dev *d = lm_dev_open_cuda(0, NULL);
    assert_non_null(d);
    char *x[9];
    for (int i = 0; i < 9; i++)
        x[i] = at_the_edge(i < 2 ? T * H * sizeof(float) : T * H * K * 2);
    float *lse = (float *)(void *)x[0], *delta = (float *)(void *)x[1];
    d->ops->attention_fwd(d, x[2], H * K, lse, x[3], H * K, x[4], H * K, x[5], H * K, off, 2, T,
                          H, H, K, 1);
    d->ops->attention_bwd(d, x[6], x[7], x[8], delta, x[2], x[2], H * K, lse, x[3], H * K, x[4],
                          H * K, x[5], H * K, off, 2, T, H, H, K, 1);
    assert_true(lse[0] == 0 && delta[0] == 0);
    lm_dev_close(d);
}

/* ---- activation, loss, optimiser ---- */

static void case_swiglu(struct run *r, const int64_t *n)
{
    int64_t T = n[0], F = n[1];
    void *gate_up = random_act(r, T * 2 * F), *h = written(r, T * F, ACT);
    void *dh = random_act(r, T * F), *dgate_up = written(r, T * 2 * F, ACT);
    void *h2 = written(r, T * F, ACT), *in_place = random_act(r, T * 2 * F);
    r->dev->ops->swiglu_fwd(r->dev, h, gate_up, T, F);
    r->dev->ops->swiglu_bwd(r->dev, dgate_up, h2, dh, gate_up, T, F);
    r->dev->ops->swiglu_bwd(r->dev, in_place, NULL, dh, in_place, T, F);
}
OP_TEST(swiglu, {{1, 1}, 1e-6}, {{3, 17}, 1e-6}, {{41, 1536}, 1e-6}, {{0, 8}, 1e-6})

static void case_xent(struct run *r, const int64_t *n)
{
    int64_t T = n[0], V = n[1];
    int32_t *targets = indices(r, T, V, false);
    float *z = random_float(r, T * V), *loss = written(r, T, FLOAT), *loss2;
    void *dz = written(r, T * V, ACT);
    loss2 = written(r, T, FLOAT);
    for (int64_t i = 0; i < T * V; i++)
        z[i] *= (float)n[2];
    r->dev->ops->xent(r->dev, loss, dz, z, targets, T, V, 0.25f);
    r->dev->ops->xent(r->dev, loss2, NULL, z, targets, T, V, 0.25f);
    if (r->dev->act == LM_F32 && !r->is_bf16)
        r->dev->ops->xent(r->dev, loss2, z, z, targets, T, V, 0.25f); /* in place */
}
OP_TEST(xent, {{1, 1, 1}, 1e-6}, {{5, 13, 4}, 2e-6}, {{3, 5003, 1}, 1e-6},
        {{7, 1024, 40}, 4e-6}, {{3, 8200, 4}, 4e-6})

static void case_adamw(struct run *r, const int64_t *n)
{
    struct lm_adamw h = {1e-2, 0.9, 0.999, 1e-8, 0.1, n[1], 0.5};
    float *p = random_float(r, n[0]), *m = random_float(r, n[0]), *v = random_float(r, n[0]);
    float *g = random_float(r, n[0]);
    for (int64_t i = 0; i < n[0]; i++)
        v[i] *= v[i];
    r->dev->ops->adamw(r->dev, p, m, v, g, n[0], &h);
    h.step++;
    r->dev->ops->adamw(r->dev, p, m, v, g, n[0], &h);
}
OP_TEST(adamw, {{1, 1}, 2e-6}, {{1000, 7}, 2e-6}, {{40001, 1000}, 2e-6}, {{4096, 3}, 2e-6})

static void case_memory(struct run *r, const int64_t *n)
{
    const struct lm_ops *ops = r->dev->ops;
    float *x = random_float(r, n[0]), *back = written(r, n[0], FLOAT);
    float *copy = written(r, n[0], FLOAT), *zero = written(r, n[0], FLOAT);
    double *sum = written(r, 2, FLOAT);
    void *a = written(r, n[0], ACT);
    size_t bytes = (size_t)n[0] * sizeof *x;
    ops->to_act(r->dev, a, x, (size_t)n[0]);
    ops->from_act(r->dev, back, a, (size_t)n[0]);
    ops->upload(r->dev, copy, x, bytes);
    ops->zero(r->dev, zero, bytes);
    ops->sync(r->dev);
    double s = ops->sumsq(r->dev, x, n[0]);
    memcpy(sum, &s, sizeof s);
    if (n[1])
        *(float *)(void *)sum = 0; /* the low half of a double is noise as a float */
}
OP_TEST(memory, {{1, 1}, 1e-6}, {{33, 1}, 1e-6}, {{700001, 1}, 1e-6}, {{4096, 1}, 1e-6})

/* ---- values that are hard ---- */

static void case_extremes(struct run *r, const int64_t *n)
{
    static const float hard[] = {0,    -0.0f, 1e-30f, 88,     -88,      104,       -104,
                                 1e4f, -1e4f, 1e30f,  -1e30f, INFINITY, -INFINITY, NAN};
    enum { N = sizeof hard / sizeof *hard };
    int64_t T = n[0];
    void *gate_up = random_act(r, T * 2 * N), *h = written(r, T * N, ACT);
    void *dh = random_act(r, T * N), *dgate_up = written(r, T * 2 * N, ACT);
    float *z = random_float(r, N * N), *loss = written(r, N, FLOAT);
    int32_t *targets = indices(r, N, N, false);
    void *dz = written(r, N * N, ACT);
    for (int64_t i = 0; i < N; i++) {
        for (int64_t t = 0; t < T; t++)
            put(r, gate_up, t * 2 * N + i, lm_act_size(r->dev), ACT,
                isinf(hard[i]) ? 3e38f : hard[i]); /* silu(-inf) is 0 or NaN, as one likes */
        z[i * N + (i + 1) % N] = hard[i];          /* one hard value a row of logits */
    }
    r->dev->ops->swiglu_fwd(r->dev, h, gate_up, T, N);
    r->dev->ops->swiglu_bwd(r->dev, dgate_up, NULL, dh, gate_up, T, N);
    r->dev->ops->xent(r->dev, loss, dz, z, targets, N, N, 1);
}
OP_TEST(extremes, {{1}, 2e-6}, {{5}, 2e-6})

/* silu(z) = z / (1 + e^-z) on a fine grid, in units of the last place: the exponential's own
 * error, which tolerances relative to a whole buffer would hide. */
static void the_exponential_is_accurate(void **state)
{
    (void)state;
    enum { N = 100003 };
    float *gate_up = mem_alloc(2 * N, sizeof *gate_up), *h = mem_alloc(N, sizeof *h);
    for (int i = 0; i < N; i++) {
        gate_up[i] = -87.0f + 174.0f / N * (float)i;
        gate_up[N + i] = 1;
    }
    unsetenv("RAISE_ISA");
    enum cpu_isa best = cpu_isa();
    for (enum cpu_isa isa = CPU_BASE; isa <= best; isa++) {
        setenv("RAISE_ISA", cpu_isa_name(isa), 1);
        struct lm_dev *d = lm_dev_open_cpu(LM_F32, NULL);
        assert_non_null(d);
        d->ops->swiglu_fwd(d, h, gate_up, 1, N);
        for (int i = 0; i < N; i++) {
            double z = (double)gate_up[i], want = z / (1 + exp(-z));
            double ulp = fmax(fabs(want), 1e-37) * 1.2e-7;
            if (!(fabs((double)h[i] - want) <= 3 * ulp))
                fail_msg("%s: silu(%.9g) is %.9g, want %.9g", cpu_isa_name(isa), z,
                         (double)h[i], want);
        }
        lm_dev_close(d);
    }
    unsetenv("RAISE_ISA");
    free(gate_up);
    free(h);
}

/* Without RAISE_CUDA_PLUGIN: the kernels as the host runs them. Buffers are shared with the
 * host, as the cases fill them there. */
static void choose_cuda_plugin(void)
{
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 64);
    path[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(path, '/');
    strcpy(slash ? slash + 1 : path, "host-cuda.so");
    is_simulated = !getenv("RAISE_CUDA_PLUGIN");
    setenv("RAISE_CUDA_PLUGIN", path, 0);
    setenv("RAISE_CUDA_MANAGED", "1", 1);
}

int main(void)
{
    choose_cuda_plugin();
#define UNIT(op) cmocka_unit_test(op##_matches_the_reference)
    const struct CMUnitTest tests[] = {
        UNIT(linear_fwd),
        UNIT(linear_bwd),
        UNIT(weight_grad),
        UNIT(gemm),
        UNIT(gemms),
        UNIT(bias),
        UNIT(embed),
        UNIT(rows),
        UNIT(segment_mean),
        UNIT(rmsnorm),
        UNIT(headnorm),
        UNIT(rope),
        UNIT(attention),
        UNIT(attention_fwd),
        UNIT(attention_bwd),
        UNIT(sum_rows),
        UNIT(store_rows),
        UNIT(attention_cached),
        UNIT(argmax),
        cmocka_unit_test(nan_reaches_what_depends_on_it),
        cmocka_unit_test(attention_reads_no_row_too_many),
        UNIT(swiglu),
        UNIT(xent),
        UNIT(adamw),
        UNIT(memory),
        UNIT(extremes),
        cmocka_unit_test(the_exponential_is_accurate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
