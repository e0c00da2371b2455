/* SPDX-License-Identifier: MIT
 * Results as CSV and JSON; see result.h. */
#include "base/text.h"
#include "eval/result.h"
#include "stream/prov.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

bool eval_is_json(const char *path)
{
    size_t n = path ? strlen(path) : 0;
    return n > 5 && strcmp(path + n - 5, ".json") == 0;
}

void eval_put_field(struct buf *b, const char *s)
{
    if (!strpbrk(s, "\",\r\n")) {
        buf_puts(b, s);
        return;
    }
    buf_putc(b, '"');
    for (; *s; s++) {
        if (*s == '"')
            buf_putc(b, '"');
        buf_putc(b, *s);
    }
    buf_putc(b, '"');
}

static void put_value(struct buf *b, double v, const struct eval_column *c, const char *none)
{
    if (!isfinite(v))
        buf_puts(b, none);
    else if (c && c->is_integer)
        buf_printf(b, "%.0f", v);
    else
        text_put_real(b, v, TEXT_DOUBLE);
}

/* ---- CSV ---- */

static void put_csv_row(struct buf *b, const struct eval_result *r, const struct eval_row *row)
{
    char hash[17];
    buf_printf(b, "%s,", r->task);
    eval_put_field(b, row->file);
    buf_printf(b, ",%" PRId64 ",%" PRId64 ",", row->record, row->line);
    eval_put_field(b, row->group);
    buf_printf(b, ",%s", prov_hex(hash, row->hash));
    for (int k = 0; k < eval_n_columns(r->schema); k++) {
        buf_putc(b, ',');
        put_value(b, row->value[k], &r->schema->columns[k], "");
    }
    buf_putc(b, '\n');
}

void eval_put_csv(struct buf *b, const struct eval_result *r)
{
    buf_puts(b, "task,file,record,line,group,prompt");
    for (int k = 0; k < eval_n_columns(r->schema); k++)
        buf_printf(b, ",%s", r->schema->columns[k].name);
    buf_putc(b, '\n');
    for (int64_t i = 0; i < r->n_rows; i++)
        put_csv_row(b, r, &r->rows[i]);
}

static void put_summary_group(struct buf *b, const struct eval_result *r, const char *group)
{
    for (int k = 0; k < eval_n_metrics(r->schema); k++) {
        struct eval_estimate x = eval_estimate(r, &r->schema->metrics[k], group);
        buf_printf(b, "%s,", r->task);
        eval_put_field(b, group ? group : "");
        buf_printf(b, ",%s,%" PRId64 ",", r->schema->metrics[k].name, x.n);
        put_value(b, x.mean, NULL, "");
        buf_putc(b, ',');
        put_value(b, x.error, NULL, "");
        buf_putc(b, '\n');
    }
}

void eval_put_summary(struct buf *b, const struct eval_result *r)
{
    int64_t n = 0;
    const char **groups = eval_groups(r, &n);
    buf_puts(b, "task,group,metric,n,mean,stderr\n");
    put_summary_group(b, r, NULL);
    for (int64_t i = 0; i < n; i++)
        put_summary_group(b, r, groups[i]);
    free(groups);
}

/* ---- JSON ---- */

static void put_string(struct buf *b, const char *s)
{
    text_json_string(b, s, strlen(s));
}

static void put_metrics(struct buf *b, const struct eval_result *r, const char *group)
{
    buf_putc(b, '{');
    for (int k = 0; k < eval_n_metrics(r->schema); k++) {
        struct eval_estimate x = eval_estimate(r, &r->schema->metrics[k], group);
        buf_printf(b, "%s\"%s\": {\"n\": %" PRId64 ", \"mean\": ", k ? ", " : "",
                   r->schema->metrics[k].name, x.n);
        put_value(b, x.mean, NULL, "null");
        buf_puts(b, ", \"stderr\": ");
        put_value(b, x.error, NULL, "null");
        buf_putc(b, '}');
    }
    buf_putc(b, '}');
}

static void put_place(struct buf *b, const char *file, int64_t record, int64_t line)
{
    buf_puts(b, "{\"file\": ");
    put_string(b, file);
    buf_printf(b, ", \"record\": %" PRId64 ", \"line\": %" PRId64, record, line);
}

static void put_records(struct buf *b, const struct eval_result *r)
{
    char hash[17];
    for (int64_t i = 0; i < r->n_rows; i++) {
        const struct eval_row *row = &r->rows[i];
        buf_puts(b, i ? ",\n  " : "\n  ");
        put_place(b, row->file, row->record, row->line);
        buf_puts(b, ", \"group\": ");
        put_string(b, row->group);
        buf_printf(b, ", \"prompt\": \"%s\"", prov_hex(hash, row->hash));
        for (int k = 0; k < eval_n_columns(r->schema); k++) {
            buf_printf(b, ", \"%s\": ", r->schema->columns[k].name);
            put_value(b, row->value[k], &r->schema->columns[k], "null");
        }
        buf_putc(b, '}');
    }
}

void eval_put_sample(struct buf *b, const struct eval_row *row)
{
    char hash[17];
    put_place(b, row->file, row->record, row->line);
    buf_printf(b, ", \"prompt\": \"%s\"", prov_hex(hash, row->hash));
}

static void put_misses(struct buf *b, const struct eval_result *r)
{
    for (int64_t i = 0; i < r->n_misses; i++) {
        buf_puts(b, i ? ",\n  " : "\n  ");
        put_place(b, r->misses[i].file, r->misses[i].record, r->misses[i].line);
        buf_puts(b, ", \"why\": ");
        put_string(b, r->misses[i].why);
        buf_putc(b, '}');
    }
}

void eval_put_json(struct buf *b, const struct eval_result *r, const struct eval_note *notes,
                   int n_notes)
{
    int64_t n = 0;
    const char **groups = eval_groups(r, &n);
    buf_puts(b, "{\n \"task\": "); /* the brace alone: rows.h sees one object */
    put_string(b, r->task);
    for (int i = 0; i < n_notes; i++) {
        buf_printf(b, ",\n \"%s\": ", notes[i].key);
        if (notes[i].text)
            put_string(b, notes[i].text);
        else
            buf_printf(b, "%" PRId64, notes[i].number);
    }
    buf_puts(b, ",\n \"metrics\": ");
    put_metrics(b, r, NULL);
    buf_puts(b, ",\n \"groups\": {");
    for (int64_t i = 0; i < n; i++) {
        buf_puts(b, i ? ",\n  " : "\n  ");
        put_string(b, groups[i]);
        buf_puts(b, ": ");
        put_metrics(b, r, groups[i]);
    }
    buf_puts(b, "},\n \"records\": [");
    put_records(b, r);
    buf_puts(b, "],\n \"left_out\": [");
    put_misses(b, r);
    buf_puts(b, "]}\n");
    free(groups);
}
