/* SPDX-License-Identifier: MIT
 * lm/share: what sequences begin with alike is worked on once, and nothing else changes:
 * losses, embeddings, candidates, gradients beside those of sequences kept apart, on the tiny
 * models of tests/fixtures/lm; and which rows are shared, by hand. */
#include "base/mem.h"
#include "base/rng.h"
#include "lm/model.h"

#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct lm *open_tiny(const char *name, const char *device, enum lm_tuning tuning,
                            int64_t micro_tokens, bool is_apart)
{
    struct err e = ERR_INIT;
    struct lm_options o = LM_OPTIONS_DEFAULTS;
    const char *tests = getenv("RAISE_TESTS");
    char *path = mem_printf("%s/fixtures/lm/%s", tests ? tests : "tests", name);
    o.precision = LM_PRECISION_FP32;
    o.device = device;
    o.tuning = tuning;
    o.lora_rank = 3;
    o.micro_tokens = micro_tokens;
    o.is_apart = is_apart;
    struct lm *m = lm_open(path, &o, &e);
    free(path);
    if (!m)
        fail_msg("%s", e.msg);
    for (int64_t i = 0; i < lm_n_params(m) && tuning == LM_TUNE_LORA; i++) { /* B is not 0 */
        const struct lm_param *p = lm_param_at(m, i);
        int64_t n = p->shape[0] * (p->n_dims > 1 ? p->shape[1] : 1);
        float *x = mem_alloc((size_t)n, sizeof *x);
        for (int64_t k = 0; k < n; k++)
            x[k] = (float)(0.4 * rng_hash_unit(11, (uint64_t)i, (uint64_t)k, 0) - 0.2);
        lm_param_set(m, i, x);
        free(x);
    }
    return m;
}

/* ---- rows, by hand ---- */

/* Three begin with 5 6 7, two of them with 5 6 7 8; the third's target comes early; the last
 * has nothing in common. */
static void rows_are_the_trie(void **state)
{
    (void)state;
    static const int32_t ids[] = {5, 6, 7, 8, 9, 10, 5, 6, 7, 8, 11, 5, 6, 7, 8, 3, 9, 9, 9};
    static const uint8_t is_loss[] = {0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 1, 1, 1, 0, 1, 1};
    static const int64_t offsets[] = {0, 6, 11, 16, 19};
    static const int32_t unique[] = {5, 6, 7, 8, 9, 8, 6, 7, 8, 9, 9};
    static const int32_t place[] = {0, 1, 2, 3, 4, 3, 1, 2, 3, 0, 1};
    static const int32_t spread[] = {0, 1, 2, 3, 4, 0, 1, 2, 5, 0, 6, 7, 8, 9, 10};
    static const int32_t home[] = {0, 1, 2, 3, 4, 8, 10, 11, 12, 13, 14};
    static const int32_t starts[] = {0, 3, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    static const int32_t copies[] = {0, 5, 9, 1, 6, 2, 7, 3, 4, 8, 10, 11, 12, 13, 14};
    static const int32_t rows[] = {4, 5, 6, 7, 8, 9, 10};
    static const int32_t targets[] = {10, 11, 7, 8, 3, 9, 9};
    static const int32_t scored[] = {5, 6, 7, 8, 9, 8, 8, 9, 9};
    static const int32_t scored_spread[] = {0, 1, 2, 3, 4, 0, 1, 2, 5, 0, 1, 2, 6, 7, 8};
    static const int32_t scored_rows[] = {4, 5, 1, 2, 6, 7, 8};
    const struct lm_batch b = {ids, is_loss, offsets, 4, 19};
    struct lm_piece p = {0};
    struct lm *m = open_tiny("llama", "cpu", LM_TUNE_LORA, 64, false);
    assert_int_equal(lm_piece_next(m, &b, PIECE_TARGETS, true, &p, NULL), 1);
    assert_true(p.is_shared);
    assert_int_equal(p.T, 11);
    assert_int_equal(p.T_all, 15);
    assert_memory_equal(p.ids, unique, sizeof unique);
    assert_memory_equal(p.positions, place, sizeof place);
    assert_memory_equal(p.share->at.spread, spread, sizeof spread);
    assert_memory_equal(p.share->at.home, home, sizeof home);
    assert_memory_equal(p.share->at.starts, starts, sizeof starts);
    assert_memory_equal(p.share->at.copies, copies, sizeof copies);
    assert_int_equal(p.n_rows, 7);
    assert_memory_equal(p.rows, rows, sizeof rows);
    assert_memory_equal(p.targets, targets, sizeof targets);
    assert_int_equal(lm_piece_next(m, &b, PIECE_TARGETS, true, &p, NULL), 0);
    lm_piece_free(&p);
    /* Where nothing goes backward, the third shares what predicts its first two targets. */
    p = (struct lm_piece){0};
    assert_int_equal(lm_piece_next(m, &b, PIECE_TARGETS, false, &p, NULL), 1);
    assert_int_equal(p.T, 9);
    assert_int_equal(p.T_all, 15);
    assert_memory_equal(p.ids, scored, sizeof scored);
    assert_memory_equal(p.share->at.spread, scored_spread, sizeof scored_spread);
    assert_int_equal(p.n_rows, 7);
    assert_memory_equal(p.rows, scored_rows, sizeof scored_rows);
    assert_memory_equal(p.targets, targets, sizeof targets);
    lm_piece_free(&p);
    lm_close(m);
}

/* ---- the same numbers ---- */

enum { N_SEQS = 9, MOST = 40, V = 83 };
static int32_t ids[N_SEQS * MOST];
static uint8_t is_loss[N_SEQS * MOST];
static int64_t offsets[N_SEQS + 1];

/* Five of one template, three of another that has the first's first words, one of none. Their
 * ends differ in length; one has no target. */
static struct lm_batch make_batch(void)
{
    int64_t at = 0;
    for (int s = 0; s < N_SEQS; s++) {
        int n = 20 + 2 * s, kind = s < 5 ? 0 : s < 8 ? 1 : 2;
        for (int t = 0; t < n; t++, at++) {
            uint64_t of = t < 4 && kind < 2 ? 0
                          : t < 12          ? (uint64_t)(kind + 1)
                                            : 100 + (uint64_t)s;
            ids[at] = (int32_t)(rng_hash(3, of, (uint64_t)t, 0) % V);
            is_loss[at] = s != 6 && t > 14 && rng_hash(3, 2, (uint64_t)at, 0) % 3 > 0;
        }
        offsets[s + 1] = at;
    }
    return (struct lm_batch){ids, is_loss, offsets, N_SEQS, at};
}

static void assert_close(const char *what, const float *x, const float *y, int64_t n,
                         double most)
{
    double difference = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        difference += pow((double)x[i] - (double)y[i], 2);
        size += pow((double)y[i], 2);
    }
    if (!(sqrt(difference) <= most * sqrt(size)) || !(size > 0))
        fail_msg("%s: %g of %g", what, sqrt(difference), sqrt(size));
}

