/* SPDX-License-Identifier: MIT
 * lm/adapter: what identifies an adapter, and adapters of some layers only. */
#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "lm/lm.h"
#include "stream/st.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char *base, *dir, *other; /* a tiny model, and two folders for adapters */

static struct lm *open_model(enum lm_tuning tuning)
{
    struct err e = ERR_INIT;
    struct lm_options o = LM_OPTIONS_DEFAULTS;
    o.precision = LM_PRECISION_FP32;
    o.tuning = tuning;
    o.lora_rank = 4;
    o.lora_alpha = 8;
    struct lm *m = lm_open(base, &o, &e);
    if (!m)
        fail_msg("%s", e.msg);
    return m;
}

static const struct lm_batch *batch(void)
{
    static const int32_t ids[] = {3, 14, 15, 9, 26, 5, 35};
    static const uint8_t is_loss[] = {0, 1, 1, 1, 1, 1, 1};
    static const int64_t offsets[] = {0, 7};
    static const struct lm_batch b = {ids, is_loss, offsets, 1, 7};
    return &b;
}

static double loss_of(struct lm *m)
{
    double nll;
    assert_int_equal(lm_nll(m, batch(), &nll, NULL, NULL), 0);
    return nll;
}

/* An adapter whose every matrix counts, in `dir`. */
static void write_adapter(void)
{
    struct lm *m = open_model(LM_TUNE_LORA);
    for (int64_t i = 0; i < lm_n_params(m); i++) {
        const struct lm_param *p = lm_param_at(m, i);
        int64_t n = p->shape[0] * p->shape[1];
        float *x = mem_alloc((size_t)n, sizeof *x);
        for (int64_t k = 0; k < n; k++)
            x[k] = (float)(0.4 * rng_hash_unit(2, (uint64_t)i, (uint64_t)k, 0) - 0.2);
        lm_param_set(m, i, x);
        free(x);
    }
    assert_int_equal(lm_save_adapter(m, dir, NULL, NULL), 0);
    lm_close(m);
}

static bool is_named(const struct st_tensor *t, const char *text)
{
    return text && strstr(t->name, text);
}

/* What becomes of tensors whose name has a text in it; NULL: of none. */
struct change {
    const char *zeroed, *dropped;
    const char *half; /* the second half of its ranks is zeros, or, where is_cut, gone */
    bool is_cut;
    const char *doubled;
};

/* From `dir` to `other`, in the opposite order and as F64. */
static void change(const struct change *c, const char *config)
{
    struct err e = ERR_INIT;
    struct file_map map;
    char *from = mem_printf("%s/adapter_model.safetensors", dir);
    char *to = mem_printf("%s/adapter_model.safetensors", other);
    char *text = mem_printf("%s/adapter_config.json", other);
    assert_int_equal(file_map_open(&map, from, &e), 0);
    struct st_msg *in = st_msg_parse(map.data, map.len, from, &e), *out = st_msg_new();
    int64_t n = st_msg_n_tensors(in);
    double **values = mem_zalloc((size_t)n, sizeof(double *));
    for (int64_t i = n - 1; i >= 0; i--) {
        const struct st_tensor *t = st_msg_at(in, i);
        const float *x = t->data;
        if (is_named(t, c->dropped))
            continue;
        values[i] = mem_zalloc(t->len / sizeof *x, sizeof(double));
        bool is_half = is_named(t, c->half), is_a = is_named(t, "lora_A");
        int64_t rank = t->shape[is_a ? 0 : 1] / (is_half ? 2 : 1);
        int64_t kept[2] = {is_a ? rank : t->shape[0], is_a ? t->shape[1] : rank};
        int64_t width = is_half && c->is_cut ? kept[1] : t->shape[1];
        double times = is_named(t, c->zeroed) ? 0 : is_named(t, c->doubled) ? 2 : 1;
        for (int64_t r = 0; r < kept[0]; r++)
            for (int64_t k = 0; k < kept[1]; k++)
                values[i][r * width + k] = times * (double)x[r * t->shape[1] + k];
        st_msg_add(out, t->name, ST_F64, 2, is_half && c->is_cut ? kept : t->shape, values[i]);
    }
    assert_int_equal(st_write(to, ST_PLAIN, out, &e), 0);
    assert_int_equal(file_write_all(text, config, strlen(config), &e), 0);
    for (int64_t i = 0; i < n; i++)
        free(values[i]);
    free(values);
    st_msg_free(in);
    st_msg_free(out);
    file_map_close(&map);
    free(from);
    free(to);
    free(text);
}

