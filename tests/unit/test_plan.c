/* SPDX-License-Identifier: MIT
 * plan/plan_make: each method against a direct computation, order, repeats, what is refused. */
#include "base/file.h"
#include "plan_made.h"

#include <omp.h>
#include <unistd.h>

static void random_is_a_seeded_choice(void **state)
{
    (void)state;
    struct features f;
    struct plan a, b;
    struct plan_report r;
    make_features(&f, N, 1);
    struct plan_request q = request("random", &f);
    make(&a, &r, &q);
    make(&b, &r, &q);
    assert_memory_equal(a.pick, b.pick, sizeof *a.pick * 20);
    assert_true(isnan(a.pick_score[0]) && isnan(r.best));
    plan_free(&b);
    q.seed = 43;
    make(&b, &r, &q);
    assert_memory_not_equal(a.pick, b.pick, sizeof *a.pick * 20);
    done(&a, &r);
    plan_free(&b);
    q.n_steps = 60;
    make(&a, &r, &q); /* all of them */
    done(&a, &r);
    q.n_steps = 61;
    refuses(&q, ERR_RANGE, "random: 305 records wanted, 300 of 300 can be chosen");
    q.has_repeats = true;
    make(&a, &r, &q);
    assert_int_equal(r.n_used, N);
    done(&a, &r);
    q.n_top = 7;
    make(&a, &r, &q);
    assert_int_equal(r.n_used, 7);
    done(&a, &r);
    q.has_repeats = false;
    refuses(&q, ERR_RANGE, "61 steps of 5 need 305 records, there are 7 (allow repeats?)");
    q.n_steps = 0;
    refuses(&q, ERR_RANGE, "0 steps of 5");
    free_made(&f);
}

/* p must be the rows by falling `score`, NaN excluded. */
static void check_descending(const struct plan *p, const double *score, int64_t n)
{
    for (int64_t k = 0; k < p->n_picks; k++) {
        int64_t n_better = 0;
        for (int64_t i = 0; i < n; i++)
            n_better += score[i] > score[p->pick[k]];
        assert_int_equal(n_better, k);
        assert_true((float)score[p->pick[k]] <= p->pick_score[k] &&
                    (float)score[p->pick[k]] >= p->pick_score[k]);
    }
}

static void scores_of_features_are_right(void **state)
{
    (void)state;
    struct features f;
    struct plan p;
    struct plan_report r;
    double score[N];
    make_features(&f, N, 2);
    int64_t n_above = 0;
    for (int i = 0; i < N; i++) {
        score[i] = exp(((double)f.logp_y[i] - (double)f.logp_yx[i]) / f.len_y[i]);
        n_above += score[i] > 1;
        score[i] = score[i] > 1 ? (double)NAN : score[i];
    }
    assert_true(n_above > 10);
    struct plan_request q = request("ifd", &f);
    make(&p, &r, &q);
    check_descending(&p, score, N);
    assert_int_equal(r.n_left_out, n_above);
    assert_int_equal(r.n_ranked, N - n_above);
    assert_string_equal(r.left_out[0].why, "IFD above 1");
    assert_true(r.left_out[0].value > 1);
    assert_true((float)r.best <= p.pick_score[0] && r.worst < r.best);
    done(&p, &r);
    for (int i = 0; i < N; i++)
        score[i] = -(double)f.logp_yx[i] / f.len_y[i];
    q = request("loss", &f);
    make(&p, &r, &q);
    check_descending(&p, score, N);
    done(&p, &r);
    q.prefer = PLAN_LOW;
    make(&p, &r, &q);
    for (int i = 0; i < N; i++)
        score[i] = -score[i];
    for (int64_t k = 0; k < p.n_picks; k++)
        p.pick_score[k] = -p.pick_score[k];
    check_descending(&p, score, N);
    done(&p, &r);
    free_made(&f);
}

