/* SPDX-License-Identifier: MIT
 * features/, plan/plan: what is read, what is refused and how it is named. */
#include "base/file.h"
#include "base/mem.h"
#include "features/features.h"
#include "learn/traj.h"
#include "plan/plan.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char path[] = "/tmp/raise-features-XXXXXX";

static char *fixture(const char *name)
{
    const char *root = getenv("RAISE_TESTS");
    return mem_printf("%s/fixtures/features/%s.safetensors", root ? root : "tests", name);
}

static void features_are_read(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct features f;
    char *name = fixture("small");
    assert_int_equal(features_read(&f, name, &e), 0);
    assert_int_equal(f.n, 60);
    assert_int_equal(f.dim, 4);
    assert_int_equal(f.n_classes, 1);
    assert_false(f.has_classes);
    assert_int_equal(f.class_of[59], 0);
    assert_int_equal(f.source[59], 118);
    assert_int_equal(f.dataset, 0xd1);
    assert_int_equal(f.model, 0xe1);
    assert_true(f.id == st_msg_hash(f.msg) && f.id);
    features_free(&f);
    features_free(NULL);
    free(name);
}

/* The fixture with one tensor replaced, or one key set, as a file at `path`. */
static void write_changed(const char *tensor, enum st_dtype t, int64_t rows, const void *data,
                          const char *key, const char *value)
{
    struct err e = ERR_INIT;
    char *name = fixture("small");
    struct st_msg *in = st_read(name, NULL, &e), *m = st_msg_new();
    assert_non_null(in);
    for (int64_t i = 0; i < st_msg_n_meta(in); i++) {
        const char *k, *v;
        st_msg_meta_at(in, i, &k, &v);
        st_msg_set_meta(m, k, v);
    }
    for (int64_t i = 0; i < st_msg_n_tensors(in); i++) {
        const struct st_tensor *x = st_msg_at(in, i);
        if (!tensor || strcmp(x->name, tensor))
            st_msg_add(m, x->name, x->dtype, x->n_dims, x->shape, x->data);
    }
    if (data)
        st_msg_add(m, tensor, t, 1, &rows, data);
    if (key)
        st_msg_set_meta(m, key, value);
    if (tensor && !strcmp(tensor, "class")) {
        static const float centroids[2 * 4];
        st_msg_add(m, "centroids", ST_F32, 2, (int64_t[]){2, 4}, centroids);
        st_msg_set_meta(m, "raise.whole", "centroids");
    }
    assert_int_equal(st_write(path, 0, m, &e), 0);
    st_msg_free(m);
    st_msg_free(in);
    free(name);
}

static void refuses(int code, const char *what)
{
    struct err e = ERR_INIT;
    struct features f;
    assert_int_equal(features_read(&f, path, &e), code);
    if (!strstr(e.msg, what))
        print_error("expected \"%s\", got \"%s\"\n", what, e.msg);
    assert_non_null(strstr(e.msg, what));
    assert_ptr_equal(strstr(e.msg, path), e.msg);
    assert_null(f.msg);
}

/* Columns of the record: found by name, as many as there are names. */
static void columns_of_the_record_are_named(void **state)
{
    (void)state;
    enum { N = 60, K = 2 };
    struct err e = ERR_INIT;
    struct features f;
    float x[N * K];
    char *name = fixture("small");
    for (int i = 0; i < N * K; i++)
        x[i] = (float)i;
    for (int wrong = 0; wrong < 5; wrong++) {
        struct st_msg *m = st_read(name, NULL, &e);
        assert_non_null(m);
        if (wrong != 4)
            st_msg_add(m, "record", ST_F32, 2, (int64_t[]){N, K}, x);
        if (wrong != 3)
            st_msg_set_meta(m, "raise.record",
                            (const char *[]){"a,bc", "a", "a,bc,d", "", "a"}[wrong]);
        assert_int_equal(st_write(path, 0, m, &e), 0);
        st_msg_free(m);
        if (wrong == 1)
            refuses(ERR_MISMATCH, "metadata raise.record: 1 names of the 2 columns");
        else if (wrong == 2)
            refuses(ERR_MISMATCH, "metadata raise.record: 3 names of the 2 columns");
        else if (wrong == 3)
            refuses(ERR_MISMATCH, "metadata raise.record: 0 names of the 2 columns");
        else if (wrong == 4)
            refuses(ERR_MISMATCH, "metadata raise.record: 1 names of the 0 columns");
        if (wrong)
            continue;
        assert_int_equal(features_read(&f, path, &e), 0);
        assert_int_equal(f.n_record, K);
        assert_int_equal(features_record_at(&f, "bc"), 1);
        assert_int_equal(features_record_at(&f, "b"), -1);
        assert_true(f.record[59 * K + 1] == 119);
        features_free(&f);
    }
    struct st_msg *m = st_read(name, NULL, &e);
    st_msg_add(m, "record", ST_F32, 2, (int64_t[]){N, K}, x);
    st_msg_set_meta(m, "raise.record", "a,a");
    assert_int_equal(st_write(path, 0, m, &e), 0);
    st_msg_free(m);
    refuses(ERR_FORMAT, "metadata raise.record: \"a\" twice");
    assert_int_equal(features_read(&f, name, &e), 0);
    assert_int_equal(f.n_record, 0);
    assert_int_equal(features_record_at(&f, "a"), -1);
    features_free(&f);
    free(name);
}

