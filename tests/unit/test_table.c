/* SPDX-License-Identifier: MIT
 * stream/st_table: memory, writing, reading and refusals that follow from the rows. */
#include "forge.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

static char path[] = "/tmp/raise-table-XXXXXX";

/* One of everything that a table can say. */
struct sample {
    int64_t n_rows, width, n_hidden, n_in, n_steps;
    int32_t *id;
    float *x;
    double *sigma;    /* [h, h] */
    float *block;     /* owner of net */
    float *net;       /* [h n_in + 2 h], placed */
    double weight[3]; /* inline */
    double *extra;    /* optional */
    uint64_t *whole;
    uint64_t hash, other_hash, seed;
    int64_t count;
    double tau, loss;
    bool is_set;
    char mode[8];
    char *text, **names;
};

#define AT(type, field) ST_FIELD(struct sample, type, field)
#define COUNT(field) ST_COUNT(struct sample, field)
static const struct st_size sizes[] = {{"N", COUNT(n_rows)},   {"D", COUNT(width)},
                                       {"h", COUNT(n_hidden)}, {"n_in", COUNT(n_in)},
                                       {"T", COUNT(n_steps)},  {NULL, 0}};
static const struct st_column columns[] = {
    {"id", AT(ST_I32, id), "[N]", 0},
    {"x", AT(ST_F32, x), "[N, D]", ST_FINITE},
    {"sigma", AT(ST_F64, sigma), "[h, h]", ST_FINITE},
    {"net", AT(ST_F32, net), "[h n_in + 2 h]", ST_PLACED},
    {"weight", AT(ST_F64, weight), "[3]", ST_INLINE | ST_FINITE},
    {"extra", AT(ST_F64, extra), "[T D + 1]", ST_OPTIONAL},
    {"whole", AT(ST_U64, whole), "[2]", ST_WHOLE},
    {.name = NULL}};
static const struct st_key keys[] = {
    {"raise.hash", AT(ST_KEY_HASH, hash), 0, 0, 0},
    {"raise.other_hash", AT(ST_KEY_HASH, other_hash), 0, 0, ST_OPTIONAL},
    {"raise.seed", AT(ST_KEY_UINT, seed), 0, 0, 0},
    {"raise.n_steps", AT(ST_KEY_INT, n_steps), 1, 1000, 0},
    {"raise.count", AT(ST_KEY_INT, count), 0, 0, 0},
    {"raise.tau", AT(ST_KEY_REAL, tau), 0, 10, 0},
    {"raise.loss", AT(ST_KEY_REAL, loss), 0, 0, ST_OPTIONAL},
    {"raise.is_set", AT(ST_KEY_BOOL, is_set), 0, 0, 0},
    {"raise.mode", AT(ST_KEY_TEXT, mode), 0, 0, 0},
    {"raise.text", AT(ST_KEY_STRING, text), 0, 0, ST_OPTIONAL},
    {"raise.names", AT(ST_KEY_NAMES, names), 0, 0, 0},
    {.name = NULL}};
static const struct st_table table = {"sample", sizes, columns, keys};

static void sample_init(struct sample *s)
{
    *s = (struct sample){.n_rows = 5, .width = 2, .n_hidden = 3, .n_in = 4, .n_steps = 6};
    s->block = mem_zalloc(3 * 4 + 2 * 3, sizeof *s->block);
    s->net = s->block;
    st_table_alloc(&table, s);
    assert_null(s->extra);
    s->extra = mem_zalloc(6 * 2 + 1, sizeof *s->extra);
    for (int i = 0; i < 5; i++)
        s->id[i] = 10 + i;
    for (int i = 0; i < 10; i++)
        s->x[i] = (float)i / 4;
    for (int i = 0; i < 9; i++)
        s->sigma[i] = i;
    for (int i = 0; i < 18; i++)
        s->net[i] = (float)-i;
    for (int i = 0; i < 13; i++)
        s->extra[i] = 1.0 / (i + 1);
    s->weight[2] = 7;
    s->whole[1] = UINT64_MAX;
    s->hash = 0xd1;
    s->seed = UINT64_MAX;
    s->count = INT64_MIN;
    s->tau = 0.1;
    s->loss = (double)NAN;
    s->is_set = true;
    snprintf(s->mode, sizeof s->mode, "seventh");
    s->text = mem_strdup("a, b");
    s->names = mem_zalloc(3, sizeof *s->names);
    s->names[0] = mem_strdup("len_x");
    s->names[1] = mem_strdup("count");
}

