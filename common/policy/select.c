/* SPDX-License-Identifier: MIT
 * select: from scores to a batch; see select.h.
 *
 * Rows are worked on in blocks of fixed size, each block by one thread, and what blocks found
 * is merged in their order: the result does not depend on the number of threads. A block keeps,
 * for each class, the quota's best keys in a small heap. */
#include "policy/select.h"

#include "base/mem.h"
#include "base/rng.h"
#include "base/top.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 1 << 16 };

struct selector {
    int64_t n, n_classes;
    const int32_t *class_of;
    uint16_t *count;
    uint64_t *used;       /* one bit a row */
    int64_t *n_available; /* [n_classes] */
    int64_t *class_size;
};

struct selector *selector_new(int64_t n, const int32_t *class_of, int64_t n_classes)
{
    struct selector *s = mem_zalloc(1, sizeof *s);
    s->n = n;
    s->n_classes = n_classes;
    s->class_of = class_of;
    s->count = mem_zalloc((size_t)n, sizeof *s->count);
    s->used = mem_zalloc((size_t)(n + 63) / 64, sizeof *s->used);
    s->n_available = mem_zalloc((size_t)n_classes, sizeof *s->n_available);
    s->class_size = mem_zalloc((size_t)n_classes, sizeof *s->class_size);
    for (int64_t i = 0; i < n; i++)
        s->class_size[class_of[i]]++;
    selector_reset(s);
    return s;
}

void selector_free(struct selector *s)
{
    if (!s)
        return;
    free(s->count);
    free(s->used);
    free(s->n_available);
    free(s->class_size);
    free(s);
}

void selector_clear(struct selector *s)
{
    memset(s->used, 0, (size_t)(s->n + 63) / 64 * sizeof *s->used);
    memcpy(s->n_available, s->class_size, (size_t)s->n_classes * sizeof *s->n_available);
}

void selector_reset(struct selector *s)
{
    memset(s->count, 0, (size_t)s->n * sizeof *s->count);
    selector_clear(s);
}

const uint16_t *selector_counts(const struct selector *s)
{
    return s->count;
}

bool selector_is_available(const struct selector *s, int64_t i)
{
    return !(s->used[i >> 6] >> (i & 63) & 1);
}

void selector_mark(struct selector *s, const int64_t *picks, int64_t n)
{
    for (int64_t k = 0; k < n; k++) {
        int64_t i = picks[k];
        if (s->count[i] < UINT16_MAX)
            s->count[i]++;
        if (!selector_is_available(s, i))
            continue;
        s->used[i >> 6] |= (uint64_t)1 << (i & 63);
        s->n_available[s->class_of[i]]--;
    }
}

int64_t selector_n_available(const struct selector *s)
{
    int64_t n = 0;
    for (int64_t c = 0; c < s->n_classes; c++)
        n += s->n_available[c];
    return n;
}

void select_quotas(const int64_t *n_available, int64_t n_classes, int64_t batch, int64_t *quota)
{
    int64_t total = 0, sum = 0;
    for (int64_t c = 0; c < n_classes; c++) {
        int64_t share = batch / n_classes;
        quota[c] = n_available[c] < share ? n_available[c] : share;
        total += n_available[c];
        sum += quota[c];
    }
    if (total > batch)
        total = batch;
    for (; sum < total; sum++) {
        int64_t best = 0;
        for (int64_t c = 1; c < n_classes; c++)
            if (n_available[c] - quota[c] > n_available[best] - quota[best])
                best = c;
        quota[best]++;
    }
}

char *select_quotas_text(const int64_t *class_size, int64_t n_classes, int64_t batch)
{
    enum { SHOWN = 8 };
    struct buf b = {0};
    int64_t *quota = mem_alloc((size_t)n_classes, sizeof *quota);
    bool is_same = true;
    select_quotas(class_size, n_classes, batch, quota);
    for (int64_t c = 1; c < n_classes; c++)
        is_same = is_same && quota[c] == quota[0];
    if (is_same)
        buf_printf(&b, "each class gives %" PRId64, quota[0]);
    for (int64_t c = 0; !is_same && c < n_classes && c < SHOWN; c++)
        buf_printf(&b, "%sclass %" PRId64 " gives %" PRId64, c ? ", " : "", c, quota[c]);
    buf_printf(&b, "%s of every %" PRId64, !is_same && n_classes > SHOWN ? " ..." : "", batch);
    free(quota);
    return buf_str(&b);
}

/* What one step's passes over the rows share. */
struct pass {
    const struct selector *s;
    const struct select_options *o;
    const float *scores;
    int64_t n_blocks;
    int64_t *quota, *start; /* start[c]: place of class c's heap within a block's candidates */
    struct top_row *cands;  /* [n_blocks, sum of quotas] */
    int64_t *n_cands;       /* [n_blocks, C] */
    int64_t *bad;           /* [n_blocks]: first row whose score is not finite, or -1 */
};

