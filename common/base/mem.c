/* SPDX-License-Identifier: MIT
 * mem: memory; see mem.h. */
#define _GNU_SOURCE /* MADV_HUGEPAGE */
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

static RAISE_NORETURN void die(size_t n, size_t size)
{
    fprintf(stderr, "raise: out of memory: %zu x %zu bytes asked for\n", n, size);
    exit(1);
}

void *mem_alloc(size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes))
        die(n, size);
    void *p = malloc(bytes ? bytes : 1);
    if (!p)
        die(n, size);
    return p;
}

void *mem_zalloc(size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size ? size : 1);
    if (!p)
        die(n, size);
    return p;
}

void *mem_realloc(void *p, size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes))
        die(n, size);
    void *q = realloc(p, bytes ? bytes : 1);
    if (!q)
        die(n, size);
    return q;
}

void *mem_dup(const void *p, size_t len)
{
    void *q = mem_alloc(len, 1);
    if (len)
        memcpy(q, p, len);
    return q;
}

char *mem_strndup(const char *s, size_t len)
{
    char *q = mem_alloc(len + 1, 1);
    if (len)
        memcpy(q, s, len);
    q[len] = '\0';
    return q;
}

char *mem_strdup(const char *s)
{
    return mem_strndup(s, strlen(s));
}

char *mem_printf(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *s = NULL;
    int n = vasprintf(&s, fmt, ap);
    va_end(ap);
    if (n < 0)
        die(strlen(fmt), 1);
    return s;
}

void *mem_try_aligned(size_t bytes)
{
    const size_t huge_page = (size_t)2 << 20;
    size_t align = bytes >= huge_page ? huge_page : 64;
    void *p = NULL;
    if (bytes > SIZE_MAX - align)
        return NULL;
    size_t size = (bytes + align - 1) / align * align;
    if (posix_memalign(&p, align, size ? size : align))
        return NULL;
    if (align == huge_page)
        (void)madvise(p, size, MADV_HUGEPAGE); /* an optimisation: failure changes nothing */
    return p;
}

void *mem_aligned(size_t bytes)
{
    void *p = mem_try_aligned(bytes);
    if (!p)
        die(bytes, 1);
    return p;
}

void *mem_grow(void *p, size_t *cap, size_t need, size_t size)
{
    if (need <= *cap)
        return p;
    size_t n = *cap + *cap / 2;
    if (n < need)
        n = need;
    if (n < 16)
        n = 16;
    p = mem_realloc(p, n, size);
    *cap = n;
    return p;
}

void buf_append(struct buf *b, const void *p, size_t len)
{
    MEM_GROW(b->data, b->cap, b->len + len);
    if (len)
        memcpy(b->data + b->len, p, len);
    b->len += len;
}

void buf_puts(struct buf *b, const char *s)
{
    buf_append(b, s, strlen(s));
}

void buf_putc(struct buf *b, char c)
{
    buf_append(b, &c, 1);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(b, fmt, ap);
    va_end(ap);
}

void buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
    char *s = NULL;
    int n = vasprintf(&s, fmt, ap);
    if (n < 0)
        die(strlen(fmt), 1);
    buf_append(b, s, (size_t)n);
    free(s);
}

char *buf_str(struct buf *b)
{
    MEM_GROW(b->data, b->cap, b->len + 1);
    b->data[b->len] = '\0';
    return b->data;
}

void buf_free(struct buf *b)
{
    free(b->data);
    memset(b, 0, sizeof *b);
}

int64_t mem_peak_bytes(void)
{
    struct rusage ru;
    return getrusage(RUSAGE_SELF, &ru) ? 0 : (int64_t)ru.ru_maxrss * 1024;
}
