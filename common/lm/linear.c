/* SPDX-License-Identifier: MIT
 * linear: a fused projection with its adapters, forward and backward.
 *
 * LoRA: y += s x A^T B^T. The A's of a group are one matrix, so x is read once; what is saved
 * is xa = s x A^T, with the scale in it: then dB += dy^T xa, and dxa = s dy B, dA += dxa^T x,
 * dx += dxa A. With rank r the extra work is r (n_in + n_out) beside n_in n_out.
 *
 * The adapters' share is written first and the base's product added to it, inside the product,
 * where sums are float: in bf16 a small change of y, added to a y that is already rounded,
 * would be rounded away, and learning would stand still until B has grown. */
#include "lm/model.h"

static const void *adapter(const struct lm *m, int64_t offset)
{
    return lm_cols(m, m->adapter_act, offset);
}

bool lm_linear_is_tuned(const struct lm *m, const struct lm_linear *lin)
{
    return m->o.tuning == LM_TUNE_FULL || (m->o.tuning == LM_TUNE_LORA && lin->n_parts > 0);
}

/* Products of one shape, in one launch where the device has that. */
static void products(struct lm *m, const struct lm_gemms *g, const void *a, const void *b,
                     void *c)
{
    const struct lm_ops *f = m->d->ops;
    size_t size = lm_act_size(m->d), size_c = g->is_float ? sizeof(float) : size;
    if (f->gemms && g->n > 1) {
        f->gemms(m->d, g, a, b, c);
        return;
    }
    for (int64_t i = 0; i < g->n; i++) {
        const char *ai = (const char *)a + (size_t)(i * g->step_a) * size;
        const char *bi = (const char *)b + (size_t)(i * g->step_b) * size;
        char *ci = (char *)c + (size_t)(i * g->step_c) * size_c;
        if (g->is_float)
            f->weight_grad(m->d, (float *)(void *)ci, ai, g->lda, bi, g->ldb, g->K, g->M, g->N);
        else
            f->gemm(m->d, g->is_ta, g->is_tb, g->M, g->N, g->K, g->alpha, ai, g->lda, bi,
                    g->ldb, g->beta, ci, g->ldc);
    }
}

/* Parts from `i` on whose B's are of one shape and lie at one distance: k and v, gate and up.
 */
static int run_of(const struct lm_linear *lin, int i)
{
    const struct lm_part *p = &lin->parts[i];
    int n = 1;
    while (i + n < lin->n_parts && p[n].n_out == p->n_out &&
           p[n].col - p[n - 1].col == p[1].col - p[0].col &&
           p[n].lora_b - p[n - 1].lora_b == p[1].lora_b - p[0].lora_b)
        n++;
    return n;
}

/* The steps between the parts of such a run: of columns of y, and of B. */
static int64_t col_step(const struct lm_part *p, int n)
{
    return n > 1 ? p[1].col - p[0].col : 0;
}
static int64_t b_step(const struct lm_part *p, int n)
{
    return n > 1 ? p[1].lora_b - p[0].lora_b : 0;
}

/* y = s x A^T B^T; columns of projections without an adapter are zero. */
static void forward_adapters(struct lm *m, const struct lm_linear *lin, void *y, const void *x,
                             void *xa, int64_t T)
{
    const struct lm_ops *f = m->d->ops;
    int64_t r = m->o.lora_rank, width = m->xa_width, n_covered = 0;
    char *own = lm_cols_mut(m, xa, lin->xa_col);
    f->gemm(m->d, false, true, T, lin->n_parts * r, lin->n_in, m->lora_scale, x, lin->n_in,
            adapter(m, lin->lora_a), lin->n_in, 0, own, width);
    for (int i = 0; i < lin->n_parts; i++)
        n_covered += lin->parts[i].n_out;
    if (n_covered < lin->n_out)
        f->zero(m->d, y, (size_t)(T * lin->n_out) * lm_act_size(m->d));
    for (int i = 0, n; i < lin->n_parts; i += n) {
        const struct lm_part *p = &lin->parts[i];
        n = run_of(lin, i);
        const struct lm_gemms g = {.n = n,
                                   .M = T,
                                   .N = p->n_out,
                                   .K = r,
                                   .lda = width,
                                   .ldb = r,
                                   .ldc = lin->n_out,
                                   .step_a = r,
                                   .step_b = b_step(p, n),
                                   .step_c = col_step(p, n),
                                   .alpha = 1,
                                   .is_tb = true};
        products(m, &g, lm_cols(m, own, i * r), adapter(m, p->lora_b),
                 lm_cols_mut(m, y, p->col));
    }
}

