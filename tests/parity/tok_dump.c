/* SPDX-License-Identifier: MIT
 *
 * tok_dump: ids of many texts, for comparison with other tokenizers.
 *
 *     tok_dump MODEL FLAGS < texts > ids          each text as u32 length and bytes; its ids as
 *                                                 u32 count and i32 ids
 *     tok_dump -d MODEL < ids > texts             the other way round
 *     tok_dump -t MODEL ROUNDS < texts            CPU seconds of each round of encoding all
 *
 * MODEL as tok_load takes it, FLAGS a sum of TOK_* values. Numbers are little-endian. */
#include "base/file.h"
#include "base/mem.h"
#include "text/tok.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* CPU time: other programs on the machine do not count. */
static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static uint32_t take_u32(const char **p)
{
    uint32_t v;
    memcpy(&v, *p, sizeof v);
    *p += sizeof v;
    return v;
}

static void put(const void *p, size_t size, size_t n)
{
    if (fwrite(p, size, n, stdout) != n)
        exit(1);
}

static int encode_all(const struct tok *t, const char *p, const char *end, int flags,
                      bool is_printed, struct err *e)
{
    struct tok_ids ids = {0};
    int rc = 0;
    while (p < end && rc == 0) {
        uint32_t len = take_u32(&p);
        ids.n = 0;
        rc = tok_encode(t, p, len, flags, &ids, e);
        p += len;
        uint32_t n = (uint32_t)ids.n;
        if (is_printed) {
            put(&n, sizeof n, 1);
            put(ids.ids, sizeof *ids.ids, ids.n);
        }
    }
    free(ids.ids);
    return rc;
}

static int decode_all(const struct tok *t, const char *p, const char *end, struct err *e)
{
    struct buf text = {0};
    int rc = 0;
    while (p < end && rc == 0) {
        uint32_t n = take_u32(&p);
        int32_t *ids = mem_dup(p, n * sizeof *ids);
        p += n * sizeof *ids;
        text.len = 0;
        rc = tok_decode(t, ids, n, true, &text, e);
        free(ids);
        uint32_t len = (uint32_t)text.len;
        put(&len, sizeof len, 1);
        put(text.data, 1, text.len);
    }
    buf_free(&text);
    return rc;
}

int main(int argc, char **argv)
{
    struct err e = ERR_INIT;
    bool is_decoding = argc == 3 && strcmp(argv[1], "-d") == 0;
    bool is_timing = argc == 4 && strcmp(argv[1], "-t") == 0;
    if (argc != 3 && !is_timing)
        return 2;
    char *data = NULL;
    size_t len = 0;
    double start = cpu_seconds();
    struct tok *t = tok_load(argv[is_decoding || is_timing ? 2 : 1], &e);
    if (is_timing)
        fprintf(stderr, "load %.3f s\n", cpu_seconds() - start);
    int rc = t ? file_read_all(NULL, &data, &len, &e) : e.code;
    if (is_decoding && rc == 0)
        rc = decode_all(t, data, data + len, &e);
    else if (!is_timing && rc == 0)
        rc = encode_all(t, data, data + len, atoi(argv[2]), true, &e);
    for (int i = 0; is_timing && rc == 0 && i < atoi(argv[3]); i++) {
        start = cpu_seconds();
        rc = encode_all(t, data, data + len, 0, false, &e);
        printf("%.6f\n", cpu_seconds() - start);
    }
    if (rc < 0)
        fprintf(stderr, "tok_dump: %s\n", e.msg);
    tok_free(t);
    free(data);
    return rc < 0 || fclose(stdout) ? 1 : 0;
}
