/* SPDX-License-Identifier: MIT
 * The CPU device's memory: plain memory, and scratch. */
#include "base/mem.h"
#include "lm/cpu/cpu.h"

#include <stdlib.h>

float *CPU_SYM(cpu_scratch)(struct lm_dev *d, size_t n_floats)
{
    struct cpu_priv *p = d->priv;
    if (n_floats > p->n_scratch) {
        free(p->scratch);
        p->scratch = mem_aligned(n_floats * sizeof *p->scratch);
        p->n_scratch = n_floats;
    }
    return p->scratch;
}

/* Large blocks are aligned to huge pages: a model's weights are walked end to end each step.
 * Whether they fit is judged by the plan, which may be overridden; here only the system
 * refuses. */
void *CPU_OP(alloc)(struct lm_dev *d, size_t bytes, struct err *e)
{
    (void)d;
    void *p = mem_try_aligned(bytes);
    if (!p)
        err_set(e, ERR_MEMORY, "the system refuses %.1f GiB", (double)bytes / (1 << 30));
    return p;
}

void CPU_OP(free)(struct lm_dev *d, void *p)
{
    (void)d;
    free(p);
}

/* One thread copies small blocks; the memory's speed needs several. */
void CPU_OP(copy)(struct lm_dev *d, void *dst, const void *src, size_t bytes)
{
    (void)d;
    enum { BLOCK = 1 << 20 };
    int64_t n_blocks = (int64_t)((bytes + BLOCK - 1) / BLOCK);
#pragma omp parallel for schedule(static) if (n_blocks > 1)
    for (int64_t i = 0; i < n_blocks; i++) {
        size_t at = (size_t)i * BLOCK, left = bytes - at;
        memcpy((char *)dst + at, (const char *)src + at, left < BLOCK ? left : BLOCK);
    }
}

void CPU_OP(upload)(struct lm_dev *d, void *dst, const void *src, size_t bytes)
{
    CPU_OP(copy)(d, dst, src, bytes);
}

void CPU_OP(download)(struct lm_dev *d, void *dst, const void *src, size_t bytes)
{
    CPU_OP(copy)(d, dst, src, bytes);
}

void CPU_OP(zero)(struct lm_dev *d, void *p, size_t bytes)
{
    (void)d;
    enum { BLOCK = 1 << 20 };
    int64_t n_blocks = (int64_t)((bytes + BLOCK - 1) / BLOCK);
#pragma omp parallel for schedule(static) if (n_blocks > 1)
    for (int64_t i = 0; i < n_blocks; i++) {
        size_t at = (size_t)i * BLOCK, left = bytes - at;
        memset((char *)p + at, 0, left < BLOCK ? left : BLOCK);
    }
}

void CPU_OP(sync)(struct lm_dev *d)
{
    (void)d;
}

void CPU_OP(to_act)(struct lm_dev *d, void *dst, const float *src, size_t n)
{
    (void)d;
    act *out = dst;
#pragma omp parallel for simd schedule(static) if (n > CPU_SERIAL)
    for (size_t i = 0; i < n; i++)
        out[i] = act_put(src[i]);
}

void CPU_OP(from_act)(struct lm_dev *d, float *dst, const void *src, size_t n)
{
    (void)d;
    const act *in = src;
#pragma omp parallel for simd schedule(static) if (n > CPU_SERIAL)
    for (size_t i = 0; i < n; i++)
        dst[i] = act_get(in[i]);
}