static void check_gradients(const char *name, const char *device, enum lm_tuning tuning,
                            int64_t micro)
{
    const struct lm_batch b = make_batch();
    struct lm_step_stats s[2];
    struct lm *m[2];
    for (int k = 0; k < 2; k++) {
        m[k] = open_tiny(name, device, tuning, micro, k);
        assert_int_equal(lm_gradient(m[k], &b, &s[k], NULL), 0);
    }
    assert_true(fabs(s[0].loss - s[1].loss) <= 1e-6 * s[1].loss);
    assert_true(fabs(s[0].grad_norm - s[1].grad_norm) <= 1e-5 * s[1].grad_norm);
    for (int64_t i = 0; i < lm_n_params(m[0]); i++) {
        const struct lm_param *p = lm_param_at(m[0], i);
        int64_t n = p->shape[0] * (p->n_dims > 1 ? p->shape[1] : 1);
        float *g = mem_alloc(2 * (size_t)n, sizeof *g);
        lm_param_grad(m[0], i, g);
        lm_param_grad(m[1], i, g + n);
        assert_close(p->name, g, g + n, n, 3e-5);
        free(g);
    }
    lm_close(m[0]);
    lm_close(m[1]);
}

static void gradients_are_those_of_sequences_apart(void **state)
{
    static const char *const name[] = {"llama", "llama-bias", "mistral", "qwen2", "qwen3"};
    (void)state;
    for (size_t i = 0; i < sizeof name / sizeof *name; i++) {
        check_gradients(name[i], "cpu", LM_TUNE_LORA, 512);
        check_gradients(name[i], "cpu", LM_TUNE_FULL, 512);
    }
    check_gradients("llama", "ref", LM_TUNE_FULL, 512);
    check_gradients("llama", "cpu", LM_TUNE_LORA, 45); /* several pieces */
}

static void losses_and_embeddings_are_those_of_sequences_apart(void **state)
{
    static const int32_t candidate[] = {4, 9, 17, 3, 5};
    static const int64_t of[N_SEQS + 1] = {0, 2, 2, 3, 3, 3, 5, 5, 5, 5};
    (void)state;
    const struct lm_batch b = make_batch();
    const struct lm_next next = {candidate, of};
    double nll[3][N_SEQS], after[3][5];
    int64_t count[3][N_SEQS];
    float *pooled[3];
    int64_t D = 0;
    for (int k = 0; k < 3; k++) { /* two threads, one; apart */
        struct lm *m = open_tiny("qwen2", "cpu", LM_TUNE_NONE, 512, k == 2);
        omp_set_num_threads(k ? 1 : 2);
        D = lm_get_config(m)->d_model;
        pooled[k] = mem_alloc((size_t)(N_SEQS * D), sizeof(float));
        assert_int_equal(lm_embed(m, &b, N_SEQS, pooled[k], nll[k], count[k], NULL), 0);
        assert_int_equal(lm_next_nll(m, &b, &next, after[k], NULL), 0);
        lm_close(m);
    }
    assert_memory_equal(nll[0], nll[1], sizeof *nll);
    assert_memory_equal(pooled[0], pooled[1], (size_t)(N_SEQS * D) * sizeof(float));
    assert_memory_equal(count[1], count[2], sizeof *count);
    assert_close("embeddings", pooled[1], pooled[2], N_SEQS * D, 1e-6);
    for (int s = 0; s < N_SEQS; s++)
        assert_true(fabs(nll[1][s] - nll[2][s]) <= 1e-5 * (1 + nll[2][s]));
    for (int i = 0; i < 5; i++)
        assert_true(fabs(after[1][i] - after[2][i]) <= 1e-5 * after[2][i]);
    for (int k = 0; k < 3; k++)
        free(pooled[k]);
}

