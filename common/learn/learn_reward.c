/* SPDX-License-Identifier: MIT
 * learn_reward: the learner "reward-model", its row and its updates; see learn_reward.h. */
#include "learn/learn_reward.h"

#include "base/mem.h"
#include "learn/prior.h"
#include "learn/reward_fit.h"
#include "policy/linear.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum reward_metric {
    R_ITERATION,
    R_ROWS,
    R_STAGE_SHARE,
    R_STAGE_SD,
    R_S2,
    R_SIGMA,
    R_NO_PRIOR,
    R_PRIOR_SCALE,
    R_V_KNOWN,
    R_V_UNKNOWN,
    R_PAYBACK,
    R_LOG_EVIDENCE,
    R_EXPLAINED,
    R_WORTH,
    R_WORTH_SD,
    R_RESOLUTION,
    R_EPISODES,
    R_STEPS,
    R_MEAN_RETURN,
    R_REWARD_SD,
    N_REWARD_METRICS
};
static const char *const metrics[N_REWARD_METRICS + 1] = {
    [R_ITERATION] = "iteration",
    [R_ROWS] = "rows",
    [R_STAGE_SHARE] = "stage_share",
    [R_STAGE_SD] = "stage_sd",
    [R_S2] = "s2",
    [R_SIGMA] = "sigma",
    [R_NO_PRIOR] = "no_prior",
    [R_PRIOR_SCALE] = "prior_scale",
    [R_V_KNOWN] = "v_known",
    [R_V_UNKNOWN] = "v_unknown",
    [R_PAYBACK] = "payback",
    [R_LOG_EVIDENCE] = "log_evidence",
    [R_EXPLAINED] = "explained_variance",
    [R_WORTH] = "worth",
    [R_WORTH_SD] = "worth_sd",
    [R_RESOLUTION] = "resolution",
    [R_EPISODES] = "episodes",
    [R_STEPS] = "steps",
    [R_MEAN_RETURN] = "mean_return",
    [R_REWARD_SD] = "reward_sd",
};

/* ---- prior ---- */

static void take_prior(struct policy *p, const struct reward_options *o)
{
    struct reward_model *x = reward_model_of(p);
    int64_t n_all[32] = {0};
    size_t n = (size_t)x->n;
    free(x->prior);
    free(x->share);
    free(x->center);
    x->prior = mem_zalloc(n, sizeof *x->prior);
    x->share = mem_zalloc(n, sizeof *x->share);
    x->center = mem_zalloc(n, sizeof *x->center);
    prior_weights(&p->state, o->prior, x->prior);
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < p->state.n_cols; i++) {
            const struct state_col *c = &p->state.cols[i];
            const struct prior_part *part = prior_part_of(c->row->part);
            int bit = 0;
            while (c->row->part >> bit > 1)
                bit++;
            if (c->phi_at < 0)
                continue;
            n_all[bit] += pass ? 0 : c->width;
            for (int64_t k = c->phi_at; k < c->phi_at + c->width && pass; k++)
                x->share[k] = part->share / (double)n_all[bit];
        }
}

static bool has_prior(const struct reward_model *x)
{
    bool has = false;
    for (int64_t k = 0; k < x->n && x->prior; k++)
        has = has || x->prior[k] != 0;
    return has;
}

/* The posterior of no rewards. */
static void take_no_rewards(struct reward_model *x)
{
    x->n_rows = 0;
    x->s2 = 1;
    x->stage_sd = 0;
    for (int64_t i = 0; i < x->n; i++) {
        x->mu[i] = x->prior[i];
        for (int64_t j = 0; j < x->n; j++)
            x->sigma[i * x->n + j] = i == j ? x->share[i] : 0;
        x->center[i] = 0;
    }
}

/* ---- the update ---- */

/* The mean of phi over each batch of an episode, in units of phi'. */
static void add_episode(struct reward_rows *rows, const struct policy *p,
                        const struct features *f, const struct traj *t, const double *center,
                        const double *unit)
{
    int64_t n = rows->p;
    float *phi = mem_alloc((size_t)n, sizeof *phi);
    for (int64_t k = 0; k < t->n_steps; k++, rows->n++) {
        int64_t first = t->list_offset[k * t->n_classes];
        int64_t last = t->list_offset[(k + 1) * t->n_classes];
        double *x = rows->x + rows->n * n;
        for (int64_t i = first; i < last; i++) {
            state_row(&p->state, f, t->pick[i], phi);
            for (int64_t j = 0; j < n; j++)
                x[j] += ((double)phi[j] - center[j]) / unit[j] / (double)(last - first);
        }
        rows->r[rows->n] = t->perf[k + 1] - t->perf[k];
        rows->step[rows->n] = k;
    }
    rows->n_steps = t->n_steps > rows->n_steps ? t->n_steps : rows->n_steps;
    free(phi);
}

