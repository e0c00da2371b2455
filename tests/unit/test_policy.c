/* SPDX-License-Identifier: MIT
 * policy/: state fusion against its equations in double, both learners' scores, files. */
#include "base/file.h"
#include "base/normal.h"
#include "policy/linear.h"
#include "pool.h"

#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

static char path[] = "/tmp/raise-policy-XXXXXX";

static struct policy *make(const struct features *f, const char *learner, unsigned parts,
                           int64_t n_hidden)
{
    struct err e = ERR_INIT;
    struct policy *p = pool_policy(f, learner, parts, n_hidden, &e);
    if (!p)
        fail_msg("%s", e.msg);
    return p;
}

/* Gives a fresh policy something to say. */
static void shake(struct policy *p, double scale, uint64_t seed)
{
    struct rng r;
    rng_init(&r, seed, 3);
    if (!strcmp(p->learner->name, "ppo")) {
        struct ppo *x = ppo_of(p);
        for (int64_t i = x->n_hidden * x->n_in; i < x->n_net; i++)
            x->net[i] = (float)(scale * rng_normal(&r));
        return;
    }
    struct reward_model *x = reward_model_of(p);
    for (int64_t i = 0; i < x->n; i++) {
        x->mu[i] = scale * rng_normal(&r);
        for (int64_t j = 0; j < x->n; j++)
            x->sigma[i * x->n + j] = (i == j ? 0.5 : 0.02) * (1 + 0.1 * (double)((i + j) % 3));
    }
}

/* The state by its definition, two passes in double. */
static void define_state(const struct features *f, double *state)
{
    int64_t n = 4 + f->dim;
    double square = 0;
    for (int64_t k = 0; k < n; k++) {
        double mean = 0, var = 0;
        for (int64_t i = 0; i < f->n; i++) {
            double *x = &state[i * n + k];
            *x = k == 0   ? f->len_x[i]
                 : k == 1 ? f->len_y[i]
                 : k == 2 ? (double)f->logp_yx[i] / f->len_y[i]
                 : k == 3 ? (double)f->logp_y[i] / f->len_y[i]
                          : (double)f->embedding[i * f->dim + k - 4];
            mean += *x / (double)f->n;
        }
        for (int64_t i = 0; i < f->n; i++) {
            state[i * n + k] -= mean;
            var += state[i * n + k] * state[i * n + k] / (double)f->n;
        }
        for (int64_t i = 0; i < f->n && k < 4; i++)
            state[i * n + k] /= sqrt(var);
        square += k < 4 ? 0 : var;
    }
    for (int64_t i = 0; i < f->n; i++)
        for (int64_t k = 4; k < n; k++)
            state[i * n + k] /= sqrt(square / (double)f->dim);
}

/* F(s) for row i, inputs in the documented order, parts that are off left out. */
static double define_score(const struct policy *p, const double *state, int64_t i,
                           const double u[2], double count)
{
    const struct ppo *x = ppo_of(p);
    unsigned parts = p->state.parts;
    double in[64], F = 0;
    int64_t n = 0, width = p->state.n_norm;
    for (int k = 0; k < 2 && parts & PART_STAGE; k++)
        in[n++] = u[k];
    for (int64_t k = 0; k < width; k++)
        if (parts & (k < 4 ? PART_DIFFICULTY : PART_SEMANTIC))
            in[n++] = state[i * width + k];
    if (parts & PART_COUNT)
        in[n++] = count;
    assert_int_equal(n, x->n_in);
    for (int64_t j = 0; j < x->n_hidden; j++) {
        double a = (double)x->b[j];
        for (int64_t k = 0; k < n; k++)
            a += (double)x->W[j * n + k] * in[k];
        F += (double)x->o[j] * tanh(a);
    }
    return F;
}

