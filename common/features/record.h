/* SPDX-License-Identifier: MIT
 *
 * record: columns that a record has by itself, before any model: one row a column.
 *
 * A column is a number made of the record and of its tokens. Those asked for by name
 * (raise-embed --columns) stand side by side in the features' tensor `record`, raise.record has
 * their names in order; shards, PCA, clustering, views and policies take them from there, and
 * know none by itself. To add one:
 *     1. in record.c, a function and its row
 *     2. in policy/state.c, a row whose `.record` is its name, if policies shall see it
 *     3. the pages raise-embed(1) and, for 2, raise-ppo(1); a value in tests/unit/test_record.c
 *
 *     struct record_choice c;
 *     rc = record_choose(&c, "n_turns,chars_y", &e);
 *     ... c.column[k]->value(&record, &example) ...
 *     record_choice_free(&c);
 */
#ifndef RAISE_FEATURES_RECORD_H
#define RAISE_FEATURES_RECORD_H

#include "text/example.h"

struct record_column {
    const char *name;
    const char *help;
    /* Of a record and its tokens, at least one of a response; finite, and kept as a float. */
    double (*value)(const struct data_record *r, const struct example *x);
};
/* The table, ending with a row without a name. */
const struct record_column *record_columns(void);

struct record_choice {
    int64_t n;
    const struct record_column **column; /* [n], owned */
    char **names;                        /* [n + 1], NULL at the end, owned; NULL: n is 0 */
};
/* From names parted by commas, in their order; "all": the table's; NULL or "": none.
 * ERR_RANGE: a name that there is not (the text lists those that there are), or one twice.
 * record_choice_free in every case. */
int record_choose(struct record_choice *c, const char *list, struct err *e) RAISE_MUST_CHECK;
void record_choice_free(struct record_choice *c);

#endif