/* Uniform in (0, 1), so that its Gumbel -log(-log u) is finite: between -3.6 and 36.7. */
static double gumbel_uniform(const struct select_options *o, int64_t row)
{
    double u = rng_hash_unit(o->seed, (uint64_t)o->step, (uint64_t)row, 0) + 0x1p-54;
    return u < 1 ? u : 1 - 0x1p-53;
}

/* No less than the Gumbel of u, without a logarithm: -log u >= 1 - u, and with 1 - u at least
 * 2^-e, -log(1 - u) <= e log 2. Most rows are turned away by this. */
static double gumbel_bound(double u)
{
    double rest = 1 - u;
    uint64_t bits;
    memcpy(&bits, &rest, sizeof bits);
    return (double)(1023 - (int64_t)(bits >> 52)) * 0.6931471805599454;
}

/* The candidate of a row, false if it cannot be better than `worst` (NULL: room is left). */
static bool make_cand(const struct select_options *o, float score, int64_t row,
                      const struct top_row *worst, struct top_row *x)
{
    *x = (struct top_row){.row = row};
    if (o->is_greedy) {
        x->key = (double)score;
        if (worst && x->key < worst->key)
            return false;
        x->tie = ~rng_hash(o->seed, (uint64_t)o->step, (uint64_t)row, 1);
        return true;
    }
    double z = (double)score / o->tau, u = gumbel_uniform(o, row);
    if (worst && z + gumbel_bound(u) < worst->key)
        return false;
    x->key = z - log(-log(u));
    return true;
}

static void scan_block(struct pass *p, int64_t block)
{
    const struct selector *s = p->s;
    int64_t C = s->n_classes, total = p->start[C];
    int64_t end = (block + 1) * BLOCK < s->n ? (block + 1) * BLOCK : s->n;
    p->bad[block] = -1;
    for (int64_t i = block * BLOCK; i < end; i++) {
        int64_t c = s->class_of[i], *n = &p->n_cands[block * C + c];
        struct top_row x, *heap = p->cands + block * total + p->start[c];
        if (!p->o->has_repeats && !selector_is_available(s, i))
            continue;
        if (!isfinite(p->scores[i])) {
            p->bad[block] = i;
            return;
        }
        if (p->quota[c] &&
            make_cand(p->o, p->scores[i], i, *n == p->quota[c] ? heap : NULL, &x))
            top_offer(heap, n, p->quota[c], x);
    }
}

/* Merges the blocks' candidates of class c into out[quota], best first. */
static int64_t merge_class(const struct pass *p, int64_t c, struct top_row *out)
{
    int64_t C = p->s->n_classes, total = p->start[C], n = 0;
    for (int64_t b = 0; b < p->n_blocks; b++)
        for (int64_t k = 0; k < p->n_cands[b * C + c]; k++)
            top_offer(out, &n, p->quota[c], p->cands[b * total + p->start[c] + k]);
    top_sort(out, n);
    return n;
}

/* Running log-sum-exp: value max + log(sum). */
struct lse {
    double max, sum;
};

static void lse_add(struct lse *l, double z)
{
    if (z <= l->max) {
        l->sum += exp(z - l->max);
    } else {
        l->sum = l->sum * exp(l->max - z) + 1;
        l->max = z;
    }
}

static void lse_merge(struct lse *l, const struct lse *x)
{
    if (!(x->sum > 0))
        return;
    if (x->max <= l->max) {
        l->sum += x->sum * exp(x->max - l->max);
    } else {
        l->sum = l->sum * exp(l->max - x->max) + x->sum;
        l->max = x->max;
    }
}

static double log_add(double a, double b)
{
    double hi = a > b ? a : b, lo = a > b ? b : a;
    return isinf(lo) ? hi : hi + log1p(exp(lo - hi));
}

