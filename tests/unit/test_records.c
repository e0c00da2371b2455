/* SPDX-License-Identifier: MIT
 * data/dataset: what becomes of a record's values: null, empty cells, numbers, what Python
 * writes for none; the table of raise-data(5), row by row. */
#include "base/mem.h"
#include "data/dataset.h"
#include "record_of.h"

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

static int read_text(struct dataset *d, const char *name, const char *text, struct err *e)
{
    FILE *f = fopen(name, "wb");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    return dataset_read(d, name, &(struct data_options){0}, e);
}

/* The turns as "user=q|assistant=a", records apart by a line break; or the error. */
static char *turns_of(const char *name, const char *text)
{
    static const char roles[] = "sUAT";
    struct dataset d;
    struct err e = ERR_INIT;
    struct buf b = {0};
    if (read_text(&d, name, text, &e) < 0)
        return mem_strdup(e.msg);
    for (int64_t i = 0; i < d.n_records; i++) {
        const struct data_record *r = record_of(&d, i);
        for (int k = 0; k < r->n_turns; k++)
            buf_printf(&b, "%s%c=%s",
                       k   ? "|"
                       : i ? " / "
                           : "",
                       roles[r->turns[k].role], r->turns[k].text);
    }
    dataset_free(&d);
    return buf_str(&b);
}

static const struct {
    const char *file, *text, *turns;
} rules[] = {
    /* null is absent, wherever it stands */
    {"r.jsonl", "{\"instruction\":\"I\",\"output\":\"O\",\"messages\":null}", "U=I|A=O"},
    {"r.jsonl",
     "{\"instruction\":null,\"output\":null,\"messages\":[{\"role\":\"user\",\"content\":\"a\"}"
     ","
     "{\"role\":\"assistant\",\"content\":\"b\"}]}",
     "U=a|A=b"},
    {"r.jsonl", "{\"instruction\":\"I\",\"output\":null,\"response\":\"R\"}", "U=I|A=R"},
    {"r.jsonl", "{\"messages\":null,\"text\":\"t\",\"prompt\":null}", "A=t"},
    {"r.jsonl",
     "{\"conversations\":[{\"from\":null,\"value\":null,\"role\":\"user\",\"content\":\"a\"},"
     "{\"from\":\"gpt\",\"value\":\"b\",\"role\":null,\"content\":null}]}",
     "U=a|A=b"},
    {"r.jsonl",
     "{\"messages\":[null,{\"role\":\"system\",\"content\":null},{\"role\":\"user\","
     "\"content\":"
     "[null,{\"type\":\"text\",\"text\":\"d\",\"image_url\":null}]},"
     "{\"role\":\"assistant\",\"content\":\"e\"}]}",
     "U=d|A=e"},
    {"r.jsonl", "{\"question\":\"q\",\"answer\":\"a\",\"system\":null,\"system_prompt\":\"S\"}",
     "s=S|U=q|A=a"},
    {"r.jsonl",
     "{\"instruction\":\"q\",\"output\":\"a\",\"history\":[null,[\"b\",\"c\"]],\"input\":null}",
     "U=b|A=c|U=q|A=a"},
    {"r.jsonl", "{\"messages\":[{\"role\":null,\"content\":\"a\"}]}",
     "r.jsonl:1: record 0: \"messages[0].role\" is missing"},
    {"r.jsonl", "{\"messages\":[{\"role\":\"assistant\",\"content\":null}]}",
     "r.jsonl:1: record 0: \"messages[0].content\" is missing"},
    {"r.jsonl", "{\"instruction\":\"\",\"output\":\"\",\"text\":\"t\"}",
     "r.jsonl:1: record 0: \"instruction\" is empty"},
    /* an empty cell of CSV is absent where another layout has all of its fields */
    {"r.csv",
     "instruction,input,output,messages,text\nI,,O,,\nI,J,O,,t\n"
     ",,,\"[{\"\"role\"\":\"\"assistant\"\",\"\"content\"\":\"\"a\"\"}]\",\n,J,O,,t\n,,,,T\n",
     "U=I|A=O / U=I\nJ|A=O / A=a / U=J|A=O / A=T"},
    {"r.csv", "system,system_prompt,question,response,answer\n,S,q,r,\nS,T,q,,a\n",
     "s=S|U=q|A=r / s=S|U=q|A=a"},
    {"r.csv",
     "prompt,completion\n\"[{\"\"role\"\":\"\"user\"\",\"\"content\"\":\"\"a\"\"}]\",b\n[1],"
     "c\n",
     "U=a|A=b / U=[1]|A=c"},
    {"r.csv", "question,response\nx,\n", "r.csv:2: record 0: \"response\" is empty"},
    {"r.csv", "instruction,output,text\nx,,t\n", "r.csv:2: record 0: \"output\" is empty"},
    {"r.csv", "instruction,output\n\"\",\"\"\n", "r.csv:2: record 0: \"instruction\" is empty"},
    /* a number is text, as it is written */
    {"r.jsonl", "{\"question\":\"1+2?\",\"answer\":3}\n{\"question\":7,\"answer\":-1.50E+2}",
     "U=1+2?|A=3 / U=7|A=-1.50E+2"},
    {"r.jsonl", "{\"instruction\":\"a\",\"input\":12345678901234567890123,\"output\":0.10}",
     "U=a\n12345678901234567890123|A=0.10"},
    {"r.jsonl", "{\"id\":1e999,\"text\":3,\"n\":[1,-2]}", "A=3"},
    {"r.jsonl",
     "{\"messages\":[{\"role\":\"user\",\"content\":1},{\"role\":\"assistant\",\"content\":[{"
     "\"type\":\"text\",\"text\":\"=1.0\"}]}]}",
     "U=1|A==1.0"},
    {"r.csv", "messages\n\"[{\"\"role\"\":\"\"assistant\"\",\"\"content\"\":1.0}]\"\n",
     "A=1.0"},
    {"r.jsonl", "{\"instruction\":\"q\",\"output\":\"a\",\"history\":[[\"1+1\",2.0]]}",
     "U=1+1|A=2.0|U=q|A=a"},
    {"r.jsonl", "{\"question\":1,\"answer\":true}",
     "r.jsonl:1: record 0: field \"answer\" is boolean, expected string"},
    /* what Python's json module writes beyond JSON */
    {"r.jsonl",
     "{\"score\":NaN,\"instruction\":\"a\",\"x\":[Infinity,-Infinity],\"output\":\"3\"}",
     "U=a|A=3"},
    {"r.json", "[{\"text\":\"NaN\",\"s\":NaN},{\"text\":\"b\\\"NaN\",\"s\":1}]",
     "A=NaN / A=b\"NaN"},
    {"r.jsonl", "{\"instruction\":\"a\",\"input\":NaN,\"output\":Infinity}", "U=a|A=Infinity"},
    {"r.jsonl", "{\"s\":NaN,\n\"text\":\"a\"}",
     "r.jsonl:1: record 0: not valid JSON: string or '}' expected near end of file"},
};

