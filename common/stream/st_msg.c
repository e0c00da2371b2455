/* SPDX-License-Identifier: MIT
 * st_msg: one message in memory, metadata and named tensors; see st.h. */
#include "stream/st_priv.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MANY_TENSORS = 64, /* from here on a hash table finds them */
    LONG_LIST = 1024   /* bytes */
};

static const struct {
    const char *name;
    size_t size;
} dtypes[ST_N_DTYPES] = {
    [ST_BOOL] = {"BOOL", 1}, [ST_U8] = {"U8", 1},   [ST_I8] = {"I8", 1},
    [ST_I16] = {"I16", 2},   [ST_U16] = {"U16", 2}, [ST_F16] = {"F16", 2},
    [ST_BF16] = {"BF16", 2}, [ST_I32] = {"I32", 4}, [ST_U32] = {"U32", 4},
    [ST_F32] = {"F32", 4},   [ST_F64] = {"F64", 8}, [ST_I64] = {"I64", 8},
    [ST_U64] = {"U64", 8},
};

size_t st_dtype_size(enum st_dtype t)
{
    assert((unsigned)t < ST_N_DTYPES);
    return dtypes[t].size;
}

const char *st_dtype_name(enum st_dtype t)
{
    assert((unsigned)t < ST_N_DTYPES);
    return dtypes[t].name;
}

char *st_shape_text(char *dst, enum st_dtype t, int n_dims, const int64_t *shape)
{
    size_t n = (size_t)snprintf(dst, 256, "%s[", st_dtype_name(t));
    for (int i = 0; i < n_dims; i++) {
        const char *comma = i ? "," : "";
        if (shape[i] < 0)
            n += (size_t)snprintf(dst + n, 256 - n, "%sN", comma);
        else
            n += (size_t)snprintf(dst + n, 256 - n, "%s%" PRId64, comma, shape[i]);
    }
    snprintf(dst + n, 256 - n, "]");
    return dst;
}

int64_t st_shape_bytes(enum st_dtype t, int n_dims, const int64_t *shape)
{
    int64_t n = (int64_t)st_dtype_size(t);
    bool is_empty = false, overflows = false;
    for (int i = 0; i < n_dims; i++) {
        if (shape[i] < 0)
            return -1;
        if (!shape[i])
            is_empty = true;
        else if (__builtin_mul_overflow(n, shape[i], &n))
            overflows = true;
    }
    return is_empty ? 0 : overflows ? -1 : n;
}

bool st_list_has(const char *list, const char *name)
{
    size_t len = strlen(name);
    while (list && *list) {
        size_t n = strcspn(list, ",");
        if (n == len && !memcmp(list, name, n))
            return true;
        list += n + (list[n] == ',');
    }
    return false;
}

struct st_msg *st_msg_new(void)
{
    return mem_zalloc(1, sizeof(struct st_msg));
}

void st_msg_free(struct st_msg *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->n_tensors; i++) {
        free(m->tensor[i].name);
        free(m->own[i].data);
    }
    for (size_t i = 0; i < m->n_meta; i++) {
        free(m->meta[i].key);
        free(m->meta[i].value);
    }
    json_decref(m->names);
    json_decref(m->whole);
    free(m->tensor);
    free(m->own);
    free(m->meta);
    free(m->name);
    free(m->block);
    file_map_close(&m->map);
    free(m);
}

struct st_msg *st_msg_copy(const struct st_msg *m)
{
    struct st_msg *copy = st_msg_new();
    copy->name = m->name ? mem_strdup(m->name) : NULL;
    for (size_t i = 0; i < m->n_meta; i++)
        st_msg_set_meta(copy, m->meta[i].key, m->meta[i].value);
    for (size_t i = 0; i < m->n_tensors; i++) {
        const struct st_tensor *x = &m->tensor[i];
        st_msg_add_copy(copy, x->name, x->dtype, x->n_dims, x->shape, x->data);
    }
    return copy;
}

