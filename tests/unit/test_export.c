/* SPDX-License-Identifier: MIT
 * data/export: every format's exact bytes, extras, stanzas, and reading back what was written.
 */
#include "base/file.h"
#include "base/mem.h"
#include "data/export.h"
#include "data/tmpl.h"
#include "record_of.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[] = "/tmp/raise-test-XXXXXX";

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) && chdir(dir) == 0 ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", dir);
    return system(command);
}

static void load(struct dataset *d, const char *path, const char *text)
{
    struct err e = ERR_INIT;
    struct data_options opt = {0};
    if (text)
        assert_int_equal(file_write_all(path, text, strlen(text), &e), 0);
    if (dataset_read(d, path, &opt, &e) < 0)
        fail_msg("%s", e.msg);
}

enum { AS = 100 }; /* + a layout: JSON lines in it */

/* All of `rows` through `f`, as text. */
static struct export_job job_of(const struct dataset *d, int f, const int64_t *rows, int64_t n,
                                const struct export_extra *extras, int n_extras)
{
    struct export_job job = {.format = (enum export_format)f,
                             .d = d,
                             .rows = rows,
                             .n_rows = n,
                             .extras = extras,
                             .n_extras = n_extras};
    if (f >= AS) {
        job.format = EXPORT_JSONL;
        job.layout = (enum export_layout)(f - AS);
    }
    return job;
}

static char *export_text(const struct dataset *d, int f, const int64_t *rows, int64_t n,
                         const struct export_extra *extras, int n_extras)
{
    struct err e = ERR_INIT;
    struct export_job job = job_of(d, f, rows, n, extras, n_extras);
    struct pack *o = pack_open("out", &e);
    assert_non_null(o);
    if (export_write(o, &job, &e) < 0 || pack_commit(o, &e) < 0)
        fail_msg("%s", e.msg);
    char *text;
    size_t len;
    assert_int_equal(file_read_all("out", &text, &len, &e), 0);
    return text;
}

static void expect(const struct dataset *d, int f, const int64_t *rows, int64_t n,
                   const struct export_extra *extras, int n_extras, const char *want)
{
    char *got = export_text(d, f, rows, n, extras, n_extras);
    assert_string_equal(got, want);
    free(got);
}

static const char two[] =
    "{\"instruction\":\"a\\u00e9, \\\"x\\\"\",\"input\":\"\",\"output\":\"o\\nné\","
    "\"id\":12345678901234567890123,\"raise_step\":9}\n"
    "{ \"id\" : 1.50, \"instruction\":\"b\",\"output\" :\"p\",\"tags\":[1 , {\"k\":null}],"
    "\"e\":[ ],\"n\":null}\n";

static void formats_are_exact(void **state)
{
    (void)state;
    struct dataset d;
    int64_t rows[] = {1, 0, 1};
    load(&d, "two.jsonl", two);
    expect(
        &d, EXPORT_JSONL, rows, 2, NULL, 0,
        "{\"id\": 1.50, \"instruction\": \"b\", \"output\": \"p\", \"tags\": [1, {\"k\": "
        "null}], "
        "\"e\": [], \"n\": null}\n"
        "{\"instruction\": \"a\\u00e9, \\\"x\\\"\", \"input\": \"\", \"output\": \"o\\nné\", "
        "\"id\": 12345678901234567890123, \"raise_step\": 9}\n");
    expect(&d, EXPORT_JSON, rows, 1, NULL, 0,
           "[\n    {\n        \"id\": 1.50,\n        \"instruction\": \"b\",\n"
           "        \"output\": \"p\",\n        \"tags\": [\n            1,\n            {\n"
           "                \"k\": null\n            }\n        ],\n        \"e\": [],\n"
           "        \"n\": null\n    }\n]\n");
    expect(&d, EXPORT_JSON, rows, 0, NULL, 0, "[]\n");
    expect(
        &d, EXPORT_CSV, rows, 2, NULL, 0,
        "\"id\",\"instruction\",\"output\",\"tags\",\"e\",\"n\",\"input\",\"raise_step\"\n"
        "\"1.50\",\"b\",\"p\",\"[1, {\"\"k\"\": null}]\",\"[]\",\"\",\"\",\"\"\n"
        "\"12345678901234567890123\",\"aé, \"\"x\"\"\",\"o\nné\",\"\",\"\",\"\",\"\",\"9\"\n");
    expect(&d, EXPORT_INDICES, rows, 3, NULL, 0, "1\n0\n1\n");
    dataset_free(&d);
}

