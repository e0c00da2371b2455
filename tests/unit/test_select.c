/* SPDX-License-Identifier: MIT
 * policy/select: quotas, Plackett-Luce draws against their own distribution, log-probabilities
 * against enumeration and finite differences, the mask. */
#include "base/mem.h"
#include "base/rng.h"
#include "policy/select.h"

#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* cmocka's assert_float_equal would round both to float. */
static void assert_close(double got, double want, double tolerance)
{
    if (!(fabs(got - want) <= tolerance))
        fail_msg("%.17g, not %.17g", got, want);
}

/* ---- quotas ---- */

static void quotas_follow_the_rule(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        int64_t n_classes, batch, available[4], want[4];
    } cases[] = {
        {"even", 4, 16, {100, 100, 100, 100}, {4, 4, 4, 4}},
        {"the rest goes to the largest", 4, 6, {9, 10, 8, 10}, {1, 2, 1, 2}},
        {"ties go to the lowest class", 4, 5, {10, 10, 10, 10}, {2, 1, 1, 1}},
        {"ties again, one each", 3, 5, {10, 10, 10}, {2, 2, 1}},
        {"a small class hands its quota on", 3, 12, {1, 50, 50}, {1, 6, 5}},
        {"an exhausted class", 3, 9, {0, 5, 20}, {0, 3, 6}},
        {"more than there is", 3, 100, {1, 2, 3}, {1, 2, 3}},
        {"as many as there are", 2, 5, {2, 3}, {2, 3}},
        {"more classes than places", 4, 2, {3, 5, 4, 5}, {0, 1, 0, 1}},
        {"one class", 1, 7, {9}, {7}},
        {"nothing is left", 2, 7, {0, 0}, {0, 0}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t quota[4] = {-1, -1, -1, -1};
        select_quotas(cases[i].available, cases[i].n_classes, cases[i].batch, quota);
        for (int64_t c = 0; c < cases[i].n_classes; c++)
            if (quota[c] != cases[i].want[c])
                fail_msg("%s: class %lld gets %lld, not %lld", cases[i].what, (long long)c,
                         (long long)quota[c], (long long)cases[i].want[c]);
    }
}

/* ---- draws ---- */

/* Probability of an ordered list by the definition: each pick from a softmax over the rest. */
static double list_probability(const double *z, int n, const int64_t *list, int b)
{
    double p = 1;
    for (int k = 0; k < b; k++) {
        double sum = 0;
        for (int j = 0; j < n; j++) {
            bool is_gone = false;
            for (int m = 0; m < k; m++)
                is_gone = is_gone || list[m] == j;
            sum += is_gone ? 0 : exp(z[j]);
        }
        p *= exp(z[list[k]]) / sum;
    }
    return p;
}

/* Chi-square of 40,000 draws of 2 out of 5 over the 20 ordered lists. 19 degrees of freedom:
 * above 43.8 with probability 0.001 under the right distribution. Draws in one order only, or
 * with replacement, or with tau ignored, give hundreds. */
