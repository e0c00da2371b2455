/* SPDX-License-Identifier: MIT
 *
 * bench_kmeans: raise-cluster's k-means against FAISS's own, called as it comes.
 *
 *     bench_kmeans [-c] [N [DIM [REDO]]]
 *
 * N rows (52000) of DIM values (32) around 40 points, 25 iterations, REDO starts (1), all rows
 * used for training by both. FAISS takes all threads. Prints a line for each number of
 * classes: seconds (median of 5), their ratio (above 1: ours is faster) and both objectives.
 * -c: as CSV rows of work,ours,peer,ratio,unit. */
#include "base/cpu.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/text.h"
#include "cluster/cluster.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <faiss/c_api/Clustering_c.h>
#include <faiss/c_api/IndexFlat_c.h>
#include <faiss/c_api/Index_c.h>

enum { N_REPEATS = 5, N_CENTRES = 40 };

struct bench {
    float *x;
    int64_t n, dim, k, n_redo;
    double objective;
};

static float *make_rows(int64_t n, int64_t dim)
{
    struct rng r;
    rng_init(&r, 1, 0);
    float *x = mem_alloc((size_t)(n * dim), sizeof *x);
    for (int64_t i = 0; i < n; i++) {
        uint64_t centre = rng_below(&r, N_CENTRES);
        for (int64_t j = 0; j < dim; j++)
            x[i * dim + j] =
                (float)(4 * rng_hash_unit(2, centre, (uint64_t)j, 0) + rng_normal(&r));
    }
    return x;
}

static int run_ours(struct bench *b)
{
    struct cluster_options o = CLUSTER_OPTIONS_DEFAULTS;
    struct cluster_result r;
    struct err e = ERR_INIT;
    o.k = b->k;
    o.n_redo = b->n_redo;
    if (cluster_kmeans(&r, b->x, b->n, b->dim, &o, &e) < 0)
        return -1;
    b->objective = r.objective;
    cluster_result_free(&r);
    return 0;
}

static int run_faiss(struct bench *b)
{
    FaissClusteringParameters p;
    FaissClustering *c = NULL;
    FaissIndexFlat *index = NULL;
    faiss_ClusteringParameters_init(&p);
    p.niter = 25;
    p.nredo = (int)b->n_redo;
    p.seed = 42;
    p.min_points_per_centroid = 1;
    p.max_points_per_centroid = INT32_MAX;
    float *distance = mem_alloc((size_t)b->n, sizeof *distance);
    idx_t *label = mem_alloc((size_t)b->n, sizeof *label);
    int rc = faiss_Clustering_new_with_params(&c, (int)b->dim, (int)b->k, &p) ||
             faiss_IndexFlat_new_with(&index, b->dim, METRIC_L2) ||
             faiss_Clustering_train(c, b->n, b->x, index) ||
             faiss_Index_search(index, b->n, b->x, 1, distance, label);
    b->objective = 0;
    for (int64_t i = 0; i < b->n && !rc; i++)
        b->objective += (double)distance[i];
    if (index)
        faiss_Index_free(index);
    if (c)
        faiss_Clustering_free(c);
    free(distance);
    free(label);
    return rc ? -1 : 0;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_seconds(struct bench *b, int (*run)(struct bench *))
{
    double t[N_REPEATS];
    for (int i = 0; i < N_REPEATS; i++) {
        double start = text_clock();
        if (run(b) < 0)
            exit(1);
        t[i] = text_clock() - start;
    }
    qsort(t, N_REPEATS, sizeof *t, by_value);
    return t[N_REPEATS / 2];
}

int main(int argc, char **argv)
{
    cpu_fix_blas(argv);
    bool is_csv = argc > 1 && !strcmp(argv[1], "-c");
    argv += is_csv;
    argc -= is_csv;
    struct bench b = {.n = argc > 1 ? atol(argv[1]) : 52000,
                      .dim = argc > 2 ? atol(argv[2]) : 32,
                      .n_redo = argc > 3 ? atol(argv[3]) : 1};
    if (b.n < 64 || b.dim < 1 || b.n_redo < 1)
        return 2;
    b.x = make_rows(b.n, b.dim);
    for (b.k = 8; b.k <= 64; b.k *= 2) {
        double ours = median_seconds(&b, run_ours), ours_sum = b.objective;
        double peer = median_seconds(&b, run_faiss), peer_sum = b.objective;
        if (is_csv)
            printf("kmeans-%lld,%.4f,%.4f,%.2f,s\n", (long long)b.k, ours, peer, peer / ours);
        else
            printf("k %2lld  ours %.3f s  FAISS %.3f s  ratio %.2f  objective %.6g %.6g\n",
                   (long long)b.k, ours, peer, peer / ours, ours_sum, peer_sum);
    }
    free(b.x);
    return 0;
}
