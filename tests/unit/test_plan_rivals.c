/* SPDX-License-Identifier: MIT
 * plan/plan_make: epochs, self-paced learning, diversity, judges' marks, the best of several
 * episodes, each against its definition. */
#include "base/file.h"
#include "learn/best.h"
#include "plan_made.h"

#include <stdio.h>
#include <unistd.h>

static void epochs_go_through_all(void **state)
{
    (void)state;
    struct features f;
    struct plan p;
    struct plan_report r;
    make_features(&f, N, 13);
    struct plan_request q = request("full", &f);
    q.order = PLAN_AUTO;
    q.batch = 16;
    refuses(&q, ERR_RANGE, "full: no epochs");
    q.epochs = 2.5;
    make(&p, &r, &q);
    assert_int_equal(p.n_picks, 750);
    assert_int_equal(p.n_steps, 47); /* the last one of 14 */
    assert_int_equal(r.n_used, N);
    int uses[2][N] = {{0}};
    for (int k = 0; k < 2 * N; k++) /* each pass has each row, in an order of its own */
        assert_int_equal(uses[k / N][p.pick[k]]++, 0);
    assert_memory_not_equal(p.pick, p.pick + N, N * sizeof *p.pick);
    done(&p, &r);
    q = request("loss", &f);
    q.n_top = 7;
    q.epochs = 3;
    make(&p, &r, &q);
    assert_int_equal(p.n_picks, 21);
    assert_int_equal(r.n_used, 7);
    done(&p, &r);
    q.epochs = 0.01;
    refuses(&q, ERR_RANGE, "loss: 0.01 epochs of 7 records are none");
    q.epochs = -1;
    refuses(&q, ERR_RANGE, "-1 epochs");
    free_made(&f);
}

/* The share of rows with less loss than row i. */
static double hardness(const struct features *f, int64_t i)
{
    int64_t n = 0;
    for (int64_t j = 0; j < f->n; j++)
        n += f->logp_yx[j] / (float)f->len_y[j] > f->logp_yx[i] / (float)f->len_y[i];
    return (double)n / (double)f->n;
}

static void self_paced_goes_from_easy_to_hard(void **state)
{
    (void)state;
    enum { STEPS = 10, BATCH = 9 };
    struct features f;
    struct plan p;
    struct plan_report r;
    make_features(&f, N, 14);
    struct plan_request q = request("self-paced", &f);
    q.order = PLAN_AUTO;
    q.n_steps = STEPS;
    q.batch = BATCH;
    make(&p, &r, &q);
    double mean[STEPS] = {0}, most = 0;
    for (int k = 0; k < STEPS * BATCH; k++) {
        double h = hardness(&f, p.pick[k]);
        assert_true(h < (k / BATCH + 1.0) / STEPS); /* of the part that is open then */
        mean[k / BATCH] += h / BATCH;
        most = h > most ? h : most;
    }
    assert_true(most > 0.8);                            /* the whole pool in the end */
    assert_true(mean[0] < 0.08 && mean[9] > 0.3);       /* half of what is open */
    assert_true(mean[9] - mean[5] < mean[9] - mean[0]); /* and not in the last step only */
    int64_t first[STEPS * BATCH];
    memcpy(first, p.pick, sizeof first);
    done(&p, &r);
    q.seed++;
    make(&p, &r, &q);
    assert_memory_not_equal(p.pick, first, sizeof first);
    done(&p, &r);
    q.prefer = PLAN_LOW; /* the other way round */
    make(&p, &r, &q);
    for (int k = 0; k < BATCH; k++)
        assert_true(hardness(&f, p.pick[k]) > 0.89);
    done(&p, &r);
    q.prefer = PLAN_HIGH;
    q.n_steps = 3;
    q.batch = 100; /* all: every step takes what is open */
    make(&p, &r, &q);
    for (int k = 0; k < N; k++)
        assert_int_equal((int)(hardness(&f, p.pick[k]) * 3), k / 100);
    done(&p, &r);
    free_made(&f);
}

/* ---- diversity ---- */

/* Cosine of rows i and j, both less the mean row. */
static double centred_cosine(const struct features *f, int64_t i, int64_t j)
{
    double mean[DIM] = {0}, ab = 0, aa = 0, bb = 0;
    for (int64_t k = 0; k < f->n; k++)
        for (int d = 0; d < DIM; d++)
            mean[d] += (double)f->embedding[k * DIM + d] / (double)f->n;
    for (int d = 0; d < DIM; d++) {
        double a = (double)f->embedding[i * DIM + d] - mean[d];
        double b = (double)f->embedding[j * DIM + d] - mean[d];
        ab += a * b;
        aa += a * a;
        bb += b * b;
    }
    return ab / sqrt(aa * bb);
}

