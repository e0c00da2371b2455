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
    for (int i = 0; i < lin->n_parts; i++) {
        const struct lm_part *p = &lin->parts[i];
        f->gemm(m->d, false, true, T, p->n_out, r, 1, lm_cols(m, own, i * r), width,
                adapter(m, p->lora_b), r, 0, lm_cols_mut(m, y, p->col), lin->n_out);
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
    for (int i = 0; i < lin->n_parts; i++) {
        const struct lm_part *p = &lin->parts[i];
        f->gemm(m->d, false, false, T, r, p->n_out, m->lora_scale, lm_cols(m, dy, p->col),
                lin->n_out, adapter(m, p->lora_b), r, 0, lm_cols_mut(m, dxa, i * r), n);
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
    for (int i = 0; i < lin->n_parts; i++) {
        const struct lm_part *p = &lin->parts[i];
        f->weight_grad(m->d, m->grads + p->lora_b, lm_cols(m, dy, p->col), lin->n_out,
                       lm_cols(m, xa, lin->xa_col + i * r), m->xa_width, T, p->n_out, r);
    }
    f->weight_grad(m->d, m->grads + lin->lora_a, m->acts.s.dxa, n, x, lin->n_in, T, n,
                   lin->n_in);
}
