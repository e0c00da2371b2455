/* SPDX-License-Identifier: MIT
 * stream/gguf: metadata, values of every type against the `gguf` package, and bad files. */
#include "base/file.h"
#include "base/mem.h"
#include "stream/gguf.h"
#include "stream/gguf_quant.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char path[] = "/tmp/raise-gguf-XXXXXX";

static char *fixture(const char *name)
{
    const char *root = getenv("RAISE_TESTS");
    return mem_printf("%s/fixtures/gguf/%s", root ? root : "tests", name);
}

/* ---- well-formed files ---- */

static void metadata_has_its_types(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    char *name = fixture("types.gguf");
    struct gguf *g = gguf_open(name, &e);
    assert_non_null(g);
    int64_t i = 0;
    double d = 0;
    bool b = false;
    size_t len = 0;
    assert_true(gguf_get_int(g, "test.answer", &i) && i == 42);
    assert_true(gguf_get_int(g, "test.minus", &i) && i == -7);
    assert_true(gguf_get_real(g, "test.half", &d) && d == 0.5);
    assert_true(gguf_get_real(g, "test.minus", &d) && d == -7);
    assert_true(gguf_get_bool(g, "test.yes", &b) && b);
    assert_string_equal(gguf_get_string(g, "test.name"), "caf\xc3\xa9");
    assert_false(gguf_get_int(g, "test.half", &i));
    assert_false(gguf_get_int(g, "test.absent", &i));
    assert_false(gguf_get_int(g, "test.numbers", &i));
    assert_null(gguf_get_string(g, "test.answer"));
    assert_int_equal(gguf_array_len(g, "test.words"), 3);
    assert_int_equal(gguf_array_len(g, "test.name"), -1);
    assert_string_equal(gguf_array_string(g, "test.words", 2, &len), "\xc4\xa0the");
    assert_int_equal(len, 5);
    assert_string_equal(gguf_array_string(g, "test.words", 0, NULL), "");
    assert_null(gguf_array_string(g, "test.words", 3, NULL));
    assert_true(gguf_array_int(g, "test.numbers", 1, &i) && i == -2);
    assert_false(gguf_array_int(g, "test.numbers", -1, &i));
    assert_true(gguf_array_real(g, "test.reals", 1, &d) && d == -1.5);
    gguf_close(g);
    free(name);
}

/* Equal bits, or both NaN: a NaN's payload differs between CPUs. */
static bool is_same(float a, float b)
{
    return (isnan(a) && isnan(b)) || !memcmp(&a, &b, sizeof a);
}

static void every_type_equals_the_reference(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    char *name = fixture("types.gguf"), *data;
    struct gguf *g = gguf_open(name, &e);
    assert_non_null(g);
    free(name);
    name = fixture("types.f32");
    size_t len, at = 0;
    assert_int_equal(file_read_all(name, &data, &len, &e), 0);
    assert_int_equal(gguf_n_tensors(g), 11);
    for (int64_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        assert_string_equal(t->name, gguf_type_name(t->type));
        assert_ptr_equal(gguf_find(g, t->name), t);
        assert_int_equal(t->n_dims, 2);
        assert_int_equal(t->shape[0], 2);
        assert_int_equal(t->shape[1], t->n_values / 2);
        float *y = mem_alloc((size_t)t->n_values, sizeof *y);
        assert_int_equal(gguf_dequantize(y, t, &e), 0);
        for (int64_t j = 0; j < t->n_values; j++, at += 4) {
            float want;
            memcpy(&want, data + at, sizeof want);
            assert_true(is_same(y[j], want));
        }
        free(y);
    }
    assert_int_equal(at, len);
    assert_null(gguf_find(g, "absent"));
    assert_null(gguf_tensor_at(g, 11));
    free(data);
    free(name);
    gguf_close(g);
}

/* All 65536 halves against the definition. */
static void halves_are_exact(void **state)
{
    (void)state;
    for (int h = 0; h < 65536; h++) {
        int exponent = h >> 10 & 31, mantissa = h & 1023;
        double v = exponent == 31  ? (mantissa ? (double)NAN : (double)INFINITY)
                   : exponent == 0 ? ldexp(mantissa, -24)
                                   : ldexp(1024 + mantissa, exponent - 25);
        float want = (float)(h & 0x8000 ? -v : v);
        assert_true(is_same(gguf_half((uint16_t)h), want));
    }
}

