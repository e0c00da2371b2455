/* SPDX-License-Identifier: MIT
 * cluster/: classes and their order, small ones, bad input, components, threads. */
#include "base/mem.h"
#include "base/rng.h"
#include "cluster/cluster.h"

#include <float.h>
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Groups around `n_groups` far points; row i belongs to group_of(i). */
enum { N = 9001, DIM = 7, N_GROUPS = 3 };

static int group_of(int64_t i)
{
    static const int pattern[] = {0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2};
    return pattern[i % 15];
}

static float *groups(int64_t n, double spread)
{
    struct rng r;
    rng_init(&r, 7, 0);
    float *x = mem_alloc((size_t)(n * DIM), sizeof *x);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < DIM; j++)
            x[i * DIM + j] =
                (float)(100 * (j == group_of(i)) + spread * rng_normal(&r) + 3 * (double)j);
    return x;
}

static struct cluster_options options(int64_t k)
{
    struct cluster_options o = CLUSTER_OPTIONS_DEFAULTS;
    o.k = k;
    return o;
}

static double squared(const float *a, const float *b, int64_t dim)
{
    double s = 0;
    for (int64_t j = 0; j < dim; j++)
        s += ((double)a[j] - (double)b[j]) * ((double)a[j] - (double)b[j]);
    return s;
}

/* What every result promises: sizes agree and fall, each row has its nearest centroid. */
static void check_result(const struct cluster_result *r, const float *x, int64_t n, int64_t dim)
{
    int64_t *count = mem_zalloc((size_t)r->k, sizeof *count);
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        assert_true(r->assign[i] >= 0 && r->assign[i] < r->k);
        count[r->assign[i]]++;
        double mine = squared(x + i * dim, r->centroids + r->assign[i] * dim, dim);
        for (int64_t c = 0; c < r->k; c++)
            assert_true(mine <=
                        squared(x + i * dim, r->centroids + c * dim, dim) * (1 + 1e-4) + 1e-6);
        sum += mine;
    }
    for (int64_t c = 0; c < r->k; c++) {
        assert_int_equal(count[c], r->sizes[c]);
        assert_true(count[c] > 0 && (!c || count[c] <= count[c - 1]));
    }
    assert_true(fabs(sum - r->objective) <= 1e-9 * sum);
    free(count);
}

static void groups_are_found_largest_first(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    float *x = groups(N, 1);
    struct cluster_options o = options(N_GROUPS);
    struct cluster_result r;
    o.n_redo = 20; /* one start in six puts a centroid in every group */
    assert_int_equal(cluster_kmeans(&r, x, N, DIM, &o, &e), 0);
    check_result(&r, x, N, DIM);
    assert_int_equal(r.k, N_GROUPS);
    assert_int_equal(r.n_empty, 0);
    for (int64_t i = 0; i < N; i++)
        assert_int_equal(r.assign[i], group_of(i));
    cluster_result_free(&r);
    free(x);
}

static void check_threads(int64_t n_redo)
{
    struct err e = ERR_INIT;
    float *x = groups(N, 60);
    struct cluster_options o = options(16);
    struct cluster_result a, b;
    int n_threads = omp_get_max_threads();
    o.n_redo = n_redo;
    assert_int_equal(cluster_kmeans(&a, x, N, DIM, &o, &e), 0);
    check_result(&a, x, N, DIM);
    for (int t = 1; t < 5; t++) {
        omp_set_num_threads(t);
        assert_int_equal(cluster_kmeans(&b, x, N, DIM, &o, &e), 0);
        assert_int_equal(omp_get_max_threads(), t);
        assert_int_equal(a.k, b.k);
        assert_memory_equal(a.centroids, b.centroids, (size_t)(a.k * DIM) * sizeof(float));
        assert_memory_equal(a.assign, b.assign, N * sizeof(int32_t));
        assert_memory_equal(&a.objective, &b.objective, sizeof a.objective);
        cluster_result_free(&b);
    }
    omp_set_num_threads(n_threads);
    o.seed = 43;
    assert_int_equal(cluster_kmeans(&b, x, N, DIM, &o, &e), 0);
    assert_true(a.objective < b.objective || b.objective < a.objective);
    cluster_result_free(&a);
    cluster_result_free(&b);
    free(x);
}

