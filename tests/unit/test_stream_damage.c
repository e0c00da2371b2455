/* SPDX-License-Identifier: MIT
 * stream/: damaged, cut and made-up input is refused, by the right code and with the place. */
#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "stream/st_priv.h"
#include "stream/zio.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <xxhash.h>
#include <zstd.h>

static char *path; /* scratch file, one a group */

static int make_scratch(void **state)
{
    (void)state;
    char dir[] = "/tmp/raise-damage-XXXXXX";
    if (!mkdtemp(dir))
        return -1;
    path = mem_printf("%s/x", dir);
    return 0;
}

static int drop_scratch(void **state)
{
    (void)state;
    unlink(path);
    *strrchr(path, '/') = '\0';
    int rc = rmdir(path);
    free(path);
    return rc;
}

static void put_file(const void *p, size_t len)
{
    FILE *f = fopen(path, "wb"); /* plain stdio: no fsync thousands of times */
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

/* Reads the bytes as a file (mapped) or through a pipe; returns 0 or the error's code. */
static int read_bytes(const void *p, size_t len, bool is_pipe, struct err *e)
{
    int fd[2] = {-1, -1};
    char name[64];
    if (is_pipe) {
        assert_int_equal(pipe(fd), 0);
        assert_true(len < 65536); /* fits the pipe's buffer */
        assert_int_equal(write(fd[1], p, len), len);
        close(fd[1]);
        snprintf(name, sizeof name, "/dev/fd/%d", fd[0]);
    } else {
        put_file(p, len);
    }
    e->code = 0;
    struct st_msg *m = st_read(is_pipe ? name : path, NULL, e);
    if (is_pipe)
        close(fd[0]);
    assert_true(m || (e->code < 0 && *e->msg));
    st_msg_free(m);
    return m ? 0 : e->code;
}

/* A small stream of three shards; *frame_end, if not NULL, gets where each frame ends. */
static struct buf small_stream(int flags, size_t frame_end[3])
{
    enum { ROWS = 5 };
    struct err e = ERR_INIT;
    struct st_writer *w = st_writer_open(path, flags, &e);
    assert_non_null(w);
    for (int i = 0; i < (flags & ST_PLAIN ? 1 : 3); i++) {
        float f[ROWS] = {(float)i, 1.5f, 2.5f, -1e9f, 0};
        int64_t n = ROWS, id[ROWS] = {i, i + 1, i + 2, i + 3, i + 4};
        struct st_msg *m = st_msg_new();
        st_msg_set_meta(m, "raise.kind", "test");
        st_msg_set_meta(m, "raise.version", ST_FORMAT_VERSION);
        st_msg_add(m, "id", ST_I64, 1, &n, id);
        st_msg_add(m, "value", ST_F32, 1, &n, f);
        assert_int_equal(st_writer_put(w, m, &e), 0);
        st_msg_free(m);
    }
    assert_int_equal(st_writer_close(w, &e), 0);
    struct buf b = {0};
    assert_int_equal(file_read_all(path, &b.data, &b.len, &e), 0);
    b.cap = b.len + 1;
    for (size_t at = 0, i = 0; frame_end && i < 3; i++) {
        at += ZSTD_findFrameCompressedSize(b.data + at, b.len - at);
        frame_end[i] = at;
    }
    return b;
}

static void truncated_at_every_byte(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    for (int flags = 0; flags <= ST_PLAIN; flags++) {
        struct buf b = small_stream(flags, NULL);
        for (int is_pipe = 0; is_pipe < 2; is_pipe++) {
            assert_int_equal(read_bytes(b.data, b.len, is_pipe, &e), 0);
            for (size_t len = 0; len < b.len; len++)
                assert_int_equal(read_bytes(b.data, len, is_pipe, &e), ERR_TRUNCATED);
        }
        buf_free(&b);
    }
}

static void cut_between_frames(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    size_t end[3];
    struct buf b = small_stream(0, end);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(read_bytes(b.data, end[i], false, &e), ERR_TRUNCATED);
        char *want = mem_printf("%s: truncated between shards: no seek table (%d whole shards)",
                                path, i + 1);
        assert_string_equal(e.msg, want);
        free(want);
    }
    buf_free(&b);
}