static void extras_stand_last_and_replace(void **state)
{
    (void)state;
    struct dataset d;
    int64_t rows[] = {0, 1};
    double step[] = {3, 4}, score[] = {0.1, (double)NAN};
    struct export_extra extras[] = {{"raise_step", true, step, false},
                                    {"raise_score", false, score, false}};
    load(&d, "two.jsonl", two);
    expect(
        &d, EXPORT_JSONL, rows, 2, extras, 2,
        "{\"instruction\": \"a\\u00e9, \\\"x\\\"\", \"input\": \"\", \"output\": \"o\\nné\", "
        "\"id\": 12345678901234567890123, \"raise_step\": 3, \"raise_score\": 0.1}\n"
        "{\"id\": 1.50, \"instruction\": \"b\", \"output\": \"p\", \"tags\": [1, {\"k\": "
        "null}], "
        "\"e\": [], \"n\": null, \"raise_step\": 4, \"raise_score\": null}\n");
    expect(&d, EXPORT_CSV, rows, 1, extras, 2,
           "\"instruction\",\"input\",\"output\",\"id\",\"raise_step\",\"raise_score\"\n"
           "\"aé, \"\"x\"\"\",\"\",\"o\nné\",\"12345678901234567890123\",\"3\",\"0.1\"\n");
    expect(
        &d, AS + EXPORT_MESSAGES, rows, 2, extras, 1,
        "{\"messages\": [{\"role\": \"user\", \"content\": \"aé, \\\"x\\\"\"}, {\"role\": "
        "\"assistant\", \"content\": \"o\\nné\"}], \"id\": 12345678901234567890123, "
        "\"raise_step\": 3}\n"
        "{\"messages\": [{\"role\": \"user\", \"content\": \"b\"}, {\"role\": \"assistant\", "
        "\"content\": \"p\"}], \"id\": 1.50, \"tags\": [1, {\"k\": null}], \"e\": [], \"n\": "
        "null, \"raise_step\": 4}\n");
    dataset_free(&d);
}

/* What is written reads back as the same content, in every format that holds it. */
static void what_is_written_reads_back(void **state)
{
    (void)state;
    static const char mixed[] = "{\"instruction\":\"i\",\"input\":\"x,\\\"y\\\"\\r\\n z "
                                "\",\"output\":\"\\u0001\\t/\\\\\"}\n"
                                "{\"question\":\" q\\n\",\"answer\":\"\\ud83d\\ude00\"}\n"
                                "{\"prompt\":\"\\\"\",\"completion\":\",\"}\n"
                                "{\"conversations\":[{\"from\":\"system\",\"value\":\"s\"},{"
                                "\"from\":\"human\",\"value\":"
                                "\"q\"},{\"from\":\"gpt\",\"value\":\"a\"}]}\n";
    int all[] = {EXPORT_JSON, EXPORT_JSONL, AS + EXPORT_MESSAGES};
    struct dataset d, back;
    int64_t rows[] = {0, 1, 2, 3};
    load(&d, "mixed.jsonl", mixed);
    for (int k = 0; k < 3; k++) {
        free(export_text(&d, all[k], rows, 4, NULL, 0));
        load(&back, "out", NULL);
        assert_int_equal(back.n_records, 4);
        for (int i = 0; i < 4; i++)
            assert_true(back.records[i].hash == d.records[i].hash);
        dataset_free(&back);
    }
    dataset_free(&d);
}