static void threads_do_not_matter(void **state)
{
    (void)state;
    check_threads(1);
    check_threads(6);
}

/* More rows than centroids are trained on; still each gets its nearest. */
static void many_rows_are_sampled(void **state)
{
    (void)state;
    enum { MANY = CLUSTER_MAX_TRAIN + 5000 };
    struct err e = ERR_INIT;
    struct cluster_options o = options(2);
    struct cluster_result r;
    float *x = mem_alloc((size_t)MANY, sizeof *x);
    for (int64_t i = 0; i < MANY; i++)
        x[i] = (float)(i % 3 ? 10 : 0) + (float)(i % 7) / 7;
    o.n_iter = 3;
    assert_int_equal(cluster_kmeans(&r, x, MANY, 1, &o, &e), 0);
    for (int64_t i = 0; i < MANY; i++)
        assert_true(r.assign[i] == (i % 3 == 0));
    assert_true(fabsf(r.centroids[1] - 3.0F / 7) < 0.01F);
    cluster_result_free(&r);
    free(x);
}

static void one_class_and_a_class_each(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    enum { FEW = 40 };
    float *x = groups(FEW, 1);
    struct cluster_options o = options(1);
    struct cluster_result r;
    assert_int_equal(cluster_kmeans(&r, x, FEW, DIM, &o, &e), 0);
    check_result(&r, x, FEW, DIM);
    for (int64_t j = 0; j < DIM; j++) {
        double mean = 0;
        for (int64_t i = 0; i < FEW; i++)
            mean += (double)x[i * DIM + j] / FEW;
        assert_true(fabs((double)r.centroids[j] - mean) < 1e-4);
    }
    cluster_result_free(&r);
    o.k = FEW;
    assert_int_equal(cluster_kmeans(&r, x, FEW, DIM, &o, &e), 0);
    check_result(&r, x, FEW, DIM);
    assert_int_equal(r.k, FEW);
    assert_true(r.objective < 1e-6);
    for (int64_t c = 1; c < FEW; c++) /* equal sizes: by centroid */
        assert_true(r.centroids[(c - 1) * DIM] < r.centroids[c * DIM]);
    cluster_result_free(&r);
    free(x);
}

static void equal_rows_are_one_class(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    for (int zero = 0; zero < 2; zero++) {
        float x[50 * 3];
        for (int i = 0; i < 50 * 3; i++)
            x[i] = zero ? 0.0F : (float)(i % 3) + 0.5F;
        struct cluster_options o = options(4);
        struct cluster_result r;
        assert_int_equal(cluster_kmeans(&r, x, 50, 3, &o, &e), 0);
        assert_int_equal(r.k, 1);
        assert_int_equal(r.n_empty, 3);
        assert_int_equal(r.sizes[0], 50);
        cluster_result_free(&r);
    }
}

static void small_classes_are_dissolved(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    float *x = groups(N, 1);
    struct cluster_options o = options(N_GROUPS);
    struct cluster_result r;
    o.n_redo = 20;
    o.min_size = 1801; /* the last group has 1800 rows, the one before 3000 */
    assert_int_equal(cluster_kmeans(&r, x, N, DIM, &o, &e), 0);
    check_result(&r, x, N, DIM);
    assert_int_equal(r.k, N_GROUPS - 1);
    assert_int_equal(r.n_dissolved, 1);
    assert_int_equal(r.n_moved, 1800);
    cluster_result_free(&r);
    o.min_size = 2 * N; /* one class always stays */
    assert_int_equal(cluster_kmeans(&r, x, N, DIM, &o, &e), 0);
    check_result(&r, x, N, DIM);
    assert_int_equal(r.k, 1);
    cluster_result_free(&r);
    free(x);
}