static void rows_open(struct reward_rows *rows, const struct policy *p,
                      const struct features *f, const struct episodes *eps,
                      const double *center, const double *unit)
{
    size_t n = (size_t)eps->n_rows, width = (size_t)p->state.n_static;
    *rows = (struct reward_rows){.p = p->state.n_static,
                                 .x = mem_zalloc(n * width, sizeof *rows->x),
                                 .r = mem_zalloc(n, sizeof *rows->r),
                                 .step = mem_zalloc(n, sizeof *rows->step)};
    for (int64_t i = 0; i < eps->n; i++)
        add_episode(rows, p, f, eps->traj[i], center, unit);
}

static void rows_close(struct reward_rows *rows)
{
    free(rows->x);
    free(rows->r);
    free(rows->step);
}

/* The posterior, a unit of phi' in fit, a unit of phi in the policy. */
static void take_posterior(struct reward_model *x, const struct reward_fit *fit,
                           const double *center, const double *unit)
{
    size_t bytes = (size_t)x->n * sizeof(double);
    x->n_rows = fit->n_rows;
    x->s2 = fit->s2;
    x->stage_sd = fit->sd;
    memcpy(x->center, center, bytes);
    for (int64_t i = 0; i < x->n; i++) {
        x->mu[i] = fit->mean[i] / unit[i];
        for (int64_t j = 0; j < x->n; j++)
            x->sigma[i * x->n + j] = fit->cov[i * x->n + j] / (unit[i] * unit[j]);
    }
}

/* Scores that are deployed, of standard deviation kappa, centred; uniform where nothing is told
 * apart. Rows that were never in a shortlist come after all that were. */
static void score_deployed(const struct policy *p, const struct features *f, double *y)
{
    const struct reward_model *x = reward_model_of(p);
    bool *is_tried = mem_zalloc((size_t)f->n, sizeof *is_tried);
    double mean = 0, square = 0;
    reward_believe(p, f, y);
    for (int64_t i = 0; i < f->n; i++)
        mean += y[i] / (double)f->n;
    for (int64_t i = 0; i < f->n; i++)
        square += (y[i] - mean) * (y[i] - mean);
    double sd = sqrt(square / (double)f->n), scale = sd > 1e-12 ? x->kappa / sd : 0;
    for (int64_t i = 0; i < x->n_tried; i++)
        is_tried[x->tried[i]] = true;
    for (int64_t i = 0; i < f->n; i++) {
        y[i] = scale * (y[i] - mean);
        if (x->tried && !is_tried[i])
            y[i] = reward_below(y[i]);
    }
    free(is_tried);
}

/* Mean of phi over the best n rows: those that are deployed, or by the prior alone. */
static void mean_of_best(const struct policy *p, const struct features *f, bool is_prior,
                         int64_t n, double *mean)
{
    int64_t width = p->state.n_static;
    double *score = mem_alloc((size_t)f->n, sizeof *score);
    int64_t *rows = mem_alloc((size_t)n, sizeof *rows);
    double *unit = mem_alloc((size_t)width, sizeof *unit);
    if (is_prior)
        reward_rank(p, f, reward_model_of(p)->prior, 0, score);
    else
        score_deployed(p, f, score);
    reward_best(score, f->n, n, 0, rows);
    reward_scale(p, f, rows, n, mean, unit);
    free(score);
    free(rows);
    free(unit);
}

/* What the learned choice of n rows is worth over the prior's in an episode of T steps, nats,
 * and its deviation. Without a prior that is a choice by chance, the pool's mean, 0. */
