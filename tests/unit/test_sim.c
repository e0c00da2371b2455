/* SPDX-License-Identifier: MIT
 * The simulated device: what it computes, and that it finds the faults it is there for. */
#include <dlfcn.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { N = 64 };
static void (*sim_case)(const char *name, float *out);

static void run(const char *name, const char *order, float *out)
{
    setenv("RAISE_SIM_ORDER", order, 1);
    for (int i = 0; i < 4 * N; i++)
        out[i] = -1;
    sim_case(name, out);
}

static float input(int i)
{
    return (float)(i * 7 % 31) - 15;
}

static void threads_meet_at_barriers(void **state)
{
    float out[4 * N];
    (void)state;
    run("exchange", "reverse", out);
    for (int i = 0; i < N; i++)
        assert_true(out[i] == (float)((i + 32) % N));
    run("votes", "3", out);
    for (int i = 0; i < N; i++) {
        int down = i % 32 < 2 ? i + 30 : i, five = i / 32 * 32 + 5;
        float want = 1 + 22 * 4 + 1000 + (float)five * 10000 + (float)down * 1e6f;
        assert_true(out[i] == want);
    }
}

/* The warp that runs first reads what is not there yet: NaN, as shared memory begins. */
static void a_missing_barrier_shows(void **state)
{
    float out[4 * N];
    (void)state;
    run("exchange without a barrier", "forward", out);
    assert_true(isnan(out[0]) && out[40] == 8);
    run("exchange without a barrier", "reverse", out);
    assert_true(out[0] == 32 && isnan(out[40]));
}

static void copies_arrive_when_waited_for(void **state)
{
    float out[4 * N];
    (void)state;
    run("copies", "forward", out);
    for (int i = 0; i < N; i++) {
        int from = (i + 32) % N;
        assert_true(out[i] == (from == 1 ? 0 : input(from * 4 + 1)));
        assert_true(isnan(out[N + i])); /* its group was left */
    }
    run("copies without a wait", "forward", out);
    assert_true(isnan(out[0]) && isnan(out[40]));
    run("copies without a barrier", "forward", out);
    assert_true(isnan(out[0]) && out[40] == input(8 * 4 + 1));
}

static void products_are_right(void **state)
{
    static const char *const names[] = {"product", "transposed product"};
    float out[4 * N];
    (void)state;
    for (int t = 0; t < 2; t++) {
        run(names[t], "reverse", out);
        for (int i = 0; i < 16; i++)
            for (int j = 0; j < 8; j++) {
                float sum = 0;
                for (int k = 0; k < 16; k++)
                    sum += input(i * 16 + k) * input(100 + k * 8 + j);
                assert_true(out[i * 8 + j] == sum);
            }
    }
}

/* Runs a case in a child, which must abort and say why. */
static void stops(const char *name, const char *why)
{
    int fd[2], status;
    char text[1000];
    size_t n = 0;
    assert_int_equal(pipe(fd), 0);
    pid_t child = fork();
    if (child == 0) {
        float out[4 * N];
        dup2(fd[1], 2);
        signal(SIGABRT, SIG_DFL);
        run(name, "forward", out);
        _exit(0);
    }
    close(fd[1]);
    for (ssize_t k; (k = read(fd[0], text + n, sizeof text - 1 - n)) > 0;)
        n += (size_t)k;
    text[n] = '\0';
    close(fd[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT || !strstr(text, why))
        fail_msg("%s: status %d, \"%s\", which should say \"%s\"", name, status, text, why);
}

static void faults_stop_the_program(void **state)
{
    (void)state;
    stops("early end", "early_end: block 0 0, thread");
    stops("early end", "but thread 7 has ended");
    stops("two barriers", "waits at __syncthreads (line");
    stops("half a shuffle", "waits at __shfl_xor_sync");
    stops("half a shuffle", "has ended");
    stops("shuffle and barrier", "__syncthreads (line");
    stops("beyond", "beyond the dynamic shared memory");
    stops("rows outside", "ldmatrix: address outside shared memory");
    stops("rows not aligned", "ldmatrix: address not aligned");
    stops("rows in one bank", "rows in the same banks");
    stops("copy not aligned", "cp.async: source not aligned");
    stops("too much shared", "more shared memory than there is");
}

int main(void)
{
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 64);
    path[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(path, '/');
    strcpy(slash ? slash + 1 : path, "sim-kernels.so");
    void *lib = dlopen(path, RTLD_NOW);
    void *symbol = lib ? dlsym(lib, "sim_case") : NULL;
    if (!symbol) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    memcpy(&sim_case, &symbol, sizeof sim_case);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_meet_at_barriers),
        cmocka_unit_test(a_missing_barrier_shows),
        cmocka_unit_test(copies_arrive_when_waited_for),
        cmocka_unit_test(products_are_right),
        cmocka_unit_test(faults_stop_the_program),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
