/* SPDX-License-Identifier: MIT
 * shared: sequences that begin alike, scored with what they share worked off once; see lm.h.
 *
 * Sequences are placed in the cache, as many as there is room for; the beginning of each group
 * among them is computed into the place of its first, copied to the others, and then what is
 * left of all is computed in pieces. A group that goes on beyond the cache has its beginning
 * kept in the first rows, which are no sequence's.
 *
 *     | kept: `longest` rows | sequence | sequence | ...                          |
 */
#include "base/mem.h"
#include "lm/cached.h"

#include <stdlib.h>
#include <string.h>

enum { SLOTS = 8 }; /* sequences of the longest length, where the options do not say */

struct place {
    int64_t seq, group, base, need; /* need: tokens to compute, those shared included */
};

struct run {
    struct lm *m;
    const struct lm_batch *b;
    const struct lm_groups *g;
    const struct lm_next *next;
    double *nll;
    int64_t *count;
    struct lm_cached c;
    struct place *places;
    int64_t n_places;
    int64_t longest, n_wanted; /* tokens of the longest sequence, and of all */
    int64_t seq, group;        /* to be placed next */
    int64_t kept;              /* group whose beginning is in the first rows; -1: none */
    float *loss;
    size_t places_cap, loss_cap;
    struct err *e;
};

/* Tokens of a sequence up to what predicts its last target; 0: it has none. */
static int64_t needed(const struct run *r, int64_t seq)
{
    int64_t from = r->b->offsets[seq], to = r->b->offsets[seq + 1];
    if (r->next)
        return r->next->offsets[seq] < r->next->offsets[seq + 1] ? to - from : 0;
    while (to > from && !r->b->is_loss[to - 1])
        to--;
    return to > from ? to - 1 - from : 0;
}

/* ---- what is asked for ---- */

static int check_sequence(struct run *r, int64_t group, int64_t seq)
{
    const struct lm_batch *b = r->b;
    int64_t from = b->offsets[seq], first = b->offsets[r->g->first[group]];
    int64_t n = r->g->n_shared[group], need = needed(r, seq);
    bool is_bad = need > 0 && (n < 1 || n >= need);
    if (!is_bad && need > 0)
        is_bad = memcmp(b->ids + from, b->ids + first, (size_t)n * sizeof *b->ids) != 0;
    for (int64_t i = 0; !is_bad && need > 0 && !r->next && i <= n; i++)
        is_bad = b->is_loss[from + i];
    if (is_bad)
        return err_set(r->e, ERR_RANGE,
                       "sequence %lld of the batch: does not go on from %lld shared tokens",
                       (long long)seq, (long long)n);
    r->longest = need > r->longest ? need : r->longest;
    r->n_wanted += need;
    return 0;
}

static int check(struct run *r)
{
    int code = lm_batch_check(r->m, r->b, r->e);
    if (code == 0 && r->next)
        code = lm_next_check(r->m, r->b, r->next, r->e);
    if (code == 0 && (!r->g->n || r->g->first[0] != 0 || r->g->first[r->g->n] != r->b->n_seqs))
        code = err_set(r->e, ERR_RANGE, "groups: do not run from 0 to %lld",
                       (long long)r->b->n_seqs);
    for (int64_t g = 0; code == 0 && g < r->g->n; g++)
        for (int64_t s = r->g->first[g]; code == 0 && s < r->g->first[g + 1]; s++)
            code = check_sequence(r, g, s);
    return code;
}

/* The activations first: the cache takes of what they leave. */
static int reserve(struct run *r)
{
    struct lm *m = r->m;
    int64_t n = m->o.n_slots ? m->o.n_slots : SLOTS, n_free = lm_available_bytes(m);
    int code;
    while ((code = lm_acts_reserve(m, r->longest, false, r->e)) == ERR_MEMORY &&
           m->o.micro_tokens > r->longest)
        m->o.micro_tokens =
            m->o.micro_tokens / 2 > r->longest ? m->o.micro_tokens / 2 : r->longest;
    if (code < 0 || lm_rope_reserve(m, r->longest, r->e) < 0)
        return r->e->code;
    for (n = n < 2 ? 2 : n;; n = n / 2 > 2 ? n / 2 : 2) {
        int64_t rows = n * r->longest, all = r->longest + r->n_wanted;
        rows = rows < all ? rows : all;
        if (n > 2 && n_free && lm_slot_bytes(m, rows) > n_free)
            continue;
        code = lm_cached_alloc(&r->c, rows, r->e);
        if (code == 0 || n == 2)
            return code;
    }
}

/* ---- a window ---- */