/* ---- files made here, and broken ---- */

static void put(struct buf *b, uint64_t v, size_t size)
{
    buf_append(b, &v, size);
}

static void put_string(struct buf *b, const char *s)
{
    put(b, strlen(s), 8);
    buf_puts(b, s);
}

static void put_head(struct buf *b, uint64_t n_tensors, uint64_t n_keys)
{
    buf_append(b, "GGUF", 4);
    put(b, 3, 4);
    put(b, n_tensors, 8);
    put(b, n_keys, 8);
}

static void put_tensor(struct buf *b, const char *name, uint64_t d0, uint64_t d1, uint64_t type,
                       uint64_t offset)
{
    put_string(b, name);
    put(b, 2, 4);
    put(b, d0, 8);
    put(b, d1, 8);
    put(b, type, 4);
    put(b, offset, 8);
}

static void pad(struct buf *b, size_t alignment)
{
    while (b->len % alignment)
        buf_putc(b, 0);
}

/* Opens the bytes as a file; frees the buffer. */
static struct gguf *open_bytes(struct buf *b, size_t len, struct err *e)
{
    assert_int_equal(file_write_all(path, b->data, len, e), 0);
    return gguf_open(path, e);
}

static void refuses(struct buf *b, int code, const char *what)
{
    struct err e = ERR_INIT;
    struct gguf *g = open_bytes(b, b->len, &e);
    if (g || e.code != code || !strstr(e.msg, what))
        print_error("expected \"%s\", got %d \"%s\"\n", what, e.code, e.msg);
    assert_null(g);
    assert_int_equal(e.code, code);
    assert_non_null(strstr(e.msg, what));
    assert_ptr_equal(strstr(e.msg, path), e.msg);
    buf_free(b);
}

/* Two keys (a string, an array of strings), two tensors: F32 [2, 3] and Q8_0 [1, 32]. */
static void put_sample(struct buf *b)
{
    put_head(b, 2, 3);
    put_string(b, "s");
    put(b, 8, 4);
    put_string(b, "text");
    put_string(b, "general.alignment");
    put(b, 4, 4);
    put(b, 8, 4);
    put_string(b, "list");
    put(b, 9, 4);
    put(b, 8, 4);
    put(b, 2, 8);
    put_string(b, "one");
    put_string(b, "two");
    put_tensor(b, "f", 3, 2, 0, 0);
    put_tensor(b, "q", 32, 1, 8, 24);
    pad(b, 8);
    for (int i = 0; i < 24 + 34; i++)
        buf_putc(b, (char)i);
}

static void truncation_is_found_at_every_byte(void **state)
{
    (void)state;
    struct buf b = {0};
    put_sample(&b);
    for (size_t len = 0; len < b.len; len++) {
        struct err e = ERR_INIT;
        struct gguf *g = open_bytes(&b, len, &e);
        assert_null(g);
        assert_int_equal(e.code, ERR_TRUNCATED);
    }
    struct err e = ERR_INIT;
    struct gguf *g = open_bytes(&b, b.len, &e);
    assert_non_null(g);
    const struct gguf_tensor *t = gguf_find(g, "f");
    assert_int_equal(t->shape[0], 2);
    assert_int_equal(t->shape[1], 3);
    assert_int_equal(t->shape[2], 1);
    assert_int_equal(t->len, 24);
    assert_memory_equal(gguf_find(g, "q")->data, b.data + b.len - 34, 34);
    assert_string_equal(gguf_array_string(g, "list", 1, NULL), "two");
    gguf_close(g);
    buf_free(&b);
}

