/* SPDX-License-Identifier: MIT
 * neighbours: rows nearest by cosine; see neighbours.h.
 *
 * Everything is a flat index of FAISS's, which multiplies blocks of rows through BLAS: the rows
 * themselves, or a cell's candidates. (Its inverted file would look cells up by itself, a row
 * at a time and, as Debian builds it, without vector instructions: eight times the work.)
 * Threads are ours: one block or cell each, inside which FAISS and OpenBLAS use one. */
#include "cluster/neighbours.h"

#include "base/mem.h"
#include "base/rng.h"

#include <math.h>
#include <omp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <faiss/c_api/Clustering_c.h>
#include <faiss/c_api/IndexFlat_c.h>
#include <faiss/c_api/Index_c.h>
#include <faiss/c_api/error_c.h>

enum { BLOCK_ROWS = 1024, ADD_ROWS = 1 << 16 };
enum { CELLS = 4, TRAIN_PER_CELL = 64, MIN_PER_CELL = 39, N_ITERATIONS = 8 };

struct search {
    int64_t n, dim;
    neighbours_rows *rows;
    neighbours_found *found;
    void *arg;
    int64_t k; /* neighbours of a row */
};

static int faiss_failed(struct err *e)
{
    return err_set(e, ERR_UNSUPPORTED, "FAISS: %s", faiss_get_last_error());
}

static FaissIndex *flat_new(int64_t dim, const float *x, int64_t n)
{
    FaissIndexFlat *flat = NULL;
    if (faiss_IndexFlat_new_with(&flat, dim, METRIC_INNER_PRODUCT))
        return NULL;
    if (n && faiss_Index_add(flat, n, x)) {
        faiss_Index_free(flat);
        return NULL;
    }
    return flat;
}

/* ---- looking up a block ---- */

/* One thread's room for a block: rows, and k labels and cosines a row. */
struct room {
    float *x, *cosine;
    idx_t *label;
};

static struct room room_new(int64_t dim, int64_t k)
{
    return (struct room){mem_alloc((size_t)(BLOCK_ROWS * dim), sizeof(float)),
                         mem_alloc((size_t)(BLOCK_ROWS * k), sizeof(float)),
                         mem_alloc((size_t)(BLOCK_ROWS * k), sizeof(idx_t))};
}

static void room_free(struct room *r)
{
    free(r->x);
    free(r->cosine);
    free(r->label);
}

/* The row is among the k + 1 nearest to itself, unless as many are equal to it: then the last
 * goes. */
static void hand_out(const struct search *s, int64_t row, idx_t *label, float *cosine)
{
    int64_t n = 0;
    for (int64_t j = 0; j < s->k + 1; j++)
        if (label[j] >= 0 && label[j] != row) {
            label[n] = label[j];
            cosine[n++] = cosine[j];
        }
    s->found(s->arg, row, label, cosine, n < s->k ? n : s->k);
}

/* ---- every row against every other ---- */

static FaissIndex *index_of_all(const struct search *s)
{
    int64_t most = s->n < ADD_ROWS ? s->n : ADD_ROWS;
    float *x = mem_alloc((size_t)(most * s->dim), sizeof *x);
    FaissIndex *index = flat_new(s->dim, NULL, 0);
    for (int64_t first = 0; index && first < s->n; first += ADD_ROWS) {
        int64_t m = s->n - first < ADD_ROWS ? s->n - first : ADD_ROWS;
        s->rows(s->arg, first, m, x);
        if (faiss_Index_add(index, m, x)) {
            faiss_Index_free(index);
            index = NULL;
        }
    }
    free(x);
    return index;
}

static int find_exactly(const struct search *s, struct err *e)
{
    FaissIndex *index = index_of_all(s);
    int n_failed = 0;
    if (!index)
        return faiss_failed(e);
#pragma omp parallel reduction(+ : n_failed)
    {
        struct room r = room_new(s->dim, s->k + 1);
        int64_t width = s->k + 1;
#pragma omp for schedule(dynamic)
        for (int64_t first = 0; first < s->n; first += BLOCK_ROWS) {
            int64_t m = s->n - first < BLOCK_ROWS ? s->n - first : BLOCK_ROWS;
            s->rows(s->arg, first, m, r.x);
            if (faiss_Index_search(index, m, r.x, width, r.cosine, r.label)) {
                n_failed++;
                continue;
            }
            for (int64_t i = 0; i < m; i++)
                hand_out(s, first + i, r.label + i * width, r.cosine + i * width);
        }
        room_free(&r);
    }
    faiss_Index_free(index);
    return n_failed ? err_set(e, ERR_UNSUPPORTED, "FAISS: the search for neighbours failed")
                    : 0;
}

/* ---- by cells ---- */

struct cells {
    int64_t n, n_probes;
    float *centre;  /* [n, dim] */
    int32_t *of;    /* [N] a row's cell */
    int64_t *start; /* [n + 1] */
    int64_t *row;   /* [N] rows by cell, rising */
    float *x;       /* [N, dim] in that order */
    idx_t *probe;   /* [n, n_probes] the cells to look into, nearest first */
};

