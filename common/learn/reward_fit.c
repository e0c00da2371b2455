/* SPDX-License-Identifier: MIT
 * reward_fit: the reward model's regression over its grid; see reward_fit.h. */
#include "learn/reward_fit.h"

#include "base/mem.h"
#include "policy/linalg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* v: shares of what the stage leaves; 0 leaves the columns out. s2: the least is a hundred
 * thousandth of all variance where the stage has 99 %. a: correlation of the prior's score with
 * the rewards; 0: the prior is not believed. No negative a: delta can turn it. */
enum { N_C = 3, N_V = 5, N_S2 = 8, N_A = 5, N_GRID = N_C * N_V * N_V * N_S2 * N_A };
static const double grid_c[N_C] = {0, 0.5, 1};
static const double grid_v[N_V] = {0, 0.03, 0.1, 0.3, 1};
static const double grid_s2[N_S2] = {0.001, 0.01, 0.03, 0.1, 0.2, 0.4, 0.7, 1};
static const double grid_a[N_A] = {0, 0.1, 0.2, 0.4, 0.7};
static const double slow = 0.7; /* d */
static const double tiny = 1e-12, least_weight = 1e-9;

/* Sums of the regression for one c. */
struct moments {
    double *M, *XX, *Xy, *Xz; /* M [n, p], centred */
    double yy, yz, zz, zs, dk, du;
};

/* What the grid has: without a prior no a, without columns of a kind no v. */
struct extent {
    int n_vk, n_vu, n_a;
};

struct work {
    const struct reward_rows *rows;
    const struct reward_prior *prior;
    struct extent extent;
    struct moments at[N_C];
    double *y, *ev; /* [n], [N_GRID] evidences, then weights */
    /* of one Cholesky factor, over the columns that are on */
    int64_t m, *on;
    double *A, *iy, *iz;
};

static int64_t place(int c, int vk, int vu, int s2, int a)
{
    return (((c * N_V + vk) * N_V + vu) * N_S2 + s2) * N_A + a;
}

/* ---- the rows ---- */

static void make_design(const struct reward_rows *x, double memory, double c, double *M)
{
    double *f = mem_zalloc(2 * (size_t)x->p, sizeof *f), *g = f + x->p;
    for (int64_t i = 0; i < x->n; i++) {
        if (!x->step[i])
            memset(f, 0, 2 * (size_t)x->p * sizeof *f);
        for (int64_t j = 0; j < x->p; j++) {
            f[j] = memory * f[j] + (1 - memory) * x->x[i * x->p + j];
            M[i * x->p + j] = f[j] - c * g[j];
            g[j] = slow * g[j] + (1 - slow) * f[j];
        }
    }
    free(f);
}

/* Takes from each of the `width` columns of x the mean of the row's step. */
static void centre(const struct reward_rows *rows, double *x, int64_t width)
{
    size_t cells = (size_t)(rows->n_steps * width);
    double *mean = mem_zalloc(cells, sizeof *mean);
    double *n = mem_zalloc((size_t)rows->n_steps, sizeof *n);
    for (int64_t i = 0; i < rows->n; i++) {
        n[rows->step[i]]++;
        for (int64_t j = 0; j < width; j++)
            mean[rows->step[i] * width + j] += x[i * width + j];
    }
    for (int64_t i = 0; i < rows->n; i++)
        for (int64_t j = 0; j < width; j++)
            x[i * width + j] -= mean[rows->step[i] * width + j] / n[rows->step[i]];
    free(mean);
    free(n);
}

static double sum_of_squares(const double *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    return sum;
}

/* y, the scale of the rewards and what the stage explains. False: the rewards tell nothing. */
static bool scale_rewards(const struct work *w, struct reward_fit *fit)
{
    const struct reward_rows *x = w->rows;
    double mean = 0, total = 0, size = sum_of_squares(x->r, x->n);
    fit->n_rows = x->n - x->n_steps;
    for (int64_t i = 0; i < x->n; i++)
        mean += x->r[i] / (double)x->n;
    for (int64_t i = 0; i < x->n; i++)
        total += (x->r[i] - mean) * (x->r[i] - mean);
    memcpy(w->y, x->r, (size_t)x->n * sizeof *w->y);
    centre(x, w->y, 1);
    double left = sum_of_squares(w->y, x->n);
    if (fit->n_rows < 1 || !(left > 1e-18 * size)) { /* less is rounding */
        fit->n_rows = 0;
        return false;
    }
    fit->stage_share = 1 - left / total;
    fit->sd = sqrt(left / (double)fit->n_rows);
    for (int64_t i = 0; i < x->n; i++)
        w->y[i] /= fit->sd;
    return true;
}

