/* SPDX-License-Identifier: MIT
 * learn_replay: PPO's loss and gradient over sampled episodes; see learn_replay.h. */
#include "learn/learn_replay.h"

#include "base/mem.h"
#include "policy/scorer.h"
#include "policy/select.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { R = SCORER_ROWS, N_LANES = 64 };

struct block {
    int64_t at; /* first place */
    int32_t n, class;
};

/* A pick of a step: its place in the order by classes, and which of the step's picks it is. */
struct pick {
    int32_t place, index;
    bool is_left_over; /* of the round before (select.h): taken in any case */
};

struct step {
    const struct traj *t;
    const char *name;
    int64_t k;       /* step of the trajectory, from 0 */
    int64_t opening; /* index of its episode's first step */
    int64_t base;    /* its first pick among those of all steps */
    int64_t n_picks;
    bool has_clear; /* the mask is cleared before it */
    float u[2];
};

/* What the gradient of a step's list needs (scorer_exp_grad). */
struct list {
    float a, c, D, D0, H;
};

struct replay {
    const struct features *f;
    int64_t n_classes, n_blocks, n_steps, n_group;
    int32_t *row_at;      /* [N] row at each place: class by class, ascending */
    int64_t *class_block; /* [C + 1] */
    struct block *blocks;
    struct step *steps;
    int64_t *n_avail; /* [n_steps, C] rows that could be chosen */
    int64_t *n_over;  /* [n_steps, C] rows left over from the round before, first in a list */
    /* of all picks, step by step */
    struct pick *picks; /* each step's sorted by place */
    double *item_old;   /* log pi of each at the first run */
    float *pick_z;      /* in the list's order */
    float *pick_d;
    bool is_first; /* run */
    /* of a group of steps */
    float *z;                /* [n_group, n_blocks, R] */
    struct scorer_exp *part; /* [n_group, n_blocks] */
    struct list *lists;      /* [n_group, C] */
    struct replay_sums *sums;
    bool *is_foreign;
};

/* ---- preparation ---- */

static int32_t *order_rows(struct replay *q)
{
    const struct features *f = q->f;
    int64_t C = q->n_classes, *start = mem_zalloc((size_t)C + 1, sizeof *start), n = 0;
    int32_t *place_of = mem_alloc((size_t)f->n, sizeof *place_of);
    q->row_at = mem_alloc((size_t)f->n, sizeof *q->row_at);
    q->class_block = mem_zalloc((size_t)C + 1, sizeof *q->class_block);
    for (int64_t i = 0; i < f->n; i++)
        start[f->class_of[i] + 1]++;
    for (int64_t c = 0; c < C; c++) {
        q->class_block[c + 1] = q->class_block[c] + (start[c + 1] + R - 1) / R;
        start[c + 1] += start[c];
    }
    q->n_blocks = q->class_block[C];
    q->blocks = mem_alloc((size_t)q->n_blocks, sizeof *q->blocks);
    for (int64_t c = 0; c < C; c++)
        for (int64_t at = start[c]; at < start[c + 1]; at += R)
            q->blocks[n++] = (struct block){
                at, (int32_t)(start[c + 1] - at < R ? start[c + 1] - at : R), (int32_t)c};
    for (int64_t i = 0; i < f->n; i++) {
        int64_t place = start[f->class_of[i]]++;
        q->row_at[place] = (int32_t)i;
        place_of[i] = (int32_t)place;
    }
    free(start);
    return place_of;
}

static int by_place(const void *a, const void *b)
{
    const struct pick *x = a, *y = b;
    return x->place < y->place ? -1 : x->place > y->place;
}

static int cannot_be(const struct step *s, int64_t pick, const char *why, struct err *e)
{
    return err_set(e, ERR_FORMAT, "%s: step %" PRId64 ": row %" PRId64 " %s", s->name, s->k + 1,
                   s->t->pick[pick], why);
}