/* CSV has the columns of all layouts; the cells that a record leaves empty are none of its. */
static void csv_of_mixed_layouts_reads_back(void **state)
{
    (void)state;
    static const char mixed[] =
        "{\"instruction\":\"I\",\"output\":\"O\",\"messages\":null,\"score\":NaN}\n"
        "{\"instruction\":\"\",\"input\":\"q\",\"output\":0.50,\"text\":\"t\"}\n"
        "{\"instruction\":null,\"output\":null,\"messages\":[{\"role\":\"user\","
        "\"content\":\"a\"},{\"role\":\"assistant\",\"content\":1.0}]}\n"
        "{\"question\":\" q\\n\",\"answer\":\"\\ud83d\\ude00\",\"system\":\"s\"}\n"
        "{\"prompt\":[{\"role\":\"user\",\"content\":\"p\"}],\"completion\":\",\"}\n"
        "{\"text\":\"x,\\\"y\\\"\\r\\n z \"}\n"
        "{\"instruction\":\"d\",\"context\":\"c\",\"response\":\"r\"}\n"
        "{\"query\":\"d\",\"response\":\"r\"}\n"
        "{\"conversations\":[{\"from\":\"system\",\"value\":\"s\"},{\"from\":\"human\","
        "\"value\":\"q\"},{\"from\":\"gpt\",\"value\":\"a\"}]}\n";
    enum { N = 9 };
    struct dataset d, back;
    int64_t rows[N];
    for (int i = 0; i < N; i++)
        rows[i] = i;
    load(&d, "mixed.jsonl", mixed);
    assert_int_equal(d.n_records, N);
    free(export_text(&d, EXPORT_CSV, rows, N, NULL, 0));
    load(&back, "out", NULL);
    assert_int_equal(back.n_records, N);
    for (int i = 0; i < N; i++) {
        assert_true(back.records[i].hash == d.records[i].hash);
        assert_int_equal(record_of(&back, i)->layout, record_of(&d, i)->layout);
    }
    const struct dataset *both[] = {&d, &back};
    for (int k = 0; k < 2;
         k++) { /* messages, too, though some have an empty field of that name */
        struct dataset talks;
        free(export_text(both[k], AS + EXPORT_MESSAGES, rows, N, NULL, 0));
        load(&talks, "out", NULL);
        for (int i = 0; i < N; i++)
            assert_true(talks.records[i].hash == d.records[i].hash);
        dataset_free(&talks);
    }
    dataset_free(&back);
    dataset_free(&d);
}

static char *render(const char *name, const struct data_record *r)
{
    struct err e = ERR_INIT;
    struct buf b = {0};
    struct tmpl_text x;
    struct tmpl *t = tmpl_load(name, &e);
    assert_non_null(t);
    assert_int_equal(tmpl_render(t, r, &x, &e), 0);
    for (int i = 0; i < x.n_segments; i++)
        buf_printf(&b, "%d%d%d%s", x.segments[i].is_response, x.segments[i].is_markup,
                   x.segments[i].wants_eos, x.segments[i].text);
    tmpl_text_free(&x);
    tmpl_free(t);
    return buf_str(&b);
}

/* Messages of Alpaca records give every template the same as the records did, and so do
 * messages and CSV that are made of those. */
