/* SPDX-License-Identifier: MIT
 * pack: zstd and gzip (zlib) before an outfile; see pack.h. */
#include "stream/pack.h"

#include "base/file.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <zstd.h>

enum kind { KIND_PLAIN, KIND_ZSTD, KIND_GZIP };
enum { OUT_BYTES = 1 << 17, IN_BYTES = 1 << 30 };

struct pack {
    struct outfile *out;
    enum kind kind;
    ZSTD_CCtx *zstd;
    z_stream gzip;
    char *buf; /* OUT_BYTES */
};

static enum kind kind_of(const char *path, size_t *len)
{
    size_t n = file_is_std(path) ? 0 : strlen(path);
    *len = n;
    if (n > 4 && strcmp(path + n - 4, ".zst") == 0) {
        *len = n - 4;
        return KIND_ZSTD;
    }
    if (n > 3 && strcmp(path + n - 3, ".gz") == 0) {
        *len = n - 3;
        return KIND_GZIP;
    }
    return KIND_PLAIN;
}

size_t pack_name_len(const char *path)
{
    size_t len;
    (void)kind_of(path, &len);
    return len;
}

struct pack *pack_open(const char *path, struct err *e)
{
    struct pack *p = mem_zalloc(1, sizeof *p);
    size_t len;
    bool is_well = true;
    p->kind = kind_of(path, &len);
    p->buf = mem_alloc(OUT_BYTES, 1);
    if (p->kind == KIND_ZSTD)
        is_well = (p->zstd = ZSTD_createCCtx()) &&
                  !ZSTD_isError(ZSTD_CCtx_setParameter(p->zstd, ZSTD_c_checksumFlag, 1));
    else if (p->kind == KIND_GZIP) /* gzip's header; zlib leaves its time 0 */
        is_well = deflateInit2(&p->gzip, Z_DEFAULT_COMPRESSION, Z_DEFLATED, 15 + 16, 8,
                               Z_DEFAULT_STRATEGY) == Z_OK;
    if (!is_well)
        err_set(e, ERR_UNSUPPORTED, "%s: cannot set up the compressor", file_name_out(path));
    else
        p->out = outfile_open(path, e);
    if (p->out)
        return p;
    pack_abort(p);
    return NULL;
}

static void pack_free(struct pack *p)
{
    ZSTD_freeCCtx(p->zstd);
    if (p->kind == KIND_GZIP)
        deflateEnd(&p->gzip);
    free(p->buf);
    free(p);
}

static int write_zstd(struct pack *p, const void *data, size_t n, bool is_end, struct err *e)
{
    ZSTD_inBuffer in = {data, n, 0};
    size_t left = 1;
    int rc = 0;
    while (rc == 0 && (is_end ? left > 0 : in.pos < in.size)) {
        ZSTD_outBuffer out = {p->buf, OUT_BYTES, 0};
        left = ZSTD_compressStream2(p->zstd, &out, &in, is_end ? ZSTD_e_end : ZSTD_e_continue);
        if (ZSTD_isError(left))
            return err_set(e, ERR_IO, "zstd: %s", ZSTD_getErrorName(left));
        rc = outfile_write(p->out, p->buf, out.pos, e);
    }
    return rc;
}

static int write_gzip(struct pack *p, const void *data, size_t n, bool is_end, struct err *e)
{
    z_stream *z = &p->gzip;
    int code = Z_OK, rc = 0;
    z->next_in = (unsigned char *)(uintptr_t)data;
    z->avail_in = (unsigned)n;
    while (rc == 0 && (is_end ? code != Z_STREAM_END : z->avail_in > 0)) {
        z->next_out = (unsigned char *)p->buf;
        z->avail_out = OUT_BYTES;
        code = deflate(z, is_end ? Z_FINISH : Z_NO_FLUSH);
        rc = outfile_write(p->out, p->buf, OUT_BYTES - z->avail_out, e);
    }
    return rc;
}

static int step(struct pack *p, const void *data, size_t n, bool is_end, struct err *e)
{
    switch (p->kind) {
    case KIND_ZSTD:
        return write_zstd(p, data, n, is_end, e);
    case KIND_GZIP:
        return write_gzip(p, data, n, is_end, e);
    case KIND_PLAIN:
        break;
    }
    return outfile_write(p->out, data, n, e);
}

int pack_write(struct pack *p, const void *data, size_t n, struct err *e)
{
    const char *at = data;
    int rc = 0;
    for (size_t k; rc == 0 && n > 0; at += k, n -= k) {
        k = n < IN_BYTES ? n : IN_BYTES; /* zlib counts in 32 bits */
        rc = step(p, at, k, false, e);
    }
    return rc;
}

int pack_commit(struct pack *p, struct err *e)
{
    int rc = step(p, "", 0, true, e);
    if (rc < 0)
        outfile_abort(p->out);
    else
        rc = outfile_commit(p->out, e);
    pack_free(p);
    return rc;
}

void pack_abort(struct pack *p)
{
    if (!p)
        return;
    outfile_abort(p->out);
    pack_free(p);
}
