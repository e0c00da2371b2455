/* SPDX-License-Identifier: MIT
 *
 * export: chosen records to files that trainers load.
 *
 * A record's text is kept as it was written: numbers, escapes, unknown fields and their order.
 * Only white space changes, to that of Python's json.dump: ", " and ": " in JSON lines, an
 * indent of four in a JSON array. So all records of a file that Python wrote so come back as
 * the same bytes.
 */
#ifndef RAISE_DATA_EXPORT_H
#define RAISE_DATA_EXPORT_H

#include "base/file.h"
#include "data/dataset.h"

enum export_format {
    EXPORT_JSON,
    EXPORT_JSONL,
    EXPORT_CSV,
    EXPORT_MESSAGES,
    EXPORT_TEXT,
    EXPORT_INDICES
};

/* Extra fields put beside a record (names begin with "raise_"; plain ASCII). */
struct export_extra {
    const char *name;
    bool is_integer;
    const double *values; /* one a row written; not finite: null (CSV: empty) */
    bool is_float;        /* the values were floats: 0.7f is written as 0.7 */
};

/* Writes `n_rows` records: rows[i] is an index into d->records.
 *   JSON, JSONL  the record's raw fields, in order, then the extras; an extra replaces a field
 *                of its name
 *   CSV          the union of columns in order of first appearance, then the extras; lists and
 *                objects as JSON text, null and absent as nothing
 *   MESSAGES     JSON lines: {"messages": [{"role", "content"}, ...]}, DATA_INPUT_FIELD where
 *                there is an input, then the fields that the layout does not read, then the
 * extras TEXT         for people: "record 7, step 2", then its turns, "  user", and their lines
 * after four blanks each, made printable but for tabs; an empty line INDICES      source
 * numbers, one a line; extras are not written */
int export_write(struct outfile *o, enum export_format f, const struct dataset *d,
                 const int64_t *rows, int64_t n_rows, const struct export_extra *extras,
                 int n_extras, struct err *e) RAISE_MUST_CHECK;

/* One top-level field of each, a line: a text decoded and made printable (a line feed is \n),
 * other values as they are written; absent and null are an empty line. */
int export_write_field(struct outfile *o, const struct dataset *d, const int64_t *rows,
                       int64_t n_rows, const char *field, struct err *e) RAISE_MUST_CHECK;

/* By the name of the output (.json, .jsonl, .csv), else as the dataset's. */
enum export_format export_format_of(const char *path, enum data_format like);

/* LLaMA-Factory's dataset_info.json stanza for such a file, named by the file's stem; owned by
 * the caller. NULL and ERR_UNSUPPORTED: indices, or records of several layouts that no one
 * stanza describes (MESSAGES describes all). */
char *export_stanza(enum export_format f, const struct dataset *d, const int64_t *rows,
                    int64_t n_rows, const char *file_name, struct err *e) RAISE_MUST_CHECK;

#endif
