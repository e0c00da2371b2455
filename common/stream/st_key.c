/* SPDX-License-Identifier: MIT
 * st_key: typed metadata; see st_table.h. */
#include "base/mem.h"
#include "stream/prov.h"
#include "stream/st_priv.h"
#include "stream/st_table.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- writing ---- */

static char *names_text(char *const *names)
{
    struct buf b = {0};
    for (size_t i = 0; names[i]; i++) {
        assert(*names[i] && !strchr(names[i], ','));
        buf_printf(&b, "%s%s", i ? "," : "", names[i]);
    }
    return buf_str(&b);
}

/* The value as text, owned by the caller; NULL: an optional key that is left out. */
static char *text_of(const struct st_key *k, const void *s)
{
    const char *p = (const char *)s + k->at;
    bool is_optional = k->flags & ST_OPTIONAL;
    char hex[17];
    union {
        uint64_t u;
        int64_t i;
        double d;
        bool b;
        char *s;
        char **names;
    } v;
    switch (k->type) {
    case ST_KEY_HASH:
        memcpy(&v.u, p, sizeof v.u);
        return v.u || !is_optional ? mem_strdup(prov_hex(hex, v.u)) : NULL;
    case ST_KEY_INT:
        memcpy(&v.i, p, sizeof v.i);
        return mem_printf("%" PRId64, v.i);
    case ST_KEY_UINT:
        memcpy(&v.u, p, sizeof v.u);
        return mem_printf("%" PRIu64, v.u);
    case ST_KEY_REAL:
        memcpy(&v.d, p, sizeof v.d);
        return isfinite(v.d) || !is_optional ? mem_printf("%.17g", v.d) : NULL;
    case ST_KEY_BOOL:
        memcpy(&v.b, p, sizeof v.b);
        return mem_strdup(v.b ? "1" : "0");
    case ST_KEY_TEXT:
        return *p || !is_optional ? mem_strdup(p) : NULL;
    case ST_KEY_STRING:
        memcpy(&v.s, p, sizeof v.s);
        return v.s || !is_optional ? mem_strdup(v.s ? v.s : "") : NULL;
    case ST_KEY_NAMES:
        memcpy(&v.names, p, sizeof v.names);
        return v.names && *v.names ? names_text(v.names) : is_optional ? NULL : mem_strdup("");
    }
    return NULL;
}

void st_key_put(const struct st_key *k, const void *s, struct st_msg *m)
{
    char *text = text_of(k, s);
    if (text)
        st_msg_set_meta(m, k->name, text);
    free(text);
}

/* ---- reading ---- */

static int malformed(const struct st_key *k, const struct st_msg *m, const char *what,
                     const char *text, struct err *e)
{
    return err_set(e, ERR_FORMAT, "%s: metadata %s: not %s: \"%s\"", st_msg_name(m), k->name,
                   what, text);
}

static int check_range(const struct st_key *k, const struct st_msg *m, double v, struct err *e)
{
    if ((k->min == 0 && k->max == 0) || (v >= k->min && v <= k->max))
        return 0;
    return err_set(e, ERR_RANGE, "%s: metadata %s: %.17g is not between %.17g and %.17g",
                   st_msg_name(m), k->name, v, k->min, k->max);
}

/* Digits, at most one sign before them: no spaces, no other bases, no "1K". */
static bool is_whole_number(const char *s, bool has_sign)
{
    s += has_sign && *s == '-';
    return *s && s[strspn(s, "0123456789")] == '\0';
}

static int take_int(const struct st_key *k, void *at, const struct st_msg *m, const char *text,
                    struct err *e)
{
    errno = 0;
    long long v = strtoll(text, NULL, 10);
    if (!is_whole_number(text, true) || errno == ERANGE)
        return malformed(k, m, "a whole number", text, e);
    memcpy(at, &(int64_t){v}, sizeof(int64_t));
    return check_range(k, m, (double)v, e);
}

static int take_uint(const struct st_key *k, void *at, const struct st_msg *m, const char *text,
                     struct err *e)
{
    errno = 0;
    unsigned long long v = strtoull(text, NULL, 10);
    if (!is_whole_number(text, false) || errno == ERANGE)
        return malformed(k, m, "a whole number from 0 to 2^64 - 1", text, e);
    memcpy(at, &(uint64_t){v}, sizeof(uint64_t));
    return 0;
}

static int take_real(const struct st_key *k, void *at, const struct st_msg *m, const char *text,
                     struct err *e)
{
    char *end;
    double v = strtod(text, &end);
    if (end == text || *end || text[strspn(text, "0123456789+-.eE")] || !isfinite(v))
        return malformed(k, m, "a finite number", text, e);
    memcpy(at, &v, sizeof v);
    return check_range(k, m, v, e);
}

static int take_text(const struct st_key *k, void *at, const struct st_msg *m, const char *text,
                     struct err *e)
{
    if (strlen(text) >= k->size)
        return err_set(e, ERR_RANGE, "%s: metadata %s: longer than %zu bytes", st_msg_name(m),
                       k->name, k->size - 1);
    memcpy(at, text, strlen(text) + 1);
    return 0;
}

static int take_names(const struct st_key *k, void *at, const struct st_msg *m,
                      const char *text, struct err *e)
{
    size_t n = 1, i = 0;
    for (const char *p = text; *p; p++)
        n += *p == ',';
    char **names = mem_zalloc(n + 1, sizeof *names);
    memcpy(at, &names, sizeof names);
    for (const char *p = text; *text && i < n; i++) {
        size_t len = strcspn(p, ",");
        if (!len)
            return malformed(k, m, "a list of names", text, e);
        names[i] = mem_strndup(p, len);
        p += len + (p[len] == ',');
    }
    return 0;
}

static int take_text_as(const struct st_key *k, void *at, const struct st_msg *m,
                        const char *text, struct err *e)
{
    uint64_t hash;
    char *copy;
    bool is_set = text[0] == '1';
    switch (k->type) {
    case ST_KEY_HASH:
        if (!prov_unhex(text, &hash))
            return malformed(k, m, "a hash of 16 hexadecimal digits", text, e);
        memcpy(at, &hash, sizeof hash);
        return 0;
    case ST_KEY_INT:
        return take_int(k, at, m, text, e);
    case ST_KEY_UINT:
        return take_uint(k, at, m, text, e);
    case ST_KEY_REAL:
        return take_real(k, at, m, text, e);
    case ST_KEY_BOOL:
        if ((text[0] != '0' && text[0] != '1') || text[1])
            return malformed(k, m, "0 or 1", text, e);
        memcpy(at, &is_set, sizeof is_set);
        return 0;
    case ST_KEY_TEXT:
        return take_text(k, at, m, text, e);
    case ST_KEY_STRING:
        copy = mem_strdup(text);
        memcpy(at, &copy, sizeof copy);
        return 0;
    case ST_KEY_NAMES:
        return take_names(k, at, m, text, e);
    }
    return 0;
}

int st_key_take(const struct st_key *k, void *s, const struct st_msg *m, struct err *e)
{
    const char *text = st_msg_meta(m, k->name);
    if (!text && k->flags & ST_OPTIONAL)
        return 0;
    if (!text)
        return err_set(e, ERR_FORMAT, "%s: metadata %s is missing", st_msg_name(m), k->name);
    int rc = take_text_as(k, (char *)s + k->at, m, text, e);
    return rc < 0 ? rc : 1;
}