/* 300 rows: two whole blocks and a part. Hidden widths with and without a remainder of four. */
static void scores_are_the_equations(void **state)
{
    (void)state;
    static const struct {
        unsigned parts;
        int64_t d, n_hidden;
    } cases[] = {{PART_PAPER, 7, 32},
                 {PART_PAPER, 32, 5},
                 {PART_DIFFICULTY, 3, 1},
                 {PART_SEMANTIC | PART_STAGE, 1, 7},
                 {PART_STAGE | PART_COUNT, 2, 33},
                 {PART_PAPER & ~PART_STAGE, 16, 32},
                 {PART_PAPER & ~PART_COUNT, 5, 6}};
    const struct policy_stage stage = {
        .t = 4, .n_steps = 10, .perf_start = -2, .perf_now = -1.5};
    const double u[2] = {5 * 0.5 / 2, 2 * 3.0 / 10 - 1};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        enum { N = 300 };
        struct pool pool;
        uint16_t counts[N] = {0};
        float scores[N];
        struct err e = ERR_INIT;
        pool_make(&pool, N, cases[c].d, 2, c);
        double *want = mem_alloc((size_t)(N * (4 + cases[c].d)), sizeof *want);
        define_state(&pool.f, want);
        struct policy *p = make(&pool.f, "ppo", cases[c].parts, cases[c].n_hidden);
        shake(p, 1, c);
        for (int i = 0; i < N; i += 3)
            counts[i] = (uint16_t)(i % 4);
        assert_int_equal(policy_score(p, &pool.f, &stage, counts, false, 1, scores, &e), 0);
        for (int i = 0; i < N; i++) {
            double F = define_score(p, want, i, u, counts[i]);
            /* fp32: some 40 products of order 1, h terms of error 1e-6 */
            if (!(fabs((double)scores[i] - F) < 3e-6 * (double)(4 + cases[c].n_hidden)))
                fail_msg("case %zu, row %d: %.9g, not %.9g", c, i, (double)scores[i], F);
        }
        policy_free(p);
        free(want);
        pool_free(&pool);
    }
}

static void first_episode_is_uniform(void **state)
{
    (void)state;
    enum { N = 200 };
    struct pool pool;
    static const uint16_t counts[N];
    float scores[N];
    const struct policy_stage stage = {1, 10, -2, -2, 16, NULL};
    pool_make(&pool, N, 8, 2, 1);
    struct policy *p = make(&pool.f, "ppo", PART_PAPER, 32);
    double square = 0;
    assert_int_equal(policy_score(p, &pool.f, &stage, counts, false, 1, scores, NULL), 0);
    for (int i = 0; i < N; i++)
        assert_true(scores[i] == 0.0F);
    /* W ~ N(0, 1/n_in): over 32 x 15 numbers, the mean square within a tenth or so. */
    const struct ppo *x = ppo_of(p);
    for (int64_t i = 0; i < x->n_hidden * x->n_in; i++)
        square += (double)(x->net[i] * x->net[i]) / (double)x->n_hidden;
    assert_true(fabs(square - 1) < 0.25);
    policy_free(p);
    pool_free(&pool);
}

/* Thompson sampling: scores have sd kappa, are linear in phi, differ by seed and step, and over
 * many draws w~ has mean mu and covariance Sigma. */
