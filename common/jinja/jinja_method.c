/* SPDX-License-Identifier: MIT
 * Attributes and methods: of texts, lists, dicts and loops, as Python has them. What changes
 * its object is refused, as in the sandbox of transformers. */
#include "base/text.h"
#include "jinja/jinja_priv.h"

#include <locale.h>
#include <pthread.h>
#include <string.h>
#include <wctype.h>

const struct jx_value *jx_arg(const struct jx_args *a, size_t i, const char *name)
{
    if (i < a->n)
        return &a->v[i];
    for (size_t k = 0; name && k < a->n_kw; k++)
        if (strcmp(a->names[k], name) == 0)
            return &a->kw[k];
    return NULL;
}

/* ---- texts ---- */

static bool is_in(const struct jx_string *set, const char *s, size_t len)
{
    size_t n;
    for (size_t i = 0; i < set->len; i += n) {
        utf8_at((const unsigned char *)set->s + i, &n);
        if (n == len && memcmp(set->s + i, s, n) == 0)
            return true;
    }
    return false;
}

/* Bytes of the character at s if strip() takes it, else 0. */
static size_t taken_at(const struct jx_string *set, const char *s, size_t left)
{
    size_t n;
    if (!set)
        return utf8_space((const unsigned char *)s, left);
    utf8_at((const unsigned char *)s, &n);
    return is_in(set, s, n) ? n : 0;
}

struct jx_value jx_strip(struct jx *c, const struct jx_string *s, const struct jx_value *chars,
                         bool at_start, bool at_end)
{
    const struct jx_string *set = chars && chars->kind == JX_STRING ? chars->u.s : NULL;
    size_t from = 0, to = s->len, n;
    while (at_start && from < to && (n = taken_at(set, s->s + from, to - from)) > 0)
        from += n;
    while (at_end && to > from) {
        size_t k = to - 1;
        while (k > from && ((unsigned char)s->s[k] & 0xc0) == 0x80)
            k--;
        if (!taken_at(set, s->s + k, to - k))
            break;
        to = k;
    }
    jx_step(c, s->len - (to - from));
    return jx_part(c, s, from, to);
}

struct jx_value jx_replace(struct jx *c, const struct jx_string *s, const struct jx_args *a)
{
    const struct jx_value *old = jx_arg(a, 0, "old"), *by = jx_arg(a, 1, "new"),
                          *count = jx_arg(a, 2, "count");
    int64_t left = INT64_MAX;
    if (!old || !by || old->kind != JX_STRING || by->kind != JX_STRING || old->u.s->len == 0)
        return jx_fail(c, ERR_FORMAT, "replace needs a text to look for and one to put there");
    if (count && jx_as_int(count, &left) && left < 0)
        left = INT64_MAX;
    struct jx_out o = {0};
    size_t from = 0, at;
    for (; left > 0 && c->rc == 0; left--, from = at + old->u.s->len) {
        at = jx_find(s, from, old->u.s);
        if (at == SIZE_MAX)
            break;
        struct jx_value part = jx_part(c, s, from, at);
        if (c->rc == 0)
            jx_out_put(c, &o, part.u.s);
        jx_out_put(c, &o, by->u.s);
    }
    struct jx_value rest = jx_part(c, s, from, s->len);
    if (c->rc == 0)
        jx_out_put(c, &o, rest.u.s);
    return jx_out_value(c, &o);
}

/* Letters beyond ASCII by the C library's tables, whatever the user's locale. */
static locale_t letters;
static void load_letters(void)
{
    letters = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
}

static uint32_t change_letter(uint32_t u, bool is_upper)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (u < 0x80) {
        bool is_changed = is_upper ? u >= 'a' && u <= 'z' : u >= 'A' && u <= 'Z';
        return is_changed ? u ^ 0x20 : u;
    }
    pthread_once(&once, load_letters);
    if (!letters)
        return u;
    return (uint32_t)(is_upper ? towupper_l((wint_t)u, letters)
                               : towlower_l((wint_t)u, letters));
}

static bool is_letter(uint32_t u)
{
    return change_letter(u, true) != u || change_letter(u, false) != u;
}

static size_t put_char(char *dst, uint32_t u)
{
    if (u < 0x80) {
        dst[0] = (char)u;
        return 1;
    }
    size_t n = u < 0x800 ? 2 : u < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; u >>= 6)
        dst[i] = (char)(0x80 | (u & 0x3f));
    dst[0] = (char)((n == 2 ? 0xc0u : n == 3 ? 0xe0u : 0xf0u) | u);
    return n;
}

