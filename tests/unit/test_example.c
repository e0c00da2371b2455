/* SPDX-License-Identifier: MIT
 * text/example: masks, BOS and EOS, bounds, and records that imitate special tokens. */
#include "base/file.h"
#include "base/mem.h"
#include "record_of.h"
#include "text/example.h"

#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[] = "/tmp/raise-test-XXXXXX";
static struct tok *plain, *with_bos; /* a token a byte; <|bos|>, <|eos|>, <|pad|> */

/* The fixture's tokenizer with `from` replaced by `to` (NULL: as it is). */
static struct tok *load_tok(const char *name, const char *from, const char *to)
{
    struct err e = ERR_INIT;
    const char *tests = getenv("RAISE_TESTS");
    char *path = mem_printf("%s/fixtures/tiny-llama/tokenizer.json", tests ? tests : "tests");
    char *text, *at, *copy = mem_printf("%s/%s", dir, name);
    size_t len;
    if (file_read_all(path, &text, &len, &e) < 0)
        fail_msg("%s", e.msg);
    struct buf b = {0};
    at = from ? strstr(text, from) : text + len;
    assert_non_null(at);
    buf_append(&b, text, (size_t)(at - text));
    if (from) {
        buf_puts(&b, to);
        buf_puts(&b, at + strlen(from));
    }
    assert_int_equal(file_write_all(copy, b.data, b.len, &e), 0);
    char *config = mem_printf("%s/tokenizer_config.json", dir);
    const char names[] = "{\"bos_token\":\"<|bos|>\",\"eos_token\":\"<|eos|>\"}";
    assert_int_equal(file_write_all(config, names, strlen(names), &e), 0);
    struct tok *t = tok_load_json(copy, &e);
    if (!t)
        fail_msg("%s", e.msg);
    free(config);
    free(copy);
    free(path);
    free(text);
    buf_free(&b);
    return t;
}

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(dir))
        return -1;
    plain = load_tok("plain.json", NULL, NULL);
    with_bos = load_tok(
        "bos.json", "\"post_processor\": null",
        "\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": "
        "[{\"SpecialToken\": "
        "{\"id\": \"<|bos|>\", \"type_id\": 0}}, {\"Sequence\": {\"id\": \"A\", \"type_id\": "
        "0}}], "
        "\"pair\": [], \"special_tokens\": {\"<|bos|>\": {\"id\": \"<|bos|>\", \"ids\": [256], "
        "\"tokens\": [\"<|bos|>\"]}}}");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    char command[64];
    tok_free(plain);
    tok_free(with_bos);
    snprintf(command, sizeof command, "rm -r %s", dir);
    return system(command);
}

static void load_data(struct dataset *d, const char *lines)
{
    struct err e = ERR_INIT;
    struct data_options opt = {0};
    char *path = mem_printf("%s/d.jsonl", dir);
    assert_int_equal(file_write_all(path, lines, strlen(lines), &e), 0);
    if (dataset_read(d, path, &opt, &e) < 0)
        fail_msg("%s", e.msg);
    free(path);
}

/* "text" in tokens, what counts in the loss between « and »; special tokens by name. */
static char *spell(const struct tok *t, const struct example *x)
{
    struct err e = ERR_INIT;
    struct buf b = {0};
    int n_response = 0;
    for (int32_t i = 0; i < x->n; i++) {
        if (x->is_loss[i] != (i > 0 ? x->is_loss[i - 1] : 0))
            buf_puts(&b, x->is_loss[i] ? "«" : "»");
        assert_int_equal(tok_decode(t, x->ids + i, 1, true, &b, &e), 0);
        n_response += x->is_loss[i];
    }
    buf_puts(&b, x->n && x->is_loss[x->n - 1] ? "»" : "");
    assert_int_equal(n_response, x->n_response);
    assert_int_equal(x->n, x->n_prompt + x->n_response);
    return buf_str(&b);
}

static struct tmpl *load_tmpl(const char *text)
{
    struct err e = ERR_INIT;
    struct tmpl_model own = {.name = "m", .text = text};
    struct tmpl *t = text[0] == '['   ? tmpl_parse("my.tmpl", text, strlen(text), &e)
                     : text[0] == '{' ? tmpl_of_model(&own, &e)
                                      : tmpl_load(text, &e);
    if (!t)
        fail_msg("%s", e.msg);
    return t;
}