/* The mean of a class's rows, whatever FAISS made of its centroid. */
static void check_means(const struct cluster_result *r, const float *x, int64_t n, int64_t dim)
{
    for (int64_t c = 0; c < r->k; c++)
        for (int64_t j = 0; j < dim; j++) {
            double sum = 0;
            for (int64_t i = 0; i < n; i++)
                if (r->assign[i] == c)
                    sum += (double)x[i * dim + j];
            sum /= (double)r->sizes[c];
            assert_true(fabs(sum - (double)r->centroids[c * dim + j]) < 1e-6 * (1 + fabs(sum)));
        }
}

static void centroids_are_means(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    float two[30 * 4];
    for (int i = 0; i < 30 * 4; i++)
        two[i] = (float)(i % 4 + 1) + (float)(i / 4 % 3 == 0) * 0.5F;
    struct cluster_options o = options(4);
    struct cluster_result r;
    assert_int_equal(cluster_kmeans(&r, two, 30, 4, &o, &e), 0); /* more classes than rows */
    assert_int_equal(r.k, 2);
    assert_int_equal(r.n_empty, 2);
    for (int i = 0; i < 30; i++)
        assert_memory_equal(r.centroids + r.assign[i] * 4, two + i * 4, 4 * sizeof(float));
    cluster_result_free(&r);
    float *x = groups(N, 60); /* overlapping: the last iterations still move rows */
    o = options(16);
    o.n_iter = 2;
    assert_int_equal(cluster_kmeans(&r, x, N, DIM, &o, &e), 0);
    check_result(&r, x, N, DIM);
    check_means(&r, x, N, DIM);
    cluster_result_free(&r);
    free(x);
}

/* Two groups of 50, at 0 and 10, and rows far off: k-means gives those a class of their own. */
static void outliers_cost_no_class(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    enum { GROUP = 50, FAR = 3 };
    for (int n_far = 1; n_far <= FAR; n_far += 2) {
        float x[(2 * GROUP + FAR) * 2];
        int64_t n = 2 * GROUP + n_far;
        for (int i = 0; i < 2 * GROUP; i++) {
            x[2 * i] = (float)(i % 2 * 10) + 0.01F * (float)i;
            x[2 * i + 1] = 0.02F * (float)(i % 7);
        }
        for (int i = 0; i < n_far; i++) { /* each in a direction of its own */
            x[2 * (2 * GROUP + i)] = i == 1 ? -7000.0F : 6000.0F;
            x[2 * (2 * GROUP + i) + 1] = i == 2 ? 9000.0F : 10.0F * (float)i;
        }
        struct cluster_options o = options(2);
        struct cluster_result r;
        o.n_redo = 5;
        o.min_size = 3;
        assert_int_equal(cluster_kmeans(&r, x, n, 2, &o, &e), 0);
        check_result(&r, x, n, 2);
        assert_int_equal(r.k, 2);
        assert_int_equal(r.n_moved, n_far);
        for (int i = 0; i < 2 * GROUP; i++)
            assert_int_equal(r.assign[i], r.assign[i % 2]);
        assert_int_not_equal(r.assign[0], r.assign[1]);
        for (int c = 0; c < 2; c++) /* not drawn towards them */
            assert_true(fabsf(r.centroids[2 * c] - (c == r.assign[1] ? 10.0F : 0.0F)) < 1);
        cluster_result_free(&r);
        o.min_size = 1; /* whoever wants it keeps it */
        assert_int_equal(cluster_kmeans(&r, x, n, 2, &o, &e), 0);
        assert_int_equal(r.n_moved, 0);
        cluster_result_free(&r);
    }
}

static void directions_ignore_length(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    enum { ROWS = 200 };
    float x[ROWS * 2];
    for (int i = 0; i < ROWS; i++) {
        double angle = (i % 2 ? 0.2 : 1.3) + 0.001 * i, length = 1 + i % 7 * 50;
        x[2 * i] = (float)(length * cos(angle));
        x[2 * i + 1] = (float)(length * sin(angle));
    }
    struct cluster_options o = options(2);
    struct cluster_result r;
    o.is_spherical = true;
    assert_int_equal(cluster_kmeans(&r, x, ROWS, 2, &o, &e), 0);
    assert_int_equal(r.k, 2);
    for (int i = 0; i < ROWS; i++)
        assert_int_equal(r.assign[i], r.assign[i % 2]);
    for (int c = 0; c < 2; c++)
        assert_true(
            fabs(hypot((double)r.centroids[2 * c], (double)r.centroids[2 * c + 1]) - 1) < 1e-5);
    cluster_result_free(&r);
}