static void every_flipped_bit_is_seen(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct buf b = small_stream(0, NULL);
    for (int is_pipe = 0; is_pipe < 2; is_pipe++)
        for (size_t bit = 0; bit < 8 * b.len; bit++) {
            b.data[bit / 8] ^= (char)(1 << bit % 8);
            int rc = read_bytes(b.data, b.len, is_pipe, &e);
            if (!rc)
                fail_msg("bit %zu of byte %zu", bit % 8, bit / 8);
            b.data[bit / 8] ^= (char)(1 << bit % 8);
        }
    buf_free(&b);
}

static void frames_moved_or_lost(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    size_t end[3];
    struct buf b = small_stream(0, end), x = {0};
    buf_append(&x, b.data + end[0], b.len - end[0]); /* the first frame lost */
    assert_int_equal(read_bytes(x.data, x.len, false, &e), ERR_FORMAT);
    x.len = 0;
    buf_append(&x, b.data + end[0], end[1] - end[0]); /* the first two exchanged */
    buf_append(&x, b.data, end[0]);
    buf_append(&x, b.data + end[1], b.len - end[1]);
    assert_int_equal(read_bytes(x.data, x.len, false, &e), ERR_FORMAT);
    x.len = 0;
    buf_append(&x, b.data, end[0]); /* a frame of someone else's, a skippable one */
    buf_append(&x, "\x50\x2A\x4D\x18\4\0\0\0abcd", 12);
    buf_append(&x, b.data + end[0], b.len - end[0]);
    assert_int_equal(read_bytes(x.data, x.len, false, &e), ERR_FORMAT);
    buf_free(&b);
    buf_free(&x);
}

static void bytes_after_the_end(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    for (int flags = 0; flags <= ST_PLAIN; flags++) {
        struct buf b = small_stream(flags, NULL);
        size_t len = b.len;
        buf_putc(&b, '\n');
        for (int is_pipe = 0; is_pipe < 2; is_pipe++)
            assert_int_equal(read_bytes(b.data, b.len, is_pipe, &e), ERR_FORMAT);
        b.len = len; /* cat x x */
        char *copy = mem_dup(b.data, len);
        buf_append(&b, copy, len);
        free(copy);
        for (int is_pipe = 0; is_pipe < 2; is_pipe++)
            assert_int_equal(read_bytes(b.data, b.len, is_pipe, &e), ERR_FORMAT);
        buf_free(&b);
    }
}

/* A stream whose one frame holds `content`, compressed with the given flags; well-formed apart
 * from that. */
static struct buf stream_of(const void *content, size_t len, int size_flag, int checksum_flag)
{
    ZSTD_CCtx *c = ZSTD_createCCtx();
    struct buf b = {0};
    size_t bound = ZSTD_compressBound(len);
    ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, size_flag);
    ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, checksum_flag);
    MEM_GROW(b.data, b.cap, bound);
    b.len = ZSTD_compress2(c, b.data, bound, content, len);
    ZSTD_freeCCtx(c);
    struct st_entry entry = {(uint32_t)b.len, (uint32_t)len,
                             st_get_u32((const unsigned char *)b.data + b.len - 4)};
    st_put_digest(&b, XXH64(b.data, b.len, 0));
    st_put_seek_table(&b, &entry, 1);
    return b;
}

static void frames_must_have_size_and_checksum(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct buf plain = small_stream(ST_PLAIN, NULL);
    for (int flags = 0; flags < 4; flags++) {
        struct buf b = stream_of(plain.data, plain.len, flags & 1, flags >> 1);
        assert_int_equal(read_bytes(b.data, b.len, false, &e), flags == 3 ? 0 : ERR_FORMAT);
        buf_free(&b);
    }
    buf_free(&plain);
}

static void claims_beyond_the_bytes_are_refused(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    int64_t peak = mem_peak_bytes();
    /* Magic, descriptor (8-byte size, one segment, checksum), size, an empty last block. */
    unsigned char frame[] = {0x28, 0xB5, 0x2F, 0xFD, 0xE4, 0, 0, 0, 0, 0,
                             0,    0,    0,    1,    0,    0, 0, 0, 0, 0};
    for (int bit = 20; bit < 64; bit++) {
        memset(frame + 5, 0, 8);
        frame[5 + bit / 8] = (unsigned char)(1 << bit % 8);
        for (int is_pipe = 0; is_pipe < 2; is_pipe++)
            assert_int_equal(read_bytes(frame, sizeof frame, is_pipe, &e), ERR_FORMAT);
    }
    assert_true(mem_peak_bytes() - peak < 64 << 20);
}

