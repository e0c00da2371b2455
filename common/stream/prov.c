/* SPDX-License-Identifier: MIT
 * prov: provenance; see prov.h. */
#include "stream/prov.h"

#include "base/text.h"
#include "base/version.h"
#include "stream/prov_older.h"
#include "stream/st_priv.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

struct prov {
    char *program, *args, *path;
    uint64_t seed;
    bool has_seed;
    struct input {
        char *name;
        uint64_t hash;
    } * input;
    size_t n_inputs, cap;
};

struct prov *prov_new(const char *program, const char *args, uint64_t seed)
{
    struct prov *p = mem_zalloc(1, sizeof *p);
    p->program = mem_strdup(program);
    p->args = mem_strdup(args ? args : program);
    p->seed = seed;
    p->has_seed = true;
    return p;
}

void prov_free(struct prov *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->n_inputs; i++)
        free(p->input[i].name);
    free(p->input);
    free(p->program);
    free(p->args);
    free(p->path);
    free(p);
}

void prov_set_no_seed(struct prov *p)
{
    p->has_seed = false;
}

void prov_set_path(struct prov *p, const char *arith_path)
{
    free(p->path);
    p->path = arith_path ? mem_strdup(arith_path) : NULL;
}

void prov_add_input(struct prov *p, const char *path, uint64_t hash)
{
    const char *name = file_is_std(path) ? "-" : path, *slash = strrchr(name, '/');
    MEM_GROW(p->input, p->cap, p->n_inputs + 1);
    p->input[p->n_inputs++] =
        (struct input){mem_strdup(slash && slash[1] ? slash + 1 : name), hash};
}

char *prov_hex(char *dst, uint64_t hash)
{
    static const char digit[] = "0123456789abcdef";
    for (int i = 0; i < 16; i++)
        dst[i] = digit[hash >> (60 - 4 * i) & 15];
    dst[16] = '\0';
    return dst;
}

bool prov_unhex(const char *s, uint64_t *hash)
{
    uint64_t v = 0;
    for (int i = 0; i < 16; i++) {
        int d = s[i] >= '0' && s[i] <= '9'   ? s[i] - '0'
                : s[i] >= 'a' && s[i] <= 'f' ? s[i] - 'a' + 10
                                             : -1;
        if (d < 0)
            return false;
        v = v << 4 | (uint64_t)d;
    }
    if (s[16])
        return false;
    *hash = v;
    return true;
}

static json_t *input_set(const struct prov *p)
{
    json_t *set = json_object();
    char hex[17];
    for (size_t i = 0; i < p->n_inputs; i++) {
        char *key = prov_older_key(p->input[i].name, prov_hex(hex, p->input[i].hash));
        json_object_set_new(set, key, json_true());
        free(key);
    }
    return set;
}

/* The records so far without the closing bracket: "[" or "[{...}". */
static void put_previous(struct buf *b, const struct prov *p, const char *previous)
{
    json_t *old = previous ? json_loads(previous, JSON_REJECT_DUPLICATES, NULL) : NULL;
    json_t *inputs = input_set(p);
    if (json_is_array(old))
        prov_older_shorten(old, p->program, inputs);
    char *text = json_is_array(old) ? json_dumps(old, JSON_COMPACT) : NULL;
    if (text) {
        buf_append(b, text, strlen(text) - 1);
    } else {
        buf_putc(b, '[');
        if (previous) { /* keep what cannot be understood rather than lose it */
            buf_puts(b, "{\"unreadable\":");
            text_json_string(b, previous, strlen(previous));
            buf_putc(b, '}');
        }
    }
    free(text);
    json_decref(inputs);
    json_decref(old);
}

/* Readers of JSON keep integers exactly up to 2^53 only; larger seeds are strings. */
static void put_seed(struct buf *b, uint64_t seed)
{
    const char *quote = seed > UINT64_C(1) << 53 ? "\"" : "";
    buf_printf(b, ",\"seed\":%s%" PRIu64 "%s", quote, seed, quote);
}

static void put_record(struct buf *b, const struct prov *p)
{
    char hex[17];
    buf_puts(b, "{\"program\":");
    text_json_string(b, p->program, strlen(p->program));
    buf_puts(b, ",\"version\":");
    text_json_string(b, RAISE_VERSION, strlen(RAISE_VERSION));
    buf_puts(b, ",\"args\":");
    text_json_string(b, p->args, strlen(p->args));
    if (p->has_seed)
        put_seed(b, p->seed);
    if (p->path) {
        buf_puts(b, ",\"path\":");
        text_json_string(b, p->path, strlen(p->path));
    }
    buf_puts(b, ",\"inputs\":[");
    for (size_t i = 0; i < p->n_inputs; i++) {
        buf_puts(b, i ? ",{\"name\":" : "{\"name\":");
        text_json_string(b, p->input[i].name, strlen(p->input[i].name));
        buf_printf(b, ",\"xxh64\":\"%s\"}", prov_hex(hex, p->input[i].hash));
    }
    buf_puts(b, "]}");
}

void prov_write(const struct prov *p, struct st_msg *m, const char *previous)
{
    if (!p) {
        st_msg_unset_meta(m, "raise.history");
        return;
    }
    struct buf b = {0};
    put_previous(&b, p, previous);
    if (b.len > 1)
        buf_putc(&b, ',');
    put_record(&b, p);
    buf_putc(&b, ']');
    st_msg_set_meta(m, "raise.history", buf_str(&b));
    buf_free(&b);
}
