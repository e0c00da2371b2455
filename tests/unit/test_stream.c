/* SPDX-License-Identifier: MIT
 * stream/: what goes in comes out; provenance. Damage is test_stream_damage's. */
#include "base/file.h"
#include "base/mem.h"
#include "base/version.h"
#include "stream/prov.h"
#include "stream/st_csv.h"
#include "stream/st_priv.h"

#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

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

static void without_rows_and_with_one_shard(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct st_msg *m = make_msg(0, 0);
    assert_int_equal(st_write(path, 0, m, &e), 0);
    struct st_msg *got = st_read(path, "test", &e);
    assert_non_null(got);
    assert_same(m, got);
    st_msg_free(got);
    st_msg_free(m);
}

static void same_input_same_bytes(void **state)
{
    (void)state;
    char *a, *b;
    size_t a_len, b_len;
    write_shards(100000, 90000, 0);
    assert_int_equal(file_read_all(path, &a, &a_len, NULL), 0);
    omp_set_num_threads(1);
    write_shards(100000, 90000, 0);
    assert_int_equal(file_read_all(path, &b, &b_len, NULL), 0);
    omp_set_num_threads(4);
    assert_int_equal(a_len, b_len);
    assert_memory_equal(a, b, a_len);
    free(a);
    free(b);
}

static void a_big_message_is_split_by_rows(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct st_msg *m = make_msg(0, 1000), *shard;
    struct st_writer *w = st_writer_open(path, 0, &e);
    st_writer_set_data_max(w, 20000); /* a row has 144 bytes, whole tensors 16 */
    assert_int_equal(st_writer_put(w, m, &e), 0);
    assert_int_equal(st_writer_close(w, &e), 0);
    struct st_reader *r = st_reader_open(path, &e);
    int n_shards = 0;
    while (st_reader_next(r, &shard, &e) == 1) {
        n_shards++;
        st_msg_free(shard);
    }
    st_reader_close(r);
    assert_int_equal(n_shards, 8);
    struct st_msg *got = st_read(path, "test", &e);
    assert_non_null(got);
    assert_same(m, got);
    st_msg_free(got);

    w = st_writer_open(path, 0, &e);
    st_writer_set_data_max(w, 100); /* less than a row */
    assert_int_equal(st_writer_put(w, m, &e), ERR_RANGE);
    st_writer_abort(w);
    st_msg_free(m);
}

static void the_writer_refuses(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct st_msg *m = make_msg(0, 1);
    struct st_writer *w = st_writer_open(path, ST_PLAIN, &e);
    assert_int_equal(st_writer_put(w, m, &e), 0);
    assert_int_equal(st_writer_put(w, m, &e), ERR_RANGE);
    st_writer_abort(w);
    unlink(path);
    w = st_writer_open(path, 0, &e);
    assert_int_equal(st_writer_close(w, &e), ERR_EMPTY);
    assert_false(file_exists(path));
    assert_null(st_writer_open("/nonexistent/x", 0, &e));
    assert_int_equal(e.code, ERR_IO);
    assert_null(st_read("/nonexistent/x", NULL, &e));
    assert_int_equal(e.code, ERR_IO);
    assert_null(st_read("/tmp", NULL, &e));
    assert_int_equal(e.code, ERR_IO);
    st_msg_free(m);
}

static void readers_ask_for_what_they_need(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    write_shards(4, 4, 0);
    assert_null(st_read(path, "features", &e));
    assert_int_equal(e.code, ERR_MISMATCH);
    assert_non_null(strstr(e.msg, "expected features, found test"));
    struct st_msg *m = st_read(path, "test", &e);
    assert_non_null(st_msg_need(m, "t_F32", ST_F32, 2, (int64_t[]){-1, 3}, &e));
    assert_null(st_msg_need(m, "t_F32", ST_F32, 2, (int64_t[]){5, 3}, &e));
    assert_int_equal(e.code, ERR_MISMATCH);
    assert_non_null(strstr(e.msg, "tensor \"t_F32\": expected F32[5,3], found F32[4,3]"));
    assert_null(st_msg_need(m, "t_F32", ST_F64, 2, (int64_t[]){-1, -1}, &e));
    assert_non_null(strstr(e.msg, "expected F64[N,N], found F32[4,3]"));
    assert_null(st_msg_need(m, "nix", ST_F64, 0, NULL, &e));
    assert_int_equal(e.code, ERR_FORMAT);
    assert_non_null(strstr(e.msg, "x: tensor \"nix\" is missing (expected F64[])"));
    st_msg_set_meta(m, "raise.version", "2");
    assert_int_equal(st_write(path, 0, m, &e), 0);
    st_msg_free(m);
    assert_null(st_read(path, "test", &e));
    assert_int_equal(e.code, ERR_UNSUPPORTED);
}

