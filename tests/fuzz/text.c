/* SPDX-License-Identifier: MIT
 * text: targets of what is written as text: datasets, benchmarks, templates, tokenizers. */
#include "base/mem.h"
#include "data/dataset.h"
#include "data/tmpl.h"
#include "eval/eval.h"
#include "eval/question.h"
#include "eval/result.h"
#include "fuzz.h"
#include "stream/zio.h"
#include "text/tok.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_RECORDS = 8 };
static struct tok *plain_tok;
static struct dataset records; /* what templates are rendered with */
static struct data_reader *reader;

void fuzz_text_set_up(void)
{
    struct err e = ERR_INIT;
    struct data_options o = {0};
    fuzz_copy("fixtures/tok/pieces.json", "pieces.json");
    fuzz_copy("fuzz/base/records.jsonl", "records.jsonl");
    char *path = fuzz_path("pieces.json"), *data = fuzz_path("records.jsonl");
    plain_tok = tok_load_json(path, &e);
    if (!plain_tok || dataset_read(&records, data, &o, &e) < 0 ||
        records.n_records > MAX_RECORDS)
        abort();
    reader = data_reader_new(&records);
    free(path);
    free(data);
}

void fuzz_text_tear_down(void)
{
    data_reader_free(reader);
    dataset_free(&records);
    tok_free(plain_tok);
}

/* ---- datasets ---- */

static bool read_dataset(const char *name, const uint8_t *data, size_t len)
{
    struct err e = ERR_INIT;
    struct dataset d = {0};
    struct data_options o = {.on_error = len % 2 ? DATA_SKIP : DATA_FAIL};
    char *path = fuzz_path(name);
    fuzz_put(name, data, len);
    int rc = dataset_read(&d, path, &o, &e);
    dataset_free(&d);
    free(path);
    return rc == 0;
}

bool run_json(const uint8_t *data, size_t len)
{
    return read_dataset("d.json", data, len);
}

bool run_jsonl(const uint8_t *data, size_t len)
{
    return read_dataset("d.jsonl", data, len);
}

bool run_csv(const uint8_t *data, size_t len)
{
    return read_dataset("d.csv", data, len);
}

/* Whatever is folded: read whole, and as records. */
bool run_packed(const uint8_t *data, size_t len)
{
    struct err e = ERR_INIT;
    char *text, *path = fuzz_path("p.jsonl.gz");
    size_t n;
    uint64_t hash;
    read_dataset("p.jsonl.gz", data, len);
    int rc = zin_read_all(path, &text, &n, &hash, &e);
    if (rc >= 0)
        free(text);
    free(path);
    return rc >= 0;
}

/* A list of records, as raise-export -f indices writes it. */
bool run_numbers(const uint8_t *data, size_t len)
{
    struct err e = ERR_INIT;
    int64_t *rows, n;
    char *path = fuzz_path("numbers");
    fuzz_put("numbers", data, len);
    int rc = dataset_find_numbers(&records, path, &rows, &n, &e);
    if (rc >= 0)
        free(rows);
    free(path);
    return rc >= 0;
}

/* ---- benchmarks ---- */

static void ask(const struct question_file *f)
{
    struct buf b = {0};
    for (int64_t i = 0; i < f->n; i++) {
        const struct question *q = &f->questions[i];
        question_put_about(&b, q, QUESTION_BY_DEFAULT);
        question_put(&b, q, QUESTION_BY_LETTER);
        question_put(&b, q, QUESTION_BY_TEXT);
        question_put_choice(&b, q, q->answer, QUESTION_BY_DEFAULT);
        b.len = 0;
    }
    buf_free(&b);
}

