/* SPDX-License-Identifier: MIT
 *
 * bench_stream: reading and writing features against zstd itself on the same bytes.
 *
 *     bench_stream [rows [n]]      rows (1000000) in shards of 65,536; median of n (7)
 *
 * Ours and libzstd's take turns in one run. Writing: shards through st_writer to /dev/null,
 * against ZSTD_compress2 of the same messages (level 3, checksums, the same number of workers).
 * Reading: st_reader over the file, against ZSTD_decompressDCtx of its frames from memory.
 * Prints rows of work,ours,peer,ratio,unit. */
#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/text.h"
#include "stream/st.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <zstd.h>

enum { DIM = 32, SHARD = 65536, MAX_REPEATS = 99 };

struct bench {
    int64_t n_shards;
    struct st_msg **shard;
    char **plain; /* each shard serialised */
    size_t *plain_len;
    size_t bytes; /* of all plain shards */
    char path[64];
};

static void fail(const char *what)
{
    fprintf(stderr, "bench_stream: %s\n", what);
    exit(1);
}

/* Numbers as features have them: normal embeddings, small counts, random hashes. */
static struct st_msg *make_shard(struct rng *r, int64_t from, int64_t n)
{
    struct st_msg *m = st_msg_new();
    int64_t *source = mem_alloc((size_t)n, 8), shape[2] = {n, DIM};
    uint64_t *hash = mem_alloc((size_t)n, 8);
    int32_t *len = mem_alloc((size_t)n, 4);
    float *logp = mem_alloc((size_t)n, 4), *embedding = mem_alloc((size_t)n, 4 * DIM);
    for (int64_t i = 0; i < n; i++) {
        source[i] = from + i;
        hash[i] = rng_u64(r);
        len[i] = (int32_t)rng_below(r, 500);
        logp[i] = (float)(-100 * rng_unit(r));
        for (int64_t k = 0; k < DIM; k++)
            embedding[i * DIM + k] = (float)rng_normal(r);
    }
    st_msg_set_meta(m, "raise.kind", "features");
    st_msg_set_meta(m, "raise.version", ST_FORMAT_VERSION);
    st_msg_add_copy(m, "len_x", ST_I32, 1, shape, len);
    st_msg_add_copy(m, "logp_yx", ST_F32, 1, shape, logp);
    st_msg_add_copy(m, "embedding", ST_F32, 2, shape, embedding);
    st_msg_add_copy(m, "hash", ST_U64, 1, shape, hash);
    st_msg_add_copy(m, "source", ST_I64, 1, shape, source);
    free(source);
    free(hash);
    free(len);
    free(logp);
    free(embedding);
    return m;
}

static void write_ours(const struct bench *b, const char *path)
{
    struct err e = ERR_INIT;
    struct st_writer *w = st_writer_open(path, 0, &e);
    for (int64_t i = 0; w && i < b->n_shards; i++)
        if (st_writer_put(w, b->shard[i], &e) < 0)
            fail(e.msg);
    if (!w || st_writer_close(w, &e) < 0)
        fail(e.msg);
}

static void write_zstd(const struct bench *b)
{
    ZSTD_CCtx *c = ZSTD_createCCtx();
    size_t cap = 0;
    char *dst = NULL;
    ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, 3);
    ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
    ZSTD_CCtx_setParameter(c, ZSTD_c_nbWorkers, omp_get_max_threads());
    for (int64_t i = 0; i < b->n_shards; i++) {
        MEM_GROW(dst, cap, ZSTD_compressBound(b->plain_len[i]));
        if (ZSTD_isError(ZSTD_compress2(c, dst, cap, b->plain[i], b->plain_len[i])))
            fail("zstd");
    }
    free(dst);
    ZSTD_freeCCtx(c);
}

static void read_ours(const struct bench *b)
{
    struct err e = ERR_INIT;
    struct st_msg *m;
    struct st_reader *r = st_reader_open(b->path, &e);
    int rc = r ? 1 : -1;
    while (rc == 1 && (rc = st_reader_next(r, &m, &e)) == 1)
        st_msg_free(m);
    if (rc < 0)
        fail(e.msg);
    st_reader_close(r);
}

static void read_zstd(const struct bench *b)
{
    struct err e = ERR_INIT;
    struct file_map map;
    ZSTD_DCtx *d = ZSTD_createDCtx();
    if (file_map_open(&map, b->path, &e) < 0)
        fail(e.msg);
    const unsigned char *p = map.data;
    for (int64_t i = 0; i < b->n_shards; i++) {
        size_t n = ZSTD_findFrameCompressedSize(p, (size_t)(map.data + map.len - p));
        char *dst = mem_aligned(b->plain_len[i]);
        if (ZSTD_isError(ZSTD_decompressDCtx(d, dst, b->plain_len[i], p, n)))
            fail("zstd");
        free(dst);
        p += n;
    }
    ZSTD_freeDCtx(d);
    file_map_close(&map);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, by_value);
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

static void report(const char *what, size_t bytes, double *ours, double *peer, int n)
{
    double a = (double)bytes / 1e6 / median(ours, n), b = (double)bytes / 1e6 / median(peer, n);
    printf("%s,%.0f,%.0f,%.3f,MB/s\n", what, a, b, a / b);
}

int main(int argc, char **argv)
{
    int64_t rows = argc > 1 ? strtoll(argv[1], NULL, 10) : 1000000;
    int n = argc > 2 ? atoi(argv[2]) : 7;
    if (rows < 1 || n < 1 || n > MAX_REPEATS)
        fail("usage: bench_stream [rows [n]]");
    struct bench b = {.n_shards = (rows + SHARD - 1) / SHARD,
                      .path = "/tmp/bench_stream.XXXXXX"};
    b.shard = mem_alloc((size_t)b.n_shards, sizeof *b.shard);
    b.plain = mem_alloc((size_t)b.n_shards, sizeof *b.plain);
    b.plain_len = mem_alloc((size_t)b.n_shards, sizeof *b.plain_len);
    struct rng r;
    rng_init(&r, 42, 0);
    for (int64_t i = 0; i < b.n_shards; i++) {
        int64_t at = i * SHARD;
        b.shard[i] = make_shard(&r, at, rows - at < SHARD ? rows - at : SHARD);
        st_msg_serialize(b.shard[i], &b.plain[i], &b.plain_len[i]);
        b.bytes += b.plain_len[i];
    }
    int fd = mkstemp(b.path);
    if (fd < 0)
        fail("mkstemp");
    close(fd);
    write_ours(&b, b.path);
    double t[4][MAX_REPEATS];
    for (int i = 0; i < n; i++) {
        double t0 = text_clock();
        write_ours(&b, "/dev/null");
        double t1 = text_clock();
        write_zstd(&b);
        double t2 = text_clock();
        read_ours(&b);
        double t3 = text_clock();
        read_zstd(&b);
        double t4 = text_clock();
        t[0][i] = t1 - t0;
        t[1][i] = t2 - t1;
        t[2][i] = t3 - t2;
        t[3][i] = t4 - t3;
    }
    unlink(b.path);
    puts("work,ours,peer,ratio,unit");
    report("stream-write", b.bytes, t[0], t[1], n);
    report("stream-read", b.bytes, t[2], t[3], n);
    for (int64_t i = 0; i < b.n_shards; i++) {
        st_msg_free(b.shard[i]);
        free(b.plain[i]);
    }
    free(b.shard);
    free(b.plain);
    free(b.plain_len);
    return 0;
}