/* ---- plain headers ---- */

static struct buf message(const char *json, size_t n_data)
{
    struct buf b = {0};
    st_put_u64(&b, strlen(json));
    buf_puts(&b, json);
    for (size_t i = 0; i < n_data; i++)
        buf_putc(&b, (char)i);
    return b;
}

static void malformed_headers(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        const char *json;
        size_t n_data;
        int code;
        const char *says;
    } bad[] = {
        {"no JSON", "nonsense", 0, ERR_FORMAT, "neither"},
        {"cut JSON", "{\"a\":{\"dtype\":\"U8\"", 0, ERR_FORMAT, "header byte"},
        {"an array", "[]", 0, ERR_FORMAT, "neither"},
        {"blank before the brace", " {}", 0, ERR_FORMAT, "neither"},
        {"two values", "{}{}", 0, ERR_FORMAT, "header byte"},
        {"a NUL in a name",
         "{\"a\\u0000\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
         ERR_FORMAT, "header byte"},
        {"no UTF-8", "{\"\xFF\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
         ERR_FORMAT, "header byte"},
        {"a number for a tensor", "{\"a\":1}", 0, ERR_FORMAT, "tensor \"a\": is not an object"},
        {"the same name twice",
         "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
         "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
         2, ERR_FORMAT, "duplicate"},
        {"the same key twice",
         "{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
         ERR_FORMAT, "duplicate"},
        {"an unknown key",
         "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":0}}", 1,
         ERR_FORMAT, "tensor \"a\": unknown key \"x\""},
        {"an unknown dtype", "{\"a\":{\"dtype\":\"F4\",\"shape\":[1],\"data_offsets\":[0,1]}}",
         1, ERR_UNSUPPORTED, "tensor \"a\": unknown dtype \"F4\""},
        {"no dtype", "{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1, ERR_FORMAT,
         "tensor \"a\": \"dtype\""},
        {"no shape", "{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, ERR_FORMAT,
         "tensor \"a\": \"shape\""},
        {"no offsets", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, ERR_FORMAT,
         "tensor \"a\": \"data_offsets\""},
        {"three offsets", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,1]}}",
         1, ERR_FORMAT, "tensor \"a\": \"data_offsets\""},
        {"real offsets", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1.0]}}", 1,
         ERR_FORMAT, "tensor \"a\": \"data_offsets\""},
        {"negative offsets", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[-1,0]}}",
         1, ERR_FORMAT, "tensor \"a\": \"data_offsets\" run backwards"},
        {"offsets backwards", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,0]}}",
         1, ERR_FORMAT, "tensor \"a\": \"data_offsets\" run backwards"},
        {"a negative dimension",
         "{\"a\":{\"dtype\":\"U8\",\"shape\":[-1],\"data_offsets\":[0,1]}}", 1, ERR_FORMAT,
         "tensor \"a\": a dimension"},
        {"nine dimensions",
         "{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}", 1,
         ERR_UNSUPPORTED, "tensor \"a\": more than 8"},
        {"a product over 2^63",
         "{\"a\":{\"dtype\":\"U8\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}",
         0, ERR_FORMAT, "tensor \"a\": the shape is too large"},
        {"a product over 2^63 by the dtype",
         "{\"a\":{\"dtype\":\"F64\",\"shape\":[2305843009213693952],\"data_offsets\":[0,0]}}",
         0, ERR_FORMAT, "tensor \"a\": the shape is too large"},
        {"an offset over 2^63",
         "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,99999999999999999999]}}",
         1, ERR_FORMAT, "header byte"},
        {"shape and offsets at odds",
         "{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,2]}}", 2, ERR_FORMAT,
         "tensor \"a\": U8[3] takes 3 bytes, its offsets hold 2"},
        {"beyond the end", "{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]}}", 2,
         ERR_TRUNCATED, "tensor \"a\" ends at byte 3"},
        {"an overlap",
         "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}",
         3, ERR_FORMAT, "tensor \"b\": overlaps"},
        {"a gap",
         "{\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[3,4]},"
         "\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}",
         4, ERR_FORMAT, "tensor \"b\": leaves a gap"},
        {"a gap at the start",
         "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}", 3, ERR_FORMAT,
         "tensor \"a\": leaves a gap"},
        {"bytes after the last",
         "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", 3, ERR_FORMAT,
         "1 bytes after the last tensor"},
        {"metadata that is no object", "{\"__metadata__\":[]}", 0, ERR_FORMAT, "__metadata__"},
        {"metadata that is no string", "{\"__metadata__\":{\"k\":1}}", 0, ERR_FORMAT,
         "metadata \"k\""},
        {"rows that are no number", "{\"__metadata__\":{\"raise.first_row\":\"1x\"}}", 0,
         ERR_FORMAT, "metadata raise.first_row: not a whole number"},
        {"a negative number of rows", "{\"__metadata__\":{\"raise.n_rows\":\"-1\"}}", 0,
         ERR_RANGE, "metadata raise.n_rows: -1 is not between"},
        {"a newer version", "{\"__metadata__\":{\"raise.version\":\"2\"}}", 0, ERR_UNSUPPORTED,
         "format version 2"},
    };
    struct err e = ERR_INIT;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct buf b = message(bad[i].json, bad[i].n_data);
        for (int is_pipe = 0; is_pipe < 2; is_pipe++) {
            int rc = read_bytes(b.data, b.len, is_pipe, &e);
            if (rc != bad[i].code || !strstr(e.msg, bad[i].says))
                fail_msg("%s: code %d: %s", bad[i].what, rc, e.msg);
        }
        buf_free(&b);
    }
}

