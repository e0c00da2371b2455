/* SPDX-License-Identifier: MIT
 * next: what may follow a sequence. The sequence is worked off once, whatever the number of
 * candidates; its last row is multiplied by the classifier once for each. */
#include "base/mem.h"
#include "lm/model.h"

#include <stdlib.h>
#include <string.h>

/* Candidate k of each of the piece's sequences that has so many becomes the rows to classify.
 */
static void take_candidates(struct lm *m, struct lm_piece *p, const struct lm_next *next,
                            int64_t k)
{
    struct lm_scratch *s = &m->acts.s;
    p->n_rows = 0;
    for (int64_t i = 0; i < p->n_seqs; i++) {
        int64_t seq = p->seq[i], at = next->offsets[seq] + k;
        if (at >= next->offsets[seq + 1])
            continue;
        p->rows[p->n_rows] = p->offsets[i + 1] - 1;
        p->targets[p->n_rows] = next->ids[at];
        p->row_seq[p->n_rows++] = at; /* where its loss goes */
    }
    if (!p->n_rows)
        return;
    m->d->ops->upload(m->d, s->rows, p->rows, (size_t)p->n_rows * sizeof *p->rows);
    m->d->ops->upload(m->d, s->targets, p->targets, (size_t)p->n_rows * sizeof *p->targets);
}

void lm_score_next(struct lm *m, struct lm_piece *p, const struct lm_next *next, float *loss,
                   double *nll)
{
    for (int64_t k = 0;; k++) {
        take_candidates(m, p, next, k);
        if (!p->n_rows)
            return;
        lm_classify(m, p, false, 0);
        m->d->ops->download(m->d, loss, m->acts.s.losses, (size_t)p->n_rows * sizeof *loss);
        for (int64_t i = 0; i < p->n_rows; i++)
            nll[p->row_seq[i]] = (double)loss[i];
    }
}

int lm_next_check(const struct lm *m, const struct lm_batch *b, const struct lm_next *next,
                  struct err *e)
{
    for (int64_t s = 0; s < b->n_seqs; s++)
        if (b->offsets[s] == b->offsets[s + 1] && next->offsets[s] < next->offsets[s + 1])
            return err_set(e, ERR_RANGE, "sequence %lld of the batch: nothing predicts a token",
                           (long long)s);
    for (int64_t i = 0; i < next->offsets[b->n_seqs]; i++)
        if (next->ids[i] < 0 || next->ids[i] >= m->c.n_vocab)
            return err_set(e, ERR_RANGE, "token %d: the model has %lld", (int)next->ids[i],
                           (long long)m->c.n_vocab);
    return 0;
}

int lm_next_nll(struct lm *m, const struct lm_batch *b, const struct lm_next *next, double *nll,
                struct err *e)
{
    struct err local = ERR_INIT;
    struct lm_piece p = {0};
    float *loss = NULL;
    size_t cap = 0;

    e = e ? e : &local;
    int code = lm_batch_check(m, b, e);
    if (code == 0)
        code = lm_next_check(m, b, next, e);
    if (code < 0)
        return code;
    while ((code = lm_piece_next(m, b, PIECE_LAST, false, &p, e)) > 0) {
        lm_forward(m, &p, false);
        MEM_GROW(loss, cap, p.n_seqs);
        lm_score_next(m, &p, next, loss, nll);
        lm_tell_work(m, (double)p.T_all);
    }
    lm_piece_free(&p);
    free(loss);
    return code;
}