void lm_linear_forward(struct lm *m, const struct lm_linear *lin, void *y, const void *x,
                       void *xa, int64_t T)
{
    const struct lm_ops *f = m->d->ops;
    bool has_adapters = lin->n_parts > 0;
    if (has_adapters)
        forward_adapters(m, lin, y, x, xa, T);
    f->linear_fwd(m->d, y, lin->n_out, x, lin->n_in, lin->m, T, has_adapters);
    if (lin->bias >= 0)
        f->bias_fwd(m->d, y, lin->n_out, lm_weight(m, lin->bias), T, lin->n_out);
}

void lm_linear_backward_input(struct lm *m, const struct lm_linear *lin, void *dx,
                              const void *dy, int64_t T)
{
    const struct lm_ops *f = m->d->ops;
    int64_t r = m->o.lora_rank, n = lin->n_parts * r;
    void *dxa = m->acts.s.dxa;
    for (int i = 0, k; i < lin->n_parts; i += k) {
        const struct lm_part *p = &lin->parts[i];
        k = run_of(lin, i);
        const struct lm_gemms g = {.n = k,
                                   .M = T,
                                   .N = r,
                                   .K = p->n_out,
                                   .lda = lin->n_out,
                                   .ldb = r,
                                   .ldc = n,
                                   .step_a = col_step(p, k),
                                   .step_b = b_step(p, k),
                                   .step_c = r,
                                   .alpha = m->lora_scale};
        products(m, &g, lm_cols(m, dy, p->col), adapter(m, p->lora_b),
                 lm_cols_mut(m, dxa, i * r));
    }
    if (!dx)
        return;
    if (n)
        f->gemm(m->d, false, false, T, lin->n_in, n, 1, dxa, n, adapter(m, lin->lora_a),
                lin->n_in, 0, dx, lin->n_in);
    f->linear_bwd(m->d, dx, lin->n_in, dy, lin->n_out, lin->m, T, n > 0);
}

void lm_linear_backward_weights(struct lm *m, const struct lm_linear *lin, const void *dy,
                                const void *x, const void *xa, int64_t T)
{
    const struct lm_ops *f = m->d->ops;
    int64_t r = m->o.lora_rank, n = lin->n_parts * r;
    if (m->o.tuning == LM_TUNE_FULL) {
        f->weight_grad(m->d, m->grads + lin->w, dy, lin->n_out, x, lin->n_in, T, lin->n_out,
                       lin->n_in);
        if (lin->bias >= 0)
            f->bias_bwd(m->d, m->grads + lin->bias, dy, lin->n_out, T, lin->n_out);
    }
    if (!n)
        return;
    for (int i = 0, k; i < lin->n_parts; i += k) {
        const struct lm_part *p = &lin->parts[i];
        k = run_of(lin, i);
        const struct lm_gemms g = {.n = k,
                                   .M = p->n_out,
                                   .N = r,
                                   .K = T,
                                   .lda = lin->n_out,
                                   .ldb = m->xa_width,
                                   .ldc = r,
                                   .step_a = col_step(p, k),
                                   .step_b = r,
                                   .step_c = b_step(p, k),
                                   .alpha = 1,
                                   .beta = 1,
                                   .is_ta = true,
                                   .is_float = true};
        products(m, &g, lm_cols(m, dy, p->col), lm_cols(m, xa, lin->xa_col + i * r),
                 m->grads + p->lora_b);
    }
    f->weight_grad(m->d, m->grads + lin->lora_a, m->acts.s.dxa, n, x, lin->n_in, T, n,
                   lin->n_in);
}
