/* SPDX-License-Identifier: MIT
 *
 * simd: vectors of VL floats, for the kernels that the compiler does not vectorise well: those
 * with an exponential, whose bfloat16 results it would round by a dozen integer operations.
 *
 * `vf` is the compiler's own vector type, so + - * / are written as such.
 */
#ifndef RAISE_LM_CPU_SIMD_H
#define RAISE_LM_CPU_SIMD_H

#include "lm/cpu/cpu.h"

#include <math.h>

#if defined(__AVX512F__)
#include <immintrin.h>
enum { VL = 16 };
typedef __m512 vf;
typedef int32_t vi __attribute__((vector_size(64)));
#elif defined(__AVX2__)
#include <immintrin.h>
enum { VL = 8 };
typedef __m256 vf;
typedef int32_t vi __attribute__((vector_size(32)));
#else
enum { VL = 4 };
typedef float vf __attribute__((vector_size(16)));
typedef int32_t vi __attribute__((vector_size(16)));
#endif
typedef vf vf_any __attribute__((aligned(4), may_alias)); /* anywhere in memory */

/* Runs the statements for i = 0, VL, 2 VL, ... with m = VL, a constant, and once more for the
 * m < VL elements that are left of n. */
#define VF_EACH(i, m, n, ...)                                                                  \
    do {                                                                                       \
        const int64_t end_ = (n), full_ = end_ / VL * VL;                                      \
        for (int64_t i = 0; i < full_; i += VL) {                                              \
            enum { m = VL };                                                                   \
            __VA_ARGS__                                                                        \
        }                                                                                      \
        if (full_ < end_) {                                                                    \
            const int64_t i = full_;                                                           \
            const int m = (int)(end_ - full_);                                                 \
            __VA_ARGS__                                                                        \
        }                                                                                      \
    } while (0)

static inline vf vf_all(float x)
{
    return x - (vf){0}; /* not 0 + x, which the compiler must compute for the sake of -0 */
}

static inline vf vf_load(const float *p)
{
    return *(const vf_any *)p;
}

static inline void vf_store(float *p, vf v)
{
    *(vf_any *)p = v;
}

/* The first m elements; the others are `rest`. */
static inline vf vf_load_m(const float *p, int m, float rest)
{
    if (m == VL)
        return vf_load(p);
    float x[VL];
    for (int i = 0; i < VL; i++)
        x[i] = i < m ? p[i] : rest;
    return vf_load(x);
}

static inline void vf_store_m(float *p, vf v, int m)
{
    if (m == VL) {
        vf_store(p, v);
        return;
    }
    for (int i = 0; i < m; i++)
        p[i] = v[i];
}

static inline vf vf_fma(vf a, vf b, vf c)
{
#if defined(__AVX512F__)
    return _mm512_fmadd_ps(a, b, c);
#elif defined(__AVX2__)
    return _mm256_fmadd_ps(a, b, c);
#else
    return a * b + c;
#endif
}

/* a where the mask's bits are set, else b. */
static inline vf vf_select(vi mask, vf a, vf b)
{
    return (vf)(((vi)a & mask) | ((vi)b & ~mask));
}

/* The larger and the smaller; where x is NaN, x. */
static inline vf vf_max(vf limit, vf x)
{
#if defined(__AVX512F__)
    return _mm512_max_ps(limit, x);
#elif defined(__AVX2__)
    return _mm256_max_ps(limit, x);
#else
    return vf_select((vi)(x < limit), limit, x);
#endif
}

static inline vf vf_min(vf limit, vf x)
{
#if defined(__AVX512F__)
    return _mm512_min_ps(limit, x);
#elif defined(__AVX2__)
    return _mm256_min_ps(limit, x);
#else
    return vf_select((vi)(x > limit), limit, x);
#endif
}

static inline float vf_sum(vf v)
{
#if defined(__AVX512F__)
    return _mm512_reduce_add_ps(v);
#else
    float sum = 0;
    for (int i = 0; i < VL; i++)
        sum += v[i];
    return sum;
#endif
}

static inline float vf_largest(vf v)
{
#if defined(__AVX512F__)
    return _mm512_reduce_max_ps(v);
#else
    float max = v[0];
    for (int i = 1; i < VL; i++)
        max = v[i] > max ? v[i] : max;
    return max;
#endif
}

/* e^x within 1 ulp for x in [-87.3, 88]; 0 below -87.7, e^88 above 88; NaN stays NaN.
 * x = n ln 2 + r, |r| <= ln 2 / 2, with ln 2 in two parts (Cody and Waite 1980), and a minimax
 * polynomial for e^r. n = -127 makes an exponent of zero, which is 2^n = 0. */
static inline vf vf_exp(vf x)
{
    const vf magic = vf_all(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    vf c = vf_max(vf_all(-88.0f), vf_min(vf_all(88.0f), x));
    vf t = vf_fma(c, vf_all(1.44269504088896341f), magic);
    vf n = t - magic;
    vf r = vf_fma(n, vf_all(-0.693145751953125f), c);
    r = vf_fma(n, vf_all(-1.42860682030941723e-6f), r);
    vf p = vf_all(1.9875691500e-4f);
    p = vf_fma(p, r, vf_all(1.3981999507e-3f));
    p = vf_fma(p, r, vf_all(8.3334519073e-3f));
    p = vf_fma(p, r, vf_all(4.1665795894e-2f));
    p = vf_fma(p, r, vf_all(1.6666665459e-1f));
    p = vf_fma(p, r, vf_all(5.0000001201e-1f));
    p = vf_fma(p, r * r, r) + 1.0f;
    return p * (vf)(((vi)t << 23) + 0x3f800000);
}

/* ---- activations ---- */

#if CPU_ACT_BF16
static inline vf act_load_m(const act *p, int m)
{
    __mmask16 k = (__mmask16)((1u << m) - 1);
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(k, p));
    return (vf)_mm512_slli_epi32(wide, 16);
}

static inline void act_store_m(act *p, vf v, int m)
{
    __mmask16 k = (__mmask16)((1u << m) - 1);
    _mm256_mask_storeu_epi16(p, k, (__m256i)_mm512_cvtneps_pbh(v));
}
#else
static inline vf act_load_m(const act *p, int m)
{
    return vf_load_m(p, m, 0);
}

static inline void act_store_m(act *p, vf v, int m)
{
    vf_store_m(p, v, m);
}
#endif

#endif
