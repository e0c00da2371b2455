/* SPDX-License-Identifier: MIT
 * What every splitter does: a slice more, blanks passed over, a record that is too long. */
#include "data/dataset_impl.h"

void data_split_add(struct data_split *s, size_t offset, size_t len, int64_t place,
                    int64_t line, char *why)
{
    MEM_GROW(s->slices, s->cap, s->n_slices + 1);
    s->slices[s->n_slices++] = (struct data_slice){offset, len, place, line, why};
    s->n_blank = 0;
}

int data_split_too_long(const struct data_split *s, int64_t line, struct err *e)
{
    char most[TEXT_AMOUNT];
    return err_set(e, ERR_RANGE, "%s:%lld: record %lld: longer than %s (--max-record)", s->name,
                   (long long)line, (long long)(s->n_before + s->n_slices),
                   text_bytes(most, s->max_record));
}

int data_split_blank(struct data_split *s, size_t n, struct err *e)
{
    char most[TEXT_AMOUNT];
    s->n_blank += (int64_t)n;
    if (s->n_blank <= s->max_record)
        return 0;
    return err_set(e, ERR_RANGE, "%s:%lld: more than %s without a record (--max-record)",
                   s->name, (long long)s->line, text_bytes(most, s->max_record));
}
