/* SPDX-License-Identifier: MIT
 * From a JSON object to a record's turns, whatever the layout.
 *
 * Fields that the layout reads must have their type; others may be anything. */
#include "data/dataset_build.h"

#include <stdlib.h>
#include <string.h>

/* May be absent, null or "": then *s is NULL. */
static int get_optional(struct builder *b, const json_t *o, const char *key, const json_t **s)
{
    const json_t *v = build_get(o, key);
    *s = NULL;
    int rc = v ? build_string(b, v, key, s) : 0;
    if (rc == 0 && json_string_length(*s) == 0)
        *s = NULL;
    return rc;
}

static int add_field(struct builder *b, const json_t *o, const char *key, enum data_role role)
{
    const json_t *s = NULL;
    int rc = build_string(b, build_get(o, key), key, &s);
    if (rc < 0)
        return rc;
    if (json_string_length(s) == 0)
        return build_is_empty(b, key);
    build_json_turn(b, role, s);
    return 0;
}

/* Among the turns from the i-th on. */
static bool has_assistant(const struct builder *b, size_t i)
{
    for (; i < b->n; i++)
        if (b->turns[i].role == DATA_ASSISTANT)
            return true;
    return false;
}

static bool has_learnt(const struct builder *b)
{
    for (size_t i = 0; i < b->n; i++)
        if (b->turns[i].role == DATA_ASSISTANT && !b->turns[i].is_masked)
            return true;
    return false;
}

/* ---- layouts ---- */

/* The system text of a record's own field comes first, whatever the layout but text: of
 * `system`, or, where that says nothing, of `system_prompt`. */
static int add_system(struct builder *b, const json_t *o, struct data_record *r)
{
    static const char *const keys[] = {"system", "system_prompt"};
    const json_t *s = NULL;
    int rc = 0;
    for (int i = 0; i < 2 && rc == 0 && !s; i++) {
        rc = get_optional(b, o, keys[i], &s);
        if (s || (json_object_get(o, keys[i]) && !r->fields[DATA_FIELD_SYSTEM]))
            r->fields[DATA_FIELD_SYSTEM] = keys[i];
    }
    if (rc == 0 && s)
        build_json_turn(b, DATA_SYSTEM, s);
    return rc;
}

static int add_messages(struct builder *b, json_t *value, const char *key)
{
    if (!value)
        return build_is_missing(b, key);
    json_t *list = build_list_of(b, value);
    int rc = list ? build_messages(b, list, key) : build_wrong_type(b, key, value, "array");
    if (!list && json_is_string(value) && json_string_value(value)[0] == '[')
        rc = err_set(b->e, ERR_FORMAT,
                     "\"%s\" is a text that begins as a list, and is no JSON "
                     "(Python's own notation?)",
                     key);
    json_decref(list);
    return rc;
}

/* What an export of an Alpaca record says of its last user's turn. If that was edited since, it
 * is just a text. */
static int split_user(struct builder *b, const json_t *o, struct data_record *r)
{
    const json_t *s = NULL;
    int rc = get_optional(b, o, DATA_INPUT_FIELD, &s);
    if (rc < 0 || !s || b->n < 2 || b->turns[b->n - 1].role != DATA_ASSISTANT ||
        b->turns[b->n - 2].role != DATA_USER)
        return rc;
    const struct data_turn *user = &b->turns[b->n - 2];
    size_t m = json_string_length(s), n = user->len - m;
    if (m > user->len || memcmp(user->text + n, json_string_value(s), m) != 0 ||
        (n > 0 && user->text[n - 1] != '\n'))
        return 0;
    r->instruction = arena_strndup(b->arena, user->text, n ? n - 1 : 0);
    r->input = user->text + n;
    return 0;
}

/* A conversation. */
static int build_list(struct builder *b, const json_t *o, struct data_record *r)
{
    const char *key = r->fields[DATA_FIELD_PROMPT];
    int rc = add_messages(b, build_get(o, key), key);
    if (rc < 0)
        return rc;
    if (!has_assistant(b, 0))
        return err_set(b->e, ERR_FORMAT, "\"%s\" has no assistant turn", key);
    return r->layout == DATA_MESSAGES ? split_user(b, o, r) : 0;
}

static int add_pair(struct builder *b, const json_t *pair, size_t i)
{
    for (size_t k = 0; k < 2; k++) {
        const json_t *s = json_array_get(pair, k);
        if (json_is_number(s))
            b->how->met_number = true;
        if (json_array_size(pair) != 2 || !json_is_string(s))
            return err_set(b->e, ERR_FORMAT, "\"history[%zu]\" is not a pair of strings", i);
        if (json_string_length(s) == 0)
            return err_set(b->e, ERR_FORMAT, "\"history[%zu][%zu]\" is empty", i, k);
        build_json_turn(b, k ? DATA_ASSISTANT : DATA_USER, s);
    }
    return 0;
}

