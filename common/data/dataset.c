/* SPDX-License-Identifier: MIT
 * dataset: reading, and choosing which records; see dataset.h. Comparing: dataset_join.c. */
#include "data/dataset.h"

#include "base/arena.h"
#include "base/file.h"
#include "base/rng.h"
#include "data/dataset_impl.h"
#include "stream/prov.h"
#include "stream/zio.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <jansson.h>
#include <xxhash.h>

enum {
    MAX_SHARDS = 1 << 20, /* the product with a number of records fits 64 bits */
    SAMPLE_STREAM = 0x5a, /* of the random numbers, so that no other use shares them */
    WINDOW_FIRST = 1 << 20,
    WINDOW_MOST = 8 << 20 /* bytes of text that are cut and parsed at a time */
};

/* ---- memory ---- */

static void file_free(struct data_file *f)
{
    data_csv_free(f->csv);
    free(f->name);
    free(f->path);
}

void dataset_free(struct dataset *d)
{
    if (!d)
        return;
    struct data_store *t = d->store;
    for (int64_t i = 0; i < d->n_problems; i++)
        free(d->problems[i].why);
    for (int64_t i = 0; t && i < t->n_files; i++)
        file_free(&t->files[i]);
    if (t) {
        spool_free(t->spool);
        free(t->files);
    }
    free(t);
    free(d->problems);
    free(d->records);
    free(d->name);
    *d = (struct dataset){0};
}

const char *dataset_file_name(const struct dataset *d, int64_t source)
{
    return d->store->files[data_store_find(d->store, source)].name;
}

char *dataset_place(const struct dataset *d, int64_t i)
{
    const struct data_row *r = &d->records[i];
    return mem_printf("%s:%lld: record %lld", dataset_file_name(d, r->source),
                      (long long)r->line, (long long)r->source);
}

int dataset_name_record(struct err *e, const struct dataset *d, int64_t i)
{
    char *place = dataset_place(d, i);
    int rc = err_prefix(e, "%s", place);
    free(place);
    return rc;
}

void dataset_add_inputs(const struct dataset *d, struct prov *p)
{
    for (int64_t i = 0; d->store && i < d->store->n_files; i++)
        prov_add_input(p, d->store->files[i].name, d->store->files[i].hash);
}

/* ---- parsing ---- */

/* A dataset while it is read. */
struct reading {
    struct dataset *d;
    const struct data_options *opt;
    struct data_file *file;
    struct data_split split;
    struct zin *in;
    char *window;
    size_t window_len, window_cap;
    int64_t n_seen;  /* records so far, bad ones too */
    int64_t n_taken; /* bytes of the files before this one, as they are packed */
    size_t records_cap, problems_cap;
    struct arena *arenas;
    int n_arenas;
};

struct parsed {
    uint64_t hash;
    unsigned keys;
    char *why;
    int64_t line;
};

static bool has_enough(const struct reading *g)
{
    return g->opt->limit > 0 && !g->opt->is_sampled && g->d->n_records >= g->opt->limit;
}

static int first_problem(const struct dataset *d, struct err *e)
{
    const struct data_problem *p = &d->problems[0];
    return err_set(e, ERR_FORMAT, "%s:%lld: record %lld: %s", dataset_file_name(d, p->source),
                   (long long)p->line, (long long)p->source, p->why);
}

static void parse_slices(struct reading *g, struct parsed *out)
{
    const struct data_split *s = &g->split;
    bool is_csv = s->format == DATA_CSV;
#pragma omp parallel for schedule(dynamic, 32)
    for (int64_t i = 0; i < s->n_slices; i++) {
        const struct data_slice *x = &s->slices[i];
        struct arena *a = &g->arenas[omp_get_thread_num() % g->n_arenas];
        struct err e = ERR_INIT;
        struct data_record r;
        out[i] = (struct parsed){.line = x->line};
        arena_reset(a);
        if (x->why)
            out[i].why = mem_strdup(x->why);
        else if (data_record_parse(&r, data_slice_text(s, i), x->len, is_csv, x->place, a,
                                   &out[i].line, &e) < 0)
            out[i].why = mem_strdup(e.msg);
        else
            out[i] = (struct parsed){.hash = r.hash, .keys = r.keys, .line = out[i].line};
    }
}

static void count_keys(struct dataset *d, unsigned keys, int64_t source)
{
    d->n_read++;
    for (int k = 0; k < DATA_N_KEYS && keys; k++)
        if ((keys >> k & 1) && d->n_with_key[k]++ == 0)
            d->first_with_key[k] = source;
}

const char *data_problem_text(const struct data_problem *p)
{
    return p->why ? p->why : "bad, as the first 1000 are";
}

/* Of a file that is bad throughout, what is wrong is not kept of each record. */
static void add_problem(struct reading *g, int64_t source, struct parsed *p)
{
    struct dataset *d = g->d;
    if (d->n_problems >= DATA_MAX_WHYS) {
        free(p->why);
        p->why = NULL;
    }
    MEM_GROW(d->problems, g->problems_cap, d->n_problems + 1);
    d->problems[d->n_problems++] = (struct data_problem){source, p->line, p->why};
}

