/* SPDX-License-Identifier: MIT
 *
 * dataset_impl: what the parts of dataset share; not for other modules.
 *
 * A file is read through once, in windows. A splitter cuts each window into slices, one a
 * record, without looking inside (dataset_split.c finds the format, dataset_scan.c the values;
 * CSV rows are written as JSON objects first, dataset_csv.c); what is left of the last record
 * begins the next window. Every slice is parsed on its own, in any order and by any thread
 * (dataset_record.c), and only its place and its hash are kept. Damage that hides where records
 * begin is an error of the file; damage inside a slice is a problem of that record alone.
 *
 *     window   [ ... } {"a": 1}  {"b": 2}  {"c": ]
 *                    at^  slice 0  slice 1  ^ at, afterwards
 *
 * A record is read again (dataset_reader.c) from its place, where its end is found anew.
 */
#ifndef RAISE_DATA_DATASET_IMPL_H
#define RAISE_DATA_DATASET_IMPL_H

#include "base/arena.h"
#include "base/mem.h"
#include "base/text.h"
#include "data/dataset.h"
#include "stream/spool.h"

struct data_slice {
    size_t offset; /* into the window, or, of CSV, into data_split.objects */
    size_t len;
    int64_t place; /* of its first byte, in the decompressed file */
    int64_t line;  /* of that, from 1 */
    char *why;     /* owned; not NULL: already known to be bad (a CSV row) */
};

/* What a splitter expects next. */
enum data_phase {
    PHASE_HEAD,   /* the format is not known yet */
    PHASE_FIRST,  /* array: a value, or its end */
    PHASE_VALUE,  /* array: a value */
    PHASE_COMMA,  /* array: ',' or its end */
    PHASE_MEMBER, /* after an array inside an object: more members, or the object's end */
    PHASE_END,    /* nothing more */
    PHASE_LINES,  /* a record a line */
    PHASE_STREAM, /* objects one after another */
    PHASE_ROWS    /* CSV */
};

struct data_split {
    const char *name; /* for messages; borrowed */
    enum data_format format;
    const char *const *columns; /* of a CSV without a line of names, up to NULL; borrowed */
    enum data_phase phase;
    bool is_nested;     /* the array is the member "data" of an object */
    int64_t max_record; /* bytes */

    const char *text; /* the window, with a NUL after it; borrowed */
    size_t len;
    bool is_last; /* the file ends with it */
    int64_t base; /* place of text[0] in the file */

    size_t at;        /* the first byte that is not dealt with */
    int64_t line;     /* of text[at] */
    int64_t n_before; /* records before this window: their numbers go on */
    int64_t n_blank;  /* bytes dealt with since the last record */

    struct data_csv *csv; /* owned; of CSV */
    struct buf objects;   /* made of this window's rows */

    struct data_slice *slices; /* owned: of this window */
    int64_t n_slices;
    size_t cap;
};

static inline const char *data_slice_text(const struct data_split *s, int64_t i)
{
    return (s->format == DATA_CSV ? s->objects.data : s->text) + s->slices[i].offset;
}

/* Cuts the window. ERR_EMPTY: the file ends and holds nothing; ERR_RANGE: a record is longer
 * than max_record. */
int data_split_window(struct data_split *s, struct err *e) RAISE_MUST_CHECK;
void data_split_add(struct data_split *s, size_t offset, size_t len, int64_t place,
                    int64_t line, char *why);
void data_split_clear(struct data_split *s); /* forgets the slices */
void data_split_free(struct data_split *s);
int data_split_too_long(const struct data_split *s, int64_t line, struct err *e);
/* Bytes of which none is a record's. ERR_RANGE: too many one after another. */
int data_split_blank(struct data_split *s, size_t n, struct err *e) RAISE_MUST_CHECK;

/* The windows of one format, in the phases that are theirs. */
int data_split_array(struct data_split *s, struct err *e) RAISE_MUST_CHECK;
int data_split_lines(struct data_split *s, struct err *e) RAISE_MUST_CHECK;
int data_split_stream(struct data_split *s, struct err *e) RAISE_MUST_CHECK;
int data_split_csv(struct data_split *s, struct err *e) RAISE_MUST_CHECK;
/* At an opening brace: does the object span lines, as `jq .` prints it? Is it one whose member
 * "data" is the array of records? Then *at is where that begins, and *line its line. */
bool data_spans_lines(const struct data_split *s);
bool data_find_nested(const struct data_split *s, size_t *at, int64_t *line);

/* The record at text[0], read again. Returns its length, its first byte being text[0]; 0: its
 * end is not in the text. */
size_t data_scan_again(enum data_phase phase, const char *text, size_t len, bool is_last);
/* A row as its object, appended to *out; false: its end is not in the text. */
struct data_csv;
bool data_csv_again(const struct data_csv *c, const char *text, size_t len, bool is_last,
                    struct buf *out);
void data_csv_free(struct data_csv *c); /* NULL-safe */

/* Text to a record: all of *r but `source` and `line`. On failure the error holds only what is
 * wrong, without a place, and *line, on entry that of the first byte, is the line it is in. */
int data_record_parse(struct data_record *r, const char *text, size_t len, bool is_csv,
                      int64_t place, struct arena *a, int64_t *line,
                      struct err *e) RAISE_MUST_CHECK;

/* ---- files ---- */

struct data_file {
    char *name;     /* for messages */
    char *path;     /* to open it again; NULL: it is in the spool */
    int64_t base;   /* its place there */
    int64_t size;   /* decompressed */
    int64_t source; /* number of its first record */
    uint64_t hash;
    enum data_format format;
    enum data_phase phase;
    struct data_csv *csv; /* owned */
};

struct data_store {
    struct data_file *files;
    int64_t n_files;
    size_t cap;
    struct spool *spool;
};
/* The file that holds the record with this number. */
int64_t data_store_find(const struct data_store *t, int64_t source);

/* Paths to files, in order: a folder is those of its files that are datasets, by name; a
 * pattern is what it matches. Owned by the caller: data_paths_free. */
int data_paths_list(const char *const *paths, int64_t n, char ***files, int64_t *n_files,
                    struct err *e) RAISE_MUST_CHECK;
void data_paths_free(char **files, int64_t n);

/* ---- JSON text ---- */

/* A top-level member of a valid JSON object's text: key and value as they are written. */
struct data_member {
    const char *key; /* between the quotes, escapes not undone */
    size_t key_len;
    const char *value;
    size_t value_len;
};
/* The member at *at (0 to begin), which moves on; false at the end. */
bool data_member_next(const char *raw, size_t raw_len, size_t *at, struct data_member *m);

/* The same for an array's text: its elements, as values. */
bool data_element_next(const char *raw, size_t raw_len, size_t *at, struct data_member *m);

/* Names are compared as they read, not as they are written: "caf\u00e9" is "café". */
bool data_member_is(const struct data_member *m, const char *name);
void data_member_name(const struct data_member *m, struct buf *name); /* appends it */

/* dataset_join.c: the record of a number, as an index; -1: none is. Records are in file order,
 * so their numbers ascend, though some may be left out; `guess` is where it probably is. */
int64_t dataset_find_number(const struct dataset *d, int64_t source, int64_t guess);

#endif