static int add_history(struct builder *b, json_t *value)
{
    size_t i;
    const json_t *pair;
    int rc = 0;
    if (!value || (json_is_string(value) && json_string_length(value) == 0))
        return 0;
    json_t *list = build_list_of(b, value);
    if (!list)
        return build_wrong_type(b, "history", value, "array");
    json_array_foreach(list, i, pair)
    {
        rc = json_is_null(pair) ? 0 : add_pair(b, pair, i);
        if (rc < 0)
            break;
    }
    json_decref(list);
    return rc;
}

/* The user's turn is "instruction\ninput", as LLaMA-Factory joins them. */
static int add_alpaca_user(struct builder *b, const json_t *o, struct data_record *r)
{
    const json_t *instruction = NULL, *input = NULL;
    const char *key = r->fields[DATA_FIELD_PROMPT];
    int rc = build_string(b, build_get(o, key), key, &instruction);
    if (rc == 0)
        rc = get_optional(b, o, r->fields[DATA_FIELD_INPUT], &input);
    if (rc < 0)
        return rc;
    size_t n = json_string_length(instruction), m = input ? json_string_length(input) : 0;
    if (n + m == 0)
        return build_is_empty(b, key);
    r->instruction = arena_strndup(b->arena, json_string_value(instruction), n);
    r->input = arena_strndup(b->arena, input ? json_string_value(input) : "", m);
    size_t len = n + m + (n && m);
    char *text = arena_take(b->arena, len + 1);
    memcpy(text, r->instruction, n);
    if (n && m)
        text[n] = '\n';
    memcpy(text + len - m, r->input, m + 1);
    build_turn(b, DATA_USER, text, len);
    return 0;
}

static int build_alpaca(struct builder *b, const json_t *o, struct data_record *r)
{
    int rc = add_history(b, build_get(o, "history"));
    if (rc == 0)
        rc = add_alpaca_user(b, o, r);
    return rc < 0 ? rc : add_field(b, o, r->fields[DATA_FIELD_RESPONSE], DATA_ASSISTANT);
}

/* Prompt and response: strings. */
static int build_pair(struct builder *b, const json_t *o, struct data_record *r)
{
    int rc = add_field(b, o, r->fields[DATA_FIELD_PROMPT], DATA_USER);
    return rc < 0 ? rc : add_field(b, o, r->fields[DATA_FIELD_RESPONSE], DATA_ASSISTANT);
}

/* Is this a list of messages, and nothing that one could also say? */
static bool is_chat(const json_t *list)
{
    size_t i;
    const json_t *m;
    json_array_foreach(list, i, m)
    {
        if (!build_get(m, "role") && !build_get(m, "from"))
            return false;
    }
    return json_array_size(list) > 0;
}

/* A string, or a list of messages as TRL takes them; in CSV that is text, too. */
static int add_side(struct builder *b, const json_t *o, const char *key, enum data_role role)
{
    json_t *value = build_get(o, key), *list = NULL;
    if (json_is_array(value) || b->how->is_csv)
        list = build_list_of(b, value);
    int rc = json_is_array(value) || is_chat(list) ? build_messages(b, list, key)
                                                   : add_field(b, o, key, role);
    json_decref(list);
    return rc;
}

static int build_completion(struct builder *b, const json_t *o, struct data_record *r)
{
    (void)r;
    int rc = add_side(b, o, "prompt", DATA_USER);
    size_t before = b->n;
    if (rc == 0)
        rc = add_side(b, o, "completion", DATA_ASSISTANT);
    if (rc == 0 && !has_assistant(b, before))
        return err_set(b->e, ERR_FORMAT, "\"completion\" has no assistant turn");
    return rc;
}

static int build_text(struct builder *b, const json_t *o, struct data_record *r)
{
    return add_field(b, o, r->fields[DATA_FIELD_RESPONSE], DATA_ASSISTANT);
}

/* Layouts by the fields that they need, the surest first. The second rows of a layout are what
 * well-known datasets call the same: Dolly; HelpSteer, MetaMathQA, MATH; OpenOrca. */
static const struct layout {
    enum data_layout layout;
    const char *fields[3]; /* prompt or list, response, input */
    int (*build)(struct builder *b, const json_t *o, struct data_record *r);
} layouts[] = {
    {DATA_MESSAGES, {"messages", NULL, NULL}, build_list},
    {DATA_SHAREGPT, {"conversations", NULL, NULL}, build_list},
    {DATA_ALPACA, {"instruction", "output", "input"}, build_alpaca},
    {DATA_ALPACA, {"instruction", "response", "context"}, build_alpaca},
    {DATA_COMPLETION, {"prompt", "completion", NULL}, build_completion},
    {DATA_COMPLETION, {"prompt", "response", NULL}, build_pair},
    {DATA_COMPLETION, {"query", "response", NULL}, build_pair},
    {DATA_COMPLETION, {"problem", "solution", NULL}, build_pair},
    {DATA_QA, {"question", "answer", NULL}, build_pair},
    {DATA_QA, {"question", "response", NULL}, build_pair},
    {DATA_TEXT, {NULL, "text", NULL}, build_text},
};
enum { N_LAYOUTS = sizeof layouts / sizeof *layouts };

