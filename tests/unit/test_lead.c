/* SPDX-License-Identifier: MIT
 * learn/lead: utilities and the bandit against a definition of their own; what it may choose;
 * and an episode whose losses are those of the model before each step. */
#include "learn/episode.h"
#include "pool.h"
#include "record_of.h"
#include "write_and_read.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

enum { N = 60, C = 3, T = 12, B = 4 };
static const double smooth = 0.1, gamma_ = 0.4; /* so much that weights soon tell */
static const int most_uses = 4;

/* A past of T steps: picks, losses, rates, norms. */
struct past {
    int64_t offset[T + 1], pick[T * B];
    float loss[T * B];
    double lr[T], norm[T];
};

static struct policy_stage stage_of(const struct past *h, int64_t t, struct policy_past *past)
{
    *past = (struct policy_past){t - 1, h->offset, h->pick, h->loss, h->lr, h->norm};
    return (struct policy_stage){t, T, -2, -2, B, past};
}

/* The class whose rows stand highest; all of those that may come do. */
static int64_t class_of_best(const struct features *f, const float *scores)
{
    int64_t best = 0;
    for (int64_t i = 1; i < f->n; i++)
        best = scores[i] > scores[best] ? i : best;
    return f->class_of[best];
}

/* The best B rows by score, each once. */
static void take_best(const float *scores, int64_t *pick)
{
    bool is_taken[N] = {false};
    for (int k = 0; k < B; k++) {
        int64_t best = -1;
        for (int64_t i = 0; i < N; i++)
            if (!is_taken[i] && (best < 0 || scores[i] > scores[best]))
                best = i;
        is_taken[best] = true;
        pick[k] = best;
    }
}

/* The head's formulas, row by row. */
struct definition {
    double U[N], w[C], q[C], p[C], paid[T];
    int uses[N];
    bool has_q[C];
};

static void define_step(struct definition *d, const struct features *f, const struct past *h,
                        int64_t k, int64_t arm)
{
    double q = k ? pow(h->norm[k - 1], 2) : 0, dL = -h->lr[k] * q, r = 0, least, most;
    if (d->has_q[arm]) {
        /* the least of |u g_c + (1 - u) g|^2 over u, by search */
        dL = -1e9;
        for (double u = 0; u <= 1; u += 1e-4)
            dL = fmax(dL, -h->lr[k] * (u * u * d->q[arm] + (1 - u) * (1 - u) * q));
    }
    for (int64_t i = h->offset[k]; i < h->offset[k + 1]; i++) {
        int64_t row = h->pick[i];
        double old = d->U[row];
        d->U[row] = (1 - smooth) * ((double)h->loss[i] + dL) + smooth * old;
        r += (old - d->U[row]) / B;
        d->uses[row]++;
    }
    d->q[arm] = pow(h->norm[k], 2);
    d->has_q[arm] = true;
    d->paid[k] = least = most = r;
    for (int64_t i = 0; i < k; i++) {
        least = fmin(least, d->paid[i]);
        most = fmax(most, d->paid[i]);
    }
    double total = 0;
    int n_open = 0;
    for (int c = 0; c < C; c++) {
        int open = 0;
        for (int64_t i = 0; i < N; i++)
            open += f->class_of[i] == c && d->uses[i] < most_uses;
        total += d->w[c];
        n_open += open > 0;
    }
    assert_int_equal(n_open, C);
    d->p[arm] = (1 - gamma_) * d->w[arm] / total + gamma_ / C;
    if (most > least)
        d->w[arm] *= exp(gamma_ / C * (2 * (r - least) / (most - least) - 1) / d->p[arm]);
}

