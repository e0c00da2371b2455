/* SPDX-License-Identifier: MIT
 * tmpl: loading and parsing of template files; see tmpl.h for their syntax. */
#include "data/tmpl.h"

#include "base/file.h"
#include "base/mem.h"
#include "data/dataset_impl.h"
#include "data/tmpl_impl.h"

#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

static const char *const section_names[TMPL_N_SECTIONS] = {
    "system", "user",      "user-input",     "user-system", "user-next",
    "tool",   "assistant", "assistant-last", "options"};
static const char *const slot_names[TMPL_N_SLOTS] = {
    NULL, "system", "user", "instruction", "input", "tool", "assistant"};

struct parser {
    struct tmpl *t;
    const char *name;
    int64_t line;
    struct err *e;
};

static int bad(const struct parser *p, const char *what, const char *s, size_t len)
{
    return err_set(p->e, ERR_FORMAT, "%s:%lld: %s%.*s", p->name, (long long)p->line, what,
                   (int)(len < 80 ? len : 80), s);
}

void tmpl_free(struct tmpl *t)
{
    if (!t)
        return;
    for (int s = 0; s < TMPL_N_SECTIONS; s++) {
        for (int i = 0; i < t->n_pieces[s]; i++)
            free(t->pieces[s][i].text);
        free(t->pieces[s]);
    }
    tmpl_jinja_free(t->jinja);
    free(t->default_system);
    free(t->name);
    free(t);
}

/* ---- the text of a section ---- */

static void add_piece(struct tmpl *t, enum tmpl_section s, enum tmpl_slot slot,
                      const char *text, size_t len)
{
    if (slot == TMPL_TEXT && len == 0)
        return;
    size_t n = (size_t)t->n_pieces[s]++;
    t->pieces[s] = mem_realloc(t->pieces[s], n + 1, sizeof **t->pieces);
    t->pieces[s][n] = (struct tmpl_piece){.slot = slot};
    if (slot == TMPL_TEXT) {
        t->pieces[s][n].text = mem_strndup(text, len);
        t->pieces[s][n].len = len;
    }
}

/* The character that an escape stands for, 0 when there is none. */
static char unescape(char c)
{
    switch (c) {
    case 'n':
        return '\n';
    case 't':
        return '\t';
    case '\\':
    case '{':
    case '[':
    case '#':
        return c;
    default:
        return 0;
    }
}

/* "{user}" at s: its length, and which it is; 0 when s is just a brace. A word in braces that
 * is no placeholder is more likely a slip than text. */
static int find_slot(const struct parser *p, const char *s, size_t len, size_t *n,
                     enum tmpl_slot *slot)
{
    size_t i = 1;
    while (i < len && ((s[i] >= 'a' && s[i] <= 'z') || s[i] == '_'))
        i++;
    *n = 0;
    if (i == 1 || i >= len || s[i] != '}')
        return 0;
    for (int k = 1; k < TMPL_N_SLOTS; k++)
        if (strlen(slot_names[k]) == i - 1 && memcmp(slot_names[k], s + 1, i - 1) == 0) {
            *slot = (enum tmpl_slot)k;
            *n = i + 1;
            return 0;
        }
    return bad(p, "unknown placeholder (write \\{ for a brace): ", s, i + 1);
}

/* Splits a section's text at its placeholders; p->line is of its first line. */
static int parse_text(struct parser *p, enum tmpl_section section, const char *s, size_t len)
{
    struct buf text = {0};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < len; i++) {
        enum tmpl_slot slot = TMPL_TEXT;
        size_t n = 0;
        if (s[i] == '\\') {
            char c = i + 1 < len ? unescape(s[i + 1]) : '\0';
            if (!c)
                rc = bad(p, "unknown escape ", s + i, i + 1 < len ? 2 : 1);
            else
                buf_putc(&text, c);
            i++;
            continue;
        }
        p->line += s[i] == '\n';
        if (s[i] == '{')
            rc = find_slot(p, s + i, len - i, &n, &slot);
        if (n > 0) {
            add_piece(p->t, section, TMPL_TEXT, text.data, text.len);
            text.len = 0;
            add_piece(p->t, section, slot, NULL, 0);
            i += n - 1;
        } else if (s[i] != '\r' || i + 1 >= len || s[i + 1] != '\n') {
            buf_putc(&text, s[i]);
        }
    }
    add_piece(p->t, section, TMPL_TEXT, text.data, text.len);
    buf_free(&text);
    return rc;
}