static void reward_model_draws_from_its_posterior(void **state)
{
    (void)state;
    enum { N = 500, D = 3, DRAWS = 4000 };
    struct pool pool;
    static const uint16_t counts[N];
    float *scores = mem_alloc(N, sizeof *scores), *again = mem_alloc(N, sizeof *again);
    pool_make(&pool, N, D, 1, 4);
    struct policy *p = make(&pool.f, "reward-model", PART_SEMANTIC, 1);
    shake(p, 1, 4);
    struct policy_stage stage = {1, 10, -2, -2, 16, NULL};
    assert_int_equal(policy_score(p, &pool.f, &stage, counts, false, 1, scores, NULL), 0);
    double sum = 0, square = 0;
    for (int i = 0; i < N; i++) {
        sum += (double)scores[i] / N;
        square += (double)(scores[i] * scores[i]) / N;
    }
    assert_true(fabs(sum) < 1e-4);
    assert_true(fabs(sqrt(square) - 3) < 1e-4);
    assert_int_equal(policy_score(p, &pool.f, &stage, counts, false, 2, again, NULL), 0);
    assert_memory_not_equal(scores, again, N * sizeof *scores);
    stage.t = 2;
    assert_int_equal(policy_score(p, &pool.f, &stage, counts, false, 1, again, NULL), 0);
    assert_memory_not_equal(scores, again, N * sizeof *scores);
    /* Deployed: mu, whatever the seed and step. */
    const struct reward_model *x = reward_model_of(p);
    float phi[D];
    double mean[D] = {0}, cov[D][D] = {{0}}, scale = 0;
    assert_int_equal(policy_score(p, &pool.f, &stage, counts, true, 9, again, NULL), 0);
    for (int i = 0; i < N; i++) {
        double y = 0;
        state_row(&p->state, &pool.f, i, phi);
        for (int k = 0; k < D; k++)
            y += (double)phi[k] * x->mu[k];
        scale = i ? scale : (double)again[i] / y;
        assert_true(fabs((double)again[i] - scale * y) < 1e-4);
    }
    /* The draws themselves. */
    for (int i = 0; i < DRAWS; i++) {
        double w[D];
        assert_int_equal(linear_draw(x->mu, x->sigma, D, (uint64_t)i, 1, w, NULL), 0);
        for (int a = 0; a < D; a++) {
            mean[a] += w[a] / DRAWS;
            for (int b = 0; b < D; b++)
                cov[a][b] += (w[a] - x->mu[a]) * (w[b] - x->mu[b]) / DRAWS;
        }
    }
    for (int a = 0; a < D; a++) { /* five standard errors */
        assert_true(fabs(mean[a] - x->mu[a]) < 5 * sqrt(0.6 / DRAWS));
        for (int b = 0; b < D; b++)
            assert_true(fabs(cov[a][b] - x->sigma[a * D + b]) < 5 * sqrt(2.0 / DRAWS));
    }
    policy_free(p);
    free(scores);
    free(again);
    pool_free(&pool);
}

/* A started policy scores as the model deploys, bent by tanh. */
static void ppo_starts_from_a_reward_model(void **state)
{
    (void)state;
    enum { N = 300 };
    struct pool pool;
    static uint16_t counts[N];
    float a[N], b[N];
    struct err e = ERR_INIT;
    const struct policy_stage stage = {3, 10, -2, -1.5, 16, NULL};
    pool_make(&pool, N, 6, 2, 8);
    struct policy *model = make(&pool.f, "reward-model", PART_PAPER, 1);
    struct policy *p = make(&pool.f, "ppo", PART_PAPER, 32);
    struct policy *blind = make(&pool.f, "ppo", PART_STAGE | PART_SEMANTIC, 32);
    shake(model, 1, 8);
    counts[7] = 3;
    assert_int_equal(policy_start(p, model, &pool.f, &e), 0);
    assert_int_equal(policy_score(model, &pool.f, &stage, counts, true, 1, a, &e), 0);
    assert_int_equal(policy_score(p, &pool.f, &stage, counts, true, 1, b, &e), 0);
    for (int i = 0; i < N; i++)
        assert_true(fabs((double)b[i] - tanh(0.15 * (double)a[i]) / 0.15) < 1e-4);
    assert_int_equal(policy_start(blind, model, &pool.f, &e), ERR_MISMATCH);
    assert_int_equal(policy_start(p, blind, &pool.f, &e), ERR_UNSUPPORTED);
    policy_free(model);
    policy_free(p);
    policy_free(blind);
    pool_free(&pool);
}

static void threads_do_not_change_scores(void **state)
{
    (void)state;
    enum { N = 70001 };
    struct pool pool;
    uint16_t *counts = mem_zalloc(N, sizeof *counts);
    float *scores[2] = {mem_alloc(N, sizeof(float)), mem_alloc(N, sizeof(float))};
    const struct policy_stage stage = {2, 10, -2, -1.9, 16, NULL};
    pool_make(&pool, N, 8, 3, 6);
    for (int learner = 0; learner < 2; learner++) {
        for (int k = 0; k < 2; k++) {
            omp_set_num_threads(k ? 5 : 1);
            struct policy *p = make(&pool.f, learners()[learner]->name, PART_PAPER, 32);
            shake(p, 1, 6);
            assert_int_equal(
                policy_score(p, &pool.f, &stage, counts, false, 1, scores[k], NULL), 0);
            policy_free(p);
        }
        assert_memory_equal(scores[0], scores[1], N * sizeof(float));
    }
    omp_set_num_threads(omp_get_num_procs());
    free(scores[0]);
    free(scores[1]);
    free(counts);
    pool_free(&pool);
}

