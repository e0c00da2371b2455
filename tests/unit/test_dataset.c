/* SPDX-License-Identifier: MIT
 * data/dataset: every layout and format, every message, choosing and sharding. */
#include "base/mem.h"
#include "data/dataset.h"
#include "record_of.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

/* Reads `text` as the file `name`. */
static int read_text(struct dataset *d, const char *name, const char *text, size_t len,
                     const struct data_options *opt, struct err *e)
{
    FILE *f = fopen(name, "wb"); /* not file_write_all, which waits for the disk */
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
    return dataset_read(d, name, opt, e);
}

static void expect_error(const char *name, const char *text, const char *message)
{
    struct dataset d;
    struct err e = ERR_INIT;
    struct data_options opt = {0};
    int rc = read_text(&d, name, text, strlen(text), &opt, &e);
    assert_string_equal(e.msg, message);
    assert_int_equal(rc, e.code);
    assert_true(rc < 0);
}

struct expected_turn {
    enum data_role role;
    const char *text;
};

static void expect_turns(const struct data_record *r, enum data_layout layout,
                         const struct expected_turn *want, int n)
{
    assert_int_equal(r->layout, layout);
    assert_int_equal(r->n_turns, n);
    for (int i = 0; i < n; i++) {
        assert_int_equal(r->turns[i].role, want[i].role);
        assert_string_equal(r->turns[i].text, want[i].text);
        assert_int_equal(r->turns[i].len, strlen(want[i].text));
    }
}

/* One record as a JSON line, whose turns must be `want`. */
static void expect_record(const char *json, enum data_layout layout,
                          const struct expected_turn *want, int n)
{
    struct dataset d;
    struct err e = ERR_INIT;
    struct data_options opt = {0};
    if (read_text(&d, "one.jsonl", json, strlen(json), &opt, &e) < 0)
        fail_msg("%s", e.msg);
    assert_int_equal(d.n_records, 1);
    expect_turns(record_of(&d, 0), layout, want, n);
    assert_int_equal(record_of(&d, 0)->raw_len, strlen(json));
    assert_memory_equal(record_of(&d, 0)->raw, json, strlen(json));
    dataset_free(&d);
}

static void every_layout_becomes_turns(void **state)
{
    (void)state;
    struct expected_turn plain[] = {{DATA_USER, "q"}, {DATA_ASSISTANT, "a"}};
    struct expected_turn joined[] = {{DATA_USER, "q\ni"}, {DATA_ASSISTANT, "a"}};
    struct expected_turn alone[] = {{DATA_ASSISTANT, "a"}};
    struct expected_turn full[] = {{DATA_SYSTEM, "s"},
                                   {DATA_USER, "q1"},
                                   {DATA_ASSISTANT, "a1"},
                                   {DATA_USER, "q"},
                                   {DATA_ASSISTANT, "a"}};
    struct expected_turn tools[] = {
        {DATA_USER, "q"}, {DATA_ASSISTANT, "{}"}, {DATA_TOOL, "t"}, {DATA_ASSISTANT, "a"}};
    expect_record("{\"instruction\":\"q\",\"output\":\"a\"}", DATA_ALPACA, plain, 2);
    expect_record("{\"instruction\":\"q\",\"input\":\"\",\"output\":\"a\"}", DATA_ALPACA, plain,
                  2);
    expect_record("{\"instruction\":\"q\",\"input\":null,\"output\":\"a\",\"system\":null,"
                  "\"history\":null}",
                  DATA_ALPACA, plain, 2);
    expect_record("{\"instruction\":\"q\",\"input\":\"i\",\"output\":\"a\",\"text\":\"x\"}",
                  DATA_ALPACA, joined, 2);
    expect_record("{\"instruction\":\"\",\"input\":\"q\",\"output\":\"a\"}", DATA_ALPACA, plain,
                  2);
    expect_record("{\"instruction\":\"q\",\"output\":\"a\",\"system\":\"s\","
                  "\"history\":[[\"q1\",\"a1\"]]}",
                  DATA_ALPACA, full, 5);
    expect_record(
        "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},"
        "{\"role\":\"user\",\"content\":\"q1\"},{\"role\":\"assistant\",\"content\":\"a1\"},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"q\"}]},"
        "{\"role\":\"assistant\",\"content\":\"a\",\"weight\":1}]}",
        DATA_MESSAGES, full, 5);
    expect_record("{\"conversations\":[{\"from\":\"human\",\"value\":\"q1\"},"
                  "{\"from\":\"gpt\",\"value\":\"a1\"},{\"from\":\"human\",\"value\":\"q\"},"
                  "{\"from\":\"gpt\",\"value\":\"a\"}],\"system\":\"s\",\"tools\":7}",
                  DATA_SHAREGPT, full, 5);
    expect_record(
        "{\"conversations\":[{\"from\":\"human\",\"value\":\"q\"},"
        "{\"from\":\"function_call\",\"value\":\"{}\"},"
        "{\"from\":\"observation\",\"value\":\"t\"},{\"from\":\"gpt\",\"value\":\"a\"}]}",
        DATA_SHAREGPT, tools, 4);
    expect_record("{\"prompt\":\"q\",\"completion\":\"a\"}", DATA_COMPLETION, plain, 2);
    expect_record("{\"prompt\":[{\"role\":\"user\",\"content\":\"q\"}],"
                  "\"completion\":[{\"role\":\"assistant\",\"content\":\"a\"}]}",
                  DATA_COMPLETION, plain, 2);
    expect_record(
        "{\"messages\":\"[{\\\"role\\\":\\\"assistant\\\",\\\"content\\\":\\\"a\\\"}]\"}",
        DATA_MESSAGES, alone, 1);
    expect_record("{\"question\":\"q\",\"answer\":\"a\"}", DATA_QA, plain, 2);
    expect_record("{\"text\":\"a\"}", DATA_TEXT, alone, 1);
}