/* ---- options ---- */

static int parse_flag(struct parser *p, const char *value, bool *flag)
{
    if (strcmp(value, "yes") != 0 && strcmp(value, "no") != 0)
        return bad(p, "expected yes or no, found ", value, strlen(value));
    *flag = value[0] == 'y';
    return 0;
}

static int parse_default_system(struct parser *p, const char *value)
{
    struct buf text = {0};
    int rc = 0;
    for (const char *s = value; rc == 0 && *s; s++) {
        char c = *s == '\\' ? unescape(*++s) : *s;
        if (!c)
            rc = bad(p, "unknown escape in ", value, strlen(value));
        else
            buf_putc(&text, c);
    }
    free(p->t->default_system);
    p->t->default_system = mem_strdup(buf_str(&text));
    buf_free(&text);
    return rc;
}

static char *strip(char *s)
{
    s += strspn(s, " \t");
    size_t n = strlen(s);
    while (n > 0 && strchr(" \t\r", s[n - 1]))
        s[--n] = '\0';
    return s;
}

static int parse_option(struct parser *p, char *line, bool *has_eos)
{
    char *key = strip(line), *equals = strchr(key, '=');
    if (*key == '\0' || *key == '#')
        return 0;
    if (!equals)
        return bad(p, "expected \"name = value\", found ", key, strlen(key));
    *equals = '\0';
    key = strip(key);
    char *value = strip(equals + 1);
    if (strcmp(key, "bos") == 0)
        return parse_flag(p, value, &p->t->wants_bos);
    if (strcmp(key, "trim") == 0)
        return parse_flag(p, value, &p->t->is_trimmed);
    if (strcmp(key, "reasoning") == 0)
        return parse_flag(p, value, &p->t->has_thoughts);
    if (strcmp(key, "default_system") == 0)
        return parse_default_system(p, value);
    if (strcmp(key, "eos") != 0)
        return bad(p,
                   "unknown option (known: bos, eos, trim, reasoning, default_system): ", key,
                   strlen(key));
    *has_eos = true;
    return parse_flag(p, value, &p->t->wants_eos);
}

static int parse_options(struct parser *p, const char *s, size_t len, bool *has_eos)
{
    char *copy = mem_strndup(s, len), *line = copy;
    int rc = 0;
    while (rc == 0 && line) {
        char *next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        rc = parse_option(p, line, has_eos);
        line = next;
        p->line++;
    }
    free(copy);
    return rc;
}

/* ---- sections ---- */

/* Is this line "[name]"? *section is TMPL_N_SECTIONS for a name that is not known. */
static bool is_section(const char *s, size_t len, enum tmpl_section *section)
{
    while (len > 0 && strchr(" \t\r", s[len - 1]))
        len--;
    if (len < 3 || s[0] != '[' || s[len - 1] != ']')
        return false;
    for (size_t i = 1; i < len - 1; i++)
        if ((s[i] < 'a' || s[i] > 'z') && s[i] != '-')
            return false;
    int k = 0;
    while (k < TMPL_N_SECTIONS && (strlen(section_names[k]) != len - 2 ||
                                   memcmp(section_names[k], s + 1, len - 2) != 0))
        k++;
    *section = (enum tmpl_section)k;
    return true;
}

static size_t line_length(const char *s, size_t len)
{
    const char *nl = memchr(s, '\n', len);
    return nl ? (size_t)(nl - s) : len;
}

static int open_section(struct parser *p, enum tmpl_section section, const char *line, size_t n)
{
    if (section == TMPL_N_SECTIONS)
        return bad(p, "unknown section ", line, n);
    if (p->t->has[section])
        return bad(p, "a second section ", line, n);
    p->t->has[section] = true;
    return 0;
}

static int close_section(struct parser *p, enum tmpl_section section, const char *s, size_t len,
                         bool *has_eos)
{
    if (len > 0 && s[len - 1] == '\n')
        len--;
    if (len > 0 && s[len - 1] == '\r')
        len--;
    return section == TMPL_OPTIONS ? parse_options(p, s, len, has_eos)
                                   : parse_text(p, section, s, len);
}