struct jx_value jx_change_case(struct jx *c, const struct jx_string *s, const char *how)
{
    struct jx_out o = {0};
    bool is_upper = strcmp(how, "upper") == 0, is_title = strcmp(how, "title") == 0,
         is_capital = strcmp(how, "capitalize") == 0, is_inside = false;
    char text[4];
    size_t len;
    for (size_t i = 0; i < s->len && c->rc == 0; i += len) {
        uint32_t u = utf8_at((const unsigned char *)s->s + i, &len);
        bool is_big = is_upper || ((is_title || is_capital) && !is_inside);
        is_inside = is_title ? is_letter(u) : true;
        size_t n = put_char(text, change_letter(u, is_big));
        jx_out_puts(c, &o, text, n, s->from ? s->from[i] : s->one);
    }
    return jx_out_value(c, &o);
}

struct parts {
    struct jx_value *v;
    size_t n, cap;
};

static void add_part(struct jx *c, struct parts *p, const struct jx_string *s, size_t from,
                     size_t to)
{
    if (p->n == p->cap) {
        size_t cap = p->cap ? 2 * p->cap : 8;
        struct jx_value *v = jx_take(c, cap * sizeof *v);
        if (!v)
            return;
        if (p->n)
            memcpy(v, p->v, p->n * sizeof *v);
        p->v = v;
        p->cap = cap;
    }
    p->v[p->n++] = jx_part(c, s, from, to);
}

static struct jx_value list_of_parts(struct jx *c, const struct parts *p)
{
    struct jx_value l = jx_list_new(c, JX_LIST, 0);
    if (c->rc == 0)
        *l.u.l = (struct jx_list){.n = p->n, .v = p->v};
    return l;
}

static struct jx_value split_blanks(struct jx *c, const struct jx_string *s, int64_t left)
{
    struct parts p = {0};
    size_t i = 0, n;
    while (c->rc == 0) {
        while (i < s->len && (n = utf8_space((const unsigned char *)s->s + i, s->len - i)) > 0)
            i += n;
        if (i >= s->len)
            break;
        size_t from = i;
        if (left-- == 0) {
            struct jx_value rest = jx_part(c, s, from, s->len);
            rest = c->rc ? rest : jx_strip(c, rest.u.s, NULL, false, true);
            if (c->rc == 0)
                add_part(c, &p, rest.u.s, 0, rest.u.s->len);
            break;
        }
        while (i < s->len && !utf8_space((const unsigned char *)s->s + i, s->len - i))
            i++;
        add_part(c, &p, s, from, i);
    }
    return list_of_parts(c, &p);
}

static struct jx_value split(struct jx *c, const struct jx_string *s, const struct jx_args *a)
{
    const struct jx_value *by = jx_arg(a, 0, "sep"), *most = jx_arg(a, 1, "maxsplit");
    int64_t left = -1;
    struct parts p = {0};
    size_t from = 0, at;
    if (most)
        jx_as_int(most, &left);
    jx_step(c, s->len);
    if (!by || by->kind == JX_NONE)
        return split_blanks(c, s, left);
    if (by->kind != JX_STRING || by->u.s->len == 0)
        return jx_fail(c, ERR_FORMAT, "split by a %s or an empty text", jx_type_name(by));
    for (; left != 0 && (at = jx_find(s, from, by->u.s)) != SIZE_MAX && c->rc == 0; left--) {
        add_part(c, &p, s, from, at);
        from = at + by->u.s->len;
    }
    add_part(c, &p, s, from, s->len);
    return list_of_parts(c, &p);
}

/* The last place of `what` before `end`. */
static size_t find_last(const struct jx_string *s, size_t end, const struct jx_string *what)
{
    for (size_t i = end >= what->len ? end - what->len + 1 : 0; i-- > 0;)
        if (memcmp(s->s + i, what->s, what->len) == 0)
            return i;
    return SIZE_MAX;
}

