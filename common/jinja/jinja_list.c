/* SPDX-License-Identifier: MIT
 * Filters that go through a list; see jinja_list.h. */
#include "jinja/jinja_list.h"

#include <stdlib.h>
#include <string.h>

struct jx_value jx_list_attribute(struct jx *c, const struct jx_value *v,
                                  const struct jx_value *name)
{
    struct jx_value at = *v;
    int64_t number;
    if (jx_as_int(name, &number))
        return jx_item(c, v, name);
    if (name->kind != JX_STRING)
        return jx_fail(c, ERR_FORMAT, "an attribute named by a %s", jx_type_name(name));
    for (size_t i = 0; i <= name->u.s->len && c->rc == 0;) {
        size_t end = i;
        while (end < name->u.s->len && name->u.s->s[end] != '.')
            end++;
        struct jx_value part = jx_part(c, name->u.s, i, end);
        char *text = mem_strndup(name->u.s->s + i, end - i), *rest;
        int64_t n = strtoll(text, &rest, 10);
        if (c->rc == 0)
            at = *text && !*rest ? jx_item(c, &at, &(struct jx_value){JX_INT, {.i = n}})
                 : at.kind == JX_UNDEFINED
                     ? jx_fail(c, ERR_FORMAT, "%s of what is undefined", text)
                     : jx_item(c, &at, &part);
        free(text);
        i = end + 1;
    }
    return at;
}

JX_LIST_FILTER(jx_do_list)
{
    (void)a;
    struct jx_list *l = jx_items_of(c, v);
    struct jx_value to = l ? jx_list_new(c, JX_LIST, 0) : JX_NOTHING;
    if (c->rc == 0)
        *to.u.l = (struct jx_list){.n = l->n, .v = l->v};
    return to;
}

JX_LIST_FILTER(jx_do_join)
{
    const struct jx_value *between = jx_arg(a, 0, "d"), *attribute = jx_arg(a, 1, "attribute");
    struct jx_list *l = jx_items_of(c, v);
    struct jx_out o = {0};
    for (size_t i = 0; l && i < l->n && c->rc == 0; i++) {
        if (i && between)
            jx_put_str(c, &o, between);
        struct jx_value x = attribute ? jx_list_attribute(c, &l->v[i], attribute) : l->v[i];
        jx_put_str(c, &o, &x);
    }
    return jx_out_value(c, &o);
}

JX_LIST_FILTER(jx_do_first)
{
    (void)a;
    struct jx_list *l = jx_items_of(c, v);
    return l && l->n ? l->v[0] : JX_NOTHING;
}

JX_LIST_FILTER(jx_do_last)
{
    (void)a;
    struct jx_list *l = jx_items_of(c, v);
    return l && l->n ? l->v[l->n - 1] : JX_NOTHING;
}

JX_LIST_FILTER(jx_do_reverse)
{
    (void)a;
    if (v->kind == JX_STRING)
        return jx_slice(c, v, &(struct jx_value){.kind = JX_NONE},
                        &(struct jx_value){.kind = JX_NONE},
                        &(struct jx_value){JX_INT, {.i = -1}});
    struct jx_list *l = jx_items_of(c, v);
    struct jx_value to = l ? jx_list_new(c, JX_LIST, l->n) : JX_NOTHING;
    for (size_t i = 0; c->rc == 0 && i < l->n; i++)
        to.u.l->v[i] = l->v[l->n - 1 - i];
    return jx_lazy(to);
}

/* ---- order ---- */

/* What an item is sorted by: an attribute of it, without regard to case unless it is asked for.
 */
static struct jx_value key_of(struct jx *c, const struct jx_value *v,
                              const struct jx_value *attribute, bool has_case)
{
    struct jx_value key = attribute ? jx_list_attribute(c, v, attribute) : *v;
    return key.kind == JX_STRING && !has_case ? jx_change_case(c, key.u.s, "lower") : key;
}