static void rewrite(const char *zeroed, const char *dropped, const char *config)
{
    change(&(struct change){.zeroed = zeroed, .dropped = dropped}, config);
}

#define CONFIG(options) "{\"peft_type\": \"LORA\", " options "}"
static const char plain[] = CONFIG("\"r\": 4, \"lora_alpha\": 8");

static uint64_t identity(const char *folder)
{
    struct err e = ERR_INIT;
    uint64_t hash = 0;
    if (lm_adapter_identify(folder, &hash, &e) < 0)
        fail_msg("%s", e.msg);
    return hash;
}

static void an_adapter_is_known_by_its_content(void **state)
{
    (void)state;
    uint64_t hash = identity(dir);
    assert_true(hash != 0);
    rewrite(NULL, NULL, plain);
    assert_true(identity(other) == hash);
    rewrite(NULL, NULL, CONFIG("\"r\": 4, \"lora_alpha\": 4, \"use_rslora\": true"));
    assert_true(identity(other) == hash);
    rewrite(NULL, NULL, CONFIG("\"r\": 4, \"lora_alpha\": 9"));
    assert_true(identity(other) != hash);
    rewrite("layers.1.self_attn.v_proj.lora_A", NULL, plain);
    assert_true(identity(other) != hash);
    rewrite(NULL, "v_proj", plain);
    assert_true(identity(other) != hash);
}

static void a_model_knows_the_adapter_that_it_read(void **state)
{
    (void)state;
    uint64_t hash = identity(dir);
    struct lm *m = open_model(LM_TUNE_LORA);
    assert_true(lm_adapter_hash(m) == 0);
    assert_int_equal(lm_load_adapter(m, dir, NULL), 0);
    assert_true(lm_adapter_hash(m) == hash);
    assert_int_equal(lm_step(m, batch(), 1e-3, NULL, NULL), 0);
    assert_true(lm_adapter_hash(m) == hash);
    assert_int_equal(lm_reset(m, 1, NULL), 0);
    assert_true(lm_adapter_hash(m) == 0);
    lm_close(m);
}

static void a_missing_adapter_has_no_identity(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    uint64_t hash;
    assert_int_equal(lm_adapter_identify("/nowhere", &hash, &e), ERR_IO);
    assert_non_null(strstr(e.msg, "/nowhere/adapter_config.json"));
}

/* Zeros in the place of what is not there change nothing, and training leaves it so. */
static void an_adapter_may_skip_layers(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct lm *m = open_model(LM_TUNE_NONE);
    rewrite("layers.1.self_attn.v_proj.lora_B", NULL, plain);
    assert_int_equal(lm_load_adapter(m, other, &e), 0);
    double want = loss_of(m);
    rewrite(NULL, "layers.1.self_attn.v_proj", plain);
    if (lm_load_adapter(m, other, &e) < 0)
        fail_msg("%s", e.msg);
    assert_true(loss_of(m) == want);
    lm_close(m);
    m = open_model(LM_TUNE_LORA);
    assert_int_equal(lm_load_adapter(m, other, &e), 0);
    assert_int_equal(lm_step(m, batch(), 1e-2, NULL, &e), 0);
    int n_seen = 0;
    for (int64_t i = 0; i < lm_n_params(m); i++) {
        const struct lm_param *p = lm_param_at(m, i);
        float x[4096];
        if (!strstr(p->name, "layers.1.self_attn.v_proj"))
            continue;
        assert_true(p->shape[0] * p->shape[1] <= 4096);
        lm_param_get(m, i, x);
        for (int64_t k = 0; k < p->shape[0] * p->shape[1]; k++)
            assert_true(x[k] == 0);
        n_seen++;
    }
    assert_int_equal(n_seen, 2);
    lm_close(m);
}