static void sample_free(struct sample *s)
{
    st_table_free(&table, s);
    free(s->block);
}

/* What a reader knows beforehand: n_in, and where the net goes. */
static void reader_init(struct sample *s)
{
    *s = (struct sample){.n_rows = -1, .width = -1, .n_hidden = -1, .n_in = 4, .n_steps = -1};
    s->block = mem_zalloc(18, sizeof *s->block);
    s->net = s->block;
    s->loss = -1;
    s->other_hash = 3;
}

static int read_sample(const char *name, struct err *e)
{
    struct sample s;
    struct st_msg *m = st_read(name, "sample", e);
    if (!m)
        return e->code;
    reader_init(&s);
    int rc = st_table_take(&table, &s, m, e);
    sample_free(&s);
    st_msg_free(m);
    return rc;
}

static struct st_msg *make_msg(const struct sample *s)
{
    struct st_msg *m = st_msg_new();
    st_table_put(&table, s, m);
    return m;
}

static void comes_back_as_it_went(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct sample s, r;
    sample_init(&s);
    reader_init(&r);
    struct st_msg *m = make_msg(&s);
    assert_int_equal(st_write(path, 0, m, &e), 0);
    st_msg_free(m);
    m = st_read(path, "sample", &e);
    assert_non_null(m);
    assert_string_equal(st_msg_meta(m, "raise.whole"), "whole");
    assert_string_equal(st_msg_meta(m, "raise.count"), "-9223372036854775808");
    assert_string_equal(st_msg_meta(m, "raise.names"), "len_x,count");
    assert_null(st_msg_meta(m, "raise.loss"));
    assert_null(st_msg_meta(m, "raise.other_hash"));
    if (st_table_take(&table, &r, m, &e) < 0)
        fail_msg("%s", e.msg);
    st_msg_free(m);
    assert_int_equal(r.n_rows, 5);
    assert_int_equal(r.width, 2);
    assert_int_equal(r.n_hidden, 3);
    assert_int_equal(r.n_steps, 6);
    assert_memory_equal(r.id, s.id, 5 * sizeof *r.id);
    assert_memory_equal(r.x, s.x, 10 * sizeof *r.x);
    assert_memory_equal(r.sigma, s.sigma, 9 * sizeof *r.sigma);
    assert_ptr_equal(r.net, r.block);
    assert_memory_equal(r.net, s.net, 18 * sizeof *r.net);
    assert_memory_equal(r.weight, s.weight, sizeof r.weight);
    assert_memory_equal(r.extra, s.extra, 13 * sizeof *r.extra);
    assert_true(r.whole[1] == UINT64_MAX && r.seed == UINT64_MAX && r.hash == 0xd1);
    assert_true(r.count == INT64_MIN && r.tau == s.tau && r.is_set);
    assert_true(r.loss == -1 && r.other_hash == 3); /* absent: left alone */
    assert_string_equal(r.mode, "seventh");
    assert_string_equal(r.text, "a, b");
    assert_string_equal(r.names[1], "count");
    assert_null(r.names[2]);
    sample_free(&s);
    sample_free(&r);
}

static void optional_ones_may_be_absent(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct sample s, r;
    sample_init(&s);
    free(s.extra);
    s.extra = NULL;
    struct st_msg *m = make_msg(&s);
    assert_null(st_msg_find(m, "extra"));
    reader_init(&r);
    assert_int_equal(st_table_view(&table, &r, m, &e), 0);
    assert_null(r.extra);
    assert_ptr_equal(r.x, s.x); /* not a copy */
    free(r.text);
    for (int i = 0; r.names[i]; i++)
        free(r.names[i]);
    free(r.names);
    free(r.block);
    st_msg_free(m);
    sample_free(&s);
}

static void everything_wrong_is_refused(void **state)
{
    (void)state;
    struct sample s;
    sample_init(&s);
    struct st_msg *m = make_msg(&s);
    forge_table(&table, m, read_sample, path);
    forge_truncated(m, read_sample, path);
    st_msg_free(m);
    sample_free(&s);
}

static void expect(struct sample *s, const char *what)
{
    struct st_msg *m = make_msg(s);
    forge_refused(m, what, "value", read_sample, path);
}

