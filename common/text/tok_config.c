/* SPDX-License-Identifier: MIT
 * tok_config: what stands beside tokenizer.json; see tok.h.
 *
 *   tokenizer_config.json    names of BOS, EOS and padding, added_tokens_decoder, chat_template
 *   special_tokens_map.json  the same names, from older programs
 *   added_tokens.json        added tokens and their ids, from older programs
 *   chat_template.jinja      the template, in place of tokenizer_config.json's
 *   config.json, generation_config.json    the id of EOS, where no name says it
 *
 * As transformers reads them: a token that stands only here is one, and a special name that the
 * vocabulary lacks gets the next free id. But EOS is never made up so: an id that the model has
 * no row for would fail at every record. */
#include "base/file.h"
#include "base/mem.h"
#include "text/tok_json.h"

#include <stdlib.h>
#include <string.h>

/* NULL without an error when the file is not there. Its model_max_length is often 1e30 written
 * as an integer: numbers are read as reals. */
static json_t *parse_beside(const char *path, const char *name, struct err *e, int *rc)
{
    const char *slash = strrchr(path, '/');
    char *full = mem_printf("%.*s%s", slash ? (int)(slash + 1 - path) : 0, path, name);
    json_t *root = NULL;
    if (*rc == 0 && file_exists(full)) {
        char *text = NULL;
        size_t len = 0;
        *rc = file_check_regular(full, e);
        if (*rc == 0)
            *rc = file_read_all(full, &text, &len, e);
        if (*rc == 0 && !(root = tok_json_parse(text, len, JSON_DECODE_INT_AS_REAL, e)))
            *rc = err_prefix(e, "%s", full);
        free(text);
    }
    free(full);
    return root;
}

/* ---- tokens ---- */

static bool is_added(const struct tok *t, const char *s)
{
    size_t len = strlen(s);
    for (size_t i = 0; i < t->n_added; i++)
        if (t->added[i].len == len && memcmp(t->added[i].text, s, len) == 0)
            return true;
    return false;
}

struct listed {
    int64_t id;
    const char *name;     /* or NULL: */
    const json_t *object; /* of added_tokens_decoder */
};

static int compare_listed(const void *a, const void *b)
{
    const struct listed *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

static int add_named(struct tok *t, const char *s, int64_t id, bool is_special, struct err *e)
{
    struct tok_added a = {
        .text = mem_strdup(s), .len = strlen(s), .id = (int32_t)id, .is_special = is_special};
    int rc = id != a.id ? err_set(e, ERR_RANGE, "added token \"%.80s\" has no id", s)
                        : tok_add_token(t, &a, e);
    free(a.text);
    return rc;
}

/* What a member of the object lists: added_tokens_decoder's ids are keys, added_tokens.json's
 * are values. */
static struct listed read_listed(const char *key, const json_t *v)
{
    char *end;
    if (json_is_number(v))
        return (struct listed){(int64_t)json_number_value(v), key, NULL};
    struct listed x = {strtoll(key, &end, 10), NULL, v};
    if (!*key || *end)
        x.id = INT64_MIN;
    x.name = json_string_value(json_object_get(v, "content"));
    return x;
}

static int add_listed(struct tok *t, const json_t *list, struct err *e)
{
    size_t n = 0;
    const char *key;
    json_t *v, *o = (json_t *)(uintptr_t)list; /* jansson's iterators take no const */
    struct listed *all = mem_zalloc(json_object_size(o) + 1, sizeof *all);
    json_object_foreach(o, key, v)
    {
        all[n] = read_listed(key, v);
        n += all[n].name && *all[n].name && !is_added(t, all[n].name);
    }
    qsort(all, n, sizeof *all, compare_listed);
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = all[i].object ? tok_json_added(t, all[i].object, all[i].id, e)
                           : add_named(t, all[i].name, all[i].id, false, e);
    free(all);
    return rc;
}

/* ---- names ---- */

/* A token is named by its text, or by an object that holds it. */
static const char *name_of(const json_t *v)
{
    return json_string_value(json_is_object(v) ? json_object_get(v, "content") : v);
}

static int32_t named_id(const struct tok *t, const json_t *config, const char *key)
{
    const char *s = name_of(json_object_get(config, key));
    return s ? tok_id(t, s) : -1;
}

static void read_names(struct tok *t, const json_t *config)
{
    int32_t *ids[] = {&t->bos, &t->eos, &t->pad};
    static const char *const KEYS[] = {"bos_token", "eos_token", "pad_token"};
    for (int i = 0; i < 3; i++)
        if (*ids[i] < 0)
            *ids[i] = named_id(t, config, KEYS[i]);
}

static int add_special(struct tok *t, const json_t *v, bool is_made, struct err *e)
{
    const char *s = name_of(v);
    if (!s || !*s || is_added(t, s))
        return 0;
    int64_t id = tok_id(t, s);
    if (id < 0 && !is_made)
        return 0;
    id = id < 0 ? (int64_t)t->names.n : id;
    if (!json_is_object(v))
        return add_named(t, s, id, true, e);
    json_t *o = json_deep_copy(v);
    json_object_set_new(o, "special", json_true());
    int rc = tok_json_added(t, o, id, e);
    json_decref(o);
    return rc;
}

/* The names of special tokens are special tokens, in this order. */
static int add_specials(struct tok *t, const json_t *config, struct err *e)
{
    static const char *const KEYS[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                       "pad_token", "cls_token", "mask_token"};
    int rc = 0;
    for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS && rc == 0; i++)
        rc = add_special(t, json_object_get(config, KEYS[i]), strcmp(KEYS[i], "eos_token") != 0,
                         e);
    size_t i;
    json_t *v;
    json_array_foreach(json_object_get(config, "additional_special_tokens"), i, v)
    {
        rc = rc == 0 ? add_special(t, v, true, e) : rc;
    }
    return rc;
}

