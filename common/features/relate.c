/* SPDX-License-Identifier: MIT
 * relate: near and consistency; see relate.h. */
#include "features/relate.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What makes a row of the pool comparable, and where the results go. */
struct relate {
    const struct relate_pool *p;
    double *mean; /* [dim] of the embeddings */
    struct {
        double mean, scale; /* 1 / deviation */
    } x, y;                 /* the lengths */
    float *out;
};

static double *mean_embedding(const struct relate_pool *p)
{
    double *mean = mem_zalloc((size_t)p->dim, sizeof *mean);
    for (int64_t i = 0; i < p->n; i++)
        for (int64_t j = 0; j < p->dim; j++)
            mean[j] += (double)p->embedding[i * p->dim + j];
    for (int64_t j = 0; j < p->dim; j++)
        mean[j] /= (double)p->n;
    return mean;
}

static void moments(double *mean, double *scale, const int32_t *v, int64_t n)
{
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++)
        sum += v[i];
    *mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++)
        squares += (v[i] - *mean) * (v[i] - *mean);
    *scale = squares > 0 ? 1 / sqrt(squares / (double)n) : 0;
}

static void scale_to_1(float *out, const double *v, int64_t n)
{
    double sum = 0;
    for (int64_t j = 0; j < n; j++)
        sum += v[j] * v[j];
    double scale = sum > 0 ? 1 / sqrt(sum) : 0;
    for (int64_t j = 0; j < n; j++)
        out[j] = (float)(v[j] * scale);
}

static void centre(double *v, const struct relate *r, const float *embedding)
{
    for (int64_t j = 0; j < r->p->dim; j++)
        v[j] = (double)embedding[j] - r->mean[j];
}

/* ---- near ---- */

static void fill_embeddings(const struct relate *r, const float *embedding, int64_t n,
                            float *out)
{
    int64_t dim = r->p->dim;
    double *v = mem_alloc((size_t)dim, sizeof *v);
    for (int64_t i = 0; i < n; i++) {
        centre(v, r, embedding + i * dim);
        scale_to_1(out + i * dim, v, dim);
    }
    free(v);
}

static void embedding_rows(void *arg, int64_t first, int64_t n, float *out)
{
    const struct relate *r = arg;
    fill_embeddings(r, r->p->embedding + first * r->p->dim, n, out);
}

int relate_near(float *near, const struct relate_pool *p, const float *target, int64_t n_target,
                struct err *e)
{
    struct relate r = {.p = p, .mean = mean_embedding(p)};
    float *unit = mem_alloc((size_t)(n_target * p->dim), sizeof *unit);
    fill_embeddings(&r, target, n_target, unit);
    int rc = neighbours_best(near, p->n, p->dim, embedding_rows, &r, unit, n_target, e);
    free(unit);
    free(r.mean);
    return rc;
}

/* ---- consistency ---- */

static double explained(const struct relate_pool *p, int64_t i)
{
    return ((double)p->logp_yx[i] - (double)p->logp_y[i]) / p->len_y[i];
}

static void similar_rows(void *arg, int64_t first, int64_t n, float *out)
{
    const struct relate *r = arg;
    int64_t dim = r->p->dim;
    double *v = mem_alloc((size_t)dim + 2, sizeof *v);
    for (int64_t i = 0; i < n; i++) {
        centre(v, r, r->p->embedding + (first + i) * dim);
        v[dim] = (r->p->len_x[first + i] - r->x.mean) * r->x.scale;
        v[dim + 1] = (r->p->len_y[first + i] - r->y.mean) * r->y.scale;
        scale_to_1(out + i * (dim + 2), v, dim + 2);
    }
    free(v);
}

static void compare(void *arg, int64_t row, const int64_t *id, const float *cosine, int64_t n)
{
    const struct relate *r = arg;
    double mean = 0, squares = 0;
    (void)cosine;
    for (int64_t j = 0; j < n; j++)
        mean += explained(r->p, id[j]) / (double)n;
    for (int64_t j = 0; j < n; j++) {
        double d = explained(r->p, id[j]) - mean;
        squares += d * d / (double)n;
    }
    double spread = sqrt(squares) + RELATE_SOFTENING;
    double c = n ? (explained(r->p, row) - mean) / spread : 0;
    double trust = fmax(0, fmin(1, mean / spread));
    r->out[row] = (float)(trust * fmax(-1, fmin(1, c)));
}

int relate_consistency(float *consistency, const struct relate_pool *p,
                       const struct neighbours_options *o, struct err *e)
{
    struct relate r = {.p = p, .mean = mean_embedding(p), .out = consistency};
    moments(&r.x.mean, &r.x.scale, p->len_x, p->n);
    moments(&r.y.mean, &r.y.scale, p->len_y, p->n);
    int rc = neighbours_find(p->n, p->dim + 2, similar_rows, compare, &r, o, e);
    free(r.mean);
    return rc;
}