static struct jx_value rsplit(struct jx *c, const struct jx_string *s, const struct jx_args *a)
{
    const struct jx_value *by = jx_arg(a, 0, "sep"), *most = jx_arg(a, 1, "maxsplit");
    int64_t left = -1;
    if (!most || !jx_as_int(most, &left) || left < 0)
        return split(c, s, a);
    if (!by || by->kind != JX_STRING || by->u.s->len == 0)
        return jx_fail(c, ERR_UNSUPPORTED, "rsplit without a text to split by");
    struct parts p = {0};
    size_t end = s->len, at;
    jx_step(c, s->len);
    for (; left > 0 && (at = find_last(s, end, by->u.s)) != SIZE_MAX && c->rc == 0; left--) {
        add_part(c, &p, s, at + by->u.s->len, end);
        end = at;
    }
    add_part(c, &p, s, 0, end);
    for (size_t i = 0; i < p.n / 2; i++) {
        struct jx_value v = p.v[i];
        p.v[i] = p.v[p.n - 1 - i];
        p.v[p.n - 1 - i] = v;
    }
    return list_of_parts(c, &p);
}

static struct jx_value splitlines(struct jx *c, const struct jx_string *s,
                                  const struct jx_args *a)
{
    const struct jx_value *keep = jx_arg(a, 0, "keepends");
    bool is_kept = keep && jx_truth(keep);
    struct parts p = {0};
    jx_step(c, s->len);
    for (size_t i = 0; i < s->len && c->rc == 0;) {
        size_t from = i;
        while (i < s->len && s->s[i] != '\n' && s->s[i] != '\r')
            i++;
        size_t end = i;
        if (i < s->len)
            i += s->s[i] == '\r' && i + 1 < s->len && s->s[i + 1] == '\n' ? 2 : 1;
        add_part(c, &p, s, from, is_kept ? i : end);
    }
    return list_of_parts(c, &p);
}

static bool has_affix(const struct jx_string *s, const struct jx_string *x, bool is_end)
{
    return s->len >= x->len &&
           (x->len == 0 || memcmp(s->s + (is_end ? s->len - x->len : 0), x->s, x->len) == 0);
}

/* startswith, endswith: a text, or a tuple of them. */
static struct jx_value affix(struct jx *c, const struct jx_string *s, const struct jx_args *a,
                             bool is_end)
{
    const struct jx_value *x = jx_arg(a, 0, NULL);
    if (x && x->kind == JX_STRING)
        return jx_bool(has_affix(s, x->u.s, is_end));
    if (!x || x->kind != JX_TUPLE)
        return jx_fail(c, ERR_FORMAT, "a text cannot begin or end with a %s",
                       x ? jx_type_name(x) : "nothing");
    for (size_t i = 0; i < x->u.l->n; i++)
        if (x->u.l->v[i].kind == JX_STRING && has_affix(s, x->u.l->v[i].u.s, is_end))
            return jx_bool(true);
    return jx_bool(false);
}

static struct jx_value find(struct jx *c, const struct jx_string *s, const struct jx_args *a,
                            const char *name)
{
    const struct jx_value *x = jx_arg(a, 0, NULL);
    if (!x || x->kind != JX_STRING || a->n > 1)
        return jx_fail(c, ERR_UNSUPPORTED, "%s with anything but one text", name);
    jx_step(c, s->len);
    if (strcmp(name, "count") == 0) {
        int64_t n = 0;
        for (size_t i = 0; (i = jx_find(s, i, x->u.s)) != SIZE_MAX && c->rc == 0; n++)
            i += x->u.s->len ? x->u.s->len : 1;
        return jx_int(n);
    }
    size_t at = name[0] == 'r' ? find_last(s, s->len, x->u.s) : jx_find(s, 0, x->u.s);
    if (at == SIZE_MAX)
        return strstr(name, "index") ? jx_fail(c, ERR_FORMAT, "the text is not there")
                                     : jx_int(-1);
    return jx_int((int64_t)jx_n_chars(&(struct jx_string){.s = s->s, .len = at}));
}

static struct jx_value join(struct jx *c, const struct jx_string *s, const struct jx_args *a)
{
    const struct jx_value *of = jx_arg(a, 0, NULL);
    struct jx_list *l = of ? jx_items_of(c, of) : NULL;
    struct jx_out o = {0};
    for (size_t i = 0; l && i < l->n && c->rc == 0; i++) {
        if (i)
            jx_out_put(c, &o, s);
        if (l->v[i].kind == JX_STRING)
            jx_out_put(c, &o, l->v[i].u.s);
        else
            jx_fail(c, ERR_FORMAT, "a %s joined to texts", jx_type_name(&l->v[i]));
    }
    return jx_out_value(c, &o);
}

