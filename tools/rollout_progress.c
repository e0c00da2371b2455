/* SPDX-License-Identifier: MIT
 * rollout: the bar, in tokens gone through; see rollout.h. */
#include "rollout.h"

static double row_tokens(const struct rollout *r, int64_t i)
{
    const struct features *f = &r->in.features;
    int64_t n = (int64_t)f->len_x[i] + f->len_y[i];
    return (double)(n < r->s.max_len ? n : r->s.max_len);
}

/* Tokens of the batches of steps t + 1 to T, forward and backward: of the rows that a plan
 * lists, else of rows of mean length. */
static double tokens_to_train(const struct rollout *r, int64_t t)
{
    const struct episode *k = &r->episode;
    double sum = 0;
    if (k->plan) {
        for (int64_t i = k->plan->step_offset[t]; i < k->plan->step_offset[k->n_steps]; i++)
            sum += row_tokens(r, k->plan->pick[i]);
    } else {
        for (int64_t i = 0; i < r->in.features.n; i++)
            sum += row_tokens(r, i);
        sum *= (double)((k->n_steps - t) * k->batch) / (double)r->in.features.n;
    }
    return sum * lm_step_passes(r->s.lm);
}

double rollout_work_left(const struct rollout *r, int64_t n)
{
    int64_t t = n ? n - 1 : 0;
    double val = (double)r->in.validation.pack.n_tokens;
    double test = r->o->test ? (double)r->in.test.pack.n_tokens : 0;
    return tokens_to_train(r, t) + (double)(r->episode.n_steps + 1 - n) * val + test;
}

static void on_work(void *arg, double n_tokens)
{
    struct rollout *r = arg;
    r->worked += n_tokens;
    log_bar_work(&r->bar, r->worked, r->work);
}

void rollout_begin_progress(struct rollout *r)
{
    bool has_test = r->o->test && !untrained_find(&r->untrained, r->test_key);
    r->work = rollout_work_left(r, r->episode.untrained ? 1 : 0) +
              (has_test ? (double)r->in.test.pack.n_tokens : 0);
    log_bar_start(&r->bar, "episode", "steps", (double)r->episode.n_steps);
    log_bar_work(&r->bar, 0, r->work);
    log_when_killed("nothing is kept of this episode; the same command begins it again%s",
                    r->checkpoint ? "" : " (--checkpoint keeps its steps)");
    lm_on_work(r->s.lm, on_work, r);
}

void rollout_end_progress(struct rollout *r)
{
    log_bar_work(&r->bar, r->worked, r->worked);
    log_bar_end(&r->bar);
    lm_on_work(r->s.lm, NULL, NULL);
}
