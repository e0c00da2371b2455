/* SPDX-License-Identifier: MIT
 *
 * export: chosen records to files that trainers load.
 *
 * A record's text is kept as it was written: numbers, escapes, unknown fields and their order.
 * Only white space changes, to that of Python's json.dump: ", " and ": " in JSON lines, an
 * indent of four in a JSON array. So all records of a file that Python wrote so come back as
 * the same bytes. Or records are turned into another layout; then their turns are written anew.
 */
#ifndef RAISE_DATA_EXPORT_H
#define RAISE_DATA_EXPORT_H

#include "data/dataset.h"
#include "stream/pack.h"

/*   JSON, JSONL  the record's fields, in order, then the extras; an extra replaces a field of
 * its name CSV          the union of columns in order of first appearance, then the extras;
 * lists and objects as JSON text, null and absent as nothing TEXT         for people: "record
 * 7, step 2", then its turns, "  user", and their lines after four blanks each, made printable
 * but for tabs; an empty line INDICES      source numbers, one a line; extras are not written
 */
enum export_format { EXPORT_JSON, EXPORT_JSONL, EXPORT_CSV, EXPORT_TEXT, EXPORT_INDICES };

/* Fields that are made of the turns, before those that the record's layout does not read:
 *   MESSAGES    messages: [{role, content}], and DATA_INPUT_FIELD where there is an input
 *   ALPACA      instruction, input, output; system and history where there are such. Turns of
 *               user and assistant, one after the other, alone can be written so
 *   SHAREGPT    conversations: [{from, value}]
 *   COMPLETION  prompt, completion: texts where every record is one turn of each; else lists of
 *               messages */
enum export_layout {
    EXPORT_AS_IS,
    EXPORT_MESSAGES,
    EXPORT_ALPACA,
    EXPORT_SHAREGPT,
    EXPORT_COMPLETION
};

/* Extra fields put beside a record (names begin with "raise_"; plain ASCII). */
struct export_extra {
    const char *name;
    bool is_integer;
    const double *values; /* one a row written; not finite: null (CSV: empty) */
    bool is_float;        /* the values were floats: 0.7f is written as 0.7 */
};

struct export_job {
    enum export_format format;
    enum export_layout layout; /* AS_IS with TEXT and INDICES */
    const struct dataset *d;
    const int64_t *rows; /* [n_rows] indices into d->records; NULL: 0, 1, 2 ... */
    int64_t n_rows;
    const struct export_extra *extras;
    int n_extras;
    void (*progress)(void *arg, int64_t n_written); /* now and then; NULL: not */
    void *progress_arg;
};

/* Errors name the record: ERR_UNSUPPORTED, it cannot be written in this layout. */
int export_write(struct pack *out, const struct export_job *job,
                 struct err *e) RAISE_MUST_CHECK;

/* One top-level field of each, a line: a text decoded and made printable (a line feed is \n),
 * other values as they are written; absent and null are an empty line. */
int export_write_field(struct pack *out, const struct export_job *job, const char *field,
                       struct err *e) RAISE_MUST_CHECK;

/* What the name of an output says of its format: .json, .jsonl (or .ndjson), .csv, before .zst
 * or .gz. 1, and *f; 0: it says nothing (standard output, a name without a suffix);
 * ERR_UNSUPPORTED: another suffix, which the error names. is_foreign: a format of other
 * programs that must not be mistaken (.parquet), whatever format is asked for. */
int export_format_of(const char *path, enum export_format *f, bool *is_foreign,
                     struct err *e) RAISE_MUST_CHECK;

/* LLaMA-Factory's dataset_info.json stanza for such a file, named by the file's stem; owned by
 * the caller. NULL and ERR_UNSUPPORTED: indices, or records of several layouts that no one
 * stanza describes (MESSAGES describes all). */
char *export_stanza(const struct export_job *job, const char *file_name,
                    struct err *e) RAISE_MUST_CHECK;

#endif
