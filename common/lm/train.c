/* SPDX-License-Identifier: MIT
 * train: gradients of a whole batch, AdamW, schedules. */
#include "base/mem.h"
#include "lm/model.h"

#include <stdlib.h>

/* Backward is a pass for the inputs' gradients and, where all weights are tuned, one for
 * theirs. */
double lm_step_passes(const struct lm *m)
{
    return (m->o.tuning == LM_TUNE_FULL ? 3 : 2) + (m->o.recompute ? 1 : 0);
}

/* Gradients of the batch's mean loss, summed over its pieces, into m->grads. The scale is one
 * over the targets of the *whole* batch, so how it was cut does not weigh. */
static int accumulate(struct lm *m, const struct lm_batch *b, struct lm_step_stats *s,
                      double *nll, struct err *e)
{
    struct lm_piece p = {0};
    float *loss = NULL;
    size_t cap_loss = 0;
    double sum = 0;
    int code;

    if (!m->is_trainable)
        return err_set(e, ERR_RANGE, "%s: opened without tuning", m->path);
    if ((code = lm_batch_check(m, b, e)) < 0)
        return code;
    *s = (struct lm_step_stats){.n_tokens = b->n_tokens, .n_targets = lm_batch_targets(b)};
    if (!s->n_targets)
        return err_set(e, ERR_EMPTY, "batch of %lld sequences: no token counts in the loss",
                       (long long)b->n_seqs);
    for (int64_t i = 0; nll && i < b->n_seqs; i++)
        nll[i] = 0;
    m->d->ops->zero(m->d, m->grads, (size_t)lm_trainable(m)->n_floats * 4);
    while ((code = lm_piece_next(m, b, PIECE_TARGETS, true, &p, e)) > 0) {
        MEM_GROW(loss, cap_loss, p.n_rows);
        lm_forward(m, &p, true);
        lm_classify(m, &p, true, (float)(1 / (double)s->n_targets));
        lm_backward(m, &p);
        /* Only now, as it waits for the device. */
        m->d->ops->download(m->d, loss, m->acts.s.losses, (size_t)p.n_rows * sizeof *loss);
        for (int64_t i = 0; i < p.n_rows; i++) {
            sum += (double)loss[i];
            if (nll)
                nll[p.row_seq[i]] += (double)loss[i];
        }
        lm_tell_work(m, (double)p.T_all * lm_step_passes(m));
    }
    lm_piece_free(&p);
    free(loss);
    if (code < 0)
        return code;
    s->loss = sum / (double)s->n_targets;
    s->grad_norm = sqrt(m->d->ops->sumsq(m->d, m->grads, lm_trainable(m)->n_floats));
    if (!isfinite(s->loss) || !isfinite(s->grad_norm))
        return err_set(e, ERR_NONFINITE, "batch of %lld sequences: the %s is not finite",
                       (long long)b->n_seqs, isfinite(s->loss) ? "gradient" : "loss");
    return 0;
}

int lm_gradient(struct lm *m, const struct lm_batch *b, struct lm_step_stats *s, struct err *e)
{
    struct err local = ERR_INIT;
    return accumulate(m, b, s, NULL, e ? e : &local);
}

/* Matrices decay, norms and biases do not; the block has the matrices first. */
static void update(struct lm *m, const struct lm_adamw *h)
{
    const struct lm_ops *f = m->d->ops;
    const struct lm_table *t = lm_trainable(m);
    float *p = lm_trainable_block(m);
    int64_t n = t->n_matrix, rest = t->n_floats - n;
    struct lm_adamw plain = *h;
    plain.weight_decay = 0;
    f->adamw(m->d, p, m->moment1, m->moment2, m->grads, n, h);
    if (rest)
        f->adamw(m->d, p + n, m->moment1 + n, m->moment2 + n, m->grads + n, rest, &plain);
}

int lm_step(struct lm *m, const struct lm_batch *b, double lr, struct lm_step_stats *s,
            struct err *e)
{
    return lm_step_each(m, b, lr, s, NULL, e);
}

int lm_step_each(struct lm *m, const struct lm_batch *b, double lr, struct lm_step_stats *s,
                 double *nll, struct err *e)
{
    struct err local = ERR_INIT;
    struct lm_step_stats own = {0};
    s = s ? s : &own;
    int code = accumulate(m, b, s, nll, e ? e : &local);
    if (code < 0)
        return code;
    const struct lm_options *o = &m->o;
    double scale = 1;
    if (o->clip > 0 && s->grad_norm > o->clip)
        scale = o->clip / (s->grad_norm + 1e-6); /* as torch's clip_grad_norm_ */
    const struct lm_adamw h = {.lr = lr,
                               .beta1 = o->beta1,
                               .beta2 = o->beta2,
                               .eps = o->eps,
                               .weight_decay = o->weight_decay,
                               .step = ++m->n_steps,
                               .grad_scale = scale};
    update(m, &h);
    if (o->tuning == LM_TUNE_FULL)
        lm_weights_refresh(m);
    else
        lm_lora_refresh(m);
    return 0;
}

double lm_schedule_factor(enum lm_schedule s, int64_t t, int64_t n_warmup, int64_t n_steps)
{
    if (t <= n_warmup)
        return n_warmup > 0 ? (double)t / (double)n_warmup : 1;
    if (s == LM_CONSTANT || n_steps <= n_warmup)
        return 1;
    /* As transformers counts: full rate at the first step after the warm-up, and the last step
     * still moves (its factor would be 0 if t itself were counted). */
    double done = (double)(t - 1 - n_warmup) / (double)(n_steps - n_warmup);
    done = done > 1 ? 1 : done;
    return s == LM_LINEAR ? 1 - done : 0.5 * (1 + cos(3.14159265358979323846 * done));
}