static void ties_are_not_broken_by_row(void **state)
{
    (void)state;
    struct features f;
    struct plan p;
    struct plan_report r;
    make_features(&f, N, 3);
    int32_t *len = mem_alloc(N, sizeof *len);
    for (int i = 0; i < N; i++)
        len[i] = i == 150 ? 9 : 8;
    f.len_y = len;
    struct plan_request q = request("length", &f);
    make(&p, &r, &q);
    assert_int_equal(p.pick[0], 150);
    double mean = 0;
    for (int k = 1; k < 20; k++)
        mean += (double)p.pick[k] / 19;
    assert_true(mean > 80 && mean < 220);
    done(&p, &r);
    len[150] = 8;
    refuses(&q, ERR_RANGE, "length: all 300 scores are 8: there is nothing to choose by");
    free(len);
    free_made(&f);
}

static void order_is_the_ranking_or_shuffled(void **state)
{
    (void)state;
    struct features f;
    struct plan a, b;
    struct plan_report r;
    make_features(&f, N, 4);
    struct plan_request q = request("loss", &f);
    make(&a, &r, &q);
    plan_report_free(&r);
    q.order = PLAN_AUTO;
    make(&b, &r, &q);
    assert_memory_not_equal(a.pick, b.pick, sizeof *a.pick * 20);
    for (int i = 0; i < 20; i++) { /* the same records */
        int n = 0;
        for (int k = 0; k < 20; k++)
            n += a.pick[k] == b.pick[i];
        assert_int_equal(n, 1);
    }
    done(&b, &r);
    plan_free(&a);
    free_made(&f);
}

/* ---- rds ---- */

static double cosine(const struct features *f, int64_t i, const struct features *v, int64_t k)
{
    double ab = 0, aa = 0, bb = 0;
    for (int j = 0; j < DIM; j++) {
        double a = (double)f->embedding[i * DIM + j], b = (double)v->embedding[k * DIM + j];
        ab += a * b;
        aa += a * a;
        bb += b * b;
    }
    return ab / sqrt(aa * bb);
}

static void round_robin_takes_turns(void **state)
{
    (void)state;
    struct features f, v;
    struct plan p, p2;
    struct plan_report r;
    make_features(&f, N, 5);
    make_features(&v, N_VAL, 6);
    struct plan_request q = request("rds", &f);
    q.val = &v;
    q.n_steps = 60; /* every row is taken, so that heads of rankings run out */
    make(&p, &r, &q);
    plan_report_free(&r);
    bool is_taken[N] = {false};
    for (int k = 0; k < N; k++) {
        double best = -2;
        for (int i = 0; i < N; i++) {
            double s = is_taken[i] ? -2 : cosine(&f, i, &v, k % N_VAL);
            best = s > best ? s : best;
        }
        assert_false(is_taken[p.pick[k]]);
        assert_true(cosine(&f, p.pick[k], &v, k % N_VAL) > best - 1e-6);
        assert_true(fabs((double)p.pick_score[k] - best) < 1e-6);
        is_taken[p.pick[k]] = true;
    }
    int n_threads = omp_get_max_threads();
    omp_set_num_threads(3);
    make(&p2, &r, &q);
    omp_set_num_threads(n_threads);
    assert_memory_equal(p.pick, p2.pick, sizeof *p.pick * N);
    done(&p, &r);
    plan_free(&p2);
    free_made(&f);
    free_made(&v);
}

static void round_robin_takes_the_least_alike_too(void **state)
{
    (void)state;
    struct features f, v;
    struct plan p;
    struct plan_report r;
    make_features(&f, N, 5);
    make_features(&v, N_VAL, 6);
    struct plan_request q = request("rds", &f);
    q.val = &v;
    q.prefer = PLAN_LOW;
    make(&p, &r, &q);
    bool is_taken[N] = {false};
    for (int64_t k = 0; k < p.n_picks; k++) {
        double least = 2;
        for (int i = 0; i < N; i++) {
            double s = is_taken[i] ? 2 : cosine(&f, i, &v, (int)(k % N_VAL));
            least = s < least ? s : least;
        }
        assert_true(fabs(cosine(&f, p.pick[k], &v, (int)(k % N_VAL)) - least) < 1e-6);
        assert_true(fabs((double)p.pick_score[k] - least) < 1e-6);
        is_taken[p.pick[k]] = true;
    }
    done(&p, &r);
    free_made(&f);
    free_made(&v);
}

