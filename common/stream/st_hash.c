/* SPDX-License-Identifier: MIT
 * st_hash: the identity of a stream's tensors, shard by shard; see st_msg_hash in st.h. */
#include "stream/st_priv.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

struct column {
    struct st_tensor t; /* name owned; data unused */
    XXH64_state_t *state;
};

struct st_hash {
    struct column *column;
    size_t n;
    bool has_shards;
};

struct st_hash *st_hash_new(void)
{
    return mem_zalloc(1, sizeof(struct st_hash));
}

static void begin(struct st_hash *h, const struct st_msg *m)
{
    h->n = m->n_tensors;
    h->column = mem_zalloc(h->n, sizeof *h->column);
    for (size_t i = 0; i < h->n; i++) {
        struct column *c = &h->column[i];
        c->t = m->tensor[i];
        c->t.name = mem_strdup(m->tensor[i].name);
        c->state = XXH64_createState();
        assert(c->state);
        XXH64_reset(c->state, 0);
        if (c->t.len)
            XXH64_update(c->state, c->t.data, c->t.len);
    }
}

void st_hash_add(struct st_hash *h, const struct st_msg *shard)
{
    if (!h->has_shards)
        begin(h, shard);
    for (size_t i = 0; h->has_shards && i < h->n; i++) {
        struct column *c = &h->column[i];
        const struct st_tensor *x = st_msg_find(shard, c->t.name);
        assert(x);
        if (st_msg_is_whole(shard, x->name) || !x->n_dims)
            continue;
        c->t.shape[0] += x->shape[0];
        if (x->len)
            XXH64_update(c->state, x->data, x->len);
    }
    h->has_shards = true;
}

static int by_name(const void *a, const void *b)
{
    const struct column *x = a, *y = b;
    return strcmp(x->t.name, y->t.name);
}

uint64_t st_hash_end(struct st_hash *h)
{
    struct buf b = {0};
    if (h->n)
        qsort(h->column, h->n, sizeof *h->column, by_name);
    for (size_t i = 0; i < h->n; i++) {
        const struct column *c = &h->column[i];
        const char *dtype = st_dtype_name(c->t.dtype);
        buf_append(&b, c->t.name, strlen(c->t.name) + 1);
        buf_append(&b, dtype, strlen(dtype) + 1);
        st_put_u64(&b, (uint64_t)c->t.n_dims);
        for (int d = 0; d < c->t.n_dims; d++)
            st_put_u64(&b, (uint64_t)c->t.shape[d]);
        st_put_u64(&b, XXH64_digest(c->state));
    }
    uint64_t hash = XXH64(b.data, b.len, 0);
    buf_free(&b);
    st_hash_free(h);
    return hash;
}

void st_hash_free(struct st_hash *h)
{
    if (!h)
        return;
    for (size_t i = 0; i < h->n; i++) {
        free(h->column[i].t.name);
        XXH64_freeState(h->column[i].state);
    }
    free(h->column);
    free(h);
}

uint64_t st_msg_hash(const struct st_msg *m)
{
    struct st_hash *h = st_hash_new();
    st_hash_add(h, m);
    return st_hash_end(h);
}