/* The window's slices into records and problems, in order, as far as they are wanted. */
static int take_slices(struct reading *g, struct err *e)
{
    struct dataset *d = g->d;
    struct data_split *s = &g->split;
    struct parsed *p = mem_alloc((size_t)s->n_slices, sizeof *p);
    parse_slices(g, p);
    for (int64_t i = 0; i < s->n_slices; i++) {
        const struct data_slice *x = &s->slices[i];
        int64_t source = g->n_seen + i;
        if (p[i].why && !has_enough(g)) {
            add_problem(g, source, &p[i]);
        } else if (p[i].why) {
            free(p[i].why);
        } else if (!has_enough(g)) {
            MEM_GROW(d->records, g->records_cap, d->n_records + 1);
            d->records[d->n_records++] = (struct data_row){
                .hash = p[i].hash, .place = x->place, (uint32_t)source, (uint32_t)x->line};
            count_keys(d, p[i].keys, source);
        }
    }
    free(p);
    if (d->n_problems > 0 && g->opt->on_error == DATA_FAIL)
        return first_problem(d, e);
    return 0;
}

/* Sizes that the rows have room for. */
static int check_counts(const struct reading *g, struct err *e)
{
    if (g->n_seen + g->split.n_slices > UINT32_MAX || g->split.line > UINT32_MAX)
        return err_set(e, ERR_UNSUPPORTED, "%s: more than %u records or lines", g->file->name,
                       UINT32_MAX);
    return 0;
}

/* ---- reading ---- */

/* Fills the window; what is small or cannot be read from the file again goes to the spool. */
static int fill(struct reading *g, struct err *e)
{
    struct data_split *s = &g->split;
    while (!s->is_last && g->window_len + 1 < g->window_cap) {
        char *at = g->window + g->window_len;
        int64_t n = zin_read(g->in, at, g->window_cap - g->window_len - 1, e);
        int rc = n < 0 ? (int)n : 0;
        if (n > 0 && !g->file->path)
            rc = spool_append(g->d->store->spool, at, (size_t)n, e);
        if (rc < 0)
            return rc;
        s->is_last = n == 0;
        g->window_len += (size_t)n;
        g->file->size += n;
    }
    g->window[g->window_len] = '\0';
    s->text = g->window;
    s->len = g->window_len;
    return 0;
}

/* What the splitter has dealt with goes; where that is nothing, there must be more room. */
static void move_on(struct reading *g, size_t most)
{
    struct data_split *s = &g->split;
    bool is_small = s->at == 0 || g->window_cap < WINDOW_MOST;
    size_t done = s->at, room = is_small && !s->is_last ? 2 * g->window_cap : 0;
    memmove(g->window, g->window + done, g->window_len - done);
    g->window_len -= done;
    s->base += (int64_t)done;
    s->at = 0;
    g->n_seen += s->n_slices;
    s->n_before = g->n_seen;
    data_split_clear(s);
    room = room < most ? room : most;
    if (room > g->window_cap) { /* no more than that: it is all filled */
        g->window = mem_realloc(g->window, room, 1);
        g->window_cap = room;
    }
}

static int read_windows(struct reading *g, struct err *e)
{
    struct data_split *s = &g->split;
    size_t most = (size_t)s->max_record + 2; /* longer than any record, and a NUL */
    most = most > WINDOW_MOST ? most : WINDOW_MOST;
    for (;;) {
        int rc = fill(g, e);
        if (rc == 0)
            rc = data_split_window(s, e);
        if (rc == 0)
            rc = check_counts(g, e);
        if (rc == 0 && s->n_slices && !has_enough(g))
            rc = take_slices(g, e);
        if (rc < 0)
            return rc;
        if (g->opt->progress)
            g->opt->progress(g->opt->progress_arg, g->n_taken + zin_taken(g->in));
        bool is_done = s->is_last;
        move_on(g, most);
        if (is_done)
            return 0;
    }
}

static void begin_file(struct reading *g, const char *path)
{
    struct data_store *t = g->d->store;
    MEM_GROW(t->files, t->cap, t->n_files + 1);
    g->file = &t->files[t->n_files++];
    *g->file = (struct data_file){.name = mem_strdup(file_name_in(path)),
                                  .base = spool_size(t->spool),
                                  .source = g->n_seen};
    g->split = (struct data_split){.name = g->file->name,
                                   .format = g->opt->format,
                                   .max_record = g->opt->max_record ? g->opt->max_record
                                                                    : DATA_MAX_RECORD,
                                   .line = 1,
                                   .n_before = g->n_seen};
    g->window_len = 0;
}

static void end_file(struct reading *g)
{
    struct data_file *f = g->file;
    f->format = g->split.format;
    f->phase = g->split.phase;
    f->csv = g->split.csv;
    g->split.csv = NULL;
    data_split_free(&g->split);
}