static void constant_columns_are_zero(void **state)
{
    (void)state;
    enum { N = 50 };
    struct pool pool;
    float phi[8];
    pool_make(&pool, N, 4, 1, 2);
    for (int i = 0; i < N; i++) {
        pool.len_x[i] = 17;
        pool.len_y[i] = 3;
        pool.logp_y[i] = -0.7F;
    }
    struct policy *p = make(&pool.f, "ppo", PART_PAPER, 4);
    for (int i = 0; i < N; i++) {
        state_row(&p->state, &pool.f, i, phi);
        assert_true(phi[0] == 0.0F && phi[1] == 0.0F && fabsf(phi[3]) < 1e-6F);
        assert_true(isfinite(phi[2]));
    }
    policy_free(p);
    pool_free(&pool);
}

/* ---- columns of other kinds than today's ---- */

static int64_t none(const struct features *f)
{
    (void)f;
    return 0;
}

static int64_t two(const struct features *f)
{
    (void)f;
    return 2;
}

/* 5, 4, 4, 1e6, 3: ranks 4, 2.5, 2.5, 5, 1. */
static void raw_wild(const struct features *f, const int64_t *row, int64_t n, double *x)
{
    static const double wild[] = {5, 4, 4, 1e6, 3};
    (void)f;
    for (int64_t r = 0; r < n; r++)
        x[r] = wild[row[r]];
}

/* How many rows have a longer response. */
static void make_place(const struct features *f, float *x)
{
    for (int64_t i = 0; i < f->n; i++) {
        x[i] = 0;
        for (int64_t j = 0; j < f->n; j++)
            x[i] += (float)(f->len_y[j] > f->len_y[i]);
    }
}

static const float *pairs(const struct features *f)
{
    static const float x[] = {1, 10, 3, 10, 5, 10, 7, 10, 9, 10};
    (void)f;
    return x;
}

static const struct state_column others[] = {
    {"wild", PART_DIFFICULTY, NORM_RANK, .raw = raw_wild},
    {"gone", PART_SEMANTIC, NORM_ZSCORE, .width = none, .raw = raw_wild},
    {"place", PART_DIFFICULTY, NORM_NONE, .make = make_place},
    {"place_rank", PART_DIFFICULTY, NORM_RANK, .make = make_place},
    {"pair", PART_DIFFICULTY, NORM_BLOCK, .width = two, .rows = pairs},
    {.name = NULL},
};

static void ranks_makes_and_gaps(void **state)
{
    (void)state;
    enum { N = 5, WIDTH = 5 };
    struct pool pool;
    struct state s, again;
    struct err e = ERR_INIT;
    float block[WIDTH * STATE_ROWS], row[WIDTH];
    pool_make(&pool, N, 4, 1, 2);
    for (int i = 0; i < N; i++)
        pool.len_y[i] = 10 * (i + 1);
    /* a part without a column in these features is off, and an error only when asked for */
    assert_int_equal(state_init(&s, others, &pool.f, PART_PAPER, PART_DIFFICULTY, &e), 0);
    assert_int_equal(s.parts, PART_STAGE | PART_DIFFICULTY | PART_COUNT);
    char *names = state_names(&s);
    assert_string_equal(names, "wild place place_rank pair[2]");
    assert_int_equal(s.n_static, WIDTH);
    /* normal scores of (rank - 1/2) / 5: quantiles of .7, .4, .4, .9, .1 */
    const double wild[] = {0.524400512708, -0.253347103136, -0.253347103136, 1.281551565545,
                           -1.281551565545};
    state_block(&s, &pool.f, NULL, 0, N, block);
    for (int i = 0; i < N; i++) {
        const double want[WIDTH] = {wild[i], N - 1 - i, 0, (2 * i - 4) / 2.0, 0};
        state_row(&s, &pool.f, i, row);
        for (int k = 0; k < WIDTH; k++)
            if (k != 2)
                assert_true(fabs((double)row[k] - want[k]) < 1e-6);
        assert_true(i != 2 || row[2] == 0.0F); /* the middle rank */
        for (int k = 0; k < WIDTH; k++)
            assert_true(block[k * STATE_ROWS + i] == row[k]);
    }
    /* what is made of the whole pool is made again for a state that was read */
    assert_int_equal(state_restore(&again, others, s.parts, names, s.n_norm, &e), 0);
    memcpy(again.center, s.center, (size_t)s.n_norm * sizeof(double));
    memcpy(again.scale, s.scale, (size_t)s.n_norm * sizeof(double));
    assert_int_equal(state_bind(&again, &pool.f, &e), 0);
    for (int i = 0; i < N; i++) {
        float other[WIDTH];
        state_row(&s, &pool.f, i, row);
        state_row(&again, &pool.f, i, other);
        assert_memory_equal(row, other, sizeof row);
    }
    state_free(&again);
    state_free(&s);
    free(names);
    assert_int_equal(state_init(&s, others, &pool.f, PART_PAPER, PART_SEMANTIC, &e),
                     ERR_MISMATCH);
    assert_string_equal(e.msg, "the features have no column of part semantic");
    state_free(&s);
    pool_free(&pool);
}