static bool place_some(struct run *r)
{
    int64_t used = r->longest;
    r->n_places = 0;
    for (; r->seq < r->b->n_seqs; r->seq++) {
        int64_t need = needed(r, r->seq);
        while (r->seq >= r->g->first[r->group + 1])
            r->group++;
        if (need == 0)
            continue;
        if (used + need > r->c.cache.n_rows)
            break;
        MEM_GROW(r->places, r->places_cap, r->n_places + 1);
        r->places[r->n_places++] = (struct place){r->seq, r->group, used, need};
        used += need;
    }
    return r->n_places > 0;
}

static bool is_first(const struct run *r, int64_t i)
{
    return i == 0 || r->places[i].group != r->places[i - 1].group;
}

static void forward(struct run *r, bool is_whole)
{
    lm_cached_upload(&r->c, is_whole);
    lm_forward(r->m, &r->c.p, false);
    lm_tell_work(r->m, (double)r->c.p.T);
}

/* The beginnings of the groups that are new here, and a copy for each sequence. */
static void compute_shared(struct run *r)
{
    struct lm_cached *c = &r->c;
    lm_cached_begin(c);
    for (int64_t i = 0; i < r->n_places; i++) {
        const struct place *x = &r->places[i];
        int64_t n = r->g->n_shared[x->group];
        if (!is_first(r, i) || x->group == r->kept)
            continue;
        if (c->p.T && c->p.T + n > r->m->o.micro_tokens) {
            forward(r, true);
            lm_cached_begin(c);
        }
        lm_cached_add(c, r->b->ids + r->b->offsets[x->seq], n, 0, x->base);
    }
    if (c->p.T)
        forward(r, true);
    for (int64_t i = 0, from = 0; i < r->n_places; i++) {
        const struct place *x = &r->places[i];
        if (is_first(r, i))
            from = x->group == r->kept ? 0 : x->base;
        lm_cached_copy(c, x->base, from, r->g->n_shared[x->group]);
    }
    const struct place *last = &r->places[r->n_places - 1];
    if (r->seq < r->g->first[last->group + 1] && last->group != r->kept) {
        lm_cached_copy(c, 0, last->base, r->g->n_shared[last->group]);
        r->kept = last->group;
    }
}

static void score(struct run *r)
{
    struct lm_piece *p = &r->c.p;
    forward(r, false);
    MEM_GROW(r->loss, r->loss_cap, p->n_rows);
    if (r->next)
        lm_score_next(r->m, p, r->next, r->loss, r->nll);
    else
        lm_score_targets(r->m, p, r->loss, r->nll, r->count);
}

/* What is left of a sequence, and the rows that predict. */
static void add_rest(struct run *r, const struct place *x)
{
    struct lm_piece *p = &r->c.p;
    const int32_t *ids = r->b->ids + r->b->offsets[x->seq];
    int64_t n = r->g->n_shared[x->group], at = p->T;
    lm_cached_add(&r->c, ids + n, x->need - n, n, x->base);
    MEM_GROW(p->seq, p->cap_seqs, p->n_seqs);
    p->seq[p->n_seqs - 1] = x->seq;
    if (r->next) {
        lm_cached_row(&r->c, p->T - 1, 0, x->seq);
        return;
    }
    const uint8_t *is_loss = r->b->is_loss + r->b->offsets[x->seq];
    for (int64_t i = n; i < x->need; i++)
        if (is_loss[i + 1])
            lm_cached_row(&r->c, at + i - n, ids[i + 1], x->seq);
}

static void compute_rest(struct run *r)
{
    lm_cached_begin(&r->c);
    for (int64_t i = 0; i < r->n_places; i++) {
        const struct place *x = &r->places[i];
        int64_t n = x->need - r->g->n_shared[x->group];
        if (r->c.p.T && r->c.p.T + n > r->m->o.micro_tokens) {
            score(r);
            lm_cached_begin(&r->c);
        }
        add_rest(r, x);
    }
    score(r);
}

int lm_shared_nll(struct lm *m, const struct lm_batch *b, const struct lm_groups *g,
                  const struct lm_next *next, double *nll, int64_t *count, struct err *e)
{
    struct err local = ERR_INIT;
    struct run r = {.m = m,
                    .b = b,
                    .g = g,
                    .next = next,
                    .nll = nll,
                    .count = count,
                    .c = {.m = m},
                    .kept = -1,
                    .e = e ? e : &local};
    int code = check(&r);
    for (int64_t i = 0; code == 0 && !next && i < b->n_seqs; i++) {
        nll[i] = 0;
        if (count)
            count[i] = 0;
    }
    if (code == 0 && r.n_wanted) {
        code = reserve(&r);
        while (code == 0 && place_some(&r)) {
            compute_shared(&r);
            compute_rest(&r);
        }
    }
    lm_cached_free(&r.c);
    free(r.places);
    free(r.loss);
    return code;
}