/* First of the chosen, sorted by row, at or after `row`. */
static int64_t first_from(const struct top_row *sorted, int64_t n, int64_t row)
{
    int64_t lo = 0, hi = n;
    while (lo < hi) {
        int64_t mid = (lo + hi) / 2;
        if (sorted[mid].row < row)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static int by_row(const void *a, const void *b)
{
    const struct top_row *x = a, *y = b;
    return x->row < y->row ? -1 : x->row > y->row;
}

/* log pi of the chosen lists, in one more pass: LSE over what was not picked, class by class.
 */
static void list_logps(const struct pass *p, const struct top_row *chosen,
                       const int64_t *list_offset, double *list_logp)
{
    const struct selector *s = p->s;
    int64_t C = s->n_classes, n_chosen = list_offset[C];
    struct lse *part = mem_alloc((size_t)(p->n_blocks * C), sizeof *part);
    struct top_row *sorted = mem_dup(chosen, (size_t)n_chosen * sizeof *chosen);
    qsort(sorted, (size_t)n_chosen, sizeof *sorted, by_row);
#pragma omp parallel for schedule(dynamic)
    for (int64_t b = 0; b < p->n_blocks; b++) {
        struct lse *l = part + b * C;
        int64_t end = (b + 1) * BLOCK < s->n ? (b + 1) * BLOCK : s->n;
        for (int64_t c = 0; c < C; c++)
            l[c] = (struct lse){-(double)INFINITY, 0};
        int64_t next = first_from(sorted, n_chosen, b * BLOCK);
        for (int64_t i = b * BLOCK; i < end; i++) {
            bool is_picked = next < n_chosen && sorted[next].row == i;
            next += is_picked;
            if (!is_picked && (p->o->has_repeats || selector_is_available(s, i)))
                lse_add(&l[s->class_of[i]], (double)p->scores[i] / p->o->tau);
        }
    }
    for (int64_t c = 0; c < C; c++) {
        struct lse rest = {-(double)INFINITY, 0};
        for (int64_t b = 0; b < p->n_blocks; b++)
            lse_merge(&rest, &part[b * C + c]);
        double D = rest.sum > 0 ? rest.max + log(rest.sum) : -(double)INFINITY, logp = 0;
        for (int64_t k = list_offset[c + 1] - 1; k >= list_offset[c]; k--) {
            double z = (double)p->scores[chosen[k].row] / p->o->tau;
            D = log_add(D, z);
            logp += z - D;
        }
        list_logp[c] = logp;
    }
    free(sorted);
    free(part);
}

static void pass_open(struct pass *p)
{
    int64_t C = p->s->n_classes;
    p->n_blocks = (p->s->n + BLOCK - 1) / BLOCK;
    p->quota = mem_alloc((size_t)C, sizeof *p->quota);
    p->start = mem_alloc((size_t)C + 1, sizeof *p->start);
    select_quotas(p->o->has_repeats ? p->s->class_size : p->s->n_available, C, p->o->batch,
                  p->quota);
    p->start[0] = 0;
    for (int64_t c = 0; c < C; c++)
        p->start[c + 1] = p->start[c] + p->quota[c];
    p->cands = mem_alloc((size_t)(p->n_blocks * p->start[C]), sizeof *p->cands);
    p->n_cands = mem_zalloc((size_t)(p->n_blocks * C), sizeof *p->n_cands);
    p->bad = mem_alloc((size_t)p->n_blocks, sizeof *p->bad);
}

static void pass_close(struct pass *p)
{
    free(p->quota);
    free(p->start);
    free(p->cands);
    free(p->n_cands);
    free(p->bad);
}

/* select_batch among what is available now, which is not marked. */
static int64_t draw(const struct selector *s, const float *scores,
                    const struct select_options *o, int64_t *picks, int64_t *list_offset,
                    double *list_logp, struct err *e)
{
    struct pass p = {.s = s, .o = o, .scores = scores};
    int64_t C = s->n_classes, n = 0;
    pass_open(&p);
#pragma omp parallel for schedule(dynamic)
    for (int64_t b = 0; b < p.n_blocks; b++)
        scan_block(&p, b);
    for (int64_t b = 0; b < p.n_blocks; b++)
        if (p.bad[b] >= 0) {
            n = err_set(e, ERR_NONFINITE, "step %lld: the score of row %lld is not finite",
                        (long long)o->step, (long long)p.bad[b]);
            pass_close(&p);
            return n;
        }
    struct top_row *chosen = mem_alloc((size_t)p.start[C], sizeof *chosen);
    for (int64_t c = 0; c < C; c++) {
        list_offset[c] = n;
        n += merge_class(&p, c, chosen + n);
        list_logp[c] = 0;
    }
    list_offset[C] = n;
    for (int64_t k = 0; k < n; k++)
        picks[k] = chosen[k].row;
    if (!o->is_greedy)
        list_logps(&p, chosen, list_offset, list_logp);
    free(chosen);
    pass_close(&p);
    return n;
}

/* The rest of a round, and then from all others: lists of the one before those of the other.
 * The rest has been taken for the round that ends, so the next one may choose it again. */
static int64_t draw_across(struct selector *s, const float *scores,
                           const struct select_options *o, int64_t n_rest, int64_t *picks,
                           int64_t *list_offset, double *list_logp, struct err *e)
{
    struct select_options part = *o;
    int64_t C = s->n_classes, n = 0;
    int64_t *rest = mem_alloc((size_t)o->batch, sizeof *rest), *more = rest + n_rest;
    int64_t *end = mem_alloc(2 * ((size_t)C + 1), sizeof *end), *more_end = end + C + 1;
    part.batch = n_rest;
    n = draw(s, scores, &part, rest, end, list_logp, e);
    if (n < 0)
        goto out;
    selector_clear(s);
    selector_mark(s, rest, n_rest);
    part.batch = o->batch - n_rest;
    n = draw(s, scores, &part, more, more_end, list_logp, e);
    if (n < 0)
        goto out;
    for (int64_t i = 0; i < n_rest; i++) {
        s->used[rest[i] >> 6] &= ~((uint64_t)1 << (rest[i] & 63));
        s->n_available[s->class_of[rest[i]]]++;
    }
    selector_mark(s, more, n);
    n = 0;
    for (int64_t c = 0; c < C; c++) {
        list_offset[c] = n;
        for (int64_t i = end[c]; i < end[c + 1]; i++)
            picks[n++] = rest[i];
        for (int64_t i = more_end[c]; i < more_end[c + 1]; i++)
            picks[n++] = more[i];
    }
    list_offset[C] = n;
out:
    free(rest);
    free(end);
    return n;
}

int64_t select_batch(struct selector *s, const float *scores, const struct select_options *o,
                     int64_t *picks, int64_t *list_offset, double *list_logp, struct err *e)
{
    int64_t n_left = o->has_repeats ? s->n : selector_n_available(s);
    if (n_left && n_left < o->batch && n_left < s->n)
        return draw_across(s, scores, o, n_left, picks, list_offset, list_logp, e);
    if (!n_left)
        selector_clear(s);
    int64_t n = draw(s, scores, o, picks, list_offset, list_logp, e);
    if (n > 0)
        selector_mark(s, picks, n);
    return n;
}

int select_best(const float *scores, int64_t n_rows, int64_t n, uint64_t seed, int64_t *rows,
                struct err *e)
{
    struct rng r;
    int64_t n_best = n % n_rows, n_have = 0, at = 0;
    struct top_row *best = mem_alloc((size_t)n_best + 1, sizeof *best);
    for (int64_t i = 0; i < n_rows; i++) {
        if (!isfinite(scores[i])) {
            free(best);
            return err_set(e, ERR_NONFINITE, "the score of row %lld is not finite",
                           (long long)i);
        }
        struct top_row x = {(double)scores[i], rng_hash(seed, (uint64_t)i, 0, 3), i};
        if (n_best)
            top_offer(best, &n_have, n_best, x);
    }
    rng_init(&r, seed, (uint64_t)1 << 32); /* no step's stream */
    for (; at + n_rows <= n; at += n_rows) {
        for (int64_t i = 0; i < n_rows; i++)
            rows[at + i] = i;
        rng_shuffle(&r, rows + at, n_rows);
    }
    top_sort(best, n_have);
    for (int64_t i = 0; i < n_have; i++)
        rows[at + i] = best[i].row;
    rng_shuffle(&r, rows + at, n_have);
    free(best);
    return 0;
}

double pl_logp(const double *z, int64_t n_avail, const int64_t *pos, int64_t n_list,
               double *grad, double *entropy)
{
    int32_t *place = mem_zalloc((size_t)n_avail, sizeof *place); /* 1 + place in the list */
    double *D = mem_alloc((size_t)n_list + 1, sizeof *D);
    struct lse rest = {-(double)INFINITY, 0}, all = {-(double)INFINITY, 0};
    double logp = 0;
    for (int64_t k = 0; k < n_list; k++)
        place[pos[k]] = (int32_t)(k + 1);
    for (int64_t j = 0; j < n_avail; j++) {
        lse_add(&all, z[j]);
        if (!place[j])
            lse_add(&rest, z[j]);
    }
    D[n_list] = rest.sum > 0 ? rest.max + log(rest.sum) : -(double)INFINITY;
    for (int64_t k = n_list - 1; k >= 0; k--) {
        D[k] = log_add(D[k + 1], z[pos[k]]);
        logp += z[pos[k]] - D[k];
    }
    if (grad) {
        /* LC_m = LSE_{k <= m}(-D_k), upwards; unpicked rows see the whole list. */
        double LC = -(double)INFINITY;
        for (int64_t k = 0; k < n_list; k++) {
            LC = log_add(LC, -D[k]);
            grad[pos[k]] = 1 - exp(z[pos[k]] + LC);
        }
        for (int64_t j = 0; j < n_avail; j++)
            if (!place[j])
                grad[j] = n_list ? -exp(z[j] + LC) : 0;
    }
    if (entropy) {
        double lz = all.max + log(all.sum), h = 0;
        for (int64_t j = 0; j < n_avail; j++)
            h -= exp(z[j] - lz) * (z[j] - lz);
        *entropy = n_avail ? h : 0;
    }
    free(D);
    free(place);
    return logp;
}
