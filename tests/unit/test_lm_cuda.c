/* SPDX-License-Identifier: MIT
 * Whole models on the CUDA plugin (its kernels run by the simulated device, unless
 * RAISE_CUDA_PLUGIN names one for a GPU) against the reference in float: losses, gradients, a
 * run of steps. And what is done about devices, memory and launches.
 *
 * Bounds. bf16 has 8 bits: a value is off by up to 2^-9 = 0.2 %, at random, and a few such
 * errors add up on the way through a few layers. Losses are sums of a handful of terms: 1 %,
 * hidden states 2 % as vectors. A gradient's terms carry the errors of forward and backward: 8
 * % as a vector. Twenty steps: 2 % of the first loss, at each of them. */
#include "base/mem.h"
#include "base/rng.h"
#include "lm/model.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { N_SEQS = 5, N_TOKENS = 61, N_STEPS = 20 };
static const int64_t offsets[N_SEQS + 1] = {0, 9, 11, 31, 44, N_TOKENS};
static bool is_simulated;

static char *fixture(const char *name)
{
    const char *tests = getenv("RAISE_TESTS");
    return mem_printf("%s/fixtures/lm/%s", tests ? tests : "tests", name);
}

/* Names a file beside this test as the plugin. */
static void use(const char *name)
{
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 64);
    assert_true(n > 0);
    path[n] = '\0';
    strcpy(strrchr(path, '/') + 1, name);
    setenv("RAISE_CUDA_PLUGIN", path, 1);
}

static struct lm_options options_for(const char *device, enum lm_tuning tuning)
{
    struct lm_options o = LM_OPTIONS_DEFAULTS;
    o.device = device;
    o.tuning = tuning;
    o.lora_rank = 8;
    o.micro_tokens = 40; /* two pieces */
    return o;
}

static struct lm *open_with(const char *name, const struct lm_options *o)
{
    struct err e = ERR_INIT;
    char *path = fixture(name);
    struct lm *m = lm_open(path, o, &e);
    free(path);
    if (!m)
        fail_msg("%s on %s: %s", name, o->device, e.msg);
    return m;
}

static struct lm *open_on(const char *name, const char *device, enum lm_tuning tuning)
{
    const struct lm_options o = options_for(device, tuning);
    return open_with(name, &o);
}

static struct lm_batch make_batch(const struct lm *m)
{
    static int32_t ids[N_TOKENS];
    static uint8_t is_loss[N_TOKENS];
    uint64_t V = (uint64_t)lm_get_config(m)->n_vocab;
    for (int t = 0; t < N_TOKENS; t++) {
        ids[t] = (int32_t)(rng_hash(3, 1, (uint64_t)t, 0) % V);
        is_loss[t] = rng_hash(3, 2, (uint64_t)t, 0) % 3 > 0;
    }
    for (int s = 0; s < N_SEQS; s++)
        is_loss[offsets[s]] = 0;
    return (struct lm_batch){ids, is_loss, offsets, N_SEQS, N_TOKENS};
}

static int64_t size_of(const struct lm_param *p)
{
    return p->shape[0] * (p->n_dims > 1 ? p->shape[1] : 1);
}

static struct lm_step_stats step(struct lm *m, const struct lm_batch *b, double lr)
{
    struct err e = ERR_INIT;
    struct lm_step_stats s;
    if (lm_step(m, b, lr, &s, &e) < 0)
        fail_msg("%s", e.msg);
    return s;
}

/* All gradients or (is_value) parameters, one after the other. */
static float *collect(struct lm *m, bool is_value, int64_t *n)
{
    float *x = NULL;
    size_t cap = 0;
    *n = 0;
    for (int64_t i = 0; i < lm_n_params(m); i++) {
        MEM_GROW(x, cap, *n + size_of(lm_param_at(m, i)));
        (is_value ? lm_param_get : lm_param_grad)(m, i, x + *n);
        *n += size_of(lm_param_at(m, i));
    }
    return x;
}

static double distance(const float *a, const float *b, int64_t n)
{
    double diff = 0, norm = 0;
    for (int64_t i = 0; i < n; i++) {
        diff += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        norm += (double)b[i] * (double)b[i];
    }
    return sqrt(diff / norm);
}