static void follow(uint64_t seed)
{
    struct err e = ERR_INIT;
    struct pool pool;
    struct past h = {.offset = {0}};
    struct definition d = {.w = {1, 1, 1}};
    struct rng r;
    float scores[N];
    int n_other = 0;
    pool_make(&pool, N, 4, C, 9);
    struct policy *p = pool_policy(&pool.f, "lead", PART_PAPER, 0, &e);
    assert_non_null(p);
    ((double *)p->self)[1] = gamma_; /* of struct lead */
    rng_init(&r, 3, 0);
    for (int64_t i = 0; i < N; i++)
        d.U[i] = -(double)pool.logp_yx[i] / pool.len_y[i];
    for (int64_t k = 0; k < T; k++) {
        struct policy_past past;
        struct policy_stage s = stage_of(&h, k + 1, &past);
        assert_int_equal(policy_score(p, &pool.f, &s, NULL, k % 2, seed, scores, &e), 0);
        int64_t arm = class_of_best(&pool.f, scores);
        for (int64_t i = 0; i < N; i++)
            if (pool.class_of[i] == arm && d.uses[i] < most_uses)
                assert_true(fabs((double)scores[i] - d.U[i]) < 1e-5);
            else
                assert_true((double)scores[i] < -9000);
        /* The draw: the class in whose share of [0, 1) the step's number lies. */
        double u = rng_hash_unit(seed, (uint64_t)k + 1, 0x1ead, 0),
               total = d.w[0] + d.w[1] + d.w[2];
        int64_t want = 0;
        for (double sum = 0; want < C; want++)
            if ((sum += (1 - gamma_) * d.w[want] / total + gamma_ / C) > u)
                break;
        assert_int_equal(arm, want);
        take_best(scores, h.pick + k * B);
        h.offset[k + 1] = (k + 1) * B;
        for (int i = 0; i < B; i++) {
            n_other += pool.class_of[h.pick[k * B + i]] != arm;
            h.loss[k * B + i] = (float)(arm + rng_unit(&r));
        }
        h.lr[k] = 0.02;
        h.norm[k] = 0.5 + 3 * rng_unit(&r);
        define_step(&d, &pool.f, &h, k, arm);
    }
    assert_int_equal(n_other, 0);
    policy_free(p);
    pool_free(&pool);
}

static void utilities_follow_the_losses_and_weights_what_they_paid(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++)
        follow(seed);
}

/* Stands a row above those of other classes? */
static bool has_class(const float *scores)
{
    bool has = false;
    for (int64_t i = 0; i < N; i++)
        has = has || (double)scores[i] > -100;
    return has;
}

/* A record comes `uses` times and no more, while others are left; then classes that have none
 * left are not drawn. */
static void what_is_used_up_comes_last(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct pool pool;
    struct past h = {.offset = {0}};
    float scores[N];
    int uses[N] = {0};
    pool_make(&pool, N, 4, C, 9);
    for (int64_t i = 0; i < N; i++)
        pool.class_of[i] = i < B ? 0 : 1 + (int32_t)(i % 2); /* class 0: one batch */
    struct policy *p = pool_policy(&pool.f, "lead", PART_PAPER, 0, &e);
    assert_non_null(p);
    for (int64_t k = 0; k < T; k++) {
        for (int64_t i = 0; i < B; i++) {
            h.pick[k * B + i] = k < most_uses ? i : B + k * B % 40 + i;
            h.loss[k * B + i] = 9; /* the highest that there is: it pays to take it again */
        }
        h.offset[k + 1] = (k + 1) * B;
    }
    for (int64_t seed = 0; seed < 200; seed++) {
        struct policy_past past;
        struct policy_stage s = stage_of(&h, most_uses, &past);
        assert_int_equal(policy_score(p, &pool.f, &s, NULL, true, (uint64_t)seed, scores, &e),
                         0);
        uses[class_of_best(&pool.f, scores)]++;
        s = stage_of(&h, most_uses + 1, &past);
        assert_int_equal(policy_score(p, &pool.f, &s, NULL, true, (uint64_t)seed, scores, &e),
                         0);
        assert_int_not_equal(class_of_best(&pool.f, scores), 0);
        assert_true(has_class(scores));
        for (int64_t i = 0; i < B; i++)
            assert_true((double)scores[i] < -15000);
    }
    assert_true(uses[0] > 20); /* until then it was drawn */
    policy_free(p);
    pool_free(&pool);
}

static void what_it_cannot_do_is_said(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct pool pool;
    struct traj t;
    struct learn_report r;
    float scores[N];
    const char *name = "t";
    pool_make(&pool, N, 4, 1, 9);
    assert_null(pool_policy(&pool.f, "lead", PART_PAPER, 0, &e));
    assert_int_equal(e.code, ERR_RANGE);
    assert_non_null(strstr(e.msg, "the features have one"));
    pool_free(&pool);
    pool_make(&pool, N, 4, C, 9);
    struct policy *p = pool_policy(&pool.f, "lead", PART_PAPER, 0, &e);
    const struct policy_stage s = {2, T, -2, -2, B, NULL};
    assert_int_equal(policy_score(p, &pool.f, &s, NULL, true, 1, scores, &e), ERR_RANGE);
    traj_init(&t, T, 1, T * B);
    assert_int_equal(learn_update(p, &pool.f, &t, &name, 1, 1, NULL, &r, &e), ERR_UNSUPPORTED);
    learn_report_free(&r);
    traj_free(&t);
    policy_free(p);
    pool_free(&pool);
}

