/* SPDX-License-Identifier: MIT
 * liked: see liked.h. */
#include "learn/liked.h"

#include "base/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct end { /* the best so far, best first */
    int n, n_most;
    int64_t *row; /* [n_most] */
    double *key;
};

/* Puts a row where it belongs; the last falls out. Equal keys keep the order of the rows. */
static void offer(struct end *x, const struct features *f, int64_t row, double key)
{
    int at = x->n;
    if (x->n == x->n_most && !(key > x->key[x->n - 1]))
        return;
    for (int i = 0; i < x->n; i++)
        if (f->hash[x->row[i]] == f->hash[row])
            return;
    if (x->n < x->n_most)
        x->n++;
    else
        at--;
    for (; at > 0 && key > x->key[at - 1]; at--) {
        x->row[at] = x->row[at - 1];
        x->key[at] = x->key[at - 1];
    }
    x->row[at] = row;
    x->key[at] = key;
}

static void put_end(struct buf *b, const struct end *x, const struct features *f,
                    const char *name, int sign)
{
    for (int i = 0; i < x->n; i++) {
        buf_printf(b, "%s,%d,%" PRId64 ",%" PRId64 ",", name, sign * (i + 1), x->row[i],
                   f->source[x->row[i]]);
        text_put_real(b, sign * x->key[i], TEXT_FLOAT);
        buf_putc(b, '\n');
    }
}

/* Entry n of the weights stands for their sum. */
static void offer_all(struct end *ends, const struct state *s, const struct features *f,
                      const double *w)
{
    int64_t n = s->n_static;
    float *phi = mem_alloc((size_t)(n * STATE_ROWS), sizeof *phi);
    for (int64_t at = 0; at < f->n; at += STATE_ROWS) {
        int64_t n_rows = f->n - at < STATE_ROWS ? f->n - at : STATE_ROWS;
        state_block(s, f, NULL, at, n_rows, phi);
        for (int64_t i = 0; i < n_rows; i++) {
            double sum = 0;
            for (int64_t k = 0; k <= n; k++) {
                double x = k < n ? w[k] * (double)phi[k * STATE_ROWS + i] : sum;
                sum += k < n ? x : 0;
                offer(&ends[2 * k], f, at + i, x);
                offer(&ends[2 * k + 1], f, at + i, -x);
            }
        }
    }
    free(phi);
}

void liked_csv(const struct policy *p, const struct features *f, int n_each, struct buf *b)
{
    const struct state *s = policy_state(p);
    size_t n = (size_t)s->n_static, n_ends = 2 * (n + 1), each = (size_t)n_each;
    double *w = mem_alloc(3 * n, sizeof *w);
    struct end *ends = mem_zalloc(n_ends, sizeof *ends);
    int64_t *rows = mem_alloc(n_ends * each, sizeof *rows);
    double *keys = mem_alloc(n_ends * each, sizeof *keys);
    for (size_t i = 0; i < n_ends; i++)
        ends[i] =
            (struct end){.n_most = n_each, .row = rows + i * each, .key = keys + i * each};
    policy_learner(p)->weights(p, w, w + n, w + 2 * n);
    offer_all(ends, s, f, w);
    buf_puts(b, "feature,place,row,source,liking\n");
    for (size_t k = 0; k <= n; k++) {
        char *name = k < n ? state_phi_name(s, (int64_t)k) : mem_strdup("score");
        for (int i = 0; i < 2 && (k == n || w[k] != 0); i++)
            put_end(b, &ends[2 * k + (size_t)i], f, name, i ? -1 : 1);
        free(name);
    }
    free(w);
    free(ends);
    free(rows);
    free(keys);
}
