/* SPDX-License-Identifier: MIT
 * features: one row of features an instruction; see features.h. */
#include "features/features.h"

#include "base/mem.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define AT(type, field) ST_FIELD(struct features, type, field)
#define COUNT(field) ST_COUNT(struct features, field)

static const struct st_size sizes[] = {{"N", COUNT(n)},
                                       {"D", COUNT(dim)},
                                       {"C", COUNT(n_classes)},
                                       {"M", COUNT(n_targets)},
                                       {"K", COUNT(n_record)},
                                       {"G", COUNT(n_given)},
                                       {NULL, 0}};

static const struct st_key keys[] = {
    {"raise.dataset", AT(ST_KEY_HASH, dataset), 0, 0, ST_OPTIONAL},
    {"raise.model", AT(ST_KEY_HASH, model), 0, 0, ST_OPTIONAL},
    {"raise.adapter", AT(ST_KEY_HASH, adapter), 0, 0, ST_OPTIONAL},
    {"raise.target", AT(ST_KEY_HASH, target), 0, 0, ST_OPTIONAL},
    {"raise.probe", AT(ST_KEY_HASH, probe), 0, 0, ST_OPTIONAL},
    {"raise.given", AT(ST_KEY_NAMES, given_names), 0, 0, ST_OPTIONAL},
    {"raise.warmup", AT(ST_KEY_HASH, warmup), 0, 0, ST_OPTIONAL},
    {"raise.target_loss", AT(ST_KEY_REAL, target_loss[0]), 0, 0, ST_OPTIONAL},
    {"raise.target_loss_tuned", AT(ST_KEY_REAL, target_loss[1]), 0, 0, ST_OPTIONAL},
    {"raise.record", AT(ST_KEY_NAMES, record_names), 0, 0, ST_OPTIONAL},
    {"raise.template", AT(ST_KEY_TEXT, template), 0, 0, ST_OPTIONAL},
    {"raise.template_hash", AT(ST_KEY_HASH, template_hash), 0, 0, ST_OPTIONAL},
    {"raise.max_length", AT(ST_KEY_INT, max_length), 0, 1e15, ST_OPTIONAL},
    {"raise.reduce", AT(ST_KEY_TEXT, reduce), 0, 0, ST_OPTIONAL},
    {"raise.n_total", AT(ST_KEY_INT, n_total), 0, 1e15, ST_OPTIONAL},
    {"raise.first_row", AT(ST_KEY_INT, first_row), 0, 1e15, ST_OPTIONAL},
    {"raise.n_rows", AT(ST_KEY_INT, n_covered), 0, 1e15, ST_OPTIONAL},
    {.name = NULL}};

#define COLUMN(name, type, dtype, shape, flags) {#name, AT(dtype, name), shape, flags},
static const struct st_column rows[] = {FEATURES_COLUMNS(COLUMN){.name = NULL}};
static const struct st_column target[] = {{"target_embedding", AT(ST_F32, target_embedding),
                                           "[M, D]", ST_OPTIONAL | ST_WHOLE | ST_FINITE},
                                          {.name = NULL}};
static const struct st_column cluster[] = {
    {"class", AT(ST_I32, class_of), "[N]", 0},
    {"centroids", AT(ST_F32, centroids), "[C, D]", ST_WHOLE},
    {"consistency", AT(ST_F32, consistency), "[N]", ST_OPTIONAL},
    {"near", AT(ST_F32, near), "[N]", ST_OPTIONAL},
    {.name = NULL}};

const struct st_table features_head_table = {"features", sizes, NULL, keys};
const struct st_table features_row_table = {NULL, sizes, rows, NULL};
const struct st_table features_target_table = {NULL, sizes, target, NULL};
const struct st_table features_cluster_table = {NULL, sizes, cluster, NULL};

static int find_classes(struct features *f, struct err *e)
{
    if (!st_table_has_any(&features_cluster_table, f->msg)) {
        f->n_classes = 1;
        f->zeros = mem_zalloc((size_t)f->n, sizeof *f->zeros);
        f->class_of = f->zeros;
        return 0;
    }
    f->n_classes = -1;
    int rc = st_table_view(&features_cluster_table, f, f->msg, e);
    f->has_classes = true;
    for (int64_t i = 0; i < f->n && !rc; i++)
        if (f->class_of[i] < 0 || f->class_of[i] >= f->n_classes)
            rc = err_set(e, ERR_RANGE, "%s: row %" PRId64 ": class %d of %" PRId64,
                         st_msg_name(f->msg), i, (int)f->class_of[i], f->n_classes);
    return rc;
}

