/* SPDX-License-Identifier: MIT
 * Products of the fp32 CPU device have the same bytes for any number of threads, and each row
 * for any number of rows, under each of OpenBLAS's kernels that this CPU can run, whichever of
 * them OpenBLAS would take by itself. A
 * kernel is chosen when the library loads, so each has a process of its own: this program,
 * with one argument. */
#include "base/cpu.h"
#include "base/mem.h"
#include "base/rng.h"
#include "lm/backend.h"

#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* Rows below one group, groups cut by every number of threads, K with and without a cut. */
static const struct shape {
    int64_t M, N, K;
    bool is_ta, is_tb;
} shapes[] = {
    {1, 300, 675, false, true},   {11, 300, 675, false, true}, {16, 576, 257, true, false},
    {37, 131, 257, false, true},  {48, 96, 1030, true, false}, {67, 16, 576, false, false},
    {93, 1536, 64, true, false},  {131, 64, 320, false, true}, {184, 87, 178, true, true},
    {257, 281, 376, true, true},  {300, 37, 96, true, false},  {399, 200, 41, false, false},
    {576, 33, 1536, false, true},
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes, MOST_THREADS = 7 };

static float *noise(struct rng *r, int64_t n)
{
    float *x = mem_alloc((size_t)n, sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(rng_unit(r) - 0.5);
    return x;
}

/* Number of products of up to 300 rows of which a row has other bytes than among all of them.
 */
static int n_unlike_rows(struct lm_dev *d)
{
    static const struct {
        int64_t N, K;
        bool is_tb;
    } kinds[] = {
        {16, 576, true}, {64, 64, true}, {576, 16, false}, {192, 576, true}, {1, 16, true}};
    enum { M = 300 };
    struct rng r;
    int n_bad = 0;
    rng_init(&r, 8, 0);
    omp_set_num_threads(1);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        int64_t N = kinds[i].N, K = kinds[i].K, ldb = kinds[i].is_tb ? K : N;
        float *a = noise(&r, M * K), *b = noise(&r, K * N), *start = noise(&r, M * N);
        float *all = mem_dup(start, (size_t)(M * N) * sizeof *all);
        d->ops->gemm(d, false, kinds[i].is_tb, M, N, K, 1, a, K, b, ldb, 1, all, N);
        for (int64_t m = 1; m < M; m += m / 4 + 1) {
            float *c = mem_dup(start, (size_t)(m * N) * sizeof *c);
            d->ops->gemm(d, false, kinds[i].is_tb, m, N, K, 1, a, K, b, ldb, 1, c, N);
            n_bad += memcmp(c, all, (size_t)(m * N) * sizeof *c) != 0;
            free(c);
        }
        free(a);
        free(b);
        free(start);
        free(all);
    }
    return n_bad;
}

/* Number of shapes whose bytes depend on the threads. */
static int n_unlike(struct lm_dev *d)
{
    struct rng r;
    int n_bad = 0;
    rng_init(&r, 7, 0);
    for (int i = 0; i < N_SHAPES; i++) {
        const struct shape s = shapes[i];
        size_t bytes = (size_t)(s.M * s.N) * sizeof(float);
        float *a = noise(&r, s.M * s.K), *b = noise(&r, s.K * s.N);
        float *one = mem_zalloc(bytes, 1), *c = mem_zalloc(bytes, 1);
        int n_threads = 1;
        for (; n_threads <= MOST_THREADS; n_threads++) {
            omp_set_num_threads(n_threads);
            d->ops->gemm(d, s.is_ta, s.is_tb, s.M, s.N, s.K, 1, a, s.is_ta ? s.M : s.K, b,
                         s.is_tb ? s.K : s.N, 0, n_threads == 1 ? one : c, s.N);
            if (n_threads > 1 && memcmp(one, c, bytes) != 0)
                break;
        }
        if (n_threads <= MOST_THREADS) {
            printf("%s: [%lld, %lld] over %lld differs with %d threads\n", cpu_blas_kernel(),
                   (long long)s.M, (long long)s.N, (long long)s.K, n_threads);
            n_bad++;
        }
        free(a);
        free(b);
        free(one);
        free(c);
    }
    return n_bad;
}

static int child(void)
{
    struct err e = ERR_INIT;
    struct lm_dev *d = lm_dev_open_cpu(LM_F32, &e);
    if (!d)
        return 2;
    int n_threads = n_unlike(d), n_rows = n_unlike_rows(d);
    lm_dev_close(d);
    return (n_threads > 0) + 2 * (n_rows > 0);
}

/* Exit status of this program as it runs with that kernel. */
static int run_with(const char *kernel)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        setenv("OPENBLAS_CORETYPE", kernel, 1);
        setenv("GOMP_SPINCOUNT", "1000", 1);
        execl("/proc/self/exe", "test_blas", "child", (char *)NULL);
        _exit(127);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static void bytes_depend_on_neither_threads_nor_rows(void **state)
{
    static const char *const any[] = {"Prescott", "Core2", "Nehalem"}, *const avx2[] = {
                                                                           "Haswell", "Zen"};
    enum cpu_isa isa = cpu_isa();
    (void)state;
#if !defined(__x86_64__)
    assert_int_equal(run_with(""), 0);
    return;
#endif
    for (size_t i = 0; i < sizeof any / sizeof *any; i++)
        assert_int_equal(run_with(any[i]), 0);
    for (size_t i = 0; isa >= CPU_AVX2 && i < sizeof avx2 / sizeof *avx2; i++)
        assert_int_equal(run_with(avx2[i]), 0);
    if (isa == CPU_AVX512)
        assert_int_equal(run_with("SkylakeX"), 0);
}

int main(int argc, char **argv)
{
    (void)argv;
    if (argc > 1)
        return child();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_depend_on_neither_threads_nor_rows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
