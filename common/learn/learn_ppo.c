/* SPDX-License-Identifier: MIT
 *
 * learn_ppo: the learner "ppo"; equations in learn_ppo.h.
 *
 * The critic and the advantages come from the rewards alone; the loss and its gradient from
 * replaying the episodes (learn_replay.h); then a step of Adam, epoch by epoch.
 */
#include "base/mem.h"
#include "base/rng.h"
#include "learn/learn_replay.h"
#include "learn/prior.h"
#include "policy/linalg.h"
#include "policy/linear.h"
#include "policy/scorer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- critic and advantages ---- */

/* Discounted returns G_t of one episode. */
static void returns(const double *r, int64_t T, double gamma, double *G)
{
    double next = 0;
    for (int64_t k = T - 1; k >= 0; k--)
        G[k] = next = r[k] + gamma * next;
}

/* What the critic is fitted to, a row a step of all episodes: returns and basis, less what the
 * step's baseline explains of them. */
struct targets {
    double *G, *base, *X; /* [n_rows], [n_rows], [n_rows, N_BASIS] */
    double yy, sum;       /* of the returns */
};

/* Takes from column x of `width` (a stride) the mean of the other episodes at the same step; a
 * step that one episode alone has keeps nothing. base (NULL: not wanted): what was taken. */
static void take_others(const struct episodes *eps, int64_t longest, double *x, int64_t stride,
                        double *base)
{
    double *sum = mem_zalloc(2 * (size_t)longest, sizeof *sum), *n = sum + longest;
    for (int write = 0; write < 2; write++) {
        int64_t row = 0;
        for (int64_t i = 0; i < eps->n; i++)
            for (int64_t k = 0; k < eps->traj[i]->n_steps; k++, row++) {
                double *at = x + row * stride;
                if (!write) {
                    sum[k] += *at;
                    n[k]++;
                    continue;
                }
                double others = n[k] > 1 ? (sum[k] - *at) / (n[k] - 1) : *at;
                if (base)
                    base[row] = others;
                *at -= others;
            }
    }
    free(sum);
}

/* Rewards, as terms, in units of what the baseline leaves of the returns. */
static void scale_terms(struct targets *t, int64_t n)
{
    double square = 0;
    for (int64_t row = 0; row < n; row++)
        square += t->G[row] * t->G[row] / (double)n;
    for (int64_t row = 0; row < n && square > 0; row++)
        for (int p = 4; p < N_BASIS; p++)
            t->X[row * N_BASIS + p] /= sqrt(square);
}

static void targets_open(struct targets *t, const struct episodes *eps,
                         const struct ppo_options *o)
{
    size_t n = (size_t)eps->n_rows;
    int64_t row = 0, longest = 0;
    *t = (struct targets){.G = mem_alloc(n, sizeof *t->G),
                          .base = mem_zalloc(n, sizeof *t->base),
                          .X = mem_alloc(n * N_BASIS, sizeof *t->X)};
    for (int64_t i = 0; i < eps->n; i++) {
        int64_t T = eps->traj[i]->n_steps;
        returns(eps->reward[i], T, o->gamma, t->G + row);
        memcpy(t->X + row * N_BASIS, eps->basis[i], (size_t)(T * N_BASIS) * sizeof *t->X);
        longest = T > longest ? T : longest;
        row += T;
    }
    for (row = 0; row < eps->n_rows; row++) {
        t->yy += t->G[row] * t->G[row];
        t->sum += t->G[row];
    }
    if (o->baseline == BASELINE_RIDGE)
        return;
    take_others(eps, longest, t->G, 1, t->base);
    for (int p = 0; p < N_BASIS; p++)
        take_others(eps, longest, t->X + p, N_BASIS, NULL);
    scale_terms(t, eps->n_rows);
}

static void targets_close(struct targets *t)
{
    free(t->G);
    free(t->base);
    free(t->X);
}

static double value(const double *critic, const double *basis)
{
    double v = 0;
    for (int p = 0; p < N_BASIS; p++)
        v += critic[p] * basis[p];
    return v;
}

/* Ridge regression of returns on the basis over all episodes; w into critic. Returns the share
 * of the returns' variance that it explains, with the step's baseline. */