bool run_questions(const uint8_t *data, size_t len)
{
    struct err e = ERR_INIT;
    struct question_file f = {0};
    struct data_options o = {.on_error = DATA_SKIP};
    const char *name = len && data[0] == '{'   ? "q.jsonl"
                       : len && data[0] == '[' ? "q.json"
                                               : "birds_test.csv";
    char *path = fuzz_path(name);
    fuzz_put(name, data, len);
    int rc = question_file_read(&f, path, NULL, &o, &e);
    if (!rc) {
        ask(&f);
        question_file_free(&f);
    }
    free(path);
    return !rc;
}

bool run_results(const uint8_t *data, size_t len)
{
    struct err e = ERR_INIT;
    struct eval_result r = {0};
    struct buf b = {0};
    char *path = fuzz_path("r.csv");
    fuzz_put("r.csv", data, len);
    int rc = eval_result_read(&r, path, eval_schema_of, &e);
    if (!rc) {
        eval_put_csv(&b, &r);
        eval_put_summary(&b, &r);
    }
    eval_result_free(&r);
    buf_free(&b);
    free(path);
    return !rc;
}

/* ---- templates ---- */

static void render(const struct tmpl *t)
{
    for (int64_t i = 0; i < records.n_records; i++) {
        struct err e = ERR_INIT;
        struct tmpl_text x = {0};
        const struct data_record *r = data_reader_get(reader, i, &e);
        if (!r)
            abort();
        (void)tmpl_unheeded(t, r);
        if (tmpl_render(t, r, &x, &e) == 0)
            tmpl_text_free(&x);
    }
    for (int i = 0; tmpl_markup(t, i); i++)
        ;
}

/* Takes both over. */
static bool run_parsed(struct tmpl *t, char *text)
{
    bool is_read = t != NULL;
    if (t)
        render(t);
    tmpl_free(t);
    free(text);
    return is_read;
}

bool run_template(const uint8_t *data, size_t len)
{
    struct err e = ERR_INIT;
    char *text =
        mem_strndup((const char *)data, len); /* ends with NUL, as file_read_all's does */
    return run_parsed(tmpl_parse("t", text, len, &e), text);
}

/* A template that a model ships. */
bool run_jinja(const uint8_t *data, size_t len)
{
    struct err e = ERR_INIT;
    char *text = mem_strndup((const char *)data, len);
    struct tmpl_model m = {
        .name = "fuzz", .text = text, .bos = "<s>", .eos = "</s>", .now = 1721995200};
    return run_parsed(tmpl_of_model(&m, &e), text);
}

/* ---- tokenizers ---- */

void fuzz_encode(const struct tok *t, const char *s, size_t len)
{
    struct err e = ERR_INIT;
    struct tok_ids ids = {0};
    struct buf text = {0};
    if (tok_encode(t, s, len, TOK_SPECIAL | TOK_ADD, &ids, &e) >= 0)
        (void)!tok_decode(t, ids.ids, ids.n, true, &text, &e);
    free(ids.ids);
    buf_free(&text);
}

static bool load(void)
{
    static const char text[] =
        "Hello  World,\n\t2024 it's \xc3\xa9t\xc3\xa9 <s> \xf0\x9f\x98\x80";
    struct err e = ERR_INIT;
    char *path = fuzz_path("tokenizer.json");
    struct tok *t = tok_load_json(path, &e);
    if (t)
        fuzz_encode(t, text, sizeof text - 1);
    bool is_read = t != NULL;
    tok_free(t);
    free(path);
    return is_read;
}

bool run_tokenizer(const uint8_t *data, size_t len)
{
    fuzz_put("tokenizer.json", data, len);
    fuzz_put("tokenizer_config.json", "{}", 2);
    return load();
}

/* tokenizer_config.json, whose names and added tokens are a tokenizer's, too. */
bool run_special(const uint8_t *data, size_t len)
{
    fuzz_copy("fixtures/tok/pieces.json", "tokenizer.json");
    fuzz_put("tokenizer_config.json", data, len);
    return load();
}

bool run_encode(const uint8_t *data, size_t len)
{
    fuzz_encode(plain_tok, (const char *)data, len);
    return true;
}
