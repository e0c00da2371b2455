/* SPDX-License-Identifier: MIT
 * Questions out of the layouts of benchmarks; see question.h. Numbers are read as the text that
 * they are written as, since a choice may be one. */
#include "base/file.h"
#include "base/rng.h"
#include "data/rows.h"
#include "eval/question.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLE_STREAM = 0x5a }; /* as dataset.c's: the same sample of the same numbers */

struct parser {
    struct arena *a;
    const json_t *o;
    struct question *q;
    const char *labels[QUESTION_MAX_CHOICES]; /* what the answer may be called */
    const char *answer_field;
    struct err *e;
};

/* ---- values ---- */

static int missing(struct parser *p, const char *field)
{
    const json_t *v = json_object_get(p->o, field);
    return err_set(p->e, ERR_FORMAT, "\"%s\" is %s", field,
                   !v || json_is_null(v) ? "missing" : "not what its layout has there");
}

static const char *keep(struct parser *p, const char *s)
{
    return arena_strndup(p->a, s, strlen(s));
}

static int take_text(struct parser *p, const json_t *o, const char *field)
{
    const char *s = json_string_value(json_object_get(o, field));
    if (!s)
        return missing(p, field);
    p->q->text = keep(p, s);
    return 0;
}

static int add_choice(struct parser *p, const char *text, const char *label)
{
    struct question *q = p->q;
    if (!text || !label)
        return err_set(p->e, ERR_FORMAT, "choice %d: no %s", q->n_choices + 1,
                       text ? "label" : "text");
    if (q->n_choices == QUESTION_MAX_CHOICES)
        return err_set(p->e, ERR_FORMAT, "more than %d choices", QUESTION_MAX_CHOICES);
    p->labels[q->n_choices] = keep(p, label);
    q->choices[q->n_choices++] = keep(p, text);
    return 0;
}

static void replace(char *s, char from, char to)
{
    for (; *s; s++)
        *s = *s == from ? to : *s;
}

static const char *letter(int i)
{
    static const char letters[] = "A\0B\0C\0D\0E\0F\0G\0H\0I\0J\0K\0L\0M\0N\0O\0P\0Q\0R\0S\0T\0"
                                  "U\0V\0W\0X\0Y\0Z";
    return letters + (size_t)i * 2;
}

/* ---- layouts ---- */

/* {"text": [...], "label": [...]} or [{"text", "label"}, ...] */
static int take_labelled(struct parser *p, const json_t *v, const char *field)
{
    const json_t *texts = json_object_get(v, "text"), *labels = json_object_get(v, "label");
    int rc = 0;
    if (json_is_array(v)) {
        for (size_t i = 0; rc == 0 && i < json_array_size(v); i++) {
            const json_t *c = json_array_get(v, i);
            rc = add_choice(p, json_string_value(json_object_get(c, "text")),
                            json_string_value(json_object_get(c, "label")));
        }
        return rc;
    }
    if (!json_is_array(texts) || !json_is_array(labels))
        return missing(p, field);
    if (json_array_size(texts) != json_array_size(labels))
        return err_set(p->e, ERR_FORMAT, "%zu texts of choices, and %zu labels",
                       json_array_size(texts), json_array_size(labels));
    for (size_t i = 0; rc == 0 && i < json_array_size(texts); i++)
        rc = add_choice(p, json_string_value(json_array_get(texts, i)),
                        json_string_value(json_array_get(labels, i)));
    return rc;
}

static int take_arc(struct parser *p)
{
    const json_t *inner = json_object_get(p->o, "question");
    bool is_first = json_is_object(inner); /* publication */
    int rc = take_text(p, is_first ? inner : p->o, is_first ? "stem" : "question");
    p->answer_field = "answerKey";
    return rc < 0 ? rc
                  : take_labelled(p, json_object_get(is_first ? inner : p->o, "choices"),
                                  "choices");
}

static int take_openbookqa(struct parser *p)
{
    int rc = take_text(p, p->o, "question_stem");
    p->answer_field = "answerKey";
    return rc < 0 ? rc : take_labelled(p, json_object_get(p->o, "choices"), "choices");
}

/* A row of Hugging Face's copy: the answer is an index. */
static int take_mmlu(struct parser *p)
{
    const json_t *choices = json_object_get(p->o, "choices");
    const char *subject = json_string_value(json_object_get(p->o, "subject"));
    int rc = take_text(p, p->o, "question");
    p->answer_field = "answer";
    for (size_t i = 0; rc == 0 && i < json_array_size(choices); i++) {
        char index[24];
        snprintf(index, sizeof index, "%zu", i);
        rc = add_choice(p, json_string_value(json_array_get(choices, i)), index);
    }
    if (subject) {
        char *copy = arena_strndup(p->a, subject, strlen(subject));
        replace(copy, '_', ' ');
        p->q->subject = copy;
    }
    return rc;
}

