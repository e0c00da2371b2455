/* SPDX-License-Identifier: MIT
 * jinja_list: filters that go through a list; for jinja_filter.c's table. */
#ifndef RAISE_JINJA_JINJA_LIST_H
#define RAISE_JINJA_JINJA_LIST_H

#include "jinja/jinja_priv.h"

#define JX_LIST_FILTER(name)                                                                   \
    struct jx_value name(struct jx *c, const struct jx_value *v, const struct jx_args *a)
JX_LIST_FILTER(jx_do_list);
JX_LIST_FILTER(jx_do_join);
JX_LIST_FILTER(jx_do_first);
JX_LIST_FILTER(jx_do_last);
JX_LIST_FILTER(jx_do_reverse);
JX_LIST_FILTER(jx_do_sort);
JX_LIST_FILTER(jx_do_unique);
JX_LIST_FILTER(jx_do_sum);
JX_LIST_FILTER(jx_do_min);
JX_LIST_FILTER(jx_do_max);
JX_LIST_FILTER(jx_do_select);
JX_LIST_FILTER(jx_do_reject);
JX_LIST_FILTER(jx_do_selectattr);
JX_LIST_FILTER(jx_do_rejectattr);
JX_LIST_FILTER(jx_do_dictsort);
JX_LIST_FILTER(jx_do_batch);

/* "a.b.0" of an item, or its item of that number. */
struct jx_value jx_list_attribute(struct jx *c, const struct jx_value *v,
                                  const struct jx_value *name);

#endif
