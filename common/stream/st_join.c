/* SPDX-License-Identifier: MIT
 * st_join: a whole stream as one message, its shards joined by rows; see st_read in st.h. */
#include "stream/st_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

int st_msg_check_shard(const struct st_msg *m, const struct st_msg *shard, struct err *e)
{
    const char *name = st_msg_name(shard);
    if (m->n_tensors != shard->n_tensors)
        return err_set(e, ERR_MISMATCH, "%s: %zu tensors, %zu in the shards before", name,
                       shard->n_tensors, m->n_tensors);
    for (size_t i = 0; i < m->n_tensors; i++) {
        const struct st_tensor *a = &m->tensor[i], *b = st_msg_find(shard, a->name);
        bool is_whole = st_msg_is_whole(m, a->name);
        char was[256], is[256];
        if (!b)
            return err_set(e, ERR_MISMATCH, "%s: tensor \"%s\" is missing", name, a->name);
        if (!same_rows(a, b, is_whole))
            return err_set(e, ERR_MISMATCH, "%s: tensor \"%s\" is %s, before it was %s", name,
                           a->name, st_shape_text(is, b->dtype, b->n_dims, b->shape),
                           st_shape_text(was, a->dtype, a->n_dims, a->shape));
        if (is_whole && a->len && memcmp(a->data, b->data, a->len))
            return err_set(e, ERR_MISMATCH, "%s: tensor \"%s\" differs from the shards before",
                           name, a->name);
        if (!is_whole && !a->n_dims)
            return err_set(e, ERR_MISMATCH, "%s: tensor \"%s\" has no rows to join", name,
                           a->name);
    }
    return 0;
}

static void append_rows(struct st_tensor *a, struct st_own *own, const struct st_tensor *b)
{
    if (!own->data) /* still in the first shard's block */
        *own = (struct st_own){mem_dup(a->data, a->len), a->len};
    own->data = mem_grow(own->data, &own->cap, a->len + b->len, 1);
    if (b->len)
        memcpy((char *)own->data + a->len, b->data, b->len);
    a->data = own->data;
    a->len += b->len;
    a->shape[0] += b->shape[0];
}

/* Whole tensors leave the first shard's block, which can then go. */
static void drop_block(struct st_msg *m)
{
    for (size_t i = 0; m->block && i < m->n_tensors; i++)
        if (!m->own[i].data) {
            struct st_tensor *x = &m->tensor[i];
            m->own[i] = (struct st_own){mem_dup(x->data, x->len), x->len};
            x->data = m->own[i].data;
        }
    free(m->block);
    m->block = NULL;
}

void st_msg_merge_meta(struct st_msg *m, const struct st_msg *shard)
{
    int64_t from = st_msg_meta_int(m, "raise.first_row"),
            n = st_msg_meta_int(m, "raise.n_rows");
    int64_t first = st_msg_meta_int(shard, "raise.first_row"),
            more = st_msg_meta_int(shard, "raise.n_rows");
    if (from < 0 || n < 0 || first < from || more < 0 || more > INT64_MAX - (first - from) ||
        first - from + more <= n)
        return;
    char sum[32];
    snprintf(sum, sizeof sum, "%" PRId64, first - from + more);
    st_msg_set_meta(m, "raise.n_rows", sum);
}

int st_msg_append(struct st_msg *m, const struct st_msg *shard, struct err *e)
{
    int rc = st_msg_check_shard(m, shard, e);
    if (rc)
        return rc;
    for (size_t i = 0; i < m->n_tensors; i++) {
        struct st_tensor *a = &m->tensor[i];
        if (!st_msg_is_whole(m, a->name))
            append_rows(a, &m->own[i], st_msg_find(shard, a->name));
    }
    st_msg_merge_meta(m, shard);
    drop_block(m);
    return 0;
}

struct st_msg *st_read(const char *path, const char *kind, struct err *e)
{
    struct st_msg *m = NULL, *shard;
    struct st_reader *r = st_reader_open(path, e);
    if (!r)
        return NULL;
    int rc = st_reader_next(r, &m, e);
    if (rc == 1)
        rc = check_kind(m, kind, e);
    if (!rc && m) {
        st_reader_give_map(r, m);
        while (!rc && (rc = st_reader_next(r, &shard, e)) == 1) {
            rc = st_msg_append(m, shard, e);
            st_msg_free(shard);
        }
    }
    st_reader_close(r);
    if (rc < 0) {
        st_msg_free(m);
        return NULL;
    }
    return m;
}
