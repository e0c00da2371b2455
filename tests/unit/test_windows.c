/* SPDX-License-Identifier: MIT
 * data/dataset: files of many windows, in every format and packing, are the same records as in
 * one; they are found again in any order; several files are one dataset; what is too long, or
 * was changed, is refused. */
#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/text.h"
#include "data/dataset.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { N = 3000, LONG = 3 << 20 }; /* with a record that is longer than the first windows */

static char dir[] = "/tmp/raise-windows-XXXXXX";

static int enter(void **state)
{
    (void)state;
    return mkdtemp(dir) && chdir(dir) == 0 ? 0 : -1;
}

static int leave(void **state)
{
    (void)state;
    return system("rm -rf ./*") != 0 || chdir("/") != 0 || rmdir(dir) != 0;
}

static void put(const char *name, const struct buf *b)
{
    struct err e = ERR_INIT;
    assert_int_equal(file_write_all(name, b->data, b->len, &e), 0);
}

/* A text of its own for record i; some of several lines, one very long. */
static void add_text(struct buf *b, int i)
{
    struct rng r;
    rng_init(&r, 1, (uint64_t)i);
    size_t n = i == N / 2 ? LONG : rng_below(&r, 2000);
    buf_printf(b, "%d", i);
    for (size_t k = 0; k < n; k++)
        buf_putc(b, k % 61 == 7 ? "\n\",{}[]\\"[rng_below(&r, 8)] : (char)('a' + k % 26));
}

static void add_object(struct buf *b, int i, const char *gap)
{
    struct buf text = {0};
    add_text(&text, i);
    buf_printf(b, "{%s\"prompt\": \"p\",%s\"completion\": ", gap, gap);
    text_json_string(b, text.data, text.len);
    buf_printf(b, "%s}", gap[0] ? "\n" : "");
    buf_free(&text);
}

static void add_row(struct buf *b, int i)
{
    struct buf text = {0};
    add_text(&text, i);
    buf_puts(b, "p,\"");
    for (size_t k = 0; k < text.len; k++)
        buf_puts(b, text.data[k] == '"' ? "\"\"" : (char[]){text.data[k], 0});
    buf_puts(b, i % 3 ? "\"\n" : "\"\r\n");
    buf_free(&text);
}

static void make(const char *name)
{
    struct buf b = {0};
    bool is_nested = strcmp(name, "nested.json") == 0, is_array = is_nested;
    if (is_nested)
        buf_puts(&b, "{\"version\": \"1\", \"data\": ");
    if (strcmp(name, "array.json") == 0)
        is_array = true;
    buf_puts(&b, is_array ? "[" : "");
    buf_puts(&b, strcmp(name, "rows.csv") == 0 ? "prompt,completion\n" : "");
    for (int i = 0; i < N; i++) {
        if (strcmp(name, "rows.csv") == 0)
            add_row(&b, i);
        else
            add_object(&b, i, is_array || name[0] == 's' ? "\n  " : "");
        buf_puts(&b, is_array && i + 1 < N ? ",\n" : name[0] == 'r' ? "" : "\n");
    }
    buf_puts(&b, is_array ? "]" : "");
    buf_puts(&b, is_nested ? ", \"license\": {\"data\": []}}\n" : "");
    put(name, &b);
    buf_free(&b);
}

static void must_read(struct dataset *d, const char *path, const struct data_options *o)
{
    struct err e = ERR_INIT;
    if (dataset_read(d, path, o, &e) < 0)
        fail_msg("%s", e.msg);
}

/* Every record, in an order that jumps. */
static void all_are_found_again(const struct dataset *d)
{
    struct err e = ERR_INIT;
    struct data_reader *t = data_reader_new(d);
    for (int64_t k = 0; k < d->n_records && k < N; k++) {
        int64_t i = k < 500 ? k : k * 20011 % d->n_records;
        const struct data_record *r = data_reader_get(t, i, &e);
        if (!r)
            fail_msg("record %lld: %s", (long long)i, e.msg);
        assert_true(r->hash == d->records[i].hash && r->source == d->records[i].source);
        assert_int_equal(atoi(r->turns[1].text), (int)(r->source % N));
    }
    data_reader_free(t);
}