/* Any one byte changed: an error or another valid file, never a crash. */
static void flipped_bytes_do_no_harm(void **state)
{
    (void)state;
    struct buf b = {0};
    put_sample(&b);
    static const unsigned char flips[] = {0x01, 0x80, 0xff};
    for (size_t i = 0; i < 3 * b.len; i++) {
        struct err e = ERR_INIT;
        b.data[i / 3] = (char)(b.data[i / 3] ^ flips[i % 3]);
        struct gguf *g = open_bytes(&b, b.len, &e);
        b.data[i / 3] = (char)(b.data[i / 3] ^ flips[i % 3]);
        for (int64_t j = 0; g && j < gguf_n_tensors(g); j++) {
            const struct gguf_tensor *t = gguf_tensor_at(g, j);
            float *y = mem_alloc((size_t)t->n_values, sizeof *y);
            (void)!gguf_dequantize(y, t, &e);
            free(y);
        }
        gguf_close(g);
    }
    buf_free(&b);
}

static void heads_are_checked(void **state)
{
    (void)state;
    struct buf b = {0};
    buf_puts(&b, "GGML and more");
    refuses(&b, ERR_FORMAT, "not a GGUF file");
    buf_puts(&b, "GGUF");
    put(&b, 4, 4);
    refuses(&b, ERR_UNSUPPORTED, "GGUF version 4,");
    buf_puts(&b, "GGUF");
    put(&b, 3u << 24, 4);
    refuses(&b, ERR_UNSUPPORTED, "(big-endian)");
    put_head(&b, 0, UINT64_MAX);
    refuses(&b, ERR_TRUNCATED, "more metadata keys than the file can hold");
    put_head(&b, (uint64_t)1 << 62, 0);
    refuses(&b, ERR_TRUNCATED, "more tensors than the file can hold");
}

static void metadata_is_checked(void **state)
{
    (void)state;
    struct buf b = {0};
    put_head(&b, 0, 1); /* a string past the end */
    put_string(&b, "k");
    put(&b, 8, 4);
    put(&b, UINT64_MAX, 8);
    refuses(&b, ERR_TRUNCATED, "string at byte 45");
    put_head(&b, 0, 1); /* an array longer than the file */
    put_string(&b, "k");
    put(&b, 9, 4);
    put(&b, 10, 4);
    put(&b, (uint64_t)1 << 61, 8);
    refuses(&b, ERR_TRUNCATED, "array longer than the file");
    put_head(&b, 0, 1);
    put_string(&b, "k");
    put(&b, 77, 4);
    refuses(&b, ERR_FORMAT, "key \"k\": unknown value type 77");
    put_head(&b, 0, 1);
    put_string(&b, "k");
    put(&b, 9, 4);
    put(&b, 9, 4);
    put(&b, 0, 8);
    refuses(&b, ERR_UNSUPPORTED, "key \"k\": array of arrays");
    put_head(&b, 0, 1);
    put_string(&b, "k");
    put(&b, 7, 4);
    put(&b, 2, 1);
    refuses(&b, ERR_FORMAT, "2 is no truth value");
    put_head(&b, 0, 2);
    for (int i = 0; i < 2; i++) {
        put_string(&b, "k");
        put(&b, 0, 4);
        put(&b, 1, 1);
    }
    refuses(&b, ERR_FORMAT, "key \"k\" appears twice");
    put_head(&b, 0, 1);
    put_string(&b, "a\tb");
    put(&b, 0, 8);
    refuses(&b, ERR_FORMAT, "control character");
}