/* isdigit and so on, of ASCII. */
static struct jx_value is_all(const struct jx_string *s, const char *name)
{
    bool has = false;
    for (size_t i = 0; i < s->len; i++) {
        char ch = s->s[i];
        bool is_lower = ch >= 'a' && ch <= 'z', is_upper = ch >= 'A' && ch <= 'Z',
             is_digit = ch >= '0' && ch <= '9', is_ok = true;
        if (!strcmp(name, "isdigit") || !strcmp(name, "isnumeric") ||
            !strcmp(name, "isdecimal"))
            is_ok = has = is_digit;
        else if (!strcmp(name, "isalpha"))
            is_ok = has = is_lower || is_upper;
        else if (!strcmp(name, "isalnum"))
            is_ok = has = is_lower || is_upper || is_digit;
        else if (!strcmp(name, "isspace"))
            is_ok = has = utf8_space((const unsigned char *)&ch, 1);
        else if (!strcmp(name, "islower"))
            is_ok = !is_upper, has |= is_lower;
        else
            is_ok = !is_lower, has |= is_upper;
        if (!is_ok)
            return jx_bool(false);
    }
    return jx_bool(has);
}

static struct jx_value cut_affix(struct jx *c, const struct jx_string *s,
                                 const struct jx_args *a, bool is_end)
{
    const struct jx_value *x = jx_arg(a, 0, NULL);
    if (!x || x->kind != JX_STRING)
        return jx_fail(c, ERR_FORMAT, "a text is needed to remove");
    bool is_there = has_affix(s, x->u.s, is_end);
    size_t n = is_there ? x->u.s->len : 0;
    return jx_part(c, s, is_end ? 0 : n, is_end ? s->len - n : s->len);
}

static struct jx_value call_text(struct jx *c, const struct jx_string *s, const char *name,
                                 const struct jx_args *a)
{
    const struct jx_value *first = jx_arg(a, 0, NULL);
    if (!strcmp(name, "strip") || !strcmp(name, "lstrip") || !strcmp(name, "rstrip"))
        return jx_strip(c, s, first, name[0] != 'r', name[0] != 'l');
    if (!strcmp(name, "split"))
        return split(c, s, a);
    if (!strcmp(name, "rsplit"))
        return rsplit(c, s, a);
    if (!strcmp(name, "splitlines"))
        return splitlines(c, s, a);
    if (!strcmp(name, "startswith") || !strcmp(name, "endswith"))
        return affix(c, s, a, name[0] == 'e');
    if (!strcmp(name, "upper") || !strcmp(name, "lower") || !strcmp(name, "title") ||
        !strcmp(name, "capitalize"))
        return jx_change_case(c, s, name);
    if (!strcmp(name, "replace"))
        return jx_replace(c, s, a);
    if (!strcmp(name, "join"))
        return join(c, s, a);
    if (!strcmp(name, "removeprefix") || !strcmp(name, "removesuffix"))
        return cut_affix(c, s, a, name[6] == 's');
    if (!strncmp(name, "is", 2))
        return is_all(s, name);
    return find(c, s, a, name);
}

/* ---- dicts and lists ---- */

static struct jx_value pairs_of(struct jx *c, const struct jx_dict *d, const char *name)
{
    struct jx_value l = jx_list_new(c, JX_LIST, d->n);
    for (size_t i = 0; i < d->n && c->rc == 0; i++) {
        const struct jx_pair *p = &d->pairs[i];
        if (!strcmp(name, "items")) {
            struct jx_value pair = jx_list_new(c, JX_TUPLE, 2);
            if (c->rc < 0)
                break;
            pair.u.l->v[0] = p->key;
            pair.u.l->v[1] = p->value;
            l.u.l->v[i] = pair;
        } else {
            l.u.l->v[i] = name[0] == 'k' ? p->key : p->value;
        }
    }
    return l;
}

static struct jx_value call_dict(struct jx *c, const struct jx_value *self, const char *name,
                                 const struct jx_args *a)
{
    const struct jx_value *key = jx_arg(a, 0, NULL), *other = jx_arg(a, 1, NULL);
    if (!strcmp(name, "copy"))
        return *self;
    if (strcmp(name, "get") != 0)
        return pairs_of(c, self->u.d, name);
    if (!key)
        return jx_fail(c, ERR_FORMAT, "get needs a key");
    const struct jx_value *found = jx_dict_get(c, self->u.d, key);
    return found ? *found : other ? *other : jx_none();
}

