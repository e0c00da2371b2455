/* SPDX-License-Identifier: MIT
 * tmpl_impl: a template in memory; shared by its parser and its renderer. */
#ifndef RAISE_DATA_TMPL_IMPL_H
#define RAISE_DATA_TMPL_IMPL_H

#include "data/tmpl.h"

enum tmpl_section {
    TMPL_SYSTEM,
    TMPL_USER,
    TMPL_USER_INPUT,
    TMPL_USER_SYSTEM,
    TMPL_USER_NEXT,
    TMPL_TOOL,
    TMPL_ASSISTANT,
    TMPL_ASSISTANT_LAST,
    TMPL_OPTIONS,
    TMPL_N_SECTIONS
};

/* What stands at a place of a section's text. */
enum tmpl_slot {
    TMPL_TEXT, /* the template's own */
    TMPL_SLOT_SYSTEM,
    TMPL_SLOT_USER,
    TMPL_SLOT_INSTRUCTION,
    TMPL_SLOT_INPUT,
    TMPL_SLOT_TOOL,
    TMPL_SLOT_ASSISTANT,
    TMPL_N_SLOTS
};

struct tmpl_piece {
    enum tmpl_slot slot;
    bool is_response;
    char *text; /* TMPL_TEXT: owned, never empty */
    size_t len;
};

struct tmpl {
    char *name;
    struct tmpl_piece *pieces[TMPL_N_SECTIONS];
    int n_pieces[TMPL_N_SECTIONS];
    bool has[TMPL_N_SECTIONS];
    bool wants_bos, wants_eos, is_trimmed, has_thoughts;
    char *default_system; /* NULL: none */
    uint64_t hash;
    struct tmpl_jinja *jinja; /* a model's own template; all above but the name is empty then */
};

/* tmpl_jinja.c */
void tmpl_jinja_free(struct tmpl_jinja *j);
int tmpl_jinja_render(const struct tmpl *t, const struct data_record *r, struct tmpl_text *out,
                      struct err *e) RAISE_MUST_CHECK;
unsigned tmpl_jinja_unheeded(const struct tmpl *t, const struct data_record *r);

#endif
