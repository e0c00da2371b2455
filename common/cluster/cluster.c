/* SPDX-License-Identifier: MIT
 * cluster: k-means; see cluster.h. FAISS finds the centroids; what is ours is that they end as
 * the means of their rows, what happens to outliers and small classes, the order of the
 * classes, and that threads do not change the result. */
#include "cluster/cluster.h"

#include "base/mem.h"
#include "base/rng.h"
#include "cluster/check.h"

#include <float.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include <faiss/c_api/Clustering_c.h>
#include <faiss/c_api/IndexFlat_c.h>
#include <faiss/c_api/Index_c.h>
#include <faiss/c_api/error_c.h>

/* In newer releases of the C API, and in faiss_c.cpp. */
const char *faiss_get_version(void) __attribute__((weak));

enum { BLOCK_ROWS = 4096 }; /* rows assigned by one thread at a time */

int cluster_check(const float *x, int64_t n, int64_t dim, struct err *e)
{
    if (n < 1 || dim < 1 || dim > 1 << 20)
        return err_set(e, ERR_RANGE, "cannot group %lld rows of %lld values", (long long)n,
                       (long long)dim);
    for (int64_t i = 0; i < n * dim; i++) {
        if (!isfinite(x[i]))
            return err_set(e, ERR_NONFINITE, "row %lld: value %lld is not finite",
                           (long long)(i / dim), (long long)(i % dim));
        if (fabsf(x[i]) > CLUSTER_MAX_VALUE)
            return err_set(e, ERR_RANGE, "row %lld: value %lld is too large: %g",
                           (long long)(i / dim), (long long)(i % dim), (double)x[i]);
    }
    return 0;
}

/* A copy with rows of length 1; a zero row stays. */
static float *unit_rows(const float *x, int64_t n, int64_t dim)
{
    float *u = mem_alloc((size_t)n * (size_t)dim, sizeof *u);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) {
        double sum = 0;
        for (int64_t j = 0; j < dim; j++)
            sum += (double)x[i * dim + j] * (double)x[i * dim + j];
        double scale = sum > 0 ? 1 / sqrt(sum) : 0;
        for (int64_t j = 0; j < dim; j++)
            u[i * dim + j] = (float)((double)x[i * dim + j] * scale);
    }
    return u;
}

static double squared_distance(const float *a, const float *b, int64_t dim)
{
    double sum = 0;
    for (int64_t j = 0; j < dim; j++) {
        double d = (double)a[j] - (double)b[j];
        sum += d * d;
    }
    return sum;
}

/* ---- FAISS ---- */

/* What is grouped. Rows are set aside when they turn out to be outliers: they get a class at
 * the end, and have no say in where its centroid is. */
struct rows {
    const float *x; /* [n, dim], borrowed */
    int64_t n, dim;
    uint8_t *is_aside; /* [n], owned */
    int64_t n_aside;
};

/* The rows that centroids are trained on: all, or a seeded sample in file order. */
static const float *training_rows(float **owned, int64_t *n_train, const struct rows *x,
                                  const struct cluster_options *o)
{
    int64_t most = o->k > CLUSTER_MAX_TRAIN / CLUSTER_MIN_TRAIN_PER_CLASS
                       ? o->k * CLUSTER_MIN_TRAIN_PER_CLASS
                       : CLUSTER_MAX_TRAIN;
    int64_t left = x->n - x->n_aside, dim = x->dim;
    *owned = NULL;
    *n_train = left < most ? left : most;
    if (*n_train == x->n)
        return x->x;
    struct rng r;
    rng_init(&r, o->seed, 0);
    *owned = mem_alloc((size_t)(*n_train * dim), sizeof **owned);
    int64_t n_taken = 0;
    for (int64_t i = 0; n_taken < *n_train; i++) { /* selection sampling (Knuth 3.4.2 S) */
        if (x->is_aside[i])
            continue;
        if ((int64_t)rng_below(&r, (uint64_t)left--) < *n_train - n_taken)
            memcpy(*owned + n_taken++ * dim, x->x + i * dim, (size_t)dim * sizeof *x->x);
    }
    return *owned;
}

static FaissMetricType metric(const struct cluster_options *o)
{
    return o->is_spherical ? METRIC_INNER_PRODUCT : METRIC_L2;
}