static void messages_render_as_the_records_did(void **state)
{
    (void)state;
    static const char records[] =
        "{\"instruction\":\"Add.\",\"input\":\"1\\n2\",\"output\":\"3\"}\n"
        "{\"instruction\":\"\",\"input\":\"q\",\"output\":\"a\"}\n"
        "{\"instruction\":\"\\n\",\"input\":\"q\",\"output\":\"a\",\"raise_input\":\"x\"}\n"
        "{\"instruction\":\"a\\nb\",\"output\":\"c\"}\n"
        "{\"instruction\":\"Q\",\"context\":\"C\",\"response\":\"R\",\"system\":\"S\","
        "\"history\":[[\"h\",\"i\"]]}\n";
    static const int formats[] = {AS + EXPORT_MESSAGES, EXPORT_CSV, AS + EXPORT_MESSAGES};
    enum { N = 5 };
    struct dataset d, back;
    int64_t rows[N] = {0, 1, 2, 3, 4};
    load(&d, "alpaca.jsonl", records);
    free(export_text(&d, AS + EXPORT_MESSAGES, rows, N, NULL, 0));
    load(&back, "out", NULL);
    for (int k = 0; k < 3; k++) {
        for (int i = 0; i < N; i++)
            for (const char *const *t = tmpl_names(); *t; t++) {
                if (i == 4 && strcmp(*t, "mistral") == 0)
                    continue; /* it has no place for a system turn before a history */
                char *want = render(*t, record_of(&d, i)),
                     *got = render(*t, record_of(&back, i));
                assert_string_equal(got, want);
                free(want);
                free(got);
            }
        free(export_text(&back, formats[k], rows, N, NULL, 0));
        dataset_free(&back);
        load(&back, "out", NULL);
    }
    dataset_free(&back);
    dataset_free(&d);
    load(&d, "edited.jsonl",
         "{\"messages\":[{\"role\":\"user\",\"content\":\"Add.\\n1 3\"},{\"role\":"
         "\"assistant\",\"content\":\"4\"}],\"raise_input\":\"1 2\"}\n");
    assert_null(record_of(&d, 0)->instruction);
    expect(&d, AS + EXPORT_MESSAGES, rows, 1, NULL, 0,
           "{\"messages\": [{\"role\": \"user\", \"content\": \"Add.\\n1 3\"}, {\"role\": "
           "\"assistant\", \"content\": \"4\"}], \"raise_input\": \"1 2\"}\n");
    dataset_free(&d);
}

/* One field, spelled in two ways, is one column, and is known by its name. */
static void names_are_compared_decoded(void **state)
{
    (void)state;
    struct dataset d;
    int64_t rows[] = {0, 1};
    double score[] = {1, 2};
    struct export_extra extra = {.name = "raise_score", .is_integer = true, .values = score};
    load(
        &d, "names.jsonl",
        "{\"instr\\u0075ction\":\"a\",\"output\":\"b\",\"\\u00e9\":1,\"raise_sc\\u006fre\":0}\n"
        "{\"\u00e9\":2,\"output\":\"d\",\"instruction\":\"c\"}\n");
    expect(&d, EXPORT_CSV, rows, 2, &extra, 1,
           "\"instruction\",\"output\",\"\u00e9\",\"raise_score\"\n\"a\",\"b\",\"1\",\"1\"\n"
           "\"c\",\"d\",\"2\",\"2\"\n");
    expect(&d, AS + EXPORT_MESSAGES, rows, 1, &extra, 1,
           "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": "
           "\"assistant\", \"content\": \"b\"}], \"\\u00e9\": 1, \"raise_score\": 1}\n");
    dataset_free(&d);
}

/* What only Python takes for JSON comes back as it was; CSV has no cell for NaN. */
static void nan_is_passed_through(void **state)
{
    (void)state;
    struct dataset d;
    int64_t rows[] = {0};
    load(&d, "nan.jsonl", "{\"text\":\"a\",\"s\":NaN,\"t\":[-Infinity,NaN]}\n");
    expect(&d, EXPORT_JSONL, rows, 1, NULL, 0,
           "{\"text\": \"a\", \"s\": NaN, \"t\": [-Infinity, NaN]}\n");
    expect(&d, EXPORT_CSV, rows, 1, NULL, 0,
           "\"text\",\"s\",\"t\"\n\"a\",\"\",\"[-Infinity, NaN]\"\n");
    dataset_free(&d);
}

/* Records that name 30,000 fields in two orders: quadratic work would take minutes. */
static void many_columns_are_found_at_once(void **state)
{
    (void)state;
    enum { N = 30000 };
    struct buf b = {0};
    struct dataset d;
    int64_t rows[] = {0, 1};
    for (int r = 0; r < 2; r++) {
        buf_puts(&b, "{\"text\":\"t\"");
        for (int i = 0; i < N; i++)
            buf_printf(&b, ",\"c%d\":%d", r ? N - 1 - i : i, i);
        buf_puts(&b, "}\n");
    }
    load(&d, "wide.jsonl", buf_str(&b));
    clock_t from = clock();
    char *got = export_text(&d, EXPORT_CSV, rows, 2, NULL, 0);
    assert_true(clock() - from < 2 * CLOCKS_PER_SEC);
    assert_non_null(strstr(got, "\"t\",\"29999\",\"29998\","));
    free(got);
    dataset_free(&d);
    buf_free(&b);
}

