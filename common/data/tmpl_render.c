/* SPDX-License-Identifier: MIT
 * A record's turns through a template's sections; see tmpl.h. */
#include "base/text.h"
#include "data/tmpl_impl.h"

#include <stdlib.h>
#include <string.h>

struct span {
    const char *s;
    size_t len;
};

struct render {
    const struct tmpl *t;
    struct tmpl_text *out;
    size_t cap;
    struct span values[TMPL_N_SLOTS];
    bool is_masked; /* the turn at work is in the text, not in the loss */
    struct err *e;
};

void tmpl_text_free(struct tmpl_text *x)
{
    for (int i = 0; i < x->n_segments; i++)
        free(x->segments[i].text);
    free(x->segments);
    *x = (struct tmpl_text){0};
}

static void add_segment(struct render *r, const char *s, size_t len, bool is_response,
                        bool is_markup)
{
    if (len == 0)
        return;
    MEM_GROW(r->out->segments, r->cap, r->out->n_segments + 1);
    r->out->segments[r->out->n_segments++] =
        (struct tmpl_segment){mem_strndup(s, len), len, is_response, is_markup, false};
}

static void add_section(struct render *r, enum tmpl_section section)
{
    for (int i = 0; i < r->t->n_pieces[section]; i++) {
        const struct tmpl_piece *p = &r->t->pieces[section][i];
        if (p->slot == TMPL_TEXT)
            add_segment(r, p->text, p->len, p->is_response && !r->is_masked, true);
        else
            add_segment(r, r->values[p->slot].s, r->values[p->slot].len,
                        p->is_response && !r->is_masked, false);
    }
}

static struct span trim(const struct render *r, const char *s, size_t len)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t from = 0, n;
    if (!r->t->is_trimmed)
        return (struct span){s, len};
    while (from < len && (n = utf8_space(p + from, len - from)) > 0)
        from += n;
    for (bool is_more = true; is_more && len > from;) {
        is_more = false;
        for (n = 1; n <= 3 && n <= len - from && !is_more; n++)
            if (utf8_space(p + len - n, n) == n) {
                len -= n;
                is_more = true;
            }
    }
    return (struct span){s + from, len - from};
}

static int no_section(struct render *r, const char *section, const char *turn)
{
    return err_set(r->e, ERR_UNSUPPORTED, "template \"%s\" has no [%s] for a %s turn",
                   r->t->name, section, turn);
}

static int add_system(struct render *r, const char *s, size_t len)
{
    r->values[TMPL_SLOT_SYSTEM] = trim(r, s, len);
    if (!r->t->has[TMPL_SYSTEM])
        return no_section(r, "system", "system");
    add_section(r, TMPL_SYSTEM);
    return 0;
}

/* {instruction} and {input} are the fields of an Alpaca record in its last user turn. */
static void add_user(struct render *r, const struct data_record *d, int i, bool is_first,
                     bool has_system)
{
    const struct data_turn *turn = &d->turns[i];
    const bool *has = r->t->has;
    bool is_alpaca = d->instruction && i == d->n_turns - 2;
    bool has_input = is_alpaca && d->input[0] != '\0';
    r->values[TMPL_SLOT_USER] = trim(r, turn->text, turn->len);
    r->values[TMPL_SLOT_INSTRUCTION] = r->values[TMPL_SLOT_USER];
    r->values[TMPL_SLOT_INPUT] = (struct span){"", 0};
    enum tmpl_section s = TMPL_USER;
    if (has_system)
        s = TMPL_USER_SYSTEM;
    else if (!is_first && has[TMPL_USER_NEXT])
        s = TMPL_USER_NEXT;
    else if (has_input && has[TMPL_USER_INPUT])
        s = TMPL_USER_INPUT;
    bool shows_input = false;
    for (int k = 0; k < r->t->n_pieces[s]; k++)
        shows_input |= r->t->pieces[s][k].slot == TMPL_SLOT_INPUT;
    if (is_alpaca && shows_input) { /* else {instruction} is both: an input is never lost */
        r->values[TMPL_SLOT_INSTRUCTION] = trim(r, d->instruction, strlen(d->instruction));
        r->values[TMPL_SLOT_INPUT] = trim(r, d->input, strlen(d->input));
    }
    add_section(r, s);
}

/* The response among the segments from the i-th on ends an assistant's turn; of a masked one,
 * which has none, the last segment does. */
static void end_turn(struct render *r, int i)
{
    int last = r->out->n_segments - 1;
    for (int k = last; k >= i && !r->is_masked; k--)
        if (r->out->segments[k].is_response) {
            r->out->segments[k].wants_eos = true;
            return;
        }
    if (r->is_masked && last >= i)
        r->out->segments[last].wants_eos = true;
}

