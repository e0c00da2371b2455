/* SPDX-License-Identifier: MIT
 *
 * export: chosen records to files that trainers load.
 */
#ifndef RAISE_DATA_EXPORT_H
#define RAISE_DATA_EXPORT_H

#include "base/file.h"
#include "data/dataset.h"

enum export_format { EXPORT_JSON, EXPORT_JSONL, EXPORT_CSV, EXPORT_MESSAGES, EXPORT_INDICES };

/* Extra fields put beside a record (names begin with "raise_"). */
struct export_extra {
    const char *name;
    bool is_integer;
    const double *values; /* one a row written, NaN: null */
};

/* Writes `n_rows` records: rows[i] is an index into d->records. JSON, JSONL: the record's raw
 * fields, in order, then the extras. CSV: the union of columns in order of first appearance.
 * MESSAGES: {"messages": [...]} lines. INDICES: source numbers, one a line. */
int export_write(struct outfile *o, enum export_format f, const struct dataset *d,
                 const int64_t *rows, int64_t n_rows, const struct export_extra *extras,
                 int n_extras, struct err *e) RAISE_MUST_CHECK;

/* LLaMA-Factory's dataset_info.json stanza for such a file; owned by the caller. */
char *export_stanza(enum export_format f, const struct dataset *d, const char *file_name);

#endif
