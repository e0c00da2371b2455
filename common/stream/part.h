/* SPDX-License-Identifier: MIT
 *
 * part: work that survives a kill. A program that takes hours appends each finished piece to
 * OUT.part; when it is started again it takes up after the last whole piece.
 *
 *     magic "RAISEPRT" | u64 length | parameters | u64 xxh64 | entry 0 | entry 1 | ...
 *     entry: u64 length | u64 xxh64 of the bytes | bytes
 *
 * All little-endian. `parameters` are lines "key=value" that say which run this is: a part is
 * continued by the very same run only. A torn last entry is cut off. The file is locked while
 * it is open: two runs never write the same part. It is private to the programs of one version
 * and is gone once the output stands.
 */
#ifndef RAISE_STREAM_PART_H
#define RAISE_STREAM_PART_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct part; /* owned; part_close */

/* Opens or creates `path`. is_resumed: an existing part with the same parameters is continued;
 * one with others is ERR_MISMATCH and the message names the first that differs. Otherwise an
 * existing part is emptied. ERR_IO when another process holds it. NULL on error. */
struct part *part_open(const char *path, const char *parameters, bool is_resumed,
                       struct err *e) RAISE_MUST_CHECK;
int64_t part_n_entries(const struct part *p);
/* Appends and syncs. On failure the part keeps what it had. */
int part_put(struct part *p, const void *data, size_t len, struct err *e) RAISE_MUST_CHECK;
/* Entry i; *data owned by the caller. */
int part_get(struct part *p, int64_t i, char **data, size_t *len,
             struct err *e) RAISE_MUST_CHECK;
/* NULL-safe. is_done: the file is removed. */
void part_close(struct part *p, bool is_done);

#endif