/* Walked through directly: each row of the whole ranking is either too like one taken before
 * it, and then it is left out with that cosine, or it is the next of the plan. */
static void what_is_too_like_one_taken_is_dropped(void **state)
{
    (void)state;
    enum { PICKS = 20 };
    struct features f, v;
    struct plan whole, p;
    struct plan_report r;
    make_features(&f, N, 15);
    make_features(&v, N_VAL, 16);
    float *x = (float *)(uintptr_t)f.embedding;
    for (int i = 0; i < N * DIM; i++)
        x[i] += 3; /* all alike, until they are centred */
    static const char *const names[] = {"loss", "random", "rds", "self-paced"};
    for (int m = 0; m < 4; m++) {
        struct plan_request q = request(names[m], &f);
        q.val = &v;
        q.n_steps = N / q.batch;
        if (m < 3) {
            make(&whole, &r, &q);
            plan_report_free(&r);
        }
        q.n_steps = PICKS / q.batch;
        q.max_cosine = 0.8;
        make(&p, &r, &q);
        int64_t n = 0, n_dropped = 0;
        for (int64_t k = 0; m < 3 && n < PICKS; k++) {
            double most = -1;
            for (int64_t j = 0; j < n; j++)
                most = fmax(most, centred_cosine(&f, whole.pick[k], p.pick[j]));
            assert_true(fabs(most - 0.8) > 1e-5); /* on neither side by rounding */
            n_dropped += most > 0.8;
            if (most < 0.8)
                assert_int_equal(p.pick[n++], whole.pick[k]);
        }
        if (m < 3) {
            assert_int_equal(r.n_left_out, n_dropped);
            assert_true(n_dropped > 3);
            plan_free(&whole);
        }
        for (int64_t k = 0; k < r.n_left_out; k++) {
            assert_string_equal(r.left_out[k].why, "too like a record already taken");
            assert_true(r.left_out[k].value > 0.8);
            assert_true(!k || r.left_out[k].row > r.left_out[k - 1].row);
        }
        for (int64_t j = 0; j < PICKS; j++)
            for (int64_t k = 0; k < j; k++)
                assert_true(centred_cosine(&f, p.pick[j], p.pick[k]) < 0.8 + 1e-6);
        done(&p, &r);
    }
    struct plan_request q = request("loss", &f);
    q.max_cosine = 0.01;
    q.n_steps = 10;
    refuses(&q, ERR_RANGE, "loss: 50 records wanted, ");
    free_made(&f);
    free_made(&v);
}

/* Features of the n records of a JSON lines text, which stays in *d. */
static void features_of(struct features *f, struct dataset *d, const char *text, int64_t n)
{
    char path[] = "/tmp/raise-plan-XXXXXX";
    struct err e = ERR_INIT;
    const struct data_options o = {.on_error = DATA_SKIP};
    close(mkstemp(path));
    assert_int_equal(file_write_all(path, text, strlen(text), &e), 0);
    assert_int_equal(dataset_read(d, path, &o, &e), 0);
    unlink(path);
    make_features(f, n, 11);
    uint64_t *hash = (uint64_t *)(uintptr_t)f->hash;
    int64_t *source = (int64_t *)(uintptr_t)f->source;
    for (int64_t i = 0; i < n; i++) {
        source[i] = i;
        hash[i] = d->records[i].hash;
    }
}

