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
/* One turn of a user and one of an assistant. */
bool export_is_pair(const struct data_record *r);
/* The record in a layout, as an object's text, appended. ERR_UNSUPPORTED says why it cannot. */
int export_convert(struct buf *b, enum export_layout l, bool is_listed,
                   const struct data_record *r, struct err *e) RAISE_MUST_CHECK;

/* The records of a job, one after the other, each in the layout that is wanted. */
struct export_source {
    const struct export_job *job;
    struct data_reader *reader;
    bool is_listed; /* COMPLETION: lists of messages */
    struct buf text;
    const struct data_record *record; /* the present one; borrowed */
    const char *raw;                  /* its object; borrowed */
    size_t raw_len;
};
int export_source_init(struct export_source *s, const struct export_job *job,
                       struct err *e) RAISE_MUST_CHECK;
int export_source_get(struct export_source *s, int64_t i, struct err *e) RAISE_MUST_CHECK;
void export_source_free(struct export_source *s);
static inline int64_t export_row(const struct export_job *job, int64_t i)
{
    return job->rows ? job->rows[i] : i;
}

int export_write_json(struct pack *out, const struct export_job *job,
                      struct err *e) RAISE_MUST_CHECK;
int export_write_lines(struct pack *out, const struct export_job *job,
                       struct err *e) RAISE_MUST_CHECK;
int export_write_csv(struct pack *out, const struct export_job *job,
                     struct err *e) RAISE_MUST_CHECK;
int export_write_text(struct pack *out, const struct export_job *job,
                      struct err *e) RAISE_MUST_CHECK;

#endif