static void unusual_but_good_headers(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        size_t n_data;
    } good[] = {
        {"{}", 0},
        {"{}        ", 0},
        {"{ \"a\" : { \"shape\":[], \"data_offsets\":[0,8], \"dtype\":\"I64\" } }",
         8}, /* unaligned */
        {"{\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]},"
         "\"z\":{\"dtype\":\"F64\",\"shape\":[0,99],\"data_offsets\":[2,2]},"
         "\"a\":{\"dtype\":\"U8\",\"shape\":[2,1,1,1],\"data_offsets\":[0,2]}}",
         4},
    };
    struct err e = ERR_INIT;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct buf b = message(good[i].json, good[i].n_data);
        for (int is_pipe = 0; is_pipe < 2; is_pipe++)
            if (read_bytes(b.data, b.len, is_pipe, &e))
                fail_msg("%s", e.msg);
        buf_free(&b);
    }
}

static void header_lengths(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    for (int bit = 2; bit < 64; bit++) {
        struct buf b = {0};
        st_put_u64(&b, UINT64_C(1) << bit);
        buf_puts(&b, "{}");
        for (int is_pipe = 0; is_pipe < 2; is_pipe++) {
            int rc = read_bytes(b.data, b.len, is_pipe, &e);
            assert_int_equal(rc,
                             UINT64_C(1) << bit > ST_HEADER_MAX ? ERR_FORMAT : ERR_TRUNCATED);
        }
        buf_free(&b);
    }
}

/* Random edits of a good file: whatever is read afterwards, memory is not misused. */
static void random_edits(void **state)
{
    (void)state;
    static const char letters[] = "0123456789[]{},:\"eE-.";
    struct err e = ERR_INIT;
    struct rng r;
    rng_init(&r, 1, 0);
    for (int flags = 0; flags <= ST_PLAIN; flags++) {
        struct buf b = small_stream(flags, NULL);
        for (int i = 0; i < 2000; i++) {
            struct buf x = {0};
            buf_append(&x, b.data, b.len);
            for (uint64_t n = 1 + rng_below(&r, 3); n; n--) {
                size_t at = rng_below(&r, x.len - 8), len = 1 + rng_below(&r, 8);
                if (rng_below(&r, 3) == 0) { /* bytes lost */
                    memmove(x.data + at, x.data + at + len, x.len - at - len);
                    x.len -= len;
                } else {
                    x.data[at] = letters[rng_below(&r, sizeof letters - 1)];
                }
            }
            (void)read_bytes(x.data, x.len, i & 1, &e);
            buf_free(&x);
        }
        buf_free(&b);
    }
}

/* ---- zio ---- */

static int zin_bytes(const void *p, size_t len, struct buf *out, uint64_t *hash, struct err *e)
{
    put_file(p, len);
    out->data = NULL;
    int rc = zin_read_all(path, &out->data, &out->len, hash, e);
    out->cap = rc ? 0 : out->len + 1;
    if (rc)
        out->data = NULL;
    return rc;
}

