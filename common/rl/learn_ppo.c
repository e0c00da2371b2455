/* SPDX-License-Identifier: MIT
 *
 * learn_ppo: one PPO update; equations in learn.h.
 *
 * Episodes are replayed: at each step the rows that were available are scored in that step's
 * state, each class's log-probability and its gradient come from the Plackett-Luce lists, and
 * the gradient flows back through the scorer. Blocks of rows add into their own sums, which are
 * merged in order: the update is the same for any number of threads.
 */
#include "base/mem.h"
#include "rl/learn_priv.h"
#include "rl/linalg.h"
#include "rl/select.h"

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

/* Ridge regression of returns on the basis over all episodes; w into critic. Returns the share
 * of the returns' variance that it explains. */
static double fit_critic(const struct episodes *eps, double gamma, double *critic)
{
    double A[N_CRITIC * N_CRITIC] = {0}, b[N_CRITIC] = {0}, yy = 0, sum = 0, sse = 0;
    double *G = mem_alloc((size_t)eps->n_rows, sizeof *G);
    int64_t row = 0;
    for (int64_t i = 0; i < eps->n; i++) {
        int64_t T = eps->traj[i]->n_steps;
        returns(eps->reward[i], T, gamma, G + row);
        for (int64_t k = 0; k < T; k++, row++) {
            const double *x = eps->basis[i] + k * N_CRITIC;
            for (int p = 0; p < N_CRITIC; p++) {
                b[p] += x[p] * G[row];
                for (int q = 0; q < N_CRITIC; q++)
                    A[p * N_CRITIC + q] += x[p] * x[q];
            }
            yy += G[row] * G[row];
            sum += G[row];
        }
    }
    for (int p = 0; p < N_CRITIC; p++)
        A[p * N_CRITIC + p] += p ? 1 : 1e-6;
    if (!linalg_cholesky(A, N_CRITIC)) {
        linalg_solve(A, N_CRITIC, b);
        memcpy(critic, b, sizeof b);
    }
    row = 0;
    for (int64_t i = 0; i < eps->n; i++)
        for (int64_t k = 0; k < eps->traj[i]->n_steps; k++, row++) {
            double v = 0;
            for (int p = 0; p < N_CRITIC; p++)
                v += critic[p] * eps->basis[i][k * N_CRITIC + p];
            sse += (G[row] - v) * (G[row] - v);
        }
    free(G);
    double var = yy - sum * sum / (double)eps->n_rows;
    return var > 0 ? 1 - sse / var : 0;
}

static double value(const double *critic, const double *basis)
{
    double v = 0;
    for (int p = 0; p < N_CRITIC; p++)
        v += critic[p] * basis[p];
    return v;
}

