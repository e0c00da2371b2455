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
 * reorder a sum); those with exponentials, and attention, are written in vectors (simd.h). Work
 * is split so that the order of every sum depends on sizes alone: the bytes are the same for
 * any number of threads.
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
int64_t CPU_SYM(cpu_attention_bytes)(int64_t longest_seq, int64_t K, bool is_training);
#if !CPU_ACT_BF16
LM_OP_TYPE(matrix_keep) CPU_OP(matrix_keep);
LM_OP_TYPE(kept_rows) CPU_OP(kept_rows);
LM_OP_TYPE(kept_bytes) CPU_OP(kept_bytes);
#endif
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

#endif
