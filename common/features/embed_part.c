/* SPDX-License-Identifier: MIT
 * embed_part: a scored window as bytes, and back; see embed_part.h. */
#include "features/embed_part.h"

#include "base/mem.h"

#include <inttypes.h>
#include <string.h>

static const char drops_name[] = "drops";
enum { N_FIELDS = sizeof(struct embed_drop) / sizeof(int64_t) };

void embed_part_pack(const struct embed_rows *r, const struct embed_drop *drop, size_t n,
                     char **data, size_t *len)
{
    struct st_msg *m = st_msg_new();
    embed_rows_to_msg(r, m);
    if (n)
        st_msg_add(m, drops_name, ST_I64, 2, (int64_t[]){(int64_t)n, N_FIELDS}, drop);
    st_msg_serialize(m, data, len);
    st_msg_free(m);
}

static int take_drops(struct embed_drops *d, const struct st_msg *m, struct err *e)
{
    if (!st_msg_find(m, drops_name))
        return 0;
    const struct st_tensor *t =
        st_msg_need(m, drops_name, ST_I64, 2, (int64_t[]){-1, N_FIELDS}, e);
    if (!t)
        return e->code;
    for (int64_t i = 0; i < t->shape[0]; i++) {
        struct embed_drop x;
        memcpy(&x, (const char *)t->data + (size_t)i * sizeof x, sizeof x);
        if (x.why < 0 || x.why >= EMBED_N_WHYS)
            return err_set(e, ERR_RANGE, "%s: tensor %s: %" PRId64 " is no reason",
                           st_msg_name(m), drops_name, x.why);
        MEM_GROW(d->drop, d->cap, d->n + 1);
        d->drop[d->n++] = x;
    }
    return 0;
}

int embed_part_unpack(struct embed_rows *r, struct embed_drops *d, const char *data, size_t len,
                      const char *name, struct err *e)
{
    struct err local = ERR_INIT;
    e = e ? e : &local;
    struct st_msg *m = st_msg_parse(data, len, name, e);
    if (!m)
        return e->code;
    int rc = d ? take_drops(d, m, e) : 0;
    if (!rc && r)
        rc = embed_rows_append(r, m, e);
    st_msg_free(m);
    return rc;
}