/* A_t of the new episodes, one after the other; centred and scaled over the update. */
static double *advantages(const struct episodes *eps, const double *critic,
                          const struct learn_options *o, int64_t *n_rows)
{
    double *A = mem_alloc((size_t)eps->n_rows + 1, sizeof *A), sum = 0, square = 0;
    int64_t n = 0;
    for (int64_t i = 0; i < eps->n; i++) {
        int64_t T = eps->traj[i]->n_steps;
        double next = 0, next_value = 0;
        if (!eps->is_new[i])
            continue;
        for (int64_t k = T - 1; k >= 0; k--) {
            double v = value(critic, eps->basis[i] + k * N_CRITIC);
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
    double sd = sqrt(square / (double)n) + 1e-6;
    for (int64_t k = 0; k < n; k++)
        A[k] /= sd;
    *n_rows = n;
    return A;
}

/* ---- one step of one episode ---- */

struct ppo {
    const struct features *f;
    const struct learn_options *o;
    struct policy *p;
    int64_t n_steps;                  /* of all new episodes */
    float *phi;                       /* [N, n_static]: static, made once */
    float *scores, *dscores, *hidden; /* [N], [N], [N, hp] */
    int64_t **rows;                   /* [C]: rows of each class, ascending */
    int64_t *n_class;
    double *z, *grad; /* [largest class] */
    int64_t *avail, *pos;
    double *item_old; /* RATIO_ITEM: log pi of each pick at epoch 0 */
    /* sums of an epoch */
    double policy_loss, entropy, kl, n_clipped, n_ratios;
    struct scorer net;
    double *total; /* gradient in double, laid out as net.Wt */
};

/* d/dz of sum_k weight_k log pi_k, added to grad: weight on the pick itself, and
 * -sum_{k <= m(j)} weight_k exp(z_j - D_k) on every row; D falls with k, so exp(D_last - D_k)
 * and exp(z_j - D_last) stay below 1 for rows that were not picked. */
static void list_gradient(const double *z, int64_t n_avail, const int64_t *pos, const double *D,
                          const double *weight, int64_t b, const char *is_picked, double *grad)
{
    double all = 0;
    for (int64_t k = 0; k < b; k++)
        all += weight[k] * exp(D[b - 1] - D[k]);
    for (int64_t j = 0; j < n_avail; j++)
        if (!is_picked[j])
            grad[j] -= all * exp(z[j] - D[b - 1]);
    for (int64_t m = 0; m < b; m++) {
        grad[pos[m]] += weight[m];
        for (int64_t k = 0; k <= m; k++)
            grad[pos[m]] -= weight[k] * exp(z[pos[m]] - D[k]);
    }
}

/* D_k of a list (see select.h) and log pi of each item. */
static void list_terms(const double *z, int64_t n_avail, const int64_t *pos, int64_t b,
                       const char *is_picked, double *D, double *logp)
{
    double max = -(double)INFINITY, sum = 0, at;
    for (int64_t j = 0; j < n_avail; j++)
        if (!is_picked[j] && z[j] > max)
            max = z[j];
    for (int64_t j = 0; j < n_avail; j++)
        if (!is_picked[j])
            sum += exp(z[j] - max);
    at = sum > 0 ? max + log(sum) : -(double)INFINITY;
    for (int64_t k = b - 1; k >= 0; k--) {
        double x = z[pos[k]], hi = at > x ? at : x, lo = at > x ? x : at;
        D[k] = at = isinf(lo) ? hi : hi + log1p(exp(lo - hi));
        logp[k] = x - at;
    }
}

/* min(rho A, clip(rho) A) and whether the gradient passes; log_ratio clamped to +-20. */
static double surrogate(struct ppo *q, double log_ratio, double A, double *slope)
{
    bool is_clamped = fabs(log_ratio) > 20;
    double rho = exp(is_clamped ? copysign(20, log_ratio) : log_ratio), eps = q->o->clip;
    bool is_clipped = (A > 0 && rho > 1 + eps) || (A < 0 && rho < 1 - eps);
    q->kl += rho - 1 - log_ratio;
    q->n_clipped += fabs(rho - 1) > eps;
    q->n_ratios++;
    *slope = is_clipped || is_clamped ? 0 : A * rho;
    double clipped = rho < 1 - eps ? 1 - eps : rho > 1 + eps ? 1 + eps : rho;
    return is_clipped ? clipped * A : rho * A;
}

/* One class's list at one step: loss terms, and d loss / d score into q->dscores. */
static void class_loss(struct ppo *q, const struct traj *t, int64_t step, int64_t c, double A,
                       const struct selector *used, bool is_first_epoch)
{
    int64_t list = step * t->n_classes + c, first = t->list_offset[list], n = 0;
    int64_t b = t->list_offset[list + 1] - first;
    double share = 1 / ((double)t->n_classes * (double)q->n_steps), H;
    for (int64_t k = 0; k < q->n_class[c]; k++) {
        int64_t row = q->rows[c][k];
        if (!t->has_repeats && !selector_is_available(used, row))
            continue;
        q->z[n] = (double)q->scores[row] / t->tau;
        q->avail[n] = row;
        q->pos[row] = n++; /* by row, for this class */
    }
    if (!b || !n)
        return;
    int64_t *pos = mem_alloc((size_t)b, sizeof *pos);
    double *D = mem_alloc((size_t)b * 3, sizeof *D), *logp = D + b, *weight = D + 2 * b;
    char *is_picked = mem_zalloc((size_t)n, 1);
    for (int64_t k = 0; k < b; k++) {
        pos[k] = q->pos[t->pick[first + k]];
        is_picked[pos[k]] = 1;
    }
    list_terms(q->z, n, pos, b, is_picked, D, logp);
    memset(q->grad, 0, (size_t)n * sizeof *q->grad);

    double sum = 0, slope = 0;
    for (int64_t k = 0; k < b; k++)
        sum += logp[k];
    if (q->o->ratio == RATIO_ITEM) {
        for (int64_t k = 0; k < b; k++) {
            double *old = &q->item_old[first + k];
            if (is_first_epoch)
                *old = logp[k];
            q->policy_loss -= share / (double)b * surrogate(q, logp[k] - *old, A, &slope);
            weight[k] = -share / (double)b * slope;
        }
    } else {
        double per = q->o->ratio == RATIO_MEAN ? (double)b : 1;
        q->policy_loss -= share * surrogate(q, (sum - t->list_logp[list]) / per, A, &slope);
        for (int64_t k = 0; k < b; k++)
            weight[k] = -share * slope / per;
    }
    list_gradient(q->z, n, pos, D, weight, b, is_picked, q->grad);

    if (n > 1) { /* -beta H / log n: dH/dz_j = -p_j (log p_j + H), log p_j = z_j - D_0 */
        double scale = share / log((double)n);
        H = 0;
        for (int64_t j = 0; j < n; j++)
            H -= exp(q->z[j] - D[0]) * (q->z[j] - D[0]);
        q->entropy += scale * H;
        for (int64_t j = 0; j < n; j++) {
            double lp = q->z[j] - D[0];
            q->grad[j] += q->o->entropy * scale * exp(lp) * (lp + H);
        }
    }
    for (int64_t j = 0; j < n; j++)
        q->dscores[q->avail[j]] = (float)(q->grad[j] / t->tau);
    free(is_picked);
    free(D);
    free(pos);
}

static void score_step(struct ppo *q, const uint16_t *counts)
{
    int64_t N = q->f->n;
#pragma omp parallel for schedule(static)
    for (int64_t at = 0; at < N; at += POLICY_BLOCK) {
        int64_t rows = N - at < POLICY_BLOCK ? N - at : POLICY_BLOCK;
        scorer_rows(&q->net, q->phi + at * q->net.n_static, counts + at, rows, q->scores + at,
                    q->hidden + at * q->net.hp);
    }
}

/* Adds each block's gradient, made apart, to the total in the blocks' order. */
static void backward_step(struct ppo *q, const uint16_t *counts, const float u[2])
{
    int64_t N = q->f->n, size = (q->net.n_static + 6) * q->net.hp;
#pragma omp parallel
    {
        struct scorer g = q->net;
        float *sums = mem_aligned((size_t)size * sizeof *sums);
        g.Wt = sums;
        g.Wu = sums + (q->net.Wu - q->net.Wt);
        g.Wc = sums + (q->net.Wc - q->net.Wt);
        g.b = sums + (q->net.b - q->net.Wt);
        g.o = sums + (q->net.o - q->net.Wt);
#pragma omp for ordered schedule(static, 1)
        for (int64_t at = 0; at < N; at += POLICY_BLOCK) {
            int64_t rows = N - at < POLICY_BLOCK ? N - at : POLICY_BLOCK;
            memset(sums, 0, (size_t)size * sizeof *sums);
            scorer_rows_grad(&q->net, &g, u, q->phi + at * q->net.n_static, counts + at,
                             q->dscores + at, q->hidden + at * q->net.hp, rows);
#pragma omp ordered
            for (int64_t k = 0; k < size; k++)
                q->total[k] += (double)sums[k];
        }
        free(sums);
    }
}

static void replay(struct ppo *q, const struct traj *t, const double *A, bool is_first_epoch)
{
    struct selector *used = selector_new(q->f->n, q->f->class_of, q->f->n_classes);
    for (int64_t step = 0; step < t->n_steps; step++) {
        float u[2];
        if (!t->has_repeats)
            selector_open_step(used);
        policy_stage_inputs(
            &(struct policy_stage){step + 1, t->n_steps, t->perf[0], t->perf[step]}, u);
        scorer_set_stage(&q->net, u);
        score_step(q, selector_counts(used));
        memset(q->dscores, 0, (size_t)q->f->n * sizeof *q->dscores);
        for (int64_t c = 0; c < t->n_classes; c++)
            class_loss(q, t, step, c, A[step], used, is_first_epoch);
        backward_step(q, selector_counts(used), u);
        int64_t first = t->list_offset[step * t->n_classes];
        selector_mark(used, t->pick + first, t->list_offset[(step + 1) * t->n_classes] - first);
    }
    selector_free(used);
}

/* ---- Adam ---- */

/* The packed gradient back in the order of W, b, o. */
static void unpack(const struct ppo *q, double *g)
{
    const struct policy *p = q->p;
    const struct scorer *s = &q->net;
    int64_t first = p->parts & PART_STAGE ? 2 : 0;
    const double *Wu = q->total + (s->Wu - s->Wt), *Wc = q->total + (s->Wc - s->Wt);
    const double *b = q->total + (s->b - s->Wt), *o = q->total + (s->o - s->Wt);
    for (int64_t j = 0; j < p->n_hidden; j++) {
        double *row = g + j * p->n_in;
        for (int64_t i = 0; i < first; i++)
            row[i] = Wu[i * s->hp + j];
        for (int64_t i = 0; i < p->n_static; i++)
            row[first + i] = q->total[i * s->hp + j];
        if (p->parts & PART_COUNT)
            row[first + p->n_static] = Wc[j];
        g[p->n_hidden * p->n_in + j] = b[j];
        g[p->n_hidden * (p->n_in + 1) + j] = o[j];
    }
}

/* Returns the gradient's norm before clipping. */
static double adam(struct policy *p, const double *g, const struct learn_options *o)
{
    const double b1 = 0.9, b2 = 0.99, tiny = 1e-8;
    double norm = 0;
    for (int64_t i = 0; i < p->n_net; i++)
        norm += g[i] * g[i];
    norm = sqrt(norm);
    double scale = o->grad_clip > 0 && norm > o->grad_clip ? o->grad_clip / norm : 1;
    p->adam_step++;
    double c1 = 1 - pow(b1, (double)p->adam_step), c2 = 1 - pow(b2, (double)p->adam_step);
    for (int64_t i = 0; i < p->n_net; i++) {
        double x = g[i] * scale, m = b1 * (double)p->adam_m[i] + (1 - b1) * x;
        double v = b2 * (double)p->adam_v[i] + (1 - b2) * x * x;
        p->adam_m[i] = (float)m;
        p->adam_v[i] = (float)v;
        p->net[i] -= (float)(o->lr * (m / c1) / (sqrt(v / c2) + tiny));
    }
    return norm;
}

/* ---- the update ---- */

static void ppo_open(struct ppo *q, const struct episodes *eps)
{
    size_t N = (size_t)q->f->n, C = (size_t)q->f->n_classes, most = 0, picks = 0;
    q->phi = mem_aligned(N * (size_t)q->p->n_static * sizeof *q->phi);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < q->f->n; i++)
        policy_phi(q->p, q->f, i, q->phi + i * q->p->n_static);
    scorer_open(&q->net, q->p);
    q->scores = mem_alloc(N, sizeof *q->scores);
    q->dscores = mem_alloc(N, sizeof *q->dscores);
    q->hidden = mem_aligned(N * (size_t)q->net.hp * sizeof *q->hidden);
    q->rows = mem_zalloc(C, sizeof *q->rows);
    q->n_class = mem_zalloc(C, sizeof *q->n_class);
    for (size_t i = 0; i < N; i++)
        q->n_class[q->f->class_of[i]]++;
    for (size_t c = 0; c < C; c++) {
        q->rows[c] = mem_alloc((size_t)q->n_class[c], sizeof **q->rows);
        most = (size_t)q->n_class[c] > most ? (size_t)q->n_class[c] : most;
        q->n_class[c] = 0;
    }
    for (int64_t i = 0; i < q->f->n; i++) {
        int32_t c = q->f->class_of[i];
        q->rows[c][q->n_class[c]++] = i;
    }
    q->z = mem_alloc(most, sizeof *q->z);
    q->grad = mem_alloc(most, sizeof *q->grad);
    q->avail = mem_alloc(most, sizeof *q->avail);
    q->pos = mem_alloc(N, sizeof *q->pos);
    q->total = mem_alloc((size_t)((q->net.n_static + 6) * q->net.hp), sizeof *q->total);
    for (int64_t i = 0; i < eps->n; i++)
        picks += eps->is_new[i] ? (size_t)eps->traj[i]->n_picks : 0;
    q->item_old = mem_alloc(picks, sizeof *q->item_old);
}

static void ppo_close(struct ppo *q)
{
    for (int64_t c = 0; c < q->f->n_classes; c++)
        free(q->rows[c]);
    void *const owned[] = {q->phi, q->scores, q->dscores, q->hidden, q->rows,     q->n_class,
                           q->z,   q->grad,   q->avail,   q->pos,    q->item_old, q->total};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++)
        free(owned[i]);
    scorer_close(&q->net);
}

