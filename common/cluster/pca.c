/* SPDX-License-Identifier: MIT
 * cluster: principal components; see cluster.h. FAISS's C API hands out no matrix, so the
 * components are read back by transforming unit vectors, and made orthonormal again in double.
 * The rows are centred here, in double, before FAISS sees them: its own mean is a float sum. */
#include "base/mem.h"
#include "cluster/check.h"
#include "cluster/cluster.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include <faiss/c_api/VectorTransform_c.h>
#include <faiss/c_api/error_c.h>

enum { BLOCK_ROWS = 4096 };

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

/* The rows that FAISS trains on, centred: all, or an even sample. */
static float *centred_sample(const float *x, const double *mean, int64_t n, int64_t dim,
                             int64_t n_sample)
{
    float *y = mem_alloc((size_t)(n_sample * dim), sizeof *y);
#pragma omp parallel for schedule(static)
    for (int64_t s = 0; s < n_sample; s++) {
        int64_t i = (int64_t)((double)s / (double)n_sample * (double)n);
        for (int64_t j = 0; j < dim; j++)
            y[s * dim + j] = (float)((double)x[i * dim + j] - mean[j]);
    }
    return y;
}

/* Rows of FAISS's matrix A: transform_transpose gives A^T (y - b), so the image of a unit
 * vector less the image of zero is a row. */
static void read_components(float *components, const FaissPCAMatrix *pca, int64_t dim,
                            int64_t d_out)
{
    float *y = mem_zalloc((size_t)((d_out + 1) * d_out), sizeof *y);
    float *images = mem_alloc((size_t)((d_out + 1) * dim), sizeof *images);
    for (int64_t j = 0; j < d_out; j++)
        y[j * d_out + j] = 1;
    faiss_LinearTransform_transform_transpose(pca, d_out + 1, y, images);
    for (int64_t j = 0; j < d_out; j++)
        for (int64_t i = 0; i < dim; i++)
            components[j * dim + i] = images[j * dim + i] - images[d_out * dim + i];
    free(images);
    free(y);
}

/* Gram-Schmidt, twice over (once leaves errors of the order of the cosines between the rows),
 * then the sign. A row that the earlier ones span becomes zero. */
static void orthonormalise(float *components, int64_t dim, int64_t d_out)
{
    double *v = mem_alloc((size_t)(d_out * dim), sizeof *v);
    for (int64_t k = 0; k < d_out; k++) {
        double *a = v + k * dim, norm = 0, largest = 0;
        for (int64_t i = 0; i < dim; i++)
            a[i] = (double)components[k * dim + i];
        for (int64_t pass = 0; pass < 2; pass++)
            for (int64_t j = 0; j < k; j++) {
                double dot = 0;
                for (int64_t i = 0; i < dim; i++)
                    dot += a[i] * v[j * dim + i];
                for (int64_t i = 0; i < dim; i++)
                    a[i] -= dot * v[j * dim + i];
            }
        for (int64_t i = 0; i < dim; i++) {
            norm += a[i] * a[i];
            if (fabs(a[i]) > fabs(largest))
                largest = a[i];
        }
        double scale = norm > 1e-6 ? 1 / sqrt(norm) : 0; /* FAISS's rows have length 1 */
        for (int64_t i = 0; i < dim; i++) {
            a[i] *= largest < 0 ? -scale : scale;
            components[k * dim + i] = (float)a[i];
        }
    }
    free(v);
}

static int train(float *components, const float *y, int64_t n, int64_t dim, int64_t d_out,
                 struct err *e)
{
    FaissPCAMatrix *pca = NULL;
    int n_threads = omp_get_max_threads(), rc = 0;
    omp_set_num_threads(1);
    if (faiss_PCAMatrix_new_with(&pca, (int)dim, (int)d_out, 0, 0) ||
        faiss_VectorTransform_train(pca, n, y))
        rc = err_set(e, ERR_UNSUPPORTED, "FAISS: %s", faiss_get_last_error());
    else
        read_components(components, pca, dim, d_out);
    omp_set_num_threads(n_threads);
    if (pca)
        faiss_VectorTransform_free(pca);
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
    int64_t n_sample = n < CLUSTER_MAX_PCA ? n : CLUSTER_MAX_PCA;
    column_means(centre, x, n, dim);
    float *y = centred_sample(x, centre, n, dim, n_sample);
    rc = train(basis, y, n_sample, dim, d_out, e);
    free(y);
    if (!rc) {
        orthonormalise(basis, dim, d_out);
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
