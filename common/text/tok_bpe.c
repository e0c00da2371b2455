/* SPDX-License-Identifier: MIT
 * tok_bpe: byte-pair merges; see tok_priv.h.
 *
 * A word starts as single bytes (byte-level) or characters, and the neighbours whose merge has
 * the lowest rank, leftmost first, become one until none can. Short words are done by scanning
 * an array of ranks, long ones with a heap over a linked list: the same order, O(n log n).
 *
 * A SentencePiece vocabulary has no pre-tokenizer: the whole text is one word. But when no
 * merge makes a token in which "▁" follows another character, no merge ever spans the place
 * between them, and merges on its two sides do not touch each other. The text is cut there.
 *
 * Words come again and again (nineteen of twenty in English), so each thread keeps the ids of
 * short ones in a table of cache lines, indexed by hash; what collides is replaced. */
#include "text/tok_priv.h"
#include "text/tok_uni.h"

#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

enum { SHORT_WORD = 32 };
static const uint32_t NO_RANK = UINT32_MAX;

/* ---- the table of merges ---- */

static size_t pair_slot(const struct tok *t, uint64_t key)
{
    size_t i = (size_t)((key * UINT64_C(0x9e3779b97f4a7c15)) >> t->pair_shift);
    while (t->pairs[i].key != UINT64_MAX && t->pairs[i].key != key)
        i = (i + 1) & (t->n_pair_slots - 1);
    return i;
}

void tok_pairs_reserve(struct tok *t, size_t n)
{
    int bits = 10;
    while (((size_t)1 << bits) < n * 2)
        bits++;
    size_t n_old = t->n_pair_slots;
    struct tok_pair *old = t->pairs;
    t->n_pair_slots = (size_t)1 << bits;
    t->pair_shift = 64 - bits;
    t->pairs = mem_alloc(t->n_pair_slots, sizeof *t->pairs);
    memset(t->pairs, 0xff, t->n_pair_slots * sizeof *t->pairs);
    for (size_t i = 0; i < n_old; i++)
        if (old[i].key != UINT64_MAX)
            t->pairs[pair_slot(t, old[i].key)] = old[i];
    free(old);
}

void tok_pairs_add(struct tok *t, int32_t left, int32_t right, uint32_t rank, int32_t id)
{
    if ((t->n_pairs + 1) * 2 > t->n_pair_slots)
        tok_pairs_reserve(t, t->n_pair_slots + 1024);
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    struct tok_pair *p = &t->pairs[pair_slot(t, key)];
    t->n_pairs += p->key == UINT64_MAX;
    *p = (struct tok_pair){key, rank, id};
}

/* Rank of merging left with right, and the id in *merged; NO_RANK: they do not merge. */
static inline uint32_t pair_rank(const struct tok *t, int32_t left, int32_t right,
                                 int32_t *merged)
{
    if (!t->n_pair_slots)
        return NO_RANK;
    const struct tok_pair *p =
        &t->pairs[pair_slot(t, (uint64_t)(uint32_t)left << 32 | (uint32_t)right)];
    *merged = p->id;
    return p->key == UINT64_MAX ? NO_RANK : p->rank;
}

/* Whether a merge makes a token that holds "▁" after something else. */
static bool some_merge_spans_space(const struct tok *t)
{
    for (size_t i = 0; i < t->n_pair_slots; i++) {
        size_t len;
        const char *s;
        if (t->pairs[i].key == UINT64_MAX ||
            !(s = tok_vocab_at(&t->names, t->pairs[i].id, &len)))
            continue;
        bool after_other = false;
        for (size_t k = 0; k < len;) {
            bool is_space =
                len - k >= TOK_SPACE_LEN && !memcmp(s + k, TOK_SPACE, TOK_SPACE_LEN);
            if (is_space && after_other)
                return true;
            after_other = !is_space;
            k += is_space ? TOK_SPACE_LEN : 1;
        }
    }
    return false;
}

void tok_bpe_finish(struct tok *t)
{
    for (int b = 0; b < 256; b++) {
        char name[16];
        size_t len;
        if (t->is_byte_level) {
            len = utf8_put(byte_to_char((unsigned char)b), name);
        } else {
            static const char HEX[] = "0123456789ABCDEF";
            const char form[] = {'<', '0', 'x', HEX[b >> 4], HEX[b & 15], '>'};
            memcpy(name, form, len = sizeof form);
        }
        t->byte_id[b] = tok_vocab_find(&t->names, name, len);
    }
    for (int c = 0; c < 128; c++) {
        char ch = (char)c;
        t->ascii_id[c] = tok_vocab_find(&t->names, &ch, 1);
    }
    /* "▁" must be a symbol of its own, or it could be part of a run of unknowns. */
    t->is_cut_at_space = !t->is_byte_level && !t->is_merge_ignored &&
                         tok_vocab_find(&t->names, TOK_SPACE, TOK_SPACE_LEN) >= 0 &&
                         !some_merge_spans_space(t);
}

