/* SPDX-License-Identifier: MIT
 * features/influence: against steps that the optimiser itself takes, and gradients read tensor
 * by tensor; kept and read again; the model is left as it was. */
#include "base/mem.h"
#include "features/embed.h"
#include "features/influence.h"
#include "lm/batch.h"

#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { N_RECORDS = 45, N_TARGET = 5, N_EPOCHS = 2 };

static struct lm *model;
static struct tok *tok;
static struct tmpl *tmpl;
static struct dataset data, target;
static struct embed_options how;

static int read_made(struct dataset *d, int n, const char *words, struct err *e)
{
    char path[] = "/tmp/raise-influence-XXXXXX";
    struct data_options want = {0};
    FILE *f = fdopen(mkstemp(path), "w");
    for (int i = 0; i < n; i++)
        fprintf(f, "{\"prompt\":\"p%.*s\",\"completion\":\"%d%.*s\"}\n", 3 * i % 17,
                "qwertyuiopasdfghjkl", i, 5 * i % 13, words);
    fclose(f);
    int rc = dataset_read(d, path, &want, e);
    unlink(path);
    return rc;
}

static int set_up(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct lm_options lo = LM_OPTIONS_DEFAULTS;
    const char *tests = getenv("RAISE_TESTS");
    char *dir = mem_printf("%s/fixtures/tiny-llama", tests ? tests : "tests");
    lo.precision = LM_PRECISION_FP32;
    lo.tuning = LM_TUNE_LORA;
    lo.lora_rank = 4;
    lo.clip = 0; /* so that a step is the gradient's own */
    model = lm_open(dir, &lo, &e);
    tok = tok_load(dir, &e);
    tmpl = tmpl_load("plain", &e);
    free(dir);
    int rc = read_made(&data, N_RECORDS, "zxcvbnmlkjhgf", &e);
    if (!rc)
        rc = read_made(&target, N_TARGET, "aaaaabbbbbccccc", &e);
    if (!model || !tok || !tmpl || rc)
        fprintf(stderr, "%s\n", e.msg);
    how = (struct embed_options){.tok = tok,
                                 .tmpl = tmpl,
                                 .max_len = 512,
                                 .overlong = EXAMPLE_DROP,
                                 .batch_tokens = 4096,
                                 .dim = 8};
    return model && tok && tmpl ? rc : -1;
}

static int tear_down(void **state)
{
    (void)state;
    lm_close(model);
    tok_free(tok);
    tmpl_free(tmpl);
    dataset_free(&data);
    dataset_free(&target);
    return 0;
}

static struct influence request(void)
{
    return (struct influence){.pool = &data,
                              .target = &target,
                              .how = &how,
                              .n_epochs = N_EPOCHS,
                              .lr = 1e-2,
                              .seed = 42};
}

static struct example_set encode(const struct dataset *d)
{
    struct err e = ERR_INIT;
    struct example_set s;
    assert_int_equal(example_set_make(&s, tok, tmpl, d, 512, EXAMPLE_DROP, &e), 0);
    return s;
}

static struct lm_batch batch_of(struct lm_pack *p, const struct example *x)
{
    lm_pack_clear(p);
    lm_pack_add(p, x->ids, x->is_loss, x->n);
    return lm_pack_batch(p);
}

/* All trainable values, tensor by tensor, end to end; or their gradients. */
static double *flat(bool is_gradient, int64_t *n)
{
    double *v = NULL;
    *n = 0;
    for (int64_t i = 0; i < lm_n_params(model); i++) {
        const struct lm_param *p = lm_param_at(model, i);
        int64_t m = p->shape[0] * p->shape[1];
        float *x = mem_alloc((size_t)m, sizeof *x);
        (is_gradient ? lm_param_grad : lm_param_get)(model, i, x);
        v = mem_realloc(v, (size_t)(*n + m), sizeof *v);
        for (int64_t k = 0; k < m; k++)
            v[*n + k] = (double)x[k];
        *n += m;
        free(x);
    }
    return v;
}

static double *target_direction(const struct example_set *s)
{
    struct err e = ERR_INIT;
    struct lm_pack p = {0};
    double *u = NULL;
    for (int64_t i = 0; i < s->n_examples; i++) {
        struct lm_step_stats stats;
        struct lm_batch b = batch_of(&p, &s->examples[i]);
        int64_t n;
        double length = 0;
        assert_int_equal(lm_gradient(model, &b, &stats, &e), 0);
        double *g = flat(true, &n);
        u = u ? u : mem_zalloc((size_t)n, sizeof *u);
        for (int64_t k = 0; k < n; k++)
            length += g[k] * g[k];
        for (int64_t k = 0; k < n; k++)
            u[k] += g[k] / sqrt(length) / (double)s->n_examples;
        free(g);
    }
    lm_pack_free(&p);
    return u;
}