/* However they are matched: what has no direction is left out by name, and where all point the
 * same way there is nothing to choose by. */
static void embeddings_that_tell_nothing(void **state)
{
    (void)state;
    static const enum plan_match matches[] = {PLAN_ROUND_ROBIN, PLAN_MEAN, PLAN_MAX};
    for (int m = 0; m < 3; m++) {
        struct features f, v;
        struct plan p;
        struct plan_report r;
        make_features(&f, N, 5);
        make_features(&v, N_VAL, 6);
        float *x = (float *)(uintptr_t)f.embedding;
        struct plan_request q = request("rds", &f);
        q.val = &v;
        q.match = matches[m];
        q.n_steps = (N - 1) / q.batch;
        memset(x + 4 * DIM, 0, DIM * sizeof *x);
        make(&p, &r, &q);
        assert_int_equal(r.n_left_out, 1);
        assert_int_equal(r.left_out[0].row, 4);
        assert_string_equal(r.left_out[0].why, "embedding without direction");
        for (int64_t k = 0; k < p.n_picks; k++)
            assert_int_not_equal(p.pick[k], 4);
        done(&p, &r);
        for (int i = 0; i < N; i++)
            for (int j = 0; j < DIM; j++)
                x[i * DIM + j] = (float)(j + 1);
        refuses(&q, ERR_RANGE, "nothing to choose by");
        memset(x, 0, (size_t)N * DIM * sizeof *x);
        refuses(&q, ERR_EMPTY, "rds: no record has a score");
        free_made(&f);
        free_made(&v);
    }
}

static void mean_and_max_of_similarities(void **state)
{
    (void)state;
    struct features f, v;
    struct plan p;
    struct plan_report r;
    make_features(&f, N, 7);
    make_features(&v, N_VAL, 8);
    for (int is_max = 0; is_max < 2; is_max++) {
        struct plan_request q = request("rds", &f);
        q.val = &v;
        q.match = is_max ? PLAN_MAX : PLAN_MEAN;
        make(&p, &r, &q);
        double last = 2;
        for (int64_t k = 0; k < p.n_picks; k++) {
            double mean = 0, max = -2;
            for (int m = 0; m < N_VAL; m++) {
                double s = cosine(&f, p.pick[k], &v, m);
                mean += s / N_VAL;
                max = s > max ? s : max;
            }
            double want = is_max ? max : mean;
            assert_true(fabs((double)p.pick_score[k] - want) < 1e-6);
            assert_true(want < last + 1e-6);
            last = want;
        }
        done(&p, &r);
    }
    free_made(&f);
    free_made(&v);
}

static void strangers_are_refused(void **state)
{
    (void)state;
    struct features f, v;
    make_features(&f, N, 9);
    make_features(&v, N_VAL, 10);
    struct plan_request q = request("rds", &f);
    q.val = &v;
    uint64_t *hash = (uint64_t *)(uintptr_t)v.hash;
    hash[4] = f.hash[33];
    refuses(&q, ERR_MISMATCH, "record 333 is also in the validation set, as record 43");
    hash[4] = 1;
    f.model = 1;
    v.model = 2;
    refuses(&q, ERR_MISMATCH, "embeddings of two models cannot be compared");
    v.model = 1;
    st_msg_set_meta(f.msg, "raise.reduce", "pca");
    refuses(&q, ERR_MISMATCH, "embeddings reduced by pca, of the validation set by pool");
    st_msg_set_meta(v.msg, "raise.reduce", "pca");
    refuses(&q, ERR_MISMATCH, "each file has axes of its own");
    v.dim = 4;
    refuses(&q, ERR_MISMATCH, "embeddings of 5 values, of the validation set 4");
    free_made(&f);
    free_made(&v);
}

/* ---- records ---- */

