/* SPDX-License-Identifier: MIT
 * st_read: shards in, from a file or a pipe, compressed or plain; see st.h.
 *
 * `struct src` hands out bytes: all at once from a mapped file, through a buffer from a pipe.
 * The memory a frame asks for is bounded by what is present: from a mapped file by the frame's
 * own compressed bytes, from a pipe it grows with the bytes that were really decompressed. */
#include "base/limit.h"
#include "stream/st_priv.h"
#include "stream/st_table.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>
#include <zstd.h>

struct src {
    int fd;                 /* -1: mapped */
    const unsigned char *p; /* bytes [pos, len) are there */
    size_t pos, len;
    unsigned char *buf; /* p, when it is not a mapping */
    size_t cap;
    bool is_at_end;
    struct file_map map;
};

struct st_reader {
    struct src src;
    char *name;
    bool is_plain, is_done;
    ZSTD_DCtx *dctx;
    XXH64_state_t *digest;
    int64_t n_taken, n_out; /* compressed bytes so far, and what they unfolded to */
    unsigned char tail[4];  /* the last compressed bytes */
    struct st_entry *entry;
    size_t n_entries, entry_cap;
};

/* ---- bytes ---- */

static int src_open(struct src *s, const char *path, struct err *e)
{
    struct stat st;
    s->fd = file_is_std(path) ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (s->fd < 0)
        return err_set_errno(e, "%s", path);
    if (s->fd == STDIN_FILENO || fstat(s->fd, &st) < 0 || !S_ISREG(st.st_mode))
        return 0;
    close(s->fd);
    s->fd = -1;
    int rc = file_map_open(&s->map, path, e);
    s->p = s->map.data;
    s->len = s->map.len;
    s->is_at_end = true;
    return rc;
}

static void src_close(struct src *s)
{
    if (s->fd > STDIN_FILENO)
        close(s->fd);
    free(s->buf);
    file_map_close(&s->map);
}