/* What a target and the neighbours add: ranks of four, a z-score, and only where they are. */
static void target_and_consistency_are_columns(void **state)
{
    (void)state;
    enum { N = 4, D = 2 };
    const float near[N] = {0.9F, -0.5F, 0.1F, 0.2F}, gain[N] = {8, -1, 100, 6};
    const float consistency[N] = {3, -1, 1, 1};
    const double up[N] = {-1.150349380376, -0.318639363964, 0.318639363964, 1.150349380376};
    /* ranks of near; gain; gain / sqrt(4, 1, 400, 1) = 4, -1, 5, 6; gain / (16, 1, 50, 10) */
    const int rank[N][N] = {{3, 0, 1, 2}, {2, 0, 3, 1}, {1, 0, 2, 3}, {1, 0, 3, 2}};
    struct pool pool;
    struct state s;
    struct err e = ERR_INIT;
    pool_make(&pool, N, D, 1, 2);
    for (int i = 0; i < N; i++) {
        pool.len_y[i] = (int32_t[]){4, 1, 400, 1}[i];
        pool.logp_yx[i] = (float[]){-16, -1, -50, -10}[i];
    }
    unsigned all = state_all_parts();
    assert_int_equal(state_init(&s, state_columns(), &pool.f, all, 0, &e), 0);
    assert_int_equal(s.parts, PART_PAPER);
    state_free(&s);
    assert_int_equal(state_init(&s, state_columns(), &pool.f, all, PART_TARGET, &e),
                     ERR_MISMATCH);
    state_free(&s);
    pool.f.near = near;
    pool.f.gain_sum = gain;
    pool.f.consistency = consistency;
    pool.f.influence = near;
    const float given[N * 2] = {1, 5, 1, 7, 3, 5, 3, 7};
    pool.f.given = given;
    pool.f.n_given = 2;
    assert_int_equal(
        state_init(&s, state_columns(), &pool.f, all, all & ~(unsigned)PART_RECORD, &e), 0);
    char *names = state_names(&s);
    assert_string_equal(names, "len_x len_y logp_yx logp_y embedding[2] near gain_sum "
                               "gain_length gain_loss consistency influence given_0 "
                               "given_1");
    free(names);
    assert_int_equal(s.n_static, 4 + D + 8);
    for (int i = 0; i < N; i++) {
        float row[4 + D + 8];
        state_row(&s, &pool.f, i, row);
        for (int k = 0; k < 4; k++)
            assert_true(fabs((double)row[4 + D + k] - up[rank[k][i]]) < 1e-6);
        assert_true(fabs((double)row[4 + D + 4] - ((double)consistency[i] - 1)) < 1e-6);
        assert_true(row[4 + D + 5] == row[4 + D]);
        assert_true(row[4 + D + 6] == (i < 2 ? -1.0F : 1.0F));
        assert_true(row[4 + D + 7] == (i % 2 ? 1.0F : -1.0F));
    }
    state_free(&s);
    assert_int_equal(state_init(&s, state_columns(), &pool.f, PART_PAPER, 0, &e), 0);
    assert_int_equal(s.n_static, 4 + D); /* without them: the paper's */
    state_free(&s);
    pool_free(&pool);
}

