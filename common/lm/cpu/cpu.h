/* SPDX-License-Identifier: MIT
 *
 * cpu: what the CPU kernels share.
 *
 * Every file of this folder is compiled once for each instruction set, with CPU_ISA as the
 * suffix of its symbols, and once more as CPU_ISA = bf16: AVX-512 with bfloat16 activations
 * (CPU_ACT_BF16), since the CPUs that multiply bfloat16 have AVX-512 too. Kernels are written
 * in terms of `act`, and once.
 *
 * Loops are plain C that the compiler vectorises (`omp simd`, with `reduction` where it must
 * reorder a sum); only attention's inner product is written in vectors by hand. Work is split
 * so that the order of every sum depends on sizes alone: the bytes are the same for any number
 * of threads.
 */
#ifndef RAISE_LM_CPU_CPU_H
#define RAISE_LM_CPU_CPU_H

#include "lm/ops_table.h"

#include <string.h>

#ifndef CPU_ACT_BF16
#define CPU_ACT_BF16 0
#endif

#define CPU_CAT_(a, b) a##_##b
#define CPU_CAT(a, b) CPU_CAT_(a, b)
#define CPU_SYM(name) CPU_CAT(name, CPU_ISA)
#define CPU_OP(op) CPU_SYM(cpu_##op)

#define CPU_DECLARE(op) LM_OP_TYPE(op) CPU_OP(op);
LM_OPS_EACH(CPU_DECLARE)

/* A product or loop smaller than this many elements is not worth waking threads for. */
enum { CPU_SERIAL = 16384 };

struct cpu_dnnl; /* matmul_bf16.c */

/* Device state: scratch that grows to the largest need and stays. */
struct cpu_priv {
    struct lm_ops ops;
    float *scratch; /* owned */
    size_t n_scratch;
    struct cpu_dnnl *dnnl; /* owned; NULL in fp32 */
};
float *CPU_SYM(cpu_scratch)(struct lm_dev *d, size_t n_floats); /* undefined content */
/* `name`: what ops->name shall be, borrowed for good. */
struct lm_dev *CPU_SYM(cpu_open)(const char *name, struct err *e);
void CPU_SYM(cpu_close)(struct lm_dev *d);
#if CPU_ACT_BF16
int CPU_SYM(cpu_dnnl_open)(struct cpu_priv *p, struct err *e) RAISE_MUST_CHECK;
void CPU_SYM(cpu_dnnl_close)(struct cpu_priv *p);
#endif

static inline int64_t cpu_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline float cpu_fma(float a, float b, float c)
{
#ifdef __FMA__
    return __builtin_fmaf(a, b, c);
#else
    return a * b + c;
#endif
}

static inline uint32_t cpu_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static inline float cpu_float(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* ---- activations ---- */

#if CPU_ACT_BF16
typedef uint16_t act;

static inline float act_get(act a)
{
    return cpu_float((uint32_t)a << 16);
}

/* Rounds to nearest even; a NaN stays one. */
static inline act act_put(float x)
{
    uint32_t u = cpu_bits(x);
    uint32_t rounded = (u + 0x7fff + (u >> 16 & 1)) >> 16;
    return (act)(x != x ? (u >> 16 | 0x40) : rounded);
}
#else
typedef float act;

static inline float act_get(act a)
{
    return a;
}

static inline act act_put(float x)
{
    return x;
}
#endif

/* e^x within 1 ulp for x in [-87.3, 88]; below it 0, above it e^88; NaN stays NaN. In plain
 * arithmetic so that loops around it vectorise. x = n ln 2 + r, |r| <= ln 2 / 2, with ln 2 in
 * two parts (Cody and Waite 1980), and a minimax polynomial for e^r. */
static inline float cpu_exp(float x)
{
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer */
    float c = x > 88.0f ? 88.0f : x;
    c = c < -87.3f ? -87.3f : c;
    float t = cpu_fma(c, 1.44269504088896341f, magic);
    float n = t - magic;
    float r = cpu_fma(n, -0.693145751953125f, c);
    r = cpu_fma(n, -1.42860682030941723e-6f, r);
    float p = 1.9875691500e-4f;
    p = cpu_fma(p, r, 1.3981999507e-3f);
    p = cpu_fma(p, r, 8.3334519073e-3f);
    p = cpu_fma(p, r, 4.1665795894e-2f);
    p = cpu_fma(p, r, 1.6666665459e-1f);
    p = cpu_fma(p, r, 5.0000001201e-1f);
    p = cpu_fma(p, r * r, r);
    float e = (p + 1.0f) * cpu_float((cpu_bits(t) << 23) + 0x3f800000u);
    return x < -87.3f ? 0.0f : e;
}

#endif