static double fit_critic(const struct targets *t, int64_t n, double *critic)
{
    double A[N_BASIS * N_BASIS] = {0}, b[N_BASIS] = {0}, sse = 0;
    for (int64_t row = 0; row < n; row++) {
        const double *x = t->X + row * N_BASIS;
        for (int p = 0; p < N_BASIS; p++) {
            b[p] += x[p] * t->G[row];
            for (int q = 0; q < N_BASIS; q++)
                A[p * N_BASIS + q] += x[p] * x[q];
        }
    }
    for (int p = 0; p < N_BASIS; p++)
        A[p * N_BASIS + p] += p ? 1 : 1e-6;
    if (!linalg_cholesky(A, N_BASIS)) {
        linalg_solve(A, N_BASIS, b);
        memcpy(critic, b, sizeof b);
    }
    for (int64_t row = 0; row < n; row++) {
        double left = t->G[row] - value(critic, t->X + row * N_BASIS);
        sse += left * left;
    }
    double var = t->yy - t->sum * t->sum / (double)n;
    return var > 1e-12 * t->yy ? 1 - sse / var : 0; /* less is what rounding leaves */
}

/* A_t of the new episodes, one after the other; centred and scaled over the update. *is_told:
 * they differ by more than rounding does; else they are zero. */
static double *advantages(const struct episodes *eps, const struct targets *t,
                          const double *critic, const struct ppo_options *o, bool *is_told)
{
    double *A = mem_alloc((size_t)eps->n_rows + 1, sizeof *A), sum = 0, square = 0;
    int64_t n = 0, first = 0;
    for (int64_t i = 0; i < eps->n; i++, first += eps->traj[i - 1]->n_steps) {
        int64_t T = eps->traj[i]->n_steps;
        double next = 0, next_value = 0;
        if (!eps->is_new[i])
            continue;
        for (int64_t k = T - 1; k >= 0; k--) {
            double v = t->base[first + k] + value(critic, t->X + (first + k) * N_BASIS);
            double delta = eps->reward[i][k] + o->gamma * next_value - v;
            A[n + k] = next = delta + o->gamma * o->lambda * next;
            next_value = v;
        }
        n += T;
    }
    for (int64_t k = 0; k < n; k++)
        sum += A[k];
    for (int64_t k = 0; k < n; k++) {
        A[k] -= sum / (double)n;
        square += A[k] * A[k];
    }
    double sd = sqrt(square / (double)n);
    *is_told = !eps->is_flat && sd > 1e-9; /* rewards, and so A, are of order 1 */
    for (int64_t k = 0; k < n; k++)
        A[k] = *is_told ? A[k] / (sd + 1e-6) : 0;
    return A;
}

/* ---- the update ---- */

static double norm_of(const double *g, int64_t n)
{
    double square = 0;
    for (int64_t i = 0; i < n; i++)
        square += g[i] * g[i];
    return sqrt(square);
}

/* norm: of g, which is clipped. */
static void adam(struct ppo *x, const double *g, double norm, const struct ppo_options *o)
{
    const double b1 = 0.9, b2 = 0.99, tiny = 1e-8;
    double scale = o->grad_clip > 0 && norm > o->grad_clip ? o->grad_clip / norm : 1;
    x->adam_step++;
    double c1 = 1 - pow(b1, (double)x->adam_step), c2 = 1 - pow(b2, (double)x->adam_step);
    for (int64_t i = 0; i < x->n_net; i++) {
        double d = g[i] * scale, m = b1 * (double)x->adam_m[i] + (1 - b1) * d;
        double v = b2 * (double)x->adam_v[i] + (1 - b2) * d * d;
        x->adam_m[i] = (float)m;
        x->adam_v[i] = (float)v;
        x->net[i] -= (float)(o->lr * (m / c1) / (sqrt(v / c2) + tiny));
    }
}

/* Adds an epoch's row to the report. */
static void tell(struct learn_report *r, const struct policy *p, const struct episodes *eps,
                 int64_t epoch, const struct replay_sums *s, double loss, double norm,
                 double explained)
{
    double *m = learn_report_row(r);
    m[M_ITERATION] = (double)(p->iteration + 1);
    m[M_EPOCH] = (double)epoch;
    m[M_LOSS] = loss;
    m[M_POLICY_LOSS] = s->policy_loss;
    m[M_ENTROPY] = s->entropy * (s->n_lists / s->n_choices);
    m[M_KL] = s->kl / s->n_ratios;
    m[M_CLIP_FRACTION] = s->n_clipped / s->n_ratios;
    m[M_GRAD_NORM] = norm;
    m[M_EXPLAINED_VARIANCE] = explained;
    m[M_MEAN_RETURN] = eps->mean_return;
    m[M_REWARD_SD] = eps->sd;
}