/* ---- the same model, but for rounding ---- */

static void check_scores(struct lm *gpu, struct lm *ref, const struct lm_batch *b)
{
    int64_t D = lm_get_config(ref)->d_model;
    double got[N_SEQS], want[N_SEQS];
    int64_t count[N_SEQS];
    float *x = mem_alloc((size_t)(N_SEQS * D), sizeof *x);
    float *y = mem_alloc((size_t)(N_SEQS * D), sizeof *y);
    assert_int_equal(lm_embed(gpu, b, b->n_seqs, x, got, count, NULL), 0);
    assert_int_equal(lm_embed(ref, b, b->n_seqs, y, want, count, NULL), 0);
    for (int i = 0; i < N_SEQS; i++)
        if (!(fabs(got[i] - want[i]) <= 1e-2 * want[i]))
            fail_msg("sequence %d: nll %.6f, want %.6f", i, got[i], want[i]);
    assert_true(distance(x, y, N_SEQS * D) < 0.02);
    free(x);
    free(y);
}

static void check_training(struct lm *gpu, struct lm *ref, const struct lm_batch *b,
                           int n_steps)
{
    int64_t n, n_ref;
    step(gpu, b, 1e-3); /* so that B is not zero and A's gradient neither */
    step(ref, b, 1e-3);
    struct lm_step_stats got = step(gpu, b, 1e-3), want = step(ref, b, 1e-3);
    float *x = collect(gpu, false, &n), *y = collect(ref, false, &n_ref);
    assert_int_equal(n, n_ref);
    double off = distance(x, y, n);
    free(x);
    free(y);
    printf("  gradients %.4f apart, loss %.5f and %.5f\n", off, got.loss, want.loss);
    if (!(off < 0.08) || !(fabs(got.grad_norm / want.grad_norm - 1) < 0.05))
        fail_msg("gradients are %.4f apart, norms %g and %g", off, got.grad_norm,
                 want.grad_norm);
    for (int i = 0; i < n_steps; i++) {
        double g = step(gpu, b, 1e-3).loss, w = step(ref, b, 1e-3).loss;
        if (!(fabs(g - w) < 2e-2 * want.loss))
            fail_msg("step %d: loss %.6f, want %.6f", i, g, w);
    }
}

static void models_compute_what_the_reference_does(void **state)
{
    (void)state;
    static const char *const names[] = {"llama", "llama-tied-llama3", "llama-bias", "qwen2",
                                        "qwen3"};
    static const enum lm_tuning tunings[] = {LM_TUNE_LORA, LM_TUNE_FULL};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (int k = 0; k < 2; k++) {
            struct lm *gpu = open_on(names[i], "cuda", tunings[k]);
            struct lm *ref = open_on(names[i], "ref", tunings[k]);
            const struct lm_batch b = make_batch(ref);
            printf("%s, %s\n", names[i], k ? "full" : "lora");
            check_scores(gpu, ref, &b);
            check_training(gpu, ref, &b, i + k ? 2 : N_STEPS);
            lm_close(gpu);
            lm_close(ref);
        }
}

static void the_same_bytes_twice(void **state)
{
    (void)state;
    float *x[2];
    int64_t n = 0;
    for (int i = 0; i < 2; i++) {
        struct lm *m = open_on("llama", "cuda", LM_TUNE_LORA);
        const struct lm_batch b = make_batch(m);
        for (int k = 0; k < 3; k++)
            step(m, &b, 1e-3);
        x[i] = collect(m, true, &n);
        lm_close(m);
    }
    assert_memory_equal(x[0], x[1], (size_t)n * sizeof(float));
    free(x[0]);
    free(x[1]);
}

/* ---- recomputation: the same bytes, less memory ---- */

