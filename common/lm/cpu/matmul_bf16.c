/* SPDX-License-Identifier: MIT
 *
 * Matrix products by oneDNN: bfloat16 operands, float sums. The fp32 ones are in matmul.c.
 *
 * oneDNN compiles a kernel for each combination of sizes, strides and factors (half a
 * millisecond), so finished primitives are kept in a hash table. A weight is packed into
 * oneDNN's own layout when it is made, for x W^T, and again when a gradient first asks for it,
 * for dy W; the layout depends on the weight's shape alone.
 *
 * Measured on a Zen 4 with AVX512-BF16, one thread, GFLOP/s: packed 213-230, plain rows 204,
 * rank-16 adapters 140-200; OpenBLAS in fp32 98-104. Below 20 rows the packed layout matters
 * most.
 */
#include "lm/cpu/cpu.h"

#if CPU_ACT_BF16

#include "base/mem.h"
#include "lm/cpu/dnnl_any.h"

#include <omp.h>
#include <stdlib.h>

/* One product: C [M, N] = alpha op(A) op(B) + beta C. All fields take part in the comparison.
 */
struct key {
    int64_t M, N, K, lda, ldb, ldc; /* ldb 0: B is a packed weight */
    float alpha, beta;
    int32_t is_ta, is_tb, is_f32_out, n_threads;
};

struct product {
    struct key key;
    dnnl_primitive_t primitive; /* NULL: the slot is free */
    dnnl_memory_t a, b, c;
};

enum { N_SLOTS = 1024, N_MOST = 768 };

struct cpu_dnnl {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    int n_products;
    struct product slots[N_SLOTS];
};

static struct cpu_dnnl *dnnl_of(struct lm_dev *d)
{
    struct cpu_priv *p = d->priv;
    return p->dnnl;
}

/* ---- opening ---- */

int CPU_SYM(cpu_dnnl_open)(struct cpu_priv *p, struct err *e)
{
    enum { BF16 = dnnl_cpu_isa_avx512_core_bf16 };
    if (((int)dnnl_get_effective_cpu_isa() & BF16) != BF16)
        return err_set(e, ERR_UNSUPPORTED, "bf16: this CPU has neither AMX nor AVX512-BF16");
    p->dnnl = mem_zalloc(1, sizeof *p->dnnl);
    if (dnnl_engine_create(&p->dnnl->engine, dnnl_cpu, 0) != dnnl_success ||
        dnnl_stream_create(&p->dnnl->stream, p->dnnl->engine, dnnl_stream_default_flags) !=
            dnnl_success) {
        CPU_SYM(cpu_dnnl_close)(p);
        return err_set(e, ERR_UNSUPPORTED, "bf16: oneDNN does not start");
    }
    return 0;
}

static void forget_products(struct cpu_dnnl *n)
{
    for (int i = 0; i < N_SLOTS; i++) {
        struct product *p = &n->slots[i];
        if (!p->primitive)
            continue;
        dnnl_primitive_destroy(p->primitive);
        dnnl_memory_destroy(p->a);
        dnnl_memory_destroy(p->b);
        dnnl_memory_destroy(p->c);
        p->primitive = NULL;
    }
    n->n_products = 0;
}

void CPU_SYM(cpu_dnnl_close)(struct cpu_priv *p)
{
    if (!p->dnnl)
        return;
    forget_products(p->dnnl);
    if (p->dnnl->stream)
        dnnl_stream_destroy(p->dnnl->stream);
    if (p->dnnl->engine)
        dnnl_engine_destroy(p->dnnl->engine);
    free(p->dnnl);
    p->dnnl = NULL;
}

/* ---- primitives ---- */

static dnnl_memory_desc_t strided(int64_t rows, int64_t columns, int64_t ld, bool is_t,
                                  dnnl_data_type_t type)
{
    const dnnl_dims_t dims = {rows, columns}, strides = {is_t ? 1 : ld, is_t ? ld : 1};
    return md_strided(dims, type, strides);
}

static dnnl_memory_desc_t any_layout(int64_t rows, int64_t columns)
{
    const dnnl_dims_t dims = {rows, columns};
    return md_any(dims, dnnl_bf16);
}

static dnnl_primitive_desc_t describe(struct cpu_dnnl *n, const struct key *k, md_ref a,
                                      md_ref b, md_ref c)
{
    dnnl_primitive_attr_t attr;
    dnnl_post_ops_t post;
    must(dnnl_primitive_attr_create(&attr));
    must(dnnl_post_ops_create(&post));
    scale_and_add(attr, post, k->alpha, k->beta);
    dnnl_primitive_desc_t pd = matmul_pd(a, b, c, attr, n->engine);
    must(dnnl_post_ops_destroy(post));
    must(dnnl_primitive_attr_destroy(attr));
    return pd;
}