static void take_moments(const struct work *w, double N, struct moments *s)
{
    const struct reward_rows *x = w->rows;
    const struct reward_prior *prior = w->prior;
    int64_t n = x->n, p = x->p;
    double *z = mem_zalloc((size_t)n, sizeof *z);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < p; j++) {
            double m = s->M[i * p + j], part = prior->share[j] * m * m / N;
            z[i] += m * prior->w0[j];
            s->dk += prior->is_known[j] ? part : 0;
            s->du += prior->is_known[j] ? 0 : part;
        }
    s->dk += tiny;
    s->du += tiny;
    s->zs = sqrt(sum_of_squares(z, n) / N) + tiny;
    for (int64_t i = 0; i < n; i++) {
        const double *m = s->M + i * p;
        z[i] /= s->zs;
        for (int64_t j = 0; j < p; j++) {
            for (int64_t k = 0; k <= j; k++)
                s->XX[j * p + k] += m[j] * m[k];
            s->Xy[j] += m[j] * w->y[i];
            s->Xz[j] += m[j] * z[i];
        }
        s->yy += w->y[i] * w->y[i];
        s->yz += w->y[i] * z[i];
        s->zz += z[i] * z[i];
    }
    free(z);
}

static void open_moments(const struct work *w, double c, double N, struct moments *s)
{
    size_t n = (size_t)w->rows->n, p = (size_t)w->rows->p;
    s->M = mem_alloc(n * p, sizeof *s->M);
    s->XX = mem_zalloc(p * p, sizeof *s->XX);
    s->Xy = mem_zalloc(p, sizeof *s->Xy);
    s->Xz = mem_zalloc(p, sizeof *s->Xz);
    make_design(w->rows, w->prior->memory, c, s->M);
    centre(w->rows, s->M, w->rows->p);
    take_moments(w, N, s);
}

/* ---- one point: a Cholesky factor serves all a ---- */

static double prior_variance(const struct work *w, const struct moments *s, int vk, int vu,
                             int64_t j)
{
    double v = w->prior->is_known[j] ? grid_v[vk] / s->dk : grid_v[vu] / s->du;
    return w->prior->share[j] * v;
}

/* A's factor into w->A, iy and iz; returns log|D| + log|A|, NaN on failure. */
static double factorise(struct work *w, const struct moments *s, int vk, int vu, double s2)
{
    int64_t p = w->rows->p, m = 0;
    double logdet = 0;
    for (int64_t j = 0; j < p; j++)
        if (prior_variance(w, s, vk, vu, j) > 0)
            w->on[m++] = j;
    w->m = m;
    for (int64_t j = 0; j < m; j++) {
        double D = prior_variance(w, s, vk, vu, w->on[j]);
        for (int64_t k = 0; k <= j; k++)
            w->A[j * m + k] = w->A[k * m + j] = s->XX[w->on[j] * p + w->on[k]] / s2;
        w->A[j * m + j] += 1 / D;
        w->iy[j] = s->Xy[w->on[j]] / s2;
        w->iz[j] = s->Xz[w->on[j]] / s2;
        logdet += log(D);
    }
    if (linalg_cholesky(w->A, m) < 0)
        return (double)NAN;
    linalg_solve(w->A, m, w->iy);
    linalg_solve(w->A, m, w->iz);
    return logdet + linalg_logdet(w->A, m);
}