/* The cosine between u and what a step on x alone takes off the parameters. */
static double cosine_of_step(const struct lm_state *at, const struct example *x,
                             const double *u)
{
    struct err e = ERR_INIT;
    struct lm_pack p = {0};
    struct lm_batch b = batch_of(&p, x);
    int64_t n;
    double ab = 0, aa = 0, bb = 0;
    lm_state_set(model, at);
    double *before = flat(false, &n);
    assert_int_equal(lm_step(model, &b, 1, NULL, &e), 0);
    double *after = flat(false, &n);
    for (int64_t k = 0; k < n; k++) {
        double moved = before[k] - after[k];
        ab += moved * u[k];
        aa += moved * moved;
        bb += u[k] * u[k];
    }
    free(before);
    free(after);
    lm_pack_free(&p);
    return ab / sqrt(aa * bb);
}

static double loss(void)
{
    struct example_set s = encode(&target);
    struct lm_pack p = {0};
    struct lm_batch b = batch_of(&p, &s.examples[0]);
    double nll;
    assert_int_equal(lm_nll(model, &b, &nll, NULL, NULL), 0);
    lm_pack_free(&p);
    example_set_free(&s);
    return nll;
}

static void it_is_the_cosine_of_a_step(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct influence f = request();
    struct example_set pool = encode(&data), goal = encode(&target);
    double value[N_RECORDS], want[N_RECORDS] = {0}, before = loss(), spread = 0;
    assert_int_equal(influence_prepare(&f, model, NULL, false, &e), 0);
    assert_int_equal(f.n_warm, 3); /* a twentieth of 45 */
    assert_true(fabs(f.weight[0] + f.weight[1] - 1) < 1e-12);
    assert_true(f.weight[0] > f.weight[1]); /* the rate falls: 2/2 and 1/2 of it */
    assert_true(fabs(f.weight[0] - 2.0 / 3) < 1e-12);
    assert_int_equal(f.state[0].n_steps, 1);
    assert_int_equal(f.state[1].n_steps, 2);
    double now = loss();
    assert_memory_equal(&now, &before, sizeof now);
    assert_int_equal(influence_of(&f, model, pool.examples, N_RECORDS, value, &e), 0);
    now = loss();
    assert_memory_equal(&now, &before, sizeof now);
    for (int k = 0; k < N_EPOCHS; k++) {
        lm_state_set(model, &f.state[k]);
        double *u = target_direction(&goal);
        for (int64_t i = 0; i < N_RECORDS; i++)
            want[i] += f.weight[k] * cosine_of_step(&f.state[k], &pool.examples[i], u);
        free(u);
    }
    for (int64_t i = 0; i < N_RECORDS; i++) {
        assert_true(fabs(value[i] - want[i]) < 1e-3);
        spread = fmax(spread, fabs(value[i] - value[0]));
    }
    assert_true(spread > 0.05);
    lm_state_set(model, &f.base);
    influence_free(&f);
    example_set_free(&pool);
    example_set_free(&goal);
}

static void what_is_kept_gives_the_same_bytes(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct influence made = request(), again = request(), other = request();
    struct example_set pool = encode(&data);
    char path[] = "/tmp/raise-warmup-XXXXXX";
    double a[N_RECORDS], b[N_RECORDS];
    int n_threads = omp_get_max_threads();
    close(mkstemp(path));
    assert_int_equal(influence_prepare(&made, model, path, false, &e), 0);
    int rc = influence_prepare(&again, model, path, true, &e);
    if (rc)
        fail_msg("%s", e.msg);
    assert_true(made.hash == again.hash);
    assert_int_equal(influence_of(&made, model, pool.examples, N_RECORDS, a, &e), 0);
    omp_set_num_threads(n_threads == 1 ? 3 : 1);
    assert_int_equal(influence_of(&again, model, pool.examples + 7, N_RECORDS - 7, b + 7, &e),
                     0);
    omp_set_num_threads(n_threads);
    assert_memory_equal(a + 7, b + 7, (N_RECORDS - 7) * sizeof *a);
    other.seed = 43;
    assert_int_equal(influence_prepare(&other, model, NULL, false, &e), 0);
    assert_true(other.hash != made.hash);
    int64_t n_apart = 0; /* other records, not the same in another order */
    for (int64_t k = 0; k < lm_n_values(model); k++)
        n_apart += fabsf(other.state[0].values[k] - made.state[0].values[k]) > 1e-3F;
    assert_true(n_apart > lm_n_values(model) / 20);
    influence_free(&made);
    influence_free(&again);
    influence_free(&other);
    unlink(path);
    example_set_free(&pool);
}

/* What an earlier training left in AdamW is no part of the model. */
static void earlier_moments_do_not_count(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct influence fresh = request(), again = request();
    struct lm_state now = {0};
    size_t bytes = (size_t)lm_n_values(model) * sizeof(float);
    assert_int_equal(influence_prepare(&fresh, model, NULL, false, &e), 0);
    lm_state_get(model, &now);
    memcpy(now.moment1, fresh.state[1].moment1, bytes);
    memcpy(now.moment2, fresh.state[1].moment2, bytes);
    now.n_steps = 2;
    lm_state_set(model, &now);
    assert_int_equal(influence_prepare(&again, model, NULL, false, &e), 0);
    assert_true(again.hash == fresh.hash);
    lm_state_free(&now);
    influence_free(&fresh);
    influence_free(&again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_the_cosine_of_a_step),
        cmocka_unit_test(what_is_kept_gives_the_same_bytes),
        cmocka_unit_test(earlier_moments_do_not_count),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