static void shards_must_agree(void **state)
{
    (void)state;
    static const double seven = 7;
    for (int what = 0; what < 5; what++) {
        struct err e = ERR_INIT;
        struct st_msg *a = make_msg(0, 2), *b = st_msg_new();
        for (int64_t i = 0; i < st_msg_n_tensors(a); i++) {
            struct st_tensor x = *st_msg_at(a, i);
            if (what == 0 && i == 0)
                continue; /* a tensor less */
            if (what == 1 && i == 0)
                x.dtype = ST_U8;
            if (what == 2 && i == 1) { /* other trailing dimension */
                x.shape[0] = 3;
                x.shape[1] = 2;
            }
            if (what == 3 && !strcmp(x.name, "limit"))
                x.data = &seven;
            if (what == 4 && i == 0)
                st_msg_add(b, "t_other", x.dtype, 2, x.shape, x.data);
            else
                st_msg_add(b, x.name, x.dtype, x.n_dims, x.shape, x.data);
        }
        struct st_writer *w = st_writer_open(path, 0, &e);
        assert_int_equal(st_writer_put(w, a, &e), 0);
        assert_int_equal(st_writer_put(w, b, &e), 0);
        assert_int_equal(st_writer_close(w, &e), 0);
        assert_null(st_read(path, NULL, &e));
        assert_int_equal(e.code, ERR_MISMATCH);
        assert_non_null(strstr(e.msg, "shard 2: "));
        st_msg_free(a);
        st_msg_free(b);
    }
}

/* Tensors of any file begin at a multiple of eight bytes, whatever the header says. */
static void tensors_are_aligned(void **state)
{
    (void)state;
    char name[24] = "";
    double x = 1;
    for (int i = 0; i < 20; i++) {
        struct st_msg *m = st_msg_new();
        char *data;
        size_t len;
        name[i] = 'a';
        st_msg_add(m, name, ST_F64, 1, (int64_t[]){1}, &x);
        st_msg_serialize(m, &data, &len);
        assert_int_equal(st_get_u64((const unsigned char *)data) % 8, 0);
        free(data);
        st_msg_free(m);
    }
}

static void the_hash_is_of_the_tensors(void **state)
{
    (void)state;
    struct st_msg *a = st_msg_new(), *b = st_msg_new();
    int64_t two = 2;
    float x[2] = {1, 2}, y[2] = {3, 4};
    st_msg_add(a, "x", ST_F32, 1, &two, x);
    st_msg_add(a, "y", ST_F32, 1, &two, y);
    st_msg_add(b, "y", ST_F32, 1, &two, y);
    st_msg_add(b, "x", ST_F32, 1, &two, x);
    st_msg_set_meta(b, "k", "v");
    assert_int_equal(st_msg_hash(a), st_msg_hash(b));
    x[0] = 5;
    uint64_t was = st_msg_hash(b);
    x[0] = 1;
    assert_true(st_msg_hash(b) != was);
    st_msg_free(a);
    st_msg_free(b);
}

static void the_hash_does_not_depend_on_shards(void **state)
{
    (void)state;
    struct st_msg *all = make_msg(0, 10), *joined = make_msg(0, 4), *rest = make_msg(4, 6);
    struct st_hash *h = st_hash_new();
    struct err e = ERR_INIT;
    st_hash_add(h, joined);
    st_hash_add(h, rest);
    assert_int_equal(st_hash_end(h), st_msg_hash(all));
    assert_int_equal(st_msg_append(joined, rest, &e), 0);
    assert_same(all, joined);
    st_msg_free(all);
    st_msg_free(joined);
    st_msg_free(rest);
}

/* raise.n_rows of a joined stream covers its shards, whether each tells of itself or all carry
 * their file's metadata. */
static void covered_records_add_up(void **state)
{
    (void)state;
    static const char *const first_n[][2] = {
        {"10", "5"}, {"15", "3"}, {"18", "9"}, {"18", "9"}};
    struct st_msg *m = st_msg_new();
    for (size_t i = 0; i < 4; i++) {
        struct st_msg *shard = st_msg_new();
        st_msg_set_meta(shard, "raise.first_row", first_n[i][0]);
        st_msg_set_meta(shard, "raise.n_rows", first_n[i][1]);
        if (!i) {
            st_msg_set_meta(m, "raise.first_row", first_n[i][0]);
            st_msg_set_meta(m, "raise.n_rows", first_n[i][1]);
        }
        st_msg_merge_meta(m, shard);
        st_msg_free(shard);
    }
    assert_string_equal(st_msg_meta(m, "raise.first_row"), "10");
    assert_string_equal(st_msg_meta(m, "raise.n_rows"), "17");
    assert_int_equal(st_msg_meta_int(m, "raise.n_rows"), 17);
    assert_int_equal(st_msg_meta_int(m, "nix"), -1);
    st_msg_set_meta(m, "raise.n_rows", "99999999999999999999");
    assert_int_equal(st_msg_meta_int(m, "raise.n_rows"), -1);
    st_msg_set_meta(m, "raise.n_rows", "-1");
    assert_int_equal(st_msg_meta_int(m, "raise.n_rows"), -1);
    st_msg_free(m);
}

