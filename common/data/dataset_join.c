/* SPDX-License-Identifier: MIT
 * dataset_join: which records of a dataset another dataset, or another file, speaks of; see
 * dataset.h. */
#include "base/mem.h"
#include "data/dataset_impl.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- by content ---- */

/* Where a dataset's records are, by their hash: open addressing. */
struct by_content {
    const struct dataset *d;
    size_t n_slots;
    int64_t *slots; /* index + 1; 0: free */
};

static struct by_content by_content_make(const struct dataset *d)
{
    struct by_content c = {.d = d, .n_slots = 16};
    while (c.n_slots < 2 * (size_t)d->n_records)
        c.n_slots *= 2;
    c.slots = mem_zalloc(c.n_slots, sizeof *c.slots);
    for (int64_t i = 0; i < d->n_records; i++) {
        size_t at = d->records[i].hash & (c.n_slots - 1);
        while (c.slots[at])
            at = (at + 1) & (c.n_slots - 1);
        c.slots[at] = i + 1;
    }
    return c;
}

/* The first record with this content, or -1. */
static int64_t by_content_find(const struct by_content *c, uint64_t hash)
{
    for (size_t at = hash & (c->n_slots - 1); c->slots[at]; at = (at + 1) & (c->n_slots - 1))
        if (c->d->records[c->slots[at] - 1].hash == hash)
            return c->slots[at] - 1;
    return -1;
}

/* The same with the table of the one that is smaller. */
static int64_t overlap_of_few(const struct dataset *a, const struct dataset *b, int64_t *other)
{
    struct by_content in_a = by_content_make(a);
    int64_t found = -1;
    for (int64_t j = 0; j < b->n_records && found != 0; j++) {
        int64_t i = by_content_find(&in_a, b->records[j].hash);
        if (i < 0 || (found >= 0 && i >= found))
            continue;
        found = i;
        if (other)
            *other = j;
    }
    free(in_a.slots);
    return found;
}

int64_t dataset_overlap(const struct dataset *a, const struct dataset *b, int64_t *other)
{
    if (a->n_records < b->n_records)
        return overlap_of_few(a, b, other);
    struct by_content in_b = by_content_make(b);
    int64_t found = -1;
    for (int64_t i = 0; i < a->n_records && found < 0; i++) {
        int64_t j = by_content_find(&in_b, a->records[i].hash);
        if (j < 0)
            continue;
        found = i;
        if (other)
            *other = j;
    }
    free(in_b.slots);
    return found;
}

int64_t dataset_count_overlap(const struct dataset *a, const struct dataset *b, int64_t *first)
{
    struct by_content in_b = by_content_make(b);
    int64_t n = 0;
    *first = -1;
    for (int64_t i = 0; i < a->n_records; i++)
        if (by_content_find(&in_b, a->records[i].hash) >= 0)
            *first = n++ ? *first : i;
    free(in_b.slots);
    return n;
}

int64_t dataset_leave_out(struct dataset *d, const struct dataset *other)
{
    struct by_content in_other = by_content_make(other);
    int64_t n = 0, n_before = d->n_records;
    for (int64_t i = 0; i < n_before; i++)
        if (by_content_find(&in_other, d->records[i].hash) < 0)
            d->records[n++] = d->records[i];
    d->n_records = n;
    free(in_other.slots);
    return n_before - n;
}

int dataset_join_content(const struct dataset *d, const struct data_claim *c, int64_t *rows,
                         struct err *e)
{
    struct by_content in_d = by_content_make(d);
    int rc = 0;
    for (int64_t i = 0; i < c->n && !rc; i++) {
        rows[i] = by_content_find(&in_d, c->hash[i]);
        if (rows[i] < 0)
            rc = err_set(e, ERR_MISMATCH,
                         "%s: no record with the content of record %" PRId64 " of %s", d->name,
                         c->source[i], c->of);
    }
    free(in_d.slots);
    return rc;
}

/* ---- another file ---- */

static int read_other(struct dataset *other, const char *path, struct err *e)
{
    struct data_options how = {.on_error = DATA_SKIP};
    return dataset_read(other, path, &how, e);
}

int dataset_name_overlap(const struct dataset *a, int64_t i, const struct dataset *b, int64_t j,
                         struct err *e)
{
    char *one = dataset_place(a, i), *two = dataset_place(b, j);
    int rc = err_set(e, ERR_MISMATCH, "%s: is also %s", one, two);
    free(one);
    free(two);
    return rc;
}

int dataset_check_apart(const struct dataset *d, const char *path, struct err *e)
{
    struct dataset other = {0};
    int64_t j, i;
    int rc = read_other(&other, path, e);
    if (rc == 0 && (i = dataset_overlap(d, &other, &j)) >= 0)
        rc = dataset_name_overlap(d, i, &other, j, e);
    dataset_free(&other);
    return rc;
}

int dataset_leave_out_file(struct dataset *d, const char *path, int64_t *n_out, struct err *e)
{
    struct dataset other = {0};
    int rc = read_other(&other, path, e);
    if (rc == 0)
        *n_out = dataset_leave_out(d, &other);
    if (rc == 0 && d->n_records == 0)
        rc = err_set(e, ERR_EMPTY, "%s: every record is in %s, too", d->name, other.name);
    dataset_free(&other);
    return rc;
}

/* ---- by number ---- */

int64_t dataset_find_number(const struct dataset *d, int64_t source, int64_t guess)
{
    int64_t lo = 0, hi = d->n_records;
    if (guess < hi && d->records[guess].source == source)
        return guess;
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        if (d->records[mid].source < source)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < d->n_records && d->records[lo].source == source ? lo : -1;
}

int dataset_join(const struct dataset *d, const struct data_claim *c, int64_t *rows,
                 struct err *e)
{
    for (int64_t i = 0; i < c->n; i++) {
        rows[i] = dataset_find_number(d, c->source[i], i ? rows[i - 1] + 1 : 0);
        if (rows[i] < 0)
            return err_set(e, ERR_MISMATCH,
                           "%s: has no usable record %" PRId64 ", which is %s %" PRId64
                           " of %s",
                           d->name, c->source[i], c->what, i, c->of);
        uint64_t hash = d->records[rows[i]].hash;
        if (hash == c->hash[i])
            continue;
        err_set(e, ERR_MISMATCH,
                "not the one that is %s %" PRId64 " of %s (content %016" PRIx64
                ", expected %016" PRIx64 ")",
                c->what, i, c->of, hash, c->hash[i]);
        return dataset_name_record(e, d, rows[i]);
    }
    return 0;
}