static int update(struct policy *p, const struct features *f, const struct episodes *eps,
                  const void *options, struct learn_report *r, struct err *e)
{
    const struct ppo_options *o = options;
    struct ppo *x = ppo_of(p);
    if (!eps->n_new)
        return err_set(e, ERR_EMPTY, "no usable episode of this policy");
    struct replay *q = replay_new(f, eps, e);
    if (!q)
        return e->code;
    bool is_told;
    int rc = 0;
    struct targets t;
    targets_open(&t, eps, o);
    double explained = fit_critic(&t, eps->n_rows, x->critic);
    double *A = advantages(eps, &t, x->critic, o, &is_told);
    targets_close(&t);
    double *g = mem_alloc((size_t)x->n_net, sizeof *g);
    for (int64_t k = 1; k <= o->n_epochs && !rc; k++) {
        struct replay_sums s;
        rc = replay_run(q, p, A, o, &s, g, e);
        if (rc)
            break;
        double loss = s.policy_loss - o->entropy * s.entropy, norm = norm_of(g, x->n_net);
        if (!isfinite(loss) || !isfinite(norm))
            rc = err_set(e, ERR_NONFINITE, "epoch %lld: the loss is not finite", (long long)k);
        else if (is_told)
            adam(x, g, norm, o);
        tell(r, p, eps, k, &s, loss, norm, explained);
    }
    free(g);
    free(A);
    replay_free(q);
    return rc;
}

/* ---- the row ---- */

static void size(struct policy *p, const void *options)
{
    const struct ppo_options *o = options;
    struct ppo *x = ppo_of(p);
    x->n_in = state_n_inputs(&p->state);
    x->n_hidden = o ? o->n_hidden : -1;
}

static int place(struct policy *p, struct err *e)
{
    struct ppo *x = ppo_of(p);
    if (x->n_hidden < 1 || x->n_hidden > 4096)
        return err_set(e, ERR_RANGE, "hidden width %lld is not between 1 and 4096",
                       (long long)x->n_hidden);
    x->n_net = x->n_hidden * (x->n_in + 2);
    x->net = mem_zalloc((size_t)x->n_net, sizeof *x->net);
    x->W = x->net;
    x->b = x->W + x->n_hidden * x->n_in;
    x->o = x->b + x->n_hidden;
    return 0;
}

static void unplace(struct policy *p)
{
    free(ppo_of(p)->net);
}

/* One hidden unit carries the weights in the nearly straight part of tanh, which bends a score
 * of 3 by 7 %; with less gain Adam's first steps would be larger. */
static void start(struct policy *p, const struct features *f, const double *w, double spread)
{
    const double gain = 0.15;
    struct ppo *x = ppo_of(p);
    double sd = linear_spread(&p->state, f, w);
    int64_t first = state_has_stage(&p->state) ? 2 : 0;
    for (int64_t k = 0; k < x->n_in; k++)
        x->W[k] = 0;
    for (int64_t k = 0; k < p->state.n_static && sd > 1e-12; k++)
        x->W[first + k] = (float)(gain * spread * w[k] / sd);
    x->o[0] = (float)(1 / gain);
}

static int init(struct policy *p, const struct features *f, const void *options, uint64_t seed,
                struct err *e)
{
    const struct ppo_options *o = options;
    struct ppo *x = ppo_of(p);
    double *w = mem_zalloc((size_t)p->state.n_static + 1, sizeof *w);
    struct rng r;
    (void)e;
    rng_init(&r, seed, 0);
    for (int64_t i = 0; i < x->n_hidden * x->n_in; i++)
        x->W[i] = (float)(rng_normal(&r) / sqrt((double)x->n_in));
    if (prior_weights(&p->state, 1, w) && o->spread > 0)
        start(p, f, w, o->spread);
    free(w);
    return 0;
}

