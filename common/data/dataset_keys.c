/* SPDX-License-Identifier: MIT
 * What a message says beside role and text, and a record beside its turns: see dataset.h. */
#include "data/dataset_build.h"

#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

static const struct {
    const char *name;
    enum data_key key;
} names[] = {
    {"tool_calls", DATA_KEY_TOOL_CALLS},
    {"tool_call_id", DATA_KEY_TOOL_CALL_ID},
    {"name", DATA_KEY_NAME},
    {"reasoning_content", DATA_KEY_REASONING},
    {"weight", DATA_KEY_WEIGHT},
    {"train", DATA_KEY_TRAIN},
    {"tools", DATA_KEY_TOOLS},
    {"thinking", DATA_KEY_REASONING},
    {"reasoning", DATA_KEY_REASONING},
    {"function_call", DATA_KEY_TOOL_CALLS},
    {"loss_weight", DATA_KEY_WEIGHT},
    {"train_detail", DATA_KEY_DETAIL},
    {"label", DATA_KEY_LABEL},
};

/* Keys that mean something by their value, or in a record, not by being there in a message. */
enum { OF_ITS_VALUE = DATA_KEY_WEIGHT | DATA_KEY_TRAIN | DATA_KEY_TOOLS | DATA_KEY_LABEL };

const char *data_key_name(enum data_key key)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].key == key)
            return names[i].name;
    return "";
}

static bool is_read(const char *key)
{
    return !strcmp(key, "role") || !strcmp(key, "content") || !strcmp(key, "from") ||
           !strcmp(key, "value");
}

/* Nothing, whatever its type: null, "", [], {}. */
static bool is_nothing(const json_t *v)
{
    return !v || json_is_null(v) || (json_is_string(v) && json_string_length(v) == 0) ||
           (json_is_array(v) && json_array_size(v) == 0) ||
           (json_is_object(v) && json_object_size(v) == 0);
}

/* ---- masks ---- */

/* Numbers may come as text: see dataset_build.h. */
static bool number_of(const json_t *v, double *x)
{
    char *end;
    const char *s = json_string_value(v);
    if (json_is_number(v))
        *x = json_number_value(v);
    else if (json_is_boolean(v))
        *x = json_is_true(v);
    else if (s && *s)
        return *x = strtod(s, &end), !*end;
    else
        return false;
    return true;
}

static int read_masks(struct builder *b, const json_t *m, struct data_turn *t)
{
    static const char *const keys[] = {"weight", "train", "loss_weight"};
    for (int i = 0; i < 3; i++) {
        const json_t *v = build_get(m, keys[i]);
        double x = 1;
        if (!v || (json_is_string(v) && json_string_length(v) == 0))
            continue;
        if (!number_of(v, &x))
            return build_wrong_type(b, keys[i], v, i == 1 ? "boolean" : "number");
        bool is_zero = !(x < 0) && !(x > 0), is_one = !(x < 1) && !(x > 1);
        t->is_masked |= is_zero && t->role == DATA_ASSISTANT;
        if (i != 1 && t->role == DATA_ASSISTANT && !is_zero && !is_one)
            t->keys |= DATA_KEY_WEIGHT;
        if (i == 1 && t->role != DATA_ASSISTANT && !is_zero)
            t->keys |= DATA_KEY_TRAIN;
    }
    return 0;
}

/* ---- a message ---- */

/* What is said beside the text, in one order and without blanks, so that it is the same
 * whatever the file's. */
static uint64_t hash_said(const char *extra)
{
    json_error_t why;
    json_t *o = data_json_load(extra, strlen(extra), 0, false, &why), *said = json_object(), *v;
    const char *key;
    json_object_foreach(o, key, v)
    {
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            if (!strcmp(names[i].name, key) && !is_nothing(v) &&
                (names[i].key == DATA_KEY_TOOL_CALLS || names[i].key == DATA_KEY_REASONING))
                json_object_set(said, data_key_name(names[i].key), v);
    }
    char *text = json_dumps(said, JSON_COMPACT | JSON_SORT_KEYS);
    uint64_t h = text && json_object_size(said) ? XXH64(text, strlen(text), 0) : 0;
    free(text);
    json_decref(said);
    json_decref(o);
    return h;
}

static char *other_members(struct builder *b, const struct data_member *raw)
{
    struct data_member m;
    struct buf name = {0}, all = {0};
    for (size_t at = 0; data_member_next(raw->value, raw->value_len, &at, &m);) {
        name.len = 0;
        data_member_name(&m, &name);
        bool is_null = m.value_len == 4 && memcmp(m.value, "null", 4) == 0;
        if (is_null || is_read(buf_str(&name)))
            continue;
        buf_puts(&all, all.len ? ", \"" : "{\"");
        buf_append(&all, m.key, m.key_len);
        buf_puts(&all, "\": ");
        buf_append(&all, m.value, m.value_len);
    }
    char *s = NULL;
    if (all.len) {
        buf_putc(&all, '}');
        s = arena_strndup(b->arena, buf_str(&all), all.len);
    }
    buf_free(&all);
    buf_free(&name);
    return s;
}

int build_extra(struct builder *b, const json_t *m, const struct data_member *raw,
                struct data_turn *t)
{
    const char *key;
    json_t *v, *o = (json_t *)(uintptr_t)m;
    bool has_others = false;
    json_object_foreach(o, key, v)
    {
        has_others |= !is_read(key) && !json_is_null(v);
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            if (!strcmp(names[i].name, key) && !is_nothing(v) &&
                (names[i].key & OF_ITS_VALUE) == 0)
                t->keys |= names[i].key;
    }
    if (!has_others)
        return 0;
    t->extra = raw ? other_members(b, raw) : NULL;
    if (t->extra && (t->keys & (DATA_KEY_TOOL_CALLS | DATA_KEY_REASONING)))
        t->said = hash_said(t->extra);
    return read_masks(b, m, t);
}

/* By the names in the order of transformers. */
char *data_turn_reasoning(const struct data_turn *t)
{
    static const char *const keys[] = {"reasoning_content", "thinking", "reasoning"};
    json_error_t why;
    json_t *o = t->extra ? data_json_load(t->extra, strlen(t->extra), 0, false, &why) : NULL;
    const char *s = NULL;
    for (int i = 0; i < 3 && !s; i++)
        s = json_string_value(json_object_get(o, keys[i]));
    char *text = mem_strdup(s ? s : "");
    json_decref(o);
    return text;
}

/* ---- a record ---- */

/* TRL's: an answer that a model is to unlearn. */
void build_label(const json_t *o, struct data_record *r)
{
    if (json_is_false(build_get(o, "label")))
        r->keys |= DATA_KEY_LABEL;
}

/* A list, or the JSON text of one. What is neither is a field like any other. */
int build_tools(struct builder *b, const json_t *o, struct data_record *r)
{
    json_t *list = build_list_of(b, build_get(o, "tools"));
    bool is_there = json_array_size(list) > 0, is_text = json_is_string(build_get(o, "tools"));
    json_decref(list);
    struct data_member m;
    for (size_t at = 0; is_there && data_member_next(r->raw, r->raw_len, &at, &m);) {
        if (!data_member_is(&m, "tools"))
            continue;
        const json_t *v = build_get(o, "tools");
        r->tools = is_text
                       ? arena_strndup(b->arena, json_string_value(v), json_string_length(v))
                       : arena_strndup(b->arena, m.value, m.value_len);
        r->keys |= DATA_KEY_TOOLS;
    }
    return 0;
}
