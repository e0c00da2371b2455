/* SPDX-License-Identifier: MIT
 * learn: which episodes count, and their rewards; see learn.h. */
#include "base/mem.h"
#include "learn/learn_priv.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int check(const struct policy *p, const struct features *f, const struct traj *t,
                 const char *name, bool is_new, struct err *e)
{
    if (t->features != f->id)
        return err_set(e, ERR_MISMATCH, "%s: the trajectory was made with other features",
                       name);
    is_new = is_new && p->learner == POLICY_PPO; /* the reward model learns from any choice */
    if (is_new && t->policy != policy_id(p))
        return err_set(e, ERR_MISMATCH, "%s: the trajectory was drawn from another policy",
                       name);
    if (is_new && strcmp(t->mode, "sample"))
        return err_set(e, ERR_MISMATCH,
                       "%s: a trajectory of mode \"%s\" cannot be learned from", name, t->mode);
    if (is_new && t->n_classes != f->n_classes)
        return err_set(e, ERR_MISMATCH, "%s: %lld classes, the features have %lld", name,
                       (long long)t->n_classes, (long long)f->n_classes);
    for (int64_t i = 0; i < t->n_picks; i++)
        if (t->pick[i] >= f->n)
            return err_set(e, ERR_MISMATCH, "%s: pick %lld is row %lld of %lld", name,
                           (long long)i, (long long)t->pick[i], (long long)f->n);
    return 0;
}

static bool is_usable(const struct traj *t)
{
    bool is_finite = !strcmp(t->status, "ok");
    for (int64_t k = 0; k <= t->n_steps; k++)
        is_finite = is_finite && isfinite(t->perf[k]);
    return is_finite;
}

static double reward(const struct traj *t, int64_t step)
{
    return t->perf[step + 1] - t->perf[step];
}

/* The sd of all rewards; of rewards that are all alike their size, and of zeros 1. */
static void measure(struct episodes *eps)
{
    double sum = 0, square = 0, size = 0, gain = 0;
    for (int64_t i = 0; i < eps->n; i++) {
        const struct traj *t = eps->traj[i];
        for (int64_t k = 0; k < t->n_steps; k++)
            sum += reward(t, k);
        eps->n_rows += t->n_steps;
        if (eps->is_new[i]) {
            eps->n_new++;
            gain += t->perf[t->n_steps] - t->perf[0];
        }
    }
    double mean = sum / (double)eps->n_rows;
    for (int64_t i = 0; i < eps->n; i++)
        for (int64_t k = 0; k < eps->traj[i]->n_steps; k++) {
            double r = reward(eps->traj[i], k);
            square += (r - mean) * (r - mean);
            size += r * r;
        }
    eps->sd = sqrt(square / (double)eps->n_rows);
    if (!(eps->sd > 1e-9 * sqrt(size / (double)eps->n_rows)))
        eps->sd = size > 0 ? sqrt(size / (double)eps->n_rows) : 1;
    eps->mean_return = eps->n_new ? gain / (double)eps->n_new : 0;
}

static void fill(struct episodes *eps, int64_t i)
{
    const struct traj *t = eps->traj[i];
    int64_t T = t->n_steps;
    double *r = mem_alloc((size_t)T, sizeof *r);
    double *basis = mem_alloc((size_t)(T * N_CRITIC), sizeof *basis);
    for (int64_t k = 0; k < T; k++) {
        float u[2];
        policy_stage_inputs(&(struct policy_stage){k + 1, T, t->perf[0], t->perf[k]}, u);
        r[k] = reward(t, k) / eps->sd;
        double *b = basis + k * N_CRITIC;
        b[0] = 1;
        b[1] = (double)u[1];
        b[2] = (double)u[1] * (double)u[1];
        b[3] = (double)u[0];
        b[4] = k > 0 ? r[k - 1] : 0;
        b[5] = k > 1 ? r[k - 2] : 0;
    }
    eps->reward[i] = r;
    eps->basis[i] = basis;
}

static void episodes_free(struct episodes *eps, int64_t n_all)
{
    for (int64_t i = 0; i < n_all; i++) {
        free(eps->reward[i]);
        free(eps->basis[i]);
    }
    free(eps->traj);
    free(eps->name);
    free(eps->is_new);
    free(eps->reward);
    free(eps->basis);
}

int64_t learn_update(struct policy *p, const struct features *f, const struct traj *all,
                     const char *const *all_names, int64_t n_all, int64_t n_new,
                     const struct learn_options *o, struct learn_metrics *metrics,
                     int64_t *n_dropped, struct err *e)
{
    if (p->features != f->id)
        return err_set(e, ERR_MISMATCH, "the policy was made for other features");
    size_t n = (size_t)n_all;
    struct episodes eps = {.traj = mem_zalloc(n, sizeof *eps.traj),
                           .name = mem_zalloc(n, sizeof *eps.name),
                           .is_new = mem_zalloc(n, sizeof *eps.is_new),
                           .reward = mem_zalloc(n, sizeof *eps.reward),
                           .basis = mem_zalloc(n, sizeof *eps.basis)};
    int64_t rc = 0;
    for (int64_t i = 0; i < n_all && !rc; i++) {
        bool is_new = i >= n_all - n_new;
        rc = check(p, f, &all[i], all_names[i], is_new, e);
        if (!rc && is_usable(&all[i])) {
            eps.name[eps.n] = all_names[i];
            eps.is_new[eps.n] = is_new;
            eps.traj[eps.n++] = &all[i];
        }
    }
    *n_dropped = n_all - eps.n;
    if (!rc && !eps.n)
        rc = err_set(e, ERR_EMPTY, "no episode to learn from: %lld of %lld dropped",
                     (long long)*n_dropped, (long long)n_all);
    if (!rc) {
        measure(&eps);
        for (int64_t i = 0; i < eps.n; i++)
            fill(&eps, i);
        p->reward_sd = eps.sd;
        rc = p->learner == POLICY_PPO ? learn_ppo(p, f, &eps, o, metrics, e)
                                      : learn_reward_model(p, f, &eps, o, metrics, e);
    }
    episodes_free(&eps, n_all);
    if (rc >= 0)
        p->iteration++;
    return rc;
}