static void floats_of_any_width(void **state)
{
    (void)state;
    static const uint16_t half[] = {0x3C00, 0xC000, 0x0001, 0x8001, 0x03FF,
                                    0x7BFF, 0x7C00, 0xFC00, 0x7E00, 0x8000};
    static const float want[] = {1,     -2,       0x1p-24f,  -0x1p-24f, 0x3FFp-24f,
                                 65504, INFINITY, -INFINITY, NAN,       -0.0f};
    static const uint16_t bf[] = {0x3F80, 0xC000, 0x7FC0};
    float got[10];
    assert_int_equal(st_to_f32(got, half, ST_F16, 10, NULL), 0);
    for (int i = 0; i < 10; i++)
        assert_true(isnan(want[i]) ? isnan(got[i])
                                   : want[i] == got[i] && signbit(want[i]) == signbit(got[i]));
    assert_int_equal(st_to_f32(got, bf, ST_BF16, 3, NULL), 0);
    assert_true(got[0] == 1 && got[1] == -2 && isnan(got[2]));
    assert_int_equal(st_to_f32(got, (double[]){0.1, 1e300}, ST_F64, 2, NULL), 0);
    assert_true(got[0] == 0.1f && isinf(got[1]));
    assert_int_equal(st_to_f32(got, half, ST_I16, 3, NULL), ERR_UNSUPPORTED);
    char shifted[9] = {0};
    memcpy(shifted + 1, want, 8);
    assert_int_equal(st_to_f32(got, shifted + 1, ST_F32, 2, NULL), 0);
    assert_true(got[1] == -2);
}

static void history_grows(void **state)
{
    (void)state;
    struct st_msg *m = st_msg_new();
    struct prov *p = prov_new("raise-embed", "raise-embed -m 'a b' \"q\" \xFF", 42);
    prov_add_input(p, "/data/alpaca.json", 0x0123456789abcdef);
    prov_write(p, m, NULL);
    static const char first[] =
        "{\"program\":\"raise-embed\",\"version\":\"" RAISE_VERSION
        "\",\"args\":\"raise-embed -m 'a b' \\\"q\\\" \xEF\xBF\xBD\",\"seed\":42,\"inputs\":[{"
        "\"name\":\"alpaca.json\",\"xxh64\":\"0123456789abcdef\"}]}";
    char *want = mem_printf("[%s]", first);
    assert_string_equal(st_msg_meta(m, "raise.history"), want);
    free(want);
    prov_free(p);
    p = prov_new("raise-cluster", "raise-cluster", UINT64_MAX);
    prov_set_path(p, "cpu-fp32");
    prov_write(p, m, st_msg_meta(m, "raise.history"));
    want =
        mem_printf("[%s,{\"program\":\"raise-cluster\",\"version\":\"" RAISE_VERSION
                   "\",\"args\":\"raise-cluster\",\"seed\":\"18446744073709551615\",\"path\":"
                   "\"cpu-fp32\",\"inputs\":[]}]",
                   first);
    assert_string_equal(st_msg_meta(m, "raise.history"), want);
    free(want);
    prov_write(p, m, "{broken");
    assert_non_null(strstr(st_msg_meta(m, "raise.history"), "[{\"unreadable\":\"{broken\"},{"));
    prov_write(NULL, m, "[]");
    assert_null(st_msg_meta(m, "raise.history"));
    prov_free(p);
    st_msg_free(m);
}

