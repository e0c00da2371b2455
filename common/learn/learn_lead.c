/* SPDX-License-Identifier: MIT
 *
 * learn_lead: the learner "lead", after LEAD (Lin et al. 2025, arXiv 2505.07437): a bandit over
 * classes, and within the class that it draws the records of the highest utility, both measured
 * by the losses of the training steps themselves. It knows nothing of a target, and nothing
 * passes from one episode to the next.
 *
 * Utility ("instance-level dynamic uncertainty") of a record, in nats a token:
 *     U_0 = -log P(y|x) / len_y by the features
 *     U'  = (1 - b) (L + dL) + b U     after a step that trained on it at loss L
 *     dL  = -lr q_c q / (q_c + q)      q: |gradient|^2 of the step before, q_c: of the last
 * step that was c's; -lr q where class c had none; 0 in step 1 dL foresees what the step does
 * to the loss: the least square of a gradient put together from those two, u g_c + (1 - u) g,
 * for g_c and g at right angles.
 *
 * The bandit is Exp3 (Auer et al. 2002): class c is drawn by
 *     p_c = (1 - gamma) w_c / sum w + gamma / C'      over the C' classes that have records
 * left and pays r = mean of U - U' over the step's records, brought to [-1, 1] by the least and
 * the most that was paid so far; then w_c *= exp(gamma r / (C p_c)).
 *
 * All of this is replayed from the episode's past at every step (some thousand additions), so
 * a policy stays what its file says, and a checkpoint needs nothing more.
 */
#include "base/mem.h"
#include "base/rng.h"
#include "learn/learn.h"
#include "policy/policy_body.h"

#include <math.h>
#include <stdlib.h>

struct lead_options {
    double smooth, gamma;
    int64_t uses;
};
#define LEAD_OPTIONS_DEFAULTS                                                                  \
    {                                                                                          \
        .smooth = 0.1, .gamma = 0.1, .uses = 4                                                 \
    }

/* A policy's own: its options. */
struct lead {
    double smooth, gamma;
    int64_t uses;
};

/* An episode so far. */
struct course {
    const struct features *f;
    const struct lead *o;
    double *utility; /* [N] */
    uint8_t *n_uses; /* [N] */
    int64_t *n_left; /* [C] rows that may still come */
    double *weight;  /* [C] of the bandit */
    double *square;  /* [C] |gradient|^2 of the class's last step; < 0: none */
    double *p;       /* [C] */
    double least, most;
    int64_t n_paid;
};

static void course_open(struct course *c, const struct features *f, const struct lead *o)
{
    size_t n = (size_t)f->n, C = (size_t)f->n_classes;
    *c = (struct course){.f = f,
                         .o = o,
                         .utility = mem_alloc(n, sizeof *c->utility),
                         .n_uses = mem_zalloc(n, sizeof *c->n_uses),
                         .n_left = mem_zalloc(C, sizeof *c->n_left),
                         .weight = mem_alloc(C, sizeof *c->weight),
                         .square = mem_alloc(C, sizeof *c->square),
                         .p = mem_alloc(C, sizeof *c->p)};
    for (size_t i = 0; i < n; i++) {
        c->utility[i] = -(double)f->logp_yx[i] / (f->len_y[i] > 0 ? f->len_y[i] : 1);
        c->n_left[f->class_of[i]]++;
    }
    for (size_t k = 0; k < C; k++) {
        c->weight[k] = 1;
        c->square[k] = -1;
    }
}

static void course_close(struct course *c)
{
    free(c->utility);
    free(c->n_uses);
    free(c->n_left);
    free(c->weight);
    free(c->square);
    free(c->p);
}

/* The class of step t (from 1); -1: no class has a record left. */
static int64_t draw_class(struct course *c, uint64_t seed, int64_t t)
{
    double total = 0, u = rng_hash_unit(seed, (uint64_t)t, 0x1ead, 0);
    int64_t n = 0, last = -1;
    for (int64_t k = 0; k < c->f->n_classes; k++) {
        total += c->n_left[k] ? c->weight[k] : 0;
        n += c->n_left[k] > 0;
    }
    for (int64_t k = 0; k < c->f->n_classes; k++) {
        c->p[k] = c->n_left[k]
                      ? (1 - c->o->gamma) * c->weight[k] / total + c->o->gamma / (double)n
                      : 0;
        if (c->n_left[k])
            last = k;
    }
    for (int64_t k = 0; k < last; k++) {
        u -= c->p[k];
        if (u < 0)
            return k;
    }
    return last;
}

static void pay(struct course *c, int64_t arm, double reward)
{
    double C = (double)c->f->n_classes;
    c->least = c->n_paid ? fmin(c->least, reward) : reward;
    c->most = c->n_paid ? fmax(c->most, reward) : reward;
    double range = c->most - c->least;
    double r = range > 0 ? 2 * (reward - c->least) / range - 1 : 0;
    c->n_paid++;
    c->weight[arm] *= exp(c->o->gamma * r / (C * c->p[arm]));
}