/* ---- an episode ---- */

static struct lm *open_model(const char *dir)
{
    struct err e = ERR_INIT;
    struct lm_options lo = LM_OPTIONS_DEFAULTS;
    lo.precision = LM_PRECISION_FP32;
    lo.tuning = LM_TUNE_LORA;
    lo.lora_rank = 4;
    struct lm *m = lm_open(dir, &lo, &e);
    assert_non_null(m);
    return m;
}

/* Scores the batch of step k before it is trained on, then trains on it. */
static void step_by_hand(struct lm *m, const struct episode *k, const struct traj *t,
                         int64_t step)
{
    struct err e = ERR_INIT;
    struct lm_pack pack = {0};
    double nll[B];
    int64_t count[B];
    for (int64_t i = 0; i < B; i++) {
        struct example x;
        const struct data_record *r = record_of(k->pool, t->pick[step * B + i]);
        assert_int_equal(example_make(k->tok, k->tmpl, r, k->max_len, EXAMPLE_CUT, &x, &e), 1);
        lm_pack_add(&pack, x.ids, x.is_loss, x.n);
        example_free(&x);
    }
    struct lm_batch b = lm_pack_batch(&pack);
    assert_int_equal(lm_nll(m, &b, nll, count, &e), 0);
    for (int64_t i = 0; i < B; i++)
        assert_true(fabs((double)t->pick_loss[step * B + i] - nll[i] / (double)count[i]) <
                    1e-5);
    assert_int_equal(lm_step(m, &b, t->lr[step], NULL, &e), 0);
    lm_pack_free(&pack);
}

static void an_episode_goes_by_the_losses_of_its_steps(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    const char *tests = getenv("RAISE_TESTS");
    char *dir = mem_printf("%s/fixtures/tiny-llama", tests ? tests : "tests");
    struct tok *tok = tok_load(dir, &e);
    struct tmpl *tmpl = tmpl_load("plain", &e);
    struct dataset data, val;
    struct pool pool;
    struct traj t;
    struct episode_set validation;
    assert_int_equal(write_and_read(&data, N, "pool") || write_and_read(&val, 3, "val"), 0);
    assert_int_equal(episode_set_make(&validation, &val, tok, tmpl, 64, true, &e), 0);
    pool_make(&pool, N, 4, C, 9);
    for (int64_t i = 0; i < N; i++)
        pool.hash[i] = data.records[i].hash;
    int64_t *rows = episode_map_rows(&pool.f, &data, &e);
    struct policy *p = pool_policy(&pool.f, "lead", PART_PAPER, 0, &e);
    struct lm *m = open_model(dir), *by_hand = open_model(dir);
    struct episode k = {.lm = m, .tok = tok, .tmpl = tmpl, .max_len = 64, .is_cut = true};
    k.pool = &data;
    k.features = &pool.f;
    k.record_of = rows;
    k.policy = p;
    k.validation = &validation;
    k.n_steps = T;
    k.batch = B;
    k.tau = 1;
    k.lr = 1e-2;
    assert_false(episode_has_quotas(&k));
    assert_int_equal(episode_run(&k, &t, &e), 0);
    assert_true(t.n_picks == T * B && t.n_classes == 1 && t.has_repeats);
    for (int64_t step = 0; step < T; step++) {
        for (int64_t i = 1; i < B; i++)
            assert_int_equal(pool.class_of[t.pick[step * B + i]],
                             pool.class_of[t.pick[step * B]]);
        step_by_hand(by_hand, &k, &t, step);
    }
    traj_free(&t);
    policy_free(p);
    lm_close(m);
    lm_close(by_hand);
    free(rows);
    pool_free(&pool);
    episode_set_free(&validation);
    dataset_free(&data);
    dataset_free(&val);
    tmpl_free(tmpl);
    tok_free(tok);
    free(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(utilities_follow_the_losses_and_weights_what_they_paid),
        cmocka_unit_test(what_is_used_up_comes_last),
        cmocka_unit_test(what_it_cannot_do_is_said),
        cmocka_unit_test(an_episode_goes_by_the_losses_of_its_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