static void weigh_point(struct work *w, double N, int c, int vk, int vu, int i)
{
    const struct moments *s = &w->at[c];
    double s2 = grid_s2[i], logdet = factorise(w, s, vk, vu, s2);
    double yy = s->yy, yz = s->yz, zz = s->zz;
    for (int64_t j = 0; j < w->m; j++) {
        yy -= s->Xy[w->on[j]] * w->iy[j];
        yz -= s->Xy[w->on[j]] * w->iz[j];
        zz -= s->Xz[w->on[j]] * w->iz[j];
    }
    for (int k = 0; k < w->extent.n_a; k++) {
        double a = grid_a[k], quad = (yy - 2 * a * yz + a * a * zz) / s2;
        double ev = -0.5 * (N * log(2 * 3.14159265358979323846 * s2) + logdet + quad);
        w->ev[place(c, vk, vu, i, k)] = isfinite(ev) ? ev : -(double)INFINITY;
    }
}

/* ---- the average ---- */

/* Adds the points of one factor, of weight `sum` together, to mean and second moment. */
static void add_points(struct work *w, int c, int vk, int vu, int i, double sum,
                       struct reward_fit *fit)
{
    const struct moments *s = &w->at[c];
    int64_t p = w->rows->p;
    double *mu = mem_alloc((size_t)p, sizeof *mu);
    factorise(w, s, vk, vu, grid_s2[i]);
    for (int k = 0; k < w->extent.n_a; k++) {
        double a = grid_a[k], weight = w->ev[place(c, vk, vu, i, k)];
        for (int64_t j = 0; j < p; j++)
            mu[j] = a * w->prior->w0[j] / s->zs;
        for (int64_t j = 0; j < w->m; j++)
            mu[w->on[j]] += w->iy[j] - a * w->iz[j];
        for (int64_t j = 0; j < p; j++) {
            fit->mean[j] += weight * mu[j];
            for (int64_t l = 0; l <= j; l++)
                fit->cov[j * p + l] += weight * mu[j] * mu[l];
        }
    }
    for (int64_t j = 0; j < w->m; j++) { /* A^-1, a unit vector a row */
        memset(mu, 0, (size_t)p * sizeof *mu);
        mu[j] = 1;
        linalg_solve(w->A, w->m, mu);
        for (int64_t l = 0; l <= j; l++)
            fit->cov[w->on[j] * p + w->on[l]] += sum * mu[l];
    }
    free(mu);
}

static void finish_cov(struct reward_fit *fit, int64_t p)
{
    double trace = 0;
    for (int64_t j = 0; j < p; j++)
        for (int64_t l = 0; l <= j; l++) {
            double x = fit->cov[j * p + l] - fit->mean[j] * fit->mean[l];
            fit->cov[j * p + l] = fit->cov[l * p + j] = x;
            trace += j == l ? x : 0;
        }
    for (int64_t j = 0; j < p; j++) /* a column that is out has a factor, too */
        fit->cov[j * p + j] += 1e-9 * trace / (double)p + 1e-300;
}

static void tell_averages(struct reward_fit *fit, double weight, int c, int vk, int vu, int i,
                          int k)
{
    fit->c += weight * grid_c[c];
    fit->vk += weight * grid_v[vk];
    fit->vu += weight * grid_v[vu];
    fit->s2 += weight * log(grid_s2[i]);
    fit->a += weight * grid_a[k];
    fit->no_prior += k ? 0 : weight;
}

/* Calls once for each factor of the grid. */
#define EACH_FACTOR(x)                                                                         \
    for (int c = 0; c < N_C; c++)                                                              \
        for (int vk = 0; vk < (x)->n_vk; vk++)                                                 \
            for (int vu = 0; vu < (x)->n_vu; vu++)                                             \
                for (int i = 0; i < N_S2; i++)

/* Evidences become weights; returns the index of the best point's c, -1: none is finite. */
static int normalise(struct work *w, struct reward_fit *fit)
{
    int best = -1;
    double sum = 0;
    fit->evidence = -(double)INFINITY;
    EACH_FACTOR(&w->extent)
    for (int k = 0; k < w->extent.n_a; k++)
        if (w->ev[place(c, vk, vu, i, k)] > fit->evidence) {
            fit->evidence = w->ev[place(c, vk, vu, i, k)];
            best = c;
        }
    if (best < 0)
        return best;
    for (int64_t at = 0; at < N_GRID; at++)
        sum += w->ev[at] = exp(w->ev[at] - fit->evidence);
    for (int64_t at = 0; at < N_GRID; at++)
        w->ev[at] /= sum;
    return best;
}

