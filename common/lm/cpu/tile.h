/* SPDX-License-Identifier: MIT
 *
 * tile: small matrix products, held in registers.
 *
 * One kernel serves all seven products of attention: C [MR, N] (+)= A [MR, Kd] B [Kd, N], where
 * B's rows are contiguous and A is read one number at a time and spread over a vector, so that
 * A may as well be stored transposed. N is a multiple of VL; whoever calls pads with zeros.
 *
 * In bf16 a number is a pair of them, neighbours in k, that a 32-bit word holds: the
 * multiplication adds both products. Kd counts words; panels of words are declared as float,
 * whatever they hold.
 *
 * MR x NR vectors of sums leave room for NR of B and one of A among 32 registers (AVX-512)
 * or 16.
 */
#ifndef RAISE_LM_CPU_TILE_H
#define RAISE_LM_CPU_TILE_H

#include "lm/cpu/simd.h"

#if defined(__AVX512F__)
enum { NR = 4 };
#else
enum { NR = 2 };
#endif
enum { MR = 6 };

#if CPU_ACT_BF16
enum { PAIR = 2 };
static inline vf tile_dot(vf a, vf b, vf sum)
{
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
}
#else
enum { PAIR = 1 };
static inline vf tile_dot(vf a, vf b, vf sum)
{
    return vf_fma(a, b, sum);
}
#endif

/* A's element (i, k) is at a[i * a_row + k * a_col]. */
struct tile_a {
    const float *p;
    int64_t a_row, a_col;
};

/* `nr` is a constant where this is inlined, so that `sum` lives in registers. */
static inline __attribute__((always_inline)) void
tile_product(float *c, int64_t ldc, struct tile_a a, const float *b, int64_t ldb, int64_t Kd,
             bool is_accumulated, const int nr)
{
    vf sum[MR][NR];
#pragma GCC unroll 8
    for (int i = 0; i < MR; i++)
#pragma GCC unroll 8
        for (int j = 0; j < nr; j++)
            sum[i][j] = is_accumulated ? vf_load(c + i * ldc + j * VL) : (vf){0};
    for (int64_t k = 0; k < Kd; k++) {
        vf row[NR];
#pragma GCC unroll 8
        for (int j = 0; j < nr; j++)
            row[j] = vf_load(b + k * ldb + j * VL);
#pragma GCC unroll 8
        for (int i = 0; i < MR; i++) {
            vf x = vf_all(a.p[i * a.a_row + k * a.a_col]);
#pragma GCC unroll 8
            for (int j = 0; j < nr; j++)
                sum[i][j] = tile_dot(x, row[j], sum[i][j]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < MR; i++)
#pragma GCC unroll 8
        for (int j = 0; j < nr; j++)
            vf_store(c + i * ldc + j * VL, sum[i][j]);
}

/* C [MR, N] = or += A [MR, Kd] B [Kd, N]. */
static inline void tile_strip(float *c, int64_t ldc, struct tile_a a, const float *b,
                              int64_t ldb, int64_t N, int64_t Kd, bool is_accumulated)
{
    int64_t j = 0;
    for (; j + NR * VL <= N; j += NR * VL)
        tile_product(c + j, ldc, a, b + j, ldb, Kd, is_accumulated, NR);
    for (; NR == 4 && j + 2 * VL <= N; j += 2 * VL)
        tile_product(c + j, ldc, a, b + j, ldb, Kd, is_accumulated, 2);
    for (; j < N; j += VL)
        tile_product(c + j, ldc, a, b + j, ldb, Kd, is_accumulated, 1);
}

#endif
