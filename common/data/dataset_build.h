/* SPDX-License-Identifier: MIT
 * dataset_build: how a record's values become turns; what its layouts (dataset_layout.c) and
 * lists of messages (dataset_messages.c) share.
 *
 * One rule holds for all that is read: null is absent, and so is NaN, which pandas writes for
 * it; a number is text, as it is written. jansson keeps a number's value only, so the first
 * that is met makes the record be parsed again with its numbers as strings. */
#ifndef RAISE_DATA_DATASET_BUILD_H
#define RAISE_DATA_DATASET_BUILD_H

#include "data/dataset_json.h"

struct builder {
    struct arena *arena;
    const struct data_record *record; /* its raw text */
    struct data_reading *how;
    struct data_turn *turns;
    size_t n, cap;
    struct err *e;
};

/* The member of an object; NULL where it is absent or null. */
json_t *build_get(const json_t *o, const char *key);
/* Errors, each ERR_FORMAT; `path` is what messages call the place: "messages[2].content". */
int build_wrong_type(struct builder *b, const char *path, const json_t *v, const char *want);
int build_is_missing(struct builder *b, const char *path);
int build_is_empty(struct builder *b, const char *path);
/* *s: a string, else an error (v NULL: it is missing). */
int build_string(struct builder *b, const json_t *v, const char *path, const json_t **s);
/* A list, or the JSON text of one, which is how a CSV cell or a data frame holds it. The caller
 * releases what it gets (json_decref); NULL: neither. */
json_t *build_list_of(struct builder *b, json_t *v);

void build_turn(struct builder *b, enum data_role role, const char *text, size_t len);
void build_json_turn(struct builder *b, enum data_role role, const json_t *s);

/* The turns of a list of messages, of either pair of keys; `key` is its name, and of the
 * record's field that holds it. */
int build_messages(struct builder *b, json_t *list, const char *key);

/* dataset_keys.c: the other members of a message, of which `raw` is the text, into its turn. */
int build_extra(struct builder *b, const json_t *m, const struct data_member *raw,
                struct data_turn *t);
/* The record's field `label`, which is no layout's. */
void build_label(const json_t *o, struct data_record *r);
/* The record's field `tools`. */
int build_tools(struct builder *b, const json_t *o, struct data_record *r);

#endif
