/* SPDX-License-Identifier: MIT
 * score: forward only: losses, embeddings, logits. */
#include "base/mem.h"
#include "lm/model.h"

#include <stdlib.h>
#include <string.h>

/* Losses of the piece's rows, added to their sequences in order: the same sum for any cut. */
void lm_score_targets(struct lm *m, const struct lm_piece *p, float *loss, double *nll,
                      int64_t *count)
{
    lm_classify(m, p, false, 0);
    m->d->ops->download(m->d, loss, m->acts.s.losses, (size_t)p->n_rows * sizeof *loss);
    for (int64_t i = 0; i < p->n_rows; i++) {
        if (nll)
            nll[p->row_seq[i]] += (double)loss[i];
        if (count)
            count[p->row_seq[i]]++;
    }
}

static void pool(struct lm *m, const struct lm_piece *p, float *host, float *pooled)
{
    const struct lm_ops *f = m->d->ops;
    struct lm_scratch *s = &m->acts.s;
    size_t D = (size_t)m->c.d_model;
    if (p->is_shared) {
        f->sum_rows(m->d, s->all_qkv, m->c.d_model, s->y, m->c.d_model, NULL, s->share.spread,
                    p->T_all, m->c.d_model);
        f->segment_mean(m->d, s->pooled, s->all_qkv, s->share.offsets, p->n_seqs, m->c.d_model);
    } else {
        f->segment_mean(m->d, s->pooled, s->y, s->offsets, p->n_seqs, m->c.d_model);
    }
    f->download(m->d, host, s->pooled, (size_t)p->n_seqs * D * sizeof *host);
    for (int64_t i = 0; i < p->n_seqs && p->seq[i] < p->n_whole; i++)
        memcpy(pooled + (size_t)p->seq[i] * D, host + (size_t)i * D, D * sizeof *host);
}

int lm_embed(struct lm *m, const struct lm_batch *b, int64_t n_pooled, float *pooled,
             double *nll, int64_t *count, struct err *e)
{
    struct err local = ERR_INIT;
    struct lm_piece p = {.n_whole = n_pooled};
    float *loss = NULL, *host = NULL;
    size_t cap_loss = 0, cap_host = 0;
    size_t D = (size_t)m->c.d_model, n = (size_t)b->n_seqs;
    bool has_pooled = n_pooled > 0;

    e = e ? e : &local;
    int code = lm_batch_check(m, b, e);
    if (code < 0)
        return code;
    if (has_pooled)
        memset(pooled, 0, (size_t)n_pooled * D * sizeof *pooled);
    for (size_t i = 0; i < n; i++) {
        if (nll)
            nll[i] = 0;
        if (count)
            count[i] = 0;
    }
    enum lm_piece_mode mode = has_pooled ? PIECE_ALL : PIECE_TARGETS;
    while ((code = lm_piece_next(m, b, mode, false, &p, e)) > 0) {
        lm_forward(m, &p, false);
        if (p.seq[0] < n_pooled) {
            MEM_GROW(host, cap_host, (size_t)p.n_seqs * D);
            pool(m, &p, host, pooled);
        }
        if (nll || count) {
            MEM_GROW(loss, cap_loss, p.n_rows);
            lm_score_targets(m, &p, loss, nll, count);
        }
        lm_tell_work(m, (double)p.T_all);
    }
    lm_piece_free(&p);
    free(host);
    free(loss);
    return code;
}

int lm_nll(struct lm *m, const struct lm_batch *b, double *nll, int64_t *count, struct err *e)
{
    return lm_embed(m, b, 0, NULL, nll, count, e);
}

int lm_mean_nll(struct lm *m, const struct lm_batch *b, double *mean, int64_t *bad,
                struct err *e)
{
    double *nll = mem_alloc((size_t)b->n_seqs, sizeof *nll), sum = 0;
    int64_t *count = mem_alloc((size_t)b->n_seqs, sizeof *count), n = 0;
    int rc = lm_nll(m, b, nll, count, e);
    for (int64_t i = 0; !rc && i < b->n_seqs; i++) {
        if (!isfinite(nll[i])) {
            rc = err_set(e, ERR_NONFINITE, "the loss is not finite");
            if (bad)
                *bad = i;
        }
        sum += nll[i];
        n += count[i];
    }
    if (!rc && !n)
        rc = err_set(e, ERR_EMPTY, "no token counts in the loss");
    if (!rc)
        *mean = sum / (double)n;
    free(nll);
    free(count);
    return rc;
}

/* Every token is a row: the classifier's chunks, without a loss. */
static void all_logits(struct lm *m, const struct lm_piece *p, float *logits)
{
    const struct lm_ops *f = m->d->ops;
    struct lm_scratch *s = &m->acts.s;
    int64_t D = m->c.d_model, V = m->c.n_vocab;
    for (int64_t at = 0; at < p->T; at += m->acts.cap_rows) {
        int64_t left = p->T - at, n = left < m->acts.cap_rows ? left : m->acts.cap_rows;
        f->linear_fwd_f32(m->d, s->logits, V, lm_cols(m, s->y, at * D), D, m->head.m, n);
        f->download(m->d, logits + at * V, s->logits, (size_t)(n * V) * sizeof *logits);
    }
}

int lm_logits(struct lm *m, const struct lm_batch *b, float *logits, struct err *e)
{
    struct err local = ERR_INIT;
    struct lm_piece p = {.is_apart = true, .n_whole = b->n_seqs}; /* a row a token */
    int64_t done = 0;

    e = e ? e : &local;
    int code = lm_batch_check(m, b, e);
    if (code < 0)
        return code;
    while ((code = lm_piece_next(m, b, PIECE_ALL, false, &p, e)) > 0) {
        lm_forward(m, &p, false);
        all_logits(m, &p, logits + done * m->c.n_vocab);
        done += p.T;
    }
    lm_piece_free(&p);
    return code;
}