static void product_init(struct cpu_dnnl *n, struct product *p, const struct key *k,
                         const dnnl_memory_desc_t *packed)
{
    dnnl_memory_desc_t a = strided(k->M, k->K, k->lda, k->is_ta, dnnl_bf16);
    dnnl_memory_desc_t plain = strided(k->K, k->N, packed ? k->N : k->ldb, k->is_tb, dnnl_bf16);
    dnnl_memory_desc_t c =
        strided(k->M, k->N, k->ldc, false, k->is_f32_out ? dnnl_f32 : dnnl_bf16);
    md_ref b = md_of(packed ? packed : &plain);
    dnnl_primitive_desc_t pd = describe(n, k, md_of(&a), b, md_of(&c));
    p->key = *k;
    must(dnnl_primitive_create(&p->primitive, pd));
    must(dnnl_primitive_desc_destroy(pd));
    must(dnnl_memory_create(&p->a, md_of(&a), n->engine, DNNL_MEMORY_NONE));
    must(dnnl_memory_create(&p->b, b, n->engine, DNNL_MEMORY_NONE));
    must(dnnl_memory_create(&p->c, md_of(&c), n->engine, DNNL_MEMORY_NONE));
    md_free(&a);
    md_free(&plain);
    md_free(&c);
}

static uint64_t hash(const struct key *k)
{
    uint64_t words[sizeof *k / 8], h = 0;
    _Static_assert(sizeof *k % 8 == 0, "no rest, no padding");
    memcpy(words, k, sizeof *k);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        h = (h ^ words[i]) * 0x9e3779b97f4a7c15u;
        h ^= h >> 32;
    }
    return h;
}

static struct product *product_for(struct cpu_dnnl *n, const struct key *k,
                                   const dnnl_memory_desc_t *packed)
{
    size_t i = hash(k) % N_SLOTS;
    for (; n->slots[i].primitive; i = (i + 1) % N_SLOTS)
        if (!memcmp(&n->slots[i].key, k, sizeof *k))
            return &n->slots[i];
    if (n->n_products == N_MOST) { /* so many batch sizes: start afresh */
        forget_products(n);
        i = hash(k) % N_SLOTS;
    }
    product_init(n, &n->slots[i], k, packed);
    n->n_products++;
    return &n->slots[i];
}

/* oneDNN reads its inputs through pointers that are not const. */
static void *unconst(const void *p)
{
    union {
        const void *in;
        void *out;
    } u = {p};
    return u.out;
}

static void multiply(struct lm_dev *d, struct key k, const void *a, const void *b, void *c,
                     const dnnl_memory_desc_t *packed)
{
    if (k.M <= 0 || k.N <= 0 || k.K <= 0)
        return;
    struct cpu_dnnl *n = dnnl_of(d);
    k.n_threads = omp_get_max_threads();
    struct product *p = product_for(n, &k, packed);
    must(dnnl_memory_set_data_handle(p->a, unconst(a)));
    must(dnnl_memory_set_data_handle(p->b, unconst(b)));
    must(dnnl_memory_set_data_handle(p->c, c));
    const dnnl_exec_arg_t args[] = {
        {DNNL_ARG_SRC, p->a}, {DNNL_ARG_WEIGHTS, p->b}, {DNNL_ARG_DST, p->c}};
    must(dnnl_primitive_execute(p->primitive, n->stream, 3, args));
    must(dnnl_stream_wait(n->stream));
}

/* ---- weights ---- */

/* W as the right-hand side of a product: [K, N] in oneDNN's layout. */
struct packed {
    dnnl_memory_desc_t layout; /* owned, as data is */
    void *data;                /* NULL: not packed yet */
};

struct lm_matrix {
    int64_t n_out, n_in;
    struct packed fwd, bwd; /* W^T, W */
};

static void reorder(struct cpu_dnnl *n, md_ref from_layout, const void *from,
                    const struct packed *to)
{
    dnnl_memory_t src, dst;
    dnnl_primitive_desc_t pd;
    dnnl_primitive_t primitive;
    must(dnnl_memory_create(&src, from_layout, n->engine, unconst(from)));
    must(dnnl_memory_create(&dst, md_of(&to->layout), n->engine, to->data));
    must(dnnl_reorder_primitive_desc_create(&pd, from_layout, n->engine, md_of(&to->layout),
                                            n->engine, NULL));
    must(dnnl_primitive_create(&primitive, pd));
    const dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, src}, {DNNL_ARG_TO, dst}};
    must(dnnl_primitive_execute(primitive, n->stream, 2, args));
    must(dnnl_stream_wait(n->stream));
    must(dnnl_primitive_destroy(primitive));
    must(dnnl_primitive_desc_destroy(pd));
    must(dnnl_memory_destroy(src));
    must(dnnl_memory_destroy(dst));
}

/* Room for a right-hand side [K, N], in the layout that oneDNN likes best for it. */
static struct packed packed_new(struct cpu_dnnl *n, int64_t K, int64_t N)
{
    enum { TYPICAL_ROWS = 1024 };
    const struct key k = {.alpha = 1};
    dnnl_memory_desc_t a = strided(TYPICAL_ROWS, K, K, false, dnnl_bf16);
    dnnl_memory_desc_t b = any_layout(K, N);
    dnnl_memory_desc_t c = strided(TYPICAL_ROWS, N, N, false, dnnl_bf16);
    dnnl_primitive_desc_t pd = describe(n, &k, md_of(&a), md_of(&b), md_of(&c));
    struct packed p = {.layout = md_of_weights(pd)};
    must(dnnl_primitive_desc_destroy(pd));
    md_free(&a);
    md_free(&b);
    md_free(&c);
    p.data = mem_aligned(dnnl_memory_desc_get_size(md_of(&p.layout)));
    return p;
}