static int read_file(struct reading *g, const char *path, struct err *e)
{
    begin_file(g, path);
    g->in = zin_open(path, e);
    if (!g->in)
        return e->code;
    zin_unbound(g->in); /* records are bounded instead */
    if (zin_size(g->in) > SPOOL_MEMORY - spool_size(g->d->store->spool))
        g->file->path = mem_strdup(file_is_std(path) ? "/proc/self/fd/0" : path);
    int rc = read_windows(g, e);
    g->file->hash = zin_hash(g->in);
    g->n_taken += zin_taken(g->in);
    zin_close(g->in);
    end_file(g);
    return rc;
}

/* ---- choosing ---- */

/* Keeps records [from, to), and the problems that lie among them. */
static void keep_range(struct dataset *d, int64_t from, int64_t to)
{
    int64_t lo = from == 0 ? 0 : (int64_t)d->records[from].source;
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

static int choose(struct dataset *d, const struct data_options *opt, struct err *e)
{
    if (opt->limit > 0 && opt->is_sampled && d->n_records > opt->limit)
        dataset_keep_sample(d, opt->limit, opt->seed);
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

/* One file's hash is its own; several are known by theirs, in order. */
static uint64_t hash_of(const struct data_store *t)
{
    if (t->n_files == 1)
        return t->files[0].hash;
    uint64_t *all = mem_alloc((size_t)t->n_files, sizeof *all);
    for (int64_t i = 0; i < t->n_files; i++)
        all[i] = t->files[i].hash;
    uint64_t hash = XXH64(all, (size_t)t->n_files * sizeof *all, 0);
    free(all);
    return hash;
}

static int read_files(struct reading *g, char **files, int64_t n, struct err *e)
{
    int rc = 0;
    for (int64_t i = 0; i < n && rc == 0; i++) {
        rc = read_file(g, files[i], e);
        if (rc == ERR_EMPTY && n > 1) /* a shard may be */
            rc = 0;
        if (i == 0)
            g->d->format = g->file->format;
    }
    return rc;
}

int dataset_read_paths(struct dataset *d, const char *const *paths, int64_t n,
                       const struct data_options *opt, struct err *e)
{
    struct err local = ERR_INIT;
    char **files = NULL;
    int64_t n_files = 0;
    struct reading g = {.d = d, .opt = opt, .window_cap = 0};
    e = e ? e : &local;
    *d = (struct dataset){.store = mem_zalloc(1, sizeof *d->store)};
    d->store->spool = spool_new();
    d->name = n == 1 ? mem_strdup(file_name_in(paths[0]))
                     : mem_printf("%s and %lld more", file_name_in(paths[0]), (long long)n - 1);
    g.n_arenas = omp_get_max_threads();
    g.arenas = mem_zalloc((size_t)g.n_arenas, sizeof *g.arenas);
    MEM_GROW(g.window, g.window_cap, WINDOW_FIRST);
    json_object_seed(1); /* once, before there are threads; nothing here depends on it */
    int rc = data_paths_list(paths, n, &files, &n_files, e);
    if (rc == 0)
        rc = read_files(&g, files, n_files, e);
    if (rc == 0) {
        d->hash = hash_of(d->store);
        rc = choose(d, opt, e);
    }
    data_paths_free(files, n_files);
    for (int i = 0; i < g.n_arenas; i++)
        arena_free(&g.arenas[i]);
    free(g.arenas);
    free(g.window);
    if (rc < 0)
        dataset_free(d);
    return rc;
}

/* A path a line, all in one text, unless a file has that name; *lines holds them. */
static const char **split_paths(const char *path, char **lines, int64_t *n)
{
    const char **paths = NULL;
    size_t cap = 0;
    char *rest = *lines = mem_strdup(path ? path : "-");
    bool is_one = !path || file_exists(path);
    *n = 0;
    do {
        MEM_GROW(paths, cap, *n + 1);
        paths[(*n)++] = rest;
        rest = is_one ? NULL : strchr(rest, '\n');
        if (rest)
            *rest++ = '\0';
    } while (rest);
    return paths;
}

int dataset_read(struct dataset *d, const char *path, const struct data_options *opt,
                 struct err *e)
{
    char *lines;
    int64_t n;
    const char **paths = split_paths(path, &lines, &n);
    int rc = dataset_read_paths(d, paths, n, opt, e);
    free(paths);
    free(lines);
    return rc;
}

/* -1: not known. */
static int64_t bytes_of(const char *path)
{
    char **files = NULL, *lines;
    int64_t n_files = 0, n, sum = 0;
    struct err e = ERR_INIT;
    struct stat st;
    const char **paths = split_paths(path, &lines, &n);
    bool is_known = data_paths_list(paths, n, &files, &n_files, &e) == 0;
    for (int64_t i = 0; is_known && i < n_files; i++) {
        is_known = !file_is_std(files[i]) && stat(files[i], &st) == 0 && S_ISREG(st.st_mode);
        sum += is_known ? st.st_size : 0;
    }
    data_paths_free(files, n_files);
    free(paths);
    free(lines);
    return is_known ? sum : -1;
}

int64_t dataset_bytes(const char *const *paths, int64_t n)
{
    int64_t sum = 0, one = 0;
    for (int64_t i = 0; i < n && one >= 0; i++)
        sum += one = bytes_of(paths[i]);
    return one < 0 ? 0 : sum;
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
