/* SPDX-License-Identifier: MIT
 * share: what sequences of a piece begin with alike, a template's words, a benchmark's
 * examples, is worked on once.
 *
 * The piece's rows are the nodes of the trie of its sequences: embedding, norms, products and
 * the MLP, most of the work, go over these. Only attention goes over all rows, each sequence
 * with a copy of what it shares (op sum_rows): its keys and values spread out beforehand, its
 * outputs taken from the first copy. Backward, gradients of an output go to the first copy
 * alone, and those of keys and values are summed over the copies: since copies are alike, so
 * are their outputs, and the sum is the gradient of the one row. Rows that predict a target,
 * and all after them, are a sequence's own while training. Found from token ids: no template is
 * known here. */
#include "base/mem.h"
#include "lm/model.h"

#include <stdlib.h>
#include <string.h>

enum { NONE = -1 };

static void clear(struct lm_share *h, size_t n_slots)
{
    if (n_slots > h->n_slots) {
        h->key = mem_realloc(h->key, n_slots, sizeof *h->key);
        h->row = mem_realloc(h->row, n_slots, sizeof *h->row);
        h->n_slots = n_slots;
    }
    for (size_t i = 0; i < h->n_slots; i++)
        h->row[i] = NONE;
}

void lm_share_begin(struct lm_piece *p, int64_t most_rows)
{
    size_t n_slots = 64;
    while (n_slots < 2 * (size_t)most_rows)
        n_slots *= 2;
    if (!p->share)
        p->share = mem_zalloc(1, sizeof *p->share);
    clear(p->share, n_slots);
    MEM_GROW(p->share->at.offsets, p->share->cap_offsets, 1);
    p->share->at.offsets[0] = 0;
}

/* Where the child `id` of a row is, or would be. */
static size_t find(const struct lm_share *h, int64_t parent, int32_t id)
{
    uint64_t key = (uint64_t)(parent + 1) << 32 | (uint32_t)id;
    size_t at = (size_t)((key * 0x9E3779B97F4A7C15u) >> 20) & (h->n_slots - 1);
    while (h->row[at] != NONE && h->key[at] != key)
        at = (at + 1) & (h->n_slots - 1);
    h->key[at] = key;
    return at;
}

int64_t lm_share_rows(struct lm_piece *p, const int32_t *ids, int64_t n, int64_t n_shareable)
{
    struct lm_share *h = p->share;
    int64_t next = p->T, parent = NONE;
    MEM_GROW(h->at.spread, h->cap_spread, p->T_all + n);
    for (int64_t i = 0; i < n; i++) {
        int32_t *row = &h->at.spread[p->T_all + i];
        size_t at = i < n_shareable ? find(h, parent, ids[i]) : 0;
        if (i < n_shareable && h->row[at] != NONE) {
            *row = h->row[at];
        } else {
            *row = (int32_t)next++;
            if (i < n_shareable)
                h->row[at] = *row;
        }
        parent = *row;
    }
    return next - p->T;
}

void lm_share_finish(struct lm_piece *p)
{
    struct lm_share *h = p->share;
    struct lm_share_rows *y = &h->at;
    MEM_GROW(y->home, h->cap_home, p->T);
    MEM_GROW(y->starts, h->cap_starts, p->T + 2);
    MEM_GROW(y->copies, h->cap_copies, p->T_all);
    memset(y->starts, 0, (size_t)(p->T + 2) * sizeof *y->starts);
    int32_t *at = y->starts + 1; /* becomes the starts themselves as copies are placed */
    for (int64_t j = 0; j < p->T_all; j++)
        at[y->spread[j] + 1]++;
    for (int64_t i = 0; i < p->T; i++)
        at[i + 1] += at[i];
    for (int64_t j = 0; j < p->T_all; j++)
        y->copies[at[y->spread[j]]++] = (int32_t)j;
    for (int64_t i = 0; i < p->T; i++)
        y->home[i] = y->copies[y->starts[i]];
}

void lm_share_free(struct lm_share *h)
{
    if (!h)
        return;
    free(h->at.offsets);
    free(h->at.spread);
    free(h->at.home);
    free(h->at.starts);
    free(h->at.copies);
    free(h->key);
    free(h->row);
    free(h);
}
