/* SPDX-License-Identifier: MIT
 * learn: which episodes count, and their rewards; see learn.h. */
#include "base/mem.h"
#include "learn/learn_priv.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const learn_metrics[N_METRICS + 1] = {
    [M_ITERATION] = "iteration",
    [M_EPOCH] = "epoch",
    [M_LOSS] = "loss",
    [M_POLICY_LOSS] = "policy_loss",
    [M_ENTROPY] = "entropy",
    [M_KL] = "kl",
    [M_CLIP_FRACTION] = "clip_fraction",
    [M_GRAD_NORM] = "grad_norm",
    [M_EXPLAINED_VARIANCE] = "explained_variance",
    [M_MEAN_RETURN] = "mean_return",
    [M_REWARD_SD] = "reward_sd",
    [M_S2] = "s2",
    [M_V] = "v",
    [M_LOG_EVIDENCE] = "log_evidence",
};

double *learn_report_row(struct learn_report *r)
{
    size_t n = (size_t)r->n_names;
    r->values = mem_realloc(r->values, (size_t)(r->n_rows + 1) * n, sizeof *r->values);
    double *row = r->values + r->n_rows++ * r->n_names;
    memset(row, 0, n * sizeof *row);
    return row;
}

double learn_report_value(const struct learn_report *r, int64_t row, const char *name)
{
    for (int64_t k = 0; k < r->n_names && row >= 0 && row < r->n_rows; k++)
        if (!strcmp(r->names[k], name))
            return r->values[row * r->n_names + k];
    return (double)NAN;
}

void learn_report_free(struct learn_report *r)
{
    free(r->values);
    *r = (struct learn_report){0};
}

static int check(const struct policy *p, const struct features *f, const struct traj *t,
                 const char *name, bool is_new, struct err *e)
{
    if (t->features != f->id)
        return err_set(e, ERR_MISMATCH, "%s: the trajectory was made with other features",
                       name);
    is_new = is_new && p->learner->needs_own_episodes;
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

/* Rewards of different targets, or of different models, must not teach one policy. */
static int check_mixture(const struct traj *all, const char *const *names, int64_t i,
                         struct err *e)
{
    for (int64_t k = 0; k < i; k++) {
        const char *what = traj_differ(&all[k], &all[i]);
        if (what)
            return err_set(e, ERR_MISMATCH,
                           "%s and %s: of different %s: their rewards cannot be compared",
                           names[k], names[i], what);
    }
    return 0;
}

static bool is_usable(const struct traj *t)
{
    bool is_finite = traj_is_ok(t);
    for (int64_t k = 0; k <= t->n_steps; k++)
        is_finite = is_finite && isfinite(t->perf[k]);
    return is_finite;
}

static double reward(const struct traj *t, int64_t step)
{
    return t->perf[step + 1] - t->perf[step];
}

/* The sd of all rewards; of rewards that are alike but for rounding their size, and of zeros 1.
 */
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
    eps->is_flat = !(eps->sd > 1e-9 * sqrt(size / (double)eps->n_rows));
    if (eps->is_flat)
        eps->sd = size > 0 ? sqrt(size / (double)eps->n_rows) : 1;
    eps->mean_return = eps->n_new ? gain / (double)eps->n_new : 0;
}

static void fill(struct episodes *eps, int64_t i)
{
    const struct traj *t = eps->traj[i];
    int64_t T = t->n_steps;
    double *r = mem_alloc((size_t)T, sizeof *r);
    double *basis = mem_alloc((size_t)(T * N_BASIS), sizeof *basis);
    for (int64_t k = 0; k < T; k++) {
        float u[2];
        state_stage_inputs(
            &(struct policy_stage){k + 1, T, t->perf[0], t->perf[k], t->batch, NULL}, u);
        r[k] = reward(t, k) / eps->sd;
        double *b = basis + k * N_BASIS;
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

/* Room for n_all episodes; of them the usable ones. */
static int gather(struct episodes *eps, const struct policy *p, const struct features *f,
                  const struct traj *all, const char *const *names, int64_t n_all,
                  int64_t n_new, struct err *e)
{
    size_t n = (size_t)n_all;
    *eps = (struct episodes){.traj = mem_zalloc(n, sizeof *eps->traj),
                             .name = mem_zalloc(n, sizeof *eps->name),
                             .is_new = mem_zalloc(n, sizeof *eps->is_new),
                             .reward = mem_zalloc(n, sizeof *eps->reward),
                             .basis = mem_zalloc(n, sizeof *eps->basis)};
    for (int64_t i = 0; i < n_all; i++) {
        bool is_new = i >= n_all - n_new;
        int rc = check(p, f, &all[i], names[i], is_new, e);
        if (!rc)
            rc = check_mixture(all, names, i, e);
        if (rc)
            return rc;
        if (is_usable(&all[i])) {
            eps->name[eps->n] = names[i];
            eps->is_new[eps->n] = is_new;
            eps->traj[eps->n++] = &all[i];
        }
    }
    if (!n_all || (p->learner->needs_own_episodes && !n_new))
        return err_set(e, ERR_EMPTY, "no episode to learn from");
    if (!eps->n)
        return 0;
    measure(eps);
    for (int64_t i = 0; i < eps->n; i++)
        fill(eps, i);
    return 0;
}

static void open_report(struct learn_report *r, const struct learner *l)
{
    *r = (struct learn_report){.names = l->metrics};
    while (r->names[r->n_names])
        r->n_names++;
}

int learn_update(struct policy *p, const struct features *f, const struct traj *all,
                 const char *const *all_names, int64_t n_all, int64_t n_new,
                 const void *options, struct learn_report *r, struct err *e)
{
    struct episodes eps;
    open_report(r, p->learner);
    if (p->features != f->id || !p->state.is_bound)
        return err_set(e, ERR_MISMATCH, "the policy was made for other features");
    if (!p->learner->update)
        return err_set(e, ERR_UNSUPPORTED,
                       "learner %s learns while an episode runs, and nothing from those before",
                       p->learner->name);
    int rc = gather(&eps, p, f, all, all_names, n_all, n_new, e);
    r->n_dropped = n_all - eps.n;
    r->is_unchanged = !rc && !(p->learner->needs_own_episodes ? eps.n_new : eps.n);
    if (!rc && !r->is_unchanged) {
        r->mean_return = eps.mean_return;
        r->reward_sd = p->reward_sd = eps.sd;
        rc = p->learner->update(p, f, &eps, options ? options : p->learner->defaults, r, e);
    }
    episodes_free(&eps, n_all);
    if (!rc && !r->is_unchanged)
        p->iteration++;
    return rc;
}