static void judges_marks_rank(void **state)
{
    (void)state;
    struct features f;
    struct dataset d;
    struct plan p;
    struct plan_report r;
    features_of(&f, &d,
                "{\"instruction\":\"a\",\"output\":\"b\",\"c\":2,\"q\":3,\"s\":4.5}\n"
                "{\"instruction\":\"c\",\"output\":\"d\",\"c\":5,\"q\":1,\"s\":4.4}\n"
                "{\"instruction\":\"e\",\"output\":\"f\",\"c\":6,\"s\":5}\n"
                "{\"instruction\":\"g\",\"output\":\"h\",\"c\":\"4\",\"q\":4}\n",
                4);
    struct plan_request q = request("deita", &f);
    q.data = &d;
    q.field = "c,q";
    q.n_steps = 3;
    q.batch = 1;
    make(&p, &r, &q); /* 16, 6, 5 */
    assert_int_equal(p.pick[0], 3);
    assert_int_equal(p.pick[1], 0);
    assert_int_equal(p.pick[2], 1);
    assert_true((int)p.pick_score[0] == 16 && (int)p.pick_score[2] == 5);
    assert_int_equal(r.n_left_out, 1);
    assert_int_equal(r.left_out[0].row, 2);
    assert_string_equal(r.left_out[0].why, "no number in the field");
    done(&p, &r);
    static const char *const bad[] = {"c", "c,", ",q", "c,q,s"};
    for (int k = 0; k < 4; k++) {
        q.field = bad[k];
        refuses(&q, ERR_RANGE, "deita: two fields are wanted, as complexity,quality: \"");
    }
    q.field = "c,none";
    refuses(&q, ERR_EMPTY, "no record has a number in \"none\"");
    q = request("alpagasus", &f);
    q.data = &d;
    q.field = "s";
    q.n_steps = 2;
    q.batch = 1;
    make(&p, &r, &q);
    assert_int_equal(p.pick[0], 2);
    assert_int_equal(p.pick[1], 0);
    assert_int_equal(r.n_left_out, 2);
    assert_string_equal(r.left_out[0].why, "rating below 4.5");
    assert_true(r.left_out[0].row == 1 && r.left_out[0].value < 4.41);
    done(&p, &r);
    q.field = "q"; /* on another scale */
    refuses(&q, ERR_EMPTY, "alpagasus: no record has a score");
    dataset_free(&d);
    free_made(&f);
}

/* ---- best-of ---- */

/* An episode of 3 steps over 2 classes that ends at -loss; its picks begin with row `first`. */
static void make_episode(struct traj *t, int64_t first, double loss)
{
    traj_init(t, 3, 2, 6);
    snprintf(t->status, sizeof t->status, "ok");
    t->n_picks = 6;
    t->features = 7;
    t->dataset = 8;
    for (int k = 0; k < 6; k++) {
        t->pick[k] = first + k;
        t->source[k] = 10 * t->pick[k];
        t->record_hash[k] = (uint64_t)(100 + t->pick[k]);
        t->list_offset[k + 1] = k + 1;
    }
    t->list_offset[3] = 4; /* steps of 2, 2, 2 by lists of 1 1, 2 0, 1 1 */
    for (int s = 0; s <= 3; s++)
        t->perf[s] = s < 3 ? -(double)s : -loss; /* only the end counts */
}

static void best_of_is_the_least_final_loss(void **state)
{
    (void)state;
    static const char *const names[] = {"one", "two", "three", "four"};
    static const double losses[] = {1.5, 1.2, 1.2, 0.1};
    struct err e = ERR_INIT;
    struct traj t[4];
    struct plan p;
    for (int k = 0; k < 4; k++)
        make_episode(&t[k], 10 * k, losses[k]);
    traj_end(&t[3], 3, "diverged");
    assert_int_equal(best_episode(t, names, 4, &e), 1);
    best_plan(&p, &t[1]);
    assert_int_equal(p.n_steps, 3);
    assert_int_equal(p.n_picks, 6);
    for (int k = 0; k < 6; k++) {
        assert_int_equal(p.pick[k], 10 + k);
        assert_int_equal(p.source[k], 100 + 10 * k);
        assert_true(p.record_hash[k] == (uint64_t)(110 + k) && isnan(p.pick_score[k]));
    }
    for (int s = 0; s <= 3; s++)
        assert_int_equal(p.step_offset[s], 2 * s);
    assert_string_equal(p.method, "best-of");
    assert_true(p.features == 7 && p.dataset == 8);
    plan_free(&p);
    t[2].validation = 1;
    t[0].validation = 2;
    t[1].validation = 2;
    assert_int_equal(best_episode(t, names, 4, &e), ERR_MISMATCH);
    assert_non_null(strstr(e.msg, "two and three: episodes with other "));
    t[2].validation = 2;
    t[2].n_picks = 5;
    assert_int_equal(best_episode(t, names, 4, &e), ERR_MISMATCH);
    assert_non_null(strstr(e.msg, "6 records in 3 steps, and 5 in 3"));
    assert_int_equal(best_episode(t + 3, names, 1, &e), ERR_EMPTY);
    assert_int_equal(best_episode(t, names, 0, &e), ERR_EMPTY);
    for (int k = 0; k < 4; k++)
        traj_free(&t[k]);
    struct features f;
    make_features(&f, N, 17);
    struct plan_request q = request("best-of", &f);
    refuses(&q, ERR_UNSUPPORTED, "best-of: chooses by no features");
    free_made(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(epochs_go_through_all),
        cmocka_unit_test(self_paced_goes_from_easy_to_hard),
        cmocka_unit_test(what_is_too_like_one_taken_is_dropped),
        cmocka_unit_test(judges_marks_rank),
        cmocka_unit_test(best_of_is_the_least_final_loss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
