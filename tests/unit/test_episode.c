/* SPDX-License-Identifier: MIT
 * learn/episode: a planned episode is the same optimiser steps as by hand; errors name records.
 */
#include "base/file.h"
#include "base/mem.h"
#include "learn/episode.h"
#include "learn/episode_metrics.h"
#include "record_of.h"
#include "write_and_read.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { N = 16, T = 4, B = 4, N_VAL = 5, MAX_LEN = 64 };

static char *model_dir;
static struct tok *tok;
static struct tmpl *tmpl;
static struct dataset pool, val;

static int set_up(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    const char *tests = getenv("RAISE_TESTS");
    model_dir = mem_printf("%s/fixtures/tiny-llama", tests ? tests : "tests");
    tok = tok_load(model_dir, &e);
    tmpl = tmpl_load("plain", &e);
    int rc = write_and_read(&pool, N, "pool");
    return rc || !tok || !tmpl ? -1 : write_and_read(&val, N_VAL, "val");
}

static int tear_down(void **state)
{
    (void)state;
    free(model_dir);
    tok_free(tok);
    tmpl_free(tmpl);
    dataset_free(&pool);
    dataset_free(&val);
    return 0;
}

static struct lm *open_model(void)
{
    struct err e = ERR_INIT;
    struct lm_options lo = LM_OPTIONS_DEFAULTS;
    lo.precision = LM_PRECISION_FP32;
    lo.tuning = LM_TUNE_LORA;
    lo.lora_rank = 4;
    struct lm *m = lm_open(model_dir, &lo, &e);
    assert_non_null(m);
    return m;
}

/* Features of the pool, a plan that takes its records from the end, and an episode of it. */
struct world {
    struct features f;
    uint64_t hash[N];
    int64_t source[N];
    int64_t record_of[N];
    struct plan plan;
    struct episode_set validation;
    struct episode k;
};

static void world_init(struct world *w, struct lm *m)
{
    struct err e = ERR_INIT;
    memset(w, 0, sizeof *w);
    for (int64_t i = 0; i < N; i++) {
        w->hash[i] = pool.records[i].hash;
        w->source[i] = i;
    }
    w->f = (struct features){.n = N, .n_classes = 1, .hash = w->hash, .source = w->source};
    int64_t *rows = episode_map_rows(&w->f, &pool, &e);
    assert_non_null(rows);
    memcpy(w->record_of, rows, sizeof w->record_of);
    free(rows);
    plan_init(&w->plan, T, T * B);
    for (int64_t i = 0; i < T * B; i++) {
        w->plan.pick[i] = N - 1 - i;
        w->plan.pick_score[i] = NAN;
    }
    for (int64_t t = 0; t <= T; t++)
        w->plan.step_offset[t] = t * B;
    assert_int_equal(episode_set_make(&w->validation, &val, tok, tmpl, MAX_LEN, true, &e), 0);
    w->k = (struct episode){.lm = m,
                            .tok = tok,
                            .tmpl = tmpl,
                            .max_len = MAX_LEN,
                            .is_cut = true,
                            .pool = &pool,
                            .features = &w->f,
                            .record_of = w->record_of,
                            .plan = &w->plan,
                            .validation = &w->validation,
                            .n_steps = T,
                            .batch = B,
                            .tau = 1,
                            .lr = 1e-2,
                            .n_warmup = 2,
                            .schedule = LM_LINEAR};
}

static void world_free(struct world *w)
{
    plan_free(&w->plan);
    episode_set_free(&w->validation);
    lm_close(w->k.lm);
}

/* Two steps of warm-up, then straight down to zero after the last. */
static const double rate[T] = {0.5e-2, 1e-2, 1e-2, 0.5e-2};

static void step_by_hand(struct lm *m, int64_t t, struct lm_step_stats *s)
{
    struct err e = ERR_INIT;
    struct lm_pack p = {0};
    for (int64_t i = 0; i < B; i++) {
        struct example x;
        assert_int_equal(example_make(tok, tmpl, record_of(&pool, N - 1 - (t - 1) * B - i),
                                      MAX_LEN, EXAMPLE_CUT, &x, &e),
                         1);
        lm_pack_add(&p, x.ids, x.is_loss, x.n);
        example_free(&x);
    }
    struct lm_batch b = lm_pack_batch(&p);
    assert_int_equal(lm_step(m, &b, rate[t - 1], s, &e), 0);
    lm_pack_free(&p);
}