static void other_names_are_known(void **state)
{
    (void)state;
    struct expected_turn plain[] = {{DATA_USER, "q"}, {DATA_ASSISTANT, "a"}};
    struct expected_turn joined[] = {{DATA_USER, "q\ni"}, {DATA_ASSISTANT, "a"}};
    struct expected_turn led[] = {{DATA_SYSTEM, "s"}, {DATA_USER, "q"}, {DATA_ASSISTANT, "a"}};
    expect_record("{\"instruction\":\"q\",\"context\":\"i\",\"response\":\"a\",\"category\":1}",
                  DATA_ALPACA, joined, 2);
    expect_record("{\"prompt\":\"q\",\"response\":\"a\"}", DATA_COMPLETION, plain, 2);
    expect_record("{\"query\":\"q\",\"response\":\"a\",\"type\":\"x\"}", DATA_COMPLETION, plain,
                  2);
    expect_record("{\"problem\":\"q\",\"solution\":\"a\"}", DATA_COMPLETION, plain, 2);
    expect_record("{\"system_prompt\":\"s\",\"question\":\"q\",\"response\":\"a\"}", DATA_QA,
                  led, 3);
    expect_record("{\"system\":\"s\",\"question\":\"q\",\"answer\":\"a\",\"response\":9}",
                  DATA_QA, led, 3);
    expect_record(
        "{\"system\":\"x\",\"prompt\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":"
        "\"user\",\"content\":\"q\"}],\"completion\":\"a\"}",
        DATA_COMPLETION, led, 3);
}

static void a_system_turn_in_the_list_wins(void **state)
{
    (void)state;
    struct expected_turn want[] = {{DATA_SYSTEM, "own"}, {DATA_ASSISTANT, "a"}};
    expect_record(
        "{\"system\":\"field\",\"messages\":[{\"role\":\"system\",\"content\":\"own\"},"
        "{\"role\":\"assistant\",\"content\":\"a\"}]}",
        DATA_MESSAGES, want, 2);
}

static void fields_that_nothing_reads_may_be_anything(void **state)
{
    (void)state;
    struct expected_turn want[] = {{DATA_USER, "q"}, {DATA_ASSISTANT, "a\xc3\xa9"}};
    expect_record("{\"id\":123456789012345678901234567890,\"x\":[{\"y\":null}],"
                  "\"question\":\"q\",\"answer\":\"a\\u00e9\",\"tags\":{\"n\":1e3}}",
                  DATA_QA, want, 2);
}

static void alpaca_fields_stand_apart(void **state)
{
    (void)state;
    struct dataset d;
    struct err e = ERR_INIT;
    const char *s = "[{\"instruction\":\"q\",\"input\":\"i\",\"output\":\"a\"}]";
    assert_int_equal(read_text(&d, "a.json", s, strlen(s), &(struct data_options){0}, &e), 0);
    assert_string_equal(record_of(&d, 0)->instruction, "q");
    assert_string_equal(record_of(&d, 0)->input, "i");
    dataset_free(&d);
}

