/* SPDX-License-Identifier: MIT
 * arena: chunks in a list, each at least CHUNK_BYTES; see arena.h. */
#include "base/arena.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK_BYTES = 1 << 18 };

struct arena_chunk {
    struct arena_chunk *before;
    size_t size;
    _Alignas(16) char bytes[];
};

void *arena_take(struct arena *a, size_t n)
{
    n = (n + 7) & ~(size_t)7;
    if (!a->last || n > a->last->size - a->used) {
        size_t size = n > CHUNK_BYTES ? n : CHUNK_BYTES;
        struct arena_chunk *c = mem_alloc(1, sizeof *c + size);
        c->before = a->last;
        c->size = size;
        a->last = c;
        a->used = 0;
    }
    void *p = a->last->bytes + a->used;
    a->used += n;
    return p;
}

char *arena_strndup(struct arena *a, const char *s, size_t len)
{
    char *copy = arena_take(a, len + 1);
    memcpy(copy, s, len);
    copy[len] = '\0';
    return copy;
}

void arena_free(struct arena *a)
{
    while (a->last) {
        struct arena_chunk *before = a->last->before;
        free(a->last);
        a->last = before;
    }
    a->used = 0;
}

void arena_reset(struct arena *a)
{
    if (a->last && (a->last->before || a->last->size > CHUNK_BYTES))
        arena_free(a);
    a->used = 0;
}