static void cells_free(struct cells *c)
{
    free(c->centre);
    free(c->of);
    free(c->start);
    free(c->row);
    free(c->x);
    free(c->probe);
}

/* A seeded sample of n_sample rows, in order. */
static float *sample_rows(const struct search *s, int64_t n_sample, uint64_t seed)
{
    float *x = mem_alloc((size_t)(n_sample * s->dim), sizeof *x);
    struct rng r;
    int64_t n_taken = 0;
    rng_init(&r, seed, 0);
    for (int64_t i = 0; n_taken < n_sample; i++) /* selection sampling (Knuth 3.4.2 S) */
        if ((int64_t)rng_below(&r, (uint64_t)(s->n - i)) < n_sample - n_taken)
            s->rows(s->arg, i, 1, x + n_taken++ * s->dim);
    return x;
}

/* On one thread: FAISS's sums may depend on how many there are. */
static int train_centres(struct cells *c, const float *x, int64_t n, int64_t dim, uint64_t seed)
{
    FaissClusteringParameters p;
    FaissClustering *k_means = NULL;
    FaissIndex *index = flat_new(dim, NULL, 0);
    int n_threads = omp_get_max_threads();
    float *centre;
    size_t n_floats;
    faiss_ClusteringParameters_init(&p);
    p.niter = N_ITERATIONS;
    p.spherical = 1;
    p.seed = (int)(seed & INT32_MAX);
    p.max_points_per_centroid = INT32_MAX;
    omp_set_num_threads(1);
    int rc = !index || faiss_Clustering_new_with_params(&k_means, (int)dim, (int)c->n, &p) ||
             faiss_Clustering_train(k_means, n, x, index);
    omp_set_num_threads(n_threads);
    if (!rc) {
        faiss_Clustering_centroids(k_means, &centre, &n_floats);
        c->centre = mem_dup(centre, n_floats * sizeof *centre);
    }
    if (k_means)
        faiss_Clustering_free(k_means);
    if (index)
        faiss_Index_free(index);
    return rc ? -1 : 0;
}

static int make_centres(struct cells *c, const struct search *s, uint64_t seed)
{
    int64_t most = s->n / MIN_PER_CELL; /* less, and FAISS complains on stderr */
    c->n = (int64_t)(CELLS * sqrt((double)s->n));
    c->n = c->n < most ? c->n : most > 1 ? most : 1;
    int64_t n_sample = c->n * TRAIN_PER_CELL < s->n ? c->n * TRAIN_PER_CELL : s->n;
    float *x = sample_rows(s, n_sample, seed);
    int rc = train_centres(c, x, n_sample, s->dim, seed);
    free(x);
    return rc;
}

/* Each row's nearest centre, and each centre's nearest. */
static int assign_cells(struct cells *c, const struct search *s)
{
    FaissIndex *index = flat_new(s->dim, c->centre, c->n);
    int n_failed = !index;
    c->of = mem_alloc((size_t)s->n, sizeof *c->of);
    c->probe = mem_alloc((size_t)(c->n * c->n_probes), sizeof *c->probe);
#pragma omp parallel if (index) reduction(+ : n_failed)
    {
        struct room r = room_new(s->dim, c->n_probes);
#pragma omp for schedule(static)
        for (int64_t first = 0; first < (index ? s->n : 0); first += BLOCK_ROWS) {
            int64_t m = s->n - first < BLOCK_ROWS ? s->n - first : BLOCK_ROWS;
            s->rows(s->arg, first, m, r.x);
            n_failed += faiss_Index_search(index, m, r.x, 1, r.cosine, r.label) != 0;
            for (int64_t i = 0; i < m; i++)
                c->of[first + i] = (int32_t)(r.label[i] < 0 ? 0 : r.label[i]);
        }
#pragma omp for schedule(static)
        for (int64_t first = 0; first < (index ? c->n : 0); first += BLOCK_ROWS) {
            int64_t m = c->n - first < BLOCK_ROWS ? c->n - first : BLOCK_ROWS;
            n_failed += faiss_Index_search(index, m, c->centre + first * s->dim, c->n_probes,
                                           r.cosine, c->probe + first * c->n_probes) != 0;
        }
        room_free(&r);
    }
    if (index)
        faiss_Index_free(index);
    return n_failed ? -1 : 0;
}

/* Rows in the order of their cells (a counting sort), and a copy of them. */
static void sort_rows(struct cells *c, const struct search *s)
{
    c->start = mem_zalloc((size_t)c->n + 1, sizeof *c->start);
    c->row = mem_alloc((size_t)s->n, sizeof *c->row);
    c->x = mem_alloc((size_t)(s->n * s->dim), sizeof *c->x);
    for (int64_t i = 0; i < s->n; i++)
        c->start[c->of[i] + 1]++;
    for (int64_t j = 0; j < c->n; j++)
        c->start[j + 1] += c->start[j];
    int64_t *next = mem_dup(c->start, (size_t)c->n * sizeof *next);
    for (int64_t i = 0; i < s->n; i++)
        c->row[next[c->of[i]]++] = i;
    free(next);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < s->n; i++)
        s->rows(s->arg, c->row[i], 1, c->x + i * s->dim);
}

