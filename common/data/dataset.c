/* SPDX-License-Identifier: MIT
 * dataset: reading, and choosing which records; see dataset.h. Comparing: dataset_join.c. */
#include "data/dataset.h"

#include "base/arena.h"
#include "base/file.h"
#include "base/rng.h"
#include "data/dataset_impl.h"
#include "stream/zio.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
enum {
    MAX_SHARDS = 1 << 20, /* the product with a number of records fits 64 bits */
    BLOCK_RECORDS = 4096, /* parsed at a time when only the first few are wanted */
    SAMPLE_STREAM = 0x5a  /* of the random numbers, so that no other use shares them */
};

/* ---- memory ---- */

struct data_priv {
    char *text;              /* the file */
    struct data_split split; /* slices and, for CSV, the objects that raw points into */
    struct arena *arenas;
    int n_arenas;
};

void dataset_free(struct dataset *d)
{
    if (!d)
        return;
    struct data_priv *p = d->priv;
    for (int64_t i = 0; i < d->n_problems; i++)
        free(d->problems[i].why);
    if (p) {
        for (int i = 0; i < p->n_arenas; i++)
            arena_free(&p->arenas[i]);
        free(p->arenas);
        data_split_free(&p->split);
        free(p->text);
        free(p);
    }
    free(d->problems);
    free(d->records);
    free(d->name);
    *d = (struct dataset){0};
}

/* ---- parsing ---- */

/* Slices [from, to) into records and problems, in order. */
static void parse_block(struct dataset *d, int64_t from, int64_t to)
{
    struct data_priv *p = d->priv;
    struct data_problem *bad = mem_zalloc((size_t)(to - from), sizeof *bad);
    struct data_record *good = mem_zalloc((size_t)(to - from), sizeof *good);
#pragma omp parallel for schedule(dynamic, 32)
    for (int64_t i = from; i < to; i++) {
        struct err e = ERR_INIT;
        struct arena *a = &p->arenas[omp_get_thread_num() % p->n_arenas];
        struct data_problem *b = &bad[i - from];
        if (data_record_parse(&good[i - from], &p->split, i, a, &b->line, &e) < 0)
            b->why = mem_strdup(e.msg);
        b->source = good[i - from].source = i;
    }
    for (int64_t i = 0; i < to - from; i++) {
        if (bad[i].why)
            d->problems[d->n_problems++] = bad[i];
        else
            d->records[d->n_records++] = good[i];
    }
    free(bad);
    free(good);
}

static int first_problem(const struct dataset *d, struct err *e)
{
    const struct data_problem *p = &d->problems[0];
    return err_set(e, ERR_FORMAT, "%s:%lld: record %lld: %s", d->name, (long long)p->line,
                   (long long)p->source, p->why);
}

static void parse(struct dataset *d, const struct data_options *opt)
{
    struct data_priv *p = d->priv;
    int64_t n = p->split.n_slices;
    bool is_part = opt->limit > 0 && !opt->is_sampled;
    d->records = mem_alloc((size_t)n, sizeof *d->records);
    d->problems = mem_alloc((size_t)n, sizeof *d->problems);
    p->n_arenas = omp_get_max_threads();
    p->arenas = mem_zalloc((size_t)p->n_arenas, sizeof *p->arenas);
    json_object_seed(1); /* once, before there are threads; nothing here depends on it */
    for (int64_t from = 0; from < n && (!is_part || d->n_records < opt->limit);) {
        int64_t step = is_part ? BLOCK_RECORDS : n, to = from + step < n ? from + step : n;
        parse_block(d, from, to);
        from = to;
    }
}

/* ---- choosing ---- */

/* Keeps records [from, to), and the problems that lie among them. */
static void keep_range(struct dataset *d, int64_t from, int64_t to)
{
    int64_t lo = from == 0 ? 0 : d->records[from].source;
    int64_t hi = to == d->n_records ? INT64_MAX : d->records[to].source, n = 0;
    for (int64_t i = 0; i < d->n_problems; i++) {
        if (d->problems[i].source >= lo && d->problems[i].source < hi)
            d->problems[n++] = d->problems[i];
        else
            free(d->problems[i].why);
    }
    d->n_problems = n;
    memmove(d->records, d->records + from, (size_t)(to - from) * sizeof *d->records);
    d->n_records = to - from;
}