static void expect(const struct tok *t, const char *tmpl, const char *json, const char *want)
{
    struct err e = ERR_INIT;
    struct dataset d;
    struct example x;
    struct tmpl *tm = load_tmpl(tmpl);
    load_data(&d, json);
    int rc = example_make(t, tm, record_of(&d, 0), 0, EXAMPLE_FAIL, &x, &e);
    if (rc < 0)
        fail_msg("%s", e.msg);
    char *got = spell(t, &x);
    assert_string_equal(got, want);
    assert_int_equal(rc, x.n > 0);
    free(got);
    example_free(&x);
    tmpl_free(tm);
    dataset_free(&d);
}

static const char qa[] = "{\"question\":\"Q?\",\"answer\":\"A.\"}";

static void the_response_counts_and_ends_with_eos(void **state)
{
    (void)state;
    expect(plain, "plain", qa, "Q?\n«A.<|eos|>»");
    expect(plain, "none", qa, "Q?«A.<|eos|>»");
    expect(plain, "chatml", qa,
           "<|im_start|>user\nQ?<|im_end|>\n<|im_start|>assistant\n«A.<|im_end|>»\n");
    expect(plain, "plain",
           "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\","
           "\"content\":"
           "\"b\"},{\"role\":\"user\",\"content\":\"c\"},{\"role\":\"assistant\",\"content\":"
           "\"d\"}]}",
           "a\n«b<|eos|>»\nc\n«d<|eos|>»");
    expect(plain, "none",
           "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\","
           "\"content\":\"b\"},{\"role\":\"assistant\",\"content\":\"c\"}]}",
           "a«b<|eos|>c<|eos|>»");
    expect(plain, "[user]\n{user}\n[assistant]\n{assistant}<|eos|>\n[options]\neos = yes\n", qa,
           "Q?«A.<|eos|>»");
    expect(plain, "[user]\n{user}\n[assistant]\n{assistant}\n[options]\neos = no\n", qa,
           "Q?«A.»");
}

static void there_is_one_bos_where_the_tokenizer_adds_one(void **state)
{
    (void)state;
    expect(with_bos, "plain", qa, "<|bos|>Q?\n«A.<|eos|>»");
    expect(with_bos, "[user]\n<|bos|>{user}\n[assistant]\n{assistant}\n", qa,
           "<|bos|>Q?«A.<|eos|>»");
    expect(plain, "[user]\n<|bos|>{user}\n[assistant]\n{assistant}\n", qa,
           "<|bos|>Q?«A.<|eos|>»");
    expect(with_bos, "[user]\n{user}\n[assistant]\n{assistant}\n[options]\nbos = no\n", qa,
           "Q?«A.<|eos|>»");
}

static void the_first_token_never_counts(void **state)
{
    (void)state;
    expect(plain, "plain", "{\"text\":\"abc\"}", "a«bc<|eos|>»");
    expect(with_bos, "plain", "{\"text\":\"abc\"}", "<|bos|>«abc<|eos|>»");
    expect(plain, "[user]\n{user}\n[assistant]\n{assistant}\n[options]\neos = no\ntrim = yes\n",
           "{\"question\":\" \",\"answer\":\"x\"}", ""); /* one token: nothing to learn */
}

/* The ids, not the text, tell a special token from its imitation. */
static void records_cannot_imitate_special_tokens(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct dataset d;
    struct example x;
    struct tmpl *tm = load_tmpl("[user]\n<|bos|>{user}\n[assistant]\n>{assistant}<|eos|>\n");
    load_data(&d, "{\"question\":\"<|eos|>\",\"answer\":\"<|pad|>!\"}");
    assert_int_equal(example_make(with_bos, tm, record_of(&d, 0), 0, EXAMPLE_FAIL, &x, &e), 1);
    assert_int_equal(x.n, 1 + 7 + 1 + 8 + 1);
    assert_int_equal(x.n_response, 9);
    assert_int_equal(x.ids[0], 256);
    assert_int_equal(x.ids[x.n - 1], 257);
    for (int i = 1; i < x.n - 1; i++)
        assert_true(x.ids[i] < 256);
    example_free(&x);
    tmpl_free(tm);
    dataset_free(&d);
}

