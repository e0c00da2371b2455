/* SPDX-License-Identifier: MIT
 * gguf: one GGUF file; see gguf.h. Version 3 is version 2 but for files of the other byte
 * order.
 *
 *     magic "GGUF" | u32 version | u64 n_tensors | u64 n_keys
 *     n_keys    x  string key | u32 type | value
 *     n_tensors x  string name | u32 n_dims | u64 dims[n_dims] | u32 type | u64 offset
 *     padding to `general.alignment` [32] | data, each tensor at its offset
 *
 * A string is a u64 length and that many bytes; an array a u32 type, a u64 count, the values.
 * Everything little-endian and unaligned. Parsing walks one cursor over the mapped bytes, and
 * the first violation sticks in it: the callers need not check each step. */
#include "stream/gguf.h"

#include "base/file.h"
#include "base/mem.h"
#include "stream/gguf_priv.h"
#include "stream/gguf_quant.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum value_type {
    V_U8,
    V_I8,
    V_U16,
    V_I16,
    V_U32,
    V_I32,
    V_F32,
    V_BOOL,
    V_STRING,
    V_ARRAY,
    V_U64,
    V_I64,
    V_F64,
    N_VALUE_TYPES
};

static const unsigned char value_size[N_VALUE_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

enum {
    OLDEST = 2,
    NEWEST = 3,
    DEFAULT_ALIGNMENT = 32,
    MIN_KEY_BYTES = 13,
    MIN_TENSOR_BYTES = 32
};

/* ---- the cursor ---- */

struct cursor {
    const char *path;
    const unsigned char *data;
    size_t at, len;
    struct err *e;
    int rc; /* of the first failure */
};

static int fail(struct cursor *c, int code, const char *what)
{
    if (!c->rc)
        c->rc = err_set(c->e, code, "%s: %s at byte %zu", c->path, what, c->at);
    return c->rc;
}

/* The next n bytes, or NULL. */
static const unsigned char *take(struct cursor *c, uint64_t n, const char *what)
{
    if (c->rc)
        return NULL;
    if (n > c->len - c->at) {
        c->rc = err_set(c->e, ERR_TRUNCATED,
                        "%s: %s at byte %zu: %" PRIu64 " bytes wanted, %zu left", c->path, what,
                        c->at, n, c->len - c->at);
        return NULL;
    }
    const unsigned char *p = c->data + c->at;
    c->at += n;
    return p;
}

static uint64_t take_uint(struct cursor *c, size_t size, const char *what)
{
    uint64_t v = 0;
    const unsigned char *p = take(c, size, what);
    if (p)
        memcpy(&v, p, size);
    return v;
}

static const unsigned char *take_string(struct cursor *c, uint64_t *len, const char *what)
{
    *len = take_uint(c, 8, what);
    return take(c, *len, what);
}

/* A key or a tensor's name: no control characters, so that it is one C string and prints. */
static char *take_name(struct cursor *c, const char *what)
{
    uint64_t len;
    const unsigned char *p = take_string(c, &len, what);
    if (!p)
        return NULL;
    for (uint64_t i = 0; i < len; i++)
        if (p[i] < 32) {
            fail(c, ERR_FORMAT, "control character in a name that ends");
            return NULL;
        }
    return mem_strndup((const char *)p, len);
}

/* ---- metadata ---- */

/* Copies n strings, each with a NUL after it, into one block. The first pass over the file
 * finds that they all lie in it, so the block is no larger than the file. */
static void take_strings(struct cursor *c, struct value *v)
{
    size_t start = c->at, n_bytes = 0;
    for (int64_t i = 0; i < v->n && !c->rc; i++) {
        uint64_t len;
        take_string(c, &len, "string");
        n_bytes += c->rc ? 0 : len + 1;
    }
    if (c->rc)
        return;
    c->at = start;
    v->strings = mem_alloc((size_t)v->n, sizeof *v->strings);
    char *p = v->block = mem_alloc(n_bytes, 1);
    for (int64_t i = 0; i < v->n; i++) {
        uint64_t len;
        const unsigned char *s = take_string(c, &len, "string");
        memcpy(p, s, len);
        p[len] = '\0';
        v->strings[i] = (struct string){p, len};
        p += len + 1;
    }
}

static void take_value(struct cursor *c, struct value *v)
{
    v->type = (uint32_t)take_uint(c, 4, "type of a value");
    v->n = 1;
    v->is_array = !c->rc && v->type == V_ARRAY;
    if (v->is_array) {
        v->type = (uint32_t)take_uint(c, 4, "type of an array");
        uint64_t n = take_uint(c, 8, "length of an array");
        uint64_t least = v->type < N_VALUE_TYPES ? value_size[v->type] : 1;
        if (!c->rc && n > (c->len - c->at) / (least ? least : 8))
            fail(c, ERR_TRUNCATED, "array longer than the file");
        v->n = (int64_t)n;
    }
    if (c->rc)
        return;
    if (v->type == V_ARRAY)
        c->rc =
            err_set(c->e, ERR_UNSUPPORTED, "%s: key \"%s\": array of arrays", c->path, v->key);
    else if (v->type >= N_VALUE_TYPES)
        c->rc = err_set(c->e, ERR_FORMAT, "%s: key \"%s\": unknown value type %" PRIu32,
                        c->path, v->key, v->type);
    else if (v->type == V_STRING)
        take_strings(c, v);
    else
        v->at = take(c, (uint64_t)v->n * value_size[v->type], v->key);
    for (int64_t i = 0; !c->rc && v->type == V_BOOL && i < v->n; i++)
        if (v->at[i] > 1)
            c->rc = err_set(c->e, ERR_FORMAT, "%s: key \"%s\": %d is no truth value", c->path,
                            v->key, v->at[i]);
}

static int compare_values(const void *a, const void *b)
{
    const struct value *x = a, *y = b;
    return strcmp(x->key, y->key);
}

static void take_metadata(struct cursor *c, struct gguf *g, uint64_t n)
{
    if (!c->rc && n > (c->len - c->at) / MIN_KEY_BYTES)
        fail(c, ERR_TRUNCATED, "more metadata keys than the file can hold");
    if (c->rc)
        return;
    g->values = mem_zalloc((size_t)n, sizeof *g->values);
    for (uint64_t i = 0; i < n && !c->rc; i++) {
        struct value *v = &g->values[i];
        v->key = take_name(c, "metadata key");
        if (!v->key)
            return;
        g->n_values++;
        take_value(c, v);
    }
    if (c->rc)
        return;
    qsort(g->values, (size_t)n, sizeof *g->values, compare_values);
    for (uint64_t i = 1; i < n && !c->rc; i++)
        if (!strcmp(g->values[i - 1].key, g->values[i].key))
            c->rc = err_set(c->e, ERR_FORMAT, "%s: key \"%s\" appears twice", c->path,
                            g->values[i].key);
}

static const struct value *find_value(const struct gguf *g, const char *key)
{
    struct value want = {.key = (char *)(uintptr_t)key};
    if (!g->n_values)
        return NULL;
    return bsearch(&want, g->values, (size_t)g->n_values, sizeof *g->values, compare_values);
}

/* ---- tensors ---- */

static int fail_tensor(struct cursor *c, int code, const char *name, const char *fmt, ...)
    RAISE_PRINTF(4, 5);

static int fail_tensor(struct cursor *c, int code, const char *name, const char *fmt, ...)
{
    char what[128];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    return c->rc = err_set(c->e, code, "%s: tensor \"%s\": %s", c->path, name, what);
}

/* Sizes from the shape; dims are innermost first in the file. */
static void take_shape(struct cursor *c, struct gguf_tensor *t)
{
    uint64_t n_dims = take_uint(c, 4, "number of dimensions");
    if (!c->rc && (n_dims < 1 || n_dims > 4))
        fail_tensor(c, ERR_UNSUPPORTED, t->name, "%" PRId64 " dimensions", (int64_t)n_dims);
    t->n_dims = (int)n_dims;
    t->n_values = 1;
    for (int i = 0; i < 4; i++)
        t->shape[i] = 1;
    for (int i = t->n_dims - 1; i >= 0 && !c->rc; i--) {
        int64_t d = (int64_t)take_uint(c, 8, "dimension");
        t->shape[i] = d;
        if (!c->rc && (d < 1 || __builtin_mul_overflow(t->n_values, d, &t->n_values)))
            fail_tensor(c, ERR_RANGE, t->name, "a dimension of %" PRId64, d);
    }
}

static void take_tensor(struct cursor *c, struct gguf_tensor *t, uint64_t *offset)
{
    take_shape(c, t);
    uint64_t type = take_uint(c, 4, "type of a tensor");
    *offset = take_uint(c, 8, "offset of a tensor");
    if (c->rc)
        return;
    const struct gguf_type *row = gguf_type_find((int64_t)type);
    if (!row) {
        fail_tensor(c, ERR_UNSUPPORTED, t->name, "type %" PRId64 " is unknown", (int64_t)type);
        return;
    }
    t->type = (int)type;
    int64_t inner = t->shape[t->n_dims - 1], len;
    if (inner % row->n_values)
        fail_tensor(c, ERR_FORMAT, t->name, "rows of %" PRId64 " values are not whole blocks",
                    inner);
    else if (__builtin_mul_overflow(t->n_values / row->n_values, row->n_bytes, &len))
        fail_tensor(c, ERR_RANGE, t->name, "%" PRId64 " values", t->n_values);
    else
        t->len = (size_t)len;
}

static int compare_names(const void *a, const void *b)
{
    const struct gguf_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static int compare_places(const void *a, const void *b)
{
    const struct gguf_tensor *const *x = a, *const *y = b;
    return ((*x)->data > (*y)->data) - ((*x)->data < (*y)->data);
}

int gguf_index(struct gguf *g, struct err *e)
{
    for (int64_t i = 0; i < g->n_tensors; i++)
        g->by_name[i] = &g->tensors[i];
    qsort(g->by_name, (size_t)g->n_tensors, sizeof *g->by_name, compare_names);
    for (int64_t i = 1; i < g->n_tensors; i++)
        if (!strcmp(g->by_name[i - 1]->name, g->by_name[i]->name))
            return err_set(e, ERR_FORMAT, "%s: tensor \"%s\" appears twice", g->path,
                           g->by_name[i]->name);
    return 0;
}

/* Gives each tensor its bytes: inside the file, aligned, and nobody else's. */
static void place_tensors(struct cursor *c, struct gguf *g, const uint64_t *offsets)
{
    int64_t alignment = DEFAULT_ALIGNMENT;
    const struct value *v = find_value(g, "general.alignment");
    if (v && (!gguf_get_int(g, v->key, &alignment) || alignment < 1 || alignment > 1 << 30 ||
              (alignment & (alignment - 1)))) {
        c->rc = err_set(c->e, ERR_FORMAT, "%s: general.alignment is no power of two", c->path);
        return;
    }
    size_t mask = (size_t)alignment - 1;
    size_t start = (c->at + mask) & ~mask;
    size_t room = start < c->len ? c->len - start : 0;
    for (int64_t i = 0; i < g->n_tensors; i++) {
        struct gguf_tensor *t = &g->tensors[i];
        if (offsets[i] & mask)
            fail_tensor(c, ERR_FORMAT, t->name, "offset %" PRId64 " is not aligned",
                        (int64_t)offsets[i]);
        else if (offsets[i] > room || t->len > room - offsets[i])
            fail_tensor(c, ERR_TRUNCATED, t->name, "its %" PRId64 " bytes pass the file's end",
                        (int64_t)t->len);
        if (c->rc)
            return;
        t->data = c->data + start + offsets[i];
        g->by_name[i] = t;
    }
    qsort(g->by_name, (size_t)g->n_tensors, sizeof *g->by_name, compare_places);
    for (int64_t i = 1; i < g->n_tensors && !c->rc; i++) {
        const struct gguf_tensor *a = g->by_name[i - 1], *b = g->by_name[i];
        if ((const unsigned char *)a->data + a->len > (const unsigned char *)b->data)
            c->rc = err_set(c->e, ERR_FORMAT, "%s: tensors \"%s\" and \"%s\" overlap", c->path,
                            a->name, b->name);
    }
    if (!c->rc)
        c->rc = gguf_index(g, c->e);
}

static void take_tensors(struct cursor *c, struct gguf *g, uint64_t n)
{
    if (!c->rc && n > (c->len - c->at) / MIN_TENSOR_BYTES)
        fail(c, ERR_TRUNCATED, "more tensors than the file can hold");
    if (c->rc)
        return;
    uint64_t *offsets = mem_zalloc((size_t)n, sizeof *offsets);
    g->tensors = mem_zalloc((size_t)n, sizeof *g->tensors);
    g->by_name = mem_zalloc((size_t)n, sizeof *g->by_name);
    for (uint64_t i = 0; i < n && !c->rc; i++) {
        g->tensors[i].name = take_name(c, "name of a tensor");
        if (!g->tensors[i].name)
            break;
        g->n_tensors++;
        take_tensor(c, &g->tensors[i], &offsets[i]);
    }
    if (!c->rc)
        place_tensors(c, g, offsets);
    free(offsets);
}

/* ---- open and close ---- */

static void take_all(struct cursor *c, struct gguf *g)
{
    const unsigned char *magic = take(c, 4, "magic number");
    if (magic && memcmp(magic, "GGUF", 4)) {
        c->rc = err_set(c->e, ERR_FORMAT, "%s: not a GGUF file", c->path);
        return;
    }
    uint32_t version = (uint32_t)take_uint(c, 4, "version");
    if (!c->rc && (version < OLDEST || version > NEWEST)) {
        const char *hint = version == (uint32_t)NEWEST << 24 ? " (big-endian)" : "";
        c->rc = err_set(c->e, ERR_UNSUPPORTED,
                        "%s: GGUF version %" PRIu32 "%s, only versions 2 and 3 are read",
                        c->path, version, hint);
    }
    uint64_t n_tensors = take_uint(c, 8, "number of tensors");
    uint64_t n_keys = take_uint(c, 8, "number of metadata keys");
    take_metadata(c, g, n_keys);
    take_tensors(c, g, n_tensors);
}

struct gguf *gguf_open_part(const char *path, struct err *e)
{
    struct gguf *g = mem_zalloc(1, sizeof *g);
    if (file_map_open(&g->map, path, e) < 0) {
        free(g);
        return NULL;
    }
    g->path = mem_strdup(path);
    struct cursor c = {.path = path, .data = g->map.data, .len = g->map.len, .e = e};
    take_all(&c, g);
    if (c.rc < 0) {
        gguf_close(g);
        return NULL;
    }
    return g;
}

void gguf_close(struct gguf *g)
{
    if (!g)
        return;
    for (int64_t i = 0; i < g->n_parts; i++)
        gguf_close(g->parts[i]);
    for (int64_t i = 0; i < g->n_values; i++) {
        free(g->values[i].key);
        free(g->values[i].strings);
        free(g->values[i].block);
    }
    for (int64_t i = 0; i < g->n_tensors; i++)
        free((char *)(uintptr_t)g->tensors[i].name);
    free(g->parts);
    free(g->values);
    free(g->tensors);
    free(g->by_name);
    free(g->path);
    file_map_close(&g->map);
    free(g);
}

/* ---- look-ups ---- */

static bool element_int(const struct value *v, int64_t i, int64_t *out)
{
    uint64_t bits = 0;
    if (i < 0 || i >= v->n || v->type >= N_VALUE_TYPES)
        return false;
    size_t size = value_size[v->type];
    memcpy(&bits, v->at ? v->at + (size_t)i * size : (const unsigned char *)"",
           v->at ? size : 0);
    switch ((enum value_type)v->type) {
    case V_U8:
    case V_U16:
    case V_U32:
        *out = (int64_t)bits;
        return true;
    case V_U64:
        *out = (int64_t)bits;
        return bits <= INT64_MAX;
    case V_I8:
        *out = (int8_t)bits;
        return true;
    case V_I16:
        *out = (int16_t)bits;
        return true;
    case V_I32:
        *out = (int32_t)bits;
        return true;
    case V_I64:
        *out = (int64_t)bits;
        return true;
    case V_F32:
    case V_F64:
    case V_BOOL:
    case V_STRING:
    case V_ARRAY:
    case N_VALUE_TYPES:
        break;
    }
    return false;
}

static bool element_real(const struct value *v, int64_t i, double *out)
{
    int64_t whole;
    if (element_int(v, i, &whole)) {
        *out = (double)whole;
        return true;
    }
    if (i < 0 || i >= v->n)
        return false;
    if (v->type == V_F32) {
        float f;
        memcpy(&f, v->at + (size_t)i * sizeof f, sizeof f);
        *out = (double)f;
        return true;
    }
    if (v->type == V_F64) {
        memcpy(out, v->at + (size_t)i * sizeof *out, sizeof *out);
        return true;
    }
    return false;
}

static const struct value *find_scalar(const struct gguf *g, const char *key)
{
    const struct value *v = find_value(g, key);
    return v && !v->is_array ? v : NULL;
}

static const struct value *find_array(const struct gguf *g, const char *key)
{
    const struct value *v = find_value(g, key);
    return v && v->is_array ? v : NULL;
}

bool gguf_get_int(const struct gguf *g, const char *key, int64_t *v)
{
    const struct value *x = find_scalar(g, key);
    return x && element_int(x, 0, v);
}

bool gguf_get_real(const struct gguf *g, const char *key, double *v)
{
    const struct value *x = find_scalar(g, key);
    return x && element_real(x, 0, v);
}

bool gguf_get_bool(const struct gguf *g, const char *key, bool *v)
{
    const struct value *x = find_scalar(g, key);
    if (!x || x->type != V_BOOL)
        return false;
    *v = *x->at;
    return true;
}

const char *gguf_get_string(const struct gguf *g, const char *key)
{
    const struct value *x = find_scalar(g, key);
    return x && x->type == V_STRING ? x->strings[0].text : NULL;
}

int64_t gguf_array_len(const struct gguf *g, const char *key)
{
    const struct value *x = find_array(g, key);
    return x ? x->n : -1;
}

const char *gguf_array_string(const struct gguf *g, const char *key, int64_t i, size_t *len)
{
    const struct value *x = find_array(g, key);
    if (!x || x->type != V_STRING || i < 0 || i >= x->n)
        return NULL;
    if (len)
        *len = x->strings[i].len;
    return x->strings[i].text;
}

bool gguf_array_int(const struct gguf *g, const char *key, int64_t i, int64_t *v)
{
    const struct value *x = find_array(g, key);
    return x && element_int(x, i, v);
}

bool gguf_array_real(const struct gguf *g, const char *key, int64_t i, double *v)
{
    const struct value *x = find_array(g, key);
    return x && element_real(x, i, v);
}

int64_t gguf_n_tensors(const struct gguf *g)
{
    return g->n_tensors;
}

const struct gguf_tensor *gguf_tensor_at(const struct gguf *g, int64_t i)
{
    return i >= 0 && i < g->n_tensors ? &g->tensors[i] : NULL;
}

const struct gguf_tensor *gguf_find(const struct gguf *g, const char *name)
{
    struct gguf_tensor want = {.name = name};
    const struct gguf_tensor *key = &want;
    if (!g->n_tensors)
        return NULL;
    const struct gguf_tensor *const *at =
        bsearch(&key, g->by_name, (size_t)g->n_tensors, sizeof *g->by_name, compare_names);
    return at ? *at : NULL;
}

const char *gguf_type_name(int type)
{
    static _Thread_local char other[32];
    const struct gguf_type *row = gguf_type_find(type);
    if (row)
        return row->name;
    snprintf(other, sizeof other, "type %d", type);
    return other;
}

int gguf_dequantize(float *dst, const struct gguf_tensor *t, struct err *e)
{
    enum { CHUNK_VALUES = 1 << 14 }; /* a multiple of every block, some 10 us of work */
    const struct gguf_type *row = gguf_type_find(t->type);
    if (!row || !row->decode)
        return err_set(e, ERR_UNSUPPORTED, "tensor \"%s\": type %s cannot be read", t->name,
                       gguf_type_name(t->type));
    int64_t n_chunks = (t->n_values + CHUNK_VALUES - 1) / CHUNK_VALUES;
#pragma omp parallel for schedule(static) if (n_chunks > 1)
    for (int64_t c = 0; c < n_chunks; c++) {
        int64_t first = c * CHUNK_VALUES, n = t->n_values - first;
        n = n < CHUNK_VALUES ? n : CHUNK_VALUES;
        const uint8_t *src = (const uint8_t *)t->data + first / row->n_values * row->n_bytes;
        row->decode(dst + first, src, n / row->n_values);
    }
    return 0;
}
