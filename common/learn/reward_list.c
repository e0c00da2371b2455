/* SPDX-License-Identifier: MIT
 * reward_list: the shortlist of a reward model, and how it moves; see learn_reward.h. */
#include "base/mem.h"
#include "learn/learn_reward.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is_zero(const double *w, int64_t n)
{
    bool is_all = true;
    for (int64_t k = 0; k < n; k++)
        is_all = is_all && w[k] == 0;
    return is_all;
}

/* Rows of J; N: the whole pool. */
static int64_t size_of(const struct policy *p, const struct features *f, int64_t n_picks)
{
    const struct reward_model *x = reward_model_of(p);
    double want = ceil(x->shortlist * (double)n_picks);
    bool is_pool = !reward_is_pairs(x) || (!x->tried && is_zero(x->mu, x->n)) || !(want > 0) ||
                   want >= (double)f->n;
    return is_pool ? f->n : (int64_t)want;
}

/* J as it is kept; how many. */
static int64_t take_listed(const struct reward_model *x, int64_t most, int64_t *rows)
{
    int64_t n = 0;
    for (int64_t k = 0; k < x->n_tried && x->listed; k++)
        if (x->listed[k] && n++ < most)
            rows[n - 1] = x->tried[k];
    return n;
}

int64_t *reward_shortlist(const struct policy *p, const struct features *f, int64_t n_picks,
                          int64_t *n)
{
    const struct reward_model *x = reward_model_of(p);
    *n = size_of(p, f, n_picks);
    int64_t *rows = mem_alloc((size_t)*n, sizeof *rows);
    if (*n == f->n) {
        for (int64_t i = 0; i < *n; i++)
            rows[i] = i;
    } else if (take_listed(x, *n, rows) != *n) {
        /* nothing was tried, or for episodes of another length */
        double *score = mem_alloc((size_t)f->n, sizeof *score);
        reward_believe(p, f, score);
        reward_best(score, f->n, *n, 0, rows);
        free(score);
    }
    return rows;
}

/* The best n rows of those that are marked, best first; n may be more than there are rows. */
static int64_t *best_marked(const double *score, const bool *is_marked, bool mark,
                            int64_t n_rows, int64_t n)
{
    double *s = mem_alloc((size_t)n_rows, sizeof *s);
    int64_t *rows = mem_alloc((size_t)n + 1, sizeof *rows);
    for (int64_t i = 0; i < n_rows; i++)
        s[i] = is_marked[i] == mark ? score[i] : -(double)INFINITY;
    reward_best(s, n_rows, n, 0, rows);
    free(s);
    return rows;
}

static void keep(struct reward_model *x, const bool *is_listed, const bool *is_tried,
                 int64_t n_rows)
{
    int64_t n = 0;
    for (int64_t i = 0; i < n_rows; i++)
        n += is_tried[i];
    x->tried = mem_realloc(x->tried, (size_t)n, sizeof *x->tried);
    x->listed = mem_realloc(x->listed, (size_t)n, sizeof *x->listed);
    x->n_tried = n;
    for (int64_t i = 0, k = 0; i < n_rows; i++)
        if (is_tried[i]) {
            x->tried[k] = i;
            x->listed[k++] = is_listed[i];
        }
}

void reward_move(struct policy *p, const struct features *f, const int64_t *rows, int64_t n)
{
    struct reward_model *x = reward_model_of(p);
    if (n >= f->n || !reward_is_pairs(x))
        return;
    bool *is_in = mem_zalloc(2 * (size_t)f->n, sizeof *is_in), *is_next = is_in + f->n;
    double *score = mem_alloc((size_t)f->n, sizeof *score);
    int64_t n_new = n / 2 < f->n - n ? n / 2 : f->n - n;
    for (int64_t i = 0; i < n; i++)
        is_in[rows[i]] = true;
    reward_believe(p, f, score);
    int64_t *newcomers = best_marked(score, is_in, false, f->n, n_new);
    for (int64_t i = 0; i < n_new; i++)
        is_in[newcomers[i]] = true;
    int64_t *next = best_marked(score, is_in, true, f->n, n);
    for (int64_t i = 0; i < n_new; i++)
        is_in[newcomers[i]] = false;
    for (int64_t i = 0; i < n; i++)
        is_next[next[i]] = is_in[next[i]] = true;
    for (int64_t i = 0; i < x->n_tried; i++)
        is_in[x->tried[i]] = true;
    keep(x, is_next, is_in, f->n);
    free(is_in);
    free(score);
    free(newcomers);
    free(next);
}

int reward_check_lists(const struct policy *p, const struct features *f, struct err *e)
{
    const struct reward_model *x = reward_model_of(p);
    for (int64_t k = 0; k < x->n_tried && x->tried; k++)
        if (x->tried[k] < 0 || x->tried[k] >= f->n)
            return err_set(e, ERR_MISMATCH,
                           "tried: entry %" PRId64 " is row %" PRId64 " of %" PRId64, k,
                           x->tried[k], f->n);
    return 0;
}
