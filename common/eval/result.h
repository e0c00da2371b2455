/* SPDX-License-Identifier: MIT
 *
 * result: what an evaluation found, a row a record, and what its rows say together.
 *
 * Each task has a schema: the columns that it measures of a record, and the metrics that are
 * means of them. A metric is sum(value) / sum(weight) over the records, with weight 1 or a
 * column; so accuracy is a mean over records, and a loss a mean over tokens, as training has
 * it. Its standard error is that of a ratio of means of independent records,
 *
 *     m = sum v / sum w,   se = sqrt(n / (n - 1) * sum (v_i - m w_i)^2) / sum w,
 *
 * (Cochran, Sampling Techniques, 3rd ed., 1977, eq. 6.13 without the finite population), which
 * for weights of 1 is the sample's deviation over sqrt(n).
 *
 * A row says which record it is of by its number and line, and what was asked by a hash of the
 * exact text, so that two files can be compared record by record (compare.h).
 */
#ifndef RAISE_EVAL_RESULT_H
#define RAISE_EVAL_RESULT_H

#include "base/arena.h"
#include "base/file.h"
#include "base/mem.h"

#include <stdbool.h>

enum { EVAL_MAX_COLUMNS = 8 };

struct eval_column {
    const char *name;
    bool is_integer; /* printed as one */
};

struct eval_metric {
    const char *name;
    int value, weight; /* columns; weight -1: 1 a record */
};

struct eval_schema {                                  /* of a task; static */
    struct eval_column columns[EVAL_MAX_COLUMNS + 1]; /* up to one without a name */
    struct eval_metric metrics[EVAL_MAX_COLUMNS + 1]; /* likewise */
};

struct eval_row {
    const char *file;               /* as the user named it; borrowed from the result */
    int64_t record, line;           /* number from 0, line from 1 */
    const char *group;              /* subject; "": none. Borrowed from the result */
    uint64_t hash;                  /* of what was asked (eval_hash) */
    double value[EVAL_MAX_COLUMNS]; /* NaN: not measured, in no metric */
};

/* A record that was not scored. */
struct eval_miss {
    const char *file;
    int64_t record, line;
    const char *why;
};

struct eval_result {
    const char *task; /* static, or borrowed from the result */
    const struct eval_schema *schema;
    struct eval_row *rows;
    struct eval_miss *misses;
    int64_t n_rows, n_misses;
    size_t rows_cap, misses_cap;
    struct arena text;
};

/* A row with every value NaN; text is copied. Valid until the next is added. */
struct eval_row *eval_result_add(struct eval_result *r, const char *file, int64_t record,
                                 int64_t line, const char *group, uint64_t hash);
void eval_result_miss(struct eval_result *r, const char *file, int64_t record, int64_t line,
                      const char *fmt, ...) RAISE_PRINTF(5, 6);
void eval_result_free(struct eval_result *r);
int eval_n_columns(const struct eval_schema *s);
int eval_n_metrics(const struct eval_schema *s);

/* ---- what the rows say together ---- */

struct eval_estimate {
    int64_t n;          /* records that have the values */
    double mean, error; /* NaN: of no record; of fewer than two */
};
/* Of pairs (value, weight): the formula above. */
struct eval_estimate eval_estimate_of(const double *value, const double *weight, int64_t n);
/* Of a metric over the rows of one group; group NULL: of all. */
struct eval_estimate eval_estimate(const struct eval_result *r, const struct eval_metric *m,
                                   const char *group);
double eval_weight(const struct eval_row *row, const struct eval_metric *m);

/* The groups in order of first appearance, owned by the caller (free); *n of them. Only "" is
 * none. */
const char **eval_groups(const struct eval_result *r, int64_t *n);

/* ---- hashes of what was asked ---- */

/* xxh64, seed 0, over parts of text: each its kind (one byte), its length (8 bytes,
 * little-endian) and its bytes, so that no two lists of parts run together. */
struct eval_hash;
struct eval_hash *eval_hash_new(void);
void eval_hash_add(struct eval_hash *h, int kind, const char *s, size_t len);
uint64_t eval_hash_end(struct eval_hash *h); /* frees it */

/* ---- files (result_write.c, result_read.c) ---- */

/* A line of the head of a JSON file: text, or a number where text is NULL. */
struct eval_note {
    const char *key, *text;
    int64_t number;
};

/* "NAME.json" (or .json.zst would be no such): JSON, else CSV. */
bool eval_is_json(const char *path);
/* A line of names, then a line a row: task, file, record, line, group, prompt, the columns.
 * `prompt` is the hash as 16 hex digits; a value that was not measured is empty. */
void eval_put_csv(struct buf *b, const struct eval_result *r);
/* An object: task, the notes, metrics (n, mean, stderr), groups (the same, by group), records
 * and left_out. */
void eval_put_json(struct buf *b, const struct eval_result *r, const struct eval_note *notes,
                   int n_notes);
/* A cell of CSV, quoted where RFC 4180 asks for it. */
void eval_put_field(struct buf *b, const char *s);
/* The means alone, as CSV: task, group, metric, n, mean, stderr; the group of all is "". */
void eval_put_summary(struct buf *b, const struct eval_result *r);

/* The head of a sample: {"file": ..., "record": 3, "line": 4, "prompt": "...", to be gone on
 * with and closed. */
void eval_put_sample(struct buf *b, const struct eval_row *row);

/* Reads what the first two wrote, by what it is, not by its name. `schema_of` finds a task's
 * schema by its name (NULL: there is none). ERR_FORMAT names file, line and reason. */
int eval_result_read(struct eval_result *r, const char *path,
                     const struct eval_schema *(*schema_of)(const char *task),
                     struct err *e) RAISE_MUST_CHECK;

#endif
