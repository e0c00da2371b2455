/* SPDX-License-Identifier: MIT
 * compare: paired differences; see compare.h. */
#include "eval/compare.h"

#include "base/text.h"
#include "stream/prov.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int other_records(const struct eval_row *p, const struct eval_row *q, const char *name_a,
                         const char *name_b, struct err *e)
{
    char a[17], b[17];
    if (p->record != q->record)
        return err_set(e, ERR_MISMATCH,
                       "%s goes on with record %" PRId64 " of %s, %s with record %" PRId64
                       " of %s",
                       name_a, p->record, p->file, name_b, q->record, q->file);
    return err_set(e, ERR_MISMATCH,
                   "record %" PRId64 " of %s (line %" PRId64
                   "): was asked otherwise: prompt %s in %s, %s in %s",
                   p->record, p->file, p->line, prov_hex(a, p->hash), name_a,
                   prov_hex(b, q->hash), name_b);
}

static int check_weights(const struct eval_schema *s, const struct eval_row *p,
                         const struct eval_row *q, struct err *e)
{
    for (const struct eval_metric *m = s->metrics; m->name; m++)
        if (m->weight >= 0 && eval_weight(p, m) != eval_weight(q, m))
            return err_set(e, ERR_MISMATCH,
                           "record %" PRId64 " of %s (line %" PRId64
                           "): %g %s in the one, %g in the other: other tokenizers?",
                           p->record, p->file, p->line, eval_weight(p, m),
                           s->columns[m->weight].name, eval_weight(q, m));
    return 0;
}

int eval_check_pair(const struct eval_result *a, const char *name_a,
                    const struct eval_result *b, const char *name_b, struct err *e)
{
    if (strcmp(a->task, b->task) != 0)
        return err_set(e, ERR_MISMATCH, "%s is of the task %s, %s of %s", name_a, a->task,
                       name_b, b->task);
    for (int64_t i = 0; i < a->n_rows && i < b->n_rows; i++) {
        const struct eval_row *p = &a->rows[i], *q = &b->rows[i];
        if (p->record != q->record || p->hash != q->hash)
            return other_records(p, q, name_a, name_b, e);
        int rc = check_weights(a->schema, p, q, e);
        if (rc < 0)
            return rc;
    }
    if (a->n_rows != b->n_rows)
        return err_set(e, ERR_MISMATCH, "%s has %" PRId64 " records, %s has %" PRId64, name_a,
                       a->n_rows, name_b, b->n_rows);
    return 0;
}

/* P(X <= k) of X ~ Binomial(n, 1/2), summed from the largest term down. */
static double binomial_tail(int64_t k, int64_t n)
{
    double term = exp(lgamma((double)n + 1) - lgamma((double)k + 1) -
                      lgamma((double)(n - k) + 1) - (double)n * log(2.0));
    double sum = 0;
    for (; k >= 0 && term > sum * 1e-17; k--) {
        sum += term;
        term *= (double)k / (double)(n - k + 1);
    }
    return sum;
}

double eval_sign_test(int64_t n_more, int64_t n_less)
{
    int64_t n = n_more + n_less;
    double p = n ? 2 * binomial_tail(n_more < n_less ? n_more : n_less, n) : 1;
    return p < 1 ? p : 1;
}

struct eval_difference eval_compare(const struct eval_result *a, const struct eval_result *b,
                                    const struct eval_metric *m, const char *group)
{
    struct eval_difference x = {.n_more = 0};
    double *d = mem_alloc((size_t)a->n_rows, sizeof *d);
    double *w = mem_alloc((size_t)a->n_rows, sizeof *w);
    double sum_a = 0, sum_b = 0, sum_w = 0;
    int64_t n = 0;
    for (int64_t i = 0; i < a->n_rows; i++) {
        double va = a->rows[i].value[m->value], vb = b->rows[i].value[m->value];
        double weight = eval_weight(&a->rows[i], m);
        if (!isfinite(va) || !isfinite(vb) || !isfinite(weight) ||
            (group && strcmp(a->rows[i].group, group) != 0))
            continue;
        sum_a += va;
        sum_b += vb;
        sum_w += weight;
        x.n_more += vb > va;
        x.n_less += vb < va;
        d[n] = vb - va;
        w[n++] = weight;
    }
    x.of = eval_estimate_of(d, w, n);
    x.a = sum_a / sum_w;
    x.b = sum_b / sum_w;
    x.p = eval_sign_test(x.n_more, x.n_less);
    free(d);
    free(w);
    return x;
}

/* ---- as CSV ---- */

static void put_number(struct buf *out, double v)
{
    buf_putc(out, ',');
    if (isfinite(v))
        text_put_real(out, v, TEXT_DOUBLE);
}

static void put_group(struct buf *out, const struct eval_result *a, const struct eval_result *b,
                      const char *group)
{
    for (const struct eval_metric *m = a->schema->metrics; m->name; m++) {
        struct eval_difference x = eval_compare(a, b, m, group);
        buf_printf(out, "%s,", a->task);
        eval_put_field(out, group ? group : "");
        buf_printf(out, ",%s,%" PRId64, m->name, x.of.n);
        put_number(out, x.a);
        put_number(out, x.b);
        put_number(out, x.of.mean);
        put_number(out, x.of.error);
        buf_printf(out, ",%" PRId64 ",%" PRId64, x.n_more, x.n_less);
        put_number(out, x.p);
        buf_putc(out, '\n');
    }
}

void eval_put_comparison(struct buf *out, const struct eval_result *a,
                         const struct eval_result *b)
{
    int64_t n = 0;
    const char **groups = eval_groups(a, &n);
    buf_puts(out, "task,group,metric,n,a,b,difference,stderr,more,less,p_sign\n");
    put_group(out, a, b, NULL);
    for (int64_t i = 0; i < n; i++)
        put_group(out, a, b, groups[i]);
    free(groups);
}
