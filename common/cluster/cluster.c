/* SPDX-License-Identifier: MIT
 * cluster: k-means; see cluster.h. FAISS finds the centroids; what is ours is the order of the
 * classes, what happens to small ones, and that threads do not change the result. */
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

/* The rows that centroids are trained on: all, or a seeded sample in file order. */
static const float *training_rows(float **owned, int64_t *n_train, const float *x, int64_t n,
                                  int64_t dim, const struct cluster_options *o)
{
    int64_t most = o->k > CLUSTER_MAX_TRAIN / CLUSTER_MIN_TRAIN_PER_CLASS
                       ? o->k * CLUSTER_MIN_TRAIN_PER_CLASS
                       : CLUSTER_MAX_TRAIN;
    *owned = NULL;
    *n_train = n < most ? n : most;
    if (n <= most)
        return x;
    struct rng r;
    rng_init(&r, o->seed, 0);
    *owned = mem_alloc((size_t)(most * dim), sizeof **owned);
    int64_t n_taken = 0;
    for (int64_t i = 0; n_taken < most; i++) /* selection sampling (Knuth 3.4.2 S) */
        if ((int64_t)rng_below(&r, (uint64_t)(n - i)) < most - n_taken)
            memcpy(*owned + n_taken++ * dim, x + i * dim, (size_t)dim * sizeof *x);
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
 * and OpenBLAS use one each: so neither do the results. */
static int assign_rows(int32_t *assign, const FaissIndex *index, const float *x, int64_t n,
                       int64_t dim, int64_t k)
{
    int n_failed = 0;
#pragma omp parallel for schedule(static) reduction(+ : n_failed)
    for (int64_t first = 0; first < n; first += BLOCK_ROWS) {
        int64_t m = n - first < BLOCK_ROWS ? n - first : BLOCK_ROWS;
        float distance[BLOCK_ROWS];
        idx_t label[BLOCK_ROWS];
        if (faiss_Index_search(index, m, x + first * dim, 1, distance, label)) {
            n_failed++;
            continue;
        }
        for (int64_t i = 0; i < m; i++) {
            n_failed += label[i] < 0 || label[i] >= k;
            assign[first + i] = (int32_t)label[i];
        }
    }
    return n_failed;
}

static int run_faiss(struct cluster_result *r, const float *x, int64_t n, int64_t dim,
                     const struct cluster_options *o, struct err *e)
{
    FaissIndexFlat *index = NULL;
    float *sample;
    int64_t n_train;
    const float *rows = training_rows(&sample, &n_train, x, n, dim, o);
    r->k = o->k;
    r->centroids = mem_alloc((size_t)(o->k * dim), sizeof *r->centroids);
    r->assign = mem_alloc((size_t)n, sizeof *r->assign);
    int rc = train(r->centroids, rows, n_train, dim, o, e);
    free(sample);
    if (rc < 0)
        return rc;
    if (faiss_IndexFlat_new_with(&index, dim, metric(o)) ||
        faiss_Index_add(index, o->k, r->centroids))
        rc = err_set(e, ERR_UNSUPPORTED, "FAISS: %s", faiss_get_last_error());
    else if (assign_rows(r->assign, index, x, n, dim, o->k))
        rc = err_set(e, ERR_UNSUPPORTED, "FAISS: rows without a nearest centroid");
    if (index)
        faiss_Index_free(index);
    return rc;
}

/* ---- classes ---- */

static void count_sizes(struct cluster_result *r, int64_t n)
{
    r->sizes = mem_zalloc((size_t)r->k, sizeof *r->sizes);
    for (int64_t i = 0; i < n; i++)
        r->sizes[r->assign[i]]++;
}

/* Nearest centroid among the classes that are left (sizes > 0). */
static int32_t nearest(const struct cluster_result *r, const float *x, int64_t dim)
{
    int32_t best = -1;
    double best_distance = DBL_MAX;
    for (int64_t c = 0; c < r->k; c++) {
        double d = r->sizes[c] ? squared_distance(x, r->centroids + c * dim, dim) : DBL_MAX;
        if (d < best_distance) {
            best_distance = d;
            best = (int32_t)c;
        }
    }
    return best;
}

static int compare_centroids(const float *a, const float *b, int64_t dim)
{
    for (int64_t j = 0; j < dim; j++)
        if (a[j] != b[j])
            return a[j] < b[j] ? -1 : 1;
    return 0;
}

/* The class to dissolve next, or -1: the smallest of those left, below min_size. */
static int64_t too_small(const struct cluster_result *r, int64_t dim, int64_t min_size)
{
    int64_t worst = -1, n_left = 0;
    for (int64_t c = 0; c < r->k; c++) {
        if (!r->sizes[c])
            continue;
        n_left++;
        if (worst < 0 || r->sizes[c] < r->sizes[worst] ||
            (r->sizes[c] == r->sizes[worst] &&
             compare_centroids(r->centroids + c * dim, r->centroids + worst * dim, dim) > 0))
            worst = c;
    }
    return n_left > 1 && r->sizes[worst] < min_size ? worst : -1;
}

static void dissolve_small(struct cluster_result *r, const float *x, int64_t n, int64_t dim,
                           int64_t min_size)
{
    for (int64_t c = 0; c < r->k; c++)
        r->n_empty += !r->sizes[c];
    for (int64_t c; (c = too_small(r, dim, min_size)) >= 0;) {
        r->n_dissolved++;
        r->n_moved += r->sizes[c];
        r->sizes[c] = 0;
        for (int64_t i = 0; i < n; i++) {
            if (r->assign[i] != c)
                continue;
            r->assign[i] = nearest(r, x + i * dim, dim);
            r->sizes[r->assign[i]]++;
        }
    }
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
    rc = run_faiss(r, x, n, dim, o, e);
    if (!rc) {
        count_sizes(r, n);
        dissolve_small(r, x, n, dim, o->min_size);
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
