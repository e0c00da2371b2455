/* SPDX-License-Identifier: MIT
 * st_header: the JSON header of a safetensors message, strict both ways.
 *
 *     u64 n | n bytes of JSON | data
 *     {"__metadata__":{"k":"v"},"name":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}
 *
 * Offsets count from the end of the header. Tensors must fill the data exactly: no gap, no
 * overlap, nothing after the last. */
#include "base/sniff.h"
#include "base/text.h"
#include "stream/st_priv.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

/* ---- writing ---- */

size_t st_data_len(const struct st_msg *m)
{
    size_t len = 0;
    for (size_t i = 0; i < m->n_tensors; i++)
        len += m->tensor[i].len;
    return len;
}

static void put_tensor(struct buf *b, const struct st_tensor *x, size_t begin)
{
    text_json_string(b, x->name, strlen(x->name));
    buf_printf(b, ":{\"dtype\":\"%s\",\"shape\":[", st_dtype_name(x->dtype));
    for (int i = 0; i < x->n_dims; i++)
        buf_printf(b, "%s%" PRId64, i ? "," : "", x->shape[i]);
    buf_printf(b, "],\"data_offsets\":[%zu,%zu]}", begin, begin + x->len);
}

void st_put_header(struct buf *b, const struct st_msg *m, size_t **order)
{
    size_t at = b->len, n = 0, offset = 0;
    size_t *begin = mem_alloc(m->n_tensors, sizeof *begin);
    *order = mem_alloc(m->n_tensors, sizeof **order);
    for (size_t size = 8; size; size /= 2)
        for (size_t i = 0; i < m->n_tensors; i++)
            if (st_dtype_size(m->tensor[i].dtype) == size) {
                begin[i] = offset;
                offset += m->tensor[i].len;
                (*order)[n++] = i;
            }
    st_put_u64(b, 0);
    buf_putc(b, '{');
    const char *comma = "";
    if (m->n_meta) {
        buf_puts(b, "\"__metadata__\":{");
        for (size_t i = 0; i < m->n_meta; i++) {
            buf_puts(b, i ? "," : "");
            text_json_string(b, m->meta[i].key, strlen(m->meta[i].key));
            buf_putc(b, ':');
            text_json_string(b, m->meta[i].value, strlen(m->meta[i].value));
        }
        buf_putc(b, '}');
        comma = ",";
    }
    for (size_t i = 0; i < m->n_tensors; i++, comma = ",") {
        buf_puts(b, comma);
        put_tensor(b, &m->tensor[i], begin[i]);
    }
    buf_putc(b, '}');
    while ((b->len - at) % 8)
        buf_putc(b, ' ');
    uint64_t len = b->len - at - 8;
    for (size_t i = 0; i < 8; i++)
        b->data[at + i] = (char)(len >> (8 * i));
    free(begin);
}

void st_msg_serialize(const struct st_msg *m, char **data, size_t *len)
{
    struct buf b = {0};
    size_t *order;
    st_put_header(&b, m, &order);
    MEM_GROW(b.data, b.cap, b.len + st_data_len(m));
    for (size_t i = 0; i < m->n_tensors; i++)
        buf_append(&b, m->tensor[order[i]].data, m->tensor[order[i]].len);
    free(order);
    *data = buf_str(&b);
    *len = b.len;
}

/* ---- parsing ---- */

struct place {
    size_t tensor;
    int64_t begin, end;
};

struct parse {
    struct st_msg *m;
    const char *name;          /* of the file */
    const unsigned char *data; /* first byte after the header */
    int64_t data_len;
    struct place *place;
    size_t n_places, cap;
    struct err *e;
};

static int bad(struct parse *p, int code, const char *tensor, const char *why)
{
    return err_set(p->e, code, "%s: tensor \"%s\": %s", p->name, tensor, why);
}

