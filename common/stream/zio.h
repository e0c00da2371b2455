/* SPDX-License-Identifier: MIT
 *
 * zio: bytes in, decompressed where they are zstd, gzip or xz.
 *
 * Opens a file or standard input and hands out plain bytes: input that starts with the magic
 * number of zstd, gzip or xz is decompressed (any number of frames, members or streams after
 * one another; zstd's skippable frames ignored), anything else passes through. Keeps the xxh64
 * of the decompressed bytes, which is how inputs are identified in provenance (the same data,
 * compressed or not, has the same identity).
 */
#ifndef RAISE_STREAM_ZIO_H
#define RAISE_STREAM_ZIO_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct zin;
struct zin *zin_open(const char *path, struct err *e) RAISE_MUST_CHECK; /* NULL/"-": stdin */
/* Reads up to `cap` bytes; 0 at the end, negative on error (truncated or corrupt data; a bomb,
 * limit.h; a file that changed meanwhile). */
int64_t zin_read(struct zin *z, void *dst, size_t cap, struct err *e) RAISE_MUST_CHECK;
/* What it unfolds to may be of any size: the caller keeps a bounded part of it. */
void zin_unbound(struct zin *z);
uint64_t zin_hash(const struct zin *z); /* of all bytes handed out so far */
/* Where its bytes are those of a regular file, from the start, so that whoever opens it again
 * finds them: how many they are; else -1. */
int64_t zin_size(const struct zin *z);
/* Bytes read of the file, as it is packed. */
int64_t zin_taken(const struct zin *z);
void zin_close(struct zin *z); /* NULL-safe */

/* The whole input at once; *data owned by the caller (free()), one NUL past the end. *hash may
 * be NULL. */
int zin_read_all(const char *path, char **data, size_t *len, uint64_t *hash,
                 struct err *e) RAISE_MUST_CHECK;

#endif