/* An id, or the first of a list of them. */
static int32_t eos_of(const struct tok *t, const json_t *config)
{
    const json_t *v = json_object_get(config, "eos_token_id");
    v = json_is_array(v) ? json_array_get(v, 0) : v;
    double id = json_is_number(v) ? json_number_value(v) : -1;
    size_t len;
    bool is_token = id >= 0 && id < (double)t->names.n &&
                    tok_vocab_at(&t->names, (int64_t)id, &len) != NULL;
    return is_token ? (int32_t)id : -1;
}

static int read_eos(struct tok *t, const char *path, struct err *e)
{
    static const char *const NAMES[] = {"config.json", "generation_config.json"};
    int rc = 0;
    for (int i = 0; i < 2 && t->eos < 0 && rc == 0; i++) {
        json_t *config = parse_beside(path, NAMES[i], e, &rc);
        t->eos = eos_of(t, config);
        json_decref(config);
    }
    return rc;
}

/* ---- the template ---- */

/* Of blanks only there is none. */
static bool is_template(const char *s)
{
    return s && s[strspn(s, " \t\r\n")] != '\0';
}

static char *dup_or_null(const char *s)
{
    return is_template(s) ? mem_strdup(s) : NULL;
}

static void name_template(const char *name, const char *text, const char **chosen,
                          const char **tool, const char **first)
{
    *first = *first ? *first : is_template(text) ? text : NULL;
    if (strcmp(name, "default") == 0)
        *chosen = text;
    if (strcmp(name, "tool_use") == 0)
        *tool = text;
}

/* One template, or several by name, as a list or an object: "default" is meant, and "tool_use"
 * where there are tools. */
static void read_chat_template(struct tok *t, const json_t *config)
{
    json_t *o, *v = json_object_get(config, "chat_template");
    const char *key, *chosen = json_string_value(v), *tool = NULL, *first = NULL;
    bool is_known = !v || json_is_null(v) || chosen || json_is_array(v) || json_is_object(v);
    size_t i;
    json_object_foreach(v, key, o)
    {
        is_known = is_known && json_is_string(o);
        name_template(key, json_string_value(o), &chosen, &tool, &first);
    }
    json_array_foreach(v, i, o)
    {
        const char *name = json_string_value(json_object_get(o, "name"));
        const char *text = json_string_value(json_object_get(o, "template"));
        is_known = is_known && name && text;
        name_template(name ? name : "", text, &chosen, &tool, &first);
    }
    t->has_odd_template = !is_known;
    if (!is_known)
        return;
    t->chat_template = dup_or_null(chosen ? chosen : first);
    t->tool_template = dup_or_null(tool);
}

static int read_chat_file(struct tok *t, const char *path, struct err *e)
{
    const char *slash = strrchr(path, '/');
    char *full =
        mem_printf("%.*schat_template.jinja", slash ? (int)(slash + 1 - path) : 0, path);
    int rc = 0;
    if (file_exists(full)) {
        char *text = NULL;
        size_t len = 0;
        rc = file_check_regular(full, e);
        if (rc == 0)
            rc = file_read_all(full, &text, &len, e);
        if (rc == 0 && !is_template(text)) {
            free(text);
        } else if (rc == 0) {
            free(t->chat_template);
            free(t->tool_template);
            t->chat_template = text;
            t->tool_template = NULL;
            t->has_odd_template = false;
        }
    }
    free(full);
    return rc;
}

int tok_read_beside(struct tok *t, const char *path, struct err *e)
{
    int rc = 0;
    json_t *config = parse_beside(path, "tokenizer_config.json", e, &rc);
    json_t *map = parse_beside(path, "special_tokens_map.json", e, &rc);
    json_t *added = parse_beside(path, "added_tokens.json", e, &rc);
    if (rc == 0 && (rc = add_listed(t, json_object_get(config, "added_tokens_decoder"), e)) < 0)
        err_prefix(e, "%s: added_tokens_decoder", path);
    if (rc == 0 && (rc = add_listed(t, added, e)) < 0)
        err_prefix(e, "%s: added_tokens.json", path);
    read_names(t, config);
    read_names(t, map);
    if (rc == 0 && t->eos < 0)
        rc = read_eos(t, path, e);
    if (rc == 0 && (rc = add_specials(t, config, e)) == 0)
        rc = add_specials(t, map, e);
    read_names(t, config); /* those that are new */
    read_names(t, map);
    if (t->bos < 0 && t->n_before > 0)
        t->bos = t->before[0];
    read_chat_template(t, config);
    json_decref(config);
    json_decref(map);
    json_decref(added);
    return rc < 0 ? rc : read_chat_file(t, path, e);
}
