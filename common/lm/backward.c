/* SPDX-License-Identifier: MIT
 * backward: gradients, layer by layer from the last; see forward.c for the graph.
 *
 * s.dx is the gradient of the residual (float), s.dx_act its copy for products; each norm's
 * backward adds its share to it. Below the first trainable thing nothing is computed: with
 * adapters the gradient never goes through the first layer's input norm into the embedding. */
#include "lm/model.h"

static void renorm(struct lm *m, const float *x, int64_t norm, int64_t T)
{
    /* A norm without delta leaves x alone. */
    m->d->ops->rmsnorm_fwd(m->d, m->acts.s.y, NULL, (float *)(uintptr_t)x, x, NULL,
                           lm_weight(m, norm), T, m->c.d_model, (float)m->c.norm_eps);
}

/* From s.delta to s.dx; has_y: the normed rows as well, to s.y. */
static void norm_backward(struct lm *m, const float *x, int64_t norm, const float *rstd,
                          bool has_y, int64_t T)
{
    struct lm_scratch *s = &m->acts.s;
    m->d->ops->rmsnorm_bwd(m->d, s->dx, m->d->act == LM_BF16 ? s->dx_act : NULL,
                           lm_weight_grad(m, norm), has_y ? s->y : NULL, s->delta, x,
                           lm_weight(m, norm), rstd, T, m->c.d_model);
}

static void mlp(struct lm *m, const struct lm_layer *y, const struct lm_saved *a,
                bool has_below, int64_t T)
{
    const struct lm_ops *f = m->d->ops;
    struct lm_scratch *s = &m->acts.s;
    const struct lm_linear *down = &y->lin[GROUP_DOWN], *gate_up = &y->lin[GROUP_GATE_UP];
    bool is_down_tuned = lm_linear_is_tuned(m, down), is_tuned = lm_linear_is_tuned(m, gate_up);
    lm_linear_backward_input(m, down, s->dh, s->dx_act, T);
    f->swiglu_bwd(m->d, a->gate_up, is_down_tuned ? s->h : NULL, s->dh, a->gate_up, T,
                  m->c.d_ff);
    if (is_down_tuned)
        lm_linear_backward_weights(m, down, s->dx_act, s->h, a->xa, T);
    lm_linear_backward_input(m, gate_up, has_below ? s->delta : NULL, a->gate_up, T);
    if (has_below)
        norm_backward(m, a->x_mid, y->norm2, a->rstd2, is_tuned, T);
    else if (is_tuned)
        renorm(m, a->x_mid, y->norm2, T);
    if (is_tuned)
        lm_linear_backward_weights(m, gate_up, a->gate_up, s->y, a->xa, T);
}

/* Attention's gradients where sequences share rows: all rows, each with its own copy. */
static void shared_attention(struct lm *m, const struct lm_saved *a, const struct lm_piece *p)
{
    const struct lm_ops *f = m->d->ops;
    const struct lm_config *c = &m->c;
    struct lm_scratch *s = &m->acts.s;
    int64_t H = c->n_heads, G = c->n_kv_heads, K = c->d_head, ld = (H + 2 * G) * K, HK = H * K;
    const void *q = s->all_qkv, *k = lm_cols(m, q, HK), *v = lm_cols(m, k, G * K);
    void *dq = s->all_dqkv, *dk = lm_cols_mut(m, dq, HK), *dv = lm_cols_mut(m, dk, G * K);
    f->sum_rows(m->d, s->all_qkv, ld, a->qkv, ld, NULL, s->share.spread, p->T_all, ld);
    f->sum_rows(m->d, s->all_o, HK, a->o, HK, NULL, s->share.spread, p->T_all, HK);
    f->zero(m->d, s->all_do, (size_t)(p->T_all * HK) * lm_act_size(m->d));
    f->store_rows(m->d, s->all_do, HK, s->d_o, HK, s->share.home, p->T, HK);
    f->attention_bwd(m->d, dq, dk, dv, s->attn_delta, s->all_do, s->all_o, HK, a->lse, q, ld, k,
                     ld, v, ld, s->share.offsets, p->n_seqs, p->T_all, H, G, K,
                     1.0f / sqrtf((float)K));
    f->sum_rows(m->d, s->dqkv, ld, s->all_dqkv, ld, s->share.starts, s->share.copies, p->T, ld);
}

