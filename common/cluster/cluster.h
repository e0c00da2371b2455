/* SPDX-License-Identifier: MIT
 *
 * cluster: k-means through FAISS's C API, and PCA through LAPACK.
 *
 * Both give the same bytes for any number of threads: starts of k-means run side by side, each
 * on one thread, and rows are assigned and projected in blocks of a fixed size. The kernel
 * that OpenBLAS chose may still matter in the last bit, as everywhere.
 *
 *     struct cluster_options o = CLUSTER_OPTIONS_DEFAULTS;
 *     struct cluster_result r;
 *     o.k = 4;
 *     if (cluster_kmeans(&r, x, n, dim, &o, &e) < 0) ...
 *     ... r.assign[i] in 0..r.k-1 ...
 *     cluster_result_free(&r);
 */
#ifndef RAISE_CLUSTER_CLUSTER_H
#define RAISE_CLUSTER_CLUSTER_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

/* Centroids are trained on a sample when there are more rows than this and than 256 a class. */
enum { CLUSTER_MAX_TRAIN = 1 << 20, CLUSTER_MIN_TRAIN_PER_CLASS = 256 };
/* A class with less than this share of the average class's rows is a handful of outliers. */
enum { CLUSTER_TINY_SHARE = 20 };

struct cluster_options {
    int64_t k;
    int64_t n_iter; /* [25] */
    int64_t n_redo; /* [1] starts, of which the best is kept */
    uint64_t seed;
    int64_t min_size;  /* [1] a smaller class is dissolved, see cluster_result.k */
    bool is_spherical; /* by direction: rows are scaled to length 1, centroids too */
};
#define CLUSTER_OPTIONS_DEFAULTS                                                               \
    {                                                                                          \
        .k = 4, .n_iter = 25, .n_redo = 1, .seed = 42, .min_size = 1                           \
    }

struct cluster_result {
    /* Classes left: ids 0..k-1, largest first (ties: the lexicographically smaller centroid).
     * Classes that stay empty go. A class below min_size that is also tiny
     * (CLUSTER_TINY_SHARE) is a few outliers: they are set aside, up to a twentieth of all
     * rows, and k classes are found without them; at the end they get that of the nearest
     * centroid. Then, while the smallest has fewer than min_size rows and is not the only one,
     * it is dissolved: its rows move to the nearest remaining centroids.
     * A row's class is always that of the nearest centroid in the table. */
    int64_t k;
    float *centroids; /* [k, dim]: means of the classes' rows less those set aside (spherical:
                       * the means' directions); owned */
    int32_t *assign;  /* [n]; owned */
    int64_t *sizes;   /* [k]; owned */
    int64_t n_empty;  /* classes that k-means left empty (equal rows make them) */
    int64_t n_dissolved; /* smaller than min_size, or set aside */
    int64_t n_moved;     /* rows that the dissolved classes held */
    double objective;    /* sum of squared distances of rows to their centroids */
};

/* x [n, dim], row major. ERR_RANGE: k > n, or a value beyond 1e15 (its square would overflow);
 * ERR_NONFINITE names the row. */
int cluster_kmeans(struct cluster_result *r, const float *x, int64_t n, int64_t dim,
                   const struct cluster_options *o, struct err *e) RAISE_MUST_CHECK;
void cluster_result_free(struct cluster_result *r); /* NULL-safe, leaves *r empty */

/* PCA: out [n, d_out] = (x - mean) * components^T. Components are orthonormal, by falling
 * variance; signs fixed so that each one's largest entry is positive; where the rows span fewer
 * than d_out directions the rest are zero. mean [dim] and components [d_out, dim] may be NULL.
 * ERR_RANGE when d_out > min(n, dim); otherwise as cluster_kmeans. Beyond CLUSTER_MAX_PCA rows
 * the components are those of an even sample of so many. */
enum { CLUSTER_MAX_PCA = 1 << 18 };
int cluster_pca(float *out, float *mean, float *components, const float *x, int64_t n,
                int64_t dim, int64_t d_out, struct err *e) RAISE_MUST_CHECK;

/* "1.7.3", or "C API" where the library does not tell. */
const char *cluster_faiss_version(void);

#endif