static void bad_features_are_named(void **state)
{
    (void)state;
    int32_t len[60], classes[60] = {0};
    float logp[60];
    int64_t source[60];
    for (int i = 0; i < 60; i++) {
        len[i] = 5;
        logp[i] = -1;
        source[i] = i;
    }
    write_changed("len_y", ST_I32, 60, NULL, NULL, NULL);
    refuses(ERR_FORMAT, "tensor \"len_y\" is missing");
    write_changed("len_y", ST_I32, 59, len, NULL, NULL);
    refuses(ERR_MISMATCH, "tensor \"len_y\": expected");
    len[3] = 0;
    write_changed("len_y", ST_I32, 60, len, NULL, NULL);
    refuses(ERR_RANGE, "row 3 (record 6): len_y is not positive");
    logp[5] = INFINITY;
    logp[9] = NAN;
    write_changed("logp_yx", ST_F32, 60, logp, NULL, NULL);
    refuses(ERR_NONFINITE, "row 5 (record 10): logp_yx is not finite");
    source[1] = -4;
    write_changed("source", ST_I64, 60, source, NULL, NULL);
    refuses(ERR_RANGE, "row 1 (record -4): source is negative");
    classes[7] = 2;
    write_changed("class", ST_I32, 60, classes, NULL, NULL);
    refuses(ERR_RANGE, "row 7: class 2 of 2");
    write_changed(NULL, ST_I32, 0, NULL, "raise.dataset", "xyz");
    refuses(ERR_FORMAT, "metadata raise.dataset: not a hash of 16 hexadecimal digits: \"xyz\"");
    write_changed(NULL, ST_I32, 0, NULL, "raise.kind", "plan");
    refuses(ERR_MISMATCH, "expected features, found plan");
}

static void classes_are_found(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct features f;
    int32_t classes[60] = {0};
    classes[7] = 1;
    write_changed("class", ST_I32, 60, classes, NULL, NULL);
    assert_int_equal(features_read(&f, path, &e), 0);
    assert_true(f.has_classes);
    assert_int_equal(f.n_classes, 2);
    assert_int_equal(f.class_of[7], 1);
    features_free(&f);
}

static void plans_come_back(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct plan p, q;
    plan_init(&p, 2, 3);
    for (int i = 0; i < 3; i++) {
        p.pick[i] = 10 - i;
        p.source[i] = 20 - i;
        p.pick_score[i] = i ? (float)i : NAN;
        p.record_hash[i] = UINT64_MAX - (uint64_t)i;
    }
    p.step_offset[1] = 1;
    p.step_offset[2] = 3;
    p.features = 0x1234;
    p.dataset = UINT64_MAX;
    strcpy(p.method, "ifd");
    assert_int_equal(plan_write(&p, path, 0, NULL, &e), 0);
    assert_int_equal(plan_read(&q, path, &e), 0);
    assert_int_equal(q.n_steps, 2);
    assert_int_equal(q.n_picks, 3);
    assert_memory_equal(q.pick, p.pick, sizeof *p.pick * 3);
    assert_memory_equal(q.source, p.source, sizeof *p.source * 3);
    assert_memory_equal(q.pick_score, p.pick_score, sizeof *p.pick_score * 3);
    assert_memory_equal(q.record_hash, p.record_hash, sizeof *p.record_hash * 3);
    assert_memory_equal(q.step_offset, p.step_offset, sizeof *p.step_offset * 3);
    assert_int_equal(q.features, 0x1234);
    assert_true(q.dataset == UINT64_MAX);
    assert_string_equal(q.method, "ifd");
    plan_free(&q);
    static const int64_t bad[][3] = {{0, 3, 3}, {1, 2, 3}, {0, 1, 2}, {0, 2, 1}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        memcpy(p.step_offset, bad[i], sizeof bad[i]);
        assert_int_equal(plan_write(&p, path, 0, NULL, &e), 0);
        assert_int_equal(plan_read(&q, path, &e), ERR_FORMAT);
        assert_ptr_equal(strstr(e.msg, path), e.msg);
        assert_null(q.pick);
    }
    p.step_offset[1] = 1;
    p.step_offset[2] = 3;
    p.pick[2] = -1;
    assert_int_equal(plan_write(&p, path, 0, NULL, &e), 0);
    assert_int_equal(plan_read(&q, path, &e), ERR_RANGE);
    plan_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(features_are_read),
        cmocka_unit_test(columns_of_the_record_are_named),
        cmocka_unit_test(bad_features_are_named),
        cmocka_unit_test(classes_are_found),
        cmocka_unit_test(plans_come_back),
    };
    close(mkstemp(path));
    int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return n_failed;
}
