/* SPDX-License-Identifier: MIT
 * features: one row of features an instruction; see features.h. */
#include "features/features.h"

#include "base/file.h"
#include "base/mem.h"
#include "stream/prov.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Finds the columns; all have n rows. */
static int find_columns(struct features *f, struct err *e)
{
    const struct st_msg *m = f->msg;
    const struct st_tensor *len_x, *len_y, *logp_yx, *logp_y, *embedding, *hash, *source;
    if (!(len_x = st_msg_need(m, "len_x", ST_I32, 1, (int64_t[]){-1}, e)))
        return e->code;
    int64_t n = len_x->shape[0];
    if (!(len_y = st_msg_need(m, "len_y", ST_I32, 1, (int64_t[]){n}, e)) ||
        !(logp_yx = st_msg_need(m, "logp_yx", ST_F32, 1, (int64_t[]){n}, e)) ||
        !(logp_y = st_msg_need(m, "logp_y", ST_F32, 1, (int64_t[]){n}, e)) ||
        !(embedding = st_msg_need(m, "embedding", ST_F32, 2, (int64_t[]){n, -1}, e)) ||
        !(hash = st_msg_need(m, "hash", ST_U64, 1, (int64_t[]){n}, e)) ||
        !(source = st_msg_need(m, "source", ST_I64, 1, (int64_t[]){n}, e)))
        return e->code;
    f->n = n;
    f->dim = embedding->shape[1];
    f->len_x = len_x->data;
    f->len_y = len_y->data;
    f->logp_yx = logp_yx->data;
    f->logp_y = logp_y->data;
    f->embedding = embedding->data;
    f->hash = hash->data;
    f->source = source->data;
    return 0;
}

static int find_classes(struct features *f, const char *name, struct err *e)
{
    f->n_classes = 1;
    if (!st_msg_find(f->msg, "class")) {
        f->zeros = mem_zalloc((size_t)f->n, sizeof *f->zeros);
        f->class_of = f->zeros;
        return 0;
    }
    const struct st_tensor *of = st_msg_need(f->msg, "class", ST_I32, 1, (int64_t[]){f->n}, e);
    const struct st_tensor *centroids =
        of ? st_msg_need(f->msg, "centroids", ST_F32, 2, (int64_t[]){-1, f->dim}, e) : NULL;
    if (!centroids)
        return e->code;
    f->class_of = of->data;
    f->n_classes = centroids->shape[0];
    f->has_classes = true;
    for (int64_t i = 0; i < f->n; i++)
        if (f->class_of[i] < 0 || f->class_of[i] >= f->n_classes)
            return err_set(e, ERR_RANGE, "%s: row %" PRId64 ": class %d of %" PRId64, name, i,
                           (int)f->class_of[i], f->n_classes);
    return 0;
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
static int check_rows(const struct features *f, const char *name, struct err *e)
{
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

static int find_hash(const struct features *f, const char *name, const char *key,
                     uint64_t *hash, struct err *e)
{
    const char *value = st_msg_meta(f->msg, key);
    *hash = 0;
    if (value && !prov_unhex(value, hash))
        return err_set(e, ERR_FORMAT, "%s: metadata %s is not a hash: \"%s\"", name, key,
                       value);
    return 0;
}

int features_read(struct features *f, const char *path, struct err *e)
{
    struct err local = ERR_INIT;
    const char *name = file_name_in(path);
    int rc;
    e = e ? e : &local;
    *f = (struct features){.msg = st_read(path, "features", e)};
    if (!f->msg)
        return e->code;
    if ((rc = find_columns(f, e)) < 0 || (rc = check_rows(f, name, e)) < 0 ||
        (rc = find_classes(f, name, e)) < 0 ||
        (rc = find_hash(f, name, "raise.dataset", &f->dataset, e)) < 0 ||
        (rc = find_hash(f, name, "raise.model", &f->model, e)) < 0) {
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
    st_msg_free(f->msg);
    *f = (struct features){0};
}