static void tell_worth(const struct policy *p, const struct features *f, int64_t T, int64_t n,
                       double *m)
{
    const struct reward_model *x = reward_model_of(p);
    double *d = mem_zalloc(2 * (size_t)x->n, sizeof *d), *q = d + x->n, mean = 0, var = 0;
    n = n < f->n ? n : f->n;
    mean_of_best(p, f, false, n, d);
    if (has_prior(x))
        mean_of_best(p, f, true, n, q);
    for (int64_t i = 0; i < x->n; i++)
        d[i] -= q[i];
    for (int64_t i = 0; i < x->n; i++) {
        mean += d[i] * x->mu[i];
        for (int64_t j = 0; j < x->n; j++)
            var += d[i] * x->sigma[i * x->n + j] * d[j];
    }
    m[R_WORTH] = (double)T * x->stage_sd * mean;
    m[R_WORTH_SD] = (double)T * x->stage_sd * sqrt(var > 0 ? var : 0);
    free(d);
}

/* Choosing the better half by a column moves a batch by 0.8 of its deviations; see
 * raise-ppo(1). */
static double resolution(double sigma, double tau, double T, double K)
{
    return tau > 0 ? T * 0.8 * sigma / (tau * sqrt(K * T)) : (double)NAN;
}

static void tell(struct learn_report *r, const struct policy *p, const struct episodes *eps,
                 const struct reward_fit *fit, const struct features *f)
{
    const struct traj *last = eps->traj[eps->n - 1];
    double *m = learn_report_row(r), T = (double)last->n_steps;
    m[R_ITERATION] = (double)(p->iteration + 1);
    m[R_ROWS] = (double)fit->n_rows;
    m[R_EPISODES] = (double)eps->n;
    m[R_STEPS] = T;
    m[R_MEAN_RETURN] = eps->mean_return;
    m[R_REWARD_SD] = eps->sd;
    if (!fit->n_rows) {
        for (int k = R_STAGE_SHARE; k <= R_RESOLUTION; k++)
            m[k] = (double)NAN;
        return;
    }
    m[R_STAGE_SHARE] = fit->stage_share;
    m[R_STAGE_SD] = fit->sd;
    m[R_S2] = fit->s2;
    m[R_SIGMA] = fit->sd * sqrt(fit->s2);
    m[R_NO_PRIOR] = fit->no_prior;
    m[R_PRIOR_SCALE] = fit->a;
    m[R_V_KNOWN] = fit->vk;
    m[R_V_UNKNOWN] = fit->vu;
    m[R_PAYBACK] = fit->c;
    m[R_LOG_EVIDENCE] = fit->evidence;
    m[R_EXPLAINED] = fit->explained;
    m[R_RESOLUTION] = resolution(m[R_SIGMA], fit->tau, T, (double)eps->n);
    tell_worth(p, f, last->n_steps, last->n_steps * last->batch, m);
}

static int fit_rows(const struct policy *p, const struct reward_rows *rows, const double *unit,
                    double memory, struct reward_fit *fit, struct err *e)
{
    const struct reward_model *x = reward_model_of(p);
    double *w0 = mem_alloc((size_t)x->n, sizeof *w0);
    bool *is_known = mem_zalloc((size_t)x->n, sizeof *is_known);
    for (int64_t i = 0; i < p->state.n_cols; i++) {
        const struct state_col *c = &p->state.cols[i];
        for (int64_t k = 0; k < c->width && c->phi_at >= 0; k++)
            is_known[c->phi_at + k] = prior_part_of(c->row->part)->w0 != 0;
    }
    for (int64_t k = 0; k < x->n; k++)
        w0[k] = x->prior[k] * unit[k];
    const struct reward_prior prior = {w0, x->share, is_known, memory};
    int rc = reward_fit(rows, &prior, fit, e);
    free(w0);
    free(is_known);
    return rc;
}

/* Episodes that the posterior takes over from the prior with: two leave a row a step, by which
 * the third was the worst of nearly every run. Without a prior there is nothing better. */
static int64_t fewest(const struct reward_model *x)
{
    return has_prior(x) ? 3 : 2;
}

static int update(struct policy *p, const struct features *f, const struct episodes *eps,
                  const void *options, struct learn_report *r, struct err *e)
{
    const struct reward_options *o = options;
    struct reward_model *x = reward_model_of(p);
    const struct traj *last = eps->traj[eps->n - 1];
    size_t n_static = (size_t)x->n;
    struct reward_rows rows;
    struct reward_fit fit;
    int64_t n;
    if (reward_is_old(x))
        take_prior(p, o); /* a policy of before there was one: it still explores as it did */
    free(x->beta);
    x->beta = NULL;
    x->v = (double)NAN;
    double *center = mem_alloc(2 * n_static, sizeof *center), *unit = center + n_static;
    int64_t *list = reward_shortlist(p, f, last->n_steps * last->batch, &n);
    reward_scale(p, f, list, n, center, unit);
    rows_open(&rows, p, f, eps, center, unit);
    int rc = fit_rows(p, &rows, unit, o->memory, &fit, e);
    if (!rc) {
        x->memory = o->memory;
        if (fit.n_rows && eps->n >= fewest(x))
            take_posterior(x, &fit, center, unit);
        else
            take_no_rewards(x);
        reward_move(p, f, list, n);
        tell(r, p, eps, &fit, f);
    }
    reward_fit_free(&fit);
    rows_close(&rows);
    free(list);
    free(center);
    return rc;
}

