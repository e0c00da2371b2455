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

void *mem_aligned(size_t bytes)
{
    enum { HUGE_PAGE = 2 << 20 };
    size_t align = bytes >= HUGE_PAGE ? HUGE_PAGE : 64;
    size_t size = (bytes + align - 1) / align * align;
    void *p = NULL;
    if (posix_memalign(&p, align, size ? size : align))
        die(bytes, 1);
    if (align == HUGE_PAGE)
        (void)madvise(p, size, MADV_HUGEPAGE); /* an optimisation: failure changes nothing */
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
    char *s = NULL;
    int n = vasprintf(&s, fmt, ap);
    va_end(ap);
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

static int64_t read_number(const char *path)
{
    FILE *f = fopen(path, "r");
    long long v = -1;
    if (f) {
        if (fscanf(f, "%lld", &v) != 1)
            v = -1;
        fclose(f);
    }
    return (int64_t)v;
}

int64_t mem_available_bytes(void)
{
    int64_t avail = 0;
    FILE *f = fopen("/proc/meminfo", "r");
    if (f) {
        char line[256];
        long long kib;
        while (fgets(line, sizeof line, f))
            if (sscanf(line, "MemAvailable: %lld kB", &kib) == 1)
                avail = (int64_t)kib * 1024;
        fclose(f);
    }
    int64_t max = read_number("/sys/fs/cgroup/memory.max");
    int64_t used = read_number("/sys/fs/cgroup/memory.current");
    if (max > 0 && used >= 0 && max - used < avail)
        avail = max - used;
    return avail;
}