/* ---- first symbols ---- */

static void grow_symbols(struct tok_symbols *y, size_t n)
{
    if (n <= y->cap)
        return;
    size_t cap = y->cap;
    MEM_GROW(y->id, cap, n);
    y->prev = mem_realloc(y->prev, cap, sizeof *y->prev);
    y->next = mem_realloc(y->next, cap, sizeof *y->next);
    y->merged = mem_realloc(y->merged, cap, sizeof *y->merged);
    y->rank = mem_realloc(y->rank, cap, sizeof *y->rank);
    y->cap = cap;
}

static size_t symbols_of_bytes(const struct tok *t, int32_t *id, const char *s, size_t len)
{
    size_t n = 0;
    bool is_run = false; /* of unknowns */
    for (size_t i = 0; i < len; i++) {
        int32_t k = t->byte_id[(unsigned char)s[i]];
        if (k >= 0 || (t->unk >= 0 && !(is_run && t->is_unk_fused)))
            id[n++] = k >= 0 ? k : t->unk;
        is_run = k < 0;
    }
    return n;
}

/* The order of byte-fallback ids and a run of unknowns before them is that of `tokenizers`:
 * the run's id is written when the next known character, or the end, is reached. */
static size_t symbols_of_chars(const struct tok *t, int32_t *id, const char *s, size_t len)
{
    size_t n = 0, c_len;
    bool has_run = false;
    for (size_t i = 0; i < len; i += c_len) {
        const unsigned char *u = (const unsigned char *)s + i;
        (void)utf8_at(u, &c_len);
        int32_t k = *u < 0x80 ? t->ascii_id[*u] : tok_vocab_find(&t->names, s + i, c_len);
        if (k >= 0) {
            if (has_run)
                id[n++] = t->unk;
            has_run = false;
            id[n++] = k;
            continue;
        }
        bool has_bytes = t->has_byte_fallback;
        for (size_t b = 0; b < c_len && has_bytes; b++)
            has_bytes = t->byte_id[u[b]] >= 0;
        if (has_bytes) {
            for (size_t b = 0; b < c_len; b++)
                id[n++] = t->byte_id[u[b]];
        } else if (t->unk >= 0) {
            if (has_run && !t->is_unk_fused)
                id[n++] = t->unk;
            has_run = true;
        }
    }
    if (has_run)
        id[n++] = t->unk;
    return n;
}

/* ---- merging ---- */

static size_t merge_short(const struct tok *t, struct tok_symbols *y, size_t n)
{
    for (size_t i = 0; i + 1 < n; i++)
        y->rank[i] = pair_rank(t, y->id[i], y->id[i + 1], &y->merged[i]);
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            best = y->rank[i] < y->rank[best] ? i : best;
        if (y->rank[best] == NO_RANK)
            break;
        y->id[best] = y->merged[best];
        n--;
        for (size_t i = best + 1; i < n; i++) { /* a word is short: cheaper than links */
            y->id[i] = y->id[i + 1];
            y->rank[i] = y->rank[i + 1];
            y->merged[i] = y->merged[i + 1];
        }
        if (best > 0)
            y->rank[best - 1] =
                pair_rank(t, y->id[best - 1], y->id[best], &y->merged[best - 1]);
        if (best + 1 < n)
            y->rank[best] = pair_rank(t, y->id[best], y->id[best + 1], &y->merged[best]);
    }
    return n;
}

/* The heap holds rank << 32 | place. An entry is stale when its place has another rank now. */
static void heap_push(struct tok_symbols *y, uint64_t v)
{
    MEM_GROW(y->heap, y->heap_cap, y->heap_len + 1);
    size_t i = y->heap_len++;
    for (size_t up; i > 0 && y->heap[up = (i - 1) / 2] > v; i = up)
        y->heap[i] = y->heap[up];
    y->heap[i] = v;
}

static uint64_t heap_pop(struct tok_symbols *y)
{
    uint64_t top = y->heap[0], v = y->heap[--y->heap_len];
    size_t n = y->heap_len, i = 0;
    for (size_t k = 1; k < n; k = 2 * i + 1) {
        if (k + 1 < n && y->heap[k + 1] < y->heap[k])
            k++;
        if (y->heap[k] >= v)
            break;
        y->heap[i] = y->heap[k];
        i = k;
    }
    y->heap[i] = v;
    return top;
}

