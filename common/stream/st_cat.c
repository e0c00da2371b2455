/* SPDX-License-Identifier: MIT
 * st_cat: several streams as one; see st_cat.h. */
#include "stream/st_cat.h"

#include "stream/st_priv.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* One input: opened once a pass, or its shards kept. */
struct part {
    const char *path;
    bool is_kept;
    struct st_msg **kept;
    size_t n_kept, cap;
};

/* What the first pass knows of the rows so far. */
struct range {
    size_t part;   /* of the last shard */
    int64_t first; /* raise.first_row of the last shard, -1: none yet */
    int64_t next;  /* the row that must come */
    bool is_exact; /* the last shard said how many records it covers */
};

struct cat {
    struct part *part;
    size_t n_parts;
    struct st_msg *first; /* borrowed columns are not used after pass 1 began another file */
    struct range range;
    struct st_cat_count *count;
    struct prov *prov;
};

/* ---- shards of a part ---- */

typedef int on_shard(void *ctx, size_t part, struct st_msg *m, struct err *e);

/* Calls `f` with every shard; f borrows it. Keeps them on the first pass where a second is not
 * possible. */
static int each_shard(struct cat *c, size_t i, bool is_first_pass, on_shard *f, void *ctx,
                      struct err *e)
{
    struct part *p = &c->part[i];
    int rc = 0;
    if (p->is_kept && !is_first_pass) {
        for (size_t k = 0; !rc && k < p->n_kept; k++)
            rc = f(ctx, i, p->kept[k], e);
        return rc;
    }
    struct st_reader *r = st_reader_open(p->path, e);
    struct st_msg *m;
    if (!r)
        return e->code;
    while (!rc && (rc = st_reader_next(r, &m, e)) == 1) {
        rc = f(ctx, i, m, e);
        if (p->is_kept) {
            MEM_GROW(p->kept, p->cap, p->n_kept + 1);
            p->kept[p->n_kept++] = m;
        } else {
            st_msg_free(m);
        }
    }
    st_reader_close(r);
    return rc;
}

static bool is_regular(const char *path)
{
    struct stat st;
    return !file_is_std(path) && !stat(path, &st) && S_ISREG(st.st_mode);
}

/* ---- pass 1: do they belong together? ---- */

static bool may_differ(const char *key)
{
    return !strcmp(key, "raise.history") || !strcmp(key, "raise.first_row") ||
           !strcmp(key, "raise.n_rows");
}

static int check_meta(const struct st_msg *a, const struct st_msg *b, struct err *e)
{
    for (int turn = 0; turn < 2; turn++) {
        const struct st_msg *x = turn ? b : a, *y = turn ? a : b;
        for (size_t i = 0; i < x->n_meta; i++) {
            const char *key = x->meta[i].key, *v = x->meta[i].value, *w = st_msg_meta(y, key);
            if (may_differ(key) || (w && !strcmp(v, w)))
                continue;
            const char *first = turn ? w : v, *here = turn ? v : w;
            return err_set(e, ERR_MISMATCH,
                           "%s: metadata %s is \"%.100s\", in %s it is \"%.100s\"", b->name,
                           key, here ? here : "(absent)", a->name, first ? first : "(absent)");
        }
    }
    return 0;
}

static int64_t rows_of(const struct st_msg *m)
{
    for (size_t i = 0; i < m->n_tensors; i++)
        if (m->tensor[i].n_dims && !st_msg_is_whole(m, m->tensor[i].name))
            return m->tensor[i].shape[0];
    return 0;
}

static int missing(const char *name, int64_t from, int64_t to, struct err *e)
{
    return err_set(e, ERR_MISMATCH, "%s: rows %" PRId64 " to %" PRId64 " are missing before it",
                   name, from, to - 1);
}

static int check_range(struct cat *c, size_t part, const struct st_msg *m, struct err *e)
{
    struct range *r = &c->range;
    int64_t first = st_msg_meta_int(m, "raise.first_row"),
            n = st_msg_meta_int(m, "raise.n_rows");
    if (c->n_parts == 1 || (first < 0 && r->first < 0 && !c->count->n_shards))
        return 0;
    if ((first < 0) != (r->first < 0) && c->count->n_shards)
        return err_set(e, ERR_MISMATCH, "%s: only some shards have raise.first_row", m->name);
    if (first < 0)
        return 0;
    if (part == r->part && first == r->first) { /* the file's metadata, copied to each shard */
        r->next += n < 0 ? rows_of(m) : 0;
        return 0;
    }
    if (first < r->next)
        return err_set(e, ERR_MISMATCH,
                       "%s: starts at row %" PRId64 ", but the rows before end at %" PRId64,
                       m->name, first, r->next);
    if (first > r->next) {
        if (r->is_exact || !c->count->n_shards)
            return missing(m->name, r->next, first, e);
        c->count->n_left_out += first - r->next;
    }
    *r = (struct range){part, first, first + (n < 0 ? rows_of(m) : n), n >= 0};
    return 0;
}

