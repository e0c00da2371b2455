/* SPDX-License-Identifier: MIT
 * plan_diverse: how alike records are, and DEITA's rule that drops what is too like a record
 * already taken; see plan_make.h. */
#include "base/mem.h"
#include "plan/plan_work.h"

#include <math.h>
#include <stdlib.h>

enum { LANES = 8 };

/* Owned by the caller: the mean row, or zeros. */
static double *centre(const struct features *f, bool is_centred)
{
    double *mean = mem_zalloc((size_t)f->dim, sizeof *mean);
    for (int64_t i = 0; is_centred && i < f->n; i++)
        for (int64_t j = 0; j < f->dim; j++)
            mean[j] += (double)f->embedding[i * f->dim + j] / (double)f->n;
    return mean;
}

struct unit_rows plan_unit_rows(const struct features *f, bool is_centred)
{
    struct unit_rows u = {NULL, f->n, (f->dim + LANES - 1) / LANES * LANES};
    double *mean = centre(f, is_centred);
    u.x = mem_zalloc((size_t)(u.n * u.stride), sizeof *u.x);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < f->n; i++) {
        const float *src = f->embedding + i * f->dim;
        double sum = 0;
        for (int64_t j = 0; j < f->dim; j++)
            sum += ((double)src[j] - mean[j]) * ((double)src[j] - mean[j]);
        double scale = sum > 0 ? 1 / sqrt(sum) : 0;
        for (int64_t j = 0; j < f->dim; j++)
            u.x[i * u.stride + j] = (float)(((double)src[j] - mean[j]) * scale);
    }
    free(mean);
    return u;
}

float plan_dot(const float *a, const float *b, int64_t stride)
{
    float sum[LANES] = {0};
    for (int64_t j = 0; j < stride; j += LANES)
        for (int l = 0; l < LANES; l++)
            sum[l] += a[j + l] * b[j + l];
    return ((sum[0] + sum[4]) + (sum[1] + sum[5])) + ((sum[2] + sum[6]) + (sum[3] + sum[7]));
}

/* The cosine to the first of the kept rows that exceeds the bound, or NaN. */
static double cosine_to_kept(const struct plan_work *w, const struct unit_rows *u, int64_t row,
                             int64_t n_kept)
{
    const float *x = u->x + row * u->stride;
    for (int64_t k = 0; k < n_kept; k++) {
        double c = (double)plan_dot(x, u->x + w->ranked[k] * u->stride, u->stride);
        if (c > w->q->max_cosine)
            return c;
    }
    return (double)NAN;
}

/* The kept rows move to the front of the ranking, which costs no memory of its own. */
void plan_keep_diverse(struct plan_work *w)
{
    struct unit_rows u = plan_unit_rows(w->q->f, true);
    int64_t n_kept = 0;
    for (int64_t k = 0; k < w->n_ranked && n_kept < w->n_wanted; k++) {
        int64_t row = w->ranked[k];
        double cosine = cosine_to_kept(w, &u, row, n_kept);
        if (isnan(cosine))
            w->ranked[n_kept++] = row;
        else
            plan_leave_out(w, row, "too like a record already taken", cosine);
    }
    w->n_ranked = n_kept;
    free(u.x);
}
