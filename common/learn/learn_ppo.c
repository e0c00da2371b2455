/* SPDX-License-Identifier: MIT
 *
 * learn_ppo: one PPO update; equations in learn.h.
 *
 * The critic and the advantages come from the rewards alone; the loss and its gradient from
 * replaying the episodes (learn_replay.h); then a step of Adam, epoch by epoch.
 */
#include "base/mem.h"
#include "learn/learn_replay.h"
#include "policy/linalg.h"

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

/* ---- the update ---- */

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

int64_t learn_ppo(struct policy *p, const struct features *f, const struct episodes *eps,
                  const struct learn_options *o, struct learn_metrics *metrics, struct err *e)
{
    if (!eps->n_new)
        return err_set(e, ERR_EMPTY, "no usable episode of this policy");
    struct replay *q = replay_new(f, eps, e);
    if (!q)
        return e->code;
    int64_t rc = 0, n_steps;
    double explained = fit_critic(eps, o->gamma, p->critic);
    double *A = advantages(eps, p->critic, o, &n_steps);
    double *g = mem_alloc((size_t)p->n_net, sizeof *g);
    for (int64_t k = 0; k < o->n_epochs && rc >= 0; k++) {
        struct replay_sums s;
        rc = replay_run(q, p, A, o, &s, g, e);
        if (rc < 0)
            break;
        double loss = s.policy_loss - o->entropy * s.entropy, norm = 0;
        if (isfinite(loss))
            norm = adam(p, g, o);
        metrics[k] = (struct learn_metrics){.iteration = p->iteration + 1,
                                            .epoch = k + 1,
                                            .loss = loss,
                                            .policy_loss = s.policy_loss,
                                            .entropy = s.entropy,
                                            .kl = s.kl / s.n_ratios,
                                            .clip_fraction = s.n_clipped / s.n_ratios,
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
    free(A);
    replay_free(q);
    return rc;
}
