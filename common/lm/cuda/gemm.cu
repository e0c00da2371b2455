/* SPDX-License-Identifier: MIT
 * Matrix products: cuBLASLt, bf16 operands and float sums. A product for which it has no kernel
 * (odd strides), and every product on the host, goes to a plain one. */
#include "lm/cuda/cuda.h"

#include <stdlib.h>
#include <string.h>

struct lm_matrix {
    act_t *w; /* [n_out, n_in] */
    int64_t n_out, n_in;
};

/* c_i[M, N] = alpha op(a_i) op(b_i) + beta c_i, row major, i < n_batch */
struct product {
    int64_t M, N, K, lda, ldb, ldc, n_batch, step_a, step_b, step_c;
    int32_t is_ta, is_tb, is_float; /* is_float: c is float, else bf16 */
    int32_t align_a, align_b, align_c;
};

template <class C> __device__ static float get(C x);
template <> __device__ float get<float>(float x)
{
    return x;
}
template <> __device__ float get<act_t>(act_t x)
{
    return act_to_float(x);
}
__device__ static void put(float *p, float x)
{
    *p = x;
}
__device__ static void put(act_t *p, float x)
{
    *p = float_to_act(x);
}

template <class C>
__global__ static void plain_kernel(C *c, const act_t *a, const act_t *b, struct product p,
                                    float alpha, float beta)
{
    a += blockIdx.y * p.step_a;
    b += blockIdx.y * p.step_b;
    c += blockIdx.y * p.step_c;
    for (int64_t e = first(); e < p.M * p.N; e += stride()) {
        int64_t i = e / p.N, j = e % p.N;
        float sum = 0;
        for (int64_t k = 0; k < p.K; k++)
            sum += act_to_float(p.is_ta ? a[k * p.lda + i] : a[i * p.lda + k]) *
                   act_to_float(p.is_tb ? b[j * p.ldb + k] : b[k * p.ldb + j]);
        float old = beta == 0 ? 0 : beta * get<C>(c[i * p.ldc + j]);
        put(c + i * p.ldc + j, alpha * sum + old);
    }
}

#ifdef RAISE_CUDA_HOST
int gemm_open(struct cuda_state *, struct err *)
{
    return 0;
}
void gemm_close(struct cuda_state *)
{
}
static bool fast(struct cuda_state *, const struct product *, float, const void *, const void *,
                 float, void *)
{
    return false;
}
#else

/* The number of tokens is another one in each step, and asking for an algorithm takes tens of
 * microseconds, for some forty products a step. So it is asked for a rounded number, in steps
 * of an eighth of its power of two, and serves all numbers that round to it: which algorithm a
 * product gets depends on its own shape only, not on what came before. One that cannot do the
 * true number is replaced by one asked for that. */
enum { N_PLANS = 4096, N_PROBES = 8 };
struct plan {
    struct product key;
    cublasLtMatmulDesc_t op;
    cublasLtMatmulAlgo_t algo;
    bool is_set, has_algo;
};
struct gemm_cache {
    cublasLtHandle_t handle;
    struct plan plans[N_PLANS];
};

int gemm_open(struct cuda_state *s, struct err *e)
{
    s->gemm = (struct gemm_cache *)calloc(1, sizeof *s->gemm);
    if (s->gemm && cublasLtCreate(&s->gemm->handle) == CUBLAS_STATUS_SUCCESS)
        return 0;
    if (e) {
        e->code = ERR_UNSUPPORTED;
        strcpy(e->msg, "cuda: cuBLASLt does not start");
    }
    return ERR_UNSUPPORTED;
}

static void plan_clear(struct plan *p)
{
    if (p->op)
        cublasLtMatmulDescDestroy(p->op);
    memset(p, 0, sizeof *p);
}

void gemm_close(struct cuda_state *s)
{
    if (!s->gemm)
        return;
    for (int i = 0; i < N_PLANS; i++)
        plan_clear(&s->gemm->plans[i]);
    if (s->gemm->handle)
        cublasLtDestroy(s->gemm->handle);
    free(s->gemm);
    s->gemm = NULL;
}