static void windows_cut_no_record(void **state)
{
    (void)state;
    static const char *const names[] = {"lines.jsonl", "array.json", "stream.json",
                                        "nested.json", "rows.csv"};
    uint64_t *want = mem_alloc(N, sizeof *want);
    for (int k = 0; k < 5; k++) {
        struct dataset d;
        make(names[k]);
        must_read(&d, names[k], &(struct data_options){0});
        assert_int_equal(d.n_records, N);
        for (int i = 0; i < N; i++) {
            if (k == 0)
                want[i] = d.records[i].hash;
            assert_true(d.records[i].hash == want[i]);
            assert_true(k > 0 || (int)d.records[i].line == i + 1);
            assert_true(i == 0 || d.records[i].line > d.records[i - 1].line);
        }
        all_are_found_again(&d);
        dataset_free(&d);
    }
    free(want);
}

static void packed_files_are_the_same(void **state)
{
    (void)state;
    struct dataset plain, d;
    if (system("command -v xz gzip zstd >/dev/null") != 0)
        skip();
    must_read(&plain, "lines.jsonl", &(struct data_options){0});
    static const char *const packs[] = {
        "gzip -1 <lines.jsonl >p", "xz -0 <lines.jsonl >p", "zstd -q -f -1 lines.jsonl -o p",
        "{ head -n 9 lines.jsonl | gzip; tail -n +10 lines.jsonl | gzip -1; } >p",
        "{ head -n 9 lines.jsonl | xz -0; tail -n +10 lines.jsonl | xz -0; } >p"};
    for (int i = 0; i < 5; i++) {
        assert_int_equal(system(packs[i]), 0);
        must_read(&d, "p", &(struct data_options){0});
        assert_int_equal(d.n_records, N);
        assert_true(d.hash == plain.hash);
        all_are_found_again(&d);
        dataset_free(&d);
    }
    dataset_free(&plain);
    for (int i = 0; i < 3; i++) {
        struct err e = ERR_INIT;
        assert_int_equal(system(packs[i]), 0);
        assert_int_equal(truncate("p", 20000), 0);
        assert_int_equal(dataset_read(&d, "p", &(struct data_options){0}, &e), ERR_TRUNCATED);
        assert_non_null(strstr(e.msg, "p: truncated "));
    }
}

/* Larger than what is kept in memory: the file itself, and a file without a name. */
static void large_ones_are_read_from_files(void **state)
{
    (void)state;
    struct dataset d;
    struct err e = ERR_INIT;
    assert_int_equal(system("for i in 1 2 3 4 5 6 7; do cat lines.jsonl; done >big.jsonl"), 0);
    struct stat st;
    assert_int_equal(stat("big.jsonl", &st), 0);
    assert_true(st.st_size > 40 << 20);
    must_read(&d, "big.jsonl", &(struct data_options){0});
    assert_int_equal(d.n_records, 7 * N);
    all_are_found_again(&d);
    /* changed under our hands: a record of the same length, then no record at all */
    assert_int_equal(
        system("printf '{\"prompt\": \"q\"' | dd of=big.jsonl conv=notrunc status=none"), 0);
    struct data_reader *t = data_reader_new(&d);
    assert_null(data_reader_get(t, 0, &e));
    assert_int_equal(e.code, ERR_MISMATCH);
    assert_non_null(data_reader_get(t, 1, &e));
    assert_int_equal(truncate("big.jsonl", 1000000), 0);
    assert_null(data_reader_get(t, d.n_records - 1, &e));
    assert_int_equal(e.code, ERR_MISMATCH);
    assert_int_equal(dataset_name_record(&e, &d, d.n_records - 1), ERR_MISMATCH);
    assert_string_equal(e.msg, "big.jsonl:21000: record 20999: the file was changed while it "
                               "was read");
    data_reader_free(t);
    dataset_free(&d);
    if (system("command -v gzip >/dev/null") != 0)
        return;
    assert_int_equal(system("for i in 1 2 3 4 5 6 7; do gzip -1 <lines.jsonl; done >big"), 0);
    must_read(&d, "big", &(struct data_options){0});
    assert_int_equal(d.n_records, 7 * N);
    all_are_found_again(&d);
    dataset_free(&d);
    setenv("TMPDIR", "/nowhere", 1);
    assert_int_equal(dataset_read(&d, "big", &(struct data_options){0}, &e), ERR_IO);
    assert_non_null(strstr(e.msg, "/nowhere"));
    unsetenv("TMPDIR");
}

