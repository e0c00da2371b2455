/* SPDX-License-Identifier: MIT
 *
 * mem: memory.
 *
 * mem_* never return NULL: when the system has no memory they print the size asked for to
 * stderr and exit with status 1. This is the one place in common/ that prints and exits.
 * Sizes read from a file must be checked against the bytes present before they come here.
 *
 * `struct buf` is a growing byte array; for many small pieces with one lifetime, arena.h.
 */
#ifndef RAISE_BASE_MEM_H
#define RAISE_BASE_MEM_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

/* n * size bytes, overflow checked. mem_alloc leaves them undefined, mem_zalloc clears them.
 * Owned by the caller, free with free(). A zero size gives a pointer that may be freed. */
void *mem_alloc(size_t n, size_t size);
void *mem_zalloc(size_t n, size_t size);
void *mem_realloc(void *p, size_t n, size_t size);
void *mem_dup(const void *p, size_t len);
char *mem_strdup(const char *s);
char *mem_strndup(const char *s, size_t len); /* NUL appended */
char *mem_printf(const char *fmt, ...) RAISE_PRINTF(1, 2);

/* 64-byte aligned, undefined content; large blocks ask for huge pages. free() releases. */
void *mem_aligned(size_t bytes);
void *mem_try_aligned(size_t bytes); /* the same, or NULL where the system refuses */

/* Makes room for at least `need` elements; grows by half. *cap is in elements. */
#define MEM_GROW(ptr, cap, need)                                                               \
    ((ptr) = mem_grow((ptr), &(cap), (size_t)(need), sizeof *(ptr)))
void *mem_grow(void *p, size_t *cap, size_t need, size_t size);

struct buf {
    char *data; /* owned; free with buf_free */
    size_t len; /* bytes in use */
    size_t cap;
};
void buf_append(struct buf *b, const void *p, size_t len);
void buf_puts(struct buf *b, const char *s);
void buf_putc(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) RAISE_PRINTF(2, 3);
void buf_vprintf(struct buf *b, const char *fmt, va_list ap) RAISE_PRINTF(2, 0);
/* Appends a NUL that is not counted in len; returns data (never NULL). */
char *buf_str(struct buf *b);
void buf_free(struct buf *b); /* leaves an empty, usable buf */

/* Peak resident memory of this process, in bytes (0 where unknown). */
int64_t mem_peak_bytes(void);
/* Memory that this process may still take, in bytes; 0: unknown, at least 1 otherwise. The
 * least of: what the machine has (MemAvailable), what each control group above the process
 * leaves, cgroup v2 or v1, nested or not, where the cache of files, which makes room, is not
 * counted as used; and the limit of its address space (ulimit -v). */
int64_t mem_available_bytes(void);
/* The first two, with /proc and /sys/fs/cgroup taken from below `root`: for tests. */
int64_t mem_available_under(const char *root);

#endif
