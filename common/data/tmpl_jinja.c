/* SPDX-License-Identifier: MIT
 * The template that a model ships; see tmpl.h.
 *
 * What counts in the loss is found by where the bytes come from (jinja.h). Of an assistant's
 * turn i:
 *
 *     F, the conversation: ..<|start|>assistant\nANSWER<|end|>\n<|start|>..
 *
 *     P_i, before it, with a generation prompt:   ..<|start|>assistant\n
 *
 *     Q_i, up to it:                              ..<|start|>assistant\nANSWER<|end|>\n
 *
 * The response begins where P_i ends, if that begins F; else where the two part, but not behind
 * the first byte of message i, nor before the last of an earlier one. It ends with what Q_i and
 * F have in common behind the last byte of message i, without the white space there. */
#include "base/mem.h"
#include "base/sniff.h"
#include "base/text.h"
#include "data/dataset_json.h"
#include "data/tmpl_impl.h"
#include "jinja/jinja.h"

#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

struct tmpl_jinja {
    struct jinja *plain, *tools; /* tools: NULL, or for records with tools */
    json_t *bos, *eos, *unk, *pad;
    time_t now;
};

void tmpl_jinja_free(struct tmpl_jinja *j)
{
    if (!j)
        return;
    jinja_free(j->plain);
    jinja_free(j->tools);
    json_decref(j->bos);
    json_decref(j->eos);
    json_decref(j->unk);
    json_decref(j->pad);
    free(j);
}

static json_t *text_or_null(const char *s)
{
    return s ? json_string(s) : NULL;
}

struct tmpl *tmpl_of_model(const struct tmpl_model *m, struct err *e)
{
    struct tmpl *t = mem_zalloc(1, sizeof *t);
    struct tmpl_jinja *j = t->jinja = mem_zalloc(1, sizeof *j);
    char *name = mem_printf("chat template of %s", m->name);
    t->name = mem_strdup("model");
    t->hash = XXH64(m->text, strlen(m->text), 0);
    if (m->tool_text)
        t->hash = XXH64(m->tool_text, strlen(m->tool_text), t->hash);
    const char *what = sniff(m->text, strlen(m->text));
    if (what)
        err_set(e, ERR_FORMAT, "%s: %s", name, what);
    else
        j->plain = jinja_parse(name, m->text, strlen(m->text), e);
    if (j->plain && m->tool_text)
        j->tools = jinja_parse(name, m->tool_text, strlen(m->tool_text), e);
    j->bos = text_or_null(m->bos);
    j->eos = text_or_null(m->eos);
    j->unk = text_or_null(m->unk);
    j->pad = text_or_null(m->pad);
    j->now = (time_t)m->now;
    free(name);
    if (j->plain && (j->tools || !m->tool_text))
        return t;
    tmpl_jinja_free(j);
    free(t->name);
    free(t);
    return NULL;
}

bool tmpl_is_model(const struct tmpl *t)
{
    return t->jinja != NULL;
}

static const struct jinja *jinja_for(const struct tmpl_jinja *j, const struct data_record *r)
{
    return r->tools && j->tools ? j->tools : j->plain;
}

/* What a template never speaks of, it does not render. */
unsigned tmpl_jinja_unheeded(const struct tmpl *t, const struct data_record *r)
{
    const struct jinja *j = jinja_for(t->jinja, r);
    unsigned unheeded =
        r->keys & (DATA_KEY_WEIGHT | DATA_KEY_TRAIN | DATA_KEY_LABEL | DATA_KEY_DETAIL);
    for (unsigned key = 1; key < 1u << DATA_N_KEYS; key <<= 1)
        if (r->keys & key & ~(unsigned)DATA_KEY_TOOL_CALLS)
            unheeded |= jinja_mentions(j, data_key_name((enum data_key)key)) ? 0 : key;
    if ((unheeded & DATA_KEY_REASONING) && jinja_mentions(j, "thinking"))
        unheeded &= ~(unsigned)DATA_KEY_REASONING;
    return unheeded;
}

/* ---- messages ---- */

/* As transformers has them: nulls are absent, and reasoning goes by each of its names. */
static json_t *message_of(const struct data_turn *turn, const struct jinja *j)
{
    static const char *const roles[] = {"system", "user", "assistant", "tool"};
    json_error_t why;
    json_t *m = json_object(), *extra, *v;
    const char *key;
    bool is_developer = turn->is_developer && jinja_mentions(j, "developer");
    json_object_set_new(m, "role", json_string(is_developer ? "developer" : roles[turn->role]));
    if (!turn->is_silent)
        json_object_set_new(m, "content", json_stringn(turn->text, turn->len));
    if (!turn->extra)
        return m;
    extra = data_json_load(turn->extra, strlen(turn->extra), 0, false, &why);
    json_object_foreach(extra, key, v)
    {
        json_object_set(m, key, v);
    }
    json_decref(extra);
    if (json_object_get(m, "function_call") && !json_object_get(m, "tool_calls") &&
        !jinja_mentions(j, "function_call")) /* what a call was before there were several */
        json_object_set_new(m, "tool_calls",
                            json_pack("[{s:s, s:O}]", "type", "function", "function",
                                      json_object_get(m, "function_call")));
    if (turn->keys & DATA_KEY_REASONING) {
        char *thought = data_turn_reasoning(turn);
        if (!json_object_get(m, "thinking"))
            json_object_set_new(m, "thinking", json_string(thought));
        json_object_set_new(m, "reasoning_content", json_string(thought));
        free(thought);
    }
    return m;
}