static const struct {
    const char *file, *text, *message;
} errors[] = {
    {"e.jsonl", "", "e.jsonl: the file is empty: no records"},
    {"e.json", " \n\t ", "e.json: the file is empty: no records"},
    {"e.json", "[]", "e.json: no records"},
    {"e.json", "[\n", "e.json:2: the file ends before the array's closing ']'"},
    {"e.json", "[{}]\nx", "e.json:2: text after the array's closing ']'"},
    {"e.json", "[{\"text\":\"a\"} {}]", "e.json:1: expected ',' or ']' after a record"},
    {"e.json", "[{\"text\":\"a\"},\n]", "e.json:2: record 1: expected a record, found ']'"},
    {"e.json", "[{\"text\":\"a\"},\n{\"te",
     "e.json:2: record 1: the file ends inside this record"},
    {"e.json", "[{\"text\":\"a\n\"}]",
     "e.json:1: record 0: a string is not closed before the line ends"},
    {"e.json", "[{\n\"text\":\"a\",\n\"b\": [1}\n]",
     "e.json:3: record 0: not valid JSON: ']' expected near '}'"},
    {"e.json", "[{\"text\":\"a\"]}\n]",
     "e.json:1: record 0: not valid JSON: '}' expected near ']'"},
    {"e.json", "[{\"text\":\n tru}]",
     "e.json:2: record 0: not valid JSON: invalid token near 'tru'"},
    {"e.json", "[\n3]", "e.json:2: record 0: the record is integer, expected object"},
    {"e.jsonl", "{\"text\":\"a\"}\n\n[1]\n",
     "e.jsonl:3: record 1: the record is array, expected object"},
    {"e.jsonl", "{\"text\":\"a\",\"text\":\"b\"}\n",
     "e.jsonl:1: record 0: not valid JSON: duplicate object key near '\"text\"'"},
    {"e.jsonl", "{\"text\":\"a\\u0000\"}\n",
     "e.jsonl:1: record 0: a string holds a NUL character (\\u0000)"},
    {"e.jsonl", "{\"text\":\"ok\"}\n{\"text\":\"a\xc3(\"}\n",
     "e.jsonl:2: record 1: invalid UTF-8 at byte 25 of the file"},
    {"e.json", "[{\"text\":\n\"a\xed\xa0\x80\"}]",
     "e.json:2: record 0: invalid UTF-8 at byte 13 of the file"},
    {"e.jsonl", "{\"id\":3,\"x\":\"y\"}\n",
     "e.jsonl:1: record 0: no \"instruction\", \"messages\", \"conversations\", \"prompt\", "
     "\"question\" or \"text\" among its fields (\"id\", \"x\")"},
    {"e.jsonl", "{}\n",
     "e.jsonl:1: record 0: no \"instruction\", \"messages\", \"conversations\", \"prompt\", "
     "\"question\" or \"text\" among its fields (none)"},
    {"e.jsonl", "{\"instruction\":\"a\"}\n", "e.jsonl:1: record 0: \"output\" is missing"},
    {"e.jsonl", "{\"output\":\"a\"}\n", "e.jsonl:1: record 0: \"instruction\" is missing"},
    {"e.jsonl", "{\"instruction\":\"a\",\"output\":\"\"}\n",
     "e.jsonl:1: record 0: \"output\" is empty"},
    {"e.jsonl", "{\"instruction\":\"\",\"input\":\"\",\"output\":\"a\"}\n",
     "e.jsonl:1: record 0: \"instruction\" is empty"},
    {"e.jsonl", "{\"instruction\":\"a\",\"output\":[3]}\n",
     "e.jsonl:1: record 0: field \"output\" is array, expected string"},
    {"e.jsonl", "{\"instruction\":\"a\",\"output\":null}\n",
     "e.jsonl:1: record 0: \"output\" is missing"},
    {"e.jsonl", "{\"instruction\":\"a\",\"output\":\"b\",\"input\":{}}\n",
     "e.jsonl:1: record 0: field \"input\" is object, expected string"},
    {"e.jsonl", "{\"instruction\":\"a\",\"output\":\"b\",\"system\":true}\n",
     "e.jsonl:1: record 0: field \"system\" is boolean, expected string"},
    {"e.jsonl", "{\"instruction\":\"a\",\"output\":\"b\",\"history\":{}}\n",
     "e.jsonl:1: record 0: field \"history\" is object, expected array"},
    {"e.jsonl", "{\"instruction\":\"a\",\"output\":\"b\",\"history\":[[\"x\"]]}\n",
     "e.jsonl:1: record 0: \"history[0]\" is not a pair of strings"},
    {"e.jsonl", "{\"instruction\":\"a\",\"output\":\"b\",\"history\":[[\"x\",\"\"]]}\n",
     "e.jsonl:1: record 0: \"history[0][1]\" is empty"},
    {"e.jsonl", "{\"prompt\":\"a\"}\n", "e.jsonl:1: record 0: \"completion\" is missing"},
    {"e.jsonl", "{\"prompt\":\"a\",\"text\":\"b\"}\n",
     "e.jsonl:1: record 0: \"completion\" is missing"},
    {"e.jsonl", "{\"prompt\":\"\",\"completion\":\"b\"}\n",
     "e.jsonl:1: record 0: \"prompt\" is empty"},
    {"e.jsonl", "{\"prompt\":\"a\",\"completion\":[]}\n",
     "e.jsonl:1: record 0: \"completion\" has no assistant turn"},
    {"e.jsonl", "{\"question\":\"a\",\"answer\":false}\n",
     "e.jsonl:1: record 0: field \"answer\" is boolean, expected string"},
    {"e.jsonl", "{\"query\":\"a\"}\n", "e.jsonl:1: record 0: \"response\" is missing"},
    {"e.jsonl", "{\"text\":[]}\n",
     "e.jsonl:1: record 0: field \"text\" is array, expected string"},
    {"e.jsonl", "{\"messages\":\"a\"}\n",
     "e.jsonl:1: record 0: field \"messages\" is string, expected array"},
    {"e.jsonl", "{\"messages\":[]}\n",
     "e.jsonl:1: record 0: \"messages\" has no assistant turn"},
    {"e.jsonl", "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}\n",
     "e.jsonl:1: record 0: \"messages\" has no assistant turn"},
    {"e.jsonl", "{\"messages\":[1]}\n",
     "e.jsonl:1: record 0: field \"messages[0]\" is integer, expected object"},
    {"e.jsonl", "{\"messages\":[{\"content\":\"a\"}]}\n",
     "e.jsonl:1: record 0: \"messages[0].role\" is missing"},
    {"e.jsonl", "{\"messages\":[{\"role\":\"alien\",\"content\":\"a\"}]}\n",
     "e.jsonl:1: record 0: \"messages[0].role\" is \"alien\", expected system, user, assistant "
     "or "
     "tool (or human, gpt, observation, function_call)"},
    {"e.jsonl", "{\"messages\":[{\"role\":\"assistant\"}]}\n",
     "e.jsonl:1: record 0: \"messages[0].content\" is missing"},
    {"e.jsonl", "{\"messages\":[{\"role\":\"assistant\",\"content\":\"\"}]}\n",
     "e.jsonl:1: record 0: \"messages[0].content\" is empty"},
    {"e.jsonl", "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]}\n",
     "e.jsonl:1: record 0: \"messages[0].content[0]\" is of type \"image_url\": only text can "
     "be "
     "used"},
    {"e.jsonl", "{\"messages\":[{\"role\":\"user\",\"content\":[3]}]}\n",
     "e.jsonl:1: record 0: field \"messages[0].content[0]\" is integer, expected object"},
    {"e.jsonl", "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]}\n",
     "e.jsonl:1: record 0: \"messages[0].content[0].text\" is missing or no string"},
    {"e.jsonl", "{\"conversations\":[{\"from\":\"gpt\",\"value\":null}]}\n",
     "e.jsonl:1: record 0: \"conversations[0].value\" is missing"},
    {"e.csv", "instruction,output\n", "e.csv: no records"},
    {"e.csv", "a,a\n1,2\n", "e.csv:1: columns 1 and 2 have the same name \"a\""},
    {"e.csv", "question,answer\nx,y\nx\n",
     "e.csv:3: record 1: 1 columns, expected 2 as in the first line"},
    {"e.csv", "question,answer\n\"x\ny\",z\n\nx,\n", "e.csv:5: record 1: \"answer\" is empty"},
    {"e.csv", "question,answer\n\"x\n\"\"y\",\n", "e.csv:2: record 0: \"answer\" is empty"},
    {"e.csv", "question,answer\nx,\"y\"z\n",
     "e.csv:2: record 0: not valid CSV: a quote inside an unquoted field, or text after a "
     "closing quote"},
    {"e.csv", "question,answer\nx,y\nx,\"y\n",
     "e.csv:3: record 1: the file ends inside a quoted field"},
    {"e.csv", "question,answer\nx,y\xff\n",
     "e.csv:2: record 0: column 2: invalid UTF-8 at byte 2 of the field"},
    {"e.dat", "hello\n", "e.dat:1: not a JSON array, JSON lines or CSV"},
    {"e.json", "\n<!DOCTYPE html><html>, not found</html>", "e.json: looks like an HTML page"},
    {"e.csv", "<html><body>gone</body></html>\n", "e.csv: looks like an HTML page"},
    {"e.jsonl", "version https://git-lfs.github.com/spec/v1\noid sha256:0,\n",
     "e.jsonl: looks like a git-lfs pointer, not the file: git lfs pull"},
    {"e.json.bz2", "BZh9", "e.json.bz2: looks like a bzip2 file"},
    {"e.parquet", "PAR1\x15,",
     "e.parquet: looks like a Parquet file, which is not read; to make it JSON lines: python3 "
     "-c \"import pandas; pandas.read_parquet('e.parquet').to_json('data.jsonl', "
     "orient='records', lines=True)\""},
    {"e.json", "[{\"score\":NaN,\"text\":\"a\"},\n{\"n\":-Infinity,\"te",
     "e.json:2: record 1: the file ends inside this record"},
    {"e.jsonl", "{\"text\":NaN}\n", "e.jsonl:1: record 0: \"text\" is missing"},
    {"e.jsonl", "{\"text\":nan}\n",
     "e.jsonl:1: record 0: not valid JSON: invalid token near 'nan'"},
    {"e.jsonl", "{\"text\":01}\n",
     "e.jsonl:1: record 0: not valid JSON: invalid token near '0'"},
};