static void scores_come_from_the_dataset(void **state)
{
    (void)state;
    static const char *const text =
        "{\"instruction\":\"a\",\"output\":\"b\",\"quality\":4.5}\n"
        "{\"instruction\":\"c\",\"output\":\"d\",\"quality\":1}\n"
        "{\"instruction\":\"e\",\"output\":\"f\",\"quality\":\"high\",\"same\":3}\n"
        "{\"instruction\":\"g\",\"output\":\"h\",\"quality\":-2,\"same\":3}\n";
    char path[] = "/tmp/raise-plan-XXXXXX";
    struct err e = ERR_INIT;
    struct features f;
    struct plan p;
    struct plan_report r;
    struct dataset d;
    const struct data_options o = {.on_error = DATA_SKIP};
    close(mkstemp(path));
    assert_int_equal(file_write_all(path, text, strlen(text), &e), 0);
    assert_int_equal(dataset_read(&d, path, &o, &e), 0);
    make_features(&f, 4, 11);
    uint64_t *hash = (uint64_t *)(uintptr_t)f.hash;
    int64_t *source = (int64_t *)(uintptr_t)f.source;
    for (int i = 0; i < 4; i++) { /* rows in reverse */
        source[i] = 3 - i;
        hash[i] = d.records[3 - i].hash;
    }
    struct plan_request q = request("scores", &f);
    q.data = &d;
    q.field = "quality";
    q.n_steps = 3;
    q.batch = 1;
    make(&p, &r, &q);
    assert_int_equal(p.source[0], 0);
    assert_int_equal(p.source[1], 1);
    assert_int_equal(p.source[2], 3);
    assert_int_equal(r.n_left_out, 1);
    assert_int_equal(f.source[r.left_out[0].row], 2);
    done(&p, &r);
    q.n_steps = 4;
    refuses(&q, ERR_RANGE, "scores: 4 records wanted, 3 of 4 can be chosen");
    q.field = "same";
    q.n_steps = 2;
    refuses(&q, ERR_RANGE, "scores: all 2 scores are 3");
    q.field = "nothing";
    refuses(&q, ERR_EMPTY, "no record has a number in \"nothing\"");
    hash[0] ^= 1;
    refuses(&q, ERR_MISMATCH, ": not the one that is row 0 of the features");
    f.dataset = d.hash + 1;
    refuses(&q, ERR_MISMATCH, "not the dataset that the features were made from");
    dataset_free(&d);
    free_made(&f);
    unlink(path);
}

static void a_list_keeps_its_order(void **state)
{
    (void)state;
    struct features f;
    struct plan p;
    struct plan_report r;
    make_features(&f, N, 12);
    int64_t list[] = {2003, 13, 993, 3};
    struct plan_request q = request("only", &f);
    q.list = list;
    q.n_list = 4;
    q.n_steps = 2;
    q.batch = 2;
    q.order = PLAN_AUTO;
    make(&p, &r, &q);
    assert_memory_equal(p.source, list, sizeof list);
    done(&p, &r);
    q.n_steps = 3;
    q.has_repeats = true;
    make(&p, &r, &q);
    assert_int_equal(p.source[4], 2003);
    done(&p, &r);
    list[1] = 14;
    refuses(&q, ERR_RANGE, "record 14 of the list is not in the features");
    list[1] = 2003;
    refuses(&q, ERR_RANGE, "record 2003 is twice in the list");
    q.n_list = 0;
    refuses(&q, ERR_EMPTY, "the list is empty");
    free_made(&f);
}

/* The columns that a target and the neighbours add, each made up. */
struct target_columns {
    float near[N], gain[N], consistency[N];
};

static void add_target(struct features *f, struct target_columns *t)
{
    struct rng r;
    rng_init(&r, 11, 0);
    for (int64_t i = 0; i < N; i++) {
        t->near[i] = (float)(2 * rng_unit(&r) - 1);
        t->gain[i] = (float)rng_normal(&r);
        t->consistency[i] = (float)fmax(-3, fmin(3, 2 * rng_normal(&r)));
    }
    f->near = t->near;
    f->gain_sum = t->gain;
    f->consistency = t->consistency;
    f->influence = t->near;
}

