/* SPDX-License-Identifier: MIT
 *
 * reading: a bar while datasets are read, for what may take minutes.
 *
 *     struct reading r;
 *     reading_start(&r, &options, paths, n);     // options.progress is set
 *     rc = dataset_read_paths(&d, paths, n, &options, e);
 *     reading_end(&r);
 */
#ifndef RAISE_TOOLS_READING_H
#define RAISE_TOOLS_READING_H

#include "base/log.h"
#include "data/dataset.h"

struct reading {
    struct log_bar bar;
};
/* r outlives the reading. */
void reading_start(struct reading *r, struct data_options *o, const char *const *paths,
                   int64_t n);
void reading_end(struct reading *r);

/* The two of them around the reading itself, as dataset_read_paths and dataset_read. */
int reading_all(struct dataset *d, const char *const *paths, int64_t n,
                const struct data_options *o, struct err *e) RAISE_MUST_CHECK;
int reading_one(struct dataset *d, const char *path, const struct data_options *o,
                struct err *e) RAISE_MUST_CHECK;

#endif