struct work {
    const struct tmpl *t;
    const struct data_record *r;
    const struct jinja *jinja;
    json_t *messages, *tools;
    int n;                  /* messages: up to the last assistant's */
    struct jinja_text full; /* F */
    uint8_t *is_response;   /* of its bytes */
    uint8_t *wants_eos;     /* a turn ends before this byte, and there is no marker */
    struct err *e;
};

static void work_free(struct work *w)
{
    json_decref(w->messages);
    json_decref(w->tools);
    jinja_text_free(&w->full);
    free(w->is_response);
    free(w->wants_eos);
}

static int prepare(struct work *w)
{
    json_error_t why;
    const struct data_record *r = w->r;
    w->n = r->n_turns;
    while (w->n > 1 && r->turns[w->n - 1].role != DATA_ASSISTANT)
        w->n--;
    w->messages = json_array();
    for (int i = 0; i < w->n; i++) {
        if ((r->turns[i].keys & DATA_KEY_TOOL_CALLS) && !jinja_mentions(w->jinja, "tool_calls"))
            return err_set(w->e, ERR_UNSUPPORTED,
                           "the model's template has no place for \"tool_calls\"");
        json_array_append_new(w->messages, message_of(&r->turns[i], w->jinja));
    }
    w->tools =
        r->tools ? data_json_load(r->tools, strlen(r->tools), 0, false, &why) : json_null();
    return 0;
}

static int render(const struct work *w, json_t *messages, bool is_open, struct jinja_text *out,
                  struct err *e)
{
    const struct tmpl_jinja *j = w->t->jinja;
    json_t *open = json_boolean(is_open), *none = json_null();
    const struct jinja_var vars[] = {
        {"messages", messages, JINJA_PER_ITEM}, {"tools", w->tools, JINJA_UNTRUSTED},
        {"documents", none, JINJA_TRUSTED},     {"add_generation_prompt", open, JINJA_TRUSTED},
        {"bos_token", j->bos, JINJA_TRUSTED},   {"eos_token", j->eos, JINJA_TRUSTED},
        {"unk_token", j->unk, JINJA_TRUSTED},   {"pad_token", j->pad, JINJA_TRUSTED}};
    return jinja_render(w->jinja, vars, sizeof vars / sizeof *vars, j->now, out, e);
}

/* The first n messages. False: the template refuses a conversation that ends there. */
static bool render_part(const struct work *w, int n, bool is_open, struct jinja_text *out)
{
    struct err e = ERR_INIT;
    json_t *part = json_array();
    for (int i = 0; i < n; i++)
        json_array_append(part, json_array_get(w->messages, (size_t)i));
    int rc = n > 0 ? render(w, part, is_open, out, &e) : -1;
    json_decref(part);
    return rc == 0;
}

/* ---- what counts ---- */

static int who_at(const struct jinja_text *x, size_t i)
{
    int who = x->from[i] & JINJA_WHO;
    return who == JINJA_DATA ? 0 : who;
}

/* [*from, *to): from the first to behind the last byte of message i; false: it has none. */
static bool find_message(const struct jinja_text *x, int i, size_t *from, size_t *to)
{
    bool is_there = false;
    for (size_t k = 0; k < x->len; k++)
        if (who_at(x, k) == i + 1) {
            *from = is_there ? *from : k;
            *to = k + 1;
            is_there = true;
        }
    return is_there;
}

static size_t common_prefix(const char *a, size_t n, const char *b, size_t m)
{
    size_t k = 0;
    while (k < n && k < m && a[k] == b[k])
        k++;
    while (k > 0 && k < n && ((unsigned char)a[k] & 0xc0) == 0x80)
        k--;
    return k;
}

static size_t find_start(const struct work *w, int i, size_t first)
{
    const struct jinja_text *f = &w->full;
    struct jinja_text p = {0};
    size_t least = 0, start = first;
    for (size_t k = 0; k < first; k++) /* behind what others said, and blanks the last */
        least = who_at(f, k) ? k + 1 : least;
    if (jinja_mentions(w->jinja, "add_generation_prompt") && render_part(w, i, true, &p)) {
        size_t common = common_prefix(p.s, p.len, f->s, f->len);
        if (common == p.len && common > least)
            start = common;
        else if (common > least && common < first)
            start = common;
    }
    jinja_text_free(&p);
    while (start > least && start == first && f->s[start - 1] == ' ') { /* as tokens have it */
        start--;
        first--;
    }
    return start;
}