/* As many names as columns, no two alike. */
static int check_record(struct features *f, struct err *e)
{
    char **names = f->record_names;
    int64_t n = 0;
    f->n_record = f->record ? f->n_record : 0;
    for (; names && names[n]; n++)
        if (features_record_at(f, names[n]) != n)
            return err_set(e, ERR_FORMAT, "%s: metadata raise.record: \"%s\" twice",
                           st_msg_name(f->msg), names[n]);
    if (n == f->n_record)
        return 0;
    return err_set(e, ERR_MISMATCH,
                   "%s: metadata raise.record: %" PRId64 " names of the %" PRId64
                   " columns of tensor \"record\"",
                   st_msg_name(f->msg), n, f->n_record);
}

static const char *bad_column(const struct features *f, int64_t i)
{
    if (f->len_x[i] < 0)
        return "len_x is negative";
    if (f->len_y[i] < 1)
        return "len_y is not positive";
    if (f->source[i] < 0)
        return "source is negative";
    if (!isfinite(f->logp_yx[i]))
        return "logp_yx is not finite";
    if (!isfinite(f->logp_y[i]))
        return "logp_y is not finite";
    for (int64_t j = 0; j < f->dim; j++)
        if (!isfinite(f->embedding[i * f->dim + j]))
            return "embedding is not finite";
    return NULL;
}

/* The first bad row, whatever the number of threads. */
static int check_rows(const struct features *f, struct err *e)
{
    const char *name = st_msg_name(f->msg);
    int64_t first = f->n;
    if (f->n < 1 || f->dim < 1)
        return err_set(e, ERR_EMPTY, "%s: %" PRId64 " rows of %" PRId64 " values", name, f->n,
                       f->dim);
#pragma omp parallel for schedule(static) reduction(min : first)
    for (int64_t i = 0; i < f->n; i++)
        if (i < first && bad_column(f, i))
            first = i;
    if (first == f->n)
        return 0;
    const char *what = bad_column(f, first);
    return err_set(e, strstr(what, "finite") ? ERR_NONFINITE : ERR_RANGE,
                   "%s: row %" PRId64 " (record %" PRId64 "): %s", name, first,
                   f->source[first], what);
}

/* A name for each column of given. */
static int check_given(const struct features *f, struct err *e)
{
    int64_t n = 0;
    while (f->given_names && f->given_names[n])
        n++;
    return n == f->n_given ? 0
                           : err_set(e, ERR_MISMATCH,
                                     "%s: tensor \"given\" has %" PRId64
                                     " columns, metadata raise.given %" PRId64 " names",
                                     st_msg_name(f->msg), f->n_given, n);
}

int features_read(struct features *f, const char *path, struct err *e)
{
    struct err local = ERR_INIT;
    e = e ? e : &local;
    *f = (struct features){.n = -1,
                           .dim = -1,
                           .n_targets = -1,
                           .n_record = -1,
                           .n_given = -1,
                           .target_loss = {(double)NAN, (double)NAN},
                           .max_length = -1,
                           .n_total = -1,
                           .first_row = -1,
                           .n_covered = -1};
    f->msg = st_read(path, "features", e);
    int rc = f->msg ? st_table_view(&features_head_table, f, f->msg, e) : e->code;
    if (!rc)
        rc = st_table_view(&features_row_table, f, f->msg, e);
    if (!rc)
        rc = check_record(f, e);
    if (!rc)
        rc = st_table_view(&features_target_table, f, f->msg, e);
    if (!f->target_embedding)
        f->n_targets = 0;
    if (!f->given)
        f->n_given = 0;
    if (!rc)
        rc = check_given(f, e);
    if (!rc)
        rc = check_rows(f, e);
    if (!rc)
        rc = find_classes(f, e);
    if (rc < 0) {
        features_free(f);
        return rc;
    }
    f->id = st_msg_hash(f->msg);
    return 0;
}

void features_free(struct features *f)
{
    if (!f)
        return;
    free(f->zeros);
    st_table_free(&features_head_table, f); /* names: columns are the msg's */
    st_msg_free(f->msg);
    *f = (struct features){0};
}

int64_t features_record_at(const struct features *f, const char *name)
{
    for (int64_t k = 0; f->record_names && f->record_names[k]; k++)
        if (!strcmp(f->record_names[k], name))
            return k;
    return -1;
}

double features_gain_length(const struct features *f, int64_t i)
{
    return (double)f->gain_sum[i] / sqrt(f->len_y[i]);
}

double features_gain_loss(const struct features *f, int64_t i)
{
    return (double)f->gain_sum[i] / fmax(-(double)f->logp_yx[i], 1e-6);
}