/* Columns of the record by their names in the features, wherever they stand; other names there
 * are no columns of the state. A policy with one is not bound to features without. */
static void columns_of_the_record_are_columns(void **state)
{
    (void)state;
    enum { N = 3, D = 2 };
    const float record[N * 2] = {7, 90, 7, 30, 7, 60};
    char other[] = "other", chars[] = "chars_y", *names[] = {other, chars, NULL};
    const double up = 0.967421566101701; /* of ranks 1/6, 1/2, 5/6 */
    const double want[N] = {up, -up, 0};
    struct pool pool;
    struct state s;
    struct err e = ERR_INIT;
    pool_make(&pool, N, D, 1, 2);
    pool.f.record = record;
    pool.f.n_record = 2;
    pool.f.record_names = names;
    assert_int_equal(state_init(&s, state_columns(), &pool.f, PART_RECORD, PART_RECORD, &e), 0);
    char *list = state_names(&s);
    assert_string_equal(list, "len_x len_y logp_yx logp_y embedding[2] chars_y");
    free(list);
    assert_int_equal(s.n_static, 1);
    for (int i = 0; i < N; i++) {
        float row;
        state_row(&s, &pool.f, i, &row);
        assert_true(fabs((double)row - want[i]) < 1e-6);
    }
    pool.f.n_record = 0;
    pool.f.record_names = NULL;
    assert_int_equal(state_bind(&s, &pool.f, &e), ERR_MISMATCH);
    assert_string_equal(e.msg, "the policy has 1 of chars_y, the features 0");
    state_free(&s);
    pool_free(&pool);
}

static void normal_scores_are_quantiles(void **state)
{
    (void)state;
    enum { N = 100001 };
    double *x = mem_alloc(N, sizeof *x);
    float *z = mem_alloc(N, sizeof *z);
    for (int i = 0; i < N; i++)
        x[i] = (double)((i * 7919LL) % N);
    normal_scores(x, N, z);
    for (int i = 0; i < N; i += 97) /* erfc is the definition */
        assert_true(fabs(0.5 * erfc(-(double)z[i] / sqrt(2)) - (x[i] + 0.5) / N) < 1e-7);
    for (int i = 0; i < N; i++)
        x[i] = 3;
    normal_scores(x, N, z);
    assert_true(z[0] == 0.0F && z[N - 1] == 0.0F);
    free(x);
    free(z);
}

/* ---- files ---- */

static void files_come_back(void **state)
{
    (void)state;
    enum { N = 40 };
    struct pool pool;
    static const uint16_t counts[N];
    float a[N], b[N];
    struct err e = ERR_INIT;
    const struct policy_stage stage = {3, 10, -2, -1.9, 16, NULL};
    pool_make(&pool, N, 6, 2, 8);
    for (int learner = 0; learner < 2; learner++)
        for (unsigned parts = PART_DIFFICULTY; parts <= PART_PAPER; parts++) {
            if (learner && !(parts & (PART_DIFFICULTY | PART_SEMANTIC)))
                continue;
            struct policy *p = make(&pool.f, learners()[learner]->name, parts, 5);
            shake(p, 1, parts);
            p->iteration = 3;
            if (learner)
                reward_model_of(p)->kappa = 2.5;
            else
                ppo_of(p)->adam_step = 12;
            p->reward_sd = 0.1 + 0.2;
            assert_int_equal(policy_write(p, path, parts & 1 ? ST_PLAIN : 0, NULL, &e), 0);
            struct policy *q = policy_read(path, learners(), &e);
            if (!q)
                fail_msg("%s", e.msg);
            assert_int_equal(policy_id(q), policy_id(p));
            assert_int_equal(policy_features(q), pool.f.id);
            assert_ptr_equal(policy_learner(q), learners()[learner]);
            assert_int_equal(policy_iteration(q), 3);
            assert_int_equal(policy_state(q)->parts, parts);
            assert_int_equal(policy_bind(q, &pool.f, &e), 0);
            assert_true(q->reward_sd == p->reward_sd);
            assert_true(learner ? reward_model_of(q)->kappa == 2.5
                                : ppo_of(q)->adam_step == 12);
            assert_int_equal(policy_score(p, &pool.f, &stage, counts, false, 1, a, &e), 0);
            assert_int_equal(policy_score(q, &pool.f, &stage, counts, false, 1, b, &e), 0);
            assert_memory_equal(a, b, sizeof a);
            policy_free(p);
            policy_free(q);
        }
    pool_free(&pool);
}

