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

int plan_rank_field(struct plan_work *w, struct err *e)
{
    const struct plan_request *q = w->q;
    int64_t *record = mem_alloc((size_t)q->f->n, sizeof *record);
    int rc = match_records(record, q, e);
    for (int64_t i = 0; i < q->f->n && !rc; i++) {
        double v = (double)NAN;
        if (!data_record_number(&q->data->records[record[i]], q->field, &v))
            plan_leave_out(w, i, "no number in the field", (double)NAN);
        else if (!isfinite(v))
            plan_leave_out(w, i, "not a finite number in the field", v);
        else
            w->score[i] = v;
    }
    free(record);
    if (!rc && w->report->n_left_out == q->f->n)
        return err_set(e, ERR_EMPTY, "%s: no record has a number in \"%s\"", q->data->name,
                       q->field);
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