static void every_error_says_what_and_where(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        expect_error(errors[i].file, errors[i].text, errors[i].message);
}

static void a_nul_byte_in_csv_is_refused(void **state)
{
    (void)state;
    struct dataset d;
    struct err e = ERR_INIT;
    static const char s[] = "question,answer\nx,y\0z\n";
    int rc = read_text(&d, "n.csv", s, sizeof s - 1, &(struct data_options){0}, &e);
    assert_int_equal(rc, ERR_FORMAT);
    assert_string_equal(e.msg, "n.csv:2: record 0: column 2: a NUL byte");
}

static void bad_records_can_be_skipped(void **state)
{
    (void)state;
    struct dataset d;
    struct err e = ERR_INIT;
    struct data_options opt = {.on_error = DATA_SKIP};
    const char *s = "{\"text\":\"a\"}\n{\"text\":true}\n\n{oops\n{\"text\":\"b\"}\n";
    assert_int_equal(read_text(&d, "s.jsonl", s, strlen(s), &opt, &e), 0);
    assert_int_equal(d.n_records, 2);
    assert_int_equal(d.records[1].source, 3);
    assert_int_equal(d.records[1].line, 5);
    assert_int_equal(d.n_problems, 2);
    assert_int_equal(d.problems[0].source, 1);
    assert_int_equal(d.problems[0].line, 2);
    assert_string_equal(d.problems[0].why, "field \"text\" is boolean, expected string");
    assert_int_equal(d.problems[1].source, 2);
    assert_int_equal(d.problems[1].line, 4);
    dataset_free(&d);
    s = "{\"text\":true}\n{\"text\":false}\n";
    assert_int_equal(read_text(&d, "s.jsonl", s, strlen(s), &opt, &e), ERR_EMPTY);
    assert_string_equal(e.msg, "s.jsonl: no usable record among 2; the first: line 1: field "
                               "\"text\" is boolean, expected string");
}