static int score(const struct policy *p, const struct features *f, const struct policy_stage *s,
                 const uint16_t *counts, bool is_deployed, uint64_t seed, float *scores,
                 struct err *e)
{
    const struct ppo *x = ppo_of(p);
    struct scorer scorer;
    float u[2];
    (void)is_deployed;
    (void)seed;
    (void)e;
    state_stage_inputs(s, u);
    scorer_init(&scorer, &p->state, x->net, x->n_hidden);
    scorer_all(&scorer, &p->state, f, u, counts, scores);
    return 0;
}

#define OWN(type, field) ST_FIELD(struct ppo, type, field)
#define COUNT(field) ST_COUNT(struct ppo, field)
static const struct st_size sizes[] = {
    {"n_in", COUNT(n_in)}, {"h", COUNT(n_hidden)}, {NULL, 0}};
static const struct st_column columns[] = {
    {"W", OWN(ST_F32, W), "[h, n_in]", ST_FINITE | ST_PLACED},
    {"b", OWN(ST_F32, b), "[h]", ST_FINITE | ST_PLACED},
    {"o", OWN(ST_F32, o), "[h]", ST_FINITE | ST_PLACED},
    {"adam_m", OWN(ST_F32, adam_m), "[h n_in + 2 h]", ST_FINITE},
    {"adam_v", OWN(ST_F32, adam_v), "[h n_in + 2 h]", ST_FINITE},
    {"critic", OWN(ST_F64, critic), "[6]", ST_FINITE | ST_INLINE},
    {.name = NULL},
};
_Static_assert(N_BASIS == 6, "critic's shape");
static const struct st_key keys[] = {
    {"raise.adam_step", OWN(ST_KEY_INT, adam_step), .min = 0, .max = 1e12},
    {.name = NULL},
};
static const struct st_table table = {NULL, sizes, columns, keys};

#define AT(field) offsetof(struct ppo_options, field)
static const char *const ratios[] = {"mean", "class", "item", NULL};
static const char *const baselines[] = {"ridge", "step", NULL};
static const struct opt options_table[] = {
    {0, "hidden", OPT_INT, AT(n_hidden), "N", "with --init: hidden units of the scorer", 1,
     4096, NULL},
    {0, "spread", OPT_REAL, AT(spread), "X",
     "with --init: deviation of the prior's scores; 0: begin with uniform choice", 0, 100,
     NULL},
    {0, "epochs", OPT_INT, AT(n_epochs), "N", "epochs an update", 1, 1000, NULL},
    {0, "lr", OPT_REAL, AT(lr), "X", "Adam's learning rate", 1e-9, 10, NULL},
    {0, "gamma", OPT_REAL, AT(gamma), "X", "discount", 0, 1, NULL},
    {0, "lambda", OPT_REAL, AT(lambda), "X", "lambda of GAE", 0, 1, NULL},
    {0, "clip", OPT_REAL, AT(clip), "X", "clip range of the ratio", 1e-6, 1, NULL},
    {0, "entropy", OPT_REAL, AT(entropy), "X", "weight of the entropy", 0, 10, NULL},
    {0, "ratio", OPT_CHOICE, AT(ratio), "KIND",
     "ratio of a class's list, its mean over items, or per item", 0, 0, ratios},
    {0, "baseline", OPT_CHOICE, AT(baseline), "KIND",
     "of rewards: regressed on the stage, or before that the step's mean in other episodes", 0,
     0, baselines},
    {0, "grad-clip", OPT_REAL, AT(grad_clip), "X", "largest gradient norm; 0: any", 0, 1e9,
     NULL},
    {0, NULL, OPT_END, 0, NULL, NULL, 0, 0, NULL},
};
static const struct ppo_options defaults = PPO_OPTIONS_DEFAULTS;
static const struct learner_setting paper[] = {
    {"lr", "3e-4"},        {"gamma", "0.99"}, {"lambda", "0.95"}, {"ratio", "class"},
    {"baseline", "ridge"}, {"spread", "0"},   {NULL, NULL}};

const struct learner learner_ppo = {
    .name = "ppo",
    .help = "a small network, by clipped policy gradients",
    .options = options_table,
    .defaults = &defaults,
    .options_size = sizeof defaults,
    .paper = paper,
    .needs_own_episodes = true,
    .table = &table,
    .self_size = sizeof(struct ppo),
    .metrics = learn_metrics,
    .size = size,
    .place = place,
    .unplace = unplace,
    .init = init,
    .score = score,
    .update = update,
    .start = start,
};
