/* SPDX-License-Identifier: MIT
 *
 * spool: bytes that were read once and must be found again: what came out of a pipe or a
 * compressed file. The first SPOOL_MEMORY bytes are kept in memory; with more, all of them in a
 * file without a name in TMPDIR (else /var/tmp), which goes when it is closed, whatever ends
 * the process.
 *
 *     struct spool *s = spool_new();
 *     spool_append(s, p, n, &e);                // one thread
 *     spool_read(s, at, dst, n, &e);            // then any number of threads
 *     spool_free(s);
 */
#ifndef RAISE_STREAM_SPOOL_H
#define RAISE_STREAM_SPOOL_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

enum { SPOOL_MEMORY = 32 << 20 };

struct spool; /* owned; spool_free */
struct spool *spool_new(void);
void spool_free(struct spool *s);          /* NULL-safe */
int64_t spool_size(const struct spool *s); /* bytes appended so far */
/* ERR_IO names the folder that has no room. */
int spool_append(struct spool *s, const void *p, size_t n, struct err *e) RAISE_MUST_CHECK;
/* As many of the n bytes at `at` as there are; < 0: ERR_IO. */
int64_t spool_read(const struct spool *s, int64_t at, void *dst, size_t n,
                   struct err *e) RAISE_MUST_CHECK;

/* pread until n bytes or the end of the file, whatever signals come. */
int64_t spool_pread(int fd, int64_t at, void *dst, size_t n, const char *name,
                    struct err *e) RAISE_MUST_CHECK;

#endif