/* Where `key` is, or where it belongs. */
static size_t meta_place(const struct st_msg *m, const char *key, bool *is_there)
{
    size_t lo = 0, hi = m->n_meta;
    *is_there = false;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int order = strcmp(m->meta[mid].key, key);
        if (!order) {
            *is_there = true;
            return mid;
        }
        if (order < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* Names of a list that is too long to be looked through for every tensor. */
static void index_whole(struct st_msg *m, const char *list)
{
    json_decref(m->whole);
    m->whole = strlen(list) < LONG_LIST ? NULL : json_object();
    while (m->whole && *list) {
        size_t n = strcspn(list, ",");
        char *name = mem_strndup(list, n);
        json_object_set_new_nocheck(m->whole, name, json_true());
        free(name);
        list += n + (list[n] == ',');
    }
}

void st_msg_set_meta(struct st_msg *m, const char *key, const char *value)
{
    bool is_there;
    size_t at = meta_place(m, key, &is_there);
    char *copy = mem_strdup(value); /* before the old value goes: it may be that one */
    if (!strcmp(key, "raise.whole"))
        index_whole(m, copy);
    if (is_there) {
        free(m->meta[at].value);
        m->meta[at].value = copy;
        return;
    }
    MEM_GROW(m->meta, m->meta_cap, m->n_meta + 1);
    memmove(m->meta + at + 1, m->meta + at, (m->n_meta - at) * sizeof *m->meta);
    m->meta[at] = (struct st_meta){mem_strdup(key), copy};
    m->n_meta++;
}

void st_msg_unset_meta(struct st_msg *m, const char *key)
{
    bool is_there;
    size_t at = meta_place(m, key, &is_there);
    if (!is_there)
        return;
    if (!strcmp(key, "raise.whole"))
        index_whole(m, "");
    free(m->meta[at].key);
    free(m->meta[at].value);
    m->n_meta--;
    memmove(m->meta + at, m->meta + at + 1, (m->n_meta - at) * sizeof *m->meta);
}

const char *st_msg_meta(const struct st_msg *m, const char *key)
{
    bool is_there;
    size_t at = meta_place(m, key, &is_there);
    return is_there ? m->meta[at].value : NULL;
}

const char *st_msg_name(const struct st_msg *m)
{
    return m->name ? m->name : "(message)";
}

int64_t st_msg_meta_int(const struct st_msg *m, const char *key)
{
    const char *s = st_msg_meta(m, key);
    int64_t v = 0;
    if (!s || !*s)
        return -1;
    for (; *s; s++)
        if (*s < '0' || *s > '9' || __builtin_mul_overflow(v, (int64_t)10, &v) ||
            __builtin_add_overflow(v, (int64_t)(*s - '0'), &v))
            return -1;
    return v;
}

bool st_msg_is_whole(const struct st_msg *m, const char *name)
{
    return m->whole ? json_object_get(m->whole, name) != NULL
                    : st_list_has(st_msg_meta(m, "raise.whole"), name);
}

int64_t st_msg_n_meta(const struct st_msg *m)
{
    return (int64_t)m->n_meta;
}

void st_msg_meta_at(const struct st_msg *m, int64_t i, const char **key, const char **value)
{
    assert(i >= 0 && (size_t)i < m->n_meta);
    *key = m->meta[i].key;
    *value = m->meta[i].value;
}

void st_msg_index_last(struct st_msg *m)
{
    if (m->n_tensors < MANY_TENSORS)
        return;
    size_t i = m->names ? m->n_tensors - 1 : 0;
    if (!m->names)
        m->names = json_object();
    for (; i < m->n_tensors; i++)
        json_object_set_new_nocheck(m->names, m->tensor[i].name, json_integer((json_int_t)i));
}

static void add(struct st_msg *m, const char *name, enum st_dtype t, int n_dims,
                const int64_t *shape, const void *data, bool is_copy)
{
    int64_t bytes = st_shape_bytes(t, n_dims, shape);
    assert(n_dims >= 0 && n_dims <= ST_MAX_DIMS && bytes >= 0);
    assert(strcmp(name, "__metadata__") && !st_msg_find(m, name));
    MEM_GROW(m->tensor, m->tensor_cap, m->n_tensors + 1);
    MEM_GROW(m->own, m->own_cap, m->n_tensors + 1);
    struct st_tensor *x = &m->tensor[m->n_tensors];
    void *own = is_copy ? mem_dup(data, (size_t)bytes) : NULL;
    *x = (struct st_tensor){.name = mem_strdup(name), .dtype = t, .n_dims = n_dims};
    for (int i = 0; i < n_dims; i++)
        x->shape[i] = shape[i];
    x->data = is_copy ? own : data;
    x->len = (size_t)bytes;
    m->own[m->n_tensors++] = (struct st_own){own, is_copy ? x->len : 0};
    st_msg_index_last(m);
}

void st_msg_add(struct st_msg *m, const char *name, enum st_dtype t, int n_dims,
                const int64_t *shape, const void *data)
{
    add(m, name, t, n_dims, shape, data, false);
}

void st_msg_add_copy(struct st_msg *m, const char *name, enum st_dtype t, int n_dims,
                     const int64_t *shape, const void *data)
{
    add(m, name, t, n_dims, shape, data, true);
}

int64_t st_msg_n_tensors(const struct st_msg *m)
{
    return (int64_t)m->n_tensors;
}

const struct st_tensor *st_msg_at(const struct st_msg *m, int64_t i)
{
    assert(i >= 0 && (size_t)i < m->n_tensors);
    return &m->tensor[i];
}

const struct st_tensor *st_msg_find(const struct st_msg *m, const char *name)
{
    if (m->names) {
        const json_t *at = json_object_get(m->names, name);
        return at ? &m->tensor[json_integer_value(at)] : NULL;
    }
    for (size_t i = 0; i < m->n_tensors; i++)
        if (!strcmp(m->tensor[i].name, name))
            return &m->tensor[i];
    return NULL;
}

const struct st_tensor *st_msg_need(const struct st_msg *m, const char *name, enum st_dtype t,
                                    int n_dims, const int64_t *shape, struct err *e)
{
    const char *file = st_msg_name(m);
    const struct st_tensor *x = st_msg_find(m, name);
    char want[256], have[256];
    st_shape_text(want, t, n_dims, shape);
    if (!x) {
        err_set(e, ERR_FORMAT, "%s: tensor \"%s\" is missing (expected %s)", file, name, want);
        return NULL;
    }
    bool fits = x->dtype == t && x->n_dims == n_dims;
    for (int i = 0; fits && i < n_dims; i++)
        fits = shape[i] < 0 || shape[i] == x->shape[i];
    if (!fits) {
        st_shape_text(have, x->dtype, x->n_dims, x->shape);
        err_set(e, ERR_MISMATCH, "%s: tensor \"%s\": expected %s, found %s", file, name, want,
                have);
        return NULL;
    }
    return x;
}

void st_msg_align(struct st_msg *m)
{
    for (size_t i = 0; i < m->n_tensors; i++) {
        struct st_tensor *x = &m->tensor[i];
        if ((uintptr_t)x->data % st_dtype_size(x->dtype) == 0)
            continue;
        m->own[i] = (struct st_own){mem_dup(x->data, x->len), x->len};
        x->data = m->own[i].data;
    }
}