static int check_range_end(struct cat *c, struct err *e)
{
    const struct range *r = &c->range;
    int64_t total = st_msg_meta_int(c->first, "raise.n_total");
    if (c->n_parts == 1 || r->first < 0 || total < 0 || r->next == total)
        return 0;
    if (r->next > total)
        return err_set(e, ERR_MISMATCH, "%s: %" PRId64 " rows, but raise.n_total is %" PRId64,
                       c->part[c->n_parts - 1].path, r->next, total);
    if (r->is_exact)
        return err_set(e, ERR_MISMATCH, "rows %" PRId64 " to %" PRId64 " are in no file",
                       r->next, total - 1);
    c->count->n_left_out += total - r->next;
    return 0;
}

/* A copy of what later shards are compared with: metadata, shapes, whole tensors. */
static struct st_msg *outline(const struct st_msg *m)
{
    struct st_msg *o = st_msg_new();
    o->name = mem_strdup(m->name);
    for (size_t i = 0; i < m->n_meta; i++)
        st_msg_set_meta(o, m->meta[i].key, m->meta[i].value);
    for (size_t i = 0; i < m->n_tensors; i++) {
        struct st_tensor x = m->tensor[i];
        if (st_msg_is_whole(m, x.name)) {
            st_msg_add_copy(o, x.name, x.dtype, x.n_dims, x.shape, x.data);
            continue;
        }
        if (x.n_dims)
            x.shape[0] = 0;
        st_msg_add(o, x.name, x.dtype, x.n_dims, x.shape, NULL);
    }
    return o;
}

struct scan {
    struct cat *cat;
    struct st_hash *hash;
};

static int scan_shard(void *ctx, size_t part, struct st_msg *m, struct err *e)
{
    struct scan *s = ctx;
    struct cat *c = s->cat;
    int rc = 0;
    if (!c->first) {
        c->first = outline(m);
    } else {
        rc = st_msg_check_shard(c->first, m, e);
        if (!rc)
            rc = check_meta(c->first, m, e);
    }
    if (!rc)
        rc = check_range(c, part, m, e);
    if (rc)
        return rc;
    st_hash_add(s->hash, m);
    c->count->n_shards++;
    c->count->n_rows += rows_of(m);
    return 0;
}

static int scan(struct cat *c, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; !rc && i < c->n_parts; i++) {
        struct scan s = {c, st_hash_new()};
        rc = each_shard(c, i, true, scan_shard, &s, e);
        uint64_t hash = st_hash_end(s.hash);
        if (!rc && c->prov)
            prov_add_input(c->prov, c->part[i].path, hash);
    }
    return rc ? rc : check_range_end(c, e);
}

/* ---- pass 2 ---- */

struct output {
    struct cat *cat;
    struct st_writer *writer;
    struct st_msg *joined; /* plain output: all shards */
};

static int put_shard(void *ctx, size_t part, struct st_msg *m, struct err *e)
{
    struct output *o = ctx;
    (void)part;
    prov_write(o->cat->prov, m, st_msg_meta(o->cat->first, "raise.history"));
    return st_writer_put(o->writer, m, e);
}

static int join_shard(void *ctx, size_t part, struct st_msg *m, struct err *e)
{
    struct output *o = ctx;
    (void)part;
    if (o->joined)
        return st_msg_append(o->joined, m, e);
    o->joined = st_msg_copy(m);
    return 0;
}

static int write_all(struct cat *c, const char *out, int flags, struct err *e)
{
    struct output o = {c, st_writer_open(out, flags, e), NULL};
    if (!o.writer)
        return e->code;
    int rc = 0;
    bool is_plain = flags & ST_PLAIN;
    for (size_t i = 0; !rc && i < c->n_parts; i++)
        rc = each_shard(c, i, false, is_plain ? join_shard : put_shard, &o, e);
    if (!rc && is_plain)
        rc = put_shard(&o, 0, o.joined, e);
    st_msg_free(o.joined);
    if (rc) {
        st_writer_abort(o.writer);
        return rc;
    }
    return st_writer_close(o.writer, e);
}

int st_cat(const char *const *paths, size_t n, const char *out, int flags, struct prov *prov,
           struct st_cat_count *count, struct err *e)
{
    struct cat c = {.part = mem_zalloc(n, sizeof *c.part),
                    .n_parts = n,
                    .range = {.first = -1},
                    .count = count,
                    .prov = prov};
    *count = (struct st_cat_count){0};
    for (size_t i = 0; i < n; i++)
        c.part[i] = (struct part){.path = paths[i], .is_kept = !is_regular(paths[i])};
    int rc = scan(&c, e);
    if (!rc)
        rc = write_all(&c, out, flags, e);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < c.part[i].n_kept; k++)
            st_msg_free(c.part[i].kept[k]);
        free(c.part[i].kept);
    }
    free(c.part);
    st_msg_free(c.first);
    return rc;
}
