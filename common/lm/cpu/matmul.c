/* SPDX-License-Identifier: MIT
 * Matrix products by OpenBLAS, fp32. The bf16 ones are in matmul_bf16.c.
 *
 * The bytes must not depend on the number of threads, and OpenBLAS does not see to it:
 * - It cuts K into blocks of its own size (GEMM_Q, 320 to 384 for the kernels of AVX2 and
 *   AVX-512), and where K lies between one and two blocks it rounds the cut differently with
 *   one thread than with several. Here K is cut beforehand, so that no call needs to.
 * - Most kernels sum the edges of a thread's share in another order than its middle. They go by
 *   groups of rows (12 for AVX2; 24 is a whole number of every other kernel's); so rows are
 *   shared out here, in whole groups, and each share is a call of one thread. The kernels of
 *   AVX-512 have no such edges, and share by themselves.
 * Nor must those of a row depend on how many rows there are: what a model says of a record
 * would depend on the records beside it, and features on how the work is cut into shards. The
 * kernels of AVX-512 sum products of M N K <= 100^3 in another order (small_matrix_permit), the
 * others the rows of a last, shorter group: those get more rows, of zeros. Sums over rows
 * (is_ta) have no need of it. Measured for this model's shapes, one thread: uncut 98-101
 * GFLOP/s, cut at 320 98-101. */
#include "lm/cpu/matmul.h"

#include "lm/cpu/cpu.h"
#include "lm/cpu/matmul_rows.h"

#if !CPU_ACT_BF16

#include "base/cpu.h"
#include "base/mem.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <cblas.h>

/* c [M, N] = alpha op(a) op(b) + beta c, row major. */
struct product {
    bool is_ta, is_tb;
    int64_t M, N, K, lda, ldb, ldc;
    float alpha, beta;
    const float *a, *b;
    float *c;
};

static void rows_by_blas(const struct product *p, int64_t from, int64_t to)
{
    const float *a = p->a + from * (p->is_ta ? 1 : p->lda);
    cblas_sgemm(CblasRowMajor, p->is_ta ? CblasTrans : CblasNoTrans,
                p->is_tb ? CblasTrans : CblasNoTrans, (int)(to - from), (int)p->N, (int)p->K,
                p->alpha, a, (int)p->lda, p->b, (int)p->ldb, p->beta, p->c + from * p->ldc,
                (int)p->ldc);
}

/* Rows of a group that a kernel sums alike wherever it stands; 0: every row is. */
static int64_t rows_of_group(void)
{
    static const struct {
        const char *kernel;
        int rows;
    } known[] = {
        {"SkylakeX", 0}, {"Cooperlake", 0}, {"Sapphirerapids", 0}, {"Haswell", 12}, {"Zen", 12},
    };
    const char *kernel = cpu_blas_kernel();
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcasecmp(kernel, known[i].kernel))
            return known[i].rows;
    return 24;
}

/* By one thread. Inside a parallel region OpenBLAS has no other; a team of one is none. */
static void alone(const struct product *p)
{
    int n_threads = omp_get_max_threads();
    omp_set_num_threads(1);
    rows_by_blas(p, 0, p->M);
    omp_set_num_threads(n_threads);
}

static void share_rows(const struct product *p, int64_t n_rows)
{
    int64_t n_groups = (p->M + n_rows - 1) / n_rows;
    int64_t n = cpu_min(n_groups, omp_get_max_threads());
    if (n < 2 || p->M * p->N * p->K < CPU_SERIAL) {
        alone(p);
        return;
    }
#pragma omp parallel for num_threads((int)n) schedule(static)
    for (int64_t i = 0; i < n; i++)
        rows_by_blas(p, n_groups * i / n * n_rows,
                     cpu_min(n_groups * (i + 1) / n * n_rows, p->M));
}