static void formats_agree(void **state)
{
    (void)state;
    static const char *const files[][2] = {
        {"f.json", "[{\"question\":\"q\",\"answer\":\"a\\nb\"},\n {\"question\":\"q2\", "
                   "\"answer\":\"\\\"x\\\", y\"}]"},
        {"f.jsonl", "\xef\xbb\xbf{\"question\":\"q\",\"answer\":\"a\\nb\"}\r\n"
                    "{\"question\":\"q2\",\"answer\":\"\\\"x\\\", y\"}"},
        {"f.jq", "{\n  \"question\": \"q\",\n  \"answer\": \"a\\nb\"\n}\n{\n  \"question\": "
                 "\"q2\",\n  \"answer\": \"\\\"x\\\", y\"\n}\n"},
        {"f.csv", "question,answer\r\nq,\"a\nb\"\r\nq2,\"\"\"x\"\", y\"\r\n"},
        {"f.pipe", "question,answer\nq,\"a\nb\"\nq2,\"\"\"x\"\", y\""},
    };
    enum data_format want[] = {DATA_JSON, DATA_JSONL, DATA_JSONL, DATA_CSV, DATA_CSV};
    uint64_t first = 0;
    for (int i = 0; i < 5; i++) {
        struct dataset d;
        struct err e = ERR_INIT;
        if (read_text(&d, files[i][0], files[i][1], strlen(files[i][1]),
                      &(struct data_options){0}, &e) < 0)
            fail_msg("%s", e.msg);
        assert_int_equal(d.format, want[i]);
        assert_int_equal(d.n_records, 2);
        struct expected_turn turns[] = {{DATA_USER, "q2"}, {DATA_ASSISTANT, "\"x\", y"}};
        expect_turns(record_of(&d, 1), DATA_QA, turns, 2);
        if (i == 0)
            first = d.records[0].hash;
        assert_true(d.records[0].hash == first); /* of the content, not of the writing */
        assert_true(d.records[1].hash != first);
        dataset_free(&d);
    }
}