static void average(struct work *w, struct reward_fit *fit)
{
    EACH_FACTOR(&w->extent)
    {
        double sum = 0;
        for (int k = 0; k < w->extent.n_a; k++) {
            double weight = w->ev[place(c, vk, vu, i, k)];
            sum += weight;
            tell_averages(fit, weight, c, vk, vu, i, k);
        }
        if (sum > least_weight)
            add_points(w, c, vk, vu, i, sum, fit);
    }
    fit->s2 = exp(fit->s2);
    finish_cov(fit, w->rows->p);
}

/* What the mean explains, and how far columns move within a step. */
static void tell_design(const struct work *w, const struct moments *s, struct reward_fit *fit)
{
    int64_t p = w->rows->p, n_known = 0, n_told = 0;
    double residual = 0, square = 0;
    for (int64_t i = 0; i < w->rows->n; i++) {
        double left = w->y[i];
        for (int64_t j = 0; j < p; j++)
            left -= s->M[i * p + j] * fit->mean[j];
        residual += left * left;
    }
    fit->explained = 1 - residual / s->yy;
    for (int64_t j = 0; j < p; j++)
        n_known += w->prior->is_known[j];
    for (int64_t j = 0; j < p; j++)
        if (!n_known || w->prior->is_known[j]) {
            square += s->XX[j * p + j] / (double)fit->n_rows;
            n_told++;
        }
    fit->tau = sqrt(square / (double)n_told);
}

static struct extent measure(const struct reward_prior *prior, int64_t p)
{
    struct extent x = {1, 1, 1};
    for (int64_t j = 0; j < p; j++) {
        x.n_vk = prior->is_known[j] ? N_V : x.n_vk;
        x.n_vu = prior->is_known[j] ? x.n_vu : N_V;
        x.n_a = prior->w0[j] != 0 ? N_A : x.n_a;
    }
    return x;
}

static void work_free(struct work *w)
{
    for (int c = 0; c < N_C; c++) {
        free(w->at[c].M);
        free(w->at[c].XX);
        free(w->at[c].Xy);
        free(w->at[c].Xz);
    }
    free(w->y);
    free(w->ev);
    free(w->on);
    free(w->A);
    free(w->iy);
    free(w->iz);
}

int reward_fit(const struct reward_rows *rows, const struct reward_prior *prior,
               struct reward_fit *fit, struct err *e)
{
    size_t p = (size_t)rows->p;
    struct work w = {.rows = rows,
                     .prior = prior,
                     .extent = measure(prior, rows->p),
                     .y = mem_alloc((size_t)rows->n, sizeof *w.y),
                     .ev = mem_alloc(N_GRID, sizeof *w.ev),
                     .on = mem_alloc(p, sizeof *w.on),
                     .A = mem_alloc(p * p, sizeof *w.A),
                     .iy = mem_alloc(p, sizeof *w.iy),
                     .iz = mem_alloc(p, sizeof *w.iz)};
    int rc = 0;
    *fit = (struct reward_fit){.mean = mem_zalloc(p, sizeof *fit->mean),
                               .cov = mem_zalloc(p * p, sizeof *fit->cov)};
    for (int64_t at = 0; at < N_GRID; at++)
        w.ev[at] = -(double)INFINITY;
    if (!scale_rewards(&w, fit))
        goto out;
    for (int c = 0; c < N_C; c++)
        open_moments(&w, grid_c[c], (double)fit->n_rows, &w.at[c]);
    EACH_FACTOR(&w.extent)
    weigh_point(&w, (double)fit->n_rows, c, vk, vu, i);
    int best = normalise(&w, fit);
    if (best < 0) {
        rc = err_set(e, ERR_NONFINITE, "the regression has no finite solution");
        goto out;
    }
    average(&w, fit);
    tell_design(&w, &w.at[best], fit);
out:
    work_free(&w);
    return rc;
}

void reward_fit_free(struct reward_fit *fit)
{
    free(fit->mean);
    free(fit->cov);
    *fit = (struct reward_fit){0};
}
