/* SPDX-License-Identifier: MIT
 *
 * cluster: k-means and PCA through FAISS's C API.
 */
#ifndef RAISE_CLUSTER_CLUSTER_H
#define RAISE_CLUSTER_CLUSTER_H

#include "base/err.h"

#include <stdint.h>

struct cluster_options {
    int64_t k;
    int64_t n_iter;      /* [25] */
    int64_t n_redo;      /* [1] best of */
    uint64_t seed;
    int64_t min_size;    /* classes smaller than this are merged into the nearest centroid's */
    int is_spherical;
};
struct cluster_result {
    int64_t k;          /* classes left after merging: ids 0..k-1, largest first */
    float *centroids;   /* [k, dim]; owned */
    int32_t *assign;    /* [n]; owned */
    int64_t *sizes;     /* [k]; owned */
    int64_t n_merged;   /* empty or tiny classes that were merged away */
    double objective;   /* sum of squared distances */
};
/* x [n, dim], row major, finite. ERR_RANGE when k > n. */
int cluster_kmeans(struct cluster_result *r, const float *x, int64_t n, int64_t dim,
                   const struct cluster_options *o, struct err *e) RAISE_MUST_CHECK;
void cluster_result_free(struct cluster_result *r);

/* PCA: out [n, d_out] = (x - mean) * components^T. Signs fixed so that each component's largest
 * entry is positive. mean [dim] and components [d_out, dim] may be NULL. */
int cluster_pca(float *out, float *mean, float *components, const float *x, int64_t n,
                int64_t dim, int64_t d_out, struct err *e) RAISE_MUST_CHECK;

const char *cluster_faiss_version(void);

#endif