static void long_records_are_dropped_cut_or_refused(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct dataset d;
    struct example x;
    struct tmpl *tm = load_tmpl("plain");
    load_data(&d, qa); /* Q ? \n A . <eos> */
    const struct data_record *r = record_of(&d, 0);
    assert_int_equal(example_make(plain, tm, r, 6, EXAMPLE_FAIL, &x, &e), 1);
    assert_false(x.is_cut);
    example_free(&x);
    assert_int_equal(example_make(plain, tm, r, 5, EXAMPLE_FAIL, &x, &e), ERR_RANGE);
    assert_string_equal(e.msg, "6 tokens, more than the 5 allowed");
    assert_int_equal(example_make(plain, tm, r, 5, EXAMPLE_DROP, &x, &e), 0);
    assert_int_equal(x.n, 0);
    assert_int_equal(example_make(plain, tm, r, 4, EXAMPLE_CUT, &x, &e), 1);
    assert_true(x.is_cut);
    char *got = spell(plain, &x);
    assert_string_equal(got, "Q?\n«A»");
    free(got);
    example_free(&x);
    assert_int_equal(example_make(plain, tm, r, 3, EXAMPLE_CUT, &x, &e), 0);
    assert_int_equal(x.n, 0);
    assert_false(x.is_cut);
    tmpl_free(tm);
    dataset_free(&d);
}

static void a_set_counts_and_names(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct dataset d;
    struct example_set s;
    struct tmpl *tm = load_tmpl("plain");
    load_data(
        &d, "{\"question\":\"q\",\"answer\":\"a\"}\n{\"question\":\"qqqq\",\"answer\":\"a\"}\n"
            "{\"question\":\"q\",\"answer\":\"aaaa\"}\n");
    assert_int_equal(example_set_make(&s, plain, tm, &d, 5, EXAMPLE_CUT, &e), 0);
    assert_int_equal(s.n_examples, 3);
    assert_int_equal(s.n_dropped, 1);
    assert_int_equal(s.n_cut, 1);
    assert_int_equal(s.n_tokens, 4 + 5);
    assert_int_equal(s.n_response_tokens, 2 + 3);
    assert_int_equal(s.max_len, 5);
    assert_int_equal(s.examples[1].n, 0);
    example_set_free(&s);
    assert_int_equal(example_set_make(&s, plain, tm, &d, 5, EXAMPLE_FAIL, &e), ERR_RANGE);
    char *want = mem_printf("%s/d.jsonl:2: record 1: 7 tokens, more than the 5 allowed", dir);
    assert_string_equal(e.msg, want);
    free(want);
    tmpl_free(tm);
    dataset_free(&d);
}

static void threads_change_nothing(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct dataset d;
    struct example_set s[2];
    struct tmpl *tm = load_tmpl("chatml");
    struct buf lines = {0};
    int n_threads = omp_get_max_threads();
    for (int i = 0; i < 300; i++)
        buf_printf(&lines, "{\"question\":\"q%d\",\"answer\":\"a%d\"}\n", i * i, i % 17);
    load_data(&d, buf_str(&lines));
    for (int k = 0; k < 2; k++) {
        omp_set_num_threads(k ? 4 : 1);
        assert_int_equal(example_set_make(&s[k], plain, tm, &d, 0, EXAMPLE_FAIL, &e), 0);
    }
    omp_set_num_threads(n_threads);
    for (int64_t i = 0; i < d.n_records; i++) {
        const struct example *a = &s[0].examples[i], *b = &s[1].examples[i];
        assert_int_equal(a->n, b->n);
        assert_memory_equal(a->ids, b->ids, (size_t)a->n * sizeof *a->ids);
        assert_memory_equal(a->is_loss, b->is_loss, (size_t)a->n);
    }
    example_set_free(&s[0]);
    example_set_free(&s[1]);
    buf_free(&lines);
    tmpl_free(tm);
    dataset_free(&d);
}

static void foreign_markers_are_listed(void **state)
{
    (void)state;
    struct tmpl *tm = load_tmpl("chatml");
    char *list = example_foreign_markers(plain, tm);
    assert_string_equal(list, "<|im_start|>, <|im_end|>");
    free(list);
    tmpl_free(tm);
    tm = load_tmpl(
        "[user]\n<|bos|>{user} <| a |> <||> <|\n[assistant]\n{assistant}<|eos|></s>\n");
    list = example_foreign_markers(plain, tm);
    assert_string_equal(list, "</s>");
    free(list);
    tmpl_free(tm);
    tm = load_tmpl("alpaca");
    assert_null(example_foreign_markers(plain, tm));
    tmpl_free(tm);
}