static void quotas_are_told(void **state)
{
    (void)state;
    static const struct {
        int64_t size[9], n_classes, batch;
        const char *text;
    } cases[] = {
        {{50, 40}, 2, 8, "each class gives 4 of every 8"},
        {{50, 40}, 2, 9, "class 0 gives 5, class 1 gives 4 of every 9"},
        {{50, 2, 40}, 3, 12, "class 0 gives 6, class 1 gives 2, class 2 gives 4 of every 12"},
        {{9, 8, 8, 8, 8, 8, 8, 8, 8},
         9,
         10,
         "class 0 gives 2, class 1 gives 1, class 2 gives 1, class 3 gives 1, class 4 gives 1, "
         "class 5 gives 1, class 6 gives 1, class 7 gives 1 ... of every 10"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = select_quotas_text(cases[i].size, cases[i].n_classes, cases[i].batch);
        assert_string_equal(text, cases[i].text);
        free(text);
    }
}

static void draws_follow_plackett_luce(void **state)
{
    (void)state;
    enum { N = 5, DRAWS = 40000 };
    static const int32_t class_of[N];
    static const float scores[N] = {0.5F, -1, 0, 2, 1};
    const double tau = 1.5;
    double z[N], count[N][N] = {{0}}, chi = 0, sum_p = 0;
    struct selector *s = selector_new(N, class_of, 1);
    for (int j = 0; j < N; j++)
        z[j] = (double)scores[j] / tau;
    for (int i = 0; i < DRAWS; i++) {
        int64_t picks[2], offset[2];
        double logp;
        struct select_options o = {.batch = 2, .tau = tau, .seed = (uint64_t)i, .step = 1};
        selector_reset(s);
        assert_int_equal(select_batch(s, scores, &o, picks, offset, &logp, NULL), 2);
        count[picks[0]][picks[1]]++;
        assert_close(logp, log(list_probability(z, N, picks, 2)), 1e-12);
    }
    for (int64_t a = 0; a < N; a++)
        for (int64_t b = 0; b < N; b++) {
            if (a == b) {
                assert_true(count[a][b] == 0);
                continue;
            }
            double p = list_probability(z, N, (int64_t[]){a, b}, 2), want = p * DRAWS;
            sum_p += p;
            chi += pow(count[a][b] - want, 2) / want;
        }
    assert_close(sum_p, 1, 1e-12);
    if (chi > 43.8)
        fail_msg("chi-square %.1f with 19 degrees of freedom", chi);
    selector_free(s);
}

static void steps_and_seeds_draw_apart(void **state)
{
    (void)state;
    enum { N = 1000 };
    static const int32_t class_of[N];
    static const float scores[N];
    int64_t first[8], picks[8], offset[2];
    double logp;
    struct selector *s = selector_new(N, class_of, 1);
    for (int i = 0; i < 3; i++) {
        struct select_options o = {.batch = 8, .tau = 1, .seed = i == 1 ? 7 : 6, .step = 1};
        o.step += i == 2;
        selector_reset(s);
        assert_int_equal(select_batch(s, scores, &o, picks, offset, &logp, NULL), 8);
        if (i)
            assert_memory_not_equal(first, picks, sizeof picks);
        else
            memcpy(first, picks, sizeof picks);
    }
    selector_free(s);
}

static void greedy_takes_the_best_and_breaks_ties_by_hash(void **state)
{
    (void)state;
    enum { N = 200 };
    int32_t class_of[N];
    float scores[N];
    int64_t picks[6], offset[3], first[6];
    double logp[2];
    struct select_options o = {.batch = 6, .tau = 1, .is_greedy = true, .seed = 1, .step = 1};
    for (int i = 0; i < N; i++) {
        class_of[i] = i & 1;
        scores[i] = (float)(i % 50);
    }
    struct selector *s = selector_new(N, class_of, 2);
    /* 49, 99, 149, 199 share the highest score of class 1, four rows for three places. */
    assert_int_equal(select_batch(s, scores, &o, picks, offset, logp, NULL), 6);
    for (int k = 0; k < 6; k++) {
        assert_int_equal(class_of[picks[k]], k / 3);
        assert_int_equal(picks[k] % 50, k < 3 ? 48 : 49);
        assert_int_equal(selector_counts(s)[picks[k]], 1);
    }
    assert_true(logp[0] == 0 && logp[1] == 0);
    memcpy(first, picks, sizeof picks);
    bool differs = false;
    for (o.seed = 2; o.seed < 8; o.seed++) {
        selector_reset(s);
        assert_int_equal(select_batch(s, scores, &o, picks, offset, logp, NULL), 6);
        differs = differs || memcmp(first, picks, sizeof picks) != 0;
    }
    assert_true(differs);
    selector_free(s);
}

/* ---- the mask ---- */

static void used_rows_are_masked_until_none_is_left(void **state)
{
    (void)state;
    enum { N = 10 };
    static const int32_t class_of[N] = {0, 0, 0, 0, 0, 0, 0, 1, 1, 1};
    static const float scores[N];
    int64_t picks[4], offset[3];
    double logp[2];
    struct selector *s = selector_new(N, class_of, 2);
    for (int64_t t = 1; t <= 5; t++) {
        struct select_options o = {.batch = 4, .tau = 1, .seed = 3, .step = t};
        int64_t least = 9, largest = 0;
        uint16_t before[N];
        memcpy(before, selector_counts(s), sizeof before);
        assert_int_equal(select_batch(s, scores, &o, picks, offset, logp, NULL), 4);
        for (int i = 0; i < N; i++) {
            int64_t n = selector_counts(s)[i];
            assert_true(n - before[i] == 0 || n - before[i] == 1);
            least = n < least ? n : least;
            largest = n > largest ? n : largest;
        }
        /* Ten rows in steps of four: the third takes the two that are left and two of the next
         * round, and the fifth ends it. */
        assert_int_equal(largest, t < 3 ? 1 : 2);
        assert_int_equal(least, t < 3 ? 0 : t < 5 ? 1 : 2);
        if (t != 3)
            continue;
        double want = 0;
        for (int c = 0; c < 2; c++) {
            int64_t n_over = 0, n = c ? 3 : 7;
            while (offset[c] + n_over < offset[c + 1] && !before[picks[offset[c] + n_over]])
                n_over++;
            /* Flat scores: each draw is one of those that are left. */
            for (int64_t i = offset[c] + n_over; i < offset[c + 1]; i++) {
                assert_int_equal(before[picks[i]], 1);
                want -= log((double)(n - n_over - (i - offset[c] - n_over)));
            }
        }
        assert_close(logp[0] + logp[1], want, 1e-12);
    }
    /* Replayed: the same availability. */
    struct selector *r = selector_new(N, class_of, 2);
    const int64_t all[N] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    selector_mark(r, all, N);
    assert_false(selector_is_available(r, 4));
    selector_clear(r);
    assert_true(selector_is_available(r, 4));
    assert_int_equal(selector_counts(r)[4], 1);
    selector_free(r);
    selector_free(s);
}

static void repeats_choose_again(void **state)
{
    (void)state;
    static const int32_t class_of[3];
    static const float scores[3] = {0, 5, 1};
    int64_t picks[2], offset[2];
    double logp;
    struct selector *s = selector_new(3, class_of, 1);
    for (int64_t t = 1; t <= 3; t++) {
        struct select_options o = {.batch = 2, .is_greedy = true, .has_repeats = true};
        o.tau = 1;
        o.step = t;
        assert_int_equal(select_batch(s, scores, &o, picks, offset, &logp, NULL), 2);
        assert_int_equal(picks[0], 1);
        assert_int_equal(picks[1], 2);
        assert_int_equal(selector_counts(s)[1], t);
    }
    selector_free(s);
}

static void bad_scores_are_named(void **state)
{
    (void)state;
    static const int32_t class_of[4];
    static const float scores[4] = {0, 1, NAN, INFINITY};
    int64_t picks[2], offset[2];
    double logp;
    struct err e = ERR_INIT;
    struct select_options o = {.batch = 2, .tau = 1, .seed = 1, .step = 5};
    struct selector *s = selector_new(4, class_of, 1);
    assert_int_equal(select_batch(s, scores, &o, picks, offset, &logp, &e), ERR_NONFINITE);
    assert_string_equal(e.msg, "step 5: the score of row 2 is not finite");
    assert_int_equal(selector_counts(s)[0] + selector_counts(s)[1], 0);
    selector_free(s);
}

static void threads_do_not_change_a_draw(void **state)
{
    (void)state;
    enum { N = 300001, B = 64, C = 3 };
    int32_t *class_of = mem_alloc(N, sizeof *class_of);
    float *scores = mem_alloc(N, sizeof *scores);
    struct rng r;
    rng_init(&r, 5, 0);
    for (int i = 0; i < N; i++) {
        class_of[i] = (int32_t)rng_below(&r, C);
        scores[i] = (float)(3 * rng_normal(&r));
    }
    for (int greedy = 0; greedy < 2; greedy++) {
        int64_t picks[3][B], offset[3][C + 1];
        double logp[3][C];
        const int threads[] = {1, 2, 5};
        for (int k = 0; k < 3; k++) {
            struct select_options o = {.batch = B, .tau = 0.7, .seed = 9, .step = 1};
            o.is_greedy = greedy;
            omp_set_num_threads(threads[k]);
            struct selector *s = selector_new(N, class_of, C);
            for (o.step = 1; o.step < 4; o.step++)
                assert_int_equal(
                    select_batch(s, scores, &o, picks[k], offset[k], logp[k], NULL), B);
            selector_free(s);
            assert_memory_equal(picks[0], picks[k], sizeof *picks);
            assert_memory_equal(offset[0], offset[k], sizeof *offset);
            assert_memory_equal(logp[0], logp[k], sizeof *logp);
        }
    }
    omp_set_num_threads(omp_get_num_procs());
    free(class_of);
    free(scores);
}

/* ---- log-probability and gradient ---- */

struct pl_case {
    const char *what;
    int n, b;
    double scale;
};
static const struct pl_case pl_cases[] = {
    {"some of many", 7, 3, 1},     {"all of them", 4, 4, 1},    {"one", 6, 1, 1},
    {"one of one", 1, 1, 1},       {"sharp", 9, 4, 10},         {"very sharp", 9, 4, 60},
    {"all, very sharp", 5, 5, 60}, {"nothing picked", 5, 0, 1},
};
enum { N_PL_CASES = sizeof pl_cases / sizeof *pl_cases, MAX_PL = 9 };

/* Long double makes the definition exact enough at every scale used here. */
static double direct_logp(const double *z, int n, const int64_t *list, int b)
{
    long double logp = 0;
    for (int k = 0; k < b; k++) {
        long double sum = 0;
        for (int j = 0; j < n; j++) {
            bool is_gone = false;
            for (int m = 0; m < k; m++)
                is_gone = is_gone || list[m] == j;
            sum += is_gone ? 0 : expl((long double)z[j] - (long double)z[list[k]]);
        }
        logp -= logl(sum);
    }
    return (double)logp;
}

static void make_case(const struct pl_case *x, uint64_t seed, double *z, int64_t *list)
{
    struct rng r;
    int64_t order[MAX_PL];
    rng_init(&r, seed, 1);
    for (int j = 0; j < x->n; j++) {
        z[j] = x->scale * rng_normal(&r);
        order[j] = j;
    }
    rng_shuffle(&r, order, x->n);
    memcpy(list, order, (size_t)x->b * sizeof *list);
}

static void logp_is_plackett_luce(void **state)
{
    (void)state;
    for (int i = 0; i < N_PL_CASES; i++)
        for (uint64_t seed = 0; seed < 20; seed++) {
            double z[MAX_PL];
            int64_t list[MAX_PL];
            make_case(&pl_cases[i], seed, z, list);
            double got = pl_logp(z, pl_cases[i].n, list, pl_cases[i].b, NULL, NULL);
            double want = direct_logp(z, pl_cases[i].n, list, pl_cases[i].b);
            if (!(fabs(got - want) <= 1e-12 * (1 + fabs(want))))
                fail_msg("%s: log pi %.17g, not %.17g", pl_cases[i].what, got, want);
        }
}

/* All ordered pairs out of five: their probabilities sum to one. */
static void lists_sum_to_one(void **state)
{
    (void)state;
    const double z[5] = {0.3, -2, 1.7, 0, 4};
    double sum = 0;
    for (int64_t a = 0; a < 5; a++)
        for (int64_t b = 0; b < 5; b++)
            if (a != b)
                sum += exp(pl_logp(z, 5, (int64_t[]){a, b}, 2, NULL, NULL));
    assert_close(sum, 1, 1e-12);
}

/* Central differences with step h: error about h^2 |f'''| / 6 + 1e-16 |f| / h. */
static void gradient_is_the_slope_and_sums_to_zero(void **state)
{
    (void)state;
    const double h = 1e-4;
    for (int i = 0; i < N_PL_CASES; i++)
        for (uint64_t seed = 0; seed < 20; seed++) {
            const struct pl_case *x = &pl_cases[i];
            double z[MAX_PL], grad[MAX_PL], sum = 0;
            int64_t list[MAX_PL];
            make_case(x, seed, z, list);
            pl_logp(z, x->n, list, x->b, grad, NULL);
            for (int j = 0; j < x->n; j++) {
                double at = z[j];
                z[j] = at + h;
                double up = direct_logp(z, x->n, list, x->b);
                z[j] = at - h;
                double down = direct_logp(z, x->n, list, x->b);
                z[j] = at;
                double want = (up - down) / (2 * h);
                if (!(fabs(grad[j] - want) < 1e-8 * (1 + x->scale)))
                    fail_msg("%s, row %d: slope %.12g, not %.12g", x->what, j, grad[j], want);
                sum += grad[j];
            }
            if (!(fabs(sum) < 1e-12 * MAX_PL))
                fail_msg("%s: the gradient sums to %g", x->what, sum);
        }
}

static void entropy_is_that_of_the_softmax(void **state)
{
    (void)state;
    const double flat[4] = {7, 7, 7, 7}, peaked[3] = {0, -1000, -1000}, z[3] = {0, 1, 2};
    double h, want = 0, sum = 1 + exp(1) + exp(2);
    pl_logp(flat, 4, NULL, 0, NULL, &h);
    assert_close(h, log(4), 1e-12);
    pl_logp(peaked, 3, NULL, 0, NULL, &h);
    assert_close(h, 0, 1e-12);
    pl_logp(z, 3, NULL, 0, NULL, &h);
    for (int j = 0; j < 3; j++)
        want -= exp(z[j]) / sum * log(exp(z[j]) / sum);
    assert_close(h, want, 1e-12);
}

static int by_value(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

/* One list: the best, shuffled by the seed; more than there are rows: whole rounds, then the
 * best of the rest. */
static void the_best_are_shuffled_once(void **state)
{
    (void)state;
    enum { ROWS = 50, MOST = 120 };
    float scores[ROWS];
    int64_t one[MOST], two[MOST], other[MOST];
    struct err e = ERR_INIT;
    for (int i = 0; i < ROWS; i++)
        scores[i] = (float)(i * 7 % ROWS); /* each value once */
    for (int64_t n = 20; n <= MOST; n += 50) {
        int64_t from = n - n % ROWS;
        assert_int_equal(select_best(scores, ROWS, n, 1, one, &e), 0);
        assert_int_equal(select_best(scores, ROWS, n, 1, two, &e), 0);
        assert_int_equal(select_best(scores, ROWS, n, 2, other, &e), 0);
        assert_memory_equal(one, two, (size_t)n * sizeof *one);
        assert_memory_not_equal(one, other, (size_t)n * sizeof *one);
        int n_falls = 0;
        for (int64_t i = from + 1; i < n; i++)
            n_falls += scores[one[i]] < scores[one[i - 1]];
        assert_true(n_falls < n - from - 1); /* not the best first */
        for (int64_t at = 0; at < n; at += ROWS) {
            int64_t width = at < from ? ROWS : n - from, n_at_home = 0;
            for (int64_t i = 0; i < width; i++)
                n_at_home += one[at + i] == i;
            assert_true(n_at_home < width / 2); /* whole rounds are shuffled, too */
            qsort(one + at, (size_t)width, sizeof *one, by_value);
            for (int64_t i = 0; i < width; i++) {
                assert_true(i == 0 || one[at + i] > one[at + i - 1]);
                assert_true(at < from || scores[one[at + i]] >= (float)(ROWS - width));
            }
        }
    }
    scores[3] = (float)NAN;
    assert_int_equal(select_best(scores, ROWS, 10, 1, one, &e), ERR_NONFINITE);
    assert_string_equal(e.msg, "the score of row 3 is not finite");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quotas_follow_the_rule),
        cmocka_unit_test(quotas_are_told),
        cmocka_unit_test(draws_follow_plackett_luce),
        cmocka_unit_test(steps_and_seeds_draw_apart),
        cmocka_unit_test(greedy_takes_the_best_and_breaks_ties_by_hash),
        cmocka_unit_test(used_rows_are_masked_until_none_is_left),
        cmocka_unit_test(repeats_choose_again),
        cmocka_unit_test(bad_scores_are_named),
        cmocka_unit_test(threads_do_not_change_a_draw),
        cmocka_unit_test(logp_is_plackett_luce),
        cmocka_unit_test(lists_sum_to_one),
        cmocka_unit_test(gradient_is_the_slope_and_sums_to_zero),
        cmocka_unit_test(entropy_is_that_of_the_softmax),
        cmocka_unit_test(the_best_are_shuffled_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