static void a_plan_is_the_steps_by_hand(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct world w;
    struct traj t;
    world_init(&w, open_model());
    struct lm *m = open_model();
    assert_int_equal(episode_run(&w.k, &t, &e), 0);
    assert_int_equal(t.n_picks, T * B);
    assert_string_equal(t.mode, "plan");
    assert_string_equal(t.status, "ok");
    double loss;
    assert_int_equal(episode_set_loss(m, &w.validation, &loss, &e), 0);
    assert_true(t.perf[0] == -loss);
    for (int64_t i = 1; i <= T; i++) {
        struct lm_step_stats s;
        step_by_hand(m, i, &s);
        assert_int_equal(episode_set_loss(m, &w.validation, &loss, &e), 0);
        assert_true(t.perf[i] == -loss);
        assert_true(t.lr[i - 1] == rate[i - 1]);
        assert_true(t.train_loss[i - 1] == s.loss && t.grad_norm[i - 1] == s.grad_norm);
        assert_int_equal(t.n_tokens[i - 1], s.n_tokens);
        assert_int_equal(t.list_offset[i], i * B);
    }
    assert_true(t.perf[T] > t.perf[0]); /* and it learns */
    for (int64_t i = 0; i < T * B; i++)
        assert_true(t.pick[i] == N - 1 - i && t.source[i] == t.pick[i] &&
                    t.record_hash[i] == pool.records[t.pick[i]].hash);
    traj_free(&t);
    lm_close(m);
    world_free(&w);
}

static void a_record_that_was_cut_away_is_named(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct world w;
    struct traj t;
    world_init(&w, open_model());
    w.k.max_len = 4;
    assert_int_equal(episode_run(&w.k, &t, &e), ERR_EMPTY);
    assert_non_null(strstr(e.msg, "step 1: "));
    assert_non_null(strstr(e.msg, ":16: record 15: no token of its response"));
    traj_free(&t);
    w.k.is_cut = false;
    assert_true(episode_run(&w.k, &t, &e) < 0);
    assert_non_null(strstr(e.msg, ":16: record 15: "));
    traj_free(&t);
    world_free(&w);
}

/* The episode diverges at its first step with a rate above 0: how it ended is in the
 * trajectory, what came before stands, and the rest is told from what was measured. */
static void a_loss_that_is_not_finite_ends_the_episode(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    char path[] = "/tmp/raise-episode-XXXXXX";
    struct world w;
    struct traj t;
    world_init(&w, open_model());
    w.k.lr = 1e30;
    assert_int_equal(episode_run(&w.k, &t, &e), 0);
    const char *why = w.k.ended.msg;
    assert_int_equal(w.k.ended.code, ERR_NONFINITE);
    assert_ptr_equal(strstr(why, "step "), why);
    assert_non_null(strstr(why, "not finite; the batch: "));
    assert_non_null(strstr(why, "lines "));
    int64_t at = strtoll(why + strlen("step "), NULL, 10);
    char *status = mem_printf("diverged at step %d: ", (int)at);
    assert_ptr_equal(strstr(t.status, status), t.status);
    assert_non_null(strstr(t.status, "is not finite"));
    assert_null(strstr(t.status, "lines")); /* no records of the pool */
    free(status);
    assert_true(at >= 1 && at <= t.n_steps);
    for (int64_t k = 0; k <= t.n_steps; k++)
        assert_int_equal(isfinite(t.perf[k]) != 0, k < at);
    for (int64_t k = 0; k < t.n_steps; k++) {
        assert_int_equal(isfinite(t.train_loss[k]) != 0, k < at - 1);
        assert_int_equal(isfinite(t.lr[k]) != 0, k < at);
    }
    assert_int_equal(t.list_offset[t.n_steps * t.n_classes], t.n_picks);
    assert_int_equal(t.list_offset[at * t.n_classes], t.n_picks);
    assert_int_equal(t.n_picks, at * w.k.batch);
    close(mkstemp(path));
    struct traj back;
    assert_int_equal(traj_write(&t, path, 0, NULL, &e), 0);
    assert_int_equal(traj_read(&back, path, &e), 0);
    assert_false(traj_is_ok(&back));
    assert_int_equal(back.n_steps, t.n_steps);
    traj_free(&back);
    unlink(path);
    traj_free(&t);
    world_free(&w);
}

static void rows_must_be_the_datasets(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct world w;
    world_init(&w, open_model());
    w.hash[3] ^= 1;
    assert_null(episode_map_rows(&w.f, &pool, &e));
    assert_non_null(strstr(e.msg, ":4: record 3: not the one"));
    w.hash[3] ^= 1;
    w.source[3] = N;
    assert_null(episode_map_rows(&w.f, &pool, &e));
    assert_non_null(strstr(e.msg, "no usable record 16"));
    world_free(&w);
}