/* Stable, by merging runs of growing length; `keys` go with the items. */
static void merge_sort(struct jx *c, struct jx_value *v, struct jx_value *keys, size_t n,
                       bool is_reversed)
{
    struct jx_value *v2 = jx_take(c, n * sizeof *v), *k2 = jx_take(c, n * sizeof *v);
    for (size_t run = 1; run < n && c->rc == 0; run *= 2) {
        for (size_t from = 0; from < n && c->rc == 0; from += 2 * run) {
            size_t mid = from + run < n ? from + run : n, end = mid + run < n ? mid + run : n;
            for (size_t a = from, b = mid, to = from; to < end; to++) {
                jx_step(c, 0);
                int d = a < mid && b < end ? jx_order(c, &keys[a], &keys[b]) : 0;
                bool is_first = b >= end || (a < mid && (is_reversed ? d >= 0 : d <= 0));
                size_t at = is_first ? a++ : b++;
                v2[to] = v[at];
                k2[to] = keys[at];
            }
        }
        if (c->rc == 0) {
            memcpy(v, v2, n * sizeof *v);
            memcpy(keys, k2, n * sizeof *v);
        }
    }
}

static struct jx_value sorted(struct jx *c, const struct jx_list *l,
                              const struct jx_value *attribute, bool has_case, bool is_reversed)
{
    struct jx_value to = jx_list_new(c, JX_LIST, l->n), keys = jx_list_new(c, JX_LIST, l->n);
    for (size_t i = 0; c->rc == 0 && i < l->n; i++) {
        to.u.l->v[i] = l->v[i];
        keys.u.l->v[i] = key_of(c, &l->v[i], attribute, has_case);
    }
    if (c->rc == 0)
        merge_sort(c, to.u.l->v, keys.u.l->v, l->n, is_reversed);
    return to;
}

static bool flag(const struct jx_args *a, size_t i, const char *name)
{
    const struct jx_value *v = jx_arg(a, i, name);
    return v && jx_truth(v);
}

JX_LIST_FILTER(jx_do_sort)
{
    struct jx_list *l = jx_items_of(c, v);
    return l ? sorted(c, l, jx_arg(a, 2, "attribute"), flag(a, 1, "case_sensitive"),
                      flag(a, 0, "reverse"))
             : JX_NOTHING;
}

JX_LIST_FILTER(jx_do_dictsort)
{
    const struct jx_value *by = jx_arg(a, 1, "by");
    if (v->kind != JX_DICT)
        return jx_fail(c, ERR_FORMAT, "dictsort of a %s", jx_type_name(v));
    struct jx_value pairs = jx_call_method(c, v, "items", &(struct jx_args){0}),
                    at = jx_int(by && jx_is_text(by, "value"));
    return c->rc == 0
               ? sorted(c, pairs.u.l, &at, flag(a, 0, "case_sensitive"), flag(a, 2, "reverse"))
               : JX_NOTHING;
}

static struct jx_value extreme(struct jx *c, const struct jx_value *v, const struct jx_args *a,
                               int sign)
{
    struct jx_list *l = jx_items_of(c, v);
    const struct jx_value *attribute = jx_arg(a, 1, "attribute");
    bool has_case = flag(a, 0, "case_sensitive");
    struct jx_value best = JX_NOTHING, key = JX_NOTHING;
    for (size_t i = 0; l && i < l->n && c->rc == 0; i++) {
        struct jx_value k = key_of(c, &l->v[i], attribute, has_case);
        if (i == 0 || jx_order(c, &k, &key) * sign > 0) {
            best = l->v[i];
            key = k;
        }
    }
    return best;
}

JX_LIST_FILTER(jx_do_min)
{
    return extreme(c, v, a, -1);
}

JX_LIST_FILTER(jx_do_max)
{
    return extreme(c, v, a, 1);
}

JX_LIST_FILTER(jx_do_sum)
{
    struct jx_list *l = jx_items_of(c, v);
    const struct jx_value *attribute = jx_arg(a, 0, "attribute"),
                          *start = jx_arg(a, 1, "start");
    struct jx_value sum = start ? *start : jx_int(0);
    for (size_t i = 0; l && i < l->n && c->rc == 0; i++) {
        struct jx_value x = attribute ? jx_list_attribute(c, &l->v[i], attribute) : l->v[i];
        sum = jx_binary(c, '+', &sum, &x);
    }
    return sum;
}

/* ---- choosing ---- */