/* One step of one episode, whose state is `used`. */
static int open_step(struct replay *q, struct step *s, const struct selector *used,
                     const int32_t *place_of, int64_t *n_avail, int64_t *n_over, struct err *e)
{
    const struct traj *t = s->t;
    int64_t first = t->list_offset[s->k * q->n_classes];
    struct pick *picks = q->picks + s->base;
    s->n_picks = t->list_offset[(s->k + 1) * q->n_classes] - first;
    s->has_clear = !t->has_repeats && selector_n_available(used) < s->n_picks;
    if (s->has_clear) {
        memcpy(n_over, n_avail, (size_t)q->n_classes * sizeof *n_over);
        for (int64_t c = 0; c < q->n_classes; c++)
            n_avail[c] = -n_over[c];
        for (int64_t b = 0; b < q->n_blocks; b++)
            n_avail[q->blocks[b].class] += q->blocks[b].n;
    }
    state_stage_inputs(
        &(struct policy_stage){s->k + 1, t->n_steps, t->perf[0], t->perf[s->k], t->batch, NULL},
        s->u);
    for (int64_t c = 0; c < q->n_classes; c++) {
        const int64_t *list = t->list_offset + s->k * q->n_classes + c;
        if (list[1] - list[0] < n_over[c])
            return err_set(e, ERR_FORMAT,
                           "%s: step %" PRId64 ": a new round, but rows of class %" PRId64
                           " are left over",
                           s->name, s->k + 1, c);
        for (int64_t i = list[0]; i < list[1]; i++) {
            int64_t row = t->pick[i];
            bool is_over = i - list[0] < n_over[c];
            if (q->f->class_of[row] != c)
                return cannot_be(s, i, "is in the list of another class", e);
            if (!t->has_repeats && (is_over || !s->has_clear) &&
                !selector_is_available(used, row))
                return cannot_be(s, i, "was used before", e);
            picks[i - first] = (struct pick){place_of[row], (int32_t)(i - first), is_over};
        }
    }
    qsort(picks, (size_t)s->n_picks, sizeof *picks, by_place);
    for (int64_t i = 1; i < s->n_picks; i++)
        if (picks[i].place == picks[i - 1].place)
            return cannot_be(s, first + picks[i].index, "is chosen twice", e);
    return 0;
}

static int open_episode(struct replay *q, const struct traj *t, const char *name, int64_t at,
                        int64_t base, const int32_t *place_of, struct err *e)
{
    int64_t C = q->n_classes;
    struct selector *used = selector_new(q->f->n, q->f->class_of, C);
    int64_t *n_avail = mem_zalloc((size_t)C, sizeof *n_avail);
    int rc = 0;
    for (int64_t b = 0; b < q->n_blocks; b++)
        n_avail[q->blocks[b].class] += q->blocks[b].n;
    for (int64_t k = 0; k < t->n_steps && !rc; k++) {
        struct step *s = &q->steps[at + k];
        *s = (struct step){.t = t, .name = name, .k = k, .opening = at, .base = base};
        int64_t *n_over = q->n_over + (at + k) * C;
        rc = open_step(q, s, used, place_of, n_avail, n_over, e);
        memcpy(q->n_avail + (at + k) * C, n_avail, (size_t)C * sizeof *n_avail);
        if (rc)
            break;
        if (s->has_clear)
            selector_clear(used);
        for (int64_t c = 0; c < C && !t->has_repeats; c++) {
            const int64_t *list = t->list_offset + k * C + c, drawn = list[0] + n_over[c];
            n_avail[c] += n_over[c] - (list[1] - drawn);
            selector_mark(used, t->pick + drawn, list[1] - drawn);
        }
        base += s->n_picks;
    }
    free(n_avail);
    selector_free(used);
    return rc;
}