static void text(const char *name, const char *s)
{
    struct err e = ERR_INIT;
    assert_int_equal(file_write_all(name, s, strlen(s), &e), 0);
}

static void many_files_are_one_dataset(void **state)
{
    (void)state;
    struct dataset d;
    struct err e = ERR_INIT;
    assert_int_equal(mkdir("many", 0777), 0);
    text("many/b.jsonl", "{\"text\":\"2\"}\n\n{\"text\":\"3\"}\n");
    text("many/a.json", "[{\"text\":\"0\"},\n{\"text\":\"1\"}]");
    text("many/c.csv", "text\n4\n");
    text("many/c0.jsonl", "");
    text("many/README.md", "no data");
    text("many/dataset_info.json", "{}");
    for (int k = 0; k < 3; k++) {
        must_read(&d,
                  k == 0   ? "many"
                  : k == 1 ? "many/"
                           : "many/[abc]*",
                  &(struct data_options){0});
        assert_int_equal(d.n_records, 5);
        struct data_reader *t = data_reader_new(&d);
        for (int i = 4; i >= 0; i--) {
            const struct data_record *r = data_reader_get(t, i, &e);
            assert_non_null(r);
            assert_int_equal(r->turns[0].text[0], '0' + i);
            assert_int_equal(r->source, i);
        }
        data_reader_free(t);
        char *place = dataset_place(&d, 3);
        assert_string_equal(place, "many/b.jsonl:3: record 3");
        free(place);
        dataset_free(&d);
    }
    const char *two[] = {"many/c.csv", "many/a.json"};
    assert_int_equal(dataset_read_paths(&d, two, 2, &(struct data_options){0}, &e), 0);
    assert_int_equal(d.n_records, 3);
    assert_string_equal(dataset_file_name(&d, 0), "many/c.csv");
    assert_string_equal(dataset_file_name(&d, 1), "many/a.json");
    dataset_free(&d);
    const char *lines = "many/c.csv\nmany/a.json", *gone = "many/c.csv\nmany/none.json";
    int64_t bytes = dataset_bytes(two, 2);
    assert_true(bytes > dataset_bytes(two, 1) && dataset_bytes(two, 1) > 0);
    assert_true(dataset_bytes(&lines, 1) == bytes);
    assert_true(dataset_bytes(&gone, 1) == 0);
    text("many/b.jsonl", "{\"text\":\"2\"}\n\n{\"txt\":\"3\"}\n");
    assert_int_equal(dataset_read(&d, "many", &(struct data_options){0}, &e), ERR_FORMAT);
    assert_non_null(strstr(e.msg, "many/b.jsonl:3: record 3: "));
    assert_int_equal(dataset_read(&d, "many/x*", &(struct data_options){0}, &e), ERR_IO);
    assert_string_equal(e.msg, "many/x*: no file matches");
    assert_int_equal(mkdir("none", 0777), 0);
    text("none/x.parquet", "PAR1");
    assert_int_equal(dataset_read(&d, "none", &(struct data_options){0}, &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "read_parquet('none')"));
    assert_int_equal(unlink("none/x.parquet"), 0);
    assert_int_equal(dataset_read(&d, "none", &(struct data_options){0}, &e), ERR_EMPTY);
}