/* A prefix of an array is never taken for the whole. */
static void truncation_is_noticed_at_every_byte(void **state)
{
    (void)state;
    const char *s = "[{\"instruction\":\"q\\n\\u00e9\", \"input\":\"\", \"output\":\"a\", "
                    "\"n\":[1,{\"x\":-2.5e3}]},\n {\"messages\":[{\"role\":\"assistant\","
                    "\"content\":\"b\"}], \"t\":true}\n]";
    struct data_options opt = {.on_error = DATA_SKIP};
    struct dataset d;
    for (size_t n = 0; n < strlen(s); n++) {
        struct err e = ERR_INIT;
        assert_true(read_text(&d, "t.json", s, n, &opt, &e) < 0);
        assert_true(strncmp(e.msg, "t.json:", 7) == 0);
        assert_int_equal(e.code, n <= 0 ? ERR_EMPTY : ERR_TRUNCATED);
    }
    struct err e = ERR_INIT;
    assert_int_equal(read_text(&d, "t.json", s, strlen(s), &opt, &e), 0);
    dataset_free(&d);
}

static char *numbered_lines(int n)
{
    struct buf b = {0};
    for (int i = 0; i < n; i++)
        buf_printf(&b, "{\"text\":\"t%d\",\"score\":%d}\n", i, i);
    return buf_str(&b);
}

static void limits_samples_and_shards(void **state)
{
    (void)state;
    enum { N = 1000, K = 100 };
    char *s = numbered_lines(N);
    struct dataset d;
    struct err e = ERR_INIT;
    struct data_options opt = {.limit = K};
    assert_int_equal(read_text(&d, "l.jsonl", s, strlen(s), &opt, &e), 0);
    assert_int_equal(d.n_records, K);
    assert_int_equal(d.records[K - 1].source, K - 1);
    dataset_free(&d);

    opt = (struct data_options){.limit = K, .is_sampled = true, .seed = 7};
    int64_t first[K], sum = 0;
    assert_int_equal(dataset_read(&d, "l.jsonl", &opt, &e), 0);
    assert_int_equal(d.n_records, K);
    for (int i = 0; i < K; i++) {
        first[i] = d.records[i].source;
        sum += first[i];
        assert_true(i == 0 || first[i] > first[i - 1]);
    }
    assert_true(sum > K * 400 && sum < K * 600);
    dataset_free(&d);
    int64_t n_seen = 0;
    for (int shard = 0; shard < 7; shard++) {
        opt.shard_i = shard;
        opt.shard_n = 7;
        assert_int_equal(dataset_read(&d, "l.jsonl", &opt, &e), 0);
        for (int64_t i = 0; i < d.n_records; i++)
            assert_int_equal(d.records[i].source, first[n_seen++]);
        dataset_free(&d);
    }
    assert_int_equal(n_seen, K);
    opt = (struct data_options){.limit = 2, .shard_i = 0, .shard_n = 3};
    assert_int_equal(dataset_read(&d, "l.jsonl", &opt, &e), ERR_EMPTY);
    assert_string_equal(e.msg, "l.jsonl: shard 0/3 is empty: there are only 2 records");
    opt = (struct data_options){.shard_i = 3, .shard_n = 3};
    assert_int_equal(dataset_read(&d, "l.jsonl", &opt, &e), ERR_RANGE);
    free(s);
}

static void a_limit_counts_good_records(void **state)
{
    (void)state;
    const char *s = "{\"text\":[]}\n{\"text\":\"a\"}\n{\"text\":\"b\"}\n{\"text\":[]}\n";
    struct dataset d;
    struct err e = ERR_INIT;
    struct data_options opt = {.limit = 1, .on_error = DATA_SKIP};
    assert_int_equal(read_text(&d, "g.jsonl", s, strlen(s), &opt, &e), 0);
    assert_int_equal(d.n_records, 1);
    assert_int_equal(d.records[0].source, 1);
    assert_int_equal(d.n_problems, 1);
    dataset_free(&d);
}