static void every_rule_holds(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        char *got = turns_of(rules[i].file, rules[i].text);
        assert_string_equal(got, rules[i].turns);
        free(got);
    }
}

/* A field's name is what it reads as, however it is escaped. */
static void names_are_compared_decoded(void **state)
{
    (void)state;
    struct dataset d;
    struct err e = ERR_INIT;
    double v = 0;
    const char *s = "{\"text\":\"a\",\"qualit\\u00e9\":2.5,\"a\\\\b\":1,\"\\ud83d\\ude00\":3}";
    assert_int_equal(read_text(&d, "n.jsonl", s, &e), 0);
    assert_true(data_record_number(record_of(&d, 0), "qualit\xc3\xa9", &v));
    assert_true(v == 2.5);
    assert_true(data_record_number(record_of(&d, 0), "a\\b", &v));
    assert_true(v == 1);
    assert_true(data_record_number(record_of(&d, 0), "\xf0\x9f\x98\x80", &v));
    assert_false(data_record_number(record_of(&d, 0), "qualit\\u00e9", &v));
    assert_false(data_record_number(record_of(&d, 0), "qualit", &v));
    dataset_free(&d);
}

/* Quadratic work would take minutes. */
static void a_wide_csv_is_read_at_once(void **state)
{
    (void)state;
    enum { N = 100000 };
    struct buf b = {0};
    struct dataset d;
    struct err e = ERR_INIT;
    buf_puts(&b, "text");
    for (int i = 1; i < N; i++)
        buf_printf(&b, ",c%d", i);
    buf_puts(&b, "\nt");
    for (int i = 1; i < N; i++)
        buf_printf(&b, ",%d", i);
    buf_puts(&b, "\n");
    clock_t from = clock();
    assert_int_equal(read_text(&d, "wide.csv", buf_str(&b), &e), 0);
    assert_true(clock() - from < 10 * CLOCKS_PER_SEC);
    double v = 0;
    assert_true(data_record_number(record_of(&d, 0), "c99999", &v));
    assert_true(v == N - 1);
    dataset_free(&d);
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_rule_holds),
        cmocka_unit_test(names_are_compared_decoded),
        cmocka_unit_test(a_wide_csv_is_read_at_once),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