static char *stanza(const struct dataset *d, int f, const int64_t *rows, int64_t n,
                    const char *name, struct err *e)
{
    struct export_job job = job_of(d, f, rows, n, NULL, 0);
    return export_stanza(&job, name, e);
}

static void stanzas_describe_the_columns(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct dataset d, back;
    int64_t rows[] = {0, 1};
    load(&d, "two.jsonl", two);
    char *s = stanza(&d, EXPORT_JSON, rows, 2, "out/sub.set.json", &e);
    assert_string_equal(s, "{\n  \"sub\": {\n    \"file_name\": \"sub.set.json\",\n"
                           "    \"formatting\": \"alpaca\",\n    \"columns\": {\n"
                           "      \"prompt\": \"instruction\",\n      \"query\": \"input\",\n"
                           "      \"response\": \"output\"\n    }\n  }\n}\n");
    free(s);
    s = stanza(&d, AS + EXPORT_MESSAGES, rows, 2, "m.jsonl", &e);
    assert_string_equal(s,
                        "{\n  \"m\": {\n    \"file_name\": \"m.jsonl\",\n"
                        "    \"formatting\": \"sharegpt\",\n    \"columns\": {\n"
                        "      \"messages\": \"messages\"\n    },\n    \"tags\": {\n"
                        "      \"role_tag\": \"role\",\n      \"content_tag\": \"content\",\n"
                        "      \"user_tag\": \"user\",\n"
                        "      \"assistant_tag\": \"assistant\",\n"
                        "      \"system_tag\": \"system\",\n"
                        "      \"observation_tag\": \"tool\"\n    }\n  }\n}\n");
    free(s);
    assert_null(stanza(&d, EXPORT_INDICES, rows, 2, "m.txt", &e));
    dataset_free(&d);
    load(&d, "mix.jsonl", "{\"text\":\"a\"}\n{\"question\":\"q\",\"answer\":\"a\"}\n");
    assert_null(stanza(&d, EXPORT_JSON, rows, 2, "m.json", &e));
    assert_string_equal(e.msg,
                        "records 0 and 1 have different layouts, which one stanza cannot "
                        "describe; the messages format can hold them all");
    load(&back, "dolly.jsonl",
         "{\"instruction\":\"a\",\"context\":\"\",\"response\":\"b\",\"category\":\"c\"}\n"
         "{\"instruction\":\"a\",\"response\":\"b\",\"system_prompt\":\"s\",\"input\":5}\n");
    s = stanza(&back, EXPORT_JSON, rows, 2, "dolly.json", &e);
    assert_string_equal(s, "{\n  \"dolly\": {\n    \"file_name\": \"dolly.json\",\n"
                           "    \"formatting\": \"alpaca\",\n    \"columns\": {\n"
                           "      \"prompt\": \"instruction\",\n      \"query\": \"context\",\n"
                           "      \"response\": \"response\",\n"
                           "      \"system\": \"system_prompt\"\n    }\n  }\n}\n");
    free(s);
    expect(
        &back, AS + EXPORT_MESSAGES, &rows[1], 1, NULL, 0,
        "{\"messages\": [{\"role\": \"system\", \"content\": \"s\"}, {\"role\": \"user\", "
        "\"content\": \"a\"}, {\"role\": \"assistant\", \"content\": \"b\"}], \"input\": 5}\n");
    dataset_free(&back);
    s = stanza(&d, EXPORT_JSON, &rows[1], 1, "m.json", &e);
    assert_non_null(strstr(s, "\"response\": \"answer\""));
    free(s);
    dataset_free(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats_are_exact),
        cmocka_unit_test(extras_stand_last_and_replace),
        cmocka_unit_test(what_is_written_reads_back),
        cmocka_unit_test(csv_of_mixed_layouts_reads_back),
        cmocka_unit_test(messages_render_as_the_records_did),
        cmocka_unit_test(names_are_compared_decoded),
        cmocka_unit_test(nan_is_passed_through),
        cmocka_unit_test(many_columns_are_found_at_once),
        cmocka_unit_test(stanzas_describe_the_columns),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
