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

static int measure(struct given *g, int64_t k, const struct dataset *d, struct err *e)
{
    double sum = 0, v, low = (double)INFINITY, high = -(double)INFINITY;
    int64_t n = 0;
    g->n_missing[k] = 0;
    g->first_missing[k] = -1;
    for (int64_t i = 0; i < d->n_records; i++) {
        if (!number_of(&d->records[i], g->names[k], &v)) {
            g->first_missing[k] = g->n_missing[k]++ ? g->first_missing[k] : i;
            continue;
        }
        sum += v;
        low = fmin(low, v);
        high = fmax(high, v);
        n++;
    }
    if (!n)
        return err_set(e, ERR_EMPTY, "%s: no record has a number in \"%s\"", d->name,
                       g->names[k]);
    if (n > 1 && !(low < high))
        return err_set(e, ERR_RANGE, "%s: every number in \"%s\" is %g", d->name, g->names[k],
                       low);
    g->mean[k] = sum / (double)n;
    return 0;
}

int given_measure(struct given *g, const struct dataset *d, struct err *e)
{
    int rc = 0;
    for (int64_t k = 0; !rc && k < g->n; k++)
        rc = measure(g, k, d, e);
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
