/* SPDX-License-Identifier: MIT
 * cached: pieces over a cache of keys and values; see cached.h. */
#include "lm/cached.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

int lm_cached_alloc(struct lm_cached *c, int64_t n_rows, struct err *e)
{
    struct lm *m = c->m;
    if (n_rows > INT32_MAX)
        return err_set(e, ERR_MEMORY, "cache of keys and values: %lld rows are too many",
                       (long long)n_rows);
    c->cache.block = lm_dev_alloc(m, "cache of keys and values", lm_slot_bytes(m, n_rows), e);
    c->cache.n_rows = n_rows;
    return c->cache.block ? 0 : ERR_MEMORY;
}

void lm_cached_free(struct lm_cached *c)
{
    if (c->cache.block)
        c->m->d->ops->free(c->m->d, c->cache.block);
    lm_piece_free(&c->p);
    free(c->cells);
    free(c->first);
    *c = (struct lm_cached){.m = c->m};
}

void lm_cached_begin(struct lm_cached *c)
{
    struct lm_piece *p = &c->p;
    p->T = p->n_seqs = p->n_rows = 0;
    MEM_GROW(p->offsets, p->cap_offsets, 1);
    p->offsets[0] = 0;
}

void lm_cached_add(struct lm_cached *c, const int32_t *ids, int64_t n, int64_t position,
                   int64_t base)
{
    struct lm_piece *p = &c->p;
    int64_t end = p->T + n;
    MEM_GROW(p->ids, p->cap_tokens, end);
    MEM_GROW(p->positions, p->cap_positions, end);
    MEM_GROW(p->offsets, p->cap_offsets, p->n_seqs + 2);
    MEM_GROW(c->cells, c->cap_cells, end);
    MEM_GROW(c->first, c->cap_first, end);
    for (int64_t i = 0; i < n; i++) {
        p->ids[p->T + i] = ids[i];
        p->positions[p->T + i] = (int32_t)(position + i);
        c->cells[p->T + i] = (int32_t)(base + position + i);
        c->first[p->T + i] = (int32_t)base;
    }
    p->T = end;
    p->offsets[++p->n_seqs] = (int32_t)end;
}

void lm_cached_row(struct lm_cached *c, int64_t token, int32_t target, int64_t to)
{
    struct lm_piece *p = &c->p;
    MEM_GROW(p->rows, p->cap_rows, p->n_rows + 1);
    MEM_GROW(p->targets, p->cap_targets, p->n_rows + 1);
    MEM_GROW(p->row_seq, p->cap_row_seq, p->n_rows + 1);
    p->rows[p->n_rows] = (int32_t)token;
    p->targets[p->n_rows] = target;
    p->row_seq[p->n_rows++] = to;
}

void lm_cached_upload(struct lm_cached *c, bool is_whole)
{
    struct lm *m = c->m;
    struct lm_scratch *s = &m->acts.s;
    struct lm_piece *p = &c->p;
    int32_t *first = NULL, *cells = NULL;
    const struct {
        const int32_t *from;
        int32_t **to;
        int64_t n;
    } part[] = {{p->ids, &s->ids, p->T},
                {p->positions, &s->positions, p->T},
                {c->cells, &cells, p->T},
                {c->first, &first, is_whole ? 0 : p->T},
                {p->offsets, &s->offsets, is_whole ? p->n_seqs + 1 : 0},
                {p->rows, &s->rows, p->n_rows},
                {p->targets, &s->targets, p->n_rows}};
    int64_t at = 0; /* at most 6 T + 1 numbers: PIECE_INTS */
    MEM_GROW(p->input, p->cap_input, PIECE_INTS * p->T + 1);
    for (size_t i = 0; i < sizeof part / sizeof *part; at += part[i++].n) {
        if (part[i].n)
            memcpy(p->input + at, part[i].from, (size_t)part[i].n * sizeof *part[i].from);
        *part[i].to = s->input + at;
    }
    c->cache.cells = cells;
    c->cache.first = is_whole ? NULL : first;
    p->cache = &c->cache;
    m->d->ops->upload(m->d, s->input, p->input, (size_t)at * sizeof *p->input);
}

void lm_cached_copy(struct lm_cached *c, int64_t to, int64_t from, int64_t n)
{
    const struct lm *m = c->m;
    int64_t width = 2 * m->c.n_kv_heads * m->c.d_head;
    for (int64_t l = 0; n && to != from && l < m->c.n_layers; l++) {
        int64_t at = l * c->cache.n_rows;
        m->d->ops->copy(m->d, lm_cols_mut(m, c->cache.block, (at + to) * width),
                        lm_cols(m, c->cache.block, (at + from) * width),
                        (size_t)(n * width) * lm_act_size(m->d));
    }
}