static void each_problem_belongs_to_one_shard(void **state)
{
    (void)state;
    const char *s =
        "{\"text\":[]}\n{\"text\":\"a\"}\n{\"text\":[]}\n{\"text\":\"b\"}\n{\"text\":[]}\n";
    struct dataset d;
    struct err e = ERR_INIT;
    int64_t n_problems = 0;
    for (int i = 0; i < 2; i++) {
        struct data_options opt = {.on_error = DATA_SKIP, .shard_i = i, .shard_n = 2};
        assert_int_equal(read_text(&d, "p.jsonl", s, strlen(s), &opt, &e), 0);
        assert_int_equal(d.n_records, 1);
        n_problems += d.n_problems;
        dataset_free(&d);
    }
    assert_int_equal(n_problems, 3);
}

static void spaces_in_csv_are_kept(void **state)
{
    (void)state;
    struct dataset d;
    struct err e = ERR_INIT;
    const char *s = "question,answer\n q , \"a\n";
    assert_int_equal(read_text(&d, "w.csv", s, strlen(s), &(struct data_options){0}, &e),
                     ERR_FORMAT);
    s = "question,answer\n q ,\t a  \n";
    assert_int_equal(read_text(&d, "w.csv", s, strlen(s), &(struct data_options){0}, &e), 0);
    struct expected_turn turns[] = {{DATA_USER, " q "}, {DATA_ASSISTANT, "\t a  "}};
    expect_turns(record_of(&d, 0), DATA_QA, turns, 2);
    dataset_free(&d);
}

static void overlap_is_found_by_content(void **state)
{
    (void)state;
    struct dataset a, b;
    struct err e = ERR_INIT;
    struct data_options opt = {0};
    const char *s =
        "{\"question\":\"q\",\"answer\":\"a\"}\n{\"question\":\"r\",\"answer\":\"a\"}\n";
    const char *t = "{\"id\":1,\"messages\":[{\"role\":\"user\",\"content\":\"r\"},{\"role\":"
                    "\"assistant\",\"content\":\"a\"}]}\n";
    assert_int_equal(read_text(&a, "a.jsonl", s, strlen(s), &opt, &e), 0);
    assert_int_equal(read_text(&b, "b.jsonl", t, strlen(t), &opt, &e), 0);
    int64_t other = -1;
    assert_int_equal(dataset_overlap(&a, &b, &other), 1);
    assert_int_equal(other, 0);
    assert_int_equal(dataset_overlap(&b, &a, &other), 0);
    assert_int_equal(other, 1);
    assert_int_equal(dataset_count_overlap(&a, &b, &other), 1);
    assert_int_equal(other, 1);
    assert_int_equal(dataset_count_overlap(&a, &a, &other), 2);
    assert_int_equal(other, 0);
    a.n_records = 1;
    assert_int_equal(dataset_overlap(&a, &b, &other), -1);
    assert_int_equal(dataset_count_overlap(&a, &b, &other), 0);
    assert_int_equal(other, -1);
    dataset_free(&a);
    dataset_free(&b);
    /* the first of the one, wherever it is in the other, and whichever is larger */
    const char *u = "{\"text\":\"x\"}\n{\"question\":\"r\",\"answer\":\"a\"}\n"
                    "{\"question\":\"q\",\"answer\":\"a\"}\n";
    assert_int_equal(read_text(&a, "a.jsonl", s, strlen(s), &opt, &e), 0);
    assert_int_equal(read_text(&b, "b.jsonl", u, strlen(u), &opt, &e), 0);
    assert_int_equal(dataset_overlap(&a, &b, &other), 0);
    assert_int_equal(other, 2);
    assert_int_equal(dataset_overlap(&b, &a, &other), 1);
    assert_int_equal(other, 1);
    dataset_free(&a);
    dataset_free(&b);
}

/* Of a file that is bad throughout, numbers are kept, and the first of the reasons. */
static void reasons_are_bounded(void **state)
{
    (void)state;
    struct dataset d;
    struct err e = ERR_INIT;
    struct data_options opt = {.on_error = DATA_SKIP};
    struct buf b = {0};
    for (int i = 0; i < DATA_MAX_WHYS + 7; i++)
        buf_puts(&b, "{\"text\": true}\n");
    buf_puts(&b, "{\"text\": \"x\"}\n");
    assert_int_equal(read_text(&d, "bad.jsonl", buf_str(&b), b.len, &opt, &e), 0);
    assert_int_equal(d.n_problems, DATA_MAX_WHYS + 7);
    const struct data_problem *last = &d.problems[d.n_problems - 1];
    assert_non_null(d.problems[DATA_MAX_WHYS - 1].why);
    assert_null(last->why);
    assert_int_equal(last->source, DATA_MAX_WHYS + 6);
    assert_int_equal(last->line, DATA_MAX_WHYS + 7);
    assert_string_equal(data_problem_text(last), "bad, as the first 1000 are");
    buf_free(&b);
    dataset_free(&d);
}