static bool set_preferences(cublasLtMatmulPreference_t pref, const struct product *p)
{
    size_t room = WORKSPACE;
    /* in-place split sums would be added in any order */
    uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    uint32_t a = (uint32_t)p->align_a, b = (uint32_t)p->align_b, c = (uint32_t)p->align_c;
#define SET(what, x)                                                                           \
    (cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_##what, &(x),             \
                                          sizeof(x)) == CUBLAS_STATUS_SUCCESS)
    return SET(MAX_WORKSPACE_BYTES, room) && SET(REDUCTION_SCHEME_MASK, schemes) &&
           SET(MIN_ALIGNMENT_A_BYTES, b) && SET(MIN_ALIGNMENT_B_BYTES, a) &&
           SET(MIN_ALIGNMENT_C_BYTES, c) && SET(MIN_ALIGNMENT_D_BYTES, c);
#undef SET
}

struct layouts {
    cublasLtMatrixLayoutOpaque_t a, b, c;
};

static bool lay_out(cublasLtMatrixLayoutOpaque_t *l, cudaDataType_t type, int64_t rows,
                    int64_t cols, int64_t ld, int64_t step, const struct product *k)
{
    int32_t n = (int32_t)k->n_batch;
    return cublasLtMatrixLayoutInit(l, type, (uint64_t)rows, (uint64_t)cols, ld) ==
               CUBLAS_STATUS_SUCCESS &&
           (n == 1 ||
            (cublasLtMatrixLayoutSetAttribute(l, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &n,
                                              sizeof n) == CUBLAS_STATUS_SUCCESS &&
             cublasLtMatrixLayoutSetAttribute(l, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET,
                                              &step, sizeof step) == CUBLAS_STATUS_SUCCESS));
}

/* cuBLAS is column major: c^T [N, M] = op(b)^T op(a)^T, so its A is our b. */
static bool lay_out_all(struct layouts *l, const struct product *k)
{
    return lay_out(&l->a, CUDA_R_16BF, k->is_tb ? k->K : k->N, k->is_tb ? k->N : k->K, k->ldb,
                   k->step_b, k) &&
           lay_out(&l->b, CUDA_R_16BF, k->is_ta ? k->M : k->K, k->is_ta ? k->K : k->M, k->lda,
                   k->step_a, k) &&
           lay_out(&l->c, k->is_float ? CUDA_R_32F : CUDA_R_16BF, k->N, k->M, k->ldc, k->step_c,
                   k);
}

static bool describe(struct plan *p)
{
    const struct product *k = &p->key;
    cublasOperation_t op_a = k->is_tb ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasOperation_t op_b = k->is_ta ? CUBLAS_OP_T : CUBLAS_OP_N;
    return cublasLtMatmulDescCreate(&p->op, CUBLAS_COMPUTE_32F, CUDA_R_32F) ==
               CUBLAS_STATUS_SUCCESS &&
           cublasLtMatmulDescSetAttribute(p->op, CUBLASLT_MATMUL_DESC_TRANSA, &op_a,
                                          sizeof op_a) == CUBLAS_STATUS_SUCCESS &&
           cublasLtMatmulDescSetAttribute(p->op, CUBLASLT_MATMUL_DESC_TRANSB, &op_b,
                                          sizeof op_b) == CUBLAS_STATUS_SUCCESS;
}

static void plan_make(struct gemm_cache *g, struct plan *p, const struct product *key)
{
    struct layouts l;
    plan_clear(p);
    p->key = *key;
    p->is_set = true;
    cublasLtMatmulPreference_t pref = NULL;
    if (!describe(p) || !lay_out_all(&l, key) ||
        cublasLtMatmulPreferenceCreate(&pref) != CUBLAS_STATUS_SUCCESS)
        return;
    cublasLtMatmulHeuristicResult_t found;
    int n = 0;
    if (set_preferences(pref, key) &&
        cublasLtMatmulAlgoGetHeuristic(g->handle, p->op, &l.a, &l.b, &l.c, &l.c, pref, 1,
                                       &found, &n) == CUBLAS_STATUS_SUCCESS &&
        n == 1 && found.state == CUBLAS_STATUS_SUCCESS) {
        p->algo = found.algo;
        p->has_algo = true;
    }
    cublasLtMatmulPreferenceDestroy(pref);
}

