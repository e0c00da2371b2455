/* SPDX-License-Identifier: MIT
 * spool: memory first, then a file without a name; see spool.h. */
#include "stream/spool.h"

#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct spool {
    struct buf kept;
    int fd; /* -1: all is in `kept` */
    int64_t size;
};

struct spool *spool_new(void)
{
    struct spool *s = mem_zalloc(1, sizeof *s);
    s->fd = -1;
    return s;
}

void spool_free(struct spool *s)
{
    if (!s)
        return;
    if (s->fd >= 0)
        close(s->fd);
    buf_free(&s->kept);
    free(s);
}

int64_t spool_size(const struct spool *s)
{
    return s->size;
}

static const char *folder(void)
{
    const char *dir = getenv("TMPDIR");
    return dir && *dir ? dir : "/var/tmp"; /* /tmp is memory on many machines */
}

static int write_all(int fd, const char *p, size_t n, struct err *e)
{
    while (n > 0) {
        ssize_t k = write(fd, p, n);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return err_set_errno(
                e,
                "%s (TMPDIR): a dataset that is compressed or comes through a pipe is kept "
                "here while it is read",
                folder());
        p += k;
        n -= (size_t)k;
    }
    return 0;
}

/* What was kept goes to a file, whose name goes at once. */
static int to_file(struct spool *s, struct err *e)
{
    char *path = mem_printf("%s/raise-XXXXXX", folder());
    s->fd = mkstemp(path);
    int rc = s->fd < 0 ? err_set_errno(e, "%s", path) : 0;
    if (rc == 0)
        unlink(path);
    free(path);
    if (rc == 0)
        rc = write_all(s->fd, s->kept.data, s->kept.len, e);
    buf_free(&s->kept);
    return rc;
}

int spool_append(struct spool *s, const void *p, size_t n, struct err *e)
{
    int rc = 0;
    if (s->fd < 0 && s->size + (int64_t)n > SPOOL_MEMORY)
        rc = to_file(s, e);
    if (rc == 0 && s->fd >= 0)
        rc = write_all(s->fd, p, n, e);
    else if (rc == 0)
        buf_append(&s->kept, p, n);
    s->size += (int64_t)n;
    return rc;
}

int64_t spool_pread(int fd, int64_t at, void *dst, size_t n, const char *name, struct err *e)
{
    size_t got = 0;
    while (got < n) {
        ssize_t k = pread(fd, (char *)dst + got, n - got, at + (int64_t)got);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return err_set_errno(e, "%s", name);
        if (k == 0)
            break;
        got += (size_t)k;
    }
    return (int64_t)got;
}

int64_t spool_read(const struct spool *s, int64_t at, void *dst, size_t n, struct err *e)
{
    if (s->fd >= 0)
        return spool_pread(s->fd, at, dst, n, folder(), e);
    size_t left = at < s->size ? (size_t)(s->size - at) : 0;
    n = n < left ? n : left;
    if (n)
        memcpy(dst, s->kept.data + at, n);
    return (int64_t)n;
}
