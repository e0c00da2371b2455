/* SPDX-License-Identifier: MIT
 *
 * dataset_impl: what the parts of dataset share; not for other modules.
 *
 * Reading has two halves. A splitter cuts the decompressed file into slices, one a record, each
 * the text of one JSON value, without looking inside (dataset_split.c finds the format,
 * dataset_scan.c the values; CSV rows are written as JSON objects first, dataset_csv.c). Then
 * every slice is parsed on its own, in any order and by any thread (dataset_record.c). Damage
 * that hides where records begin is an error of the file; damage inside a slice is a problem of
 * that record alone.
 */
#ifndef RAISE_DATA_DATASET_IMPL_H
#define RAISE_DATA_DATASET_IMPL_H

#include "base/arena.h"
#include "base/mem.h"
#include "base/text.h"
#include "data/dataset.h"

struct data_slice {
    size_t offset; /* into data_split.text */
    size_t len;
    int64_t line; /* of its first byte, from 1 */
    char *why;    /* owned; not NULL: already known to be bad (a CSV row) */
};

struct data_split {
    const char *name; /* for messages; borrowed */
    const char *text; /* what the slices point into; borrowed */
    size_t len;
    enum data_format format;
    const char *const *columns; /* of a CSV without a line of names, up to NULL; borrowed */
    struct buf csv;            /* owned: the objects made from CSV rows; then `text` is this */
    struct data_slice *slices; /* owned */
    int64_t n_slices;
    size_t cap;
};
static inline void data_split_add(struct data_split *s, size_t offset, size_t len, int64_t line,
                                  char *why)
{
    MEM_GROW(s->slices, s->cap, s->n_slices + 1);
    s->slices[s->n_slices++] = (struct data_slice){offset, len, line, why};
}

/* Finds the format where it is DATA_AUTO, and the slices. `text` must have a NUL after it. */
int data_split(struct data_split *s, struct err *e) RAISE_MUST_CHECK;
void data_split_free(struct data_split *s);
/* The slices of one format, from byte `at`, which is in line `line`: an array from its '[';
 * objects one a line, or one after another; rows, from the start of the file. */
int data_split_array(struct data_split *s, size_t at, int64_t line,
                     struct err *e) RAISE_MUST_CHECK;
int data_split_lines(struct data_split *s, size_t at, int64_t line,
                     struct err *e) RAISE_MUST_CHECK;
int data_split_csv(struct data_split *s, struct err *e) RAISE_MUST_CHECK;

/* Parses slice `i` into *r (all fields but `source`). On failure the error holds only what is
 * wrong, without a place, and *line the line it is in. */
int data_record_parse(struct data_record *r, const struct data_split *s, int64_t i,
                      struct arena *a, int64_t *line, struct err *e) RAISE_MUST_CHECK;

/* A top-level member of a valid JSON object's text: key and value as they are written. */
struct data_member {
    const char *key; /* between the quotes, escapes not undone */
    size_t key_len;
    const char *value;
    size_t value_len;
};
/* The member at *at (0 to begin), which moves on; false at the end. */
bool data_member_next(const char *raw, size_t raw_len, size_t *at, struct data_member *m);

/* Names are compared as they read, not as they are written: "caf\u00e9" is "café". */
bool data_member_is(const struct data_member *m, const char *name);
void data_member_name(const struct data_member *m, struct buf *name); /* appends it */

#endif
