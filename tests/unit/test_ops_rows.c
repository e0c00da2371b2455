/* SPDX-License-Identifier: MIT
 * What generation asks of single ops beside test_ops.c: rows of products that do not depend on
 * each other (lm_dev's is_rowwise), on every instruction set; and attention over a cache, which
 * is that of whole sequences. */
#include "base/cpu.h"
#include "base/mem.h"
#include "base/rng.h"
#include "lm/backend.h"
#include "random_values.h"

#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- products ---- */

enum { M = 101, GAP = 3 }; /* rows: whole tiles of each kernel, and some over */

/* One call for M rows, and again for n rows from `from` on: the same bytes. */
static void check_rows(struct lm_dev *d, int64_t from, int64_t n, int64_t N, int64_t K)
{
    int64_t lda = K + GAP, ldc = N + GAP;
    float *a = random_values(3, M * lda), *w = random_values(5, N * K);
    float *c = random_values(7, M * ldc), *start = mem_dup(c, (size_t)(M * ldc) * sizeof *c);
    float *part = mem_alloc((size_t)(n * ldc), sizeof *part);
    struct lm_matrix *m = d->ops->matrix_new(d, w, N, K, NULL);
    for (int way = 0; way < 4; way++) {
        bool is_added = way == 1;
        memcpy(c, start, (size_t)(M * ldc) * sizeof *c);
        memcpy(part, start + from * ldc, (size_t)(n * ldc) * sizeof *part);
        for (int k = 0; k < 2; k++) {
            float *y = k ? part : c;
            const float *x = k ? a + from * lda : a;
            int64_t T = k ? n : M;
            omp_set_num_threads(k + 1);
            if (way < 2)
                d->ops->linear_fwd(d, y, ldc, x, lda, m, T, is_added);
            else if (way == 2)
                d->ops->linear_fwd_f32(d, y, ldc, x, lda, m, T);
            else
                d->ops->gemm(d, false, true, T, N, K, 0.5f, x, lda, w, K, 2, y, ldc);
        }
        if (memcmp(c + from * ldc, part, (size_t)(n * ldc) * sizeof *c) != 0)
            fail_msg("%s, way %d, %d x %d: rows %d to %d depend on the others", d->ops->name,
                     way, (int)N, (int)K, (int)from, (int)(from + n));
        for (int64_t i = 0; i < M; i++) /* and they are the product */
            for (int64_t j = 0; j < N; j++) {
                double sum = 0, size = 1, alpha = way == 3 ? 0.5 : 1;
                for (int64_t k = 0; k < K; k++)
                    sum += (double)a[i * lda + k] * (double)w[j * K + k];
                double base = (double)start[i * ldc + j];
                double want = alpha * sum + (way == 3 ? 2 * base : is_added ? base : 0);
                size += sqrt((double)K);
                if (!(fabs((double)c[i * ldc + j] - want) <= 2e-6 * size))
                    fail_msg("%s, way %d: %g, want %g", d->ops->name, way,
                             (double)c[i * ldc + j], want);
            }
    }
    d->ops->matrix_free(d, m);
    free(a);
    free(w);
    free(c);
    free(start);
    free(part);
}

static void rows_do_not_depend_on_each_other(void **state)
{
    static const int64_t parts[][2] = {{0, 1}, {100, 1}, {5, 2}, {50, 13}, {0, 96}, {3, 98}};
    (void)state;
    unsetenv("RAISE_ISA");
    for (enum cpu_isa isa = CPU_BASE, best = cpu_isa(); isa <= best; isa++) {
        setenv("RAISE_ISA", cpu_isa_name(isa), 1);
        struct lm_dev *d = lm_dev_open_cpu(LM_F32, NULL);
        assert_non_null(d);
        d->is_rowwise = true;
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
            check_rows(d, parts[i][0], parts[i][1], 53, 37);
            check_rows(d, parts[i][0], parts[i][1], 7, 700);
        }
        lm_dev_close(d);
    }
    unsetenv("RAISE_ISA");
}

/* ---- attention ---- */

/* Three sequences, the second empty, each token a row over its sequence's cache. */
static void attention_over_a_cache_is_that_of_sequences(void **state)
{
    enum { T = 30, H = 4, G = 2, K = 8, LD = (H + 2 * G) * K, WIDTH = 2 * G * K, ROWS = 99 };
    static const int32_t offsets[] = {0, 11, 11, 30}, base[] = {50, 0, 3};
    (void)state;
    struct lm_dev *d = lm_dev_open_ref();
    float *qkv = random_values(1, T * LD), *cache = random_values(2, ROWS * WIDTH);
    float want[T * H * K], got[T * H * K], lse[H * T];
    int32_t first[T], cell[T];
    for (int s = 0; s < 3; s++)
        for (int t = offsets[s]; t < offsets[s + 1]; t++) {
            first[t] = base[s];
            cell[t] = base[s] + t - offsets[s];
        }
    float *k = qkv + H * K, *v = k + G * K;
    d->ops->attention_fwd(d, want, H * K, lse, qkv, LD, k, LD, v, LD, offsets, 3, T, H, G, K,
                          0.3f);
    d->ops->store_rows(d, cache, WIDTH, k, LD, cell, T, WIDTH);
    d->ops->attention_cached(d, got, H * K, qkv, LD, cache, cache + G * K, WIDTH, first, cell,
                             T, H, G, K, 0.3f);
    assert_memory_equal(got, want, sizeof got);
    free(qkv);
    free(cache);
    lm_dev_close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_do_not_depend_on_each_other),
        cmocka_unit_test(attention_over_a_cache_is_that_of_sequences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
