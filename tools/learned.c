/* SPDX-License-Identifier: MIT
 * learned: what a learner tells, as files; see learned.h. */
#include "learned.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "learn/liked.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int write_text(const char *path, struct buf *b, struct err *e)
{
    int rc = file_write_all(path, b->data, b->len, e);
    buf_free(b);
    return rc;
}

/* JSON lines; a number that is none is left out. */
static int write_json(const char *path, const struct learn_report *r, struct err *e)
{
    struct buf b = {0};
    for (int64_t i = 0; i < r->n_rows; i++) {
        size_t from = b.len;
        for (int64_t k = 0; k < r->n_names; k++) {
            double v = r->values[i * r->n_names + k];
            if (!isfinite(v))
                continue;
            buf_puts(&b, b.len > from ? ", " : "{");
            text_json_string(&b, r->names[k], strlen(r->names[k]));
            buf_puts(&b, ": ");
            text_put_real(&b, v, TEXT_DOUBLE);
        }
        buf_puts(&b, b.len > from ? "}\n" : "{}\n");
    }
    return write_text(path, &b, e);
}

int learned_metrics(const char *path, const struct learn_report *r, struct err *e)
{
    struct buf b = {0};
    size_t n = strlen(path);
    if (n > 6 && !strcmp(path + n - 6, ".jsonl"))
        return write_json(path, r, e);
    for (int64_t k = 0; k < r->n_names; k++)
        buf_printf(&b, "%s%c", r->names[k], k + 1 < r->n_names ? ',' : '\n');
    for (int64_t i = 0; i < r->n_rows * r->n_names; i++) {
        text_put_real(&b, r->values[i], TEXT_DOUBLE);
        buf_putc(&b, (i + 1) % r->n_names ? ',' : '\n');
    }
    return write_text(path, &b, e);
}

int learned_weights(const char *path, const struct policy *p, struct err *e)
{
    const struct state *s = policy_state(p);
    size_t n = (size_t)s->n_static;
    double *mean = mem_alloc(n, sizeof *mean), *se = mem_alloc(n, sizeof *se);
    double *prior = mem_alloc(n, sizeof *prior);
    struct buf b = {0};
    policy_learner(p)->weights(p, mean, se, prior);
    buf_puts(&b, "feature,weight,standard_error,prior,part\n");
    for (int64_t k = 0; k < s->n_static; k++) {
        char *name = state_phi_name(s, k);
        const double told[] = {mean[k], se[k], prior[k]};
        buf_puts(&b, name);
        for (int i = 0; i < 3; i++) {
            buf_putc(&b, ',');
            text_put_real(&b, told[i], TEXT_DOUBLE);
        }
        buf_printf(&b, ",%s\n", state_phi_part(s, k));
        free(name);
    }
    free(mean);
    free(se);
    free(prior);
    return write_text(path, &b, e);
}

int learned_liked(const char *path, const struct policy *p, const struct features *f,
                  struct err *e)
{
    enum { EACH = 5 };
    struct buf b = {0};
    liked_csv(p, f, EACH, &b);
    return write_text(path, &b, e);
}
