/* SPDX-License-Identifier: MIT
 * tok_scratch: what an encoding works in, one piece for each thread at work, kept for the next;
 * see tok_priv.h. */
#include "text/tok_priv.h"

#include <stdlib.h>
#include <string.h>

struct tok_scratch *tok_scratch_take(const struct tok *t)
{
    struct tok *m = (struct tok *)(uintptr_t)t; /* the pool is the one part that changes */
    pthread_mutex_lock(&m->lock);
    struct tok_scratch *x = m->pool;
    if (x)
        m->pool = x->next;
    pthread_mutex_unlock(&m->lock);
    if (x)
        return x;
    x = mem_zalloc(1, sizeof *x);
    x->regex = tok_regex_state_new();
    x->cache = mem_aligned(sizeof *x->cache << TOK_CACHE_BITS);
    memset(x->cache, 0, sizeof *x->cache << TOK_CACHE_BITS);
    return x;
}

void tok_scratch_give(const struct tok *t, struct tok_scratch *x)
{
    struct tok *m = (struct tok *)(uintptr_t)t;
    pthread_mutex_lock(&m->lock);
    x->next = m->pool;
    m->pool = x;
    pthread_mutex_unlock(&m->lock);
}

void tok_scratch_free(struct tok_scratch *x)
{
    for (int i = 0; i < 2; i++) {
        buf_free(&x->norm[i]);
        buf_free(&x->pre[i]);
        free(x->spans[i].at);
    }
    free(x->is_match);
    free(x->chars);
    free(x->sym.id);
    free(x->sym.prev);
    free(x->sym.next);
    free(x->sym.merged);
    free(x->sym.rank);
    free(x->sym.heap);
    tok_regex_state_free(x->regex);
    free(x->cache);
    free(x);
}