/* Fewer ranks are the rest as zeros, and another alpha is a factor of B. */
static void projections_may_have_a_rank_and_an_alpha_of_their_own(void **state)
{
    (void)state;
    static const struct {
        struct change plain, change;
        const char *config;
    } rows[] = {
        {{.half = "v_proj"},
         {.half = "v_proj", .is_cut = true},
         CONFIG(
             "\"r\": 4, \"lora_alpha\": 8, \"rank_pattern\": {\"q_proj.x\": 7, \"v_proj\": 2},"
             "\"alpha_pattern\": {\".*_proj_\": 3, \"v_proj\": 4}")},
        {{.half = "1.mlp.down_proj"},
         {.half = "1.mlp.down_proj", .is_cut = true},
         CONFIG(
             "\"r\": 4, \"lora_alpha\": 8, \"rank_pattern\": {\"layers.1.mlp.down_proj\": 2},"
             "\"alpha_pattern\": {\"model.layers.1.mlp.down_proj\": 4}")},
        {{.doubled = "q_proj.lora_B"},
         {0},
         CONFIG("\"r\": 4, \"lora_alpha\": 8, \"alpha_pattern\": {\"(q|z)_proj\": 16}")},
        {{.half = "layers"}, /* every one: the first rank is no tensor's */
         {.half = "layers", .is_cut = true},
         CONFIG("\"r\": 1, \"lora_alpha\": 2, \"rank_pattern\": {\".*\": 2},"
                "\"alpha_pattern\": {\"_proj\": 1, \"[a-z_]*\": 4}")},
    };
    struct err e = ERR_INIT;
    struct lm *m = open_model(LM_TUNE_NONE);
    rewrite(NULL, NULL, plain);
    assert_int_equal(lm_load_adapter(m, other, &e), 0);
    double untouched = loss_of(m);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        change(&rows[i].plain, plain);
        assert_int_equal(lm_load_adapter(m, other, &e), 0);
        double want = loss_of(m);
        uint64_t hash = identity(other);
        change(&rows[i].change, rows[i].config);
        if (lm_load_adapter(m, other, &e) < 0)
            fail_msg("row %zu: %s", i, e.msg);
        if (!(fabs(loss_of(m) - want) <= 1e-6 * want) || want == untouched)
            fail_msg("row %zu: %.9g, not %.9g", i, loss_of(m), want);
        assert_true(identity(other) != hash);
    }
    lm_close(m);
}

static void patterns_that_fit_nothing_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *config, *said;
    } bad[] = {
        {CONFIG("\"r\": 4, \"lora_alpha\": 8, \"rank_pattern\": {\"v_proj\": 2}"),
         "v_proj.lora_"}, /* whose tensors have 4 */
        {CONFIG("\"r\": 4, \"lora_alpha\": 8, \"rank_pattern\": {\"v_proj\": 2.5}"), "2.5"},
        {CONFIG("\"r\": 4, \"lora_alpha\": 8, \"alpha_pattern\": {\"(\": 2}"),
         "alpha_pattern: \"(\" is no regular expression"},
        {CONFIG("\"r\": 4, \"lora_alpha\": 8, \"alpha_pattern\": {\"((([a-z_.0-9])+)+)+[!?]\": "
                "2}"),
         "is no regular expression that can be used"},
        {CONFIG("\"r\": 4, \"lora_alpha\": 8, \"alpha_pattern\": {\"q_proj\": \"8\"}"),
         "alpha_pattern: \"q_proj\" is not a positive number"},
        {CONFIG("\"r\": 4, \"lora_alpha\": 8, \"alpha_pattern\": [1]"), "is not an object"},
    };
    struct lm *m = open_model(LM_TUNE_NONE);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err e = ERR_INIT;
        rewrite(NULL, NULL, bad[i].config);
        if (lm_load_adapter(m, other, &e) >= 0 || !strstr(e.msg, bad[i].said))
            fail_msg("row %zu: %s", i, e.msg);
    }
    lm_close(m);
}