static void keep(struct jx_value *to, struct jx_value v)
{
    to->u.l->v[to->u.l->n++] = v;
}

static struct jx_value empty_of(struct jx *c, size_t room)
{
    struct jx_value to = jx_list_new(c, JX_LIST, room);
    if (c->rc == 0)
        to.u.l->n = 0;
    return to;
}

JX_LIST_FILTER(jx_do_unique)
{
    struct jx_list *l = jx_items_of(c, v);
    const struct jx_value *attribute = jx_arg(a, 1, "attribute");
    bool has_case = flag(a, 0, "case_sensitive");
    struct jx_value to = empty_of(c, l ? l->n : 0), keys = empty_of(c, l ? l->n : 0);
    for (size_t i = 0; l && c->rc == 0 && i < l->n; i++) {
        struct jx_value key = key_of(c, &l->v[i], attribute, has_case);
        if (c->rc == 0 && !jx_contains(c, &keys, &key)) {
            keep(&keys, key);
            keep(&to, l->v[i]);
        }
        jx_step(c, keys.u.l->n * 16);
    }
    return jx_lazy(to);
}

/* Those whose value, or attribute, is true, or passes a test; is_kept false: the others. */
static struct jx_value choose(struct jx *c, const struct jx_value *v, const struct jx_args *a,
                              bool has_attribute, bool is_kept)
{
    struct jx_list *l = jx_items_or_none(c, v);
    size_t first = has_attribute;
    const struct jx_value *attribute = has_attribute ? jx_arg(a, 0, NULL) : NULL,
                          *name = jx_arg(a, first, NULL);
    const struct jx_test_row *test = NULL;
    if (has_attribute && !attribute)
        return jx_fail(c, ERR_FORMAT, "an attribute's name is needed");
    if (name) {
        char *text = name->kind == JX_STRING ? mem_strndup(name->u.s->s, name->u.s->len) : NULL;
        test = text ? jx_test_find(text) : NULL;
        free(text);
        if (!test)
            return jx_fail(c, ERR_UNSUPPORTED, "the test is not supported");
        first++;
    }
    struct jx_args rest = {0};
    if (a->n > first)
        rest = (struct jx_args){.v = a->v + first, .n = a->n - first};
    struct jx_value to = empty_of(c, l ? l->n : 0);
    for (size_t i = 0; l && c->rc == 0 && i < l->n; i++) {
        struct jx_value x = attribute ? jx_list_attribute(c, &l->v[i], attribute) : l->v[i];
        if ((test ? jx_test(c, test, &x, &rest) : jx_truth(&x)) == is_kept)
            keep(&to, l->v[i]);
    }
    return jx_lazy(to);
}

JX_LIST_FILTER(jx_do_select)
{
    return choose(c, v, a, false, true);
}

JX_LIST_FILTER(jx_do_reject)
{
    return choose(c, v, a, false, false);
}

JX_LIST_FILTER(jx_do_selectattr)
{
    return choose(c, v, a, true, true);
}

JX_LIST_FILTER(jx_do_rejectattr)
{
    return choose(c, v, a, true, false);
}

JX_LIST_FILTER(jx_do_batch)
{
    struct jx_list *l = jx_items_of(c, v);
    const struct jx_value *size = jx_arg(a, 0, "linecount"), *fill = jx_arg(a, 1, "fill_with");
    int64_t n = 0;
    if (!l || !size || !jx_as_int(size, &n) || n < 1)
        return jx_fail(c, ERR_FORMAT, "batch needs a size");
    size_t per = (size_t)n > l->n && !fill ? l->n + !l->n : (size_t)n;
    struct jx_value to = jx_list_new(c, JX_LIST, (l->n + per - 1) / per);
    for (size_t i = 0; c->rc == 0 && i < l->n; i += per) {
        size_t here = l->n - i < per && !fill ? l->n - i : per;
        struct jx_value part = jx_list_new(c, JX_LIST, here);
        for (size_t k = 0; c->rc == 0 && k < here; k++)
            part.u.l->v[k] = i + k < l->n ? l->v[i + k] : *fill;
        to.u.l->v[i / per] = part;
    }
    return jx_lazy(to);
}
