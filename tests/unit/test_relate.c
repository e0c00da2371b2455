/* SPDX-License-Identifier: MIT
 * cluster/neighbours and features/relate against brute force in double: exact and by cells,
 * equal rows, few rows, threads. */
#include "base/mem.h"
#include "base/rng.h"
#include "features/relate.h"

#include <float.h>
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N = 3000, DIM = 9, K = 20, N_TARGET = 7, N_GROUPS = 30 };

struct pool {
    struct relate_pool p;
    float *embedding, *logp_yx, *logp_y, *target;
    int32_t *len_x, *len_y;
};

/* Groups of records, as text has them; every 50th row repeats the one before. */
static struct pool make_pool(int64_t n)
{
    struct rng r;
    rng_init(&r, 5, 0);
    struct pool s = {.embedding = mem_alloc((size_t)(n * DIM), sizeof(float)),
                     .logp_yx = mem_alloc((size_t)n, sizeof(float)),
                     .logp_y = mem_alloc((size_t)n, sizeof(float)),
                     .target = mem_alloc(N_TARGET * DIM, sizeof(float)),
                     .len_x = mem_alloc((size_t)n, sizeof(int32_t)),
                     .len_y = mem_alloc((size_t)n, sizeof(int32_t))};
    for (int64_t i = 0; i < n; i++) {
        uint64_t group = rng_below(&r, N_GROUPS);
        for (int64_t j = 0; j < DIM; j++)
            s.embedding[i * DIM + j] =
                (float)(3 + rng_hash_unit(1, group, (uint64_t)j, 0) + 0.1 * rng_normal(&r));
        s.len_x[i] = (int32_t)(5 + rng_below(&r, 60));
        s.len_y[i] = (int32_t)(1 + rng_below(&r, 200));
        s.logp_yx[i] = (float)(-s.len_y[i] * (0.5 + rng_unit(&r)));
        s.logp_y[i] = (float)(-s.len_y[i] * (1 + 0.1 * (double)group + 0.2 * rng_unit(&r)));
        if (i % 50 == 49) {
            memcpy(s.embedding + i * DIM, s.embedding + (i - 1) * DIM, DIM * sizeof(float));
            s.len_x[i] = s.len_x[i - 1];
            s.len_y[i] = s.len_y[i - 1];
        }
    }
    for (int64_t j = 0; j < N_TARGET * DIM; j++)
        s.target[j] = (float)(3 + rng_unit(&r));
    s.p = (struct relate_pool){n, DIM, s.embedding, s.len_x, s.len_y, s.logp_yx, s.logp_y};
    return s;
}

static void pool_free(struct pool *s)
{
    free(s->embedding);
    free(s->logp_yx);
    free(s->logp_y);
    free(s->target);
    free(s->len_x);
    free(s->len_y);
}

static void mean_of(double mean[DIM], const struct relate_pool *p)
{
    for (int64_t j = 0; j < DIM; j++) {
        mean[j] = 0;
        for (int64_t i = 0; i < p->n; i++)
            mean[j] += (double)p->embedding[i * DIM + j] / (double)p->n;
    }
}

static void z_scores(double *z, const int32_t *v, int64_t n)
{
    double mean = 0, var = 0;
    for (int64_t i = 0; i < n; i++)
        mean += (double)v[i] / (double)n;
    for (int64_t i = 0; i < n; i++)
        var += (v[i] - mean) * (v[i] - mean) / (double)n;
    for (int64_t i = 0; i < n; i++)
        z[i] = var > 0 ? (v[i] - mean) / sqrt(var) : 0;
}

static double cosine(const double *a, const double *b, int64_t n)
{
    double ab = 0, aa = 0, bb = 0;
    for (int64_t j = 0; j < n; j++) {
        ab += a[j] * b[j];
        aa += a[j] * a[j];
        bb += b[j] * b[j];
    }
    return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : 0;
}

/* [n, DIM + 2]: what neighbours are compared by. */
static double *comparable(const struct relate_pool *p)
{
    double mean[DIM], *z = mem_alloc((size_t)p->n, sizeof *z);
    double *v = mem_alloc((size_t)(p->n * (DIM + 2)), sizeof *v);
    mean_of(mean, p);
    for (int64_t i = 0; i < p->n; i++)
        for (int64_t j = 0; j < DIM; j++)
            v[i * (DIM + 2) + j] = (double)p->embedding[i * DIM + j] - mean[j];
    z_scores(z, p->len_x, p->n);
    for (int64_t i = 0; i < p->n; i++)
        v[i * (DIM + 2) + DIM] = z[i];
    z_scores(z, p->len_y, p->n);
    for (int64_t i = 0; i < p->n; i++)
        v[i * (DIM + 2) + DIM + 1] = z[i];
    free(z);
    return v;
}

static double explained(const struct relate_pool *p, int64_t i)
{
    return ((double)p->logp_yx[i] - (double)p->logp_y[i]) / p->len_y[i];
}