static int parse_sections(struct parser *p, const char *s, size_t len, bool *has_eos)
{
    enum tmpl_section now = TMPL_N_SECTIONS, next;
    size_t from = 0;
    int64_t line = 1, from_line = 1;
    for (size_t at = 0; at < len; line++) {
        size_t n = line_length(s + at, len - at);
        p->line = line;
        int rc = 0;
        if (is_section(s + at, n, &next)) {
            if (now != TMPL_N_SECTIONS) {
                p->line = from_line;
                rc = close_section(p, now, s + from, at - from, has_eos);
                p->line = line;
            }
            if (rc == 0)
                rc = open_section(p, next, s + at, n);
            now = next;
            from = at + n < len ? at + n + 1 : len;
            from_line = line + 1;
        } else if (now == TMPL_N_SECTIONS && s[at] != '#' && strspn(s + at, " \t\r") < n) {
            rc = bad(p, "text before the first [section]: ", s + at, n);
        }
        if (rc < 0)
            return rc;
        at += n + 1;
    }
    p->line = from_line;
    return now == TMPL_N_SECTIONS ? 0 : close_section(p, now, s + from, len - from, has_eos);
}

/* ---- what a template must have ---- */

static int count_slots(const struct tmpl *t, enum tmpl_section s, enum tmpl_slot slot)
{
    int n = 0;
    for (int i = 0; i < t->n_pieces[s]; i++)
        n += t->pieces[s][i].slot == slot;
    return n;
}

