/* SPDX-License-Identifier: MIT
 * lm/shared: the same losses as without sharing, on the tiny models of tests/fixtures/lm, in a
 * cache of any size; and what is refused. */
#include "base/mem.h"
#include "base/rng.h"
#include "lm/batch.h"
#include "lm/lm.h"

#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_GROUPS = 4, N_SEQS = 12, V = 83 };
static const int64_t group_first[N_GROUPS + 1] = {0, 1, 6, 8, 12};
static const int64_t n_shared[N_GROUPS] = {3, 11, 1, 7};
static const struct lm_groups groups = {group_first, n_shared, N_GROUPS};

static struct lm *open_tiny(const char *name, int64_t micro_tokens, int64_t n_slots)
{
    struct err e = ERR_INIT;
    struct lm_options o = LM_OPTIONS_DEFAULTS;
    const char *tests = getenv("RAISE_TESTS");
    o.precision = LM_PRECISION_FP32;
    o.device = "cpu";
    o.micro_tokens = micro_tokens;
    o.n_slots = n_slots;
    char *path = mem_printf("%s/fixtures/lm/%s", tests ? tests : "tests", name);
    char *adapter = mem_printf("%s/adapter", path);
    struct lm *m = lm_open(path, &o, &e);
    if (!m || lm_load_adapter(m, adapter, &e) < 0)
        fail_msg("%s", e.msg);
    free(path);
    free(adapter);
    return m;
}

/* Sequences of 2 to 6 tokens behind what their group shares; the third has no target. */
static struct lm_pack make_sequences(void)
{
    struct lm_pack p = {0};
    for (int64_t g = 0; g < N_GROUPS; g++)
        for (int64_t s = group_first[g]; s < group_first[g + 1]; s++) {
            int32_t ids[32];
            uint8_t is_loss[32] = {0};
            int64_t n = n_shared[g] + 2 + s % 5;
            for (int64_t i = 0; i < n; i++) {
                uint64_t who = (uint64_t)(i < n_shared[g] ? 100 + g : s);
                ids[i] = (int32_t)(rng_hash(5, who, (uint64_t)i, 0) % V);
                is_loss[i] = s != 2 && i > n_shared[g] && (i + s) % 3 > 0;
            }
            is_loss[n - 1] |= s == 4;
            lm_pack_add(&p, ids, is_loss, n);
        }
    return p;
}

static const struct {
    int64_t micro, n_slots;
} rooms[] = {{4096, 0}, {4096, 2}, {9, 2}, {24, 3}, {1, 5}};
static const char *const families[] = {"llama", "mistral", "qwen2", "qwen3"};

static void losses_are_those_without_sharing(void **state)
{
    (void)state;
    struct lm_pack p = make_sequences();
    const struct lm_batch b = lm_pack_batch(&p);
    for (size_t f = 0; f < sizeof families / sizeof *families; f++)
        for (size_t k = 0; k < sizeof rooms / sizeof *rooms; k++) {
            double want[N_SEQS], nll[N_SEQS];
            int64_t n_want[N_SEQS], count[N_SEQS];
            struct err e = ERR_INIT;
            struct lm *m = open_tiny(families[f], rooms[k].micro, rooms[k].n_slots);
            assert_int_equal(lm_nll(m, &b, want, n_want, NULL), 0);
            if (lm_shared_nll(m, &b, &groups, NULL, nll, count, &e) < 0)
                fail_msg("%s", e.msg);
            assert_memory_equal(count, n_want, sizeof count);
            assert_true(count[2] == 0 && count[4] > 0);
            for (int i = 0; i < N_SEQS; i++)
                if (!(fabs(nll[i] - want[i]) <= 2e-6 * (1 + want[i])))
                    fail_msg("%s, room %zu, sequence %d: %.9g, not %.9g", families[f], k, i,
                             nll[i], want[i]);
            lm_close(m);
        }
    lm_pack_free(&p);
}

static void candidates_are_those_without_sharing(void **state)
{
    (void)state;
    struct lm_pack p = make_sequences();
    const struct lm_batch b = lm_pack_batch(&p);
    int32_t ids[3 * N_SEQS];
    int64_t offsets[N_SEQS + 1] = {0};
    for (int s = 0; s < N_SEQS; s++) {
        offsets[s + 1] = offsets[s] + s % 4; /* none after some */
        for (int64_t i = offsets[s]; i < offsets[s + 1]; i++)
            ids[i] = (int32_t)(7 * i % V);
    }
    const struct lm_next next = {ids, offsets};
    for (size_t k = 0; k < sizeof rooms / sizeof *rooms; k++) {
        double want[3 * N_SEQS], nll[3 * N_SEQS];
        struct err e = ERR_INIT;
        struct lm *m = open_tiny("qwen3", rooms[k].micro, rooms[k].n_slots);
        assert_int_equal(lm_next_nll(m, &b, &next, want, NULL), 0);
        if (lm_shared_nll(m, &b, &groups, &next, nll, NULL, &e) < 0)
            fail_msg("%s", e.msg);
        for (int64_t i = 0; i < offsets[N_SEQS]; i++)
            assert_true(fabs(nll[i] - want[i]) <= 2e-6 * (1 + want[i]));
        lm_close(m);
    }
    lm_pack_free(&p);
}

static void threads_change_no_byte(void **state)
{
    (void)state;
    struct lm_pack p = make_sequences();
    const struct lm_batch b = lm_pack_batch(&p);
    double nll[2][N_SEQS];
    int before = omp_get_max_threads();
    struct lm *m = open_tiny("llama", 4096, 2);
    for (int i = 0; i < 2; i++) {
        omp_set_num_threads(1 + 2 * i);
        assert_int_equal(lm_shared_nll(m, &b, &groups, NULL, nll[i], NULL, NULL), 0);
    }
    omp_set_num_threads(before);
    assert_memory_equal(nll[0], nll[1], sizeof nll[0]);
    lm_close(m);
    lm_pack_free(&p);
}

static void groups_that_are_none_are_refused(void **state)
{
    (void)state;
    struct lm_pack p = make_sequences();
    struct lm_batch b = lm_pack_batch(&p);
    double nll[N_SEQS];
    struct err e = ERR_INIT;
    struct lm *m = open_tiny("llama", 4096, 2);
    const int64_t short_first[] = {0, 3};
    const struct lm_groups few = {short_first, n_shared, 1};
    assert_int_equal(lm_shared_nll(m, &b, &few, NULL, nll, NULL, &e), ERR_RANGE);
    assert_string_equal(e.msg, "groups: do not run from 0 to 12");
    static const int64_t bad[][N_GROUPS] = {{0, 11, 1, 7}, {5, 11, 1, 7}, {3, 12, 1, 7}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const struct lm_groups g = {group_first, bad[i], N_GROUPS};
        assert_int_equal(lm_shared_nll(m, &b, &g, NULL, nll, NULL, &e), ERR_RANGE);
        assert_non_null(strstr(e.msg, " of the batch: does not go on from "));
    }
    p.is_loss[b.offsets[6] + 1] = 1; /* would be predicted by what is shared */
    assert_int_equal(lm_shared_nll(m, &b, &groups, NULL, nll, NULL, &e), ERR_RANGE);
    assert_string_equal(e.msg, "sequence 6 of the batch: does not go on from 1 shared tokens");
    lm_close(m);
    lm_pack_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_are_those_without_sharing),
        cmocka_unit_test(candidates_are_those_without_sharing),
        cmocka_unit_test(threads_change_no_byte),
        cmocka_unit_test(groups_that_are_none_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