static void push_pair(const struct tok *t, struct tok_symbols *y, int32_t i)
{
    int32_t j = y->next[i];
    y->rank[i] = j < 0 ? NO_RANK : pair_rank(t, y->id[i], y->id[j], &y->merged[i]);
    if (y->rank[i] != NO_RANK)
        heap_push(y, (uint64_t)y->rank[i] << 32 | (uint32_t)i);
}

static size_t merge_long(const struct tok *t, struct tok_symbols *y, size_t n)
{
    y->heap_len = 0;
    for (size_t i = 0; i < n; i++) {
        y->prev[i] = (int32_t)i - 1;
        y->next[i] = i + 1 < n ? (int32_t)i + 1 : -1;
    }
    for (size_t i = 0; i < n; i++)
        push_pair(t, y, (int32_t)i);
    while (y->heap_len) {
        uint64_t top = heap_pop(y);
        int32_t i = (int32_t)(uint32_t)top;
        if (y->rank[i] != (uint32_t)(top >> 32))
            continue;
        int32_t j = y->next[i];
        y->id[i] = y->merged[i];
        y->next[i] = y->next[j];
        if (y->next[j] >= 0)
            y->prev[y->next[j]] = i;
        y->rank[j] = NO_RANK; /* gone: its entries are stale */
        push_pair(t, y, i);
        if (y->prev[i] >= 0)
            push_pair(t, y, y->prev[i]);
    }
    size_t to = 0;
    for (int32_t i = n ? 0 : -1; i >= 0; i = y->next[i])
        y->id[to++] = y->id[i];
    return to;
}

static void put_ids(struct tok_ids *out, const int32_t *ids, size_t n)
{
    MEM_GROW(out->ids, out->cap, out->n + n);
    for (size_t i = 0; i < n; i++)
        out->ids[out->n++] = ids[i];
}

static void merge_word(const struct tok *t, struct tok_scratch *x, const char *s, size_t len,
                       struct tok_ids *out)
{
    if (t->is_merge_ignored) {
        int32_t id = tok_vocab_find(t->is_byte_level ? &t->words : &t->names, s, len);
        if (id >= 0) {
            put_ids(out, &id, 1);
            return;
        }
    }
    struct tok_symbols *y = &x->sym;
    grow_symbols(y, len);
    size_t n = t->is_byte_level ? symbols_of_bytes(t, y->id, s, len)
                                : symbols_of_chars(t, y->id, s, len);
    n = n <= SHORT_WORD ? merge_short(t, y, n) : merge_long(t, y, n);
    put_ids(out, y->id, n);
}

/* ---- words through the cache ---- */

static void word(const struct tok *t, struct tok_scratch *x, const char *s, size_t len,
                 struct tok_ids *out)
{
    if (len > TOK_CACHE_KEY) {
        merge_word(t, x, s, len, out);
        return;
    }
    struct tok_cached *c = &x->cache[XXH3_64bits(s, len) >> (64 - TOK_CACHE_BITS)];
    if (c->len == len && memcmp(c->key, s, len) == 0) {
        put_ids(out, c->ids, c->n);
        return;
    }
    size_t before = out->n;
    merge_word(t, x, s, len, out);
    size_t n = out->n - before;
    if (n > TOK_CACHE_IDS)
        return;
    c->len = (uint8_t)len;
    c->n = (uint8_t)n;
    memcpy(c->key, s, len);
    memcpy(c->ids, out->ids + before, n * sizeof *c->ids);
}

/* Length of the part of s up to the next place where it may be cut. */
static size_t part_len(const char *s, size_t len)
{
    size_t i = 0;
    while (len - i >= TOK_SPACE_LEN && !memcmp(s + i, TOK_SPACE, TOK_SPACE_LEN))
        i += TOK_SPACE_LEN;
    while (i < len) {
        const char *p = memchr(s + i, (unsigned char)TOK_SPACE[0], len - i);
        if (!p)
            return len;
        i = (size_t)(p - s);
        if (len - i >= TOK_SPACE_LEN && i > 0 && !memcmp(p, TOK_SPACE, TOK_SPACE_LEN))
            return i;
        i++;
    }
    return len;
}

void tok_bpe_words(const struct tok *t, struct tok_scratch *x, const char *s,
                   const struct tok_spans *words, struct tok_ids *out)
{
    for (size_t i = 0; i < words->n; i++) {
        struct tok_span w = words->at[i];
        while (t->is_cut_at_space && w.start < w.end) {
            size_t n = part_len(s + w.start, w.end - w.start);
            word(t, x, s + w.start, n, out);
            w.start += n;
        }
        if (w.start < w.end)
            word(t, x, s + w.start, w.end - w.start, out);
    }
}