static void refuse(const char *tensor, const void *data, int64_t n, const char *key,
                   const char *value, int code, const char *what)
{
    struct err e = ERR_INIT;
    struct st_msg *m = st_read(path, "policy", &e);
    assert_non_null(m);
    struct st_msg *changed = st_msg_copy(m);
    if (key && value)
        st_msg_set_meta(changed, key, value);
    else if (key)
        st_msg_unset_meta(changed, key);
    if (tensor) {
        struct st_msg *rest = st_msg_new();
        for (int64_t i = 0; i < st_msg_n_meta(m); i++) {
            const char *k, *v;
            st_msg_meta_at(m, i, &k, &v);
            st_msg_set_meta(rest, k, v);
        }
        for (int64_t i = 0; i < st_msg_n_tensors(m); i++) {
            const struct st_tensor *x = st_msg_at(m, i);
            if (strcmp(x->name, tensor))
                st_msg_add_copy(rest, x->name, x->dtype, x->n_dims, x->shape, x->data);
        }
        if (data)
            st_msg_add_copy(rest, tensor, ST_F64, 1, &n, data);
        st_msg_free(changed);
        changed = rest;
    }
    char *bad = mem_printf("%s.bad", path);
    assert_int_equal(st_write(bad, 0, changed, &e), 0);
    struct policy *p = policy_read(bad, learners(), &e);
    if (p || e.code != code || !strstr(e.msg, what) || strstr(e.msg, bad) != e.msg)
        fail_msg("expected %d, \"%s\"; got %d, \"%s\"", code, what, e.code, e.msg);
    unlink(bad);
    free(bad);
    st_msg_free(changed);
    st_msg_free(m);
}

/* A file from before columns had names has the first four and the embedding. */
static void files_without_names_are_read(void **state)
{
    (void)state;
    struct pool pool, narrow;
    struct err e = ERR_INIT;
    pool_make(&pool, 20, 6, 1, 8);
    pool_make(&narrow, 20, 5, 1, 8);
    struct policy *p = make(&pool.f, "ppo", PART_PAPER, 5);
    char *names = state_names(policy_state(p));
    assert_string_equal(names, "len_x len_y logp_yx logp_y embedding[6]");
    assert_int_equal(policy_write(p, path, 0, NULL, &e), 0);
    struct st_msg *m = st_read(path, "policy", &e);
    assert_non_null(m);
    assert_string_equal(st_msg_meta(m, "raise.columns"), names);
    st_msg_unset_meta(m, "raise.columns");
    assert_int_equal(st_write(path, 0, m, &e), 0);
    st_msg_free(m);
    struct policy *q = policy_read(path, learners(), &e);
    if (!q)
        fail_msg("%s", e.msg);
    char *again = state_names(policy_state(q));
    assert_string_equal(again, names);
    assert_int_equal(policy_id(p), policy_id(q));
    assert_int_equal(policy_bind(q, &narrow.f, &e), ERR_MISMATCH);
    assert_non_null(strstr(e.msg, "the policy has 6 of embedding, the features 5"));
    free(names);
    free(again);
    policy_free(p);
    policy_free(q);
    pool_free(&pool);
    pool_free(&narrow);
}

