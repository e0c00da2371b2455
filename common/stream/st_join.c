/* SPDX-License-Identifier: MIT
 * st_join: a whole stream as one message, its shards joined by rows; see st_read in st.h. */
#include "stream/st_priv.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The message being built. Tensors own growing buffers from the second shard on. */
struct join {
    struct st_msg *m; /* first shard's metadata, all shards' rows */
    size_t *cap;      /* bytes of each own[i] */
};

static int check_kind(const struct st_msg *m, const char *kind, struct err *e)
{
    const char *have = st_msg_meta(m, "raise.kind");
    if (!kind)
        return 0;
    if (!have)
        return err_set(e, ERR_MISMATCH,
                       "%s: expected %s, found a file that names no raise.kind", m->name, kind);
    if (strcmp(have, kind))
        return err_set(e, ERR_MISMATCH, "%s: expected %s, found %s", m->name, kind, have);
    if (!st_msg_meta(m, "raise.version"))
        return err_set(e, ERR_FORMAT, "%s: metadata raise.version is missing", m->name);
    return 0;
}

static bool same_rows(const struct st_tensor *a, const struct st_tensor *b, bool is_whole)
{
    if (a->dtype != b->dtype || a->n_dims != b->n_dims)
        return false;
    for (int i = is_whole ? 0 : 1; i < a->n_dims; i++)
        if (a->shape[i] != b->shape[i])
            return false;
    return true;
}

static int check_shard(const struct st_msg *m, const struct st_msg *shard, struct err *e)
{
    const char *whole = st_msg_meta(m, "raise.whole");
    if (m->n_tensors != shard->n_tensors)
        return err_set(e, ERR_MISMATCH, "%s: %zu tensors, %zu in the shards before",
                       shard->name, shard->n_tensors, m->n_tensors);
    for (size_t i = 0; i < m->n_tensors; i++) {
        const struct st_tensor *a = &m->tensor[i], *b = st_msg_find(shard, a->name);
        bool is_whole = st_list_has(whole, a->name);
        char was[256], is[256];
        if (!b)
            return err_set(e, ERR_MISMATCH, "%s: tensor \"%s\" is missing", shard->name,
                           a->name);
        if (!same_rows(a, b, is_whole))
            return err_set(e, ERR_MISMATCH, "%s: tensor \"%s\" is %s, before it was %s",
                           shard->name, a->name,
                           st_shape_text(is, b->dtype, b->n_dims, b->shape),
                           st_shape_text(was, a->dtype, a->n_dims, a->shape));
        if (is_whole && (a->len != b->len || memcmp(a->data, b->data, a->len)))
            return err_set(e, ERR_MISMATCH, "%s: tensor \"%s\" differs from the shards before",
                           shard->name, a->name);
        if (!is_whole && !a->n_dims)
            return err_set(e, ERR_FORMAT, "%s: tensor \"%s\" has no rows to join", shard->name,
                           a->name);
    }
    return 0;
}

static void append(struct join *j, const struct st_msg *shard)
{
    struct st_msg *m = j->m;
    const char *whole = st_msg_meta(m, "raise.whole");
    for (size_t i = 0; i < m->n_tensors; i++) {
        struct st_tensor *a = &m->tensor[i];
        const struct st_tensor *b = st_msg_find(shard, a->name);
        if (st_list_has(whole, a->name))
            continue;
        if (!m->own[i]) { /* still in the first shard's block */
            m->own[i] = mem_dup(a->data, a->len);
            j->cap[i] = a->len;
        }
        m->own[i] = mem_grow(m->own[i], &j->cap[i], a->len + b->len, 1);
        if (b->len)
            memcpy((char *)m->own[i] + a->len, b->data, b->len);
        a->data = m->own[i];
        a->len += b->len;
        a->shape[0] += b->shape[0];
    }
}

/* Whole tensors leave the first shard's block, which can then go. */
static void drop_block(struct st_msg *m)
{
    if (!m->block)
        return;
    for (size_t i = 0; i < m->n_tensors; i++)
        if (!m->own[i])
            m->tensor[i].data = m->own[i] = mem_dup(m->tensor[i].data, m->tensor[i].len);
    free(m->block);
    m->block = NULL;
}

static int add_shard(struct join *j, struct st_msg *shard, struct err *e)
{
    int rc = check_shard(j->m, shard, e);
    if (!rc) {
        append(j, shard);
        drop_block(j->m);
    }
    st_msg_free(shard);
    return rc;
}

struct st_msg *st_read(const char *path, const char *kind, struct err *e)
{
    struct join j = {0};
    struct st_msg *shard;
    struct st_reader *r = st_reader_open(path, e);
    if (!r)
        return NULL;
    int rc = st_reader_next(r, &j.m, e);
    if (rc == 1)
        rc = check_kind(j.m, kind, e);
    if (!rc && j.m) {
        j.cap = mem_zalloc(j.m->n_tensors, sizeof *j.cap);
        st_reader_give_map(r, j.m);
        while ((rc = st_reader_next(r, &shard, e)) == 1)
            if ((rc = add_shard(&j, shard, e)) < 0)
                break;
    }
    st_reader_close(r);
    free(j.cap);
    if (rc < 0) {
        st_msg_free(j.m);
        return NULL;
    }
    return j.m;
}