/* Loss and gradient of one epoch, into q's sums. */
static void run_epoch(struct ppo *q, const struct episodes *eps, const double *A,
                      bool is_first_epoch)
{
    double *old = q->item_old;
    scorer_close(&q->net);
    scorer_open(&q->net, q->p);
    memset(q->total, 0, (size_t)((q->net.n_static + 6) * q->net.hp) * sizeof *q->total);
    q->policy_loss = q->entropy = q->kl = q->n_clipped = q->n_ratios = 0;
    for (int64_t i = 0; i < eps->n; i++) {
        if (!eps->is_new[i])
            continue;
        replay(q, eps->traj[i], A, is_first_epoch);
        A += eps->traj[i]->n_steps;
        q->item_old += eps->traj[i]->n_picks;
    }
    q->item_old = old;
}

int64_t learn_ppo(struct policy *p, const struct features *f, const struct episodes *eps,
                  const struct learn_options *o, struct learn_metrics *metrics, struct err *e)
{
    if (!eps->n_new)
        return err_set(e, ERR_EMPTY, "no usable episode of this policy");
    struct ppo q = {.f = f, .o = o, .p = p};
    double explained = fit_critic(eps, o->gamma, p->critic);
    double *A = advantages(eps, p->critic, o, &q.n_steps);
    ppo_open(&q, eps);
    double *g = mem_alloc((size_t)p->n_net, sizeof *g);
    int64_t rc = 0;
    for (int64_t k = 0; k < o->n_epochs && rc >= 0; k++) {
        run_epoch(&q, eps, A, k == 0);
        unpack(&q, g);
        double loss = q.policy_loss - o->entropy * q.entropy, norm = 0;
        if (isfinite(loss))
            norm = adam(p, g, o);
        metrics[k] = (struct learn_metrics){.iteration = p->iteration + 1,
                                            .epoch = k + 1,
                                            .loss = loss,
                                            .policy_loss = q.policy_loss,
                                            .entropy = q.entropy,
                                            .kl = q.kl / q.n_ratios,
                                            .clip_fraction = q.n_clipped / q.n_ratios,
                                            .grad_norm = norm,
                                            .explained_variance = explained,
                                            .mean_return = eps->mean_return,
                                            .reward_sd = eps->sd};
        rc = isfinite(loss) && isfinite(norm)
                 ? k + 1
                 : err_set(e, ERR_NONFINITE, "epoch %lld: the loss is not finite",
                           (long long)k + 1);
    }
    free(g);
    ppo_close(&q);
    free(A);
    return rc;
}
