/* SPDX-License-Identifier: MIT
 * classifier: logits, loss and their gradient, for the rows that predict a target only, in
 * chunks: the logits of all tokens are never in memory at once. */
#include "lm/model.h"

/* Gathered, normed, multiplied. */
void lm_row_logits(struct lm *m, int64_t at, int64_t n)
{
    const struct lm_ops *f = m->d->ops;
    struct lm_scratch *s = &m->acts.s;
    int64_t D = m->c.d_model, V = m->c.n_vocab;
    f->gather_rows(m->d, s->row_x, s->x_out, s->rows + at, n, D);
    f->rmsnorm_fwd(m->d, s->row_y, s->row_rstd, s->row_x, s->row_x, NULL,
                   lm_weight(m, m->norm_f), n, D, (float)m->c.norm_eps);
    f->linear_fwd_f32(m->d, s->logits, V, s->row_y, D, m->head.m, n);
}

static void chunk_backward(struct lm *m, int64_t at, int64_t n)
{
    const struct lm_ops *f = m->d->ops;
    struct lm_scratch *s = &m->acts.s;
    int64_t D = m->c.d_model, V = m->c.n_vocab;
    float *dw = lm_weight_grad(m, m->head.w);
    if (dw)
        f->weight_grad(m->d, dw, s->dlogits, V, s->row_y, D, n, V, D);
    f->linear_bwd(m->d, s->row_dy, D, s->dlogits, V, m->head.m, n, false);
    f->zero(m->d, s->row_dx, (size_t)(n * D) * sizeof *s->row_dx);
    f->rmsnorm_bwd(m->d, s->row_dx, NULL, lm_weight_grad(m, m->norm_f), NULL, s->row_dy,
                   s->row_x, lm_weight(m, m->norm_f), s->row_rstd, n, D);
    f->scatter_rows(m->d, s->dx, s->row_dx, s->rows + at, n, D);
}

void lm_classify(struct lm *m, const struct lm_piece *p, bool is_training, float grad_scale)
{
    const struct lm_ops *f = m->d->ops;
    struct lm_scratch *s = &m->acts.s;
    size_t n_dx = (size_t)(p->T * m->c.d_model);
    if (is_training)
        f->zero(m->d, s->dx, n_dx * sizeof *s->dx);
    for (int64_t at = 0; at < p->n_rows; at += m->acts.cap_rows) {
        int64_t left = p->n_rows - at, n = left < m->acts.cap_rows ? left : m->acts.cap_rows;
        lm_row_logits(m, at, n);
        f->xent(m->d, s->losses + at, is_training ? s->dlogits : NULL, s->logits,
                s->targets + at, n, m->c.n_vocab, grad_scale);
        if (is_training)
            chunk_backward(m, at, n);
    }
    if (is_training && m->d->act == LM_BF16)
        f->to_act(m->d, s->dx_act, s->dx, n_dx);
}
