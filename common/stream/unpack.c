/* SPDX-License-Identifier: MIT
 * unpack: zstd, gzip (zlib) and xz (liblzma); see unpack.h. */
#include "stream/unpack.h"

#include "base/mem.h"

#include <lzma.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <zstd.h>

enum kind { KIND_ZSTD, KIND_GZIP, KIND_XZ };

/* xz -9 needs 65 MiB; a file that asks for gigabytes is refused. */
enum { XZ_MEMORY = 1 << 28 };

struct unpack {
    enum kind kind;
    bool is_between;
    ZSTD_DCtx *zstd;
    z_stream gzip;
    lzma_stream xz;
};

/* A frame, or a skippable frame, as some writers put before the first. */
static bool is_zstd(const unsigned char *p, size_t n)
{
    return n >= 4 && ((p[0] == 0x28 && p[1] == 0xB5 && p[2] == 0x2F && p[3] == 0xFD) ||
                      ((p[0] & 0xF0) == 0x50 && p[1] == 0x2A && p[2] == 0x4D && p[3] == 0x18));
}

static bool start(struct unpack *u)
{
    switch (u->kind) {
    case KIND_ZSTD:
        u->zstd = ZSTD_createDCtx();
        return u->zstd != NULL;
    case KIND_GZIP:
        return inflateInit2(&u->gzip, 15 + 16) == Z_OK; /* the largest window, gzip's header */
    case KIND_XZ:
        break;
    }
    return lzma_stream_decoder(&u->xz, XZ_MEMORY, 0) == LZMA_OK;
}

int unpack_new(struct unpack **u, const void *head, size_t len, struct err *e)
{
    *u = NULL;
    const unsigned char *p = head;
    enum kind kind;
    if (is_zstd(p, len))
        kind = KIND_ZSTD;
    else if (len >= 3 && memcmp(p, "\x1f\x8b\x08", 3) == 0)
        kind = KIND_GZIP;
    else if (len >= 6 && memcmp(p,
                                "\xfd"
                                "7zXZ\0",
                                6) == 0)
        kind = KIND_XZ;
    else
        return 0;
    struct unpack *new = mem_zalloc(1, sizeof *new);
    new->kind = kind;
    new->is_between = true;
    if (!start(new)) {
        unpack_free(new);
        return err_set(e, ERR_UNSUPPORTED, "cannot set up the decompressor");
    }
    *u = new;
    return 0;
}

void unpack_free(struct unpack *u)
{
    if (!u)
        return;
    ZSTD_freeDCtx(u->zstd);
    if (u->kind == KIND_GZIP)
        inflateEnd(&u->gzip);
    if (u->kind == KIND_XZ)
        lzma_end(&u->xz);
    free(u);
}

const char *unpack_name(const struct unpack *u)
{
    static const char *const names[] = {"zstd", "gzip", "xz"};
    return names[u->kind];
}

bool unpack_is_between(const struct unpack *u)
{
    return u->is_between;
}

static int step_zstd(struct unpack *u, struct unpack_step *s)
{
    ZSTD_inBuffer in = {s->in, s->in_len, 0};
    ZSTD_outBuffer out = {s->out, s->out_len, 0};
    size_t left = ZSTD_decompressStream(u->zstd, &out, &in);
    if (ZSTD_isError(left)) {
        s->why = ZSTD_getErrorName(left);
        return ERR_FORMAT;
    }
    s->in_used = in.pos;
    s->out_used = out.pos;
    u->is_between = left == 0;
    return 0;
}

static unsigned clip(size_t n)
{
    return n < 1u << 30 ? (unsigned)n : 1u << 30;
}

static int step_gzip(struct unpack *u, struct unpack_step *s)
{
    z_stream *z = &u->gzip;
    if (u->is_between && s->in_len > 0 && z->total_in > 0)
        inflateReset(z); /* the next member */
    unsigned n_in = clip(s->in_len), n_out = clip(s->out_len);
    z->next_in = (unsigned char *)(uintptr_t)s->in;
    z->avail_in = n_in;
    z->next_out = (unsigned char *)s->out;
    z->avail_out = n_out;
    int code = inflate(z, Z_NO_FLUSH);
    s->in_used = n_in - z->avail_in;
    s->out_used = n_out - z->avail_out;
    u->is_between = code == Z_STREAM_END;
    if (code == Z_OK || code == Z_STREAM_END || code == Z_BUF_ERROR)
        return 0;
    s->why = z->msg ? z->msg : "damaged";
    return ERR_FORMAT;
}

static const char *xz_error(lzma_ret code)
{
    return code == LZMA_MEMLIMIT_ERROR  ? "it needs more than 256 MiB of memory"
           : code == LZMA_OPTIONS_ERROR ? "it uses what liblzma does not know"
           : code == LZMA_FORMAT_ERROR  ? "no xz stream begins here"
                                        : "damaged";
}

static int step_xz(struct unpack *u, struct unpack_step *s)
{
    lzma_stream *z = &u->xz;
    if (u->is_between && s->in_len > 0 && z->total_in > 0) {
        if (s->in_len >= 4 && memcmp(s->in, "\0\0\0\0", 4) == 0) { /* padding of streams */
            s->in_used = 4;
            return 0;
        }
        if (lzma_stream_decoder(z, XZ_MEMORY, 0) != LZMA_OK) {
            s->why = "cannot set up the decompressor";
            return ERR_FORMAT;
        }
    }
    z->next_in = (const uint8_t *)s->in;
    z->avail_in = s->in_len;
    z->next_out = (uint8_t *)s->out;
    z->avail_out = s->out_len;
    lzma_ret code = lzma_code(z, LZMA_RUN);
    s->in_used = s->in_len - z->avail_in;
    s->out_used = s->out_len - z->avail_out;
    u->is_between = code == LZMA_STREAM_END;
    if (code == LZMA_OK || code == LZMA_STREAM_END || code == LZMA_BUF_ERROR)
        return 0;
    s->why = xz_error(code);
    return ERR_FORMAT;
}

int unpack_step(struct unpack *u, struct unpack_step *s)
{
    s->in_used = s->out_used = 0;
    switch (u->kind) {
    case KIND_ZSTD:
        return step_zstd(u, s);
    case KIND_GZIP:
        return step_gzip(u, s);
    case KIND_XZ:
        break;
    }
    return step_xz(u, s);
}