static struct jx_value call_list(struct jx *c, const struct jx_value *self, const char *name,
                                 const struct jx_args *a)
{
    const struct jx_value *x = jx_arg(a, 0, NULL);
    int64_t n = 0;
    if (!strcmp(name, "copy"))
        return *self;
    if (!x)
        return jx_fail(c, ERR_FORMAT, "%s needs a value", name);
    for (size_t i = 0; i < self->u.l->n; i++) {
        bool is_it = jx_equal(c, &self->u.l->v[i], x);
        if (is_it && !strcmp(name, "index"))
            return jx_int((int64_t)i);
        n += is_it;
    }
    return !strcmp(name, "index") ? jx_fail(c, ERR_FORMAT, "the value is not in the list")
                                  : jx_int(n);
}

/* ---- by name ---- */

static const char *const text_methods[] = {
    "strip",      "lstrip",   "rstrip",       "split",        "rsplit",  "splitlines",
    "startswith", "endswith", "upper",        "lower",        "title",   "capitalize",
    "replace",    "join",     "removeprefix", "removesuffix", "isdigit", "isnumeric",
    "isdecimal",  "isalpha",  "isalnum",      "isspace",      "islower", "isupper",
    "find",       "rfind",    "index",        "rindex",       "count",   NULL};
static const char *const dict_methods[] = {"get", "items", "keys", "values", "copy", NULL};
static const char *const list_methods[] = {"index", "count", "copy", NULL};

bool jx_has_method(const struct jx_value *v, const char *name)
{
    const char *const *names = v->kind == JX_STRING                        ? text_methods
                               : v->kind == JX_DICT                        ? dict_methods
                               : v->kind == JX_LIST || v->kind == JX_TUPLE ? list_methods
                                                                           : NULL;
    for (; names && *names; names++)
        if (strcmp(*names, name) == 0)
            return true;
    return false;
}

struct jx_value jx_call_method(struct jx *c, const struct jx_value *self, const char *name,
                               const struct jx_args *a)
{
    if (!jx_has_method(self, name))
        return jx_fail(c, ERR_UNSUPPORTED, "%s of a %s is not supported", name,
                       jx_type_name(self));
    if (self->kind == JX_STRING)
        return call_text(c, self->u.s, name, a);
    return self->kind == JX_DICT ? call_dict(c, self, name, a) : call_list(c, self, name, a);
}

static struct jx_value loop_attribute(const struct jx_loop *l, const char *name)
{
    int64_t at = (int64_t)l->at, n = (int64_t)l->items->n;
    if (!strcmp(name, "index"))
        return jx_int(at + 1);
    if (!strcmp(name, "index0"))
        return jx_int(at);
    if (!strcmp(name, "revindex"))
        return jx_int(n - at);
    if (!strcmp(name, "revindex0"))
        return jx_int(n - at - 1);
    if (!strcmp(name, "first"))
        return jx_bool(at == 0);
    if (!strcmp(name, "last"))
        return jx_bool(at == n - 1);
    if (!strcmp(name, "length"))
        return jx_int(n);
    if (!strcmp(name, "depth"))
        return jx_int(1);
    if (!strcmp(name, "depth0"))
        return jx_int(0);
    if (!strcmp(name, "previtem") && at > 0)
        return l->items->v[at - 1];
    if (!strcmp(name, "nextitem") && at + 1 < n)
        return l->items->v[at + 1];
    return (struct jx_value){.kind = JX_UNDEFINED};
}

struct jx_value jx_attribute(struct jx *c, const struct jx_value *v, const char *name)
{
    const struct jx_value *found = NULL;
    if (v->kind == JX_UNDEFINED)
        return jx_fail(c, ERR_FORMAT, "%s is undefined, so it has no %s",
                       v->u.name ? v->u.name : "a value", name);
    if (v->kind == JX_LOOP)
        return loop_attribute(v->u.loop, name);
    if (jx_has_method(v, name)) {
        struct jx_method *m = jx_take(c, sizeof *m);
        if (!m)
            return JX_NOTHING;
        *m = (struct jx_method){*v, name};
        return (struct jx_value){.kind = JX_METHOD, .u.method = m};
    }
    if (v->kind == JX_DICT || v->kind == JX_NAMESPACE)
        found = jx_dict_find(v->u.d, name);
    return found ? *found : (struct jx_value){.kind = JX_UNDEFINED, .u.name = name};
}