/* Which placeholders each section must have (m) and may have (o). */
static int check_slots(const struct parser *p)
{
    static const char rules[TMPL_N_SECTIONS][TMPL_N_SLOTS + 1] = {
        /*                      -system-user-instruction-input-tool-assistant */
        [TMPL_SYSTEM] = " m     ",     [TMPL_USER] = "  uuo  ",
        [TMPL_USER_INPUT] = "  uuo  ", [TMPL_USER_SYSTEM] = " muuo  ",
        [TMPL_USER_NEXT] = "  uuo  ",  [TMPL_TOOL] = "     m ",
        [TMPL_ASSISTANT] = "      m",  [TMPL_ASSISTANT_LAST] = "      m",
        [TMPL_OPTIONS] = "       ",
    };
    for (int s = 0; s < TMPL_N_SECTIONS; s++) {
        int n_user = 0;
        for (int k = 1; p->t->has[s] && k < TMPL_N_SLOTS; k++) {
            int n = count_slots(p->t, (enum tmpl_section)s, (enum tmpl_slot)k);
            if (rules[s][k] == ' ' && n > 0)
                return err_set(p->e, ERR_FORMAT, "%s: [%s] cannot hold {%s}", p->name,
                               section_names[s], slot_names[k]);
            if (rules[s][k] == 'm' && n != 1)
                return err_set(p->e, ERR_FORMAT, "%s: [%s] must hold {%s} once", p->name,
                               section_names[s], slot_names[k]);
            n_user += rules[s][k] == 'u' ? n : 0;
        }
        if (p->t->has[s] && rules[s][TMPL_SLOT_USER] == 'u' && n_user == 0)
            return err_set(p->e, ERR_FORMAT, "%s: [%s] must hold {user} or {instruction}",
                           p->name, section_names[s]);
    }
    if (!p->t->has[TMPL_USER] || !p->t->has[TMPL_ASSISTANT])
        return err_set(p->e, ERR_FORMAT, "%s: there is no [%s] section", p->name,
                       section_names[p->t->has[TMPL_USER] ? TMPL_ASSISTANT : TMPL_USER]);
    return 0;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

/* Cuts piece i of section s in two before byte `at`. */
static void cut_piece(struct tmpl *t, enum tmpl_section s, int i, size_t at)
{
    struct tmpl_piece *p = &t->pieces[s][i];
    if (at == 0 || at == p->len)
        return;
    t->pieces[s] = mem_realloc(t->pieces[s], (size_t)t->n_pieces[s] + 1, sizeof *p);
    p = &t->pieces[s][i];
    memmove(p + 1, p, (size_t)(t->n_pieces[s]++ - i) * sizeof *p);
    p[1].text = mem_strdup(p->text + at);
    p[1].len = p->len - at;
    p->text[at] = '\0';
    p->len = at;
}

/* Marks what counts in the loss, by the two rules of tmpl.h. True when the assistant's text is
 * followed by more than blanks: an end marker. */
static bool mark_response(struct tmpl *t, enum tmpl_section s)
{
    int at = 0;
    while (at < t->n_pieces[s] && t->pieces[s][at].slot != TMPL_SLOT_ASSISTANT)
        at++;
    if (at == t->n_pieces[s])
        return false;
    if (at > 0) {
        struct tmpl_piece *before = &t->pieces[s][at - 1];
        size_t n = before->len;
        while (n > 0 && before->text[n - 1] == ' ')
            n--;
        int n_pieces = t->n_pieces[s];
        bool has_lead = n < before->len;
        cut_piece(t, s, at - 1, n);
        at += t->n_pieces[s] - n_pieces;
        t->pieces[s][at - 1].is_response = has_lead;
    }
    t->pieces[s][at].is_response = true;
    if (at + 1 == t->n_pieces[s])
        return false;
    struct tmpl_piece *after = &t->pieces[s][at + 1];
    size_t n = after->len;
    while (n > 0 && is_blank(after->text[n - 1]))
        n--;
    if (n > 0)
        cut_piece(t, s, at + 1, n);
    t->pieces[s][at + 1].is_response = true;
    return n > 0;
}

struct tmpl *tmpl_parse(const char *name, const char *text, size_t len, struct err *e)
{
    struct tmpl *t = mem_zalloc(1, sizeof *t);
    struct parser p = {.t = t, .name = name, .e = e};
    bool has_eos = false;
    t->name = mem_strdup(name);
    t->wants_bos = true;
    t->hash = XXH64(text, len, 0);
    int rc = 0;
    size_t utf8 = utf8_check(text, len);
    if (utf8 < len)
        rc = err_set(e, ERR_FORMAT, "%s: invalid UTF-8 at byte %zu", name, utf8 + 1);
    else if (memchr(text, '\0', len))
        rc = err_set(e, ERR_FORMAT, "%s: a NUL byte in a template", name);
    if (rc == 0)
        rc = parse_sections(&p, text, len, &has_eos);
    if (rc == 0)
        rc = check_slots(&p);
    if (rc == 0) {
        bool has_marker = mark_response(t, TMPL_ASSISTANT);
        mark_response(t, TMPL_ASSISTANT_LAST);
        if (!has_eos)
            t->wants_eos = !has_marker;
        return t;
    }
    tmpl_free(t);
    return NULL;
}

static struct tmpl *load_file(const char *path, struct err *e)
{
    char *text = NULL;
    size_t len = 0;
    if (file_read_all(path, &text, &len, e) < 0)
        return NULL;
    struct tmpl *t = tmpl_parse(path, text, len, e);
    free(text);
    return t;
}

struct tmpl *tmpl_load(const char *name_or_path, struct err *e)
{
    const char *text = tmpl_builtin(name_or_path);
    if (text)
        return tmpl_parse(name_or_path, text, strlen(text), e);
    if (strpbrk(name_or_path, "/."))
        return load_file(name_or_path, e);
    struct buf known = {0};
    for (const char *const *n = tmpl_names(); *n; n++)
        buf_printf(&known, "%s%s", known.len ? ", " : "", *n);
    err_set(e, ERR_RANGE,
            "unknown template \"%s\"; known: %s; or a file, with '/' or '.' in its "
            "name",
            name_or_path, buf_str(&known));
    buf_free(&known);
    return NULL;
}

const char *tmpl_name(const struct tmpl *t)
{
    return t->name;
}

uint64_t tmpl_hash(const struct tmpl *t)
{
    return t->hash;
}

const char *tmpl_markup(const struct tmpl *t, int i)
{
    for (int s = 0; s < TMPL_N_SECTIONS; s++)
        for (int k = 0; k < t->n_pieces[s]; k++)
            if (t->pieces[s][k].slot == TMPL_TEXT && i-- == 0)
                return t->pieces[s][k].text;
    return NULL;
}
