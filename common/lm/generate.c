/* SPDX-License-Identifier: MIT
 * generate: greedy generation over a cache of keys and values; see generate.h.
 *
 * A pass of the model is a piece over the cache (cached.h): prompts, packed, whose last rows
 * give each its first token; or a step, one row for each sequence in a slot. A sequence's
 * newest token is not in the cache: the next step puts it there and computes from it. */
#include "lm/generate.h"

#include "base/mem.h"
#include "lm/cached.h"
#include "lm/config_check.h"

#include <stdlib.h>
#include <string.h>

struct slot {
    int64_t seq;      /* -1: free */
    int64_t n_cached; /* tokens whose keys and values the cache has */
};

struct run {
    struct lm *m;
    const struct lm_batch *prompts;
    const struct lm_generate_options *o;
    struct lm_generated *out;
    struct lm_cached c; /* p.row_seq: a row's slot */
    struct slot *slots;
    int64_t n_slots, slot_rows;
    int64_t longest;    /* prompt */
    int64_t next;       /* prompt to come */
    int32_t *best_host; /* [p.n_rows] */
    size_t cap_best;
    struct err *e;
};

static int64_t prompt_len(const struct run *r, int64_t seq)
{
    return r->prompts->offsets[seq + 1] - r->prompts->offsets[seq];
}

/* ---- what is asked for ---- */

static int check_prompt(struct run *r, int64_t seq)
{
    const int32_t *ids = r->prompts->ids, *own = ids + r->prompts->offsets[seq];
    int64_t n = prompt_len(r, seq), n_shared = r->o->n_shared;
    if (n < 1)
        return err_set(r->e, ERR_EMPTY, "prompt %lld: no tokens", (long long)seq);
    if (n <= n_shared || memcmp(own, ids, (size_t)n_shared * sizeof *ids) != 0)
        return err_set(r->e, ERR_RANGE, "prompt %lld: does not go on from %lld shared tokens",
                       (long long)seq, (long long)n_shared);
    if (lm_config_check_sequence(&r->m->c, own, n, r->e) < 0)
        return err_prefix(r->e, "prompt %lld", (long long)seq);
    if (lm_config_check_length(&r->m->c, n + r->o->max_new, r->e) < 0)
        return err_prefix(r->e, "prompt %lld of %lld tokens and %lld more", (long long)seq,
                          (long long)n, (long long)r->o->max_new);
    r->longest = n > r->longest ? n : r->longest;
    return 0;
}

static int check(struct run *r)
{
    if (r->o->max_new < 1 || r->o->n_shared < 0)
        return err_set(r->e, ERR_RANGE, "%lld new tokens, %lld shared ones",
                       (long long)r->o->max_new, (long long)r->o->n_shared);
    for (int64_t i = 0; i < r->prompts->n_seqs; i++)
        if (check_prompt(r, i) < 0)
            return r->e->code;
    return 0;
}

/* ---- memory ---- */

static int64_t cache_rows(const struct run *r)
{
    return r->n_slots * r->slot_rows + r->o->n_shared;
}

static int64_t wanted_slots(const struct run *r)
{
    int64_t asked = r->m->o.n_slots, n = r->prompts->n_seqs;
    return lm_device_slots(r->m->d, asked && asked < n ? asked : -n);
}

/* As many slots as are wanted, halved until what is free has room and the device gives it. */
static int reserve_cache(struct run *r)
{
    struct lm *m = r->m;
    int64_t n_free = lm_available_bytes(m);
    r->n_slots = wanted_slots(r);
    while (r->n_slots > 1 && n_free && lm_slot_bytes(m, cache_rows(r)) > n_free)
        r->n_slots /= 2;
    for (;;) {
        if (lm_cached_alloc(&r->c, cache_rows(r), r->e) == 0)
            break;
        if (r->n_slots == 1)
            return ERR_MEMORY;
        r->n_slots /= 2;
    }
    r->slots = mem_alloc((size_t)r->n_slots, sizeof *r->slots);
    for (int64_t i = 0; i < r->n_slots; i++)
        r->slots[i].seq = -1;
    return 0;
}

/* The activations first: the cache takes of what they leave. */
static int reserve(struct run *r)
{
    struct lm *m = r->m;
    int64_t n = wanted_slots(r), least = r->longest > n ? r->longest : n;
    int code;
    while ((code = lm_acts_reserve(m, least, false, r->e)) == ERR_MEMORY &&
           m->o.micro_tokens > least)
        m->o.micro_tokens = m->o.micro_tokens / 2 > least ? m->o.micro_tokens / 2 : least;
    if (code < 0 || lm_rope_reserve(m, r->slot_rows, r->e) < 0)
        return r->e->code;
    return reserve_cache(r);
}

/* ---- tokens ---- */

static bool is_stop(const struct lm_generate_options *o, int32_t id)
{
    for (int64_t i = 0; i < o->n_stop_ids; i++)
        if (o->stop_ids[i] == id)
            return true;
    return false;
}