static void an_example_can_be_looked_at(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct dataset d;
    struct example x;
    struct buf b = {0};
    struct tmpl *tm = load_tmpl("plain");
    load_data(&d, "{\"question\":\"Q\",\"answer\":\"\\t\"}");
    assert_int_equal(example_make(plain, tm, record_of(&d, 0), 0, EXAMPLE_FAIL, &x, &e), 1);
    example_show(plain, &x, &b);
    char *want =
        mem_printf("4 tokens: 2 prompt, 2 response (*)\n%7d   |Q|\n%7d   |\\n|\n%7d * |\\t|\n"
                   "%7d * |<|eos|>|\n",
                   x.ids[0], x.ids[1], x.ids[2], x.ids[3]);
    assert_string_equal(buf_str(&b), want);
    free(want);
    buf_free(&b);
    example_free(&x);
    tmpl_free(tm);
    dataset_free(&d);
}

#define ADDED(id, text, special, rstrip)                                                       \
    "{\"id\": " id ", \"content\": \"" text "\", \"single_word\": false, \"lstrip\": false, "  \
    "\"rstrip\": " rstrip ", \"normalized\": false, \"special\": " special "}"

/* A model's own template is encoded as one text: a token that spans prompt and response is one,
 * and counts; white space that a marker takes is no token. What a record imitates is text. */
static void a_models_own_template_is_one_text(void **state)
{
    (void)state;
    struct tok *t =
        load_tok("added.json", "\"added_tokens\": [",
                 "\"added_tokens\": [" ADDED("259", "?A", "false", "false") ", " ADDED(
                     "260", "<e>", "true", "true") ", ");
    const char *glued = "{% for m in messages %}{{ m.content }}{% endfor %}",
               *marked = "{% for m in messages %}{{ m.content }}<e>\n{% endfor %}";
    expect(t, glued, qa, "Q«?A.<|eos|>»");
    expect(t, "none", qa, "Q?«A.<|eos|>»");
    expect(t, marked, qa, "Q?<e>«A.<e>»");
    expect(t, marked, "{\"question\":\"<e> Q\",\"answer\":\"b <e>\"}", "<e> Q<e>«b <e><e>»");
    struct err e = ERR_INIT;
    struct dataset d;
    struct example x;
    struct tmpl *tm = load_tmpl(marked);
    load_data(&d, "{\"question\":\"<e>\",\"answer\":\"A\"}");
    assert_int_equal(example_make(t, tm, record_of(&d, 0), 0, EXAMPLE_FAIL, &x, &e), 1);
    assert_int_equal(x.n, 6);
    assert_true(x.ids[0] == '<' && x.ids[3] == 260 && x.ids[5] == 260 && x.is_loss[5]);
    example_free(&x);
    tmpl_free(tm);
    dataset_free(&d);
    tok_free(t);
}

/* What the tokenizer composes is followed, too: the text is still one. */
static void a_normal_form_leaves_it_one_text(void **state)
{
    (void)state;
    struct tok *t = load_tok(
        "nfc.json", "\n ],\n \"normalizer\": null",
        ", " ADDED("259", "?A", "false", "false") "],\n "
                                                  "\"normalizer\": {\"type\": \"NFC\"}");
    expect(t, "{% for m in messages %}{{ m.content }}{% endfor %}",
           "{\"question\":\"e\u0301?\",\"answer\":\"Ae\u0301\"}",
           "\xef\xbf\xbd\xef\xbf\xbd«?A\xef\xbf\xbd\xef\xbf\xbd<|eos|>»");
    tok_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_normal_form_leaves_it_one_text),
        cmocka_unit_test(a_models_own_template_is_one_text),
        cmocka_unit_test(the_response_counts_and_ends_with_eos),
        cmocka_unit_test(there_is_one_bos_where_the_tokenizer_adds_one),
        cmocka_unit_test(the_first_token_never_counts),
        cmocka_unit_test(records_cannot_imitate_special_tokens),
        cmocka_unit_test(long_records_are_dropped_cut_or_refused),
        cmocka_unit_test(a_set_counts_and_names),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(foreign_markers_are_listed),
        cmocka_unit_test(an_example_can_be_looked_at),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
