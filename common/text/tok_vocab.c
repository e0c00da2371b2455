/* SPDX-License-Identifier: MIT
 * tok_vocab: strings and ids; see tok_priv.h. */
#include "text/tok_priv.h"

#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

/* An id far above the number of tokens is a mistake in the file, and would take memory. */
enum { MAX_ID = 1 << 24, MAX_GAP = 1 << 20 };

static size_t slot_of(const struct tok_vocab *v, const char *s, size_t len)
{
    size_t i = (size_t)XXH3_64bits(s, len) & (v->n_slots - 1);
    while (v->slots[i]) {
        const struct tok_piece *p = &v->pieces[v->slots[i] - 1];
        if (p->len == len && memcmp(v->text.data + p->start, s, len) == 0)
            break;
        i = (i + 1) & (v->n_slots - 1);
    }
    return i;
}

static void grow_slots(struct tok_vocab *v)
{
    free(v->slots);
    v->n_slots = v->n_slots ? v->n_slots * 2 : 1024;
    v->slots = mem_zalloc(v->n_slots, sizeof *v->slots);
    for (size_t id = 0; id < v->n; id++)
        if (v->pieces[id].is_there) {
            const struct tok_piece *p = &v->pieces[id];
            v->slots[slot_of(v, v->text.data + p->start, p->len)] = (uint32_t)id + 1;
        }
}

int tok_vocab_add(struct tok_vocab *v, int64_t id, const char *s, size_t len, struct err *e)
{
    if (id < 0 || id >= MAX_ID || id > (int64_t)v->n_used * 4 + MAX_GAP)
        return err_set(e, ERR_RANGE, "token \"%.*s\" has id %lld", (int)(len < 80 ? len : 80),
                       s, (long long)id);
    if (len >= UINT32_MAX - v->text.len)
        return err_set(e, ERR_RANGE, "the vocabulary's text exceeds 4 GiB");
    if ((v->n_used + 1) * 2 > v->n_slots)
        grow_slots(v);
    if ((size_t)id >= v->n) {
        MEM_GROW(v->pieces, v->cap, id + 1);
        memset(v->pieces + v->n, 0, ((size_t)id + 1 - v->n) * sizeof *v->pieces);
        v->n = (size_t)id + 1;
    }
    size_t slot = slot_of(v, s, len);
    if (v->pieces[id].is_there || v->slots[slot])
        return err_set(e, ERR_FORMAT, "token \"%.*s\": %s is there already",
                       (int)(len < 80 ? len : 80), s, v->slots[slot] ? "the token" : "its id");
    v->pieces[id] = (struct tok_piece){(uint32_t)v->text.len, (uint32_t)len, true};
    buf_append(&v->text, s, len);
    v->slots[slot] = (uint32_t)id + 1;
    v->n_used++;
    return 0;
}

int32_t tok_vocab_find(const struct tok_vocab *v, const char *s, size_t len)
{
    return v->n_slots ? (int32_t)v->slots[slot_of(v, s, len)] - 1 : -1;
}

const char *tok_vocab_at(const struct tok_vocab *v, int64_t id, size_t *len)
{
    if (id < 0 || id >= (int64_t)v->n || !v->pieces[id].is_there)
        return NULL;
    *len = v->pieces[id].len;
    return v->text.data + v->pieces[id].start;
}

void tok_vocab_free(struct tok_vocab *v)
{
    buf_free(&v->text);
    free(v->pieces);
    free(v->slots);
}
