/* SPDX-License-Identifier: MIT
 * write_and_read: a dataset of n records "tag0", "tag1", ..., by way of a file. */
#ifndef RAISE_TESTS_WRITE_AND_READ_H
#define RAISE_TESTS_WRITE_AND_READ_H

#include "data/dataset.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* d: the caller's to free. 0 or < 0. */
static inline int write_and_read(struct dataset *d, int n, const char *tag)
{
    struct err e = ERR_INIT;
    char path[] = "/tmp/raise-test-XXXXXX";
    FILE *f = fdopen(mkstemp(path), "w");
    for (int i = 0; i < n; i++)
        fprintf(f, "{\"prompt\":\"%s%d\",\"completion\":\"answer %d\"}\n", tag, i, i * i);
    fclose(f);
    struct data_options want = {0};
    int rc = dataset_read(d, path, &want, &e);
    unlink(path);
    return rc;
}

#endif