/* What step k (from 0) taught. */
static void take_step(struct course *c, const struct policy_past *h, int64_t k, int64_t arm)
{
    int64_t from = h->offset[k], to = h->offset[k + 1];
    double before = k ? h->grad_norm[k - 1] * h->grad_norm[k - 1] : 0, q = c->square[arm];
    double foreseen = h->lr[k] * (q < 0            ? before
                                  : q + before > 0 ? q * before / (q + before)
                                                   : 0);
    double reward = 0;
    for (int64_t i = from; i < to; i++) {
        int64_t row = h->pick[i];
        double *u = &c->utility[row];
        double now = (1 - c->o->smooth) * ((double)h->loss[i] - foreseen) + c->o->smooth * *u;
        reward += (*u - now) / (double)(to - from);
        *u = now;
        if (++c->n_uses[row] == c->o->uses)
            c->n_left[c->f->class_of[row]]--;
    }
    c->square[arm] = h->grad_norm[k] * h->grad_norm[k];
    pay(c, arm, reward);
}

/* Rows of other classes stand below those of the class, and those that are used up below all;
 * they come where the class has too few. */
static int score(const struct policy *p, const struct features *f, const struct policy_stage *s,
                 const uint16_t *counts, bool is_deployed, uint64_t seed, float *scores,
                 struct err *e)
{
    static const struct policy_past none = {0};
    const struct policy_past *h = s->past ? s->past : &none;
    const double below = 1e4;
    struct course c;
    (void)counts;
    (void)is_deployed;
    if (h->n_steps != s->t - 1)
        return err_set(e, ERR_RANGE, "the losses of %lld steps are known, %lld are done",
                       (long long)h->n_steps, (long long)s->t - 1);
    course_open(&c, f, p->self);
    for (int64_t k = 0; k < h->n_steps; k++) {
        int64_t arm = draw_class(&c, seed, k + 1);
        if (arm >= 0)
            take_step(&c, h, k, arm);
    }
    int64_t arm = draw_class(&c, seed, s->t);
    for (int64_t i = 0; i < f->n; i++) {
        bool is_used_up = c.n_uses[i] >= c.o->uses;
        scores[i] = (float)(c.utility[i] - (is_used_up              ? 2 * below
                                            : f->class_of[i] != arm ? below
                                                                    : 0));
    }
    course_close(&c);
    return 0;
}

/* ---- the row ---- */

static void size(struct policy *p, const void *options)
{
    (void)p;
    (void)options;
}

static int init(struct policy *p, const struct features *f, const void *options, uint64_t seed,
                struct err *e)
{
    const struct lead_options *o = options;
    struct lead *x = p->self;
    (void)seed;
    if (f->n_classes < 2)
        return err_set(e, ERR_RANGE,
                       "learner lead chooses among classes, and the features have one: give "
                       "raise-cluster -k 2 or more");
    *x = (struct lead){o->smooth, o->gamma, o->uses};
    return 0;
}

#define OWN(type, field) ST_FIELD(struct lead, type, field)
static const struct st_size sizes[] = {{.symbol = NULL}};
static const struct st_column columns[] = {{.name = NULL}};
static const struct st_key keys[] = {
    {"raise.smooth", OWN(ST_KEY_REAL, smooth), .max = 0.999},
    {"raise.explore_share", OWN(ST_KEY_REAL, gamma), .max = 1},
    {"raise.uses", OWN(ST_KEY_INT, uses), .min = 1, .max = UINT8_MAX},
    {.name = NULL},
};
static const struct st_table table = {NULL, sizes, columns, keys};

#define AT(field) offsetof(struct lead_options, field)
static const struct opt options_table[] = {
    {0, "smooth", OPT_REAL, AT(smooth), "X",
     "with --init: share of a utility that a step keeps", 0, 0.999, NULL},
    {0, "explore-share", OPT_REAL, AT(gamma), "X",
     "with --init: share of the steps that go to any class alike", 1e-6, 1, NULL},
    {0, "uses", OPT_INT, AT(uses), "N",
     "with --init: steps of an episode that may take a record", 1, UINT8_MAX, NULL},
    {0, NULL, OPT_END, 0, NULL, NULL, 0, 0, NULL},
};
static const struct lead_options defaults = LEAD_OPTIONS_DEFAULTS;
static const char *const metrics[] = {NULL};

const struct learner learner_lead = {
    .name = "lead",
    .help = "LEAD's bandit over classes, by the losses of training",
    .options = options_table,
    .defaults = &defaults,
    .options_size = sizeof defaults,
    .is_within = true,
    .table = &table,
    .self_size = sizeof(struct lead),
    .metrics = metrics,
    .size = size,
    .init = init,
    .score = score,
};