/* What the search reports, summed: the less, the better the centroids. */
static int sum_of_distances(double *sum, const FaissIndex *index, const float *x, int64_t n,
                            int64_t dim, bool is_spherical)
{
    float distance[BLOCK_ROWS];
    idx_t label[BLOCK_ROWS];
    *sum = 0;
    for (int64_t first = 0; first < n; first += BLOCK_ROWS) {
        int64_t m = n - first < BLOCK_ROWS ? n - first : BLOCK_ROWS;
        int rc = faiss_Index_search(index, m, x + first * dim, 1, distance, label);
        if (rc)
            return rc;
        for (int64_t i = 0; i < m; i++)
            *sum += is_spherical ? -(double)distance[i] : (double)distance[i];
    }
    return 0;
}

/* Starts are compared by (sum, number): which thread ends first does not matter. */
struct best {
    double sum;
    int64_t start;
    float *centroids; /* [k, dim] */
    int rc;
    struct err e;
};

static void keep_best(struct best *best, double sum, int64_t start, FaissClustering *c)
{
    float *centroids;
    size_t n_floats;
    if (best->start >= 0 && (sum > best->sum || (sum >= best->sum && start > best->start)))
        return;
    faiss_Clustering_centroids(c, &centroids, &n_floats);
    memcpy(best->centroids, centroids, n_floats * sizeof *centroids);
    best->sum = sum;
    best->start = start;
}

/* One start, on one thread; leaves the centroids in *best if they are the best so far. */
static void run_start(struct best *best, int64_t start, const float *x, int64_t n, int64_t dim,
                      const struct cluster_options *o)
{
    FaissClusteringParameters p;
    FaissClustering *c = NULL;
    FaissIndexFlat *index = NULL;
    double sum;
    uint64_t seed = start ? rng_hash(o->seed, (uint64_t)start, 0, 0) : o->seed;
    faiss_ClusteringParameters_init(&p);
    p.niter = (int)o->n_iter;
    p.spherical = o->is_spherical;
    p.seed = (int)(seed & INT32_MAX);
    p.min_points_per_centroid = 1; /* or FAISS warns on stderr */
    p.max_points_per_centroid = INT32_MAX;
    int rc = faiss_Clustering_new_with_params(&c, (int)dim, (int)o->k, &p);
    if (!rc)
        rc = faiss_IndexFlat_new_with(&index, dim, metric(o));
    if (!rc)
        rc = faiss_Clustering_train(c, n, x, index);
    if (!rc)
        rc = sum_of_distances(&sum, index, x, n, dim, o->is_spherical);
#pragma omp critical(cluster_best)
    if (rc)
        best->rc = err_set(&best->e, ERR_UNSUPPORTED, "FAISS: %s", faiss_get_last_error());
    else
        keep_best(best, sum, start, c);
    if (index)
        faiss_Index_free(index);
    if (c)
        faiss_Clustering_free(c);
}

/* Side by side, each start on one thread: FAISS's own steps over tens of thousands of rows are
 * too small to gain from more, and its sums would depend on their number. */
static int train(float *centroids, const float *x, int64_t n, int64_t dim,
                 const struct cluster_options *o, struct err *e)
{
    struct best best = {.start = -1, .centroids = centroids};
#pragma omp parallel if (o->n_redo > 1)
    {
        int n_threads = omp_get_max_threads();
        omp_set_num_threads(1); /* of regions inside this one */
#pragma omp for schedule(dynamic)
        for (int64_t s = 0; s < o->n_redo; s++)
            run_start(&best, s, x, n, dim, o);
        omp_set_num_threads(n_threads);
    }
    return best.rc ? err_set(e, best.rc, "%s", best.e.msg) : 0;
}

/* Blocks of rows do not depend on the number of threads, and inside a parallel region FAISS
 * and OpenBLAS use one each: so neither do the results. The number of rows whose class is new,
 * or -1. */