static void values_are_checked(void **state)
{
    (void)state;
    struct sample s;
    sample_init(&s);
    s.x[3] = (float)INFINITY;
    expect(&s, "x: entry 3 is not finite");
    s.x[3] = 0;
    s.weight[1] = (double)NAN;
    expect(&s, "weight: entry 1 is not finite");
    s.weight[1] = 0;
    s.tau = 10.5;
    expect(&s, "metadata raise.tau: 10.5 is not between 0 and 10");
    s.tau = (double)INFINITY;
    expect(&s, "metadata raise.tau: not a finite number: \"inf\"");
    s.tau = 1;
    struct st_msg *m = make_msg(&s);
    st_msg_set_meta(m, "raise.mode", "eighth__");
    forge_refused(m, "raise.mode: longer than 7 bytes", "long", read_sample, path);
    m = make_msg(&s);
    st_msg_set_meta(m, "raise.n_steps", "1001");
    forge_refused(m, "raise.n_steps: 1001 is not between 1 and 1000", "range", read_sample,
                  path);
    sample_free(&s);
}

/* h n_in + 2 h = 6 h: found from the tensor, or the shape is none. */
static void sizes_are_found_from_shapes(void **state)
{
    (void)state;
    static const struct st_column net[] = {
        {"net", AT(ST_F32, net), "[h n_in + 2 h]", ST_PLACED}, {.name = NULL}};
    static const struct st_table only_net = {NULL, sizes, net, NULL};
    struct err e = ERR_INIT;
    const float zeros[24] = {0};
    for (int64_t n = 0; n <= 24; n++) {
        struct sample s = {.n_hidden = -1, .n_in = 4};
        struct st_msg *m = st_msg_new();
        st_msg_add(m, "net", ST_F32, 1, &n, zeros);
        int rc = st_table_check(&only_net, &s, m, &e);
        assert_int_equal(rc, n % 6 ? ERR_MISMATCH : 0);
        assert_int_equal(s.n_hidden, n % 6 ? -1 : n / 6);
        st_msg_free(m);
    }
    static const struct st_column square[] = {{"sigma", AT(ST_F64, sigma), "[h, h]", 0},
                                              {.name = NULL}};
    struct sample oblong = {.n_hidden = -1};
    struct st_msg *o = st_msg_new();
    st_msg_add_copy(o, "sigma", ST_F64, 2, (int64_t[]){2, 3}, (double[6]){0});
    assert_int_equal(
        st_table_check(&(struct st_table){NULL, sizes, square, NULL}, &oblong, o, &e),
        ERR_MISMATCH);
    st_msg_free(o);
    struct sample huge = {.n_in = INT64_MAX / 2, .n_hidden = 3}; /* the product overflows */
    struct st_msg *m = st_msg_new();
    st_msg_add(m, "net", ST_F32, 1, (int64_t[]){24}, zeros);
    assert_int_equal(st_table_check(&only_net, &huge, m, &e), ERR_MISMATCH);
    st_msg_free(m);
}

static void rows_grow_and_are_sliced(void **state)
{
    (void)state;
    static const struct st_column rows[] = {
        {"id", AT(ST_I32, id), "[N]", 0}, {"x", AT(ST_F32, x), "[N, D]", 0}, {.name = NULL}};
    static const struct st_table t = {NULL, sizes, rows, NULL};
    struct err e = ERR_INIT;
    struct sample s, all = {.width = 2};
    int64_t cap = 0;
    sample_init(&s);
    for (int k = 0; k < 7; k++) {
        struct st_msg *m = st_msg_new();
        st_table_put(&t, &s, m);
        assert_int_equal(st_table_append(&t, &all, &cap, m, &e), 0);
        st_msg_free(m);
    }
    assert_int_equal(all.n_rows, 35);
    assert_true(cap >= 35);
    struct sample part = all;
    st_table_slice(&t, &part, 33, 2);
    assert_int_equal(part.n_rows, 2);
    assert_int_equal(part.id[1], 14);
    assert_true(part.x[3] == 9.0f / 4);
    all.width = 3;
    struct st_msg *m = st_msg_new();
    st_table_put(&t, &s, m);
    assert_int_equal(st_table_append(&t, &all, &cap, m, &e), ERR_MISMATCH);
    assert_int_equal(all.n_rows, 35);
    st_msg_free(m);
    free(all.id);
    free(all.x);
    sample_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comes_back_as_it_went),
        cmocka_unit_test(optional_ones_may_be_absent),
        cmocka_unit_test(everything_wrong_is_refused),
        cmocka_unit_test(values_are_checked),
        cmocka_unit_test(sizes_are_found_from_shapes),
        cmocka_unit_test(rows_grow_and_are_sliced),
    };
    int fd = mkstemp(path);
    if (fd < 0)
        return 1;
    close(fd);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return rc;
}
