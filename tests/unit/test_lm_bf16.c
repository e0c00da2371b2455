/* SPDX-License-Identifier: MIT
 * bf16 learns what fp32 learns. A fresh adapter changes activations by less than bf16 resolves;
 * if such changes were rounded away, the first steps would do nothing. */
#include "base/mem.h"
#include "base/rng.h"
#include "lm/lm.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { T = 48, N_STEPS = 6 };

/* The loss before each of a few small steps on one batch; false: the machine has no bf16. */
static bool losses(enum lm_precision precision, double *loss)
{
    const char *tests = getenv("RAISE_TESTS");
    char *path = mem_printf("%s/fixtures/lm/llama", tests ? tests : "tests");
    struct lm_options o = LM_OPTIONS_DEFAULTS;
    struct err e = ERR_INIT;
    o.precision = precision;
    o.tuning = LM_TUNE_LORA;
    struct lm *m = lm_open(path, &o, &e);
    free(path);
    if (!m && e.code == ERR_UNSUPPORTED)
        return false;
    assert_non_null(m);
    int64_t V = lm_get_config(m)->n_vocab;
    const int64_t offsets[] = {0, T / 4, T / 2, T};
    int32_t ids[T];
    uint8_t is_loss[T];
    struct rng r;
    rng_init(&r, 5, 0);
    for (int i = 0; i < T; i++) {
        ids[i] = (int32_t)rng_below(&r, (uint64_t)V);
        is_loss[i] = i % 3 > 0;
    }
    const struct lm_batch b = {ids, is_loss, offsets, 3, T};
    for (int i = 0; i < N_STEPS; i++) {
        struct lm_step_stats s;
        if (lm_step(m, &b, 1e-4, &s, &e) < 0)
            fail_msg("%s", e.msg);
        loss[i] = s.loss;
    }
    lm_close(m);
    return true;
}

static void small_steps_count_in_bf16(void **state)
{
    (void)state;
    double f32[N_STEPS], bf16[N_STEPS];
    assert_true(losses(LM_PRECISION_FP32, f32));
    if (!losses(LM_PRECISION_BF16, bf16)) {
        printf("skipped: no bf16 on this machine\n");
        skip();
    }
    double want = f32[0] - f32[N_STEPS - 1], got = bf16[0] - bf16[N_STEPS - 1];
    printf("loss %.6f falls by %.6f in fp32, by %.6f in bf16\n", f32[0], want, got);
    assert_true(want > 0);
    assert_true(fabs(got - want) <= 0.1 * want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(small_steps_count_in_bf16)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
