/* SPDX-License-Identifier: MIT
 * cluster: principal components; see cluster.h. The covariance by dsyrk and dgemm, its
 * eigenvectors by LAPACK's dsyevd, all in double: OpenBLAS has both. FAISS's own PCA works in
 * float and hands out no matrix. The same bytes for any number of threads: a tile of the
 * covariance is one thread's, over all rows in order, and the eigenvectors are found by one. */
#include "base/mem.h"
#include "cluster/check.h"
#include "cluster/cluster.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include <cblas.h>

enum { BLOCK_ROWS = 4096, TILE = 256, CENTRED_ROWS = 1024 };

/* LAPACK: eigenvalues ascending to w, eigenvectors over a, columns in Fortran's order. */
extern void dsyevd_(const char *jobz, const char *uplo, const int *n, double *a, const int *lda,
                    double *w, double *work, const int *lwork, int *iwork, const int *liwork,
                    int *info, size_t jobz_len, size_t uplo_len);

static void column_means(double *mean, const float *x, int64_t n, int64_t dim)
{
    int64_t n_blocks = (n + BLOCK_ROWS - 1) / BLOCK_ROWS;
    double *part = mem_zalloc((size_t)(n_blocks * dim), sizeof *part);
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < n_blocks; b++) {
        int64_t end = (b + 1) * BLOCK_ROWS < n ? (b + 1) * BLOCK_ROWS : n;
        double *sum = part + b * dim;
        for (int64_t i = b * BLOCK_ROWS; i < end; i++)
            for (int64_t j = 0; j < dim; j++)
                sum[j] += (double)x[i * dim + j];
    }
    memset(mean, 0, (size_t)dim * sizeof *mean);
    for (int64_t b = 0; b < n_blocks; b++)
        for (int64_t j = 0; j < dim; j++)
            mean[j] += part[b * dim + j] / (double)n;
    free(part);
}

/* Rows [from, from + n) of the even sample, centred, to y [n, dim]. */
static void centre_rows(double *y, const float *x, const double *mean, int64_t n_rows,
                        int64_t dim, int64_t n_sample, int64_t from, int64_t n)
{
#pragma omp parallel for schedule(static)
    for (int64_t s = 0; s < n; s++) {
        int64_t i = (from + s) * n_rows / n_sample;
        for (int64_t j = 0; j < dim; j++)
            y[s * dim + j] = (double)x[i * dim + j] - mean[j];
    }
}

static int64_t tile_width(int64_t tile, int64_t dim)
{
    return dim - tile * TILE < TILE ? dim - tile * TILE : TILE;
}

/* c [dim, dim] += y^T y, its upper triangle by rows, tile by tile. */
static void add_products(double *c, const double *y, int64_t n, int64_t dim)
{
    int64_t n_tiles = (dim + TILE - 1) / TILE;
#pragma omp parallel for collapse(2) schedule(dynamic)
    for (int64_t i = 0; i < n_tiles; i++)
        for (int64_t j = 0; j < n_tiles; j++) {
            int64_t wi = tile_width(i, dim), wj = tile_width(j, dim);
            double *at = c + i * TILE * dim + j * TILE;
            if (i == j)
                cblas_dsyrk(CblasRowMajor, CblasUpper, CblasTrans, (int)wi, (int)n, 1,
                            y + i * TILE, (int)dim, 1, at, (int)dim);
            else if (i < j)
                cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)wi, (int)wj, (int)n,
                            1, y + i * TILE, (int)dim, y + j * TILE, (int)dim, 1, at, (int)dim);
        }
}

/* Eigenvalues to w [dim], ascending, and eigenvectors to the rows of c, by one thread. A
 * row-major upper triangle is Fortran's lower one. */