/* Every subset of this size is equally likely (Knuth's algorithm S); the order stays. */
void dataset_keep_sample(struct dataset *d, int64_t limit, uint64_t seed)
{
    struct rng r;
    int64_t n = 0;
    rng_init(&r, seed, SAMPLE_STREAM);
    for (int64_t i = 0; i < d->n_records && n < limit; i++)
        if ((int64_t)rng_below(&r, (uint64_t)(d->n_records - i)) < limit - n)
            d->records[n++] = d->records[i];
    d->n_records = n;
}

static void keep_first(struct dataset *d, int64_t limit)
{
    int64_t hi = d->records[limit].source, n = 0;
    for (int64_t i = 0; i < d->n_problems; i++) {
        if (d->problems[i].source < hi)
            d->problems[n++] = d->problems[i];
        else
            free(d->problems[i].why);
    }
    d->n_problems = n;
    d->n_records = limit;
}

static int choose(struct dataset *d, const struct data_options *opt, struct err *e)
{
    if (opt->limit > 0 && d->n_records > opt->limit) {
        if (opt->is_sampled)
            dataset_keep_sample(d, opt->limit, opt->seed);
        else
            keep_first(d, opt->limit);
    }
    if (d->n_problems > 0 && opt->on_error == DATA_FAIL)
        return first_problem(d, e);
    if (d->n_records == 0 && d->n_problems == 0)
        return err_set(e, ERR_EMPTY, "%s: no records", d->name);
    if (d->n_records == 0)
        return err_set(
            e, ERR_EMPTY, "%s: no usable record among %lld; the first: line %lld: %s", d->name,
            (long long)d->n_problems, (long long)d->problems[0].line, d->problems[0].why);
    if (opt->shard_n <= 0)
        return 0;
    if (opt->shard_i < 0 || opt->shard_i >= opt->shard_n || opt->shard_n > MAX_SHARDS)
        return err_set(e, ERR_RANGE, "shard %lld/%lld: the first number must be in 0 to %lld",
                       (long long)opt->shard_i, (long long)opt->shard_n,
                       (long long)opt->shard_n - 1);
    int64_t n = d->n_records;
    int64_t from = n * opt->shard_i / opt->shard_n;
    int64_t to = n * (opt->shard_i + 1) / opt->shard_n;
    if (from == to)
        return err_set(e, ERR_EMPTY,
                       "%s: shard %lld/%lld is empty: there are only %lld records", d->name,
                       (long long)opt->shard_i, (long long)opt->shard_n, (long long)n);
    keep_range(d, from, to);
    return 0;
}

int dataset_read(struct dataset *d, const char *path, const struct data_options *opt,
                 struct err *e)
{
    struct data_priv *p = mem_zalloc(1, sizeof *p);
    size_t len = 0;
    *d = (struct dataset){.name = mem_strdup(file_name_in(path)), .priv = p};
    int rc = zin_read_all(path, &p->text, &len, &d->hash, e);
    if (rc == 0) {
        p->split = (struct data_split){
            .name = d->name, .text = p->text, .len = len, .format = opt->format};
        rc = data_split(&p->split, e);
        d->format = p->split.format;
    }
    if (rc == 0) {
        parse(d, opt);
        rc = choose(d, opt, e);
    }
    if (rc < 0)
        dataset_free(d);
    return rc;
}

/* ---- fields ---- */

static bool string_number(const char *s, double *v)
{
    char *end;
    if (!*s || strspn(s, "+-.0123456789eE") != strlen(s))
        return false;
    *v = strtod(s, &end);
    return *end == '\0';
}

bool data_record_number(const struct data_record *r, const char *field, double *v)
{
    struct data_member m;
    size_t at = 0;
    while (data_member_next(r->raw, r->raw_len, &at, &m)) {
        if (!data_member_is(&m, field))
            continue;
        json_t *j =
            json_loadb(m.value, m.value_len, JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, NULL);
        bool is_number = json_is_number(j);
        if (is_number)
            *v = json_number_value(j);
        else if (json_is_string(j))
            is_number = string_number(json_string_value(j), v);
        json_decref(j);
        return is_number;
    }
    return false;
}
