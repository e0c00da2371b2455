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

/* c[M, N] = alpha op(a) op(b) + beta c, row major */
struct product {
    int64_t M, N, K, lda, ldb, ldc;
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

enum { N_PLANS = 1024 };
struct plan {
    struct product key;
    cublasLtMatmulDesc_t op;
    cublasLtMatrixLayout_t a, b, c;
    cublasLtMatmulAlgo_t algo;
    bool is_set, has_algo;
};
struct gemm_cache {
    cublasLtHandle_t handle;
    struct plan plans[N_PLANS]; /* by hash; a newcomer replaces */
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
    if (p->a)
        cublasLtMatrixLayoutDestroy(p->a);
    if (p->b)
        cublasLtMatrixLayoutDestroy(p->b);
    if (p->c)
        cublasLtMatrixLayoutDestroy(p->c);
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

/* cuBLAS is column major: c^T [N, M] = op(b)^T op(a)^T, so its A is our b. */
static bool describe(struct plan *p)
{
    const struct product *k = &p->key;
    cublasOperation_t op_a = k->is_tb ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasOperation_t op_b = k->is_ta ? CUBLAS_OP_T : CUBLAS_OP_N;
    cudaDataType_t type = k->is_float ? CUDA_R_32F : CUDA_R_16BF;
    uint64_t n = (uint64_t)k->N, m = (uint64_t)k->M, d = (uint64_t)k->K;
    return cublasLtMatmulDescCreate(&p->op, CUBLAS_COMPUTE_32F, CUDA_R_32F) ==
               CUBLAS_STATUS_SUCCESS &&
           cublasLtMatmulDescSetAttribute(p->op, CUBLASLT_MATMUL_DESC_TRANSA, &op_a,
                                          sizeof op_a) == CUBLAS_STATUS_SUCCESS &&
           cublasLtMatmulDescSetAttribute(p->op, CUBLASLT_MATMUL_DESC_TRANSB, &op_b,
                                          sizeof op_b) == CUBLAS_STATUS_SUCCESS &&
           cublasLtMatrixLayoutCreate(&p->a, CUDA_R_16BF, k->is_tb ? d : n, k->is_tb ? n : d,
                                      k->ldb) == CUBLAS_STATUS_SUCCESS &&
           cublasLtMatrixLayoutCreate(&p->b, CUDA_R_16BF, k->is_ta ? m : d, k->is_ta ? d : m,
                                      k->lda) == CUBLAS_STATUS_SUCCESS &&
           cublasLtMatrixLayoutCreate(&p->c, type, n, m, k->ldc) == CUBLAS_STATUS_SUCCESS;
}

static void plan_make(struct gemm_cache *g, struct plan *p, const struct product *key)
{
    plan_clear(p);
    p->key = *key;
    p->is_set = true;
    cublasLtMatmulPreference_t pref = NULL;
    if (!describe(p) || cublasLtMatmulPreferenceCreate(&pref) != CUBLAS_STATUS_SUCCESS)
        return;
    cublasLtMatmulHeuristicResult_t found;
    int n = 0;
    if (set_preferences(pref, key) &&
        cublasLtMatmulAlgoGetHeuristic(g->handle, p->op, p->a, p->b, p->c, p->c, pref, 1,
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
    struct plan *p = &g->plans[(hash ^ hash >> 32) % N_PLANS];
    if (!p->is_set || memcmp(&p->key, key, sizeof *key) != 0)
        plan_make(g, p, key);
    return p;
}

static bool fast(struct cuda_state *s, const struct product *key, float alpha, const void *a,
                 const void *b, float beta, void *c)
{
    struct plan *p = plan_for(s->gemm, key);
    return p->has_algo && cublasLtMatmul(s->gemm->handle, p->op, &alpha, b, p->a, a, p->b,
                                         &beta, c, p->c, c, p->c, &p->algo, s->workspace,
                                         WORKSPACE, s->stream) == CUBLAS_STATUS_SUCCESS;
}
#endif

/* The largest power of two up to 256 that divides the address. */
static int32_t alignment(const void *p)
{
    uintptr_t x = (uintptr_t)p | 256;
    return (int32_t)(x & (~x + 1));
}

static void multiply(struct lm_dev *d, struct product p, float alpha, const void *a,
                     const void *b, float beta, void *c)
{
    struct cuda_state *s = state_of(d);
    if (!p.M || !p.N)
        return;
    p.align_a = alignment(a);
    p.align_b = alignment(b);
    p.align_c = alignment(c);
    if (p.K && fast(s, &p, alpha, a, b, beta, c))
        return;
    unsigned n = blocks(p.M * p.N, BLOCK);
    if (p.is_float)
        LAUNCH(s, plain_kernel<float>, (n), BLOCK, (float *)c, (const act_t *)a,
               (const act_t *)b, p, alpha, beta);
    else
        LAUNCH(s, plain_kernel<act_t>, (n), BLOCK, (act_t *)c, (const act_t *)a,
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

void cuda_linear_fwd(struct lm_dev *d, void *y, int64_t ldy, const void *x, int64_t ldx,
                     const struct lm_matrix *m, int64_t T, bool is_accumulated)
{
    struct product p = {T, m->n_out, m->n_in, ldx, m->n_in, ldy, 0, 1, 0, 0, 0, 0};
    multiply(d, p, 1, x, m->w, is_accumulated ? 1.0f : 0, y);
}

void cuda_linear_bwd(struct lm_dev *d, void *dx, int64_t lddx, const void *dy, int64_t lddy,
                     const struct lm_matrix *m, int64_t T, bool is_accumulated)
{
    struct product p = {T, m->n_in, m->n_out, lddy, m->n_in, lddx, 0, 0, 0, 0, 0, 0};
    multiply(d, p, 1, dy, m->w, is_accumulated ? 1.0f : 0, dx);
}

void cuda_linear_fwd_f32(struct lm_dev *d, float *y, int64_t ldy, const void *x, int64_t ldx,
                         const struct lm_matrix *m, int64_t T)
{
    struct product p = {T, m->n_out, m->n_in, ldx, m->n_in, ldy, 0, 1, 1, 0, 0, 0};
    multiply(d, p, 1, x, m->w, 0, y);
}

void cuda_weight_grad(struct lm_dev *d, float *dw, const void *dy, int64_t lddy, const void *x,
                      int64_t ldx, int64_t T, int64_t n_out, int64_t n_in)
{
    struct product p = {n_out, n_in, T, lddy, ldx, n_in, 1, 0, 1, 0, 0, 0};
    multiply(d, p, 1, dy, x, 1, dw);
}

void cuda_gemm(struct lm_dev *d, bool is_ta, bool is_tb, int64_t M, int64_t N, int64_t K,
               float alpha, const void *a, int64_t lda, const void *b, int64_t ldb, float beta,
               void *c, int64_t ldc)
{
    struct product p = {M, N, K, lda, ldb, ldc, is_ta, is_tb, 0, 0, 0, 0};
    multiply(d, p, alpha, a, b, beta, c);
}
