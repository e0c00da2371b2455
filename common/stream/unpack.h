/* SPDX-License-Identifier: MIT
 *
 * unpack: the three kinds of compression that are read, behind one face; for zio.c.
 *
 *     struct unpack *u;
 *     int rc = unpack_new(&u, head, n, &e);      // by the first bytes; NULL: not compressed
 *     struct unpack_step s = {.in = p, .in_len = n, .out = q, .out_len = m, .is_last = ...};
 *     if (unpack_step(u, &s) < 0) ... s.why ...
 *     // s.in_used bytes were taken, s.out_used made
 */
#ifndef RAISE_STREAM_UNPACK_H
#define RAISE_STREAM_UNPACK_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

enum { UNPACK_HEAD = 6 }; /* bytes that tell */

struct unpack; /* owned; unpack_free */
/* *u is NULL when the bytes begin no compressed file. ERR_UNSUPPORTED: the library fails. */
int unpack_new(struct unpack **u, const void *head, size_t len, struct err *e) RAISE_MUST_CHECK;
void unpack_free(struct unpack *u);              /* NULL-safe */
const char *unpack_name(const struct unpack *u); /* "zstd", "gzip", "xz" */

struct unpack_step {
    const char *in;
    size_t in_len, in_used;
    char *out;
    size_t out_len, out_used;
    const char *why; /* set on failure: what the library says */
};
/* Some progress. 0; or ERR_FORMAT. */
int unpack_step(struct unpack *u, struct unpack_step *s) RAISE_MUST_CHECK;
/* Between frames, members or streams: input may end here. */
bool unpack_is_between(const struct unpack *u);

#endif