static void alloc_group(struct replay *q)
{
    size_t bytes = (size_t)(q->n_blocks * R) * sizeof *q->z, n = REPLAY_BYTES / bytes;
    n = n < 1 ? 1 : n > (size_t)q->n_steps ? (size_t)q->n_steps : n;
    q->n_group = (int64_t)n;
    q->z = mem_aligned(n * bytes);
    q->part = mem_alloc(n * (size_t)q->n_blocks, sizeof *q->part);
    q->lists = mem_alloc(n * (size_t)q->n_classes, sizeof *q->lists);
    q->sums = mem_alloc((size_t)q->n_steps, sizeof *q->sums);
    q->is_foreign = mem_zalloc((size_t)q->n_steps, sizeof *q->is_foreign);
}

struct replay *replay_new(const struct features *f, const struct episodes *eps, struct err *e)
{
    struct replay *q = mem_zalloc(1, sizeof *q);
    int64_t n_picks = 0, at = 0, base = 0;
    int rc = 0;
    *q = (struct replay){.f = f, .n_classes = f->n_classes, .is_first = true};
    if (f->n > INT32_MAX) {
        err_set(e, ERR_UNSUPPORTED, "more than %d rows", INT32_MAX);
        free(q);
        return NULL;
    }
    int32_t *place_of = order_rows(q);
    for (int64_t i = 0; i < eps->n; i++)
        if (eps->is_new[i]) {
            q->n_steps += eps->traj[i]->n_steps;
            n_picks += eps->traj[i]->n_picks;
        }
    q->steps = mem_zalloc((size_t)q->n_steps, sizeof *q->steps);
    q->n_avail = mem_zalloc((size_t)(q->n_steps * q->n_classes), sizeof *q->n_avail);
    q->n_over = mem_zalloc((size_t)(q->n_steps * q->n_classes), sizeof *q->n_over);
    q->picks = mem_alloc((size_t)n_picks, sizeof *q->picks);
    q->item_old = mem_alloc((size_t)n_picks, sizeof *q->item_old);
    q->pick_z = mem_alloc((size_t)n_picks, sizeof *q->pick_z);
    q->pick_d = mem_alloc((size_t)n_picks, sizeof *q->pick_d);
    for (int64_t i = 0; i < eps->n && !rc; i++)
        if (eps->is_new[i]) {
            rc = open_episode(q, eps->traj[i], eps->name[i], at, base, place_of, e);
            at += eps->traj[i]->n_steps;
            base += eps->traj[i]->n_picks;
        }
    free(place_of);
    if (rc) {
        replay_free(q);
        return NULL;
    }
    alloc_group(q);
    return q;
}

void replay_free(struct replay *q)
{
    if (!q)
        return;
    void *const owned[] = {q->row_at, q->class_block, q->blocks, q->steps,  q->n_avail,
                           q->picks,  q->item_old,    q->pick_z, q->pick_d, q->z,
                           q->n_over, q->part,        q->lists,  q->sums,   q->is_foreign};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++)
        free(owned[i]);
    free(q);
}

/* ---- a block's way through the steps ---- */

/* Who may be chosen in a block, and how often each was. */
struct walk {
    const struct replay *q;
    const struct block *b;
    float count[R];
    float shut[R]; /* 0, or -infinity: not to be chosen */
    bool has_counts;
};

static void walk_open(struct walk *w)
{
    for (int r = 0; r < R; r++)
        w->shut[r] = r < w->b->n ? 0 : -INFINITY;
}

static void walk_enter(struct walk *w, const struct step *s)
{
    if (!s->k) {
        memset(w->count, 0, sizeof w->count);
        w->has_counts = false;
    }
    if (!s->k || s->has_clear)
        walk_open(w);
}

/* The step's picks within the block: first of them; their number in *n. */
static const struct pick *walk_picks(const struct walk *w, const struct step *s, int64_t *n)
{
    const struct pick *p = w->q->picks + s->base;
    int64_t lo = 0, hi = s->n_picks;
    while (lo < hi) {
        int64_t mid = (lo + hi) / 2;
        if (p[mid].place < w->b->at)
            lo = mid + 1;
        else
            hi = mid;
    }
    for (*n = 0; lo + *n < s->n_picks && p[lo + *n].place < w->b->at + w->b->n;)
        ++*n;
    return p + lo;
}