/* ---- the row ---- */

static void size(struct policy *p, const void *options)
{
    static const struct reward_options before = REWARD_OPTIONS_DEFAULTS;
    struct reward_model *x = reward_model_of(p);
    x->n = p->state.n_static;
    x->n_tried = options ? 0 : -1;
    x->rho = before.rho;
    x->shortlist = before.shortlist;
    x->caution = before.caution;
    x->v = (double)NAN;
    strcpy(x->explore, "thompson"); /* what a file without the key does */
}

static int init(struct policy *p, const struct features *f, const void *options, uint64_t seed,
                struct err *e)
{
    const struct reward_options *o = options;
    struct reward_model *x = reward_model_of(p);
    (void)f;
    (void)seed;
    (void)e;
    x->kappa = o->kappa;
    x->memory = o->memory;
    x->rho = o->rho;
    x->shortlist = o->shortlist;
    x->caution = o->caution;
    take_prior(p, o);
    take_no_rewards(x);
    bool is_pairs = o->explore == EXPLORE_AUTO ? has_prior(x) : o->explore == EXPLORE_PAIRS;
    strcpy(x->explore, is_pairs ? "pairs" : "thompson");
    return 0;
}

static bool picks_best(const struct policy *p)
{
    return reward_is_pairs(reward_model_of(p));
}

static int score(const struct policy *p, const struct features *f, const struct policy_stage *s,
                 const uint16_t *counts, bool is_deployed, uint64_t seed, float *scores,
                 struct err *e)
{
    const struct reward_model *x = reward_model_of(p);
    (void)counts;
    if (reward_check_lists(p, f, e) < 0)
        return e->code;
    if (is_deployed && !reward_is_old(x)) {
        double *y = mem_alloc((size_t)f->n, sizeof *y);
        score_deployed(p, f, y);
        for (int64_t i = 0; i < f->n; i++)
            scores[i] = (float)y[i];
        free(y);
        return 0;
    }
    if (!is_deployed && reward_is_pairs(x)) {
        reward_score_pairs(p, f, s, seed, scores);
        return 0;
    }
    double *w = mem_dup(x->mu, (size_t)x->n * sizeof *w);
    int rc = is_deployed ? 0 : linear_draw(x->mu, x->sigma, x->n, seed, s->t, w, e);
    if (!rc)
        linear_score(&p->state, f, w, x->kappa, scores);
    free(w);
    return rc;
}

static double weights(const struct policy *p, double *mean, double *standard_error,
                      double *prior)
{
    const struct reward_model *x = reward_model_of(p);
    for (int64_t i = 0; i < x->n; i++) {
        mean[i] = x->mu[i];
        standard_error[i] = sqrt(x->sigma[i * x->n + i]);
        if (prior)
            prior[i] = x->prior ? x->prior[i] : 0;
    }
    return x->kappa;
}

static char *outlook(const struct policy *p, const struct learn_report *r)
{
    double at = r ? learn_report_value(r, r->n_rows - 1, "resolution") : (double)NAN;
    (void)p;
    if (!isfinite(at))
        return mem_strdup("what K episodes of T steps can resolve: a column's worth has a "
                          "deviation of 2 sigma sqrt(T/K) nats of the final loss; sigma, the "
                          "noise of a step, is known from the second episode on");
    double K = learn_report_value(r, r->n_rows - 1, "episodes");
    double sigma = learn_report_value(r, r->n_rows - 1, "sigma");
    return mem_printf(
        "sigma is %.3g nats a step: a column's worth has a deviation of %.2g nats "
        "of the final loss, after %g more episodes %.2g; the learned choice is "
        "worth %+.2g over the prior's, deviation %.2g",
        sigma, at, K, at / sqrt(2), learn_report_value(r, r->n_rows - 1, "worth"),
        learn_report_value(r, r->n_rows - 1, "worth_sd"));
}

