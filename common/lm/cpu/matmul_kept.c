/* SPDX-License-Identifier: MIT
 * Frozen matrices as their file has them (bf16, halves, ggml's blocks), fp32: a panel of rows
 * is widened to float into scratch, multiplied, and forgotten.
 *
 *     y = x W^T    a panel is some rows of W: columns of y
 *     dx = dy W    a panel is the rows of one cut of K (cpu_cut), summed up
 *
 * So each element is the sum that matmul.c makes of a float matrix, in the same order, and the
 * bytes are the same; where rows shall not depend on each other (is_rowwise), each thread
 * widens panels of its own that stay in its cache. */
#include "lm/cpu/matmul_kept.h"

#if !CPU_ACT_BF16

#include "base/mem.h"
#include "lm/cpu/matmul.h"
#include "lm/cpu/matmul_rows.h"
#include "stream/gguf_quant.h"

#include <omp.h>
#include <stdlib.h>

/* Rows of a panel: whole groups of every BLAS kernel's, and so many that the packing of x,
 * which a call does anew, weighs little; of short rows more, 16 MiB. */
enum { PANEL = 1536, PANEL_ROUND = 192, PANEL_VALUES = 4 << 20 };

struct lm_matrix *CPU_OP(matrix_keep)(struct lm_dev *d, const struct lm_kept *parts, int n,
                                      int64_t n_in)
{
    (void)d;
    struct lm_matrix *m = mem_zalloc(1, sizeof *m);
    m->n_in = n_in;
    m->n_parts = n;
    m->parts = mem_dup(parts, (size_t)n * sizeof *parts);
    for (int i = 0; i < n; i++)
        m->n_out += parts[i].n_rows;
    return m;
}

/* ---- widening ---- */

static size_t row_bytes(const struct lm_kept *p, int64_t n_in)
{
    return (size_t)(n_in / p->type->n_values * p->type->n_bytes);
}

/* Rows [from, from + n) to dst [n, n_in]. */
static void widen(float *dst, const struct lm_matrix *m, int64_t from, int64_t n)
{
    if (!m->n_parts)
        memcpy(dst, m->w + from * m->n_in, (size_t)(n * m->n_in) * sizeof *dst);
    int64_t end = from + n, first = 0;
    for (int i = 0; i < m->n_parts && first < end; first += m->parts[i++].n_rows) {
        const struct lm_kept *p = &m->parts[i];
        int64_t a = from > first ? from - first : 0, b = cpu_min(end - first, p->n_rows);
        if (a >= b)
            continue;
        const uint8_t *src = (const uint8_t *)p->data + (size_t)a * row_bytes(p, m->n_in);
        p->type->decode(dst, src, (b - a) * (m->n_in / p->type->n_values));
        dst += (b - a) * m->n_in;
    }
}

static void widen_all(float *dst, const struct lm_matrix *m, int64_t from, int64_t n)
{
#pragma omp parallel for schedule(static) if (n * m->n_in > CPU_SERIAL)
    for (int64_t i = 0; i < n; i++)
        widen(dst + i * m->n_in, m, from + i, 1);
}

void CPU_OP(kept_rows)(struct lm_dev *d, float *x, const struct lm_matrix *m,
                       const int32_t *ids, int64_t T)
{
    (void)d;
#pragma omp parallel for schedule(static) if (T * m->n_in > CPU_SERIAL)
    for (int64_t t = 0; t < T; t++)
        widen(x + t * m->n_in, m, ids[t], 1);
}

/* ---- panels ---- */

static int64_t panel_rows(int64_t n_out, int64_t n_in)
{
    int64_t most = PANEL_VALUES / n_in > PANEL ? PANEL_VALUES / n_in : PANEL;
    int64_t n = (n_out + most - 1) / most;
    return ((n_out + n - 1) / n + PANEL_ROUND - 1) / PANEL_ROUND * PANEL_ROUND;
}