/* Bytes there at p + pos: at least `need` unless the input ends before. */
static int64_t src_peek(struct src *s, size_t need, const char *name, struct err *e)
{
    while (!s->is_at_end && s->len - s->pos < need) {
        size_t want = need > 1 << 18 ? need : 1 << 18;
        if (s->pos) {
            memmove(s->buf, s->buf + s->pos, s->len - s->pos);
            s->len -= s->pos;
            s->pos = 0;
        }
        MEM_GROW(s->buf, s->cap, want);
        s->p = s->buf;
        ssize_t n = read(s->fd, s->buf + s->len, s->cap - s->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(e, "%s", name);
        s->is_at_end = !n;
        s->len += (size_t)n;
    }
    return (int64_t)(s->len - s->pos);
}

/* ---- open and close ---- */

struct st_reader *st_reader_open(const char *path, struct err *e)
{
    struct st_reader *r = mem_zalloc(1, sizeof *r);
    r->name = mem_strdup(file_name_in(path));
    if (src_open(&r->src, path, e) < 0)
        goto fail;
    int64_t n = src_peek(&r->src, 8, r->name, e);
    if (n < 0)
        goto fail;
    if (n < 8) {
        err_set(e, ERR_TRUNCATED, n ? "%s: truncated: only %d bytes" : "%s: is empty", r->name,
                (int)n);
        goto fail;
    }
    r->is_plain = st_get_u32(r->src.p) != ST_ZSTD_MAGIC;
    if (r->is_plain)
        return r;
    r->dctx = ZSTD_createDCtx();
    r->digest = XXH64_createState();
    if (!r->dctx || !r->digest) {
        err_set(e, ERR_UNSUPPORTED, "%s: cannot set up zstd", r->name);
        goto fail;
    }
    XXH64_reset(r->digest, 0);
    return r;
fail:
    st_reader_close(r);
    return NULL;
}

bool st_reader_is_compressed(const struct st_reader *r)
{
    return !r->is_plain;
}

void st_reader_close(struct st_reader *r)
{
    if (!r)
        return;
    src_close(&r->src);
    ZSTD_freeDCtx(r->dctx);
    XXH64_freeState(r->digest);
    free(r->entry);
    free(r->name);
    free(r);
}

/* ---- plain ---- */

/* A foreign or damaged file must not make us read a whole pipe into memory first. */
static int check_plain_start(struct st_reader *r, struct err *e)
{
    uint64_t n = st_get_u64(r->src.p);
    int64_t have = src_peek(&r->src, 9, r->name, e);
    if (have < 0)
        return (int)have;
    if (n > ST_HEADER_MAX || (have > 8 && r->src.p[8] != '{'))
        return err_set(e, ERR_FORMAT, "%s: neither a zstd stream nor a safetensors file",
                       r->name);
    return 0;
}

static int next_plain(struct st_reader *r, struct st_msg **m, struct err *e)
{
    struct src *s = &r->src;
    int64_t have = check_plain_start(r, e);
    for (size_t need = 1 << 18; have >= 0 && !s->is_at_end; need = 2 * s->len)
        have = src_peek(s, need, r->name, e);
    if (have < 0)
        return (int)have;
    *m = st_msg_parse(s->p, s->len, r->name, e);
    if (!*m)
        return e ? e->code : ERR_FORMAT;
    (*m)->block = s->buf; /* the msg keeps what was read; a mapping stays ours */
    s->buf = NULL;
    s->pos = s->len;
    r->is_done = true;
    return 1;
}

/* ---- frames ---- */

static void take(struct st_reader *r, size_t n)
{
    struct src *s = &r->src;
    const unsigned char *p = s->p + s->pos;
    size_t k = n < 4 ? n : 4;
    XXH64_update(r->digest, p, n);
    memmove(r->tail, r->tail + k, 4 - k);
    memcpy(r->tail + 4 - k, p + n - k, k);
    s->pos += n;
    r->n_taken += (int64_t)n;
}

static int truncated(const struct st_reader *r, const char *where, struct err *e)
{
    return err_set(e, ERR_TRUNCATED, "%s: truncated %s (%zu whole shards)", r->name, where,
                   r->n_entries);
}

static int bad_frame(const struct st_reader *r, const char *why, struct err *e)
{
    return err_set(e, ERR_FORMAT, "%s: shard %zu: %s", r->name, r->n_entries + 1, why);
}

/* Checks the frame's header and tells how much it holds. */
static int frame_size(struct st_reader *r, size_t *size, struct err *e)
{
    enum { CHECKSUM = 4, RESULT_MASK = 0x1F }; /* dictionary, checksum, reserved, unused bits */
    struct src *s = &r->src;
    int64_t have = src_peek(s, ST_FRAME_HEADER_MAX, r->name, e);
    if (have < 0)
        return (int)have;
    if (have < 5)
        return truncated(r, "in the header of a frame", e);
    const unsigned char *p = s->p + s->pos;
    if ((p[4] & RESULT_MASK) != CHECKSUM)
        return bad_frame(r, "a frame without checksum, or of a kind that streams do not use",
                         e);
    unsigned long long n = ZSTD_getFrameContentSize(p, (size_t)have);
    if (n == ZSTD_CONTENTSIZE_ERROR)
        return truncated(r, "in the header of a frame", e);
    if (n == ZSTD_CONTENTSIZE_UNKNOWN)
        return bad_frame(r, "a frame without its content size", e);
    if (n > ST_FRAME_MAX)
        return bad_frame(r, "a frame of more than 1 GiB", e);
    if (s->fd < 0 && n > ((uint64_t)have / 4 + 1) * ST_BLOCK_MAX)
        return bad_frame(r, "claims more than its bytes can hold", e);
    *size = (size_t)n;
    if (s->fd >= 0) /* as it comes */
        return 0;
    int rc =
        limit_unfold(r->n_taken + have, r->n_out + (int64_t)n, LIMIT_TENSOR_RATIO, r->name, e);
    return rc ? rc : limit_room((size_t)n, r->name, e);
}

/* Decompresses one frame of `size` bytes into *block (owned by the caller, also on failure). */
static int decompress(struct st_reader *r, size_t size, char **block, struct err *e)
{
    struct src *s = &r->src;
    size_t cap = s->fd < 0 || size < 1 << 20 ? size : 1 << 20;
    *block = cap == size ? mem_aligned(size) : mem_alloc(cap, 1); /* huge pages: fewer faults */
    ZSTD_DCtx_reset(r->dctx, ZSTD_reset_session_only);
    ZSTD_outBuffer out = {*block, cap, 0};
    for (;;) {
        int64_t have = src_peek(s, 1, r->name, e);
        if (have < 0)
            return (int)have;
        ZSTD_inBuffer in = {s->p + s->pos, (size_t)have, 0};
        size_t before = out.pos;
        size_t left = ZSTD_decompressStream(r->dctx, &out, &in);
        if (ZSTD_isError(left))
            return err_set(e, ERR_FORMAT, "%s: shard %zu: corrupt: zstd: %s", r->name,
                           r->n_entries + 1, ZSTD_getErrorName(left));
        take(r, in.pos);
        int rc = limit_unfold(r->n_taken, r->n_out + (int64_t)out.pos, LIMIT_TENSOR_RATIO,
                              r->name, e);
        if (rc)
            return rc;
        if (!left)
            break;
        if (out.pos == cap && cap < size) {
            cap = cap < size / 2 ? 2 * cap : size;
            *block = mem_realloc(*block, cap, 1);
            out.dst = *block;
            out.size = cap;
        } else if (!in.pos && out.pos == before) {
            return have ? bad_frame(r, "corrupt", e) : truncated(r, "within a frame", e);
        }
    }
    r->n_out += (int64_t)out.pos;
    return out.pos == size ? 0 : bad_frame(r, "corrupt: not the size it claims", e);
}

static int check_version(const struct st_reader *r, const struct st_msg *m, struct err *e)
{
    const char *v = st_msg_meta(m, "raise.version");
    if (!v || !strcmp(v, ST_FORMAT_VERSION))
        return 0;
    return err_set(e, ERR_UNSUPPORTED, "%s: format version %s; this program reads version %s",
                   r->name, v, ST_FORMAT_VERSION);
}

/* Which records a shard covers: a number that cannot be read must not pass for one that is not
 * told, since what is missing from a stream is found by them. */
static int check_range_keys(const struct st_msg *m, struct err *e)
{
    static const struct st_key keys[] = {
        {"raise.n_total", ST_KEY_INT, 0, sizeof(int64_t), 0, 1e15, ST_OPTIONAL},
        {"raise.first_row", ST_KEY_INT, 0, sizeof(int64_t), 0, 1e15, ST_OPTIONAL},
        {"raise.n_rows", ST_KEY_INT, 0, sizeof(int64_t), 0, 1e15, ST_OPTIONAL}};
    int64_t value;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        int rc = st_key_take(&keys[i], &value, m, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int next_frame(struct st_reader *r, struct st_msg **m, struct err *e)
{
    size_t size = 0;
    int64_t start = r->n_taken;
    char *block = NULL;
    int rc = frame_size(r, &size, e);
    if (!rc)
        rc = decompress(r, size, &block, e);
    if (rc) {
        free(block);
        return rc;
    }
    char *name = r->n_entries ? mem_printf("%s: shard %zu", r->name, r->n_entries + 1)
                              : mem_strdup(r->name);
    *m = st_msg_parse(block, size, name, e);
    free(name);
    if (!*m) {
        free(block);
        return e ? e->code : ERR_FORMAT;
    }
    (*m)->block = block;
    MEM_GROW(r->entry, r->entry_cap, r->n_entries + 1);
    r->entry[r->n_entries++] =
        (struct st_entry){(uint32_t)(r->n_taken - start), (uint32_t)size, st_get_u32(r->tail)};
    return 1;
}

/* ---- the end ---- */

/* Compares what comes with what must come. */
static int expect(struct st_reader *r, const struct buf *want, const char *what, struct err *e)
{
    struct src *s = &r->src;
    for (size_t at = 0; at < want->len;) {
        int64_t have = src_peek(s, 1, r->name, e);
        if (have < 0)
            return (int)have;
        if (!have)
            return truncated(r, what, e);
        size_t n = want->len - at < (size_t)have ? want->len - at : (size_t)have;
        if (memcmp(s->p + s->pos, want->data + at, n))
            return err_set(e, ERR_FORMAT, "%s: corrupt %s: does not agree with the %zu shards",
                           r->name, what, r->n_entries);
        s->pos += n;
        at += n;
    }
    return 0;
}

static int read_end(struct st_reader *r, struct err *e)
{
    struct buf want = {0};
    st_put_digest(&want, XXH64_digest(r->digest));
    int rc = expect(r, &want, "in the digest", e);
    if (!rc) {
        want.len = 0;
        st_put_seek_table(&want, r->entry, r->n_entries);
        rc = expect(r, &want, "in the seek table", e);
    }
    buf_free(&want);
    if (rc)
        return rc;
    int64_t have = src_peek(&r->src, 1, r->name, e);
    if (have > 0)
        return err_set(e, ERR_FORMAT, "%s: bytes after the seek table", r->name);
    r->is_done = true;
    return (int)have;
}

static int next_compressed(struct st_reader *r, struct st_msg **m, struct err *e)
{
    int64_t have = src_peek(&r->src, 4, r->name, e);
    if (have < 0)
        return (int)have;
    if (have < 4)
        return truncated(r, "between shards: no seek table", e);
    switch (st_get_u32(r->src.p + r->src.pos)) {
    case ST_ZSTD_MAGIC:
        return next_frame(r, m, e);
    case ST_DIGEST_MAGIC:
        return read_end(r, e);
    default:
        return bad_frame(r, "not a zstd frame", e);
    }
}

int st_reader_next(struct st_reader *r, struct st_msg **m, struct err *e)
{
    *m = NULL;
    if (r->is_done)
        return 0;
    int rc = r->is_plain ? next_plain(r, m, e) : next_compressed(r, m, e);
    if (rc < 1)
        return rc;
    rc = check_version(r, *m, e);
    if (!rc)
        rc = check_range_keys(*m, e);
    if (rc < 0) {
        st_msg_free(*m);
        *m = NULL;
        return rc;
    }
    st_msg_align(*m);
    return 1;
}

void st_reader_give_map(struct st_reader *r, struct st_msg *m)
{
    if (!r->is_plain)
        return;
    m->map = r->src.map;
    r->src.map = (struct file_map){0};
}
