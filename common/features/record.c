/* SPDX-License-Identifier: MIT
 * record: the columns of a record itself, and which of them are wanted; see record.h. */
#include "features/record.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* ---- the columns ---- */

static double n_turns(const struct data_record *r, const struct example *x)
{
    (void)x;
    return r->n_turns;
}

/* UTF-8: every byte but those that go on with a character begins one. */
static double chars_y(const struct data_record *r, const struct example *x)
{
    int64_t n = 0;
    (void)x;
    for (int k = 0; k < r->n_turns; k++)
        for (size_t i = 0; r->turns[k].role == DATA_ASSISTANT && i < r->turns[k].len; i++)
            n += ((unsigned char)r->turns[k].text[i] & 0xC0) != 0x80;
    return (double)n;
}

static const struct record_column columns[] = {
    {"n_turns", "turns of the conversation", n_turns},
    {"chars_y", "characters of the responses", chars_y},
    {NULL, NULL, NULL},
};

const struct record_column *record_columns(void)
{
    return columns;
}

/* ---- a choice ---- */

static const struct record_column *find(const char *name, size_t len)
{
    const struct record_column *c = columns;
    while (c->name && (strlen(c->name) != len || memcmp(c->name, name, len) != 0))
        c++;
    return c->name ? c : NULL;
}

static int unknown(const char *name, size_t len, struct err *e)
{
    struct buf all = {0};
    for (const struct record_column *c = columns; c->name; c++)
        buf_printf(&all, "%s, ", c->name);
    err_set(e, ERR_RANGE, "'%.*s' is not one of %sall", (int)len, name, buf_str(&all));
    buf_free(&all);
    return ERR_RANGE;
}

static int add(struct record_choice *c, const struct record_column *column, struct err *e)
{
    for (int64_t k = 0; k < c->n; k++)
        if (c->column[k] == column)
            return err_set(e, ERR_RANGE, "%s twice", column->name);
    c->column[c->n] = column;
    c->names[c->n++] = mem_strdup(column->name);
    return 0;
}

int record_choose(struct record_choice *c, const char *list, struct err *e)
{
    int rc = 0;
    *c = (struct record_choice){0};
    if (!list || !*list)
        return 0;
    c->column = mem_zalloc(sizeof columns / sizeof *columns, sizeof *c->column);
    c->names = mem_zalloc(sizeof columns / sizeof *columns, sizeof *c->names);
    for (int k = 0; !strcmp(list, "all") && columns[k].name; k++)
        rc = rc ? rc : add(c, &columns[k], e);
    for (const char *at = c->n ? "" : list; !rc && *at;) {
        size_t len = strcspn(at, ",");
        const struct record_column *column = find(at, len);
        rc = column ? add(c, column, e) : unknown(at, len, e);
        at += len + (at[len] == ',');
    }
    return rc;
}

void record_choice_free(struct record_choice *c)
{
    for (int64_t k = 0; k < c->n; k++)
        free(c->names[k]);
    free(c->names);
    free(c->column);
    *c = (struct record_choice){0};
}
