/* SPDX-License-Identifier: MIT
 * export_impl: what the writers of export share. */
#ifndef RAISE_DATA_EXPORT_IMPL_H
#define RAISE_DATA_EXPORT_IMPL_H

#include "base/mem.h"
#include "data/dataset_impl.h"
#include "data/export.h"

/* Valid JSON text with the white space of Python's json.dumps: on one line (indent 0), or
 * indented, `level` deep. */
void export_format_json(struct buf *b, const char *s, size_t len, int indent, int level);
/* Is this key the name of an extra? */
bool export_is_extra(const struct data_member *m, const struct export_extra *extras,
                     int n_extras);
/* A value of an extra as JSON; nothing is appended and false returned when it is not finite. */
bool export_number(struct buf *b, const struct export_extra *x, int64_t row);
/* Does this record's layout read this top-level field? */
bool export_is_read(const struct data_record *r, const struct data_member *m);

int export_write_json(struct outfile *o, const struct dataset *d, const int64_t *rows,
                      int64_t n_rows, const struct export_extra *extras, int n_extras,
                      struct err *e) RAISE_MUST_CHECK;
int export_write_lines(struct outfile *o, enum export_format f, const struct dataset *d,
                       const int64_t *rows, int64_t n_rows, const struct export_extra *extras,
                       int n_extras, struct err *e) RAISE_MUST_CHECK;
int export_write_csv(struct outfile *o, const struct dataset *d, const int64_t *rows,
                     int64_t n_rows, const struct export_extra *extras, int n_extras,
                     struct err *e) RAISE_MUST_CHECK;
int export_write_text(struct outfile *o, const struct dataset *d, const int64_t *rows,
                      int64_t n_rows, const struct export_extra *extras, int n_extras,
                      struct err *e) RAISE_MUST_CHECK;

#endif