static void attention(struct lm *m, const struct lm_layer *y, const struct lm_saved *a,
                      const struct lm_piece *p)
{
    const struct lm_ops *f = m->d->ops;
    const struct lm_config *c = &m->c;
    struct lm_scratch *s = &m->acts.s;
    int64_t H = c->n_heads, G = c->n_kv_heads, K = c->d_head, T = p->T, ld = (H + 2 * G) * K;
    const void *q = a->qkv, *k = lm_cols(m, q, H * K), *v = lm_cols(m, k, G * K);
    void *dq = s->dqkv, *dk = lm_cols_mut(m, dq, H * K), *dv = lm_cols_mut(m, dk, G * K);
    if (p->is_shared)
        shared_attention(m, a, p);
    else
        f->attention_bwd(m->d, dq, dk, dv, s->attn_delta, s->d_o, a->o, H * K, a->lse, q, ld, k,
                         ld, v, ld, s->offsets, p->n_seqs, T, H, G, K, 1.0f / sqrtf((float)K));
    f->rope(m->d, dq, ld, s->positions, m->cos_sin, T, H + G, K, true); /* dk follows dq */
    if (!c->has_qk_norm)
        return;
    f->headnorm_bwd(m->d, dq, ld, lm_weight_grad(m, y->q_norm), a->qkv_raw, ld,
                    lm_weight(m, y->q_norm), a->rstd_q, T, H, K);
    f->headnorm_bwd(m->d, dk, ld, lm_weight_grad(m, y->k_norm), lm_cols(m, a->qkv_raw, H * K),
                    ld, lm_weight(m, y->k_norm), a->rstd_k, T, G, K);
}

static void attention_block(struct lm *m, const struct lm_layer *y, const struct lm_saved *a,
                            bool has_below, const struct lm_piece *p)
{
    struct lm_scratch *s = &m->acts.s;
    const struct lm_linear *qkv = &y->lin[GROUP_QKV], *o = &y->lin[GROUP_O];
    bool is_qkv_tuned = lm_linear_is_tuned(m, qkv);
    bool has_more = has_below || is_qkv_tuned;
    lm_linear_backward_input(m, o, has_more ? s->d_o : NULL, s->dx_act, p->T);
    if (lm_linear_is_tuned(m, o))
        lm_linear_backward_weights(m, o, s->dx_act, a->o, a->xa, p->T);
    if (!has_more)
        return;
    attention(m, y, a, p);
    lm_linear_backward_input(m, qkv, has_below ? s->delta : NULL, s->dqkv, p->T);
    if (has_below)
        norm_backward(m, a->x_in, y->norm1, a->rstd1, is_qkv_tuned, p->T);
    else if (is_qkv_tuned)
        renorm(m, a->x_in, y->norm1, p->T);
    if (is_qkv_tuned)
        lm_linear_backward_weights(m, qkv, s->dqkv, s->y, a->xa, p->T);
}

void lm_backward(struct lm *m, const struct lm_piece *p)
{
    const struct lm_ops *f = m->d->ops;
    struct lm_scratch *s = &m->acts.s;
    bool is_full = m->o.tuning == LM_TUNE_FULL;
    int64_t D = m->c.d_model;
    for (int64_t l = m->c.n_layers - 1; l >= 0; l--) {
        const struct lm_layer *y = &m->layers[l];
        bool has_below = l > 0 || is_full;
        bool is_attention_tuned = lm_linear_is_tuned(m, &y->lin[GROUP_QKV]) ||
                                  lm_linear_is_tuned(m, &y->lin[GROUP_O]);
        if (m->o.recompute && l + 1 < m->c.n_layers) /* the last one's are still there */
            lm_forward_again(m, l, p);
        mlp(m, y, &m->acts.saved[l], has_below || is_attention_tuned, p->T);
        if (has_below || is_attention_tuned)
            attention_block(m, y, &m->acts.saved[l], has_below, p);
    }
    if (is_full)
        f->embed_bwd(m->d, lm_weight_grad(m, m->embed), s->dx, s->ids, s->order, p->T, D,
                     m->c.n_vocab);
}
