/* SPDX-License-Identifier: MIT
 * given: records' own numbers as columns; see given.h. */
#include "features/given.h"

#include "base/mem.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

int given_parse(struct given *g, const char *list, struct err *e)
{
    *g = (struct given){0};
    for (const char *at = list; at;) {
        size_t len = strcspn(at, ",");
        if (!len || g->n == GIVEN_MAX)
            return err_set(e, ERR_RANGE, "'%s' is not a list of 1 to %d names", list,
                           GIVEN_MAX);
        for (int64_t k = 0; k < g->n; k++)
            if (strlen(g->names[k]) == len && !strncmp(g->names[k], at, len))
                return err_set(e, ERR_RANGE, "'%s' twice", g->names[k]);
        g->names[g->n++] = mem_strndup(at, len);
        at = at[len] ? at + len + 1 : NULL;
    }
    return g->n ? 0 : err_set(e, ERR_RANGE, "no names");
}

static bool number_of(const struct data_record *r, const char *name, double *v)
{
    return data_record_number(r, name, v) && isfinite((float)*v);
}

/* Of one name's numbers. */
struct summary {
    double sum, low, high;
    int64_t n;
};

static void measure(struct given *g, int64_t k, const struct data_record *r, int64_t i,
                    struct summary *s)
{
    double v;
    if (!number_of(r, g->names[k], &v)) {
        g->first_missing[k] = g->n_missing[k]++ ? g->first_missing[k] : i;
        return;
    }
    s->sum += v;
    s->low = s->n ? fmin(s->low, v) : v;
    s->high = s->n ? fmax(s->high, v) : v;
    s->n++;
}

static int conclude(struct given *g, int64_t k, const struct summary *s,
                    const struct dataset *d, struct err *e)
{
    if (!s->n)
        return err_set(e, ERR_EMPTY, "%s: no record has a number in \"%s\"", d->name,
                       g->names[k]);
    if (s->n > 1 && !(s->low < s->high))
        return err_set(e, ERR_RANGE, "%s: every number in \"%s\" is %g", d->name, g->names[k],
                       s->low);
    g->mean[k] = s->sum / (double)s->n;
    return 0;
}

int given_measure(struct given *g, const struct dataset *d, struct err *e)
{
    struct summary s[GIVEN_MAX] = {{0}};
    struct data_reader *reader = data_reader_new(d);
    int rc = 0;
    for (int64_t k = 0; k < g->n; k++) {
        g->n_missing[k] = 0;
        g->first_missing[k] = -1;
    }
    for (int64_t i = 0; !rc && i < d->n_records; i++) {
        const struct data_record *r = data_reader_get(reader, i, e);
        rc = r ? 0 : dataset_name_record(e, d, i);
        for (int64_t k = 0; r && k < g->n; k++)
            measure(g, k, r, i, &s[k]);
    }
    data_reader_free(reader);
    for (int64_t k = 0; !rc && k < g->n; k++)
        rc = conclude(g, k, &s[k], d, e);
    return rc;
}

void given_of(const struct given *g, const struct data_record *r, float *out)
{
    for (int64_t k = 0; k < g->n; k++) {
        double v;
        out[k] = (float)(number_of(r, g->names[k], &v) ? v : g->mean[k]);
    }
}

void given_free(struct given *g)
{
    for (int64_t k = 0; k < g->n; k++)
        free(g->names[k]);
    *g = (struct given){0};
}