static int64_t assign_rows(struct cluster_result *r, const FaissIndex *index,
                           const struct rows *x)
{
    int64_t n_failed = 0, n_moved = 0;
#pragma omp parallel for schedule(static) reduction(+ : n_failed, n_moved)
    for (int64_t first = 0; first < x->n; first += BLOCK_ROWS) {
        int64_t m = x->n - first < BLOCK_ROWS ? x->n - first : BLOCK_ROWS;
        float distance[BLOCK_ROWS];
        idx_t label[BLOCK_ROWS];
        if (faiss_Index_search(index, m, x->x + first * x->dim, 1, distance, label)) {
            n_failed++;
            continue;
        }
        for (int64_t i = 0; i < m; i++) {
            n_failed += label[i] < 0 || label[i] >= r->k;
            n_moved += label[i] != r->assign[first + i];
            r->assign[first + i] = (int32_t)label[i];
        }
    }
    return n_failed ? -1 : n_moved;
}

static int assign(struct cluster_result *r, const struct rows *x,
                  const struct cluster_options *o, int64_t *n_moved, struct err *e)
{
    FaissIndexFlat *index = NULL;
    int rc = 0;
    if (faiss_IndexFlat_new_with(&index, x->dim, metric(o)) ||
        faiss_Index_add(index, r->k, r->centroids))
        rc = err_set(e, ERR_UNSUPPORTED, "FAISS: %s", faiss_get_last_error());
    else if ((*n_moved = assign_rows(r, index, x)) < 0)
        rc = err_set(e, ERR_UNSUPPORTED, "FAISS: rows without a nearest centroid");
    if (index)
        faiss_Index_free(index);
    return rc;
}

/* ---- classes ---- */

/* Rows of each class, without those set aside. */
static void count_sizes(struct cluster_result *r, const struct rows *x)
{
    memset(r->sizes, 0, (size_t)r->k * sizeof *r->sizes);
    for (int64_t i = 0; i < x->n; i++)
        r->sizes[r->assign[i]] += !x->is_aside[i];
}

/* sum [k, dim]. A thread adds up whole columns, down the rows: the order is always the same. */
static void sum_rows(double *sum, const struct cluster_result *r, const struct rows *x)
{
    enum { STRIPE = 8 };
    memset(sum, 0, (size_t)(r->k * x->dim) * sizeof *sum);
#pragma omp parallel for schedule(static)
    for (int64_t from = 0; from < x->dim; from += STRIPE) {
        int64_t to = from + STRIPE < x->dim ? from + STRIPE : x->dim;
        for (int64_t i = 0; i < x->n; i++) {
            double *s = sum + r->assign[i] * x->dim;
            for (int64_t j = from; j < to && !x->is_aside[i]; j++)
                s[j] += (double)x->x[i * x->dim + j];
        }
    }
}

/* Centroids become the means of their rows (spherical: scaled to length 1); classes without
 * rows go. */
static void take_means(struct cluster_result *r, const struct rows *x, bool is_spherical)
{
    double *sum = mem_alloc((size_t)(r->k * x->dim), sizeof *sum);
    int64_t n_left = 0;
    count_sizes(r, x);
    sum_rows(sum, r, x);
    for (int64_t c = 0; c < r->k; c++) {
        double scale = (double)r->sizes[c], length = 0;
        if (!r->sizes[c])
            continue;
        for (int64_t j = 0; is_spherical && j < x->dim; j++)
            length += sum[c * x->dim + j] * sum[c * x->dim + j];
        scale = length > 0 ? sqrt(length) : scale;
        for (int64_t j = 0; j < x->dim; j++)
            r->centroids[n_left * x->dim + j] = (float)(sum[c * x->dim + j] / scale);
        n_left++;
    }
    r->k = n_left;
    free(sum);
}

/* Lloyd's iteration over all rows until no row in a million moves: then every centroid is the
 * mean of its rows and every row's class that of the nearest centroid. FAISS leaves neither: it
 * stops after --iterations, trains on a sample, and pushes copies of a centroid apart where
 * there are more classes than distinct rows. The bound is for rows that rounding sends to and
 * fro. */
static int settle(struct cluster_result *r, const struct rows *x,
                  const struct cluster_options *o, struct err *e)
{
    enum { MOST = 1000 };
    int64_t n_moved;
    int rc = assign(r, x, o, &n_moved, e);
    for (int i = 0; !rc && i < MOST; i++) {
        int64_t k = r->k;
        take_means(r, x, o->is_spherical);
        rc = assign(r, x, o, &n_moved, e);
        if (r->k == k && n_moved <= x->n >> 20) /* else numbers have shifted */
            break;
    }
    count_sizes(r, x);
    return rc;
}