static void packed_free(struct packed *p)
{
    if (p->data)
        md_free(&p->layout);
    free(p->data);
}

static void pack_fwd(struct lm_dev *d, struct lm_matrix *m, const float *w)
{
    dnnl_memory_desc_t plain = strided(m->n_in, m->n_out, m->n_in, true, dnnl_f32);
    reorder(dnnl_of(d), md_of(&plain), w, &m->fwd);
    md_free(&plain);
}

/* W from the packed W^T, since the caller's own copy may be gone by now. */
static void pack_bwd(struct lm_dev *d, struct lm_matrix *m)
{
    dnnl_memory_desc_t transposed = md_transposed(md_of(&m->fwd.layout));
    reorder(dnnl_of(d), md_of(&transposed), m->fwd.data, &m->bwd);
    md_free(&transposed);
}

struct lm_matrix *CPU_OP(matrix_new)(struct lm_dev *d, const float *w, int64_t n_out,
                                     int64_t n_in, struct err *e)
{
    (void)e;
    struct lm_matrix *m = mem_zalloc(1, sizeof *m);
    m->n_out = n_out;
    m->n_in = n_in;
    m->fwd = packed_new(dnnl_of(d), n_in, n_out);
    pack_fwd(d, m, w);
    return m;
}

void CPU_OP(matrix_update)(struct lm_dev *d, struct lm_matrix *m, const float *w)
{
    pack_fwd(d, m, w);
    if (m->bwd.data)
        pack_bwd(d, m);
}

void CPU_OP(matrix_free)(struct lm_dev *d, struct lm_matrix *m)
{
    (void)d;
    if (!m)
        return;
    packed_free(&m->fwd);
    packed_free(&m->bwd);
    free(m);
}

/* ---- the ops ---- */

void CPU_OP(linear_fwd)(struct lm_dev *d, void *y, int64_t ldy, const void *x, int64_t ldx,
                        const struct lm_matrix *m, int64_t T, bool is_accumulated)
{
    const struct key k = {.M = T,
                          .N = m->n_out,
                          .K = m->n_in,
                          .lda = ldx,
                          .ldc = ldy,
                          .alpha = 1,
                          .beta = is_accumulated ? 1 : 0};
    multiply(d, k, x, m->fwd.data, y, &m->fwd.layout);
}

void CPU_OP(linear_fwd_f32)(struct lm_dev *d, float *y, int64_t ldy, const void *x, int64_t ldx,
                            const struct lm_matrix *m, int64_t T)
{
    const struct key k = {.M = T,
                          .N = m->n_out,
                          .K = m->n_in,
                          .lda = ldx,
                          .ldc = ldy,
                          .alpha = 1,
                          .is_f32_out = 1};
    multiply(d, k, x, m->fwd.data, y, &m->fwd.layout);
}

void CPU_OP(linear_bwd)(struct lm_dev *d, void *dx, int64_t lddx, const void *dy, int64_t lddy,
                        const struct lm_matrix *m, int64_t T, bool is_accumulated)
{
    struct lm_matrix *own = unconst(m); /* the second copy is a cache */
    if (!own->bwd.data) {
        own->bwd = packed_new(dnnl_of(d), m->n_out, m->n_in);
        pack_bwd(d, own);
    }
    const struct key k = {.M = T,
                          .N = m->n_in,
                          .K = m->n_out,
                          .lda = lddy,
                          .ldc = lddx,
                          .alpha = 1,
                          .beta = is_accumulated ? 1 : 0};
    multiply(d, k, dy, m->bwd.data, dx, &m->bwd.layout);
}

void CPU_OP(weight_grad)(struct lm_dev *d, float *dw, const void *dy, int64_t lddy,
                         const void *x, int64_t ldx, int64_t T, int64_t n_out, int64_t n_in)
{
    const struct key k = {.M = n_out,
                          .N = n_in,
                          .K = T,
                          .lda = lddy,
                          .ldb = ldx,
                          .ldc = n_in,
                          .alpha = 1,
                          .beta = 1,
                          .is_ta = 1,
                          .is_f32_out = 1};
    multiply(d, k, dy, x, dw, NULL);
}

void CPU_OP(gemm)(struct lm_dev *d, bool is_ta, bool is_tb, int64_t M, int64_t N, int64_t K,
                  float alpha, const void *a, int64_t lda, const void *b, int64_t ldb,
                  float beta, void *c, int64_t ldc)
{
    const struct key k = {M, N, K, lda, ldb, ldc, alpha, beta, is_ta, is_tb, 0, 0};
    multiply(d, k, a, b, c, NULL);
}

#endif