/* A piece holds as many rows as fit, and all rows of its sequences are bounded, too. */
static void pieces_hold_their_bounds(void **state)
{
    enum { N = 40, EACH = 30, MICRO = 64 };
    static int32_t many[N * EACH];
    static uint8_t loss[N * EACH];
    int64_t at[N + 1] = {0}, n_pieces = 0, n_seqs = 0;
    (void)state;
    for (int s = 0; s < N; s++) {
        for (int t = 0; t < EACH; t++)
            many[s * EACH + t] = t < EACH - 2 ? t % 7 : (s * 5 + t) % V;
        loss[s * EACH + EACH - 1] = 1;
        at[s + 1] = (s + 1) * EACH;
    }
    const struct lm_batch b = {many, loss, at, N, N * EACH};
    struct lm_piece p = {0};
    struct lm *m = open_tiny("llama", "cpu", LM_TUNE_NONE, MICRO, false);
    while (lm_piece_next(m, &b, PIECE_TARGETS, false, &p, NULL) > 0) {
        assert_true(p.T <= MICRO && p.T_all <= SHARE_MOST * MICRO);
        n_seqs += p.n_seqs;
        n_pieces++;
    }
    assert_int_equal(n_seqs, N);
    assert_int_equal(n_pieces, 5); /* eight of 29 rows are 232 of 256; apart they were 20 */
    lm_piece_free(&p);
    lm_close(m);
}

/* Rows that predict are no more than there is room for, however many sequences share them; of
 * two kinds of sequences, those that are pooled whole and those up to their last target. */
static void rows_of_shared_answers_have_room(void **state)
{
    enum { N = 60, EACH = 12, MICRO = 48, FIRST = 20 };
    static int32_t many[N * EACH];
    static uint8_t loss[N * EACH];
    int64_t at[N + 1] = {0};
    double nll[2][N];
    float *pooled[2];
    (void)state;
    for (int s = 0; s < N; s++) {
        for (int t = 0; t < EACH; t++) {
            many[s * EACH + t] = t < EACH - 2 ? t % 7 : (s * 5 + t) % V;
            loss[s * EACH + t] = t > 0;
        }
        at[s + 1] = (s + 1) * EACH;
    }
    const struct lm_batch b = {many, loss, at, N, N * EACH};
    struct lm_piece p = {.n_whole = FIRST};
    struct lm *m = open_tiny("llama", "cpu", LM_TUNE_NONE, MICRO, false);
    int64_t n_rows = 0, n_all = 0;
    while (lm_piece_next(m, &b, PIECE_ALL, false, &p, NULL) > 0) {
        assert_true(p.T <= MICRO && p.n_rows <= MICRO && p.is_shared);
        n_rows += p.n_rows;
        n_all += p.T_all;
    }
    assert_int_equal(n_rows, N * (EACH - 1));
    assert_int_equal(n_all, FIRST * EACH + (N - FIRST) * (EACH - 1));
    lm_piece_free(&p);
    lm_close(m);
    for (int k = 0; k < 2; k++) {
        m = open_tiny("llama", "cpu", LM_TUNE_NONE, MICRO, k);
        int64_t D = lm_get_config(m)->d_model;
        pooled[k] = mem_zalloc((size_t)((FIRST + 1) * D), sizeof(float));
        pooled[k][FIRST * D] = 7; /* is not written */
        assert_int_equal(lm_embed(m, &b, FIRST, pooled[k], nll[k], NULL, NULL), 0);
        assert_true(pooled[k][FIRST * D] == 7);
        lm_close(m);
        if (k)
            assert_close("embeddings", pooled[0], pooled[1], FIRST * D, 1e-6);
    }
    for (int s = 0; s < N; s++)
        assert_true(fabs(nll[0][s] - nll[1][s]) <= 1e-5 * nll[1][s]);
    free(pooled[0]);
    free(pooled[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_the_trie),
        cmocka_unit_test(gradients_are_those_of_sequences_apart),
        cmocka_unit_test(losses_and_embeddings_are_those_of_sequences_apart),
        cmocka_unit_test(pieces_hold_their_bounds),
        cmocka_unit_test(rows_of_shared_answers_have_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
