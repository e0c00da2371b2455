/* SPDX-License-Identifier: MIT
 * Records turned from their layout into another; see export.h. What the layout does not read
 * stays, in order, behind what was made; a field that would be there twice gives way. */
#include "data/export_impl.h"

#include <string.h>

static void add_key(struct buf *b, const char *key)
{
    buf_printf(b, "%s\"%s\": ", b->len && b->data[b->len - 1] != '{' ? ", " : "", key);
}

static void add_text(struct buf *b, const char *key, const char *s, size_t len)
{
    add_key(b, key);
    text_json_string(b, s, len);
}

static const char *const MESSAGE_KEYS[] = {"role", "content"};
static const char *const MESSAGE_ROLES[] = {"system", "user", "assistant", "tool"};
static const char *const SHAREGPT_KEYS[] = {"from", "value"};
static const char *const SHAREGPT_ROLES[] = {"system", "human", "gpt", "observation"};

/* Turns [from, to) as a list of objects. */
static void add_turns(struct buf *b, const struct data_record *r, int from, int to,
                      const char *const keys[2], const char *const names[4])
{
    buf_putc(b, '[');
    for (int i = from; i < to; i++) {
        const struct data_turn *t = &r->turns[i];
        bool is_developer = t->is_developer && keys == MESSAGE_KEYS;
        buf_printf(b, "%s{\"%s\": \"%s\", \"%s\": ", i > from ? ", " : "", keys[0],
                   is_developer ? "developer" : names[t->role], keys[1]);
        if (t->is_silent)
            buf_puts(b, "null");
        else
            text_json_string(b, t->text, t->len);
        struct data_member m; /* what the message says besides */
        for (size_t at = 0;
             t->extra && data_member_next(t->extra, strlen(t->extra), &at, &m);) {
            buf_puts(b, ", \"");
            buf_append(b, m.key, m.key_len);
            buf_puts(b, "\": ");
            buf_append(b, m.value, m.value_len);
        }
        buf_putc(b, '}');
    }
    buf_putc(b, ']');
}

/* ERR_UNSUPPORTED where a layout of texts alone would lose a call or a thought, or have learnt
 * what is not to be learnt. */
static int check_texts(const struct data_record *r, const char *layout, struct err *e)
{
    for (int i = 0; i < r->n_turns; i++) {
        const struct data_turn *t = &r->turns[i];
        const char *what = t->keys & DATA_KEY_TOOL_CALLS  ? data_key_name(DATA_KEY_TOOL_CALLS)
                           : t->keys & DATA_KEY_REASONING ? data_key_name(DATA_KEY_REASONING)
                           : t->is_masked                 ? "weight"
                                                          : NULL;
        if (what)
            return err_set(e, ERR_UNSUPPORTED,
                           "%s has no place for a message's \"%s\"; messages and sharegpt have",
                           layout, what);
    }
    return 0;
}

static int add_messages(struct buf *b, const struct data_record *r, struct err *e)
{
    (void)e;
    add_key(b, "messages");
    add_turns(b, r, 0, r->n_turns, MESSAGE_KEYS, MESSAGE_ROLES);
    if (r->instruction && r->input[0])
        add_text(b, DATA_INPUT_FIELD, r->input, strlen(r->input));
    return 0;
}

static int add_sharegpt(struct buf *b, const struct data_record *r, struct err *e)
{
    (void)e;
    add_key(b, "conversations");
    add_turns(b, r, 0, r->n_turns, SHAREGPT_KEYS, SHAREGPT_ROLES);
    return 0;
}

/* 1 where a system's turn comes first; ERR_UNSUPPORTED unless users and assistants then take
 * turns, to an assistant. */
static int first_of_pairs(const struct data_record *r, const char *layout, struct err *e)
{
    int first = r->turns[0].role == DATA_SYSTEM;
    bool is_well = r->n_turns > first && (r->n_turns - first) % 2 == 0;
    for (int i = first; i < r->n_turns && is_well; i++)
        is_well = r->turns[i].role == ((i - first) % 2 ? DATA_ASSISTANT : DATA_USER);
    if (is_well)
        return first;
    return err_set(e, ERR_UNSUPPORTED,
                   "%s has no place for turns other than of user and assistant, one after the "
                   "other; messages and sharegpt have",
                   layout);
}

