/* SPDX-License-Identifier: MIT
 *
 * untrained: losses of the model before its first step, kept from one episode to the next.
 *
 * Every episode of a run starts from the same model and measures it on the same records, so
 * that the number is the same. A file has a row for each that was measured, and a row is known
 * by the hash of all that it depends on; one that is not there is measured and added, so that
 * nobody has to know which belong to a run. File kind "untrained" (raise-stream(5)).
 *
 *     struct untrained u;
 *     rc = untrained_read(&u, path, &e);              // no such file: no rows
 *     const double *loss = untrained_find(&u, key);   // NULL: measure, then
 *     rc = untrained_add(path, key, measured, &e);
 *     untrained_free(&u);
 */
#ifndef RAISE_LEARN_UNTRAINED_H
#define RAISE_LEARN_UNTRAINED_H

#include "base/err.h"
#include "stream/st_table.h"

struct untrained {
    int64_t n;
    uint64_t *key; /* [n] ascending */
    double *loss;  /* [n] */
};
extern const struct st_table untrained_table;

/* A file that is not there is an empty one; another kind of file is ERR_FORMAT, by its name. */
int untrained_read(struct untrained *u, const char *path, struct err *e) RAISE_MUST_CHECK;
void untrained_free(struct untrained *u);
const double *untrained_find(const struct untrained *u, uint64_t key);

/* Reads the file again and writes it with one row more, whole or not at all. Of two programs
 * that add at the same moment one may lose its row: it is measured once more then. The same
 * rows are the same bytes, whoever added them in which order. */
int untrained_add(const char *path, uint64_t key, double loss, struct err *e) RAISE_MUST_CHECK;

#endif