static void walk_leave(struct walk *w, const struct step *s, const struct pick *p, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        int64_t r = p[i].place - w->b->at;
        w->count[r]++;
        w->has_counts = true;
        if (!s->t->has_repeats && !p[i].is_left_over)
            w->shut[r] = -INFINITY;
    }
}

/* Brings the walk to where step `to` is entered next. */
static void walk_to(struct walk *w, int64_t to)
{
    for (int64_t k = w->q->steps[to].opening; k < to; k++) {
        const struct step *s = &w->q->steps[k];
        int64_t n;
        walk_enter(w, s);
        const struct pick *p = walk_picks(w, s, &n);
        walk_leave(w, s, p, n);
    }
}

/* A thread's room, and the scorer with the biases of the group's steps. */
struct room {
    float *phi, *pre, *dpre;
    struct scorer_sums *unit;
};

struct pass {
    struct replay *q;
    const struct policy *p;
    const struct ppo *x; /* p's own */
    const struct ppo_options *o;
    struct scorer scorer;
    float *bias;      /* [group, h] */
    int64_t from, to; /* steps */
    double *lanes;    /* [N_LANES, n_net] */
    const double *A;
};

static struct room room_open(const struct pass *s)
{
    size_t hidden = (size_t)s->x->n_hidden, statics = (size_t)s->p->state.n_static;
    struct room m = {.phi = mem_aligned(statics * R * sizeof(float)),
                     .pre = mem_aligned(hidden * R * sizeof(float)),
                     .dpre = mem_aligned(hidden * R * sizeof(float)),
                     .unit = mem_alloc(hidden, sizeof *m.unit)};
    return m;
}

static void room_close(struct room *m)
{
    free(m->phi);
    free(m->pre);
    free(m->dpre);
    free(m->unit);
}

static void make_static(const struct pass *s, const struct block *b, struct room *m)
{
    state_block(&s->p->state, s->q->f, s->q->row_at + b->at, 0, b->n, m->phi);
    scorer_static(&s->scorer, m->phi, m->pre);
}

/* ---- 1: scores ---- */

static void forward_block(const struct pass *s, int64_t block, struct room *m)
{
    struct replay *q = s->q;
    struct walk w = {.q = q, .b = &q->blocks[block]};
    make_static(s, w.b, m);
    walk_to(&w, s->from);
    for (int64_t k = s->from; k < s->to; k++) {
        const struct step *at = &q->steps[k];
        int64_t n, slot = (k - s->from) * q->n_blocks + block;
        float *z = q->z + slot * R, per_tau = (float)(1 / at->t->tau);
        walk_enter(&w, at);
        scorer_score(&s->scorer, m->pre, s->bias + (k - s->from) * s->x->n_hidden,
                     w.has_counts ? w.count : NULL, z);
        for (int r = 0; r < R; r++)
            z[r] = z[r] * per_tau + w.shut[r];
        const struct pick *p = walk_picks(&w, at, &n);
        for (int64_t i = 0; i < n; i++) {
            int64_t r = p[i].place - w.b->at;
            q->pick_z[at->base + p[i].index] = z[r];
            z[r] = -INFINITY;
        }
        scorer_exp_sums(z, &q->part[slot]);
        walk_leave(&w, at, p, n);
    }
}

/* ---- 2: losses ---- */

/* min(rho A, clip(rho) A) and its slope in the log-ratio, which is clamped to +-20. */
static double surrogate(double log_ratio, double A, double clip, struct replay_sums *sums,
                        double *slope)
{
    bool is_clamped = fabs(log_ratio) > 20;
    double rho = exp(is_clamped ? copysign(20, log_ratio) : log_ratio);
    double clipped = rho < 1 - clip ? 1 - clip : rho > 1 + clip ? 1 + clip : rho;
    bool is_clipped = clipped * A < rho * A;
    sums->kl += rho - 1 - log_ratio;
    sums->n_clipped += clipped != rho;
    sums->n_ratios++;
    *slope = is_clipped || is_clamped ? 0 : A * rho;
    return is_clipped ? clipped * A : rho * A;
}