enum presence { ABSENT, IS_NULL, EMPTY, FULL };

/* An empty cell of CSV says that the record has no such field, where another layout has all of
 * its own; but an Alpaca instruction may be empty when there is an input. */
static enum presence find_field(const json_t *o, const char *const *fields, int i, bool is_csv)
{
    const json_t *v = build_get(o, fields[i]);
    if (!v)
        return json_object_get(o, fields[i]) ? IS_NULL : ABSENT;
    bool is_empty = is_csv && json_is_string(v) && json_string_length(v) == 0;
    if (is_empty && i == 0 && fields[2] && json_string_length(build_get(o, fields[2])))
        return FULL;
    return is_empty ? EMPTY : FULL;
}

/* How well a layout fits: 4 when it has all, 3 with some of them empty, 2 with one of them, 1
 * with nothing but empty or null ones, 0 with none. */
static int fit(const struct layout *l, const json_t *o, bool is_csv)
{
    enum presence least = FULL, most = ABSENT;
    for (int i = 0; i < 2; i++) {
        if (!l->fields[i])
            continue;
        enum presence p = find_field(o, l->fields, i, is_csv);
        least = p < least ? p : least;
        most = p > most ? p : most;
    }
    if (most == FULL)
        return least == FULL ? 4 : least == EMPTY ? 3 : 2;
    return most != ABSENT;
}

/* The first that fits best; one with only a part of its fields can then say what is missing.
 * Text alone is the last choice: a record with "prompt" and "text" lacks its completion. */
static const struct layout *find_layout(const json_t *o, bool is_csv)
{
    const struct layout *found = NULL;
    int best = 0;
    for (int i = 0; i < N_LAYOUTS; i++) {
        int now = fit(&layouts[i], o, is_csv);
        if (now > best && (layouts[i].layout != DATA_TEXT || best < 2)) {
            best = now;
            found = &layouts[i];
        }
    }
    return found;
}

static int unknown_layout(json_t *o, struct err *e)
{
    struct buf found = {0};
    const char *key;
    json_t *v;
    json_object_foreach(o, key, v)
    {
        if (found.len > 200) {
            buf_puts(&found, ", ...");
            break;
        }
        buf_printf(&found, "%s\"%.60s\"", found.len ? ", " : "", key);
    }
    err_set(e, ERR_FORMAT,
            "no \"instruction\", \"messages\", \"conversations\", \"prompt\", \"question\" or "
            "\"text\" among its fields (%s)",
            found.len ? buf_str(&found) : "none");
    buf_free(&found);
    return e ? e->code : ERR_FORMAT;
}

int data_record_build(struct data_record *r, json_t *o, struct arena *a,
                      struct data_reading *how, struct err *e)
{
    struct builder b = {.arena = a, .record = r, .how = how, .e = e};
    const struct layout *l = find_layout(o, how->is_csv);
    if (build_get(o, "chosen") && build_get(o, "rejected") &&
        (!l || fit(l, o, how->is_csv) < 4))
        return err_set(e, ERR_UNSUPPORTED,
                       "a pair of answers, \"chosen\" and \"rejected\": one is read, named "
                       "\"completion\" beside \"prompt\", or \"messages\"");
    if (!l)
        return unknown_layout(o, e);
    r->layout = l->layout;
    memcpy(r->fields, l->fields, sizeof l->fields);
    int rc = l->layout == DATA_TEXT ? 0 : add_system(&b, o, r);
    size_t n_system = b.n;
    if (rc == 0)
        rc = l->build(&b, o, r);
    if (rc == 0 && !has_learnt(&b))
        rc = err_set(e, ERR_FORMAT,
                     "every assistant turn is masked (\"weight\" 0, \"train\" false)");
    if (rc == 0 && l->layout != DATA_TEXT)
        rc = build_tools(&b, o, r);
    if (rc == 0) {
        build_label(o, r);
        for (size_t i = 0; i < b.n; i++)
            r->keys |= b.turns[i].keys;
        if (n_system && b.turns[1].role == DATA_SYSTEM) { /* the list's own stands for it */
            size_t gone = data_turn_is_blank_system(&b.turns[1]);
            memmove(b.turns + gone, b.turns + gone + 1, (--b.n - gone) * sizeof *b.turns);
        }
        r->n_turns = (int)b.n;
        r->turns = arena_take(a, b.n * sizeof *b.turns);
        memcpy(r->turns, b.turns, b.n * sizeof *b.turns);
    }
    free(b.turns);
    return rc;
}
