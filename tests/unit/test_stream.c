/* SPDX-License-Identifier: MIT
 * stream/: what goes in comes out, and damage is seen. */
#include "base/file.h"
#include "base/mem.h"
#include "stream/prov.h"
#include "stream/st.h"
#include "stream/zio.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <zstd.h>

static char *path; /* scratch file, one a group */

static int make_scratch(void **state)
{
    (void)state;
    char dir[] = "/tmp/raise-stream-XXXXXX";
    if (!mkdtemp(dir))
        return -1;
    path = mem_printf("%s/x", dir);
    return 0;
}

static int drop_scratch(void **state)
{
    (void)state;
    unlink(path);
    *strrchr(path, '/') = '\0';
    int rc = rmdir(path); /* fails when something else was left behind */
    free(path);
    return rc;
}

/* Every dtype, n rows each, filled with bytes that depend on `from` + row. */
static struct st_msg *make_msg(int64_t from, int64_t n)
{
    struct st_msg *m = st_msg_new();
    char name[32];
    st_msg_set_meta(m, "raise.kind", "test");
    st_msg_set_meta(m, "raise.version", ST_FORMAT_VERSION);
    st_msg_set_meta(m, "raise.whole", "means,limit");
    st_msg_set_meta(m, "text", "quote \" slash \\ newline \n snow \xE2\x98\x83");
    for (int t = 0; t < ST_N_DTYPES; t++) {
        int64_t shape[2] = {n, 3};
        size_t row = 3 * st_dtype_size((enum st_dtype)t);
        char *data = mem_alloc((size_t)n, row);
        for (int64_t i = 0; i < n; i++)
            for (size_t k = 0; k < row; k++)
                data[(size_t)i * row + k] =
                    (char)(t == ST_BOOL ? (from + i) & 1
                                        : 7 * (from + i) + 31 * (int64_t)k + t);
        snprintf(name, sizeof name, "t_%s", st_dtype_name((enum st_dtype)t));
        st_msg_add_copy(m, name, (enum st_dtype)t, 2, shape, data);
        free(data);
    }
    st_msg_add_copy(m, "means", ST_F32, 1, (int64_t[]){2}, (float[]){0.5f, 2.0f});
    st_msg_add_copy(m, "limit", ST_F64, 0, NULL, (double[]){3.25});
    return m;
}

static void assert_same(const struct st_msg *a, const struct st_msg *b)
{
    assert_int_equal(st_msg_n_tensors(a), st_msg_n_tensors(b));
    for (int64_t i = 0; i < st_msg_n_tensors(a); i++) {
        const struct st_tensor *x = st_msg_at(a, i), *y = st_msg_at(b, i);
        assert_string_equal(x->name, y->name);
        assert_int_equal(x->dtype, y->dtype);
        assert_int_equal(x->n_dims, y->n_dims);
        assert_memory_equal(x->shape, y->shape, sizeof x->shape);
        assert_int_equal(x->len, y->len);
        if (x->len)
            assert_memory_equal(x->data, y->data, x->len);
        assert_int_equal((uintptr_t)y->data % st_dtype_size(y->dtype), 0);
    }
    assert_int_equal(st_msg_n_meta(a), st_msg_n_meta(b));
    for (int64_t i = 0; i < st_msg_n_meta(a); i++) {
        const char *k1, *v1, *k2, *v2;
        st_msg_meta_at(a, i, &k1, &v1);
        st_msg_meta_at(b, i, &k2, &v2);
        assert_string_equal(k1, k2);
        assert_string_equal(v1, v2);
    }
    assert_int_equal(st_msg_hash(a), st_msg_hash(b));
}

static void write_shards(int64_t n, int64_t step, int flags)
{
    struct err e = ERR_INIT;
    struct st_writer *w = st_writer_open(path, flags, &e);
    assert_non_null(w);
    for (int64_t at = 0; at < n; at += step) {
        struct st_msg *m = make_msg(at, n - at < step ? n - at : step);
        assert_int_equal(st_writer_put(w, m, &e), 0);
        st_msg_free(m);
    }
    assert_int_equal(st_writer_close(w, &e), 0);
}

static void what_goes_in_comes_out(void **state)
{
    (void)state;
    static const int64_t rows[][2] = {{1, 1}, {5, 5}, {5, 2}, {100, 7}, {9000, 2500}};
    struct err e = ERR_INIT;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct st_msg *want = make_msg(0, rows[i][0]);
        write_shards(rows[i][0], rows[i][1], 0);
        struct st_msg *got = st_read(path, "test", &e);
        assert_non_null(got);
        assert_same(want, got);
        st_msg_free(got);
        assert_int_equal(st_write(path, ST_PLAIN, want, &e), 0);
        got = st_read(path, "test", &e);
        assert_non_null(got);
        assert_same(want, got);
        st_msg_free(got);
        st_msg_free(want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_goes_in_comes_out),
    };
    return cmocka_run_group_tests(tests, make_scratch, drop_scratch);
}