static int accept(struct run *r, struct slot *slot, int32_t id)
{
    const struct lm_generate_options *o = r->o;
    struct lm_generated *g = &r->out[slot->seq];
    if (id < 0)
        return err_set(r->e, ERR_NONFINITE, "prompt %lld: a logit is not a number",
                       (long long)slot->seq);
    g->ids[g->n++] = id;
    bool is_over = true;
    if (is_stop(o, id))
        g->end = LM_END_TOKEN;
    else if (o->is_over && o->is_over(o->arg, slot->seq, g->ids, g->n))
        g->end = LM_END_CALLER;
    else if (g->n == o->max_new)
        g->end = LM_END_LENGTH;
    else
        is_over = false;
    if (is_over) {
        g->ids = mem_realloc(g->ids, (size_t)g->n, sizeof *g->ids);
        slot->seq = -1;
    }
    return 0;
}

/* Runs the piece, and gives each of its rows' slots the next token. */
static int pass(struct run *r, bool is_whole)
{
    struct lm *m = r->m;
    const struct lm_ops *f = m->d->ops;
    int64_t n_rows = r->c.p.n_rows, V = m->c.n_vocab;
    lm_cached_upload(&r->c, is_whole);
    int32_t *best = m->acts.s.targets; /* of which there are none */
    lm_forward(m, &r->c.p, false);
    for (int64_t at = 0; at < n_rows; at += m->acts.cap_rows) {
        int64_t left = n_rows - at, n = left < m->acts.cap_rows ? left : m->acts.cap_rows;
        lm_row_logits(m, at, n);
        f->argmax(m->d, best + at, m->acts.s.logits, n, V);
    }
    lm_tell_work(m, (double)r->c.p.T);
    if (n_rows == 0)
        return 0;
    MEM_GROW(r->best_host, r->cap_best, n_rows);
    f->download(m->d, r->best_host, best, (size_t)n_rows * sizeof *r->best_host);
    for (int64_t i = 0; i < n_rows; i++)
        if (accept(r, &r->slots[r->c.p.row_seq[i]], r->best_host[i]) < 0)
            return r->e->code;
    return 0;
}

/* ---- prompts ---- */

/* The shared tokens' keys and values lie behind the slots. */
static int64_t shared_base(const struct run *r)
{
    return r->n_slots * r->slot_rows;
}

static int compute_shared(struct run *r)
{
    if (!r->o->n_shared)
        return 0;
    lm_cached_begin(&r->c);
    lm_cached_add(&r->c, r->prompts->ids, r->o->n_shared, 0, shared_base(r));
    return pass(r, true);
}

/* The next prompts into the slots that are free, up to the micro-batch, or one. */
static void admit(struct run *r)
{
    int64_t n_shared = r->o->n_shared;
    lm_cached_begin(&r->c);
    for (int64_t i = 0; i < r->n_slots && r->next < r->prompts->n_seqs; i++) {
        struct slot *slot = &r->slots[i];
        int64_t seq = r->next, n = prompt_len(r, seq);
        if (slot->seq >= 0)
            continue;
        if (r->c.p.T && r->c.p.T + n - n_shared > r->m->o.micro_tokens)
            break;
        lm_cached_copy(&r->c, i * r->slot_rows, shared_base(r), n_shared);
        lm_cached_add(&r->c, r->prompts->ids + r->prompts->offsets[seq] + n_shared,
                      n - n_shared, n_shared, i * r->slot_rows);
        lm_cached_row(&r->c, r->c.p.T - 1, -1, i);
        r->out[seq].ids = mem_alloc((size_t)r->o->max_new, sizeof *r->out[seq].ids);
        *slot = (struct slot){seq, n};
        r->next++;
    }
}

static void step(struct run *r)
{
    lm_cached_begin(&r->c);
    for (int64_t i = 0; i < r->n_slots; i++) {
        struct slot *slot = &r->slots[i];
        if (slot->seq < 0)
            continue;
        const struct lm_generated *g = &r->out[slot->seq];
        lm_cached_add(&r->c, &g->ids[g->n - 1], 1, slot->n_cached++, i * r->slot_rows);
        lm_cached_row(&r->c, r->c.p.T - 1, -1, i);
    }
}

static int generate_all(struct run *r)
{
    int code = compute_shared(r);
    while (code >= 0) {
        admit(r);
        bool is_whole = r->c.p.T > 0 && r->o->n_shared == 0;
        if (!r->c.p.T)
            step(r);
        if (!r->c.p.T)
            break;
        code = pass(r, is_whole);
    }
    return code;
}

int lm_generate(struct lm *m, const struct lm_batch *prompts,
                const struct lm_generate_options *o, struct lm_generated *out, struct err *e)
{
    struct err local = ERR_INIT;
    struct run r = {
        .m = m, .c = {.m = m}, .prompts = prompts, .o = o, .out = out, .e = e ? e : &local};
    memset(out, 0, (size_t)prompts->n_seqs * sizeof *out);
    int code = check(&r);
    if (code < 0 || !prompts->n_seqs)
        return code;
    r.slot_rows = r.longest + o->max_new;
    code = reserve(&r);
    if (code >= 0)
        lm_kept_widen(m, lm_slot_bytes(m, cache_rows(&r)));
    m->d->is_rowwise = true;
    if (code >= 0)
        code = generate_all(&r);
    m->d->is_rowwise = false;
    lm_kept_narrow(m);
    lm_cached_free(&r.c);
    free(r.slots);
    free(r.best_host);
    return code < 0 ? code : 0;
}

void lm_generated_free(struct lm_generated *g, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        free(g[i].ids);
        g[i] = (struct lm_generated){0};
    }
}
