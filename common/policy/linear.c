/* SPDX-License-Identifier: MIT
 * linear: scores by weights of phi; see linear.h. */
#include "policy/linear.h"

#include "base/mem.h"
#include "base/rng.h"
#include "policy/linalg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { R = STATE_ROWS };

int linear_draw(const double *mean, const double *covariance, int64_t n, uint64_t seed,
                int64_t t, double *w, struct err *e)
{
    double *L = mem_dup(covariance, (size_t)(n * n) * sizeof *L);
    int rc = linalg_cholesky(L, n);
    if (rc < 0) {
        free(L);
        return err_set(e, ERR_NONFINITE, "policy: sigma is not positive definite");
    }
    struct rng r;
    rng_init(&r, seed, (uint64_t)t);
    double *z = mem_alloc((size_t)n, sizeof *z);
    for (int64_t i = 0; i < n; i++)
        z[i] = rng_normal(&r);
    for (int64_t i = 0; i < n; i++) {
        w[i] = mean[i];
        for (int64_t k = 0; k <= i; k++)
            w[i] += L[i * n + k] * z[k];
    }
    free(z);
    free(L);
    return 0;
}

/* phi . w of one block, in double. */
static void linear_block(int64_t n_static, const float *phi, const double *w, double *y)
{
    memset(y, 0, R * sizeof *y);
    for (int64_t k = 0; k < n_static; k++)
        for (int64_t r = 0; r < R; r++)
            y[r] += (double)phi[k * R + r] * w[k];
}

/* phi . w of all rows into scores, and the sum of its squares. phi is centred over the pool, so
 * the mean is zero but for rounding, and a softmax would not see it. */
static double products(const struct state *s, const struct features *f, const double *w,
                       float *scores)
{
    int64_t blocks = (f->n + R - 1) / R;
    double *part = mem_alloc((size_t)blocks, sizeof *part), square = 0;
#pragma omp parallel
    {
        float *phi = mem_aligned((size_t)(R * s->n_static) * sizeof *phi);
        double y[R];
#pragma omp for schedule(static)
        for (int64_t b = 0; b < blocks; b++) {
            int64_t at = b * R;
            int64_t n = f->n - at < R ? f->n - at : R;
            state_block(s, f, NULL, at, n, phi);
            linear_block(s->n_static, phi, w, y);
            part[b] = 0;
            for (int64_t r = 0; r < n; r++) {
                scores[at + r] = (float)y[r];
                part[b] += y[r] * y[r];
            }
        }
        free(phi);
    }
    for (int64_t b = 0; b < blocks; b++)
        square += part[b];
    free(part);
    return square;
}

void linear_score(const struct state *s, const struct features *f, const double *w,
                  double kappa, float *scores)
{
    double sd = sqrt(products(s, f, w, scores) / (double)f->n);
    float scale = sd > 1e-12 ? (float)(kappa / sd) : 0; /* nothing learned: uniform */
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < f->n; i++)
        scores[i] *= scale;
}

double linear_spread(const struct state *s, const struct features *f, const double *w)
{
    double square = 0;
    float *phi = mem_alloc((size_t)s->n_static, sizeof *phi);
    for (int64_t i = 0; i < f->n; i++) {
        double y = 0;
        state_row(s, f, i, phi);
        for (int64_t k = 0; k < s->n_static; k++)
            y += (double)phi[k] * w[k];
        square += y * y;
    }
    free(phi);
    return sqrt(square / (double)f->n);
}