/* Fewer rows than a twentieth of the average class: a class only because they lie far off. */
static bool is_outlying(int64_t size, int64_t n, const struct cluster_options *o)
{
    return size < o->min_size && size * o->k * CLUSTER_TINY_SHARE < n;
}

/* Sets the rows of outlying classes aside. False: there are none, or too many to call them so.
 */
static bool set_aside(struct cluster_result *r, struct rows *x, const struct cluster_options *o)
{
    int64_t n_outlying = 0, n_rows = 0;
    for (int64_t c = 0; c < r->k; c++)
        if (is_outlying(r->sizes[c], x->n - x->n_aside, o)) {
            n_outlying++;
            n_rows += r->sizes[c];
        }
    if (!n_outlying || (x->n_aside + n_rows) * CLUSTER_TINY_SHARE > x->n ||
        x->n - x->n_aside - n_rows < o->k)
        return false;
    r->n_dissolved += n_outlying;
    r->n_moved += n_rows;
    int64_t n_left = x->n - x->n_aside;
    for (int64_t i = 0; i < x->n; i++)
        if (!x->is_aside[i] && is_outlying(r->sizes[r->assign[i]], n_left, o)) {
            x->is_aside[i] = 1;
            x->n_aside++;
        }
    return true;
}

static int compare_centroids(const float *a, const float *b, int64_t dim)
{
    for (int64_t j = 0; j < dim; j++)
        if (a[j] != b[j])
            return a[j] < b[j] ? -1 : 1;
    return 0;
}

/* The class to dissolve next, or -1: the smallest, if it is below min_size and not the only. */
static int64_t too_small(const struct cluster_result *r, int64_t dim, int64_t min_size)
{
    int64_t worst = 0;
    for (int64_t c = 1; c < r->k; c++)
        if (r->sizes[c] < r->sizes[worst] ||
            (r->sizes[c] == r->sizes[worst] &&
             compare_centroids(r->centroids + c * dim, r->centroids + worst * dim, dim) > 0))
            worst = c;
    return r->k > 1 && r->sizes[worst] < min_size ? worst : -1;
}

/* The rows of a small class go to the nearest of the others, which settle anew with them. */
static int dissolve_small(struct cluster_result *r, const struct rows *x,
                          const struct cluster_options *o, struct err *e)
{
    int64_t dim = x->dim;
    int rc = 0;
    for (int64_t c; !rc && (c = too_small(r, dim, o->min_size)) >= 0;) {
        r->n_dissolved++;
        r->n_moved += r->sizes[c];
        memmove(r->centroids + c * dim, r->centroids + (c + 1) * dim,
                (size_t)((r->k - c - 1) * dim) * sizeof *r->centroids);
        r->k--;
        rc = settle(r, x, o, e);
    }
    return rc;
}

/* k classes by FAISS, settled. */
static int find_classes(struct cluster_result *r, const struct rows *x,
                        const struct cluster_options *o, struct err *e)
{
    float *sample;
    int64_t n_train;
    const float *rows = training_rows(&sample, &n_train, x, o);
    r->k = o->k;
    int rc = train(r->centroids, rows, n_train, x->dim, o, e);
    free(sample);
    return rc ? rc : settle(r, x, o, e);
}

/* An outlier takes a class of its own, and two groups are left with one: so it is set aside and
 * the classes are found again, a few times over. */
static int run_faiss(struct cluster_result *r, struct rows *x, const struct cluster_options *o,
                     struct err *e)
{
    enum { MOST_ROUNDS = 10 };
    r->centroids = mem_alloc((size_t)(o->k * x->dim), sizeof *r->centroids);
    r->assign = mem_zalloc((size_t)x->n, sizeof *r->assign);
    r->sizes = mem_alloc((size_t)o->k, sizeof *r->sizes);
    int rc = find_classes(r, x, o, e);
    for (int i = 0; !rc && i < MOST_ROUNDS && set_aside(r, x, o); i++)
        rc = find_classes(r, x, o, e);
    r->n_empty = o->k - r->k;
    if (!rc)
        rc = dissolve_small(r, x, o, e);
    for (int64_t i = 0; !rc && i < x->n; i++)
        r->sizes[r->assign[i]] += x->is_aside[i];
    return rc;
}