/* The normal score of x[i]: by counting, erfc inverted by bisection. */
static double normal_score(const double *x, int64_t i)
{
    double below = 0, low = -6, high = 6;
    for (int64_t j = 0; j < N; j++)
        below += x[j] < x[i] ? 1 : x[j] == x[i] ? 0.5 : 0;
    for (int k = 0; k < 60; k++) {
        double mid = (low + high) / 2;
        *(0.5 * erfc(-mid / sqrt(2)) < below / N ? &low : &high) = mid;
    }
    return low;
}

static void target_methods_are_their_definitions(void **state)
{
    (void)state;
    static struct target_columns t;
    static double x[4][N], prior[N];
    struct features f;
    struct plan p;
    struct plan_report r;
    make_features(&f, N, 5);
    add_target(&f, &t);
    for (int64_t i = 0; i < N; i++) {
        x[0][i] = (double)t.near[i];
        x[1][i] = (double)t.gain[i];
        x[2][i] = (double)t.gain[i] / sqrt(f.len_y[i]);
        x[3][i] = (double)t.gain[i] / -(double)f.logp_yx[i];
        prior[i] = 3 * (double)t.consistency[i];
    }
    for (int64_t i = 0; i < N; i++)
        for (int k = 0; k < 4; k++)
            prior[i] += normal_score(x[k], i);
    static const char *const names[] = {"near", "gain", "prior", "less"};
    const double *want[] = {x[0], x[2], prior, x[0]};
    for (int k = 0; k < 4; k++) {
        struct plan_request q = request(names[k], &f);
        make(&p, &r, &q);
        for (int64_t n = 0; n < p.n_picks; n++) {
            double s = want[k][p.pick[n]];
            assert_true(fabs(s - (double)p.pick_score[n]) < 1e-5);
            for (int64_t i = 0; i < N && !n; i++) /* the first is the best of all */
                assert_true(want[k][i] <= s + 1e-9 || (k == 1 && f.len_y[i] < 8));
            assert_true(k != 1 || f.len_y[p.pick[n]] >= 8);
        }
        assert_true((k == 1) == (r.n_left_out > 0)); /* the shortest have no gain to speak of */
        done(&p, &r);
    }
    free_made(&f);
}

static void methods_say_what_they_lack(void **state)
{
    (void)state;
    static struct target_columns t;
    struct features f;
    make_features(&f, N, 5);
    struct plan_request near = request("near", &f), gain = request("gain", &f),
                        prior = request("prior", &f), less = request("less", &f);
    refuses(&less, ERR_MISMATCH,
            "less: the features have no influence (raise-embed --target --influence)");
    refuses(
        &near, ERR_MISMATCH,
        "near: the features have no near (raise-embed --target, and raise-cluster after it)");
    refuses(&gain, ERR_MISMATCH, "gain: the features have no gain_sum (raise-embed --target)");
    add_target(&f, &t);
    f.consistency = NULL;
    refuses(&prior, ERR_MISMATCH, "prior: the features have no consistency (raise-cluster)");
    free_made(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_is_a_seeded_choice),
        cmocka_unit_test(scores_of_features_are_right),
        cmocka_unit_test(ties_are_not_broken_by_row),
        cmocka_unit_test(order_is_the_ranking_or_shuffled),
        cmocka_unit_test(round_robin_takes_turns),
        cmocka_unit_test(round_robin_takes_the_least_alike_too),
        cmocka_unit_test(embeddings_that_tell_nothing),
        cmocka_unit_test(mean_and_max_of_similarities),
        cmocka_unit_test(strangers_are_refused),
        cmocka_unit_test(scores_come_from_the_dataset),
        cmocka_unit_test(a_list_keeps_its_order),
        cmocka_unit_test(target_methods_are_their_definitions),
        cmocka_unit_test(methods_say_what_they_lack),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
