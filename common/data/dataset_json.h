/* SPDX-License-Identifier: MIT
 * dataset_json: what the two halves of parsing a record share. */
#ifndef RAISE_DATA_DATASET_JSON_H
#define RAISE_DATA_DATASET_JSON_H

#include "data/dataset_impl.h"

#include <jansson.h>

/* "string", "integer", ... for messages. */
const char *data_type_name(const json_t *v);
/* Layout, fields and turns of an object's record; texts go to the arena. */
int data_record_build(struct data_record *r, json_t *o, struct arena *a,
                      struct err *e) RAISE_MUST_CHECK;

#endif
