/* SPDX-License-Identifier: MIT
 * dataset_json: what the two halves of parsing a record share. */
#ifndef RAISE_DATA_DATASET_JSON_H
#define RAISE_DATA_DATASET_JSON_H

#include "data/dataset_impl.h"

#include <jansson.h>

/* "string", "integer", ... for messages. */
const char *data_type_name(const json_t *v);

/* JSON as Python's json module writes it, by jansson's flags: NaN is read as null, Infinity as
 * some number. With numbers_are_text each number is a string instead, as it is written. Numbers
 * that fit no type are, too: only what nothing reads can hold them. NULL: *why tells. */
json_t *data_json_load(const char *s, size_t len, size_t flags, bool numbers_are_text,
                       json_error_t *why) RAISE_MUST_CHECK;

/* A record's text: whether it is well-formed, and its object, owned by the caller
 * (json_decref). The error holds only what is wrong, without a place; *line, which is that of
 * the first byte, moves on to the line it is in. */
int data_text_check(const char *text, size_t len, int64_t place, int64_t *line,
                    struct err *e) RAISE_MUST_CHECK;
json_t *data_text_load(const char *text, size_t len, bool numbers_are_text, int64_t *line,
                       struct err *e) RAISE_MUST_CHECK;

struct data_reading {
    bool is_csv;
    bool numbers_are_text; /* of the object that is read */
    bool met_number;       /* set where a text is a number: read again, with those as text */
};
/* Layout, fields and turns of an object's record; texts go to the arena. */
int data_record_build(struct data_record *r, json_t *o, struct arena *a,
                      struct data_reading *how, struct err *e) RAISE_MUST_CHECK;

#endif