static void bad_input_is_named(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    float x[] = {1, 2, 3, 4, 5, 6}, out[6];
    struct cluster_options o = options(4);
    struct cluster_result r;
    assert_int_equal(cluster_kmeans(&r, x, 3, 2, &o, &e), ERR_RANGE);
    assert_string_equal(e.msg, "cannot make 4 classes of 3 rows");
    assert_null(r.assign);
    o.k = 0;
    assert_int_equal(cluster_kmeans(&r, x, 3, 2, &o, &e), ERR_RANGE);
    o.k = 2;
    x[5] = NAN;
    assert_int_equal(cluster_kmeans(&r, x, 3, 2, &o, &e), ERR_NONFINITE);
    assert_string_equal(e.msg, "row 2: value 1 is not finite");
    assert_int_equal(cluster_pca(out, NULL, NULL, x, 3, 2, 1, &e), ERR_NONFINITE);
    x[5] = 1e20F;
    assert_int_equal(cluster_kmeans(&r, x, 3, 2, &o, &e), ERR_RANGE);
    assert_non_null(strstr(e.msg, "row 2: value 1 is too large"));
    x[5] = 6;
    assert_int_equal(cluster_pca(out, NULL, NULL, x, 3, 2, 3, &e), ERR_RANGE);
    assert_int_equal(cluster_pca(out, NULL, NULL, x, 1, 2, 2, &e), ERR_RANGE);
    assert_int_equal(cluster_kmeans(&r, x, 0, 2, &o, &e), ERR_RANGE);
}

/* Rows with standard deviations 5, 3, 1, .1 along known orthogonal directions. */
static void components_are_the_directions_of_variance(void **state)
{
    (void)state;
    enum { ROWS = 6000, D = 4 };
    static const double axis[D][D] = {
        {.5, .5, .5, .5}, {.5, -.5, .5, -.5}, {.5, .5, -.5, -.5}, {-.5, .5, .5, -.5}};
    static const double sd[D] = {5, 3, 1, .1};
    struct err e = ERR_INIT;
    struct rng rng;
    rng_init(&rng, 3, 0);
    float *x = mem_zalloc(ROWS * D, sizeof *x);
    for (int i = 0; i < ROWS; i++)
        for (int k = 0; k < D; k++) {
            double v = sd[k] * rng_normal(&rng);
            for (int j = 0; j < D; j++)
                x[i * D + j] += (float)(v * axis[k][j] + 250 * (j == 1));
        }
    float out[ROWS * 3], mean[D], c[3 * D];
    assert_int_equal(cluster_pca(out, mean, c, x, ROWS, D, 3, &e), 0);
    for (int k = 0; k < 3; k++) {
        double dot = 0, var = 0;
        int largest = 0;
        for (int j = 0; j < D; j++) {
            dot += (double)c[k * D + j] * axis[k][j];
            if (fabsf(c[k * D + j]) > fabsf(c[k * D + largest]))
                largest = j;
        }
        assert_true(fabs(dot) > 0.999);
        assert_true(c[k * D + largest] > 0);
        for (int i = 0; i < ROWS; i++)
            var += (double)out[i * 3 + k] * (double)out[i * 3 + k] / ROWS;
        assert_true(fabs(sqrt(var) / sd[k] - 1) < 0.05);
        for (int l = 0; l <= k; l++) {
            dot = 0;
            for (int j = 0; j < D; j++)
                dot += (double)c[k * D + j] * (double)c[l * D + j];
            assert_true(fabs(dot - (k == l)) < 1e-6);
        }
    }
    for (int i = 0; i < ROWS; i++) { /* out is what mean and components say */
        double y = 0;
        for (int j = 0; j < D; j++)
            y += ((double)x[i * D + j] - (double)mean[j]) * (double)c[j];
        assert_true(fabs(y - (double)out[i * 3]) < 1e-3);
    }
    assert_true(fabsf(mean[1] - 1000) < 1); /* 250 for each of the four */
    free(x);
}