static int take_mmlu_csv(struct parser *p)
{
    int rc = take_text(p, p->o, "question");
    p->answer_field = "answer";
    for (int i = 0; rc == 0 && i < 4; i++)
        rc = add_choice(p, json_string_value(json_object_get(p->o, letter(i))), letter(i));
    return rc;
}

/* "a ) 38 , b ) 27.675 , c ) 1 , 200": up to the next letter, so that a comma may be in a
 * choice; some copies have it as the text of a Python list, quotes and all. */
static int take_mathqa(struct parser *p)
{
    const char *s = json_string_value(json_object_get(p->o, "options"));
    int rc = take_text(p, p->o, "Problem");
    p->answer_field = "correct";
    if (!s)
        return missing(p, "options");
    const char *trim = *s == '[' ? " ,'\"]" : " ,";
    const char *at = strstr(s, "a ) ");
    for (char c = 'a'; rc == 0 && at; c++) {
        const char name[] = {c, '\0'}, after[] = {' ', (char)(c + 1), ' ', ')', ' ', '\0'};
        const char quoted[] = {'\'', (char)(c + 1), ' ', ')', ' ', '\0'};
        const char *text = at + 4, *next = strstr(text, after);
        next = next ? next : strstr(text, quoted);
        size_t n = next ? (size_t)(next - text) : strlen(text);
        while (n > 0 && strchr(trim, text[n - 1]))
            n--;
        rc = add_choice(p, arena_strndup(p->a, text, n), name);
        at = next ? next + 1 : NULL;
    }
    return rc;
}

static bool has(const json_t *o, const char *field)
{
    return json_object_get(o, field) != NULL;
}

/* The first whose fields are there. */
static int take_layout(struct parser *p, const char **style)
{
    const json_t *o = p->o, *question = json_object_get(o, "question");
    bool has_concept = has(o, "question_concept") || has(question, "question_concept");
    *style = has_concept ? "commonsenseqa" : "arc";
    if (json_is_object(question) || json_is_object(json_object_get(o, "choices")))
        return has(o, "question_stem") ? (*style = "openbookqa", take_openbookqa(p))
                                       : take_arc(p);
    *style = "mmlu";
    if (question && json_is_array(json_object_get(o, "choices")))
        return take_mmlu(p);
    if (question && has(o, "A") && has(o, "D"))
        return take_mmlu_csv(p);
    *style = "mathqa";
    if (has(o, "Problem") && has(o, "options"))
        return take_mathqa(p);
    return err_set(p->e, ERR_FORMAT,
                   "no layout of multiple choice that is known: neither question and choices, "
                   "question_stem, Problem and options, nor MMLU's six columns");
}

/* ---- a question ---- */

static int find_answer(struct parser *p)
{
    struct question *q = p->q;
    const char *s = json_string_value(json_object_get(p->o, p->answer_field));
    struct buf known = {0};
    if (q->n_choices < 2)
        return err_set(p->e, ERR_FORMAT, "%d choices: at least two are needed", q->n_choices);
    if (!s)
        return missing(p, p->answer_field);
    s += strspn(s, " ");
    size_t n = strlen(s);
    while (n > 0 && s[n - 1] == ' ')
        n--;
    if (n == 0)
        return err_set(p->e, ERR_FORMAT, "\"%s\" is empty: a question without an answer",
                       p->answer_field);
    for (int i = 0; i < q->n_choices; i++) {
        buf_printf(&known, "%s%s", i ? ", " : "", p->labels[i]);
        if (strlen(p->labels[i]) == n && memcmp(p->labels[i], s, n) == 0) {
            q->answer = i;
            buf_free(&known);
            return 0;
        }
    }
    int rc = err_set(p->e, ERR_FORMAT, "the answer \"%.*s\" is not among the choices: %s",
                     (int)n, s, buf_str(&known));
    buf_free(&known);
    return rc;
}

/* "high_school_biology_test.csv": high school biology */
static char *subject_of(struct arena *a, const char *path)
{
    static const char *const ends[] = {"_test", "_val", "_dev"};
    const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    size_t n = strcspn(base, ".");
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t m = strlen(ends[i]);
        if (n > m && strncmp(base + n - m, ends[i], m) == 0) {
            n -= m;
            break;
        }
    }
    char *s = arena_strndup(a, base, n);
    replace(s, '_', ' ');
    return s;
}

