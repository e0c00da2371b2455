/* SPDX-License-Identifier: MIT
 *
 * forge: files with one thing wrong, for every thing that a table names; each must be refused,
 * and the error must name the file and the tensor or key. The tables drive it, so that a new
 * row is tested without a word. For tests of every kind of file.
 */
#ifndef RAISE_TESTS_FORGE_H
#define RAISE_TESTS_FORGE_H

#include "base/file.h"
#include "base/mem.h"
#include "stream/st_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Reads a file and frees what it read. */
typedef int forge_reader(const char *path, struct err *e);

/* A copy of `good` without tensor `name`. */
static struct st_msg *forge_without(const struct st_msg *good, const char *name)
{
    struct st_msg *m = st_msg_new();
    for (int64_t i = 0; i < st_msg_n_meta(good); i++) {
        const char *key, *value;
        st_msg_meta_at(good, i, &key, &value);
        st_msg_set_meta(m, key, value);
    }
    for (int64_t i = 0; i < st_msg_n_tensors(good); i++) {
        const struct st_tensor *x = st_msg_at(good, i);
        if (strcmp(x->name, name) != 0)
            st_msg_add(m, x->name, x->dtype, x->n_dims, x->shape, x->data);
    }
    return m;
}

/* Writes m and expects it to be refused with the file's name once, and `what`. Frees m. */
static void forge_refused(struct st_msg *m, const char *what, const char *how,
                          forge_reader *read, const char *path)
{
    struct err e = ERR_INIT;
    assert_int_equal(st_write(path, ST_PLAIN, m, &e), 0);
    st_msg_free(m);
    int rc = read(path, &e);
    const char *name = file_name_in(path), *at = strstr(e.msg, name);
    if (rc >= 0)
        fail_msg("%s: %s: read as if nothing were wrong", what, how);
    if (at != e.msg || strstr(at + 1, name) || !strstr(e.msg, what))
        fail_msg("%s: %s: \"%s\" names not file and place", what, how, e.msg);
}

static void forge_column(const struct st_column *c, const struct st_msg *good,
                         forge_reader *read, const char *path)
{
    const struct st_tensor *x = st_msg_find(good, c->name);
    assert_non_null(x);
    if (c->size != (c->flags & ST_INLINE ? x->len : sizeof(void *)))
        fail_msg("%s: %zu bytes of the struct (ST_FIELD tells)", c->name, c->size);
    int64_t deeper[ST_MAX_DIMS] = {0}, longer[ST_MAX_DIMS] = {0};
    size_t row = x->shape[0] ? x->len / (size_t)x->shape[0] : 0;
    char *data = mem_zalloc(x->len + row, 1);
    enum st_dtype other = st_dtype_size(c->dtype) == 4 ? c->dtype == ST_I32 ? ST_F32 : ST_I32
                          : c->dtype == ST_I64         ? ST_F64
                                                       : ST_I64;
    memcpy(data, x->data, x->len);
    memcpy(deeper, x->shape, sizeof x->shape);
    memcpy(longer, x->shape, sizeof x->shape);
    deeper[x->n_dims] = 1;
    longer[0]++;
    if (!(c->flags & ST_OPTIONAL))
        forge_refused(forge_without(good, c->name), c->name, "missing", read, path);
    struct st_msg *m = forge_without(good, c->name);
    st_msg_add(m, c->name, other, x->n_dims, x->shape, data);
    forge_refused(m, c->name, "other dtype", read, path);
    m = forge_without(good, c->name);
    st_msg_add(m, c->name, c->dtype, x->n_dims + 1, deeper, data);
    forge_refused(m, c->name, "one more dimension", read, path);
    if (!(c->flags & ST_WHOLE)) { /* which may be the only one to tell its size */
        m = forge_without(good, c->name);
        st_msg_add(m, c->name, c->dtype, x->n_dims, longer, data);
        forge_refused(m, "", "one more row", read, path);
    }
    free(data);
}

static void forge_key(const struct st_key *k, const struct st_msg *good, forge_reader *read,
                      const char *path)
{
    static const char *const bad[][6] = {
        [ST_KEY_HASH] = {"", "5", "00000000000000G1", "00000000000000D1", "00000000000000d1 "},
        [ST_KEY_INT] = {"", "x", "3x", " 3", "3K", "99999999999999999999"},
        [ST_KEY_UINT] = {"", "-1", "3x", "+3", "0x3", "99999999999999999999"},
        [ST_KEY_REAL] = {"", "x", "1.5x", " 1", "nan", "0x1p3"},
        [ST_KEY_BOOL] = {"", "2", "01", "true"},
        [ST_KEY_NAMES] = {"a,,b", ",a"}};
    if (!(k->flags & ST_OPTIONAL)) {
        struct st_msg *m = forge_without(good, "");
        st_msg_unset_meta(m, k->name);
        forge_refused(m, k->name, "missing", read, path);
    }
    for (size_t i = 0; (size_t)k->type < sizeof bad / sizeof *bad && i < 6; i++) {
        if (!bad[k->type][i])
            break;
        struct st_msg *m = forge_without(good, "");
        st_msg_set_meta(m, k->name, bad[k->type][i]);
        forge_refused(m, k->name, bad[k->type][i], read, path);
    }
}

/* Every column and key of the table; `good` holds them all, and is read without complaint. */
static void forge_table(const struct st_table *t, const struct st_msg *good, forge_reader *read,
                        const char *path)
{
    struct err e = ERR_INIT;
    assert_int_equal(st_write(path, ST_PLAIN, good, &e), 0);
    if (read(path, &e) < 0)
        fail_msg("%s", e.msg);
    for (const struct st_column *c = t->columns; c && c->name; c++)
        forge_column(c, good, read, path);
    for (const struct st_key *k = t->keys; k && k->name; k++)
        forge_key(k, good, read, path);
}

/* A file cut anywhere is refused: every 7th byte, and each of the last 64. */
static void forge_truncated(const struct st_msg *good, forge_reader *read, const char *path)
{
    struct err e = ERR_INIT;
    char *data;
    size_t len;
    assert_int_equal(st_write(path, 0, good, &e), 0);
    assert_int_equal(file_read_all(path, &data, &len, &e), 0);
    for (size_t n = 0; n<len; n += len - n> 64 ? 7 : 1) {
        assert_int_equal(file_write_all(path, data, n, &e), 0);
        if (read(path, &e) >= 0)
            fail_msg("%zu of %zu bytes: read as if nothing were wrong", n, len);
        assert_non_null(strstr(e.msg, file_name_in(path)));
    }
    free(data);
}

#endif
