/* SPDX-License-Identifier: MIT
 * eval/result: means and standard errors, hashes of what was asked, files. */
#include "eval/compare.h"
#include "eval/eval.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* cmocka's own compares floats. */
static void assert_near(double x, double want, double bound)
{
    if (!(fabs(x - want) <= bound))
        fail_msg("%.17g, not %.17g", x, want);
}

static void mean_of_records_and_its_error(void **state)
{
    (void)state;
    const double value[] = {1, 0, 1, 1}, one[] = {1, 1, 1, 1};
    struct eval_estimate x = eval_estimate_of(value, one, 4);
    assert_true(x.n == 4 && x.mean == 0.75);
    /* deviation of the sample, sqrt(3/4 * 1/4 * 4/3) = 0.5, over sqrt(4) */
    assert_near(x.error, 0.25, 1e-15);
    x = eval_estimate_of(value, one, 1);
    assert_true(x.mean == 1 && isnan(x.error));
    x = eval_estimate_of(value, one, 0);
    assert_true(x.n == 0 && isnan(x.mean) && isnan(x.error));
}

static void mean_of_tokens_is_a_ratio(void **state)
{
    (void)state;
    const double value[] = {2, 9}, weight[] = {1, 3};
    struct eval_estimate x = eval_estimate_of(value, weight, 2);
    assert_near(x.mean, 11.0 / 4, 1e-15);
    /* residuals 2 - 2.75 and 9 - 8.25: sqrt(2 * 2 * 0.75^2) / 4 */
    assert_near(x.error, 1.5 / 4, 1e-15);
}

static struct eval_result sample(void)
{
    struct eval_result r = {.task = "loss", .schema = &eval_loss_schema};
    for (int i = 0; i < 4; i++) {
        struct eval_row *row = eval_result_add(&r, "a \"b\",c.jsonl", i, i + 1,
                                               i < 3 ? "one" : "two", 0xabc0u + (unsigned)i);
        if (i == 2)
            continue; /* not measured */
        row->value[0] = 1.0 / 3 + i;
        row->value[1] = 2 + i;
        row->value[2] = row->value[0] / row->value[1];
    }
    return r;
}

static void groups_have_their_own_means(void **state)
{
    (void)state;
    struct eval_result r = sample();
    int64_t n = 0;
    const char **groups = eval_groups(&r, &n);
    assert_int_equal(n, 2);
    assert_string_equal(groups[1], "two");
    struct eval_estimate x = eval_estimate(&r, &eval_loss_schema.metrics[0], "one");
    assert_int_equal(x.n, 2); /* what was not measured is in no mean */
    assert_near(x.mean, (2.0 / 3 + 1) / 5, 1e-15);
    assert_int_equal(eval_estimate(&r, &eval_loss_schema.metrics[0], NULL).n, 3);
    free(groups);
    eval_result_free(&r);
}

static void hashes_keep_parts_apart(void **state)
{
    (void)state;
    const char *parts[][2] = {{"ab", "c"}, {"a", "bc"}, {"abc", ""}};
    uint64_t hash[4];
    for (int i = 0; i < 4; i++) {
        struct eval_hash *h = eval_hash_new();
        eval_hash_add(h, i == 3, parts[i % 3][0], strlen(parts[i % 3][0]));
        eval_hash_add(h, 0, parts[i % 3][1], strlen(parts[i % 3][1]));
        hash[i] = eval_hash_end(h);
        for (int k = 0; k < i; k++)
            assert_true(hash[k] != hash[i]);
    }
}

static void rows_as_csv(void **state)
{
    (void)state;
    struct eval_result r = sample();
    struct buf b = {0};
    eval_put_csv(&b, &r);
    const char *want =
        "task,file,record,line,group,prompt,nll,tokens,mean\n"
        "loss,\"a \"\"b\"\",c.jsonl\",0,1,one,000000000000abc0,0.3333333333333333,2,"
        "0.16666666666666666\n";
    assert_memory_equal(buf_str(&b), want, strlen(want));
    assert_non_null(strstr(b.data, ",2,3,one,000000000000abc2,,,\n"));
    b.len = 0;
    eval_put_summary(&b, &r);
    assert_non_null(strstr(buf_str(&b), "\nloss,two,loss,1,0.66666666666666"));
    buf_free(&b);
    eval_result_free(&r);
}

static void sign_test_is_binomial(void **state)
{
    (void)state;
    assert_true(eval_sign_test(0, 0) == 1 && eval_sign_test(3, 3) == 1);
    assert_near(eval_sign_test(0, 6), 2.0 / 64, 1e-14);
    assert_near(eval_sign_test(6, 0), 2.0 / 64, 1e-14);
    assert_near(eval_sign_test(1, 9), 2 * 11.0 / 1024, 1e-14);
    /* the sum of binomial coefficients, exactly */
    assert_near(eval_sign_test(6800, 7200), 0.0007452325248581519, 1e-14);
}

/* Without the syncs of file.h: there are many. */
static void put_file(const char *path, const char *data, size_t len)
{
    FILE *f = fopen(path, "w");
    assert_true(f && fwrite(data, 1, len, f) == len && fclose(f) == 0);
}

/* What is written is read again, from either kind; cut somewhere, a file is an error or has
 * fewer rows. */
static void rows_come_back(void **state)
{
    (void)state;
    struct eval_result r = sample();
    for (int is_json = 0; is_json < 2; is_json++) {
        struct buf b = {0};
        struct err e = ERR_INIT;
        struct eval_result back;
        char path[] = "/tmp/test-eval-XXXXXX";
        close(mkstemp(path));
        if (is_json)
            eval_put_json(&b, &r, NULL, 0);
        else
            eval_put_csv(&b, &r);
        put_file(path, b.data, b.len);
        if (eval_result_read(&back, path, eval_schema_of, &e) < 0)
            fail_msg("%s", e.msg);
        assert_true(back.n_rows == r.n_rows && strcmp(back.task, "loss") == 0);
        for (int64_t i = 0; i < r.n_rows; i++) {
            const struct eval_row *x = &r.rows[i], *y = &back.rows[i];
            assert_string_equal(x->file, y->file);
            assert_string_equal(x->group, y->group);
            assert_true(x->record == y->record && x->line == y->line && x->hash == y->hash);
            for (int k = 0; k < eval_n_columns(r.schema); k++)
                assert_true(x->value[k] == y->value[k] ||
                            (isnan(x->value[k]) && isnan(y->value[k])));
        }
        eval_result_free(&back);
        for (size_t n = b.len - 2; n > 11; n -= 11) { /* the last byte is a line's end */
            put_file(path, b.data, n);
            int rc = eval_result_read(&back, path, eval_schema_of, &e);
            if (rc < 0)
                assert_true(strncmp(e.msg, path, strlen(path)) == 0);
            else
                assert_true(!is_json && back.n_rows <= r.n_rows);
            eval_result_free(&back);
        }
        buf_free(&b);
        unlink(path);
    }
    eval_result_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mean_of_records_and_its_error),
        cmocka_unit_test(mean_of_tokens_is_a_ratio),
        cmocka_unit_test(groups_have_their_own_means),
        cmocka_unit_test(hashes_keep_parts_apart),
        cmocka_unit_test(rows_as_csv),
        cmocka_unit_test(sign_test_is_binomial),
        cmocka_unit_test(rows_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