/* Log-sum-exp over a class's rows that were not picked, and the mean of z under it. */
static double rest_of_class(const struct pass *s, int64_t k, int64_t c, double *mean_z)
{
    const struct replay *q = s->q;
    const struct scorer_exp *x = q->part + (k - s->from) * q->n_blocks;
    double max = -(double)INFINITY, sum = 0, sum_z = 0;
    for (int64_t b = q->class_block[c]; b < q->class_block[c + 1]; b++)
        max = (double)x[b].max > max ? (double)x[b].max : max;
    *mean_z = 0;
    if (isinf(max))
        return max;
    for (int64_t b = q->class_block[c]; b < q->class_block[c + 1]; b++) {
        double scale = exp((double)x[b].max - max);
        sum += scale * x[b].sum;
        sum_z += scale * x[b].sum_z;
    }
    *mean_z = sum_z / sum;
    return max + log(sum);
}

/* D_k of a list, upwards from the unpicked (select.h), and log pi of each item. */
static double list_terms(const float *z, int64_t b, double rest, double *D, double *logp)
{
    double sum = 0;
    for (int64_t k = b - 1; k >= 0; k--) {
        double x = (double)z[k], hi = rest > x ? rest : x, lo = rest > x ? x : rest;
        D[k] = rest = isinf(lo) ? hi : hi + log1p(exp(lo - hi));
        logp[k] = x - rest;
        sum += logp[k];
    }
    return sum;
}

/* Nats a pick by which the policy's own probabilities may differ from those in its trajectory:
 * fp32 scores leave 1e-6 of their size, also across levels of x86-64, hence 1e-3 at scores of
 * 1000; another policy's differ by tenths. */
static const double own_tolerance = 1e-2;

/* Adds the loss of one list to sums; weight[k] = d loss / d log pi_k of its items. */
static void list_loss(const struct pass *s, int64_t k, int64_t c, const double *logp,
                      double sum, double *weight, struct replay_sums *sums)
{
    struct replay *q = s->q;
    const struct step *at = &q->steps[k];
    int64_t list = at->k * q->n_classes + c;
    int64_t first = at->t->list_offset[list] + q->n_over[k * q->n_classes + c];
    int64_t b = at->t->list_offset[list + 1] - first;
    double *old = q->item_old + at->base + first - at->t->list_offset[at->k * q->n_classes];
    double share = 1 / ((double)q->n_classes * (double)q->n_steps), slope;
    if (q->is_first) {
        memcpy(old, logp, (size_t)b * sizeof *old);
        if (!(fabs(sum - at->t->list_logp[list]) <= own_tolerance * (double)b))
            q->is_foreign[k] = true;
    }
    if (s->o->ratio == RATIO_ITEM) {
        for (int64_t i = 0; i < b; i++) {
            double x = surrogate(logp[i] - old[i], s->A[k], s->o->clip, sums, &slope);
            sums->policy_loss -= share / (double)b * x;
            weight[i] = -share / (double)b * slope;
        }
        return;
    }
    double per = s->o->ratio == RATIO_MEAN ? (double)b : 1;
    double log_ratio = (sum - at->t->list_logp[list]) / per;
    sums->policy_loss -= share * surrogate(log_ratio, s->A[k], s->o->clip, sums, &slope);
    for (int64_t i = 0; i < b; i++)
        weight[i] = -share * slope / per;
}

/* One list: loss, entropy, d loss / d score of its picks, and what the rest needs.
 *     d/dz_j sum_k w_k log pi_k = w_j - P_j exp(z_j - D_j),  P_m = sum_{k <= m} w_k exp(D_m -
 * D_k) and for unpicked rows -P_b exp(z_j - D_b); D falls with k, so no exponential exceeds 1.
 *     d H / d z_j = -p_j (log p_j + H),  log p_j = z_j - D_1. */