/* The k nearest rows of row i, nearest first, and the one after them; how many there are. */
static int64_t brute(int64_t id[K + 1], double cos_of[K + 1], const double *v, int64_t n,
                     int64_t i)
{
    int64_t n_found = 0;
    for (int64_t j = 0; j < n; j++) {
        double c = cosine(v + i * (DIM + 2), v + j * (DIM + 2), DIM + 2);
        if (j == i || (n_found == K + 1 && c <= cos_of[K]))
            continue;
        int64_t at = n_found < K + 1 ? n_found++ : K;
        for (; at && cos_of[at - 1] < c; at--) {
            cos_of[at] = cos_of[at - 1];
            id[at] = id[at - 1];
        }
        cos_of[at] = c;
        id[at] = j;
    }
    return n_found;
}

/* *is_tied: the last neighbour and the next row are as good as equally near. */
static double brute_consistency(const struct relate_pool *p, const double *v, int64_t i,
                                bool *is_tied)
{
    int64_t id[K + 1];
    double cos_of[K + 1], mean = 0, var = 0;
    int64_t n_found = brute(id, cos_of, v, p->n, i), n = n_found < K ? n_found : K;
    *is_tied = n_found > K && cos_of[K - 1] - cos_of[K] < 1e-6;
    for (int64_t j = 0; j < n; j++)
        mean += explained(p, id[j]) / (double)n;
    for (int64_t j = 0; j < n; j++)
        var += (explained(p, id[j]) - mean) * (explained(p, id[j]) - mean) / (double)n;
    double spread = sqrt(var) + 0.05, c = n ? (explained(p, i) - mean) / spread : 0;
    double trust = mean <= 0 ? 0 : mean < spread ? mean / spread : 1;
    return trust * (c > 1 ? 1 : c < -1 ? -1 : c);
}

static struct neighbours_options options(void)
{
    return (struct neighbours_options)NEIGHBOURS_OPTIONS_DEFAULTS;
}

static void consistency_is_that_of_brute_force(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    static const int64_t sizes[] = {N, 1025, 15, 2, 1};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        struct pool s = make_pool(sizes[k]);
        struct neighbours_options o = options();
        double *v = comparable(&s.p);
        float *c = mem_alloc((size_t)s.p.n, sizeof *c);
        int64_t n_clipped = 0, n_tied = 0;
        assert_int_equal(relate_consistency(c, &s.p, &o, &e), 0);
        for (int64_t i = 0; i < s.p.n; i++) {
            bool is_tied;
            double want = brute_consistency(&s.p, v, i, &is_tied);
            assert_true(is_tied || fabs((double)c[i] - want) < 1e-4);
            n_clipped += fabsf(c[i]) >= 1;
            n_tied += is_tied;
        }
        assert_true(n_tied * 20 < s.p.n);
        assert_true(sizes[k] < N || (n_clipped > 0 && n_clipped < N / 4));
        free(c);
        free(v);
        pool_free(&s);
    }
}

/* By cells most neighbours are the true ones, and each is at its true distance. */
struct found {
    const double *v; /* [n, DIM + 2] */
    int64_t n, n_hits, n_wanted, n_wrong;
};

static void unit_rows(void *arg, int64_t first, int64_t n, float *out)
{
    const struct found *f = arg;
    for (int64_t i = 0; i < n; i++) {
        const double *v = f->v + (first + i) * (DIM + 2);
        double sum = 0;
        for (int64_t j = 0; j < DIM + 2; j++)
            sum += v[j] * v[j];
        for (int64_t j = 0; j < DIM + 2; j++)
            out[i * (DIM + 2) + j] = (float)(v[j] / sqrt(sum));
    }
}

static void count_hits(void *arg, int64_t row, const int64_t *id, const float *cos_of,
                       int64_t n)
{
    struct found *f = arg;
    int64_t want[K + 1], n_hits = 0, n_wrong = n > K;
    double c[K + 1];
    if (row % 10)
        return;
    brute(want, c, f->v, f->n, row);
    for (int64_t j = 0; j < n; j++) {
        double mine = cosine(f->v + row * (DIM + 2), f->v + id[j] * (DIM + 2), DIM + 2);
        n_hits += mine > c[K - 1] - 1e-6;
        n_wrong += fabs(mine - (double)cos_of[j]) > 1e-5 || id[j] == row ||
                   (j && cos_of[j] > cos_of[j - 1]);
    }
#pragma omp critical
    {
        f->n_hits += n_hits;
        f->n_wanted += K;
        f->n_wrong += n_wrong;
    }
}