/* An update reads all trajectories so far; its policy's history does not name each in each. */
static void history_is_not_quadratic(void **state)
{
    (void)state;
    enum { N = 60 };
    struct st_msg *m = st_msg_new();
    size_t len[N + 1] = {0};
    for (int k = 1; k <= N; k++) {
        struct buf args = {0};
        buf_printf(&args, "raise-ppo -p out/p.%d", k - 1);
        for (int i = 1; i <= k; i++)
            buf_printf(&args, " out/traj.%d.st.zst", i);
        struct prov *p = prov_new("raise-ppo", buf_str(&args), 1);
        char *policy = mem_printf("out/p.%d", k - 1);
        prov_add_input(p, policy, (uint64_t)k << 32);
        for (int i = 1; i <= k; i++) {
            char *name = mem_printf("out/traj.%d.st.zst", i);
            prov_add_input(p, name, (uint64_t)i);
            free(name);
        }
        prov_write(p, m, st_msg_meta(m, "raise.history"));
        len[k] = strlen(st_msg_meta(m, "raise.history"));
        prov_free(p);
        free(policy);
        buf_free(&args);
    }
    assert_true(len[N] < 2.2 * (double)len[N / 2]);
    json_t *h = json_loads(st_msg_meta(m, "raise.history"), 0, NULL);
    json_t *last = json_array_get(h, N - 1), *old = json_array_get(h, 9);
    assert_int_equal(json_array_size(json_object_get(last, "inputs")), N + 1);
    assert_null(json_object_get(last, "later"));
    assert_int_equal(json_array_size(json_object_get(old, "inputs")), 1);
    assert_int_equal(json_integer_value(json_object_get(old, "later")), 10);
    assert_string_equal(json_string_value(json_object_get(old, "args")),
                        "raise-ppo -p out/p.9 ...");
    /* few are left as they are: the third shares three with the last */
    assert_int_equal(json_array_size(json_object_get(json_array_get(h, 2), "inputs")), 4);
    json_decref(h);
    st_msg_free(m);
}

static void hashes_as_text(void **state)
{
    (void)state;
    char hex[17];
    uint64_t h = 0;
    assert_string_equal(prov_hex(hex, 0xfedcba9876543210), "fedcba9876543210");
    assert_true(prov_unhex(hex, &h) && h == 0xfedcba9876543210);
    assert_false(prov_unhex("", &h));
    assert_false(prov_unhex("fedcba987654321", &h));
    assert_false(prov_unhex("fedcba98765432100", &h));
    assert_false(prov_unhex("FEDCBA9876543210", &h));
}

/* Half of 70,000 tensors are whole, the others of tables of 1 to 7 rows: what is looked up for
 * each is found at once, and by the same rules as for a few. */
static void many_tensors_are_found_at_once(void **state)
{
    (void)state;
    enum { N = 70000 };
    static const float values[7];
    struct err e = ERR_INIT;
    struct st_msg *m = st_msg_new(), *back;
    struct buf whole = {0};
    char name[32], *text = NULL;
    size_t len = 0;
    clock_t from = clock();
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "t%d", i);
        st_msg_add(m, name, ST_F32, 1, (int64_t[]){1 + i % 7}, values);
        if (i < N / 2)
            buf_printf(&whole, "%st%d", i ? "," : "", i);
    }
    st_msg_set_meta(m, "raise.whole", buf_str(&whole));
    assert_int_equal(st_write(path, ST_PLAIN, m, &e), 0);
    back = st_read(path, NULL, &e);
    assert_non_null(back);
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "t%d", i);
        assert_int_equal(st_msg_find(back, name)->shape[0], 1 + i % 7);
        assert_int_equal(st_msg_is_whole(back, name), i < N / 2);
    }
    assert_null(st_msg_find(back, "t70000"));
    assert_false(st_msg_is_whole(back, "t"));
    struct outfile *o = outfile_open(path, &e);
    struct st_csv *c = st_csv_new(o, NULL);
    assert_int_equal(st_csv_put(c, back, &e), 0);
    st_csv_free(c);
    assert_int_equal(outfile_commit(o, &e), 0);
    assert_true(clock() - from < 4 * CLOCKS_PER_SEC);
    assert_int_equal(file_read_all(path, &text, &len, &e), 0);
    assert_memory_equal(text, "t35006,t35013,",
                        14); /* as many have other numbers: the most rows */
    free(text);
    st_msg_unset_meta(back, "raise.whole");
    assert_false(st_msg_is_whole(back, "t1"));
    st_msg_free(back);
    st_msg_free(m);
    buf_free(&whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_goes_in_comes_out),
        cmocka_unit_test(without_rows_and_with_one_shard),
        cmocka_unit_test(same_input_same_bytes),
        cmocka_unit_test(a_big_message_is_split_by_rows),
        cmocka_unit_test(the_writer_refuses),
        cmocka_unit_test(readers_ask_for_what_they_need),
        cmocka_unit_test(shards_must_agree),
        cmocka_unit_test(tensors_are_aligned),
        cmocka_unit_test(the_hash_is_of_the_tensors),
        cmocka_unit_test(the_hash_does_not_depend_on_shards),
        cmocka_unit_test(covered_records_add_up),
        cmocka_unit_test(floats_of_any_width),
        cmocka_unit_test(history_grows),
        cmocka_unit_test(history_is_not_quadratic),
        cmocka_unit_test(hashes_as_text),
        cmocka_unit_test(many_tensors_are_found_at_once),
    };
    return cmocka_run_group_tests(tests, make_scratch, drop_scratch);
}