static void check_recompute(const char *name, const char *device, enum lm_tuning tuning)
{
    float *x[2];
    int64_t n = 0, bytes[2];
    char *path = fixture(name);
    for (int i = 0; i < 2; i++) {
        struct lm_options o = options_for(device, tuning);
        struct lm_memory p;
        o.recompute = i == 1;
        assert_int_equal(lm_plan(path, &o, &p, NULL), 0);
        bytes[i] = p.activations;
        struct lm *m = open_with(name, &o);
        const struct lm_batch b = make_batch(m);
        for (int k = 0; k < 3; k++)
            step(m, &b, 1e-3);
        x[i] = collect(m, true, &n);
        lm_close(m);
    }
    free(path);
    if (memcmp(x[0], x[1], (size_t)n * sizeof(float)) != 0)
        fail_msg("%s on %s: recomputed activations change the result", name, device);
    assert_true(bytes[1] < bytes[0]);
    free(x[0]);
    free(x[1]);
}

static void recomputation_changes_no_byte(void **state)
{
    (void)state;
    static const char *const devices[] = {"ref", "cpu", "cuda"};
    for (int i = 0; i < 3; i++) {
        check_recompute("llama", devices[i], LM_TUNE_LORA);
        check_recompute("qwen3", devices[i], LM_TUNE_FULL);
    }
}

/* ---- which device ---- */

static struct lm_memory plan_of(const char *name, const struct lm_options *o)
{
    struct err e = ERR_INIT;
    struct lm_memory p;
    char *path = fixture(name);
    if (lm_plan(path, o, &p, &e) < 0)
        fail_msg("%s", e.msg);
    free(path);
    return p;
}

static void auto_takes_the_gpu_else_the_cpu(void **state)
{
    (void)state;
    struct lm_options o = options_for("auto", LM_TUNE_NONE);
    struct lm_memory p = plan_of("llama", &o);
    assert_true(p.is_gpu && !p.device_note[0]);
    assert_non_null(strstr(p.arith, "cuda-bf16-"));
    struct lm *m = open_with("llama", &o);
    assert_string_equal(lm_arith_path(m), p.arith);
    lm_close(m);
    o.precision = LM_PRECISION_FP32; /* which the GPU does not have */
    p = plan_of("llama", &o);
    assert_true(!p.is_gpu && !p.is_warning && strstr(p.device_note, "bf16 only"));
    o.precision = LM_PRECISION_AUTO;
    if (!is_simulated)
        return;
    setenv("RAISE_SIM_DEVICES", "0", 1);
    p = plan_of("llama", &o);
    unsetenv("RAISE_SIM_DEVICES");
    assert_true(!p.is_gpu && !p.is_warning && strstr(p.device_note, "device 0"));
    use("old-cuda.so");
    p = plan_of("llama", &o);
    use("host-cuda.so");
    assert_true(!p.is_gpu && p.is_warning && strstr(p.device_note, "version 0.0.1"));
}

static void bad_numbers_of_devices_are_refused(void **state)
{
    (void)state;
    static const char *const names[] = {"cuda:",
                                        "cuda:+1",
                                        "cuda:-1",
                                        "cuda:1x",
                                        "cuda: 1",
                                        "cuda:1024",
                                        "cuda:99999999999999999999"};
    char *path = fixture("llama");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct lm_options o = options_for(names[i], LM_TUNE_NONE);
        struct lm_memory p;
        struct err e = ERR_INIT;
        assert_int_equal(lm_plan(path, &o, &p, &e), ERR_RANGE);
        assert_non_null(strstr(e.msg, "no number from 0 to 1023"));
    }
    free(path);
}

/* ---- memory ---- */

static void limit_memory(int64_t bytes)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)bytes);
    setenv("RAISE_SIM_MEMORY", text, 1);
}

static void a_micro_batch_that_does_not_fit_is_halved(void **state)
{
    (void)state;
    if (!is_simulated)
        skip();
    struct lm_options o = options_for("cuda", LM_TUNE_LORA);
    o.micro_tokens = 0;
    o.longest = 700;
    struct lm_memory big = plan_of("llama", &o);
    assert_int_equal(big.micro_tokens, 16384);
    assert_int_equal(big.total, big.weights + big.adapter + big.gradients + big.optimizer +
                                    big.activations + big.logits + big.workspace);
    limit_memory(big.total - 1);
    struct lm_memory half = plan_of("llama", &o);
    assert_int_equal(half.micro_tokens, 8192);
    assert_int_equal(half.wanted_tokens, 16384);
    assert_true(half.total <= half.available);
    limit_memory(big.workspace + big.weights);
    struct lm_memory none = plan_of("llama", &o);
    assert_int_equal(none.micro_tokens, 700); /* and the caller refuses it */
    assert_true(none.total > none.available);
    unsetenv("RAISE_SIM_MEMORY");
}