static int parse_metadata(struct parse *p, json_t *object)
{
    const char *key;
    json_t *value;
    if (!json_is_object(object))
        return err_set(p->e, ERR_FORMAT, "%s: \"__metadata__\" is not an object", p->name);
    json_object_foreach(object, key, value)
    {
        if (!json_is_string(value))
            return err_set(p->e, ERR_FORMAT, "%s: metadata \"%s\" is not a string", p->name,
                           key);
        st_msg_set_meta(p->m, key, json_string_value(value));
    }
    return 0;
}

static int parse_dtype(struct parse *p, const char *name, const json_t *v, enum st_dtype *t)
{
    const char *s = json_string_value(v);
    if (!s)
        return bad(p, ERR_FORMAT, name, "\"dtype\" is missing or no string");
    for (int i = 0; i < ST_N_DTYPES; i++)
        if (!strcmp(s, st_dtype_name((enum st_dtype)i))) {
            *t = (enum st_dtype)i;
            return 0;
        }
    return err_set(p->e, ERR_UNSUPPORTED, "%s: tensor \"%s\": unknown dtype \"%s\"", p->name,
                   name, s);
}

static int parse_shape(struct parse *p, const char *name, const json_t *v, struct st_tensor *x)
{
    if (!json_is_array(v))
        return bad(p, ERR_FORMAT, name, "\"shape\" is missing or no array");
    if (json_array_size(v) > ST_MAX_DIMS)
        return bad(p, ERR_UNSUPPORTED, name, "more than 8 dimensions");
    x->n_dims = (int)json_array_size(v);
    for (int i = 0; i < x->n_dims; i++) {
        const json_t *d = json_array_get(v, (size_t)i);
        if (!json_is_integer(d) || json_integer_value(d) < 0)
            return bad(p, ERR_FORMAT, name, "a dimension is not a number >= 0");
        x->shape[i] = json_integer_value(d);
    }
    int64_t bytes = st_shape_bytes(x->dtype, x->n_dims, x->shape);
    if (bytes < 0)
        return bad(p, ERR_FORMAT, name, "the shape is too large for any file");
    x->len = (size_t)bytes;
    return 0;
}

static int parse_offsets(struct parse *p, const char *name, const json_t *v,
                         const struct st_tensor *x, struct place *at)
{
    const json_t *begin = json_array_get(v, 0), *end = json_array_get(v, 1);
    if (json_array_size(v) != 2 || !json_is_integer(begin) || !json_is_integer(end))
        return bad(p, ERR_FORMAT, name, "\"data_offsets\" is missing or not two numbers");
    at->begin = json_integer_value(begin);
    at->end = json_integer_value(end);
    if (at->begin < 0 || at->end < at->begin)
        return bad(p, ERR_FORMAT, name, "\"data_offsets\" run backwards");
    if (at->end > p->data_len)
        return err_set(p->e, ERR_TRUNCATED,
                       "%s: tensor \"%s\" ends at byte %" PRId64
                       " of the data, which has %" PRId64 " (truncated?)",
                       p->name, name, at->end, p->data_len);
    if (at->end - at->begin != (int64_t)x->len) {
        char shape[256];
        return err_set(p->e, ERR_FORMAT,
                       "%s: tensor \"%s\": %s takes %zu bytes, its offsets hold %" PRId64,
                       p->name, name, st_shape_text(shape, x->dtype, x->n_dims, x->shape),
                       x->len, at->end - at->begin);
    }
    return 0;
}

