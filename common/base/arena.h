/* SPDX-License-Identifier: MIT
 *
 * arena: memory that is taken piece by piece and freed at once, for many small things with one
 * lifetime. Not for several threads: one arena a thread.
 *
 *     struct arena a = {0};
 *     char *s = arena_take(&a, n);        // undefined content; never NULL, as mem_alloc
 *     ...
 *     arena_free(&a);                     // every piece is gone; the arena is empty again
 */
#ifndef RAISE_BASE_ARENA_H
#define RAISE_BASE_ARENA_H

#include <stddef.h>

struct arena {
    struct arena_chunk *last; /* owned */
    size_t used;              /* bytes of it */
};

void *arena_take(struct arena *a, size_t n);                     /* 8-byte aligned */
char *arena_strndup(struct arena *a, const char *s, size_t len); /* NUL appended */
void arena_free(struct arena *a);
void arena_reset(struct arena *a); /* every piece is gone, room for the next ones stays */

#endif