static void bad_files_are_named(void **state)
{
    (void)state;
    struct pool pool;
    struct err e = ERR_INIT;
    double zeros[10] = {0}, nan[10];
    for (int i = 0; i < 10; i++)
        nan[i] = (double)NAN;
    pool_make(&pool, 20, 6, 1, 8);
    struct policy *p = make(&pool.f, "ppo", PART_PAPER, 5);
    assert_int_equal(policy_write(p, path, 0, NULL, &e), 0);
    refuse(NULL, NULL, 0, "raise.learner", "sarsa", ERR_UNSUPPORTED, "learner \"sarsa\"");
    refuse(NULL, NULL, 0, "raise.parts", "4096", ERR_RANGE, "raise.parts");
    refuse(NULL, NULL, 0, "raise.parts", "3", ERR_MISMATCH, "\"W\"");
    refuse(NULL, NULL, 0, "raise.features", NULL, ERR_FORMAT, "raise.features");
    const char *const key = "raise.columns";
    refuse(NULL, NULL, 0, key, "len_x len_y colour", ERR_UNSUPPORTED,
           "\"colour\" is not known");
    refuse(NULL, NULL, 0, key, "len_x len_y len_x", ERR_FORMAT, "\"len_x\" twice");
    refuse(NULL, NULL, 0, key, "len_x embedding", ERR_FORMAT, "raise.columns: \"embedding\"");
    refuse(NULL, NULL, 0, key, "len_x[2]", ERR_FORMAT, "raise.columns: \"len_x[2]\"");
    refuse(NULL, NULL, 0, key, "embedding[0]", ERR_RANGE, "raise.columns");
    refuse(NULL, NULL, 0, key, "embedding[9]", ERR_MISMATCH, "raise.columns are 9");
    refuse(NULL, NULL, 0, "raise.adam_step", "-1", ERR_RANGE, "raise.adam_step");
    refuse("W", NULL, 0, NULL, NULL, ERR_FORMAT, "\"W\"");
    refuse("norm_center", zeros, 9, NULL, NULL, ERR_MISMATCH, "norm_scale");
    refuse("norm_scale", zeros, 10, NULL, NULL, ERR_RANGE, "norm_scale");
    refuse("norm_scale", nan, 10, NULL, NULL, ERR_NONFINITE, "norm_scale");
    refuse("norm_center", nan, 10, NULL, NULL, ERR_NONFINITE, "norm_center");
    refuse("critic", nan, 6, NULL, NULL, ERR_NONFINITE, "critic");
    policy_free(p);
    p = make(&pool.f, "reward-model", PART_PAPER, 5);
    assert_int_equal(policy_write(p, path, 0, NULL, &e), 0);
    refuse("mu", nan, 10, NULL, NULL, ERR_NONFINITE, "mu");
    refuse(NULL, NULL, 0, "raise.kappa", NULL, ERR_FORMAT, "raise.kappa");
    policy_free(p);
    pool_free(&pool);
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    struct pool pool, other;
    struct err e = ERR_INIT;
    static const uint16_t counts[20];
    float scores[20];
    const struct policy_stage stage = {1, 10, -2, -2, 16, NULL};
    pool_make(&pool, 20, 6, 1, 8);
    pool_make(&other, 20, 6, 1, 9);
    assert_null(pool_policy(&pool.f, "ppo", 0, 5, &e));
    assert_int_equal(e.code, ERR_RANGE);
    assert_null(pool_policy(&pool.f, "ppo", PART_PAPER, 4097, &e));
    assert_int_equal(e.code, ERR_RANGE);
    assert_null(pool_policy(&pool.f, "reward-model", PART_STAGE | PART_COUNT, 1, &e));
    assert_int_equal(e.code, ERR_RANGE);
    struct policy *p = make(&pool.f, "ppo", PART_PAPER, 5);
    assert_int_equal(policy_score(p, &other.f, &stage, counts, false, 1, scores, &e),
                     ERR_MISMATCH);
    policy_free(p);
    policy_free(NULL);
    pool_free(&pool);
    pool_free(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_are_the_equations),
        cmocka_unit_test(first_episode_is_uniform),
        cmocka_unit_test(reward_model_draws_from_its_posterior),
        cmocka_unit_test(ppo_starts_from_a_reward_model),
        cmocka_unit_test(threads_do_not_change_scores),
        cmocka_unit_test(constant_columns_are_zero),
        cmocka_unit_test(ranks_makes_and_gaps),
        cmocka_unit_test(target_and_consistency_are_columns),
        cmocka_unit_test(columns_of_the_record_are_columns),
        cmocka_unit_test(normal_scores_are_quantiles),
        cmocka_unit_test(files_come_back),
        cmocka_unit_test(files_without_names_are_read),
        cmocka_unit_test(bad_files_are_named),
        cmocka_unit_test(what_cannot_be_is_refused),
    };
    close(mkstemp(path));
    int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return n_failed;
}