static int parse_tensor(struct parse *p, const char *name, json_t *object)
{
    const char *key;
    json_t *value;
    struct st_tensor x = {0};
    struct place at = {.tensor = p->m->n_tensors};
    if (!json_is_object(object))
        return bad(p, ERR_FORMAT, name, "is not an object");
    json_object_foreach(
        object, key,
        value) if (strcmp(key, "dtype") && strcmp(key, "shape") &&
                   strcmp(
                       key,
                       "data_offsets")) return err_set(p->e, ERR_FORMAT,
                                                       "%s: tensor \"%s\": unknown key \"%s\"",
                                                       p->name, name, key);
    int rc = parse_dtype(p, name, json_object_get(object, "dtype"), &x.dtype);
    if (!rc)
        rc = parse_shape(p, name, json_object_get(object, "shape"), &x);
    if (!rc)
        rc = parse_offsets(p, name, json_object_get(object, "data_offsets"), &x, &at);
    if (rc)
        return rc;
    MEM_GROW(p->m->tensor, p->m->tensor_cap, p->m->n_tensors + 1);
    MEM_GROW(p->m->own, p->m->own_cap, p->m->n_tensors + 1);
    x.name = mem_strdup(name);
    x.data = p->data + at.begin;
    p->m->own[p->m->n_tensors] = (struct st_own){0};
    p->m->tensor[p->m->n_tensors++] = x;
    st_msg_index_last(p->m);
    MEM_GROW(p->place, p->cap, p->n_places + 1);
    p->place[p->n_places++] = at;
    return 0;
}

static int by_offset(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

/* Tensors fill the data exactly. */
static int check_places(struct parse *p)
{
    int64_t end = 0;
    if (p->n_places)
        qsort(p->place, p->n_places, sizeof *p->place, by_offset);
    for (size_t i = 0; i < p->n_places; i++) {
        const struct place *at = &p->place[i];
        const char *name = p->m->tensor[at->tensor].name;
        if (at->begin < end)
            return bad(p, ERR_FORMAT, name, "overlaps the tensor before it");
        if (at->begin > end)
            return bad(p, ERR_FORMAT, name, "leaves a gap after the tensor before it");
        end = at->end;
    }
    if (end < p->data_len)
        return err_set(p->e, ERR_FORMAT, "%s: %" PRId64 " bytes after the last tensor", p->name,
                       p->data_len - end);
    return 0;
}

static int parse_header(struct parse *p, const char *json, size_t len)
{
    json_error_t je;
    if (!len || json[0] != '{')
        return err_set(p->e, ERR_FORMAT, "%s: not a safetensors header", p->name);
    json_t *root = json_loadb(json, len, JSON_REJECT_DUPLICATES, &je);
    if (!root)
        return err_set(p->e, ERR_FORMAT, "%s: header byte %d: %s", p->name, je.position,
                       je.text);
    int rc = 0;
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value)
    {
        rc = strcmp(key, "__metadata__") ? parse_tensor(p, key, value)
                                         : parse_metadata(p, value);
        if (rc)
            break;
    }
    json_decref(root);
    return rc ? rc : check_places(p);
}

struct st_msg *st_msg_parse(const void *data, size_t len, const char *name, struct err *e)
{
    const unsigned char *bytes = data;
    if (len < 8) {
        err_set(e, ERR_TRUNCATED, "%s: %zu bytes are too few for a safetensors file", name,
                len);
        return NULL;
    }
    uint64_t n = st_get_u64(bytes);
    const char *what = n > ST_HEADER_MAX || n > len - 8 ? sniff(data, len) : NULL;
    if (what) {
        err_set(e, ERR_FORMAT, "%s: not a safetensors file, but %s", name, what);
        return NULL;
    }
    if (n > ST_HEADER_MAX) {
        err_set(e, ERR_FORMAT,
                "%s: not a safetensors file (a header of %" PRIu64 " bytes; at most %d)", name,
                n, (int)ST_HEADER_MAX);
        return NULL;
    }
    if (n > len - 8) {
        err_set(e, ERR_TRUNCATED, "%s: truncated: a header of %" PRIu64 " bytes, %zu present",
                name, n, len - 8);
        return NULL;
    }
    struct parse p = {.m = st_msg_new(),
                      .name = name,
                      .data = bytes + 8 + n,
                      .data_len = (int64_t)(len - 8 - n),
                      .e = e};
    p.m->name = mem_strdup(name);
    int rc = parse_header(&p, (const char *)bytes + 8, (size_t)n);
    free(p.place);
    if (rc) {
        st_msg_free(p.m);
        return NULL;
    }
    return p.m;
}
