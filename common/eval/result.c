/* SPDX-License-Identifier: MIT
 * result: rows of an evaluation, their means and errors; see result.h. */
#include "eval/result.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

struct eval_row *eval_result_add(struct eval_result *r, const char *file, int64_t record,
                                 int64_t line, const char *group, uint64_t hash)
{
    const struct eval_row *last = r->n_rows ? &r->rows[r->n_rows - 1] : NULL;
    bool is_same = last && strcmp(last->file, file) == 0;
    bool is_same_group = last && strcmp(last->group, group) == 0;
    struct eval_row row = {
        .file = is_same ? last->file : arena_strndup(&r->text, file, strlen(file)),
        .group = is_same_group ? last->group : arena_strndup(&r->text, group, strlen(group)),
        .record = record,
        .line = line,
        .hash = hash};
    for (int i = 0; i < EVAL_MAX_COLUMNS; i++)
        row.value[i] = NAN;
    MEM_GROW(r->rows, r->rows_cap, r->n_rows + 1);
    r->rows[r->n_rows] = row;
    return &r->rows[r->n_rows++];
}

void eval_result_miss(struct eval_result *r, const char *file, int64_t record, int64_t line,
                      const char *fmt, ...)
{
    struct buf why = {0};
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&why, fmt, ap);
    va_end(ap);
    MEM_GROW(r->misses, r->misses_cap, r->n_misses + 1);
    r->misses[r->n_misses++] =
        (struct eval_miss){.file = arena_strndup(&r->text, file, strlen(file)),
                           .record = record,
                           .line = line,
                           .why = arena_strndup(&r->text, buf_str(&why), why.len)};
    buf_free(&why);
}

void eval_result_free(struct eval_result *r)
{
    free(r->rows);
    free(r->misses);
    arena_free(&r->text);
    *r = (struct eval_result){0};
}

int eval_n_columns(const struct eval_schema *s)
{
    int n = 0;
    while (s->columns[n].name)
        n++;
    return n;
}

int eval_n_metrics(const struct eval_schema *s)
{
    int n = 0;
    while (s->metrics[n].name)
        n++;
    return n;
}

/* ---- means ---- */

double eval_weight(const struct eval_row *row, const struct eval_metric *m)
{
    return m->weight < 0 ? 1 : row->value[m->weight];
}

struct eval_estimate eval_estimate_of(const double *value, const double *weight, int64_t n)
{
    double sum = 0, sum_weight = 0, sum_square = 0;
    struct eval_estimate x = {.n = n, .mean = NAN, .error = NAN};
    for (int64_t i = 0; i < n; i++) {
        sum += value[i];
        sum_weight += weight[i];
    }
    if (n > 0 && sum_weight > 0)
        x.mean = sum / sum_weight;
    for (int64_t i = 0; i < n; i++) {
        double d = value[i] - x.mean * weight[i];
        sum_square += d * d;
    }
    if (n > 1 && sum_weight > 0)
        x.error = sqrt((double)n / (double)(n - 1) * sum_square) / sum_weight;
    return x;
}

struct eval_estimate eval_estimate(const struct eval_result *r, const struct eval_metric *m,
                                   const char *group)
{
    double *value = mem_alloc((size_t)r->n_rows, sizeof *value);
    double *weight = mem_alloc((size_t)r->n_rows, sizeof *weight);
    int64_t n = 0;
    for (int64_t i = 0; i < r->n_rows; i++) {
        const struct eval_row *row = &r->rows[i];
        double v = row->value[m->value], w = eval_weight(row, m);
        if (!isfinite(v) || !isfinite(w) || (group && strcmp(row->group, group) != 0))
            continue;
        value[n] = v;
        weight[n++] = w;
    }
    struct eval_estimate x = eval_estimate_of(value, weight, n);
    free(value);
    free(weight);
    return x;
}

/* Groups are few, and the rows of one lie together, mostly. */
const char **eval_groups(const struct eval_result *r, int64_t *n)
{
    const char **groups = NULL;
    size_t cap = 0;
    *n = 0;
    for (int64_t i = 0; i < r->n_rows; i++) {
        int64_t k = *n - 1;
        while (k >= 0 && strcmp(groups[k], r->rows[i].group) != 0)
            k--;
        if (k >= 0 || !r->rows[i].group[0])
            continue;
        MEM_GROW(groups, cap, *n + 1);
        groups[(*n)++] = r->rows[i].group;
    }
    return groups;
}

/* ---- hashes ---- */

struct eval_hash {
    XXH64_state_t *state;
};

struct eval_hash *eval_hash_new(void)
{
    struct eval_hash *h = mem_zalloc(1, sizeof *h);
    h->state = XXH64_createState();
    XXH64_reset(h->state, 0);
    return h;
}

void eval_hash_add(struct eval_hash *h, int kind, const char *s, size_t len)
{
    unsigned char head[9] = {(unsigned char)kind};
    for (int i = 0; i < 8; i++)
        head[1 + i] = (unsigned char)((uint64_t)len >> (8 * i));
    XXH64_update(h->state, head, sizeof head);
    if (len)
        XXH64_update(h->state, s, len);
}

uint64_t eval_hash_end(struct eval_hash *h)
{
    uint64_t hash = XXH64_digest(h->state);
    XXH64_freeState(h->state);
    free(h);
    return hash;
}