/* Before its text, where the template has a place for it: as Qwen 3 writes it. */
static char *with_reasoning(const struct data_turn *turn)
{
    char *thought = data_turn_reasoning(turn);
    const char *from = thought + strspn(thought, "\n"), *text = turn->text;
    size_t n = strlen(from);
    while (n > 0 && from[n - 1] == '\n')
        n--;
    text += strspn(text, "\n");
    char *both = mem_printf("<think>\n%.*s\n</think>\n\n%s", (int)n, from, text);
    free(thought);
    return both;
}

static int add_assistant(struct render *r, const struct data_turn *turn, bool is_last)
{
    char *both = NULL;
    if (turn->keys & DATA_KEY_TOOL_CALLS)
        return err_set(r->e, ERR_UNSUPPORTED,
                       "template \"%s\" has no place for \"tool_calls\" (a model's own may "
                       "have: --template model)",
                       r->t->name);
    if (is_last && r->t->has_thoughts && (turn->keys & DATA_KEY_REASONING))
        both = with_reasoning(turn);
    const char *text = both ? both : turn->text;
    r->values[TMPL_SLOT_ASSISTANT] = trim(r, text, both ? strlen(both) : turn->len);
    bool is_special = is_last && r->t->has[TMPL_ASSISTANT_LAST] && !strstr(text, "</think>");
    int first = r->out->n_segments;
    r->is_masked = turn->is_masked;
    add_section(r, is_special ? TMPL_ASSISTANT_LAST : TMPL_ASSISTANT);
    if (r->t->wants_eos)
        end_turn(r, first);
    r->is_masked = false;
    free(both);
    return 0;
}

static int add_turns(struct render *r, const struct data_record *with_blanks)
{
    struct data_turn *turns = mem_alloc((size_t)with_blanks->n_turns, sizeof *turns);
    struct data_record without = *with_blanks, *d = &without;
    d->turns = turns;
    d->n_turns = 0;
    for (int i = 0; i < with_blanks->n_turns; i++)
        if (!data_turn_is_blank_system(&with_blanks->turns[i]))
            turns[d->n_turns++] = with_blanks->turns[i];
    int last = d->n_turns - 1, rc = 0;
    bool is_first_user = true, has_system = false;
    while (last > 0 && d->turns[last].role != DATA_ASSISTANT)
        last--;
    for (int i = -1; rc == 0 && i <= last; i++) {
        struct data_turn standard = {.role = DATA_SYSTEM, .text = r->t->default_system};
        const struct data_turn *turn = i < 0 ? &standard : &d->turns[i];
        if (i < 0) { /* the template's own system text stands before turn 0 */
            if (!standard.text || d->turns[0].role == DATA_SYSTEM)
                continue;
            standard.len = strlen(standard.text);
        }
        switch (turn->role) {
        case DATA_SYSTEM:
            has_system = r->t->has[TMPL_USER_SYSTEM] && is_first_user && i < last &&
                         d->turns[i + 1].role == DATA_USER;
            if (has_system)
                r->values[TMPL_SLOT_SYSTEM] = trim(r, turn->text, turn->len);
            else
                rc = add_system(r, turn->text, turn->len);
            break;
        case DATA_USER:
            add_user(r, d, i, is_first_user, has_system);
            is_first_user = has_system = false;
            break;
        case DATA_TOOL:
            r->values[TMPL_SLOT_TOOL] = trim(r, turn->text, turn->len);
            if (!r->t->has[TMPL_TOOL])
                rc = no_section(r, "tool", "tool");
            else
                add_section(r, TMPL_TOOL);
            break;
        case DATA_ASSISTANT:
            rc = add_assistant(r, turn, i == last);
            break;
        }
    }
    free(turns);
    return rc;
}

unsigned tmpl_unheeded(const struct tmpl *t, const struct data_record *r)
{
    if (t->jinja)
        return tmpl_jinja_unheeded(t, r);
    /* Tool calls are refused; weights and masks are no matter of the template. */
    unsigned heeded = DATA_KEY_TOOL_CALLS | (t->has_thoughts ? DATA_KEY_REASONING : 0);
    return r->keys & ~heeded;
}

int tmpl_render(const struct tmpl *t, const struct data_record *r, struct tmpl_text *out,
                struct err *e)
{
    struct render s = {.t = t, .out = out, .e = e};
    *out = (struct tmpl_text){.wants_bos = t->wants_bos};
    int rc = 0;
    if (r->layout == DATA_TEXT) {
        out->wants_bos = true;
        add_segment(&s, r->turns[0].text, r->turns[0].len, true, false);
        end_turn(&s, 0);
    } else if (t->jinja) {
        rc = tmpl_jinja_render(t, r, out, e);
    } else {
        rc = add_turns(&s, r);
    }
    if (rc < 0)
        tmpl_text_free(out);
    return rc;
}