/* Memory that was free when the plan was made is not there any more. */
static void memory_that_runs_out_makes_the_micro_batch_smaller(void **state)
{
    (void)state;
    if (!is_simulated)
        skip();
    struct err e = ERR_INIT;
    struct lm_options o = options_for("cuda", LM_TUNE_LORA);
    o.micro_tokens = 4096;
    o.longest = 20;
    struct lm_memory p = plan_of("llama", &o);
    struct lm *m = open_with("llama", &o), *ref = open_on("llama", "ref", LM_TUNE_LORA);
    const struct lm_batch b = make_batch(m);
    limit_memory(p.total - p.activations / 2);
    assert_true(fabs(step(m, &b, 1e-3).loss - step(ref, &b, 1e-3).loss) < 1e-2);
    assert_true(lm_micro_tokens(m) < 4096);
    lm_close(m);
    m = open_with("llama", &o);
    limit_memory(p.workspace);
    struct lm_step_stats s;
    assert_int_equal(lm_step(m, &b, 1e-3, &s, &e), ERR_MEMORY);
    assert_non_null(strstr(e.msg, "are free"));
    limit_memory((int64_t)64 << 30);
    assert_true(isfinite(step(m, &b, 1e-3).loss)); /* it goes on when there is room again */
    lm_close(m);
    lm_close(ref);
    unsetenv("RAISE_SIM_MEMORY");
}

/* ---- launches: what a small model's step costs before it computes anything ---- */

/* Forward, a layer: four groups of the adapters' A, their B (q; k and v; o; gate and up; down:
 * 5) and the base's product, two norms, rotation, SwiGLU: 17. Backward: as many products three
 * times over but for the base's weights (5 + 4 + 4 and 5 + 4), two norms, rotation, SwiGLU: 26.
 * Attention's own kernels, one and two or three, are not counted. */
static void a_layer_takes_few_launches(void **state)
{
    (void)state;
    void *so = dlopen(getenv("RAISE_CUDA_PLUGIN"), RTLD_NOW | RTLD_LOCAL);
    void *symbol = so ? dlsym(so, "raise_cuda_counts") : NULL;
    void (*counts)(struct lm_dev *, int64_t *, int64_t *);
    assert_non_null(symbol);
    memcpy(&counts, &symbol, sizeof counts);
    struct lm_options o = options_for("cuda", LM_TUNE_LORA);
    o.micro_tokens = 4096;
    struct lm *m = open_with("llama", &o);
    const struct lm_batch b = make_batch(m);
    int64_t before, n, n_plain, L = lm_get_config(m)->n_layers;
    counts(m->d, &before, &n_plain);
    step(m, &b, 1e-3);
    counts(m->d, &n, &n_plain);
    n -= before;
    printf("%lld launches for %lld layers\n", (long long)n, (long long)L);
    assert_true(n <= 43 * L + 16);
    lm_close(m);
    dlclose(so);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models_compute_what_the_reference_does),
        cmocka_unit_test(the_same_bytes_twice),
        cmocka_unit_test(recomputation_changes_no_byte),
        cmocka_unit_test(auto_takes_the_gpu_else_the_cpu),
        cmocka_unit_test(bad_numbers_of_devices_are_refused),
        cmocka_unit_test(a_micro_batch_that_does_not_fit_is_halved),
        cmocka_unit_test(memory_that_runs_out_makes_the_micro_batch_smaller),
        cmocka_unit_test(a_layer_takes_few_launches),
    };
    is_simulated = !getenv("RAISE_CUDA_PLUGIN");
    if (is_simulated)
        use("host-cuda.so");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