static void expect(const char *name, const char *s, int64_t most, const char *want)
{
    struct dataset d = {0};
    struct err e = ERR_INIT;
    text(name, s);
    int rc = dataset_read(&d, name, &(struct data_options){.max_record = most}, &e);
    if (want && (rc == 0 || strcmp(e.msg, want) != 0))
        fail_msg("%s: %s, not %s", s, rc ? e.msg : "is read", want);
    if (!want && rc < 0)
        fail_msg("%s", e.msg);
    dataset_free(&d);
}

static void what_is_too_long_is_refused(void **state)
{
    (void)state;
    expect("l.jsonl", "{\"text\":\"0123456789\"}", 21, NULL);
    expect("l.jsonl", "{\"text\":\"0123456789\"}", 20,
           "l.jsonl:1: record 0: longer than 20 B (--max-record)");
    expect("l.jsonl", "{\"text\":\"0\"}\n                          {\"text\":\"1\"}\n", 20,
           NULL);
    expect("l.jsonl", "{\"text\":\"0\"}\n                      \n{\"text\":\"1\"}\n", 20,
           "l.jsonl:3: more than 20 B without a record (--max-record)");
    expect("l.json", "                               [{\"text\":\"0\"}]", 20,
           "l.json:1: more than 20 B without a record (--max-record)");
    expect("l.csv", "text\n\"0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n10\"\n", 20,
           "l.csv:2: record 0: longer than 20 B (--max-record)");
    struct buf b = {0}; /* more than a window, and no end */
    struct dataset d;
    struct err e = ERR_INIT;
    buf_puts(&b, "[\"");
    for (int i = 0; i < 9 << 20; i++)
        buf_putc(&b, 'x');
    put("l.json", &b);
    buf_free(&b);
    struct data_options o = {.max_record = 1000};
    assert_int_equal(dataset_read(&d, "l.json", &o, &e), ERR_RANGE);
    assert_string_equal(e.msg, "l.json:1: record 0: longer than 1000 B (--max-record)");
}

static void nested_arrays_are_the_dataset(void **state)
{
    (void)state;
    expect("n.json", "{\"data\": [{\"text\": \"a\"}, {\"text\": \"b\"}]}", 0, NULL);
    expect("n.json", "{\"v\": {\"data\": 1},\n\"data\" : [\n], \"x\": [1]\n}\n", 0,
           "n.json: no records");
    expect("n.json", "{\"data\": [{\"text\": \"a\"}]", 0,
           "n.json:1: the file ends before the object's closing '}'");
    expect("n.json", "{\"data\": [{\"text\": \"a\"}], }", 0,
           "n.json:1: expected a member after ','");
    expect("n.json", "{\"data\": [{\"text\": \"a\"}], \"v\": 2", 0,
           "n.json:1: the file ends inside an object");
    expect("n.json", "{\"data\": [{\"text\": \"a\"}]} {}", 0,
           "n.json:1: record 0: not valid JSON: end of file expected near '{'");
    /* a record with such a field is one */
    expect("n.json", "{\"data\": [{\"text\": \"a\"}], \"text\": \"b\"}", 0, NULL);
    expect("n.json",
           "{\"data\": [{\"x\": 1}], \"text\": \"b\"}\n{\"data\": [], \"text\": \"c\"}", 0,
           NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(windows_cut_no_record),
        cmocka_unit_test(packed_files_are_the_same),
        cmocka_unit_test(large_ones_are_read_from_files),
        cmocka_unit_test(many_files_are_one_dataset),
        cmocka_unit_test(what_is_too_long_is_refused),
        cmocka_unit_test(nested_arrays_are_the_dataset),
    };
    return cmocka_run_group_tests_name("windows", tests, enter, leave);
}