static bool is_blank(const char *s, size_t len)
{
    for (size_t n; len > 0; s += n, len -= n)
        if ((n = utf8_space((const unsigned char *)s, len)) == 0)
            return false;
    return true;
}

/* A common prefix that ends inside a marker, "<|end|>\n<|" of "<|user|>" and "<|assistant|>",
 * ends before it. */
static size_t without_half(const char *s, size_t n)
{
    for (size_t k = n; k > 0 && !strchr(">]\n", s[k - 1]); k--)
        if (s[k - 1] == '<' || s[k - 1] == '[')
            n = k - 1;
    return n;
}

/* How many bytes behind message i are its end. */
static size_t measure_end(const struct work *w, int i, size_t to)
{
    const struct jinja_text *f = &w->full;
    struct jinja_text q = {0};
    size_t end = to, from = 0, its_end = 0, n = f->len - to;
    while (end < f->len && !(f->from[end] & JINJA_WHO))
        end++;
    if (i + 1 < w->n) {
        bool is_made = render_part(w, i + 1, false, &q) && find_message(&q, i, &from, &its_end);
        n = is_made ? common_prefix(q.s + its_end, q.len - its_end, f->s + to, end - to) : 0;
        if (n < end - to && its_end + n < q.len)
            n = without_half(f->s + to, n);
    }
    jinja_text_free(&q);
    for (size_t k = 1; k <= n; k++) /* white space at its end is of what comes next */
        if (is_blank(f->s + to + n - k, k) == false)
            return n - k + 1;
    return 0;
}

static void mark_turn(struct work *w, int i)
{
    const struct jinja_text *f = &w->full;
    size_t first = 0, to = 0;
    if (!find_message(f, i, &first, &to))
        return;
    size_t start = find_start(w, i, first), n = measure_end(w, i, to);
    if (start > to)
        start = to;
    if (!w->r->turns[i].is_masked)
        memset(w->is_response + start, 1, to + n - start);
    w->wants_eos[to + n] = n == 0;
}

/* Each block is the turn's whose bytes it holds first; of one that holds none, the next's. */
static void mark_generated(struct work *w)
{
    const struct jinja_text *f = &w->full;
    for (size_t i = 0, end; i < f->len; i = end) {
        int who = 0;
        for (end = i; end < f->len && !(f->from[end] & JINJA_GENERATED);)
            end++;
        size_t from = end;
        for (; end < f->len && (f->from[end] & JINJA_GENERATED); end++)
            who = who ? who : who_at(f, end);
        bool is_masked = who > 0 && who <= w->n && w->r->turns[who - 1].is_masked;
        memset(w->is_response + from, !is_masked, end - from);
    }
}

/* ---- segments ---- */

static void add_segments(const struct work *w, struct tmpl_text *out)
{
    const struct jinja_text *f = &w->full;
    size_t cap = 0;
    for (size_t i = 0, end; i < f->len; i = end) {
        bool is_markup = !(f->from[i] & JINJA_WHO), is_response = w->is_response[i];
        for (end = i + 1; end < f->len && !w->wants_eos[end] &&
                          !(f->from[end] & JINJA_WHO) == is_markup &&
                          (bool)w->is_response[end] == is_response;)
            end++;
        MEM_GROW(out->segments, cap, out->n_segments + 1);
        out->segments[out->n_segments++] =
            (struct tmpl_segment){.text = mem_strndup(f->s + i, end - i),
                                  .len = end - i,
                                  .is_response = is_response,
                                  .is_markup = is_markup,
                                  .wants_eos = w->wants_eos[end]};
    }
}

int tmpl_jinja_render(const struct tmpl *t, const struct data_record *r, struct tmpl_text *out,
                      struct err *e)
{
    struct work w = {.t = t, .r = r, .jinja = jinja_for(t->jinja, r), .e = e};
    int rc = prepare(&w);
    if (rc == 0)
        rc = render(&w, w.messages, false, &w.full, e);
    if (rc == 0) {
        w.is_response = mem_zalloc(w.full.len + 1, 1);
        w.wants_eos = mem_zalloc(w.full.len + 1, 1);
        if (jinja_has_generation(w.jinja))
            mark_generated(&w);
        for (int i = 0; i < w.n && !jinja_has_generation(w.jinja); i++)
            if (r->turns[i].role == DATA_ASSISTANT)
                mark_turn(&w, i);
        out->wants_bos = false;
        out->is_whole = true;
        add_segments(&w, out);
    }
    work_free(&w);
    return rc;
}