/* M rows, of which those behind the product's own are zeros. */
static void multiply_padded(const struct product *p, int64_t M)
{
    float *a = mem_zalloc((size_t)(M * p->K), sizeof *a);
    float *c = mem_zalloc((size_t)(M * p->N), sizeof *c);
    struct product all = *p;
    for (int64_t i = 0; i < p->M; i++) {
        memcpy(a + i * p->K, p->a + i * p->lda, (size_t)p->K * sizeof *a);
        if (p->beta != 0)
            memcpy(c + i * p->N, p->c + i * p->ldc, (size_t)p->N * sizeof *c);
    }
    all.M = M, all.lda = p->K, all.ldc = p->N, all.a = a, all.c = c;
    alone(&all);
    for (int64_t i = 0; i < p->M; i++)
        memcpy(p->c + i * p->ldc, c + i * p->N, (size_t)p->N * sizeof *c);
    free(a);
    free(c);
}

static void multiply_groups(const struct product *p, int64_t n_rows)
{
    int64_t n_left = p->is_ta ? 0 : p->M % n_rows;
    struct product whole = *p, left = *p;
    whole.M = p->M - n_left;
    if (whole.M && omp_get_max_threads() > 1)
        share_rows(&whole, n_rows);
    else if (whole.M)
        rows_by_blas(&whole, 0, whole.M);
    left.M = n_left;
    left.a += whole.M * p->lda;
    left.c += whole.M * p->ldc;
    if (n_left)
        multiply_padded(&left, n_rows);
}

/* Rows from which on a product is not one of OpenBLAS's small ones. */
static int64_t rows_of_large(const struct product *p)
{
    int64_t most = 100 * 100 * 100, each = p->N * p->K;
    return each > 0 ? most / each + 1 : 1;
}

static void multiply(const struct product *p)
{
    int64_t n_rows = rows_of_group();
    if (n_rows)
        multiply_groups(p, n_rows);
    else if (!p->is_ta && p->M < rows_of_large(p))
        multiply_padded(p, rows_of_large(p));
    else
        rows_by_blas(p, 0, p->M);
}

int64_t CPU_SYM(cpu_cut)(int64_t K)
{
    enum { MOST = 320, ROUND = 16 };
    int64_t n_cuts = K > MOST ? (K + MOST - 1) / MOST : 1;
    return ((K + n_cuts - 1) / n_cuts + ROUND - 1) / ROUND * ROUND;
}

void CPU_OP(gemm)(struct lm_dev *d, bool is_ta, bool is_tb, int64_t M, int64_t N, int64_t K,
                  float alpha, const void *a, int64_t lda, const void *b, int64_t ldb,
                  float beta, void *c, int64_t ldc)
{
    const float *pa = a, *pb = b;
    if (d->is_rowwise && is_tb && !is_ta) {
        const struct cpu_rows_product rows = {.M = M,
                                              .N = N,
                                              .K = K,
                                              .lda = lda,
                                              .ldb = ldb,
                                              .ldc = ldc,
                                              .alpha = alpha,
                                              .beta = beta,
                                              .a = pa,
                                              .b = pb,
                                              .c = c};
        CPU_SYM(cpu_rows_multiply)(&rows);
        return;
    }
    int64_t step = CPU_SYM(cpu_cut)(K), k = 0;
    if (M < 1 || N < 1)
        return;
    do {
        int64_t n = K - k < step ? K - k : step;
        const struct product p = {.is_ta = is_ta,
                                  .is_tb = is_tb,
                                  .M = M,
                                  .N = N,
                                  .K = n,
                                  .lda = lda,
                                  .ldb = ldb,
                                  .ldc = ldc,
                                  .alpha = alpha,
                                  .beta = k ? 1 : beta,
                                  .a = pa + (is_ta ? k * lda : k),
                                  .b = pb + (is_tb ? k : k * ldb),
                                  .c = c};
        multiply(&p);
        k += n;
    } while (k < K);
}

void CPU_OP(weight_grad)(struct lm_dev *d, float *dw, const void *dy, int64_t lddy,
                         const void *x, int64_t ldx, int64_t T, int64_t n_out, int64_t n_in)
{
    CPU_OP(gemm)(d, true, false, n_out, n_in, T, 1, dy, lddy, x, ldx, 1, dw, n_in);
}

#endif
