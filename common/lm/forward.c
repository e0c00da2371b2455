/* SPDX-License-Identifier: MIT
 * forward: the decoder.
 *
 *     x = embed(ids)
 *     each layer:  x += o_proj(attention(rope(qkv(norm1(x)))))       x_in  -> x_mid
 *                  x += down(silu(gate(norm2(x))) * up(norm2(x)))    x_mid -> next x_in
 *
 * A block's output ("delta") is added to the residual by the norm that follows, in one pass.
 * When training, x before each norm is kept: backward recomputes the normed rows from it. */
#include "lm/model.h"

/* to = from + delta, normed to y. In place when only forward runs. */
static void add_norm(struct lm *m, float *to, const float *from, int64_t norm, float *rstd,
                     int64_t T)
{
    const struct lm_ops *f = m->d->ops;
    struct lm_scratch *s = &m->acts.s;
    int64_t D = m->c.d_model;
    f->rmsnorm_fwd(m->d, s->y, rstd, to, from, s->delta, lm_weight(m, norm), T, D,
                   (float)m->c.norm_eps);
}

static void attention(struct lm *m, const struct lm_layer *y, struct lm_saved *a,
                      const struct lm_piece *p)
{
    const struct lm_ops *f = m->d->ops;
    const struct lm_config *c = &m->c;
    struct lm_scratch *s = &m->acts.s;
    int64_t H = c->n_heads, G = c->n_kv_heads, K = c->d_head, T = p->T, ld = (H + 2 * G) * K;
    void *q = a->qkv, *k = lm_cols_mut(m, q, H * K), *v = lm_cols_mut(m, k, G * K);
    if (c->has_qk_norm) {
        float eps = (float)c->norm_eps;
        if (a->qkv_raw)
            f->copy(m->d, a->qkv_raw, a->qkv, (size_t)(T * ld) * lm_act_size(m->d));
        f->headnorm_fwd(m->d, q, ld, a->rstd_q, lm_weight(m, y->q_norm), T, H, K, eps);
        f->headnorm_fwd(m->d, k, ld, a->rstd_k, lm_weight(m, y->k_norm), T, G, K, eps);
    }
    f->rope(m->d, q, ld, s->positions, m->cos_sin, T, H + G, K, false); /* k follows q */
    float scale = 1.0f / sqrtf((float)K);
    if (p->cache) { /* v follows k */
        int64_t width = 2 * G * K, l = y - m->layers;
        void *kept = lm_cols_mut(m, p->cache->block, l * p->cache->n_rows * width);
        f->store_rows(m->d, kept, width, k, ld, p->cache->cells, T, width);
        if (p->cache->first) {
            f->attention_cached(m->d, a->o, H * K, q, ld, kept, lm_cols(m, kept, G * K), width,
                                p->cache->first, p->cache->cells, T, H, G, K, scale);
            return;
        }
    }
    if (p->is_shared) {
        const void *all_q = s->all_qkv, *all_k = lm_cols(m, all_q, H * K);
        f->sum_rows(m->d, s->all_qkv, ld, q, ld, NULL, s->share.spread, p->T_all, ld);
        f->attention_fwd(m->d, s->all_o, H * K, a->lse, all_q, ld, all_k, ld,
                         lm_cols(m, all_k, G * K), ld, s->share.offsets, p->n_seqs, p->T_all, H,
                         G, K, scale);
        f->sum_rows(m->d, a->o, H * K, s->all_o, H * K, NULL, s->share.home, T, H * K);
        return;
    }
    f->attention_fwd(m->d, a->o, H * K, a->lse, q, ld, k, ld, v, ld, s->offsets, p->n_seqs, T,
                     H, G, K, scale);
}

/* From the normed input in s.y up to gate and up. */
static void to_gate_up(struct lm *m, const struct lm_layer *y, struct lm_saved *a,
                       const struct lm_piece *p)
{
    struct lm_scratch *s = &m->acts.s;
    lm_linear_forward(m, &y->lin[GROUP_QKV], a->qkv, s->y, a->xa, p->T);
    attention(m, y, a, p);
    lm_linear_forward(m, &y->lin[GROUP_O], s->delta, a->o, a->xa, p->T);
    add_norm(m, a->x_mid, a->x_in, y->norm2, a->rstd2, p->T);
    lm_linear_forward(m, &y->lin[GROUP_GATE_UP], a->gate_up, s->y, a->xa, p->T);
}

static void layer(struct lm *m, const struct lm_layer *y, struct lm_saved *a,
                  const struct lm_piece *p)
{
    struct lm_scratch *s = &m->acts.s;
    to_gate_up(m, y, a, p);
    m->d->ops->swiglu_fwd(m->d, s->h, a->gate_up, p->T, m->c.d_ff);
    lm_linear_forward(m, &y->lin[GROUP_DOWN], s->delta, s->h, a->xa, p->T);
}

/* The same operations on the same values, so the same bytes: a third more work for a tenth of
 * the activations. What `down` needs, h, backward makes from gate and up in any case. */
void lm_forward_again(struct lm *m, int64_t l, const struct lm_piece *p)
{
    struct lm_saved *a = &m->acts.saved[l];
    const struct lm_layer *y = &m->layers[l];
    m->d->ops->rmsnorm_fwd(m->d, m->acts.s.y, a->rstd1, a->x_in, a->x_in, NULL,
                           lm_weight(m, y->norm1), p->T, m->c.d_model, (float)m->c.norm_eps);
    to_gate_up(m, y, a, p);
}

/* Leaves the last residual in s.x_out and its final norm in s.y. */
void lm_forward(struct lm *m, const struct lm_piece *p, bool is_training)
{
    const struct lm_ops *f = m->d->ops;
    struct lm_acts *a = &m->acts;
    int64_t L = m->c.n_layers;
    struct lm_saved shared = a->saved[0]; /* forward alone: one layer's buffers, no snapshots */
    shared.x_mid = shared.x_in;
    shared.qkv_raw = NULL;
    struct lm_saved *own = is_training ? a->saved : &shared;
    const struct lm_matrix *embedding = lm_kept_embedding(m);
    if (embedding)
        f->kept_rows(m->d, own->x_in, embedding, a->s.ids, p->T);
    else
        f->embed_fwd(m->d, own->x_in, m->embed_act ? m->embed_act : lm_weight(m, m->embed),
                     m->embed_act != NULL, a->s.ids, p->T, m->c.d_model);
    f->rmsnorm_fwd(m->d, a->s.y, own->rstd1, own->x_in, own->x_in, NULL,
                   lm_weight(m, m->layers[0].norm1), p->T, m->c.d_model, (float)m->c.norm_eps);
    for (int64_t l = 0; l < L; l++) {
        layer(m, &m->layers[l], own, p);
        if (l + 1 == L)
            break;
        struct lm_saved *next = is_training ? own + 1 : own;
        add_norm(m, next->x_in, own->x_mid, m->layers[l + 1].norm1, next->rstd1, p->T);
        own = next;
    }
    add_norm(m, a->s.x_out, own->x_mid, m->norm_f, NULL, p->T);
}