static void missing_directions_are_zero(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    float x[6 * 8], out[6 * 5], c[5 * 8];
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 8; j++)
            x[i * 8 + j] = (float)(i * (j + 1)); /* one line; n < dim as well */
    assert_int_equal(cluster_pca(out, NULL, c, x, 6, 8, 5, &e), 0);
    double length = 0;
    for (int j = 0; j < 8; j++)
        length += (double)c[j] * (double)c[j];
    assert_true(fabs(length - 1) < 1e-6);
    for (int i = 0; i < 6; i++)
        for (int k = 0; k < 5; k++) {
            assert_true(isfinite(out[i * 5 + k]));
            assert_true(!k || out[i * 5 + k] == 0);
        }
    for (int i = 8; i < 5 * 8; i++)
        assert_true(c[i] == 0);
}

static void components_ignore_threads(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    float *x = groups(N, 40), *a = mem_alloc(N * 3, sizeof *a),
          *b = mem_alloc(N * 3, sizeof *b);
    int n_threads = omp_get_max_threads();
    assert_int_equal(cluster_pca(a, NULL, NULL, x, N, DIM, 3, &e), 0);
    for (int t = 1; t < 5; t++) {
        omp_set_num_threads(t);
        assert_int_equal(cluster_pca(b, NULL, NULL, x, N, DIM, 3, &e), 0);
        assert_memory_equal(a, b, N * 3 * sizeof *a);
    }
    omp_set_num_threads(n_threads);
    free(x);
    free(a);
    free(b);
}

/* Wider than a tile, more rows than a block: a full basis keeps every distance, and the
 * variances fall; the same bytes by any number of threads. */
static void a_full_basis_keeps_all_variance(void **state)
{
    (void)state;
    enum { ROWS = 1300, D = 300 };
    struct err e = ERR_INIT;
    struct rng rng;
    rng_init(&rng, 5, 0);
    float *x = mem_alloc(ROWS * D, sizeof *x), *a = mem_alloc(ROWS * D, sizeof *a),
          *b = mem_alloc(ROWS * D, sizeof *b);
    double before = 0, after = 0, last = INFINITY;
    for (int i = 0; i < ROWS * D; i++)
        x[i] = (float)(rng_normal(&rng) * (1 + i % D % 7));
    int n_threads = omp_get_max_threads();
    omp_set_num_threads(1);
    assert_int_equal(cluster_pca(a, NULL, NULL, x, ROWS, D, D, &e), 0);
    omp_set_num_threads(3);
    assert_int_equal(cluster_pca(b, NULL, NULL, x, ROWS, D, D, &e), 0);
    omp_set_num_threads(n_threads);
    assert_memory_equal(a, b, ROWS * D * sizeof *a);
    for (int j = 0; j < D; j++) {
        double mean = 0, var = 0, out = 0;
        for (int i = 0; i < ROWS; i++)
            mean += (double)x[i * D + j] / ROWS;
        for (int i = 0; i < ROWS; i++) {
            var += pow((double)x[i * D + j] - mean, 2);
            out += pow((double)a[i * D + j], 2);
        }
        before += var;
        after += out;
        assert_true(out <= last * (1 + 1e-6));
        last = out;
    }
    assert_true(fabs(after / before - 1) < 1e-6);
    free(x);
    free(a);
    free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups_are_found_largest_first),
        cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(many_rows_are_sampled),
        cmocka_unit_test(one_class_and_a_class_each),
        cmocka_unit_test(equal_rows_are_one_class),
        cmocka_unit_test(small_classes_are_dissolved),
        cmocka_unit_test(centroids_are_means),
        cmocka_unit_test(outliers_cost_no_class),
        cmocka_unit_test(directions_ignore_length),
        cmocka_unit_test(bad_input_is_named),
        cmocka_unit_test(components_are_the_directions_of_variance),
        cmocka_unit_test(missing_directions_are_zero),
        cmocka_unit_test(components_ignore_threads),
        cmocka_unit_test(a_full_basis_keeps_all_variance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