static int find_eigenvectors(double *c, double *w, int64_t dim, struct err *e)
{
    int n = (int)dim, lwork = -1, liwork = -1, info, n_threads = omp_get_max_threads(), least;
    double asked;
    dsyevd_("V", "L", &n, c, &n, w, &asked, &lwork, &least, &liwork, &info, 1, 1);
    lwork = (int)asked;
    liwork = least;
    double *work = mem_alloc((size_t)lwork, sizeof *work);
    int *iwork = mem_alloc((size_t)liwork, sizeof *iwork);
    omp_set_num_threads(1);
    dsyevd_("V", "L", &n, c, &n, w, work, &lwork, iwork, &liwork, &info, 1, 1);
    omp_set_num_threads(n_threads);
    free(work);
    free(iwork);
    return info ? err_set(e, ERR_NONFINITE, "principal components: dsyevd ends with %d", info)
                : 0;
}

/* The largest entry is positive; a direction that the rows do not span is zero. */
static void take_component(float *dst, const double *v, bool is_spanned, int64_t dim)
{
    double largest = 0;
    for (int64_t j = 0; j < dim; j++)
        if (fabs(v[j]) > fabs(largest))
            largest = v[j];
    for (int64_t j = 0; j < dim; j++)
        dst[j] = (float)(is_spanned ? largest < 0 ? -v[j] : v[j] : 0);
}

static int find_components(float *components, const float *x, const double *mean, int64_t n,
                           int64_t dim, int64_t d_out, struct err *e)
{
    int64_t n_sample = n < CLUSTER_MAX_PCA ? n : CLUSTER_MAX_PCA;
    double *c = mem_zalloc((size_t)(dim * dim), sizeof *c);
    double *w = mem_alloc((size_t)dim, sizeof *w);
    double *y = mem_alloc((size_t)(CENTRED_ROWS * dim), sizeof *y);
    for (int64_t at = 0; at < n_sample; at += CENTRED_ROWS) {
        int64_t rows = n_sample - at < CENTRED_ROWS ? n_sample - at : CENTRED_ROWS;
        centre_rows(y, x, mean, n, dim, n_sample, at, rows);
        add_products(c, y, rows, dim);
    }
    free(y);
    int rc = find_eigenvectors(c, w, dim, e);
    double least = w[dim - 1] * (double)dim * 1e-13; /* what rounding leaves of nothing */
    for (int64_t k = 0; !rc && k < d_out; k++)
        take_component(components + k * dim, c + (dim - 1 - k) * dim, w[dim - 1 - k] > least,
                       dim);
    free(c);
    free(w);
    return rc;
}

static void project(float *out, const float *x, const double *mean, const float *components,
                    int64_t n, int64_t dim, int64_t d_out)
{
    float *by_input = mem_alloc((size_t)(dim * d_out), sizeof *by_input); /* transposed */
    for (int64_t k = 0; k < d_out; k++)
        for (int64_t j = 0; j < dim; j++)
            by_input[j * d_out + k] = components[k * dim + j];
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) {
        float *restrict y = out + i * d_out;
        memset(y, 0, (size_t)d_out * sizeof *y);
        for (int64_t j = 0; j < dim; j++) {
            float v = (float)((double)x[i * dim + j] - mean[j]);
            const float *restrict c = by_input + j * d_out;
            for (int64_t k = 0; k < d_out; k++)
                y[k] += v * c[k];
        }
    }
    free(by_input);
}

int cluster_pca(float *out, float *mean, float *components, const float *x, int64_t n,
                int64_t dim, int64_t d_out, struct err *e)
{
    int rc = cluster_check(x, n, dim, e);
    if (rc < 0)
        return rc;
    if (d_out < 1 || d_out > dim || d_out > n)
        return err_set(e, ERR_RANGE, "%lld components of %lld rows of %lld values",
                       (long long)d_out, (long long)n, (long long)dim);
    double *centre = mem_alloc((size_t)dim, sizeof *centre);
    float *basis = mem_alloc((size_t)(d_out * dim), sizeof *basis);
    column_means(centre, x, n, dim);
    rc = find_components(basis, x, centre, n, dim, d_out, e);
    if (!rc) {
        project(out, x, centre, basis, n, dim, d_out);
        for (int64_t j = 0; mean && j < dim; j++)
            mean[j] = (float)centre[j];
        if (components)
            memcpy(components, basis, (size_t)(d_out * dim) * sizeof *components);
    }
    free(basis);
    free(centre);
    return rc;
}