static int parse(struct question_file *f, const struct data_rows *rows, int64_t i,
                 const struct question_style *style, struct question *q, struct err *e)
{
    const char *layout = NULL, *choices[QUESTION_MAX_CHOICES];
    *q = (struct question){.record = i, .subject = "", .choices = choices};
    json_t *o = data_row(rows, i, true, &q->line, e);
    struct parser p = {.a = &f->text, .o = o, .q = q, .e = e};
    int rc = o ? take_layout(&p, &layout) : e->code;
    if (rc == 0)
        rc = find_answer(&p);
    if (rc == 0) {
        q->style = style ? style : question_style_find(layout);
        size_t bytes = (size_t)q->n_choices * sizeof *choices;
        q->choices = arena_take(&f->text, bytes);
        memcpy(q->choices, choices, bytes);
        if (rows->format == DATA_CSV)
            q->subject = subject_of(&f->text, rows->name);
    }
    json_decref(o);
    return rc;
}

/* ---- a file ---- */

void question_file_free(struct question_file *f)
{
    for (int64_t i = 0; i < f->n_problems; i++)
        free(f->problems[i].why);
    free(f->problems);
    free(f->questions);
    free(f->name);
    arena_free(&f->text);
    *f = (struct question_file){0};
}

/* Some copies of MMLU have a line of names. */
static bool is_names(const struct data_rows *rows)
{
    int64_t line;
    json_t *o = data_row(rows, 0, false, &line, NULL);
    const char *q = json_string_value(json_object_get(o, "question"));
    const char *a = json_string_value(json_object_get(o, "answer"));
    bool is = q && a && strcmp(q, "question") == 0 && strcmp(a, "answer") == 0;
    json_decref(o);
    return is;
}

static int read_rows(struct question_file *f, const struct data_rows *rows,
                     const struct question_style *style, const struct data_options *opt,
                     struct err *e)
{
    bool is_part = opt->limit > 0 && !opt->is_sampled;
    int64_t first = rows->format == DATA_CSV && is_names(rows);
    f->questions = mem_alloc((size_t)rows->n, sizeof *f->questions);
    f->problems = mem_alloc((size_t)rows->n, sizeof *f->problems);
    for (int64_t i = first; i < rows->n && !(is_part && f->n >= opt->limit); i++) {
        struct question *q = &f->questions[f->n];
        struct err why = ERR_INIT;
        if (parse(f, rows, i, style, q, &why) == 0) {
            q->record -= first;
            f->n++;
            continue;
        }
        if (opt->on_error == DATA_FAIL)
            return err_set(e, why.code, "%s:%" PRId64 ": record %" PRId64 ": %s", f->name,
                           q->line, i - first, why.msg);
        f->problems[f->n_problems++] = (struct data_problem){
            .source = i - first, .line = q->line, .why = mem_strdup(why.msg)};
    }
    return 0;
}

/* Knuth's algorithm S, as dataset_keep_sample. */
static void keep_sample(struct question_file *f, int64_t limit, uint64_t seed)
{
    struct rng r;
    int64_t n = 0;
    rng_init(&r, seed, SAMPLE_STREAM);
    for (int64_t i = 0; i < f->n && n < limit; i++)
        if ((int64_t)rng_below(&r, (uint64_t)(f->n - i)) < limit - n)
            f->questions[n++] = f->questions[i];
    f->n = n;
}

int question_file_read(struct question_file *f, const char *path,
                       const struct question_style *style, const struct data_options *opt,
                       struct err *e)
{
    static const char *const mmlu[] = {"question", "A", "B", "C", "D", "answer", NULL};
    struct data_rows rows;
    *f = (struct question_file){0};
    int rc = data_rows_read(&rows, path, mmlu, e);
    if (rc < 0)
        return rc;
    f->name = mem_strdup(rows.name);
    rc = read_rows(f, &rows, style, opt, e);
    if (rc == 0 && opt->limit > 0 && f->n > opt->limit)
        keep_sample(f, opt->limit, opt->seed);
    if (rc == 0 && f->n == 0 && f->n_problems)
        rc = err_set(e, ERR_EMPTY,
                     "%s: no usable question among %" PRId64 "; the first: line "
                     "%" PRId64 ": %s",
                     f->name, f->n_problems, f->problems[0].line, f->problems[0].why);
    else if (rc == 0 && f->n == 0)
        rc = err_set(e, ERR_EMPTY, "%s: no questions", f->name);
    data_rows_free(&rows);
    if (rc < 0)
        question_file_free(f);
    return rc;
}