static void tensors_are_checked(void **state)
{
    (void)state;
    struct buf b = {0};
    static const struct {
        uint64_t d0, d1, type, offset;
        int code;
        const char *what;
    } bad[] = {
        {4, 1, 99, 0, ERR_UNSUPPORTED, "tensor \"w\": type 99 is unknown"},
        {4, 1, 4, 0, ERR_UNSUPPORTED, "type 4 is unknown"},
        {4, 1, 0, 5, ERR_FORMAT, "offset 5 is not aligned"},
        {4, 5, 0, 0, ERR_TRUNCATED, "its 80 bytes pass the file's end"},
        {4, 1, 0, UINT64_MAX - 31, ERR_TRUNCATED, "pass the file's end"},
        {33, 1, 8, 0, ERR_FORMAT, "rows of 33 values are not whole blocks"},
        {0, 1, 0, 0, ERR_RANGE, "a dimension of 0"},
        {(uint64_t)1 << 40, (uint64_t)1 << 40, 0, 0, ERR_RANGE, "a dimension of"},
        {(uint64_t)1 << 62, 1, 0, 0, ERR_RANGE, "values"},
        {UINT64_MAX, 1, 0, 0, ERR_RANGE, "a dimension of -1"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put_head(&b, 1, 0);
        put_tensor(&b, "w", bad[i].d0, bad[i].d1, bad[i].type, bad[i].offset);
        pad(&b, 32);
        for (int j = 0; j < 64; j++)
            buf_putc(&b, 0);
        refuses(&b, bad[i].code, bad[i].what);
    }
    put_head(&b, 1, 0);
    put_string(&b, "w");
    put(&b, 5, 4);
    for (int i = 0; i < 64; i++)
        buf_putc(&b, 1);
    refuses(&b, ERR_UNSUPPORTED, "tensor \"w\": 5 dimensions");
    for (int same = 0; same < 2; same++) {
        put_head(&b, 2, 0);
        put_tensor(&b, "v", 8, 2, 0, 0);
        put_tensor(&b, same ? "v" : "w", 8, 1, 0, same ? 64 : 32);
        pad(&b, 32);
        for (int j = 0; j < 128; j++)
            buf_putc(&b, 0);
        refuses(&b, ERR_FORMAT, same ? "\"v\" appears twice" : "\"v\" and \"w\" overlap");
    }
}

static void alignment_is_checked(void **state)
{
    (void)state;
    for (uint64_t alignment = 0; alignment < 4; alignment += 3) {
        struct buf b = {0};
        put_head(&b, 1, 1);
        put_string(&b, "general.alignment");
        put(&b, 4, 4);
        put(&b, alignment, 4);
        put_tensor(&b, "w", 1, 1, 0, 0);
        pad(&b, 32);
        put(&b, 0, 8);
        refuses(&b, ERR_FORMAT, "general.alignment is no power of two");
    }
}

/* A type that ggml knows and we do not decode opens, and says its name when it is wanted. */
static void unread_types_are_named(void **state)
{
    (void)state;
    struct buf b = {0};
    struct err e = ERR_INIT;
    put_head(&b, 1, 0);
    put_tensor(&b, "blk.0.w", 32, 1, 20, 0);
    pad(&b, 32);
    for (int i = 0; i < 18; i++)
        buf_putc(&b, 0);
    struct gguf *g = open_bytes(&b, b.len, &e);
    assert_non_null(g);
    float y[32];
    assert_int_equal(gguf_dequantize(y, gguf_find(g, "blk.0.w"), &e), ERR_UNSUPPORTED);
    assert_string_equal(e.msg, "tensor \"blk.0.w\": type IQ4_NL cannot be read");
    assert_string_equal(gguf_type_name(17), "IQ2_XS");
    assert_string_equal(gguf_type_name(33), "type 33");
    gguf_close(g);
    buf_free(&b);
    assert_null(gguf_open("/nonexistent/x.gguf", &e));
    assert_int_equal(e.code, ERR_IO);
}

/* All values of a file, tensor after tensor, for tests/parity/quant.py. */
static int dump(const char *file)
{
    struct err e = ERR_INIT;
    struct gguf *g = gguf_open(file, &e);
    int code = g ? 0 : e.code;
    for (int64_t i = 0; code >= 0 && i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        size_t n = (size_t)t->n_values;
        float *y = mem_alloc(n, sizeof *y);
        code = gguf_dequantize(y, t, &e);
        if (code >= 0 && fwrite(y, sizeof *y, n, stdout) != n)
            code = err_set(&e, ERR_IO, "standard output is closed");
        free(y);
    }
    gguf_close(g);
    if (code < 0)
        fprintf(stderr, "%s\n", e.msg);
    return code < 0 || fclose(stdout);
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "--dump"))
        return dump(argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metadata_has_its_types),
        cmocka_unit_test(every_type_equals_the_reference),
        cmocka_unit_test(halves_are_exact),
        cmocka_unit_test(truncation_is_found_at_every_byte),
        cmocka_unit_test(flipped_bytes_do_no_harm),
        cmocka_unit_test(heads_are_checked),
        cmocka_unit_test(metadata_is_checked),
        cmocka_unit_test(tensors_are_checked),
        cmocka_unit_test(alignment_is_checked),
        cmocka_unit_test(unread_types_are_named),
    };
    close(mkstemp(path));
    int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return n_failed;
}
