/* SPDX-License-Identifier: MIT
 * Matrix products whose rows do not depend on each other, fp32: c = alpha a b^T + beta c.
 *
 * A BLAS sums a row in an order that depends on how many there are (kernels for small
 * products, edges of tiles), so that what a model says of one sequence would depend, in the
 * last bits, on those beside it. Here each element is one sum over K in vectors, in one order.
 *
 * Both operands are read along K. RM rows of a and RN of b are worked on at once, so that a
 * vector that is loaded takes part in several sums; blocks of b stay in the second-level cache
 * while the rows of a pass. With a single row of a, the memory's speed decides. 8 prompts of
 * 256 tokens through SmolLM2-135M, one thread with AVX-512, seconds of the processor beside
 * other work: 0.57 of the rate with OpenBLAS. */
#include "lm/cpu/matmul_rows.h"

#if !CPU_ACT_BF16

#include "lm/cpu/simd.h"

#if defined(__AVX512F__)
enum { RM = 4, RN = 6 };
#else
enum { RM = 3, RN = 4 };
#endif
enum { BLOCK_N = 48, BLOCK_M = 96 }; /* multiples of RN and RM */
_Static_assert(BLOCK_N % RN == 0 && BLOCK_M % RM == 0, "whole tiles");

/* sum [rm, rn] += a [rm, m] b [rn, m]^T, lane by lane; rm, rn and often m are constants where
 * this is inlined, so that `sum` lives in registers. */
static inline __attribute__((always_inline)) void add_products(vf sum[RM][RN], const float *a,
                                                               int64_t lda, const float *b,
                                                               int64_t ldb, const int rm,
                                                               const int rn, const int m)
{
    vf row[RN];
#pragma GCC unroll 8
    for (int j = 0; j < rn; j++)
        row[j] = vf_load_m(b + j * ldb, m, 0);
#pragma GCC unroll 8
    for (int i = 0; i < rm; i++) {
        vf x = vf_load_m(a + i * lda, m, 0);
#pragma GCC unroll 8
        for (int j = 0; j < rn; j++)
            sum[i][j] = vf_fma(x, row[j], sum[i][j]);
    }
}

/* c [rm, rn] */
static inline __attribute__((always_inline)) void
tile(const struct cpu_rows_product *p, int64_t i0, int64_t j0, const int rm, const int rn)
{
    const float *a = p->a + i0 * p->lda, *b = p->b + j0 * p->ldb;
    vf sum[RM][RN];
#pragma GCC unroll 8
    for (int i = 0; i < rm; i++)
#pragma GCC unroll 8
        for (int j = 0; j < rn; j++)
            sum[i][j] = (vf){0};
    VF_EACH(k, m, p->K, { add_products(sum, a + k, p->lda, b + k, p->ldb, rm, rn, m); });
#pragma GCC unroll 8
    for (int i = 0; i < rm; i++)
#pragma GCC unroll 8
        for (int j = 0; j < rn; j++) {
            float *c = p->c + (i0 + i) * p->ldc + j0 + j, x = p->alpha * vf_sum(sum[i][j]);
            *c = p->beta != 0 ? x + p->beta * *c : x;
        }
}

static inline __attribute__((always_inline)) void
strip(const struct cpu_rows_product *p, int64_t i, int64_t j0, int64_t j1, const int rm)
{
    int64_t j = j0;
    for (; j + RN <= j1; j += RN)
        tile(p, i, j, rm, RN);
    for (; j < j1; j++)
        tile(p, i, j, rm, 1);
}

static void block(const struct cpu_rows_product *p, int64_t i0, int64_t i1, int64_t j0,
                  int64_t j1)
{
    int64_t i = i0;
    for (; i + RM <= i1; i += RM)
        strip(p, i, j0, j1, RM);
    for (; RM > 3 && i + 3 <= i1; i += 3)
        strip(p, i, j0, j1, 3);
    for (; i + 2 <= i1; i += 2)
        strip(p, i, j0, j1, 2);
    for (; i < i1; i++)
        strip(p, i, j0, j1, 1);
}

void CPU_SYM(cpu_rows_multiply)(const struct cpu_rows_product *p)
{
    int64_t n_m = (p->M + BLOCK_M - 1) / BLOCK_M, n_n = (p->N + BLOCK_N - 1) / BLOCK_N;
#pragma omp parallel for schedule(dynamic) if (p->M * p->N * p->K > CPU_SERIAL && n_m * n_n > 1)
    for (int64_t t = 0; t < n_m * n_n; t++) {
        int64_t i = t % n_m * BLOCK_M, j = t / n_m * BLOCK_N;
        block(p, i, cpu_min(i + BLOCK_M, p->M), j, cpu_min(j + BLOCK_N, p->N));
    }
}

#endif