static struct plan *plan_for(struct gemm_cache *g, const struct product *key)
{
    uint64_t hash = 1469598103934665603u;
    for (size_t i = 0; i < sizeof *key; i++)
        hash = (hash ^ ((const unsigned char *)key)[i]) * 1099511628211u;
    hash ^= hash >> 32;
    struct plan *p = &g->plans[hash % N_PLANS];
    for (uint64_t i = 0; i < N_PROBES; i++) {
        struct plan *q = &g->plans[(hash + i) % N_PLANS];
        if (q->is_set && memcmp(&q->key, key, sizeof *key) == 0)
            return q;
        if (!q->is_set) {
            p = q;
            break;
        }
    }
    plan_make(g, p, key); /* where all probed places are taken, the first is */
    return p;
}

/* Up to the next of eight steps between powers of two. */
static int64_t rounded(int64_t n)
{
    int64_t step = 64;
    while (step * 16 <= n)
        step *= 2;
    return (n + step - 1) / step * step;
}

static bool run_plan(struct cuda_state *s, const struct plan *p, const struct product *key,
                     float alpha, const void *a, const void *b, float beta, void *c)
{
    struct layouts l;
    return p->has_algo && lay_out_all(&l, key) &&
           cublasLtMatmul(s->gemm->handle, p->op, &alpha, b, &l.a, a, &l.b, &beta, c, &l.c, c,
                          &l.c, &p->algo, s->workspace, WORKSPACE,
                          s->stream) == CUBLAS_STATUS_SUCCESS;
}

static bool fast(struct cuda_state *s, const struct product *key, float alpha, const void *a,
                 const void *b, float beta, void *c)
{
    struct product near = *key;
    int64_t *n_tokens = key->is_ta ? &near.K : &near.M;
    *n_tokens = rounded(*n_tokens);
    if (run_plan(s, plan_for(s->gemm, &near), key, alpha, a, b, beta, c))
        return true;
    return memcmp(&near, key, sizeof near) != 0 &&
           run_plan(s, plan_for(s->gemm, key), key, alpha, a, b, beta, c);
}
#endif

/* The largest power of two up to 256 that divides the address, and those `step` values on. */
static int32_t alignment(const void *p, int64_t step, size_t size)
{
    uintptr_t x = (uintptr_t)p | (uintptr_t)step * size | 256;
    return (int32_t)(x & (~x + 1));
}

static void multiply(struct lm_dev *d, struct product p, float alpha, const void *a,
                     const void *b, float beta, void *c)
{
    struct cuda_state *s = state_of(d);
    if (!p.M || !p.N)
        return;
    p.n_batch = p.n_batch ? p.n_batch : 1;
    p.align_a = alignment(a, p.step_a, sizeof(act_t));
    p.align_b = alignment(b, p.step_b, sizeof(act_t));
    p.align_c = alignment(c, p.step_c, p.is_float ? sizeof(float) : sizeof(act_t));
    if (p.K && fast(s, &p, alpha, a, b, beta, c)) {
        s->n_launches++;
        return;
    }
    s->n_plain++;
    unsigned n = blocks(p.M * p.N, BLOCK), n_batch = (unsigned)p.n_batch;
    if (p.is_float)
        RUN(s, plain_kernel<float>, (n, n_batch), BLOCK, (float *)c, (const act_t *)a,
            (const act_t *)b, p, alpha, beta);
    else
        RUN(s, plain_kernel<act_t>, (n, n_batch), BLOCK, (act_t *)c, (const act_t *)a,
            (const act_t *)b, p, alpha, beta);
}