/* The rows of the cells that cell j looks into: an index, and their numbers (owned). */
static FaissIndex *candidates_of(const struct cells *c, const struct search *s, int64_t j,
                                 int64_t **row)
{
    FaissIndex *index = flat_new(s->dim, NULL, 0);
    int64_t n = 0;
    size_t cap = 0;
    *row = NULL;
    for (int64_t p = 0; index && p < c->n_probes; p++) {
        int64_t cell = c->probe[j * c->n_probes + p];
        int64_t from = cell < 0 ? 0 : c->start[cell], to = cell < 0 ? 0 : c->start[cell + 1];
        if (to > from && faiss_Index_add(index, to - from, c->x + from * s->dim)) {
            faiss_Index_free(index);
            return NULL;
        }
        MEM_GROW(*row, cap, n + to - from);
        memcpy(*row + n, c->row + from, (size_t)(to - from) * sizeof **row);
        n += to - from;
    }
    return index;
}

static int search_cell(const struct cells *c, const struct search *s, int64_t j, struct room *r)
{
    int64_t width = s->k + 1, *row, from = c->start[j], to = c->start[j + 1];
    if (from == to)
        return 0;
    FaissIndex *index = candidates_of(c, s, j, &row);
    int rc = index ? 0 : -1;
    for (int64_t m; !rc && from < to; from += m) {
        m = to - from < BLOCK_ROWS ? to - from : BLOCK_ROWS;
        rc = faiss_Index_search(index, m, c->x + from * s->dim, width, r->cosine, r->label);
        for (int64_t i = 0; !rc && i < m * width; i++)
            r->label[i] = r->label[i] < 0 ? -1 : row[r->label[i]];
        for (int64_t i = 0; !rc && i < m; i++)
            hand_out(s, c->row[from + i], r->label + i * width, r->cosine + i * width);
    }
    if (index)
        faiss_Index_free(index);
    free(row);
    return rc;
}

static int find_in_cells(const struct search *s, const struct neighbours_options *o,
                         struct err *e)
{
    struct cells c = {0};
    int n_failed = make_centres(&c, s, o->seed) != 0;
    c.n_probes = o->n_probes < c.n ? o->n_probes : c.n;
    if (n_failed || assign_cells(&c, s)) {
        cells_free(&c);
        return faiss_failed(e);
    }
    sort_rows(&c, s);
#pragma omp parallel reduction(+ : n_failed)
    {
        struct room r = room_new(s->dim, s->k + 1);
#pragma omp for schedule(dynamic)
        for (int64_t j = 0; j < c.n; j++)
            n_failed += search_cell(&c, s, j, &r) != 0;
        room_free(&r);
    }
    cells_free(&c);
    return n_failed ? err_set(e, ERR_UNSUPPORTED, "FAISS: the search for neighbours failed")
                    : 0;
}

/* ---- entry ---- */

int neighbours_find(int64_t n, int64_t dim, neighbours_rows *rows, neighbours_found *found,
                    void *arg, const struct neighbours_options *o, struct err *e)
{
    struct search s = {.n = n, .dim = dim, .rows = rows, .found = found, .arg = arg};
    if (n < 1 || dim < 1 || o->k < 1 || o->n_probes < 1)
        return err_set(e, ERR_RANGE, "%lld neighbours of %lld rows of %lld values",
                       (long long)o->k, (long long)n, (long long)dim);
    s.k = o->k < n - 1 ? o->k : n - 1;
    return n > o->max_exact ? find_in_cells(&s, o, e) : find_exactly(&s, e);
}

int neighbours_best(float *best, int64_t n, int64_t dim, neighbours_rows *rows, void *arg,
                    const float *target, int64_t n_target, struct err *e)
{
    int n_failed = 0;
    if (n_target < 1 || dim < 1)
        return err_set(e, ERR_RANGE, "%lld rows of %lld values to compare with",
                       (long long)n_target, (long long)dim);
    FaissIndex *index = flat_new(dim, target, n_target);
    if (!index)
        return faiss_failed(e);
#pragma omp parallel reduction(+ : n_failed)
    {
        struct room r = room_new(dim, 1);
#pragma omp for schedule(static)
        for (int64_t first = 0; first < n; first += BLOCK_ROWS) {
            int64_t m = n - first < BLOCK_ROWS ? n - first : BLOCK_ROWS;
            rows(arg, first, m, r.x);
            n_failed += faiss_Index_search(index, m, r.x, 1, r.cosine, r.label) != 0;
            memcpy(best + first, r.cosine, (size_t)m * sizeof *best);
        }
        room_free(&r);
    }
    faiss_Index_free(index);
    return n_failed ? err_set(e, ERR_UNSUPPORTED, "FAISS: the search for neighbours failed")
                    : 0;
}