static void work_list(const struct pass *s, int64_t k, int64_t c, double *scratch,
                      struct replay_sums *sums)
{
    struct replay *q = s->q;
    const struct step *at = &q->steps[k];
    const int64_t *offset = at->t->list_offset + at->k * q->n_classes;
    int64_t n = q->n_avail[k * q->n_classes + c], n_over = q->n_over[k * q->n_classes + c];
    int64_t b = offset[c + 1] - offset[c] - n_over;
    int64_t first = at->base + offset[c] - offset[0] + n_over;
    struct list *out = &q->lists[(k - s->from) * q->n_classes + c];
    double *D = scratch, *logp = D + b, *weight = D + 2 * b, mean, P = 0, entropy = 0;
    const float *z = q->pick_z + first;
    *out = (struct list){.D = INFINITY}; /* no list: no gradient */
    for (int64_t i = 1; i <= n_over; i++)
        q->pick_d[first - i] = 0;
    if (!b)
        return;
    double rest = rest_of_class(s, k, c, &mean);
    double sum = list_terms(z, b, rest, D, logp);
    list_loss(s, k, c, logp, sum, weight, sums);
    double H = D[0] - (isinf(rest) ? 0 : mean * exp(rest - D[0]));
    for (int64_t i = 0; i < b; i++)
        H -= (double)z[i] * exp((double)z[i] - D[0]);
    if (n > 1) {
        double share = 1 / ((double)q->n_classes * (double)q->n_steps) / log((double)n);
        sums->entropy += share * H;
        sums->n_choices++;
        entropy = s->o->entropy * share;
    }
    for (int64_t i = 0; i < b; i++) {
        double x = (double)z[i], lp = x - D[0];
        P = weight[i] + (i ? P * exp(D[i] - D[i - 1]) : 0);
        double d = weight[i] - P * exp(x - D[i]) + entropy * exp(lp) * (lp + H);
        q->pick_d[first + i] = (float)(d / at->t->tau);
    }
    out->D = (float)D[b - 1];
    out->D0 = (float)D[0];
    out->H = (float)H;
    out->a = (float)(-P / at->t->tau);
    out->c = (float)(entropy * exp(D[b - 1] - D[0]) / at->t->tau);
}

static void work_step(const struct pass *s, int64_t k)
{
    struct replay *q = s->q;
    double *scratch = mem_alloc((size_t)(3 * q->steps[k].n_picks + 1), sizeof *scratch);
    q->sums[k] = (struct replay_sums){0};
    for (int64_t c = 0; c < q->n_classes; c++)
        work_list(s, k, c, scratch, &q->sums[k]);
    free(scratch);
}

/* ---- 3: gradient ---- */

/* Adds one step's sums over a block to the lane's gradient, laid out as the net. */
static void add_sums(const struct pass *s, const struct step *at, const struct scorer_sums *x,
                     double *g)
{
    const struct ppo *p = s->x;
    double *b = g + p->n_hidden * p->n_in, *o = b + p->n_hidden;
    for (int64_t j = 0; j < p->n_hidden; j++) {
        double *row = g + j * p->n_in;
        if (s->scorer.Wu) {
            row[0] += (double)at->u[0] * x[j].da;
            row[1] += (double)at->u[1] * x[j].da;
        }
        if (s->scorer.Wc)
            row[p->n_in - 1] += x[j].count_da;
        b[j] += x[j].da;
        o[j] += x[j].d_hidden;
    }
}