static void a_join_finds_records_by_number_and_holds_them_to_their_content(void **state)
{
    (void)state;
    struct dataset d;
    struct err e = ERR_INIT;
    /* record 1 is unusable: numbers and indices part after it */
    const char *s = "{\"text\":\"a\"}\n{\"nothing\":7}\n{\"text\":\"b\"}\n{\"text\":\"c\"}\n";
    struct data_options opt = {.on_error = DATA_SKIP};
    assert_int_equal(read_text(&d, "j.jsonl", s, strlen(s), &opt, &e), 0);
    assert_int_equal(d.n_records, 3);
    int64_t source[] = {3, 0, 2, 3}, rows[4];
    uint64_t hash[] = {d.records[2].hash, d.records[0].hash, d.records[1].hash,
                       d.records[2].hash};
    struct data_claim c = {4, source, hash, "pick", "t.st.zst"};
    assert_int_equal(dataset_join(&d, &c, rows, &e), 0);
    assert_true(rows[0] == 2 && rows[1] == 0 && rows[2] == 1 && rows[3] == 2);

    hash[2] ^= 1;
    assert_int_equal(dataset_join(&d, &c, rows, &e), ERR_MISMATCH);
    assert_non_null(
        strstr(e.msg, "j.jsonl:3: record 2: not the one that is pick 2 of t.st.zst"));
    hash[2] ^= 1;
    source[2] = 1;
    assert_int_equal(dataset_join(&d, &c, rows, &e), ERR_MISMATCH);
    assert_non_null(
        strstr(e.msg, "j.jsonl: has no usable record 1, which is pick 2 of t.st.zst"));
    dataset_free(&d);
}

static void numbers_are_found_in_top_level_fields(void **state)
{
    (void)state;
    struct dataset d;
    struct err e = ERR_INIT;
    double v = 0;
    const char *s =
        "{\"text\":\"a, \\\"score\\\": 9\", \"deep\": {\"score\": 8},\n\"score\" : -1.5 ,"
        "\"n\":7,\"csv\":\"0.25\",\"no\":\"1x\",\"nil\":null}";
    assert_int_equal(read_text(&d, "v.json", s, strlen(s), &(struct data_options){0}, &e),
                     ERR_FORMAT);
    char *one = mem_printf("[%s]", s);
    assert_int_equal(read_text(&d, "v.json", one, strlen(one), &(struct data_options){0}, &e),
                     0);
    const struct data_record *r = record_of(&d, 0);
    assert_true(data_record_number(r, "score", &v) && v == -1.5);
    assert_true(data_record_number(r, "n", &v) && v == 7);
    assert_true(data_record_number(r, "csv", &v) && v == 0.25);
    assert_false(data_record_number(r, "no", &v));
    assert_false(data_record_number(r, "nil", &v));
    assert_false(data_record_number(r, "deep", &v));
    assert_false(data_record_number(r, "absent", &v));
    dataset_free(&d);
    free(one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_layout_becomes_turns),
        cmocka_unit_test(other_names_are_known),
        cmocka_unit_test(a_system_turn_in_the_list_wins),
        cmocka_unit_test(fields_that_nothing_reads_may_be_anything),
        cmocka_unit_test(alpaca_fields_stand_apart),
        cmocka_unit_test(every_error_says_what_and_where),
        cmocka_unit_test(a_nul_byte_in_csv_is_refused),
        cmocka_unit_test(bad_records_can_be_skipped),
        cmocka_unit_test(formats_agree),
        cmocka_unit_test(truncation_is_noticed_at_every_byte),
        cmocka_unit_test(limits_samples_and_shards),
        cmocka_unit_test(a_limit_counts_good_records),
        cmocka_unit_test(each_problem_belongs_to_one_shard),
        cmocka_unit_test(spaces_in_csv_are_kept),
        cmocka_unit_test(overlap_is_found_by_content),
        cmocka_unit_test(reasons_are_bounded),
        cmocka_unit_test(a_join_finds_records_by_number_and_holds_them_to_their_content),
        cmocka_unit_test(numbers_are_found_in_top_level_fields),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
