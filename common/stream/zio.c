/* SPDX-License-Identifier: MIT
 * zio: bytes in, decompressed where they are zstd, gzip or xz; see zio.h. */
#include "stream/zio.h"

#include "base/file.h"
#include "base/guard.h"
#include "base/limit.h"
#include "base/mem.h"
#include "stream/unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>

enum { IN_BYTES = 1 << 17 };

struct zin {
    int fd;
    char *name;
    bool is_at_end, is_unbounded;
    int64_t size;          /* of a file that is read from its start, else -1 */
    struct unpack *unpack; /* NULL: plain */
    char *buf;             /* input bytes [pos, len) not yet taken */
    size_t pos, len, cap;
    int64_t n_in, n_out; /* bytes read, and handed out */
    struct stat st;      /* of a regular file, when it was opened */
    bool is_regular;
    XXH64_state_t *hash;
};

/* Reads more behind what is there; sets is_at_end. */
static int refill(struct zin *z, struct err *e)
{
    if (z->pos == z->len)
        z->pos = z->len = 0;
    ssize_t n;
    do
        n = read(z->fd, z->buf + z->len, z->cap - z->len);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return err_set_errno(e, "%s", z->name);
    z->is_at_end = !n;
    z->len += (size_t)n;
    z->n_in += n;
    return 0;
}

static int64_t size_from_start(int fd)
{
    struct stat st;
    bool is_it = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && lseek(fd, 0, SEEK_CUR) == 0;
    return is_it ? st.st_size : -1;
}

struct zin *zin_open(const char *path, struct err *e)
{
    struct zin *z = mem_zalloc(1, sizeof *z);
    z->name = mem_strdup(file_name_in(path));
    z->fd = file_is_std(path) ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (z->fd < 0) {
        err_set_errno(e, "%s", z->name);
        goto fail;
    }
    z->is_regular = !fstat(z->fd, &z->st) && S_ISREG(z->st.st_mode);
    z->cap = IN_BYTES;
    z->buf = mem_alloc(z->cap, 1);
    z->hash = XXH64_createState();
    XXH64_reset(z->hash, 0);
    z->size = size_from_start(z->fd);
    while (z->len < UNPACK_HEAD && !z->is_at_end)
        if (refill(z, e) < 0)
            goto fail;
    if (unpack_new(&z->unpack, z->buf, z->len, e) < 0) {
        err_prefix(e, "%s", z->name);
        goto fail;
    }
    return z;
fail:
    zin_close(z);
    return NULL;
}

int64_t zin_taken(const struct zin *z)
{
    return z->n_in;
}

void zin_close(struct zin *z)
{
    if (!z)
        return;
    if (z->fd > STDIN_FILENO)
        close(z->fd);
    XXH64_freeState(z->hash);
    unpack_free(z->unpack);
    free(z->buf);
    free(z->name);
    free(z);
}

static int64_t read_plain(struct zin *z, void *dst, size_t cap, struct err *e)
{
    if (z->pos == z->len && !z->is_at_end && refill(z, e) < 0)
        return ERR_IO;
    size_t n = z->len - z->pos < cap ? z->len - z->pos : cap;
    memcpy(dst, z->buf + z->pos, n);
    z->pos += n;
    return (int64_t)n;
}

static int64_t read_packed(struct zin *z, void *dst, size_t cap, struct err *e)
{
    struct unpack *u = z->unpack;
    struct unpack_step s = {.out = dst, .out_len = cap};
    while (!s.out_used) {
        if (z->pos == z->len && !z->is_at_end && refill(z, e) < 0)
            return ERR_IO;
        if (z->pos == z->len && unpack_is_between(u))
            break;
        /* With no input left the decoder may still hold output. */
        s.in = z->buf + z->pos;
        s.in_len = z->len - z->pos;
        if (unpack_step(u, &s) < 0)
            return err_set(e, ERR_FORMAT, "%s: corrupt %s data near byte %" PRId64 ": %s",
                           z->name, unpack_name(u), z->n_in - (int64_t)(z->len - z->pos),
                           s.why);
        if (!s.in_used && !s.out_used && z->is_at_end)
            return err_set(e, ERR_TRUNCATED, "%s: truncated %s data (%" PRId64 " bytes)",
                           z->name, unpack_name(u), z->n_in);
        z->pos += s.in_used;
    }
    return (int64_t)s.out_used;
}

/* At the end: what was read is a file that there was. */
static int check_unchanged(const struct zin *z, struct err *e)
{
    struct stat now;
    if (!z->is_regular || (!fstat(z->fd, &now) && guard_is_same(&z->st, &now)))
        return 0;
    return err_set(e, ERR_IO, "%s: changed while it was read", z->name);
}

int64_t zin_read(struct zin *z, void *dst, size_t cap, struct err *e)
{
    if (!cap)
        return 0;
    int64_t n = z->unpack ? read_packed(z, dst, cap, e) : read_plain(z, dst, cap, e);
    if (n <= 0)
        return n ? n : check_unchanged(z, e);
    XXH64_update(z->hash, dst, (size_t)n);
    z->n_out += n;
    int rc =
        z->is_unbounded ? 0 : limit_unfold(z->n_in, z->n_out, LIMIT_TEXT_RATIO, z->name, e);
    return rc ? rc : n;
}

void zin_unbound(struct zin *z)
{
    z->is_unbounded = true;
}

int64_t zin_size(const struct zin *z)
{
    return z->unpack ? -1 : z->size;
}

uint64_t zin_hash(const struct zin *z)
{
    return XXH64_digest(z->hash);
}

int zin_read_all(const char *path, char **data, size_t *len, uint64_t *hash, struct err *e)
{
    struct zin *z = zin_open(path, e);
    if (!z)
        return e ? e->code : ERR_IO;
    struct buf b = {0};
    int64_t n = 0;
    do {
        if (b.cap - b.len < (1 << 17) + 1 &&
            (n = limit_room(b.cap / 2 + (1 << 17), z->name, e)) < 0)
            break;
        MEM_GROW(b.data, b.cap, b.len + (1 << 17) + 1);
        n = zin_read(z, b.data + b.len, b.cap - b.len - 1, e);
        if (n > 0)
            b.len += (size_t)n;
    } while (n > 0);
    if (hash)
        *hash = zin_hash(z);
    zin_close(z);
    if (n < 0) {
        buf_free(&b);
        return (int)n;
    }
    *data = buf_str(&b);
    *len = b.len;
    return 0;
}
