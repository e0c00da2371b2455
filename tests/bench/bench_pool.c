/* SPDX-License-Identifier: MIT
 *
 * bench_pool: features of a dataset as raise-embed writes them, with random values, so that
 * what comes after it can be measured at any size.
 *
 *     bench_pool DATA DIM OUT
 *
 * Shards of 4,096 rows, a gain and 64 embeddings of a target; embeddings are normal around one
 * of eight centres. */
#include "base/mem.h"
#include "base/rng.h"
#include "bench/bench.h"
#include "data/dataset.h"
#include "features/embed.h"

#include <stdio.h>
#include <stdlib.h>

#define BENCH_NAME "bench_pool"

enum { SHARD = 4096, N_TARGETS = 64, N_CENTRES = 8 };

static void draw(float *x, int64_t n, int64_t dim, struct rng *r)
{
    for (int64_t i = 0; i < n; i++) {
        uint64_t centre =
            rng_hash(11, (uint64_t)rng_hash(3, (uint64_t)i, 0, 0), 0, 0) % N_CENTRES;
        for (int64_t k = 0; k < dim; k++)
            x[i * dim + k] =
                (float)(rng_normal(r) + 4 * rng_hash_unit(5, centre, (uint64_t)k, 0));
    }
}

static void fill(struct embed_rows *rows, const struct dataset *d, int64_t from, int64_t n,
                 struct rng *r)
{
    rows->n = n;
    st_table_grow(&embed_rows_table, rows, n);
    draw(rows->embedding, n, rows->dim, r);
    for (int64_t i = 0; i < n; i++) {
        rows->len_x[i] = 20 + (int32_t)(rng_hash(1, (uint64_t)(from + i), 0, 0) % 60);
        rows->len_y[i] = 5 + (int32_t)(rng_hash(2, (uint64_t)(from + i), 0, 0) % 90);
        rows->logp_y[i] =
            -(float)rows->len_y[i] * (2 + (float)rng_hash_unit(3, (uint64_t)i, 0, 0));
        rows->logp_yx[i] = rows->logp_y[i] * 0.8f;
        rows->gain_sum[i] = (float)rng_normal(r);
        rows->hash[i] = d->records[from + i].hash;
        rows->source[i] = d->records[from + i].source;
    }
}

static void write_all(const struct dataset *d, int64_t dim, const char *out)
{
    struct err e = ERR_INIT;
    struct rng r;
    rng_init(&r, 7, 1);
    float *target = mem_alloc((size_t)(N_TARGETS * dim), sizeof *target);
    draw(target, N_TARGETS, dim, &r);
    struct features head = {.dim = dim,
                            .dataset = d->hash,
                            .model = 1,
                            .target = 2,
                            .probe = 3,
                            .target_loss = {2, 1},
                            .template = "plain",
                            .reduce = "pool",
                            .max_length = 1024,
                            .n_total = d->n_records,
                            .n_covered = d->n_records,
                            .n_targets = N_TARGETS,
                            .target_embedding = target};
    const struct embed_options o = {.dim = dim, .has_gain = true};
    struct st_writer *w = st_writer_open(out, 0, &e);
    must(w ? 0 : -1, &e);
    for (int64_t from = 0; from < d->n_records; from += SHARD) {
        int64_t n = d->n_records - from < SHARD ? d->n_records - from : SHARD;
        struct embed_rows rows;
        struct st_msg *m = st_msg_new();
        embed_rows_start(&rows, &o);
        fill(&rows, d, from, n, &r);
        st_table_put(&features_head_table, &head, m);
        st_table_put(&features_target_table, &head, m);
        embed_rows_to_msg(&rows, m);
        must(st_writer_put(w, m, &e), &e);
        st_msg_free(m);
        embed_rows_free(&rows);
    }
    must(st_writer_close(w, &e), &e);
    free(target);
}

int main(int argc, char **argv)
{
    struct err e = ERR_INIT;
    struct data_options o = {.on_error = DATA_FAIL};
    struct dataset d = {0};
    if (argc != 4 || atoll(argv[2]) < 1) {
        fprintf(stderr, "usage: bench_pool DATA DIM OUT\n");
        return 2;
    }
    must(dataset_read(&d, argv[1], &o, &e), &e);
    write_all(&d, atoll(argv[2]), argv[3]);
    dataset_free(&d);
    return 0;
}
