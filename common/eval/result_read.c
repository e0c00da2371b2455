/* SPDX-License-Identifier: MIT
 * Results read again, from CSV or JSON; see result.h. */
#include "base/text.h"
#include "data/rows.h"
#include "eval/result.h"
#include "stream/prov.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct reader {
    struct eval_result *r;
    const char *name;
    const struct eval_schema *(*schema_of)(const char *task);
    struct err *e;
};

static int fail(struct reader *x, int64_t at, const char *what, const char *key)
{
    return err_set(x->e, ERR_FORMAT, "%s: row %lld: %s \"%s\"", x->name, (long long)at, what,
                   key);
}

static const char *string_of(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

/* A number, or NaN where the cell is empty or null. */
static int read_number(struct reader *x, int64_t at, const json_t *o, const char *key,
                       double *v)
{
    const json_t *j = json_object_get(o, key);
    const char *s = json_string_value(j);
    char *end = NULL;
    if (!j)
        return fail(x, at, "no column", key);
    *v = NAN;
    if (json_is_null(j) || (s && !*s))
        return 0;
    *v = s ? strtod(s, &end) : json_number_value(j);
    if ((s && (end == s || *end)) || (!s && !json_is_number(j)) || !isfinite(*v))
        return fail(x, at, "no number in", key);
    return 0;
}

static int read_whole(struct reader *x, int64_t at, const json_t *o, const char *key,
                      int64_t *n)
{
    double v = 0;
    int rc = read_number(x, at, o, key, &v);
    if (rc < 0)
        return rc;
    if (!(v >= 0 && v < 1e15 && v == floor(v)))
        return fail(x, at, "no whole number in", key);
    *n = (int64_t)v;
    return 0;
}

static int read_row(struct reader *x, int64_t at, const json_t *o)
{
    const char *file = string_of(o, "file"), *group = string_of(o, "group");
    const char *prompt = string_of(o, "prompt");
    const struct eval_schema *s = x->r->schema;
    int64_t record = 0, line = 0;
    uint64_t hash;
    if (!file || !group)
        return fail(x, at, "no text in", file ? "group" : "file");
    if (!prompt || !prov_unhex(prompt, &hash))
        return fail(x, at, "no hash of 16 hex digits in", "prompt");
    int rc = read_whole(x, at, o, "record", &record);
    if (rc == 0)
        rc = read_whole(x, at, o, "line", &line);
    if (rc < 0)
        return rc;
    struct eval_row *row = eval_result_add(x->r, file, record, line, group, hash);
    for (int k = 0; rc == 0 && s->columns[k].name; k++)
        rc = read_number(x, at, o, s->columns[k].name, &row->value[k]);
    return rc;
}

/* The first names the task, all others must be of it. */
static int read_task(struct reader *x, int64_t at, const char *task)
{
    if (!task)
        return fail(x, at, "no results of raise-eval: no text in", "task");
    if (x->r->task)
        return strcmp(x->r->task, task) == 0 ? 0 : fail(x, at, "is of another task,", task);
    x->r->schema = x->schema_of(task);
    if (!x->r->schema)
        return fail(x, at, "is of an unknown task,", task);
    x->r->task = arena_strndup(&x->r->text, task, strlen(task));
    return 0;
}

static int read_csv(struct reader *x, const struct data_rows *rows)
{
    int rc = 0;
    for (int64_t i = 0; rc == 0 && i < rows->n; i++) {
        int64_t line = 0;
        json_t *o = data_row(rows, i, false, &line, x->e);
        if (!o)
            return err_prefix(x->e, "%s:%lld", x->name, (long long)line);
        rc = read_task(x, i, string_of(o, "task"));
        if (rc == 0)
            rc = read_row(x, i, o);
        json_decref(o);
    }
    return rc;
}

static int read_json(struct reader *x, const struct data_rows *rows)
{
    int64_t line = 0;
    json_t *o = data_row(rows, 0, false, &line, x->e);
    if (!o)
        return err_prefix(x->e, "%s:%lld", x->name, (long long)line);
    const json_t *records = json_object_get(o, "records");
    int rc = read_task(x, 0, string_of(o, "task"));
    if (rc == 0 && !json_is_array(records))
        rc = err_set(x->e, ERR_FORMAT, "%s: no results of raise-eval: no list \"records\"",
                     x->name);
    for (size_t i = 0; rc == 0 && i < json_array_size(records); i++)
        rc = read_row(x, (int64_t)i, json_array_get(records, i));
    json_decref(o);
    return rc;
}

int eval_result_read(struct eval_result *r, const char *path,
                     const struct eval_schema *(*schema_of)(const char *task), struct err *e)
{
    struct data_rows rows;
    struct err local = ERR_INIT;
    struct reader x = {.r = r, .schema_of = schema_of, .e = e ? e : &local};
    *r = (struct eval_result){0};
    int rc = data_rows_read(&rows, path, NULL, x.e);
    if (rc < 0)
        return rc;
    x.name = rows.name;
    rc = rows.format == DATA_CSV ? read_csv(&x, &rows) : read_json(&x, &rows);
    if (rc == 0 && r->n_rows == 0)
        rc = err_set(x.e, ERR_EMPTY, "%s: no rows", x.name);
    data_rows_free(&rows);
    if (rc < 0)
        eval_result_free(r);
    return rc;
}
