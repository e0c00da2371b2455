/* SPDX-License-Identifier: MIT
 *
 * rows: the objects of a file that are no instruction records: benchmarks, results. JSON
 * arrays, JSONL and CSV, plain or zstd, by the same rules as dataset.h has for records.
 *
 *     struct data_rows r;
 *     if (data_rows_read(&r, path, NULL, &e) < 0) ...
 *     for (int64_t i = 0; i < r.n; i++) {
 *         int64_t line;
 *         json_t *o = data_row(&r, i, false, &line, &e);   // NULL: e says what, without a
 * place
 *         ...
 *         json_decref(o);
 *     }
 *     data_rows_free(&r);
 */
#ifndef RAISE_DATA_ROWS_H
#define RAISE_DATA_ROWS_H

#include "data/dataset.h"

#include <jansson.h>

struct data_rows {
    int64_t n;
    enum data_format format; /* as found */
    uint64_t hash;           /* xxh64 of the decompressed file */
    char *name;              /* for messages */
    void *priv;
};

/* columns: the names of a CSV's columns, where it has no line of them, up to NULL. On success
 * *r is owned by the caller. Errors as of dataset_read: damage that hides where rows begin. */
int data_rows_read(struct data_rows *r, const char *path, const char *const *columns,
                   struct err *e) RAISE_MUST_CHECK;
void data_rows_free(struct data_rows *r); /* NULL-safe, leaves *r empty */

/* Row i as an object, owned by the caller (json_decref); of a CSV its cells are strings.
 * numbers_are_text: numbers become strings, as they are written. NULL: the error says what is
 * wrong, without a place. *line is where, in either case. Any number of threads may call it. */
json_t *data_row(const struct data_rows *r, int64_t i, bool numbers_are_text, int64_t *line,
                 struct err *e) RAISE_MUST_CHECK;

#endif
