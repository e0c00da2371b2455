/* SPDX-License-Identifier: MIT
 * plan_record: methods that go by record numbers: a field of the dataset, a list; see
 * plan_make.h. */
#include "base/mem.h"
#include "plan/plan_work.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct numbered {
    int64_t source, index;
};

static int compare_numbered(const void *a, const void *b)
{
    const struct numbered *x = a, *y = b;
    if (x->source != y->source)
        return x->source < y->source ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

/* Index of record `source`, or -1. */
static int64_t find_record(const struct numbered *table, int64_t n, int64_t source)
{
    int64_t lo = 0, hi = n;
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        if (table[mid].source < source)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < n && table[lo].source == source ? table[lo].index : -1;
}

/* ---- scores ---- */

/* Each row's record in the dataset; the hashes show that it is the one that was embedded. */
static int match_records(int64_t *record, const struct plan_request *q, struct err *e)
{
    const struct dataset *d = q->data;
    if (q->f->dataset && q->f->dataset != d->hash)
        return err_set(e, ERR_MISMATCH, "%s: not the dataset that the features were made from",
                       d->name);
    const struct data_claim c = {q->f->n, q->f->source, q->f->hash, "row", "the features"};
    return dataset_join(d, &c, record, e);
}

/* The number in a field of every row's record becomes, or multiplies, its score; a row without
 * one is left out. */
static int multiply_by_field(struct plan_work *w, const int64_t *record, const char *field,
                             struct err *e)
{
    const struct plan_request *q = w->q;
    struct data_reader *reader = data_reader_new(q->data);
    int rc = 0;
    for (int64_t i = 0; i < q->f->n && !rc; i++) {
        double v = (double)NAN;
        if (isnan(w->score[i]))
            continue;
        const struct data_record *r = data_reader_get(reader, record[i], e);
        if (!r)
            rc = dataset_name_record(e, q->data, record[i]);
        else if (!data_record_number(r, field, &v))
            plan_leave_out(w, i, "no number in the field", (double)NAN);
        else if (!isfinite(v))
            plan_leave_out(w, i, "not a finite number in the field", v);
        else
            w->score[i] *= v;
    }
    data_reader_free(reader);
    return rc;
}

/* Scores of the product of n fields. */
static int score_by_fields(struct plan_work *w, const char *const *fields, int n, struct err *e)
{
    const struct plan_request *q = w->q;
    int64_t *record = mem_alloc((size_t)q->f->n, sizeof *record);
    int rc = match_records(record, q, e);
    for (int64_t i = 0; i < q->f->n && !rc; i++)
        w->score[i] = 1;
    for (int k = 0; k < n && !rc; k++) {
        rc = multiply_by_field(w, record, fields[k], e);
        if (!rc && w->report->n_left_out == q->f->n)
            rc = err_set(e, ERR_EMPTY, "%s: no record has a number in \"%s\"", q->data->name,
                         fields[k]);
    }
    free(record);
    return rc;
}

int plan_rank_field(struct plan_work *w, struct err *e)
{
    int rc = score_by_fields(w, &w->q->field, 1, e);
    return rc ? rc : plan_rank_by_score(w, e);
}

/* DEITA's evol score: complexity times quality. */
int plan_rank_product(struct plan_work *w, struct err *e)
{
    char *names = mem_strdup(w->q->field), *comma = strchr(names, ',');
    const char *fields[2] = {names, comma ? comma + 1 : ""};
    int rc = 0;
    if (!comma || comma == names || !comma[1] || strchr(comma + 1, ','))
        rc = err_set(e, ERR_RANGE, "%s: two fields are wanted, as complexity,quality: \"%s\"",
                     w->q->method->name, names);
    else
        *comma = '\0';
    rc = rc ? rc : score_by_fields(w, fields, 2, e);
    free(names);
    return rc ? rc : plan_rank_by_score(w, e);
}

/* AlpaGasus keeps what ChatGPT rated 4.5 or more, of 5. */
int plan_rank_rating(struct plan_work *w, struct err *e)
{
    static const double least = 4.5;
    int rc = score_by_fields(w, &w->q->field, 1, e);
    for (int64_t i = 0; i < w->q->f->n && !rc; i++)
        if (w->score[i] < least)
            plan_leave_out(w, i, "rating below 4.5", w->score[i]);
    return rc ? rc : plan_rank_by_score(w, e);
}

/* ---- only ---- */

int plan_rank_list(struct plan_work *w, struct err *e)
{
    const struct plan_request *q = w->q;
    int64_t n = q->f->n;
    struct numbered *table = mem_alloc((size_t)n, sizeof *table);
    bool *is_listed = mem_zalloc((size_t)n, sizeof *is_listed);
    int rc = q->n_list ? 0 : err_set(e, ERR_EMPTY, "the list is empty");
    for (int64_t i = 0; i < n; i++)
        table[i] = (struct numbered){q->f->source[i], i};
    qsort(table, (size_t)n, sizeof *table, compare_numbered);
    for (int64_t k = 0; k < q->n_list && !rc; k++) {
        int64_t row = find_record(table, n, q->list[k]);
        if (row < 0)
            rc = err_set(e, ERR_RANGE, "record %" PRId64 " of the list is not in the features",
                         q->list[k]);
        else if (is_listed[row])
            rc = err_set(e, ERR_RANGE, "record %" PRId64 " is twice in the list", q->list[k]);
        else
            w->ranked[w->n_ranked++] = row;
        if (!rc)
            is_listed[row] = true;
    }
    free(is_listed);
    free(table);
    return rc;
}
