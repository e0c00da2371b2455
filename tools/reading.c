/* SPDX-License-Identifier: MIT
 * reading: a bar while datasets are read; see reading.h. */
#include "reading.h"

static void on_bytes(void *arg, int64_t n_bytes)
{
    struct reading *r = arg;
    log_bar_set(&r->bar, (double)n_bytes);
}

void reading_start(struct reading *r, struct data_options *o, const char *const *paths,
                   int64_t n)
{
    log_bar_start_passing(&r->bar, "reading", "bytes", (double)dataset_bytes(paths, n));
    o->progress = on_bytes;
    o->progress_arg = r;
}

void reading_end(struct reading *r)
{
    log_bar_end(&r->bar);
}

int reading_all(struct dataset *d, const char *const *paths, int64_t n,
                const struct data_options *o, struct err *e)
{
    struct reading r;
    struct data_options own = *o;
    reading_start(&r, &own, paths, n);
    int rc = dataset_read_paths(d, paths, n, &own, e);
    reading_end(&r);
    return rc;
}

int reading_one(struct dataset *d, const char *path, const struct data_options *o,
                struct err *e)
{
    struct reading r;
    struct data_options own = *o;
    reading_start(&r, &own, &path, 1);
    int rc = dataset_read(d, path, &own, e);
    reading_end(&r);
    return rc;
}