static void a_pickle_is_named(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    uint64_t hash;
    rewrite(NULL, NULL, plain);
    char *command =
        mem_printf("cd '%s' && mv adapter_model.safetensors adapter_model.bin", other);
    assert_int_equal(system(command), 0);
    assert_int_equal(lm_adapter_identify(other, &hash, &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "adapter_model.bin: a pickle"));
    free(command);
    command = mem_printf("rm '%s/adapter_model.bin'", other);
    assert_int_equal(system(command), 0);
    free(command);
}

static void half_an_adapter_is_refused(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct lm *m = open_model(LM_TUNE_NONE);
    rewrite(NULL, "layers.1.self_attn.v_proj.lora_B", plain);
    assert_int_equal(lm_load_adapter(m, other, &e), ERR_FORMAT);
    assert_non_null(strstr(e.msg, "layers.1.self_attn.v_proj.lora_B.weight is missing"));
    lm_close(m);
}

static int set_up(void **state)
{
    (void)state;
    const char *tests = getenv("RAISE_TESTS");
    base = mem_printf("%s/fixtures/lm/llama", tests ? tests : "tests");
    dir = mem_strdup("/tmp/test_lm_adapter.XXXXXX");
    other = mem_strdup("/tmp/test_lm_adapter.XXXXXX");
    if (!mkdtemp(dir) || !mkdtemp(other))
        return 1;
    write_adapter();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    char *command = mem_printf("rm -rf '%s' '%s'", dir, other);
    int rc = system(command);
    free(command);
    free(base);
    free(dir);
    free(other);
    return rc;
}

/* Before and after a step, side by side over the same weights. */
static void a_forked_adapter_has_two_states(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct lm *bare = open_model(LM_TUNE_NONE), *m = open_model(LM_TUNE_LORA);
    double base_loss = loss_of(bare), before = loss_of(m);
    assert_memory_equal(&base_loss, &before, sizeof before); /* B = 0 */
    assert_int_equal(lm_adapter_fork(bare, &e), ERR_RANGE);
    lm_adapter_swap(m); /* nothing to exchange */
    assert_int_equal(lm_adapter_fork(m, &e), 0);
    assert_int_equal(lm_step(m, batch(), 0.01, NULL, &e), 0);
    double after = loss_of(m), again;
    assert_true(after < before - 1e-3);
    for (int i = 0; i < 2; i++) {
        lm_adapter_swap(m);
        again = loss_of(m);
        assert_memory_equal(&again, &before, sizeof again);
        lm_adapter_swap(m);
        again = loss_of(m);
        assert_memory_equal(&again, &after, sizeof again);
    }
    assert_int_equal(lm_adapter_fork(m, &e), 0); /* anew, from the present one */
    lm_adapter_swap(m);
    again = loss_of(m);
    assert_memory_equal(&again, &after, sizeof again);
    lm_close(bare);
    lm_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_adapter_is_known_by_its_content),
        cmocka_unit_test(a_model_knows_the_adapter_that_it_read),
        cmocka_unit_test(a_missing_adapter_has_no_identity),
        cmocka_unit_test(an_adapter_may_skip_layers),
        cmocka_unit_test(projections_may_have_a_rank_and_an_alpha_of_their_own),
        cmocka_unit_test(patterns_that_fit_nothing_are_refused),
        cmocka_unit_test(a_pickle_is_named),
        cmocka_unit_test(half_an_adapter_is_refused),
        cmocka_unit_test(a_forked_adapter_has_two_states),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
