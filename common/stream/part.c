/* SPDX-License-Identifier: MIT
 * part: finished pieces of a long run, on disk; see part.h. */
#include "stream/part.h"

#include "base/file.h"
#include "base/mem.h"
#include "stream/st_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>

static const char magic[] = "RAISEPRT";
enum { MAGIC_LEN = 8, ENTRY_HEAD = 16 };

struct part_entry {
    int64_t at;
    size_t len;
};

struct part {
    int fd;
    char *path;
    struct part_entry *entry;
    size_t n_entries, cap;
    int64_t end; /* of the last whole entry */
};

static int write_at(struct part *p, const void *data, size_t len, int64_t at, struct err *e)
{
    const char *s = data;
    while (len) {
        ssize_t n = pwrite(p->fd, s, len, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(e, "%s", p->path);
        s += n;
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

static int read_at(struct part *p, void *data, size_t len, int64_t at, struct err *e)
{
    char *s = data;
    while (len) {
        ssize_t n = pread(p->fd, s, len, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(e, "%s", p->path);
        if (!n)
            return err_set(e, ERR_TRUNCATED, "%s: truncated", p->path);
        s += n;
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

static int sync_part(struct part *p, struct err *e)
{
    return fdatasync(p->fd) < 0 ? err_set_errno(e, "%s", p->path) : 0;
}

static int start_anew(struct part *p, const char *parameters, struct err *e)
{
    struct buf b = {0};
    size_t len = strlen(parameters);
    buf_append(&b, magic, MAGIC_LEN);
    st_put_u64(&b, len);
    buf_append(&b, parameters, len);
    st_put_u64(&b, XXH64(parameters, len, 0));
    int rc = 0;
    if (ftruncate(p->fd, 0) < 0)
        rc = err_set_errno(e, "%s", p->path);
    if (!rc)
        rc = write_at(p, b.data, b.len, 0, e);
    if (!rc)
        rc = sync_part(p, e);
    p->n_entries = 0;
    p->end = (int64_t)b.len;
    buf_free(&b);
    return rc;
}

/* Names the first line in which the two lists differ. */
static int say_difference(const struct part *p, const char *was, const char *now, struct err *e)
{
    while (*was || *now) {
        size_t n = strcspn(was, "\n"), m = strcspn(now, "\n");
        if (n != m || strncmp(was, now, n)) {
            return err_set(e, ERR_MISMATCH,
                           "%s: of another run: it had %.*s, this one has %.*s (remove it "
                           "to start anew: --no-resume)",
                           p->path, n ? (int)n : 12, n ? was : "nothing more", m ? (int)m : 12,
                           m ? now : "nothing more");
        }
        was += n + (was[n] == '\n');
        now += m + (now[m] == '\n');
    }
    return err_set(e, ERR_MISMATCH,
                   "%s: of another version's run (remove it to start anew: --no-resume)",
                   p->path);
}

/* 1: the header is whole and this run's; 0: there is none that could be continued; < 0. */
static int read_header(struct part *p, const char *parameters, int64_t size, struct err *e)
{
    unsigned char head[MAGIC_LEN + 8], sum[8];
    if (size < (int64_t)sizeof head)
        return 0;
    int rc = read_at(p, head, sizeof head, 0, e);
    if (rc)
        return rc;
    uint64_t len = st_get_u64(head + MAGIC_LEN);
    if (memcmp(head, magic, MAGIC_LEN))
        return err_set(e, ERR_FORMAT, "%s: not a part of an unfinished run", p->path);
    if (len > (uint64_t)size || size < (int64_t)(sizeof head + len + sizeof sum))
        return 0;
    char *was = mem_zalloc((size_t)len + 1, 1);
    rc = read_at(p, was, (size_t)len, (int64_t)sizeof head, e);
    if (!rc)
        rc = read_at(p, sum, sizeof sum, (int64_t)(sizeof head + len), e);
    if (!rc && XXH64(was, (size_t)len, 0) == st_get_u64(sum)) {
        p->end = (int64_t)(sizeof head + len + sizeof sum);
        rc = strcmp(was, parameters) ? say_difference(p, was, parameters, e) : 1;
    }
    free(was);
    return rc;
}

static void add_entry(struct part *p, size_t len)
{
    MEM_GROW(p->entry, p->cap, p->n_entries + 1);
    p->entry[p->n_entries++] = (struct part_entry){p->end + ENTRY_HEAD, len};
    p->end += ENTRY_HEAD + (int64_t)len;
}

/* Finds the whole entries, and cuts off what follows them. */
static int scan(struct part *p, int64_t size, struct err *e)
{
    while (size - p->end >= ENTRY_HEAD) {
        unsigned char head[ENTRY_HEAD];
        int rc = read_at(p, head, sizeof head, p->end, e);
        if (rc)
            return rc;
        uint64_t len = st_get_u64(head);
        if (len > (uint64_t)(size - p->end - ENTRY_HEAD))
            break;
        char *data = mem_alloc((size_t)len, 1);
        rc = read_at(p, data, (size_t)len, p->end + ENTRY_HEAD, e);
        bool is_whole = !rc && XXH64(data, (size_t)len, 0) == st_get_u64(head + 8);
        free(data);
        if (rc)
            return rc;
        if (!is_whole)
            break;
        add_entry(p, (size_t)len);
    }
    return ftruncate(p->fd, (off_t)p->end) < 0 ? err_set_errno(e, "%s", p->path) : 0;
}

struct part *part_open(const char *path, const char *parameters, bool is_resumed, struct err *e)
{
    struct part *p = mem_zalloc(1, sizeof *p);
    struct stat st;
    p->path = mem_strdup(path);
    p->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    int rc = 0;
    if (p->fd < 0 || fstat(p->fd, &st) < 0)
        rc = err_set_errno(e, "%s", path);
    else if (!S_ISREG(st.st_mode))
        rc = err_set(e, ERR_IO, "%s: not a regular file", path);
    else if (flock(p->fd, LOCK_EX | LOCK_NB) < 0)
        rc = errno == EWOULDBLOCK ? err_set(e, ERR_IO, "%s: another run is writing it", path)
                                  : err_set_errno(e, "%s", path);
    if (!rc && is_resumed)
        rc = read_header(p, parameters, (int64_t)st.st_size, e);
    if (rc > 0)
        rc = scan(p, (int64_t)st.st_size, e);
    else if (!rc && (rc = start_anew(p, parameters, e)) < 0)
        unlink(path);
    if (!rc)
        return p;
    part_close(p, false);
    return NULL;
}

int64_t part_n_entries(const struct part *p)
{
    return (int64_t)p->n_entries;
}

int part_put(struct part *p, const void *data, size_t len, struct err *e)
{
    struct buf head = {0};
    st_put_u64(&head, len);
    st_put_u64(&head, XXH64(data, len, 0));
    int rc = write_at(p, head.data, head.len, p->end, e);
    if (!rc)
        rc = write_at(p, data, len, p->end + ENTRY_HEAD, e);
    if (!rc)
        rc = sync_part(p, e);
    buf_free(&head);
    if (!rc)
        add_entry(p, len);
    else if (ftruncate(p->fd, (off_t)p->end) < 0)
        return rc; /* the scan of the next run cuts it off */
    return rc;
}

int part_get(struct part *p, int64_t i, char **data, size_t *len, struct err *e)
{
    *len = p->entry[i].len;
    *data = mem_alloc(*len, 1);
    int rc = read_at(p, *data, *len, p->entry[i].at, e);
    if (rc)
        free(*data);
    return rc;
}

void part_close(struct part *p, bool is_done)
{
    if (!p)
        return;
    if (is_done)
        unlink(p->path);
    if (p->fd >= 0)
        close(p->fd);
    free(p->path);
    free(p->entry);
    free(p);
}
