/* SPDX-License-Identifier: MIT
 *
 * prov_older: what older records of a history need not say. Internal to stream/prov.
 *
 * A policy's update reads all trajectories so far, so that the history of n updates named n^2 /
 * 2 of them. The newest record of a program names all that it read; an older one of the same
 * program that shares more than PROV_SHARED inputs with it leaves these out of "inputs", says
 * how many in "later", and has "..." for their names in "args".
 */
#ifndef RAISE_STREAM_PROV_OLDER_H
#define RAISE_STREAM_PROV_OLDER_H

#include <jansson.h>

enum { PROV_SHARED = 3 };

/* `history`, an array of records, is changed in place. `inputs`: of the record to come, an
 * object whose keys are prov_older_key's. */
void prov_older_shorten(json_t *history, const char *program, const json_t *inputs);
/* Identity of an input, owned by the caller. */
char *prov_older_key(const char *name, const char *hex);

#endif