/* Rows of a thread's own panel: half a mebibyte of floats, in whole tiles of matmul_rows.c. */
static int64_t own_rows(int64_t n_in)
{
    enum { VALUES = 1 << 17, TILE = 12, MOST = 48 };
    int64_t n = VALUES / n_in / TILE * TILE;
    return n < TILE ? TILE : cpu_min(n, MOST);
}

int64_t CPU_OP(kept_bytes)(int64_t n_out, int64_t n_in)
{
    int64_t fwd = cpu_min(panel_rows(n_out, n_in), n_out),
            bwd = cpu_min(CPU_SYM(cpu_cut)(n_out), n_out);
    int64_t own = own_rows(n_in) * omp_get_max_threads(), most = fwd > bwd ? fwd : bwd;
    return 4 * n_in * (most > own ? most : own);
}

static float *scratch(struct lm_dev *d, const struct lm_matrix *m)
{
    return CPU_SYM(cpu_scratch)(d,
                                (size_t)CPU_OP(kept_bytes)(m->n_out, m->n_in) / sizeof(float));
}

static void fwd_by_rows(struct lm_dev *d, float *y, int64_t ldy, const float *x, int64_t ldx,
                        const struct lm_matrix *m, int64_t T, float beta)
{
    int64_t n_rows = own_rows(m->n_in), n_panels = (m->n_out + n_rows - 1) / n_rows;
    float *all = scratch(d, m);
#pragma omp parallel for schedule(dynamic) if (T * m->n_out * m->n_in > CPU_SERIAL)
    for (int64_t i = 0; i < n_panels; i++) {
        float *wide = all + omp_get_thread_num() * n_rows * m->n_in;
        int64_t from = i * n_rows, n = cpu_min(n_rows, m->n_out - from);
        widen(wide, m, from, n);
        const struct cpu_rows_product p = {.M = T,
                                           .N = n,
                                           .K = m->n_in,
                                           .lda = ldx,
                                           .ldb = m->n_in,
                                           .ldc = ldy,
                                           .alpha = 1,
                                           .beta = beta,
                                           .a = x,
                                           .b = wide,
                                           .c = y + from};
        CPU_SYM(cpu_rows_multiply)(&p);
    }
}

void CPU_SYM(cpu_kept_fwd)(struct lm_dev *d, void *y, int64_t ldy, const void *x, int64_t ldx,
                           const struct lm_matrix *m, int64_t T, bool is_accumulated)
{
    float beta = is_accumulated ? 1 : 0, *wide;
    int64_t n_rows = panel_rows(m->n_out, m->n_in);
    if (d->is_rowwise) {
        fwd_by_rows(d, y, ldy, x, ldx, m, T, beta);
        return;
    }
    wide = scratch(d, m);
    for (int64_t from = 0; from < m->n_out && T > 0; from += n_rows) {
        int64_t n = cpu_min(n_rows, m->n_out - from);
        widen_all(wide, m, from, n);
        CPU_OP(gemm)
        (d, false, true, T, n, m->n_in, 1, x, ldx, wide, m->n_in, beta, (float *)y + from, ldy);
    }
}

void CPU_SYM(cpu_kept_bwd)(struct lm_dev *d, void *dx, int64_t lddx, const void *dy,
                           int64_t lddy, const struct lm_matrix *m, int64_t T,
                           bool is_accumulated)
{
    float *wide = scratch(d, m);
    int64_t n_rows = CPU_SYM(cpu_cut)(m->n_out);
    for (int64_t from = 0; from < m->n_out && T > 0; from += n_rows) {
        int64_t n = cpu_min(n_rows, m->n_out - from);
        widen_all(wide, m, from, n);
        CPU_OP(gemm)
        (d, false, false, T, m->n_in, n, 1, (const float *)dy + from, lddy, wide, m->n_in,
         from || is_accumulated ? 1 : 0, dx, lddx);
    }
}

#endif