struct lm_matrix *cuda_matrix_new(struct lm_dev *d, const float *w, int64_t n_out, int64_t n_in,
                                  struct err *e)
{
    struct lm_matrix *m = (struct lm_matrix *)calloc(1, sizeof *m);
    act_t *copy = m ? (act_t *)cuda_alloc(d, (size_t)n_out * (size_t)n_in * 2, e) : NULL;
    if (!copy) {
        free(m);
        return NULL;
    }
    m->w = copy;
    m->n_out = n_out;
    m->n_in = n_in;
    cuda_matrix_update(d, m, w);
    return m;
}

void cuda_matrix_update(struct lm_dev *d, struct lm_matrix *m, const float *w)
{
    cuda_to_act(d, m->w, w, (size_t)m->n_out * (size_t)m->n_in);
}

void cuda_matrix_free(struct lm_dev *d, struct lm_matrix *m)
{
    if (m)
        cuda_free(d, m->w);
    free(m);
}

const void *cuda_matrix_act(const struct lm_matrix *m)
{
    return m->w;
}

static struct product product(int64_t M, int64_t N, int64_t K, int64_t lda, int64_t ldb,
                              int64_t ldc)
{
    struct product p = {};
    p.M = M;
    p.N = N;
    p.K = K;
    p.lda = lda;
    p.ldb = ldb;
    p.ldc = ldc;
    return p;
}

void cuda_linear_fwd(struct lm_dev *d, void *y, int64_t ldy, const void *x, int64_t ldx,
                     const struct lm_matrix *m, int64_t T, bool is_accumulated)
{
    struct product p = product(T, m->n_out, m->n_in, ldx, m->n_in, ldy);
    p.is_tb = 1;
    multiply(d, p, 1, x, m->w, is_accumulated ? 1.0f : 0, y);
}

void cuda_linear_bwd(struct lm_dev *d, void *dx, int64_t lddx, const void *dy, int64_t lddy,
                     const struct lm_matrix *m, int64_t T, bool is_accumulated)
{
    struct product p = product(T, m->n_in, m->n_out, lddy, m->n_in, lddx);
    multiply(d, p, 1, dy, m->w, is_accumulated ? 1.0f : 0, dx);
}

void cuda_linear_fwd_f32(struct lm_dev *d, float *y, int64_t ldy, const void *x, int64_t ldx,
                         const struct lm_matrix *m, int64_t T)
{
    struct product p = product(T, m->n_out, m->n_in, ldx, m->n_in, ldy);
    p.is_tb = p.is_float = 1;
    multiply(d, p, 1, x, m->w, 0, y);
}

void cuda_weight_grad(struct lm_dev *d, float *dw, const void *dy, int64_t lddy, const void *x,
                      int64_t ldx, int64_t T, int64_t n_out, int64_t n_in)
{
    struct product p = product(n_out, n_in, T, lddy, ldx, n_in);
    p.is_ta = p.is_float = 1;
    multiply(d, p, 1, dy, x, 1, dw);
}

void cuda_gemm(struct lm_dev *d, bool is_ta, bool is_tb, int64_t M, int64_t N, int64_t K,
               float alpha, const void *a, int64_t lda, const void *b, int64_t ldb, float beta,
               void *c, int64_t ldc)
{
    struct product p = product(M, N, K, lda, ldb, ldc);
    p.is_ta = is_ta;
    p.is_tb = is_tb;
    multiply(d, p, alpha, a, b, beta, c);
}

void cuda_gemms(struct lm_dev *d, const struct lm_gemms *g, const void *a, const void *b,
                void *c)
{
    struct product p = product(g->M, g->N, g->K, g->lda, g->ldb, g->ldc);
    p.n_batch = g->n;
    p.step_a = g->step_a;
    p.step_b = g->step_b;
    p.step_c = g->step_c;
    p.is_ta = g->is_ta;
    p.is_tb = g->is_tb;
    p.is_float = g->is_float;
    multiply(d, p, g->alpha, a, b, g->beta, c);
}
