/* SPDX-License-Identifier: MIT
 * zio: bytes in, decompressed where they are zstd; see zio.h. */
#include "stream/zio.h"

#include "base/file.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <xxhash.h>
#include <zstd.h>

struct zin {
    int fd;
    char *name;
    bool is_zstd, is_at_end;
    bool is_in_frame; /* the frame begun has not ended */
    ZSTD_DCtx *dctx;
    char *buf; /* input bytes [pos, len) not yet taken */
    size_t pos, len, cap;
    int64_t n_in; /* bytes read */
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

/* A frame, or a skippable frame, as some writers put before the first. */
static bool is_zstd_magic(const char *s)
{
    const unsigned char *p = (const unsigned char *)s;
    return (p[0] == 0x28 && p[1] == 0xB5 && p[2] == 0x2F && p[3] == 0xFD) ||
           ((p[0] & 0xF0) == 0x50 && p[1] == 0x2A && p[2] == 0x4D && p[3] == 0x18);
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
    z->cap = ZSTD_DStreamInSize();
    z->buf = mem_alloc(z->cap, 1);
    z->hash = XXH64_createState();
    z->dctx = ZSTD_createDCtx();
    if (!z->hash || !z->dctx) {
        err_set(e, ERR_UNSUPPORTED, "%s: cannot set up zstd", z->name);
        goto fail;
    }
    XXH64_reset(z->hash, 0);
    while (z->len < 4 && !z->is_at_end)
        if (refill(z, e) < 0)
            goto fail;
    z->is_zstd = z->len >= 4 && is_zstd_magic(z->buf);
    return z;
fail:
    zin_close(z);
    return NULL;
}

void zin_close(struct zin *z)
{
    if (!z)
        return;
    if (z->fd > STDIN_FILENO)
        close(z->fd);
    XXH64_freeState(z->hash);
    ZSTD_freeDCtx(z->dctx);
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

static int64_t read_zstd(struct zin *z, void *dst, size_t cap, struct err *e)
{
    ZSTD_outBuffer out = {dst, cap, 0};
    while (!out.pos) {
        if (z->pos == z->len && !z->is_at_end && refill(z, e) < 0)
            return ERR_IO;
        if (z->pos == z->len && !z->is_in_frame)
            break;
        /* With no input left the decoder may still hold output of the frame. */
        ZSTD_inBuffer in = {z->buf, z->len, z->pos};
        size_t left = ZSTD_decompressStream(z->dctx, &out, &in);
        if (ZSTD_isError(left))
            return err_set(e, ERR_FORMAT, "%s: corrupt zstd data near byte %" PRId64 ": %s",
                           z->name, z->n_in - (int64_t)(z->len - z->pos),
                           ZSTD_getErrorName(left));
        if (in.pos == z->pos && !out.pos && z->is_at_end)
            return err_set(e, ERR_TRUNCATED, "%s: truncated zstd data (%" PRId64 " bytes)",
                           z->name, z->n_in);
        z->pos = in.pos;
        z->is_in_frame = left != 0;
    }
    return (int64_t)out.pos;
}

int64_t zin_read(struct zin *z, void *dst, size_t cap, struct err *e)
{
    if (!cap)
        return 0;
    int64_t n = z->is_zstd ? read_zstd(z, dst, cap, e) : read_plain(z, dst, cap, e);
    if (n > 0)
        XXH64_update(z->hash, dst, (size_t)n);
    return n;
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
    int64_t n;
    do {
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