static void compressed_input_is_its_content(void **state)
{
    (void)state;
    static const char text[] = "a line\nanother line, another line\n";
    struct err e = ERR_INIT;
    struct buf out, z = {0};
    uint64_t hash = 0;
    assert_int_equal(zin_bytes(text, sizeof text - 1, &out, &hash, &e), 0);
    assert_string_equal(out.data, text);
    assert_int_equal(hash, XXH64(text, sizeof text - 1, 0));
    buf_free(&out);
    assert_int_equal(zin_bytes("", 0, &out, &hash, &e), 0);
    assert_int_equal(out.len, 0);
    buf_free(&out);
    assert_int_equal(zin_bytes("ab", 2, &out, &hash, &e), 0);
    assert_string_equal(out.data, "ab");
    buf_free(&out);

    /* A skippable frame, a frame, an empty frame, a skippable frame, a frame. */
    MEM_GROW(z.data, z.cap, 1000);
    buf_append(&z, "\x5A\x2A\x4D\x18\3\0\0\0abc", 11);
    z.len += ZSTD_compress(z.data + z.len, z.cap - z.len, text, 10, 3);
    z.len += ZSTD_compress(z.data + z.len, z.cap - z.len, "", 0, 3);
    buf_append(&z, "\x50\x2A\x4D\x18\0\0\0\0", 8);
    size_t last = z.len;
    z.len += ZSTD_compress(z.data + z.len, z.cap - z.len, text + 10, sizeof text - 11, 3);
    assert_int_equal(zin_bytes(z.data, z.len, &out, &hash, &e), 0);
    assert_string_equal(out.data, text);
    assert_int_equal(hash, XXH64(text, sizeof text - 1, 0));
    buf_free(&out);
    for (size_t len = last + 1; len < z.len; len++)
        assert_int_equal(zin_bytes(z.data, len, &out, &hash, &e), ERR_TRUNCATED);
    buf_puts(&z, "garbage");
    assert_int_equal(zin_bytes(z.data, z.len, &out, &hash, &e), ERR_FORMAT);
    assert_null(zin_open("/nonexistent/x", &e));
    assert_int_equal(e.code, ERR_IO);
    assert_int_equal(zin_read_all("/tmp", &out.data, &out.len, NULL, &e), ERR_IO);
    buf_free(&z);
}

static void compressed_input_in_small_pieces(void **state)
{
    (void)state;
    enum { N = 300000 };
    struct err e = ERR_INIT;
    char *text = mem_alloc(N, 1), *zstd = mem_alloc(ZSTD_compressBound(N), 1);
    for (int i = 0; i < N; i++)
        text[i] = (char)("abcdefgh"[(unsigned)i * 7919u % 8] + i / 1000 % 13);
    put_file(zstd, ZSTD_compress(zstd, ZSTD_compressBound(N), text, N, 3));
    struct zin *z = zin_open(path, &e);
    char piece[7];
    int64_t n, at = 0;
    while ((n = zin_read(z, piece, sizeof piece, &e)) > 0) {
        assert_memory_equal(piece, text + at, (size_t)n);
        at += n;
    }
    assert_int_equal(n, 0);
    assert_int_equal(at, N);
    assert_int_equal(zin_read(z, piece, sizeof piece, &e), 0);
    assert_int_equal(zin_hash(z), XXH64(text, N, 0));
    zin_close(z);
    free(text);
    free(zstd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(truncated_at_every_byte),
        cmocka_unit_test(cut_between_frames),
        cmocka_unit_test(every_flipped_bit_is_seen),
        cmocka_unit_test(frames_moved_or_lost),
        cmocka_unit_test(bytes_after_the_end),
        cmocka_unit_test(frames_must_have_size_and_checksum),
        cmocka_unit_test(claims_beyond_the_bytes_are_refused),
        cmocka_unit_test(malformed_headers),
        cmocka_unit_test(unusual_but_good_headers),
        cmocka_unit_test(header_lengths),
        cmocka_unit_test(random_edits),
        cmocka_unit_test(compressed_input_is_its_content),
        cmocka_unit_test(compressed_input_in_small_pieces),
    };
    return cmocka_run_group_tests(tests, make_scratch, drop_scratch);
}
