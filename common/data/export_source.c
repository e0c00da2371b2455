/* SPDX-License-Identifier: MIT
 * The records of an export, one after the other; see export_impl.h. */
#include "data/export_impl.h"

/* Whether one of them is more than a question and its answer. */
static int find_lists(struct export_source *s, struct err *e)
{
    const struct export_job *job = s->job;
    for (int64_t i = 0; i < job->n_rows && !s->is_listed; i++) {
        const struct data_record *r = data_reader_get(s->reader, export_row(job, i), e);
        if (!r)
            return dataset_name_record(e, job->d, export_row(job, i));
        s->is_listed = !export_is_pair(r);
    }
    return 0;
}

int export_source_init(struct export_source *s, const struct export_job *job, struct err *e)
{
    *s = (struct export_source){.job = job, .reader = data_reader_new(job->d)};
    return job->layout == EXPORT_COMPLETION ? find_lists(s, e) : 0;
}

void export_source_free(struct export_source *s)
{
    data_reader_free(s->reader);
    buf_free(&s->text);
}

int export_source_get(struct export_source *s, int64_t i, struct err *e)
{
    const struct export_job *job = s->job;
    int64_t row = export_row(job, i);
    int rc = 0;
    if (job->progress && i % 256 == 0)
        job->progress(job->progress_arg, i);
    s->record = data_reader_get(s->reader, row, e);
    if (!s->record)
        return dataset_name_record(e, job->d, row);
    s->raw = s->record->raw;
    s->raw_len = s->record->raw_len;
    if (job->layout == EXPORT_AS_IS)
        return 0;
    s->text.len = 0;
    rc = export_convert(&s->text, job->layout, s->is_listed, s->record, e);
    s->raw = s->text.data;
    s->raw_len = s->text.len;
    return rc < 0 ? dataset_name_record(e, job->d, row) : 0;
}