static int add_alpaca(struct buf *b, const struct data_record *r, struct err *e)
{
    int first = first_of_pairs(r, "alpaca", e), n = r->n_turns;
    int rc = first < 0 ? first : check_texts(r, "alpaca", e);
    if (rc < 0)
        return rc;
    const struct data_turn *user = &r->turns[n - 2], *reply = &r->turns[n - 1];
    const char *instruction = r->instruction ? r->instruction : user->text;
    const char *input = r->instruction ? r->input : "";
    add_text(b, "instruction", instruction, r->instruction ? strlen(instruction) : user->len);
    add_text(b, "input", input, strlen(input));
    add_text(b, "output", reply->text, reply->len);
    if (first && r->turns[0].len)
        add_text(b, "system", r->turns[0].text, r->turns[0].len);
    if (n - 2 > first)
        add_key(b, "history");
    for (int i = first; i < n - 2; i++) {
        buf_puts(b, (i - first) % 2 ? ", " : i > first ? ", [" : "[[");
        text_json_string(b, r->turns[i].text, r->turns[i].len);
        buf_puts(b, (i - first) % 2 ? "]" : "");
    }
    buf_puts(b, n - 2 > first ? "]" : "");
    return 0;
}

bool export_is_pair(const struct data_record *r)
{
    return r->n_turns == 2 && r->turns[0].role == DATA_USER &&
           r->turns[1].role == DATA_ASSISTANT && !r->turns[0].extra && !r->turns[1].extra;
}

/* TRL's: two texts, or, with is_listed, two lists of messages, the second being the reply. */
static int add_completion(struct buf *b, const struct data_record *r, bool is_listed,
                          struct err *e)
{
    int last = r->n_turns - 1;
    if (r->turns[last].role != DATA_ASSISTANT || last == 0)
        return err_set(e, ERR_UNSUPPORTED,
                       "prompt-completion needs a prompt, and an assistant's turn at the end");
    if (!is_listed) {
        add_text(b, "prompt", r->turns[0].text, r->turns[0].len);
        add_text(b, "completion", r->turns[1].text, r->turns[1].len);
        return 0;
    }
    add_key(b, "prompt");
    add_turns(b, r, 0, last, MESSAGE_KEYS, MESSAGE_ROLES);
    add_key(b, "completion");
    add_turns(b, r, last, last + 1, MESSAGE_KEYS, MESSAGE_ROLES);
    return 0;
}

/* A field "messages" that is not read, for it is null or an empty cell, gives way to ours. */
static bool gives_way(const struct data_member *m, enum export_layout l)
{
    static const char *const names[][6] = {
        [EXPORT_AS_IS] = {NULL},
        [EXPORT_MESSAGES] = {"messages", NULL},
        [EXPORT_ALPACA] = {"instruction", "input", "output", "system", "history", NULL},
        [EXPORT_SHAREGPT] = {"conversations", NULL},
        [EXPORT_COMPLETION] = {"prompt", "completion", NULL},
    };
    for (int i = 0; names[l][i]; i++)
        if (data_member_is(m, names[l][i]))
            return true;
    return false;
}

bool export_is_read(const struct data_record *r, const struct data_member *m)
{
    for (int i = 0; i < DATA_N_FIELDS; i++)
        if (r->fields[i] && data_member_is(m, r->fields[i]))
            return true;
    if (r->instruction && data_member_is(m, DATA_INPUT_FIELD))
        return true;
    return r->layout == DATA_ALPACA && data_member_is(m, "history");
}

int export_convert(struct buf *b, enum export_layout l, bool is_listed,
                   const struct data_record *r, struct err *e)
{
    struct data_member m;
    int rc = 0;
    buf_putc(b, '{');
    switch (l) {
    case EXPORT_AS_IS:
        break;
    case EXPORT_MESSAGES:
        rc = add_messages(b, r, e);
        break;
    case EXPORT_ALPACA:
        rc = add_alpaca(b, r, e);
        break;
    case EXPORT_SHAREGPT:
        rc = add_sharegpt(b, r, e);
        break;
    case EXPORT_COMPLETION:
        rc = add_completion(b, r, is_listed, e);
        break;
    }
    for (size_t at = 0; rc == 0 && data_member_next(r->raw, r->raw_len, &at, &m);) {
        if (l != EXPORT_AS_IS && (export_is_read(r, &m) || gives_way(&m, l)))
            continue;
        buf_puts(b, b->data[b->len - 1] == '{' ? "\"" : ", \"");
        buf_append(b, m.key, m.key_len);
        buf_puts(b, "\": ");
        buf_append(b, m.value, m.value_len);
    }
    buf_putc(b, '}');
    return rc;
}