static void a_set_is_its_records(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct episode_set a, b;
    struct dataset less = val;
    less.n_records--;
    assert_int_equal(episode_set_make(&a, &val, tok, tmpl, MAX_LEN, true, &e), 0);
    assert_int_equal(episode_set_make(&b, &less, tok, tmpl, MAX_LEN, true, &e), 0);
    assert_int_equal(a.pack.n_seqs, N_VAL);
    assert_true(a.hash != b.hash);
    episode_set_free(&b);
    assert_int_equal(episode_set_make(&b, &val, tok, tmpl, 2, true, &e), ERR_EMPTY);
    episode_set_free(&a);
    episode_set_free(&b);
}

/* Writes two rows to path, which says the format, and looks at the file after each. */
static void write_metrics(const char *path, const char *one, const char *both)
{
    struct err e = ERR_INIT;
    char *text;
    size_t len;
    struct episode_metrics *m = episode_metrics_new(path);
    const struct episode_step first = {.n_steps = 1, .val_loss = 2.5, .seconds = 0.1};
    assert_int_equal(file_read_all(path, &text, &len, &e), 0);
    assert_string_equal(text, "old\n"); /* until there is a row */
    free(text);
    episode_metrics_put(m, &first, (double)NAN);
    assert_int_equal(file_read_all(path, &text, &len, &e), 0);
    assert_string_equal(text, one);
    free(text);
    const struct episode_step then = {.t = 1,
                                      .n_steps = 1,
                                      .train_loss = 0.1 + 0.2,
                                      .val_loss = 2.3,
                                      .reward = -1e-7,
                                      .lr = 3e-4,
                                      .epoch = 0.25,
                                      .grad_norm = (double)NAN,
                                      .n_tokens = 70,
                                      .seconds = 12};
    episode_metrics_put(m, &then, 1.7);
    assert_int_equal(episode_metrics_close(m, &e), 0);
    assert_int_equal(file_read_all(path, &text, &len, &e), 0);
    assert_string_equal(text, both);
    free(text);
    unlink(path);
}

static void metrics_are_as_short_as_they_read_back(void **state)
{
    (void)state;
    static const struct {
        const char *suffix, *first, *both;
    } cases[] = {
        {"",
         "step,train_loss,val_loss,reward,lr,grad_norm,tokens,seconds,test_loss\n0,,2.5,,,,0,0."
         "1,\n",
         "step,train_loss,val_loss,reward,lr,grad_norm,tokens,seconds,test_loss\n"
         "0,,2.5,,,,0,0.1,\n"
         "1,0.30000000000000004,2.3,-1e-07,0.0003,nan,70,12,1.7\n"},
        {".jsonl",
         "{\"step\": 0, \"epoch\": 0, \"eval_loss\": 2.5, \"tokens\": 0, \"seconds\": 0.1}\n",
         "{\"step\": 0, \"epoch\": 0, \"eval_loss\": 2.5, \"tokens\": 0, \"seconds\": 0.1}\n"
         "{\"step\": 1, \"epoch\": 0.25, \"loss\": 0.30000000000000004, \"eval_loss\": 2.3, "
         "\"reward\": -1e-07, \"learning_rate\": 0.0003, \"tokens\": 70, \"seconds\": 12, "
         "\"test_loss\": 1.7}\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[64];
        snprintf(path, sizeof path, "/tmp/raise-episode-%d%s", (int)getpid(), cases[i].suffix);
        assert_int_equal(file_write_all(path, "old\n", 4, NULL), 0);
        write_metrics(path, cases[i].first, cases[i].both);
    }
}

/* Nothing is measured, and nothing else is different. */
static void an_untrained_loss_that_is_known_is_taken(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct world w, known;
    struct traj t, u;
    world_init(&w, open_model());
    world_init(&known, open_model());
    const double loss = 7.25;
    known.k.untrained = &loss;
    assert_int_equal(episode_run(&w.k, &t, &e), 0);
    assert_int_equal(episode_run(&known.k, &u, &e), 0);
    assert_true(u.perf[0] == -loss && t.perf[0] != u.perf[0]);
    assert_memory_equal(t.perf + 1, u.perf + 1, T * sizeof *t.perf);
    assert_memory_equal(t.train_loss, u.train_loss, T * sizeof *t.train_loss);
    traj_free(&t);
    traj_free(&u);
    world_free(&w);
    world_free(&known);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plan_is_the_steps_by_hand),
        cmocka_unit_test(an_untrained_loss_that_is_known_is_taken),
        cmocka_unit_test(a_record_that_was_cut_away_is_named),
        cmocka_unit_test(a_loss_that_is_not_finite_ends_the_episode),
        cmocka_unit_test(rows_must_be_the_datasets),
        cmocka_unit_test(a_set_is_its_records),
        cmocka_unit_test(metrics_are_as_short_as_they_read_back),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
