/* SPDX-License-Identifier: MIT
 * st_write: messages out, a zstd frame each, then digest and seek table; see st.h.
 *
 * Nothing is held back: a shard goes out as it is compressed, so a pipe's reader can start.
 * Compression always runs in libzstd's worker threads (at least one): with none the frames have
 * other bytes, with one or more they are the same for any number. */
#include "stream/st_priv.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>
#include <zstd.h>

enum { LEVEL = 3, MAX_FRAMES = 0x8000000 - 1 /* seekable format's limit, less the digest */ };

struct st_writer {
    struct outfile *out;
    char *name; /* for messages */
    bool is_plain;
    size_t data_max; /* a frame's bytes of tensors; more are split */
    ZSTD_CCtx *cctx;
    char *chunk; /* compressed bytes on their way out */
    size_t chunk_cap;
    unsigned char tail[4]; /* the last bytes written: a frame ends with its checksum */
    XXH64_state_t *digest;
    struct st_entry *entry;
    size_t n_entries, entry_cap;
};

static void writer_free(struct st_writer *w)
{
    ZSTD_freeCCtx(w->cctx);
    XXH64_freeState(w->digest);
    free(w->chunk);
    free(w->entry);
    free(w->name);
    free(w);
}

static bool set_parameters(ZSTD_CCtx *c)
{
    int n_threads = omp_get_max_threads();
    /* A libzstd without threads refuses workers, and still compresses. */
    (void)ZSTD_CCtx_setParameter(c, ZSTD_c_nbWorkers, n_threads < 1 ? 1 : n_threads);
    return !ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, LEVEL)) &&
           !ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, 1)) &&
           !ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1));
}

struct st_writer *st_writer_open(const char *path, int flags, struct err *e)
{
    if (file_refuse_tty(path, e) < 0)
        return NULL;
    struct outfile *out = outfile_open(path, e);
    if (!out)
        return NULL;
    struct st_writer *w = mem_zalloc(1, sizeof *w);
    w->out = out;
    w->name = mem_strdup(file_name_out(path));
    w->is_plain = flags & ST_PLAIN;
    w->data_max = ST_FRAME_MAX - ST_HEADER_MAX - 16;
    if (w->is_plain)
        return w;
    w->cctx = ZSTD_createCCtx();
    w->digest = XXH64_createState();
    if (!w->cctx || !w->digest || !set_parameters(w->cctx)) {
        err_set(e, ERR_UNSUPPORTED, "%s: cannot set up zstd", w->name);
        st_writer_abort(w);
        return NULL;
    }
    XXH64_reset(w->digest, 0);
    w->chunk_cap = ZSTD_CStreamOutSize();
    w->chunk = mem_alloc(w->chunk_cap, 1);
    return w;
}

void st_writer_set_data_max(struct st_writer *w, size_t bytes)
{
    w->data_max = bytes;
}

static void keep_tail(struct st_writer *w, const char *p, size_t len)
{
    size_t n = len < 4 ? len : 4;
    memmove(w->tail, w->tail + n, 4 - n);
    memcpy(w->tail + 4 - n, p + len - n, n);
}

/* Feeds bytes of the present frame; `end` with ZSTD_e_end closes it. */
static int compress(struct st_writer *w, const void *p, size_t len, ZSTD_EndDirective end,
                    struct err *e)
{
    ZSTD_inBuffer in = {p, len, 0};
    for (;;) {
        ZSTD_outBuffer out = {w->chunk, w->chunk_cap, 0};
        size_t left = ZSTD_compressStream2(w->cctx, &out, &in, end);
        if (ZSTD_isError(left))
            return err_set(e, ERR_IO, "%s: zstd: %s", w->name, ZSTD_getErrorName(left));
        if (out.pos) {
            XXH64_update(w->digest, w->chunk, out.pos);
            keep_tail(w, w->chunk, out.pos);
            int rc = outfile_write(w->out, w->chunk, out.pos, e);
            if (rc < 0)
                return rc;
        }
        if (end == ZSTD_e_end ? !left : in.pos == in.size)
            return 0;
    }
}

static int put_frame(struct st_writer *w, const struct st_msg *m, const struct buf *header,
                     const size_t *order, struct err *e)
{
    size_t size = header->len + st_data_len(m);
    int64_t start = outfile_tell(w->out);
    if (w->n_entries == MAX_FRAMES)
        return err_set(e, ERR_RANGE, "%s: more than %d shards", w->name, (int)MAX_FRAMES);
    ZSTD_CCtx_reset(w->cctx, ZSTD_reset_session_only);
    ZSTD_CCtx_setPledgedSrcSize(w->cctx, size);
    int rc = compress(w, header->data, header->len, ZSTD_e_continue, e);
    for (size_t i = 0; !rc && i < m->n_tensors; i++) {
        const struct st_tensor *x = &m->tensor[order[i]];
        rc = compress(w, x->data, x->len, ZSTD_e_continue, e);
    }
    if (!rc)
        rc = compress(w, "", 0, ZSTD_e_end, e);
    if (rc)
        return rc;
    MEM_GROW(w->entry, w->entry_cap, w->n_entries + 1);
    w->entry[w->n_entries++] = (struct st_entry){(uint32_t)(outfile_tell(w->out) - start),
                                                 (uint32_t)size, st_get_u32(w->tail)};
    return 0;
}

