/* SPDX-License-Identifier: MIT
 *
 * pack: bytes out, compressed as the name of the output says: .zst by zstd, .gz by gzip, any
 * other as they are. The same bytes give the same file: no time, no name in it.
 *
 *     struct pack *p = pack_open(path, &e);          // of an outfile, file.h
 *     pack_write(p, data, n, &e);
 *     rc = pack_commit(p, &e);                       // or pack_abort(p)
 */
#ifndef RAISE_STREAM_PACK_H
#define RAISE_STREAM_PACK_H

#include "base/err.h"

#include <stddef.h>

struct pack;                                                              /* owned */
struct pack *pack_open(const char *path, struct err *e) RAISE_MUST_CHECK; /* NULL/"-": stdout */
int pack_write(struct pack *p, const void *data, size_t n, struct err *e) RAISE_MUST_CHECK;
int pack_commit(struct pack *p, struct err *e) RAISE_MUST_CHECK; /* frees p in every case */
void pack_abort(struct pack *p);                                 /* NULL-safe */
/* Length of the name without ".zst" or ".gz". */
size_t pack_name_len(const char *path);

#endif