static void cells_find_most(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct pool s = make_pool(N);
    double recall[2], *v = comparable(&s.p);
    for (int i = 0; i < 2; i++) {
        struct neighbours_options o = options();
        struct found f = {.v = v, .n = N};
        o.max_exact = N - i;
        assert_int_equal(neighbours_find(N, DIM + 2, unit_rows, count_hits, &f, &o, &e), 0);
        assert_int_equal(f.n_wrong, 0);
        assert_int_equal(f.n_wanted, N / 10 * K);
        recall[i] = (double)f.n_hits / (double)f.n_wanted;
    }
    assert_true(recall[0] > 1 - 1e-9);
    assert_true(recall[1] > 0.95 && recall[1] < 1);
    free(v);
    pool_free(&s);
}

static void threads_do_not_matter(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct pool s = make_pool(N);
    int n_threads = omp_get_max_threads();
    for (int exact = 0; exact < 2; exact++) {
        struct neighbours_options o = options();
        float *a = mem_alloc(N, sizeof *a), *b = mem_alloc(N, sizeof *b);
        o.max_exact = exact ? N : 100;
        assert_int_equal(relate_consistency(a, &s.p, &o, &e), 0);
        for (int t = 1; t < 5; t++) {
            omp_set_num_threads(t);
            assert_int_equal(relate_consistency(b, &s.p, &o, &e), 0);
            assert_int_equal(omp_get_max_threads(), t);
            assert_memory_equal(a, b, N * sizeof *a);
        }
        omp_set_num_threads(n_threads);
        free(a);
        free(b);
    }
    pool_free(&s);
}

static void near_is_the_largest_centred_cosine(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct pool s = make_pool(N);
    double mean[DIM], a[DIM], b[DIM];
    float *near = mem_alloc(N, sizeof *near), *again = mem_alloc(N, sizeof *again);
    mean_of(mean, &s.p);
    assert_int_equal(relate_near(near, &s.p, s.target, N_TARGET, &e), 0);
    for (int64_t i = 0; i < N; i++) {
        double best = -2;
        for (int64_t t = 0; t < N_TARGET; t++) {
            for (int64_t j = 0; j < DIM; j++) {
                a[j] = (double)s.embedding[i * DIM + j] - mean[j];
                b[j] = (double)s.target[t * DIM + j] - mean[j];
            }
            best = fmax(best, cosine(a, b, DIM));
        }
        assert_true(fabs(best - (double)near[i]) < 1e-5);
    }
    int n_threads = omp_get_max_threads();
    omp_set_num_threads(n_threads == 1 ? 3 : 1);
    assert_int_equal(relate_near(again, &s.p, s.target, N_TARGET, &e), 0);
    omp_set_num_threads(n_threads);
    assert_memory_equal(near, again, N * sizeof *near);
    free(near);
    free(again);
    pool_free(&s);
}

static void equal_rows_are_each_others_neighbours(void **state)
{
    (void)state;
    enum { FEW = 60 };
    struct err e = ERR_INIT;
    struct pool s = make_pool(FEW);
    struct neighbours_options o = options();
    float c[FEW], near[FEW];
    for (int64_t i = 0; i < FEW; i++) { /* all alike, row 7 explained better */
        memcpy(s.embedding + i * DIM, s.embedding, DIM * sizeof(float));
        s.len_x[i] = s.len_y[i] = 10;
        s.logp_y[i] = -20;
        s.logp_yx[i] = i == 7 ? -10.0F : -12.0F;
    }
    assert_int_equal(relate_consistency(c, &s.p, &o, &e), 0);
    assert_true(fabsf(c[7] - 1) < 1e-6F); /* 0.2 above a deviation of 0, + 0.05 */
    for (int64_t i = 0; i < FEW; i++)
        assert_true(i == 7 || (c[i] <= 0 && c[i] > -1));
    assert_int_equal(relate_near(near, &s.p, s.target, N_TARGET, &e), 0);
    for (int64_t i = 0; i < FEW; i++)
        assert_true(fabsf(near[i]) < 1e-6F);
    double same[FEW * (DIM + 2)];
    struct found f = {.v = same, .n = FEW};
    for (int i = 0; i < FEW * (DIM + 2); i++)
        same[i] = 1;
    assert_int_equal(neighbours_find(FEW, DIM + 2, unit_rows, count_hits, &f, &o, &e), 0);
    assert_int_equal(f.n_wrong, 0); /* never more than K, or the row itself */
    assert_int_equal(f.n_hits, f.n_wanted);
    pool_free(&s);
}

static void misuse_is_named(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct pool s = make_pool(10);
    struct neighbours_options o = options();
    float c[10];
    o.k = 0;
    assert_int_equal(relate_consistency(c, &s.p, &o, &e), ERR_RANGE);
    assert_string_equal(e.msg, "0 neighbours of 10 rows of 11 values");
    assert_int_equal(relate_near(c, &s.p, s.target, 0, &e), ERR_RANGE);
    pool_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(consistency_is_that_of_brute_force),
        cmocka_unit_test(cells_find_most),
        cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(near_is_the_largest_centred_cosine),
        cmocka_unit_test(equal_rows_are_each_others_neighbours),
        cmocka_unit_test(misuse_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