static void backward_block(const struct pass *s, int64_t block, struct room *m, double *g)
{
    struct replay *q = s->q;
    struct walk w = {.q = q, .b = &q->blocks[block]};
    float d[R];
    size_t hidden = (size_t)s->x->n_hidden;
    make_static(s, w.b, m);
    memset(m->dpre, 0, hidden * R * sizeof *m->dpre);
    walk_to(&w, s->from);
    for (int64_t k = s->from; k < s->to; k++) {
        const struct step *at = &q->steps[k];
        const struct list *l = &q->lists[(k - s->from) * q->n_classes + w.b->class];
        int64_t n;
        walk_enter(&w, at);
        const struct pick *p = walk_picks(&w, at, &n);
        scorer_exp_grad(q->z + ((k - s->from) * q->n_blocks + block) * R, l->a, l->c, l->D,
                        l->D0, l->H, d);
        for (int64_t i = 0; i < n; i++)
            d[p[i].place - w.b->at] = q->pick_d[at->base + p[i].index];
        memset(m->unit, 0, hidden * sizeof *m->unit);
        scorer_grad(&s->scorer, m->pre, s->bias + (k - s->from) * s->x->n_hidden,
                    w.has_counts ? w.count : NULL, d, m->dpre, m->unit);
        add_sums(s, at, m->unit, g);
        walk_leave(&w, at, p, n);
    }
    scorer_static_grad(&s->scorer, m->phi, m->dpre, g + (s->scorer.Ws - s->x->net));
}

/* ---- an epoch ---- */

static void run_group(struct pass *s)
{
    struct replay *q = s->q;
    for (int64_t k = s->from; k < s->to; k++)
        scorer_bias(&s->scorer, q->steps[k].u, s->bias + (k - s->from) * s->x->n_hidden);
#pragma omp parallel
    {
        struct room m = room_open(s);
#pragma omp for schedule(dynamic, 4)
        for (int64_t b = 0; b < q->n_blocks; b++)
            forward_block(s, b, &m);
#pragma omp for schedule(dynamic)
        for (int64_t k = s->from; k < s->to; k++)
            work_step(s, k);
#pragma omp for schedule(dynamic)
        for (int64_t lane = 0; lane < N_LANES; lane++)
            for (int64_t b = lane * q->n_blocks / N_LANES;
                 b < (lane + 1) * q->n_blocks / N_LANES; b++)
                backward_block(s, b, &m, s->lanes + lane * s->x->n_net);
        room_close(&m);
    }
}

static int check_own(const struct replay *q, struct err *e)
{
    for (int64_t k = 0; k < q->n_steps; k++)
        if (q->is_foreign[k])
            return err_set(e, ERR_MISMATCH,
                           "%s: step %" PRId64
                           ": the lists' probabilities are not those of the policy that is "
                           "said to have drawn them",
                           q->steps[k].name, q->steps[k].k + 1);
    return 0;
}

int replay_run(struct replay *q, const struct policy *p, const double *A,
               const struct ppo_options *o, struct replay_sums *sums, double *grad,
               struct err *e)
{
    const struct ppo *x = ppo_of(p);
    size_t n_net = (size_t)x->n_net;
    struct pass s = {.q = q, .p = p, .x = x, .o = o, .A = A};
    s.bias = mem_alloc((size_t)(q->n_group * x->n_hidden), sizeof *s.bias);
    s.lanes = mem_zalloc(N_LANES * n_net, sizeof *s.lanes);
    scorer_init(&s.scorer, &p->state, x->net, x->n_hidden);
    for (s.from = 0; s.from < q->n_steps; s.from = s.to) {
        s.to = s.from + q->n_group < q->n_steps ? s.from + q->n_group : q->n_steps;
        run_group(&s);
    }
    memset(grad, 0, n_net * sizeof *grad);
    for (size_t lane = 0; lane < N_LANES; lane++)
        for (size_t i = 0; i < n_net; i++)
            grad[i] += s.lanes[lane * n_net + i];
    *sums = (struct replay_sums){.n_lists = (double)(q->n_steps * q->n_classes)};
    for (int64_t k = 0; k < q->n_steps; k++) {
        sums->policy_loss += q->sums[k].policy_loss;
        sums->entropy += q->sums[k].entropy;
        sums->kl += q->sums[k].kl;
        sums->n_clipped += q->sums[k].n_clipped;
        sums->n_ratios += q->sums[k].n_ratios;
        sums->n_choices += q->sums[k].n_choices;
    }
    free(s.bias);
    free(s.lanes);
    int rc = q->is_first ? check_own(q, e) : 0;
    q->is_first = false;
    return rc;
}