#define OWN(type, field) ST_FIELD(struct reward_model, type, field)
#define COUNT(field) ST_COUNT(struct reward_model, field)
static const struct st_size sizes[] = {{"p", COUNT(n)}, {"k", COUNT(n_tried)}, {NULL, 0}};
static const struct st_column columns[] = {
    {"mu", OWN(ST_F64, mu), "[p]", ST_FINITE},
    {"sigma", OWN(ST_F64, sigma), "[p, p]", ST_FINITE},
    {"beta", OWN(ST_F64, beta), "[6]", ST_FINITE | ST_OPTIONAL},
    {"prior", OWN(ST_F64, prior), "[p]", ST_FINITE | ST_OPTIONAL},
    {"share", OWN(ST_F64, share), "[p]", ST_FINITE | ST_OPTIONAL},
    {"center", OWN(ST_F64, center), "[p]", ST_FINITE | ST_OPTIONAL},
    {"tried", OWN(ST_I64, tried), "[k]", ST_OPTIONAL},
    {"listed", OWN(ST_I32, listed), "[k]", ST_OPTIONAL},
    {.name = NULL},
};
static const struct st_key keys[] = {
    {"raise.kappa", OWN(ST_KEY_REAL, kappa), .max = 1e6},
    {"raise.memory", OWN(ST_KEY_REAL, memory), .max = 1},
    {"raise.s2", OWN(ST_KEY_REAL, s2), .flags = 0},
    {"raise.v", OWN(ST_KEY_REAL, v), .flags = ST_OPTIONAL},
    {"raise.explore", OWN(ST_KEY_TEXT, explore), .flags = ST_OPTIONAL},
    {"raise.rho", OWN(ST_KEY_REAL, rho), .max = 1e6, .flags = ST_OPTIONAL},
    {"raise.shortlist", OWN(ST_KEY_REAL, shortlist), .max = 1e9, .flags = ST_OPTIONAL},
    {"raise.caution", OWN(ST_KEY_REAL, caution), .max = 1e6, .flags = ST_OPTIONAL},
    {"raise.stage_sd", OWN(ST_KEY_REAL, stage_sd), .max = 1e300, .flags = ST_OPTIONAL},
    {"raise.n_rows", OWN(ST_KEY_INT, n_rows), .max = 1e15, .flags = ST_OPTIONAL},
    {.name = NULL},
};
static const struct st_table table = {NULL, sizes, columns, keys};

#define AT(field) offsetof(struct reward_options, field)
static const char *const explores[] = {"auto", "pairs", "thompson", NULL};
static const struct opt options_table[] = {
    {0, "prior", OPT_REAL, AT(prior), "W",
     "with --init: weight of what is known to be good beforehand; 0: nothing is", -100, 100,
     NULL},
    {0, "explore", OPT_CHOICE, AT(explore), "HOW",
     "with --init: pairs of steps, or Thompson's draws; auto: pairs with a prior", 0, 0,
     explores},
    {0, "rho", OPT_REAL, AT(rho), "X", "with --init: size of a pair's direction", 0, 1e3, NULL},
    {0, "shortlist", OPT_REAL, AT(shortlist), "X",
     "with --init: explore the best X episodes' worth; 0: the pool", 0, 1e6, NULL},
    {0, "caution", OPT_REAL, AT(caution), "X",
     "with --init: deviations by which a score is lowered", 0, 100, NULL},
    {0, "kappa", OPT_REAL, AT(kappa), "X", "with --init: sharpness of Thompson's choice", 1e-3,
     100, NULL},
    {0, "memory", OPT_REAL, AT(memory), "X", "credit that a step passes on", 0, 0.999, NULL},
    {0, NULL, OPT_END, 0, NULL, NULL, 0, 0, NULL},
};
static const struct reward_options defaults = REWARD_OPTIONS_DEFAULTS;

const struct learner learner_reward_model = {
    .name = "reward-model",
    .help = "a Bayesian regression of the rewards on the batches",
    .options = options_table,
    .defaults = &defaults,
    .options_size = sizeof defaults,
    .needs_columns = true,
    .table = &table,
    .self_size = sizeof(struct reward_model),
    .metrics = metrics,
    .size = size,
    .init = init,
    .score = score,
    .picks_best = picks_best,
    .update = update,
    .weights = weights,
    .outlook = outlook,
};