struct rank {
    int64_t class, size, dim;
    const float *centroid;
};

static int compare_ranks(const void *a, const void *b)
{
    const struct rank *x = a, *y = b;
    if (x->size != y->size)
        return x->size < y->size ? 1 : -1;
    int by_centroid = compare_centroids(x->centroid, y->centroid, x->dim);
    return by_centroid ? by_centroid : (x->class > y->class) - (x->class < y->class);
}

/* Largest first; classes without rows fall off the end. */
static void sort_classes(struct cluster_result *r, int64_t n, int64_t dim)
{
    struct rank *rank = mem_alloc((size_t)r->k, sizeof *rank);
    int32_t *new_id = mem_alloc((size_t)r->k, sizeof *new_id);
    float *centroids = mem_alloc((size_t)(r->k * dim), sizeof *centroids);
    int64_t n_left = 0;
    for (int64_t c = 0; c < r->k; c++)
        rank[c] = (struct rank){c, r->sizes[c], dim, r->centroids + c * dim};
    qsort(rank, (size_t)r->k, sizeof *rank, compare_ranks);
    for (int64_t c = 0; c < r->k && rank[c].size; c++) {
        memcpy(centroids + c * dim, rank[c].centroid, (size_t)dim * sizeof *centroids);
        r->sizes[c] = rank[c].size;
        new_id[rank[c].class] = (int32_t)c;
        n_left++;
    }
    for (int64_t i = 0; i < n; i++)
        r->assign[i] = new_id[r->assign[i]];
    free(r->centroids);
    r->centroids = centroids;
    r->k = n_left;
    free(rank);
    free(new_id);
}

/* Sums block by block, in order: the same for any number of threads. */
static double objective(const struct cluster_result *r, const float *x, int64_t n, int64_t dim)
{
    int64_t n_blocks = (n + BLOCK_ROWS - 1) / BLOCK_ROWS;
    double *part = mem_alloc((size_t)n_blocks, sizeof *part), sum = 0;
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < n_blocks; b++) {
        int64_t end = (b + 1) * BLOCK_ROWS < n ? (b + 1) * BLOCK_ROWS : n;
        part[b] = 0;
        for (int64_t i = b * BLOCK_ROWS; i < end; i++)
            part[b] += squared_distance(x + i * dim, r->centroids + r->assign[i] * dim, dim);
    }
    for (int64_t b = 0; b < n_blocks; b++)
        sum += part[b];
    free(part);
    return sum;
}

/* ---- entry ---- */

static int check_options(const struct cluster_options *o, int64_t n, struct err *e)
{
    if (o->k < 1 || o->k > n || o->k > INT32_MAX)
        return err_set(e, ERR_RANGE, "cannot make %lld classes of %lld rows", (long long)o->k,
                       (long long)n);
    if (o->n_iter < 1 || o->n_iter > 1000000 || o->n_redo < 1 || o->n_redo > 1000000)
        return err_set(e, ERR_RANGE, "iterations and repeats must lie between 1 and 1000000");
    return 0;
}

int cluster_kmeans(struct cluster_result *r, const float *x, int64_t n, int64_t dim,
                   const struct cluster_options *o, struct err *e)
{
    *r = (struct cluster_result){0};
    int rc = cluster_check(x, n, dim, e);
    if (!rc)
        rc = check_options(o, n, e);
    if (rc < 0)
        return rc;
    float *unit = o->is_spherical ? unit_rows(x, n, dim) : NULL;
    if (unit)
        x = unit;
    struct rows rows = {.x = x, .n = n, .dim = dim};
    rows.is_aside = mem_zalloc((size_t)n, sizeof *rows.is_aside);
    rc = run_faiss(r, &rows, o, e);
    free(rows.is_aside);
    if (!rc) {
        sort_classes(r, n, dim);
        r->objective = objective(r, x, n, dim);
    } else {
        cluster_result_free(r);
    }
    free(unit);
    return rc;
}

void cluster_result_free(struct cluster_result *r)
{
    if (!r)
        return;
    free(r->centroids);
    free(r->assign);
    free(r->sizes);
    *r = (struct cluster_result){0};
}

const char *cluster_faiss_version(void)
{
    return faiss_get_version ? faiss_get_version() : "C API";
}
