/* SPDX-License-Identifier: MIT
 * along: a training's state taken out and put back, and gradients compared with a direction
 * without leaving the engine. */
#include "base/mem.h"
#include "lm/model.h"

#include <stdlib.h>

int64_t lm_n_values(const struct lm *m)
{
    return m->is_trainable ? (m->o.tuning == LM_TUNE_FULL ? m->base.n_floats : m->lora.n_floats)
                           : 0;
}

void lm_state_get(struct lm *m, struct lm_state *s)
{
    const struct lm_ops *f = m->d->ops;
    size_t bytes = (size_t)lm_n_values(m) * sizeof(float);
    s->values = s->values ? s->values : mem_aligned(bytes);
    s->moment1 = s->moment1 ? s->moment1 : mem_aligned(bytes);
    s->moment2 = s->moment2 ? s->moment2 : mem_aligned(bytes);
    f->download(m->d, s->values, lm_trainable_block(m), bytes);
    f->download(m->d, s->moment1, m->moment1, bytes);
    f->download(m->d, s->moment2, m->moment2, bytes);
    s->n_steps = m->n_steps;
}

void lm_state_set(struct lm *m, const struct lm_state *s)
{
    const struct lm_ops *f = m->d->ops;
    size_t bytes = (size_t)lm_n_values(m) * sizeof(float);
    f->upload(m->d, lm_trainable_block(m), s->values, bytes);
    f->upload(m->d, m->moment1, s->moment1, bytes);
    f->upload(m->d, m->moment2, s->moment2, bytes);
    m->n_steps = s->n_steps;
    if (m->o.tuning == LM_TUNE_FULL)
        lm_weights_refresh(m);
    else
        lm_lora_refresh(m);
}

void lm_state_free(struct lm_state *s)
{
    free(s->values);
    free(s->moment1);
    free(s->moment2);
    *s = (struct lm_state){0};
}

void lm_gradient_get(struct lm *m, float *dst)
{
    m->d->ops->download(m->d, dst, m->grads, (size_t)lm_n_values(m) * sizeof *dst);
}

/* What a step would move by, without the rate: m'/(sqrt(v') + eps) with the moments that the
 * gradient would leave, each corrected for its start. */
struct adam {
    double beta1, beta2, eps, correct1, correct2;
};

static struct adam adam_of(const struct lm *m)
{
    double t = (double)m->n_steps + 1;
    return (struct adam){m->o.beta1, m->o.beta2, m->o.eps, 1 / (1 - pow(m->o.beta1, t)),
                         1 / (1 - pow(m->o.beta2, t))};
}

static double applied(const struct adam *a, double g, double m1, double m2)
{
    double m = (a->beta1 * m1 + (1 - a->beta1) * g) * a->correct1;
    double v = (a->beta2 * m2 + (1 - a->beta2) * g * g) * a->correct2;
    return m / (sqrt(v) + a->eps);
}

/* Sums in blocks of fixed size, in order: the same for any number of threads. */
int lm_adam_along(struct lm *m, const struct lm_state *s, const float *direction, double *dot,
                  double *norm)
{
    enum { BLOCK = 1 << 14 };
    int64_t n = lm_n_values(m), n_blocks = (n + BLOCK - 1) / BLOCK;
    const struct adam a = adam_of(m);
    float *g = mem_aligned((size_t)n * sizeof *g);
    double *part = mem_zalloc((size_t)n_blocks * 2, sizeof *part), square = 0;
    lm_gradient_get(m, g);
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < n_blocks; b++)
        for (int64_t i = b * BLOCK; i < n && i < (b + 1) * BLOCK; i++) {
            double x = applied(&a, (double)g[i], (double)s->moment1[i], (double)s->moment2[i]);
            part[2 * b] += x * (double)direction[i];
            part[2 * b + 1] += x * x;
        }
    *dot = 0;
    for (int64_t b = 0; b < n_blocks; b++) {
        *dot += part[2 * b];
        square += part[2 * b + 1];
    }
    *norm = sqrt(square);
    free(part);
    free(g);
    return isfinite(*dot) && isfinite(*norm) ? 0 : ERR_NONFINITE;
}