static int put_plain(struct st_writer *w, const struct st_msg *m, const struct buf *header,
                     const size_t *order, struct err *e)
{
    if (outfile_tell(w->out) > 0)
        return err_set(e, ERR_RANGE, "%s: a plain file holds one shard only", w->name);
    int rc = outfile_write(w->out, header->data, header->len, e);
    for (size_t i = 0; !rc && i < m->n_tensors; i++)
        rc = outfile_write(w->out, m->tensor[order[i]].data, m->tensor[order[i]].len, e);
    return rc;
}

static int put_one(struct st_writer *w, const struct st_msg *m, struct err *e)
{
    struct buf header = {0};
    size_t *order;
    st_put_header(&header, m, &order);
    int rc = 0;
    if (header.len - 8 > ST_HEADER_MAX)
        rc = err_set(e, ERR_RANGE, "%s: a header of %zu bytes; at most %d", w->name,
                     header.len - 8, (int)ST_HEADER_MAX);
    else
        rc = w->is_plain ? put_plain(w, m, &header, order, e)
                         : put_frame(w, m, &header, order, e);
    free(order);
    buf_free(&header);
    return rc;
}

/* Rows of a message that must be split, or -1 when it cannot be: every tensor that is not whole
 * must have the same number of rows. */
static int64_t splittable_rows(const struct st_msg *m, const char *whole)
{
    int64_t n = -1;
    for (size_t i = 0; i < m->n_tensors; i++) {
        const struct st_tensor *x = &m->tensor[i];
        if (st_list_has(whole, x->name))
            continue;
        if (!x->n_dims || (n >= 0 && x->shape[0] != n))
            return -1;
        n = x->shape[0];
    }
    return n;
}

static struct st_msg *rows_of(const struct st_msg *m, const char *whole, int64_t from,
                              int64_t n)
{
    struct st_msg *part = st_msg_new();
    for (size_t i = 0; i < m->n_meta; i++)
        st_msg_set_meta(part, m->meta[i].key, m->meta[i].value);
    for (size_t i = 0; i < m->n_tensors; i++) {
        struct st_tensor x = m->tensor[i];
        const char *data = x.data;
        if (!st_list_has(whole, x.name)) {
            data += x.len / (size_t)x.shape[0] * (size_t)from;
            x.shape[0] = n;
        }
        st_msg_add(part, x.name, x.dtype, x.n_dims, x.shape, data);
    }
    return part;
}

/* A message too large for a frame goes out as several of equal rows. */
static int put_split(struct st_writer *w, const struct st_msg *m, size_t limit, struct err *e)
{
    const char *whole = st_msg_meta(m, "raise.whole");
    int64_t n_rows = splittable_rows(m, whole);
    size_t fixed = 0, len = st_data_len(m);
    for (size_t i = 0; i < m->n_tensors; i++)
        if (st_list_has(whole, m->tensor[i].name))
            fixed += m->tensor[i].len;
    size_t row = n_rows > 0 ? (len - fixed) / (size_t)n_rows : 0;
    int64_t step = row && fixed < limit ? (int64_t)((limit - fixed) / row) : 0;
    if (step < 1)
        return err_set(e, ERR_RANGE,
                       "%s: %zu bytes do not fit a frame and cannot be split by rows", w->name,
                       len);
    int rc = 0;
    for (int64_t at = 0; !rc && at < n_rows; at += step) {
        struct st_msg *part = rows_of(m, whole, at, n_rows - at < step ? n_rows - at : step);
        rc = put_one(w, part, e);
        st_msg_free(part);
    }
    return rc;
}

int st_writer_put(struct st_writer *w, const struct st_msg *m, struct err *e)
{
    if (!w->is_plain && st_data_len(m) > w->data_max)
        return put_split(w, m, w->data_max, e);
    return put_one(w, m, e);
}

static int put_end(struct st_writer *w, struct err *e)
{
    struct buf b = {0};
    st_put_digest(&b, XXH64_digest(w->digest));
    st_put_seek_table(&b, w->entry, w->n_entries);
    int rc = outfile_write(w->out, b.data, b.len, e);
    buf_free(&b);
    return rc;
}

int st_writer_close(struct st_writer *w, struct err *e)
{
    int rc = 0;
    if (!outfile_tell(w->out))
        rc = err_set(e, ERR_EMPTY, "%s: no shard was written", w->name);
    else if (!w->is_plain)
        rc = put_end(w, e);
    if (rc) {
        st_writer_abort(w);
        return rc;
    }
    rc = outfile_commit(w->out, e);
    writer_free(w);
    return rc;
}

void st_writer_abort(struct st_writer *w)
{
    if (!w)
        return;
    outfile_abort(w->out);
    writer_free(w);
}

int st_write(const char *path, int flags, const struct st_msg *m, struct err *e)
{
    struct err ignored = ERR_INIT;
    struct st_writer *w = st_writer_open(path, flags, e ? e : &ignored);
    if (!w)
        return e ? e->code : ignored.code;
    int rc = st_writer_put(w, m, e);
    if (rc < 0) {
        st_writer_abort(w);
        return rc;
    }
    return st_writer_close(w, e);
}
