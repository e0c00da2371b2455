/* SPDX-License-Identifier: MIT
 * embed_run: a dataset to a file of features, window by window; see embed_run.h. */
#include "features/embed_run.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/version.h"
#include "cluster/cluster.h"
#include "features/embed_part.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- what there is to do ---- */

static int64_t window_from(const struct embed_run *r, int64_t w)
{
    return r->from + w * EMBED_WINDOW;
}

static int64_t window_len(const struct embed_run *r, int64_t w)
{
    int64_t left = r->n - w * EMBED_WINDOW;
    return left < EMBED_WINDOW ? left : EMBED_WINDOW;
}

void embed_run_shard(struct embed_run *r, int64_t i, int64_t k)
{
    int64_t N = r->data->n_records;
    r->from = N / k * i + N % k * i / k;
    r->n = N / k * (i + 1) + N % k * (i + 1) / k - r->from;
}

int embed_run_measure(struct embed_run *r, struct err *e)
{
    r->n_windows = (r->n + EMBED_WINDOW - 1) / EMBED_WINDOW;
    r->window_tokens = mem_zalloc((size_t)r->n_windows, sizeof *r->window_tokens);
    for (int64_t w = 0; w < r->n_windows; w++) {
        int64_t before = r->cost.n_tokens;
        int rc = embed_measure(&r->how, r->data, window_from(r, w), window_len(r, w), &r->cost,
                               &r->drops, e);
        if (rc)
            return rc;
        r->window_tokens[w] = r->cost.n_tokens - before;
        if (r->how.measured)
            r->how.measured(r->how.progress_arg, w * EMBED_WINDOW + window_len(r, w));
    }
    if (!r->cost.n_rows)
        return err_set(e, ERR_EMPTY, "%s: none of %" PRId64 " records can be scored: %s",
                       r->data->name, r->n, embed_why_text(r->drops.drop[0].why));
    return 0;
}

/* A plain file is one message, and PCA wants all rows. */
static bool keeps_all_rows(const struct embed_run *r)
{
    return r->is_uncompressed || r->pca_dim;
}

int64_t embed_run_bytes(const struct embed_run *r)
{
    int64_t n = keeps_all_rows(r) ? r->cost.n_rows : EMBED_WINDOW * EMBED_SHARD_WINDOWS;
    return n * (40 + 4 * (r->how.dim + r->how.record.n));
}

/* ---- output ---- */

static void set_meta(const struct embed_run *r, int64_t dim, struct st_msg *m)
{
    const struct gain *g = r->gain;
    char *names[GIVEN_MAX + 1] = {NULL};
    struct features head = {.dim = dim,
                            .record_names = r->how.record.names,
                            .target_loss = {(double)NAN, (double)NAN},
                            .dataset = r->data->hash,
                            .model = lm_hash(r->lm),
                            .adapter = lm_adapter_hash(r->lm),
                            .template_hash = tmpl_hash(r->how.tmpl),
                            .max_length = r->how.max_len,
                            .n_total = r->data->n_records,
                            .first_row = r->from,
                            .n_covered = r->n};
    snprintf(head.template, sizeof head.template, "%s", tmpl_name(r->how.tmpl));
    snprintf(head.reduce, sizeof head.reduce, "%s", r->pca_dim ? "pca" : "pool");
    if (r->how.given) {
        for (int64_t k = 0; k < r->how.given->n; k++)
            names[k] = r->how.given->names[k];
        head.given_names = names;
    }
    if (g) {
        head.target = g->target->hash;
        head.probe = g->probe;
        head.warmup = r->how.influence ? r->how.influence->hash : 0;
        head.target_loss[0] = g->loss;
        head.target_loss[1] = g->loss_tuned;
        head.n_targets = g->rows.n;
        head.target_embedding = r->target_reduced ? r->target_reduced : g->rows.embedding;
    }
    st_table_put(&features_head_table, &head, m);
    st_table_put(&features_target_table, &head, m);
    prov_write(r->prov, m, NULL);
}

static int put_rows(struct embed_run *r, const struct embed_rows *rows, struct err *e)
{
    if (!rows->n)
        return 0;
    struct st_msg *m = st_msg_new();
    set_meta(r, rows->dim, m);
    embed_rows_to_msg(rows, m);
    int rc = st_writer_put(r->writer, m, e);
    st_msg_free(m);
    r->n_written += rows->n;
    return rc;
}

/* Rows of window w have been appended to r->rows: a full shard goes out. */
static int window_arrived(struct embed_run *r, int64_t w, struct err *e)
{
    if (keeps_all_rows(r) || ((w + 1) % EMBED_SHARD_WINDOWS && w + 1 < r->n_windows))
        return 0;
    int rc = put_rows(r, &r->rows, e);
    embed_rows_clear(&r->rows);
    return rc;
}

/* y [n, d] = (x - mean) components^T, as cluster_pca does it. */
static float *project(const float *x, int64_t n, int64_t dim, const float *mean,
                      const float *components, int64_t d)
{
    float *y = mem_alloc((size_t)(n * d), sizeof *y);
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < d; k++) {
            double sum = 0;
            for (int64_t j = 0; j < dim; j++)
                sum += ((double)x[i * dim + j] - (double)mean[j]) *
                       (double)components[k * dim + j];
            y[i * d + k] = (float)sum;
        }
    return y;
}

static int reduce_by_pca(struct embed_run *r, struct err *e)
{
    int64_t d = r->pca_dim, dim = r->rows.dim;
    float *x = mem_alloc((size_t)(r->rows.n * d), sizeof *x);
    float *mean = mem_alloc((size_t)dim, sizeof *mean);
    float *components = mem_alloc((size_t)(d * dim), sizeof *components);
    int rc = cluster_pca(x, mean, components, r->rows.embedding, r->rows.n, dim, d, e);
    if (!rc && r->gain)
        r->target_reduced =
            project(r->gain->rows.embedding, r->gain->rows.n, dim, mean, components, d);
    if (!rc) {
        free(r->rows.embedding);
        r->rows.embedding = x;
        r->rows.dim = d;
        x = NULL;
    }
    free(x);
    free(mean);
    free(components);
    return rc;
}

/* What was kept to the end. */
static int put_kept(struct embed_run *r, struct err *e)
{
    int64_t step = r->is_uncompressed ? r->rows.n : EMBED_WINDOW * EMBED_SHARD_WINDOWS;
    int rc = r->pca_dim && r->rows.n ? reduce_by_pca(r, e) : 0;
    for (int64_t at = 0; !rc && at < r->rows.n; at += step) {
        struct embed_rows s = embed_rows_slice(&r->rows, at, step);
        rc = put_rows(r, &s, e);
    }
    return rc;
}

/* ---- the part ---- */

/* Which run this is: what its bytes depend on. */
static char *parameters(const struct embed_run *r)
{
    static const char *const overlong[] = {"drop", "cut", "fail"}; /* enum example_overlong */
    struct buf b = {0};
    char hex[17];
    buf_printf(&b, "version=%s %d in one batch\n", RAISE_VERSION, EMBED_WINDOW);
    buf_printf(&b, "dataset=%s\n%s", prov_hex(hex, r->data->hash), r->reading);
    buf_printf(&b, "model=%s\n", prov_hex(hex, lm_hash(r->lm)));
    buf_printf(&b, "adapter=%s\n",
               lm_adapter_hash(r->lm) ? prov_hex(hex, lm_adapter_hash(r->lm)) : "none");
    buf_printf(&b, "arithmetic=%s\n", lm_arith_path(r->lm));
    buf_printf(&b, "tokenizer=%s\n", prov_hex(hex, tok_hash(r->how.tok)));
    buf_printf(&b, "template=%s\n", prov_hex(hex, tmpl_hash(r->how.tmpl)));
    buf_printf(&b, "max-length=%" PRId64 "\noverlong=%s\nbatch-tokens=%" PRId64 "\n",
               r->how.max_len, overlong[r->how.overlong], r->how.batch_tokens);
    buf_printf(&b, "width=%" PRId64 "\n", r->how.dim);
    for (int64_t k = 0; k < r->how.record.n; k++)
        buf_printf(&b, "column-%" PRId64 "=%s\n", k, r->how.record.names[k]);
    return buf_str(&b);
}

static bool can_have_part(const char *out)
{
    struct stat st;
    return !file_is_std(out) && (stat(out, &st) < 0 || S_ISREG(st.st_mode));
}

static char *part_path(const struct embed_run *r)
{
    return mem_printf("%s.part", r->out);
}

bool embed_run_has_part(const struct embed_run *r)
{
    return can_have_part(r->out);
}

char *embed_run_old_part(const struct embed_run *r)
{
    if (!can_have_part(r->out))
        return NULL;
    char *path = part_path(r);
    if (file_exists(path))
        return path;
    free(path);
    return NULL;
}

static int open_part(struct embed_run *r, struct err *e)
{
    char *path = part_path(r), *which = parameters(r);
    r->part = part_open(path, which, r->is_resumed, e);
    free(path);
    free(which);
    if (!r->part)
        return e->code;
    r->n_before = part_n_entries(r->part);
    return 0;
}

static int open_writer(struct embed_run *r, struct err *e)
{
    r->writer = st_writer_open(r->out, r->is_uncompressed ? ST_PLAIN : 0, e);
    return r->writer ? 0 : e->code;
}

int embed_run_open(struct embed_run *r, struct err *e)
{
    embed_rows_start(&r->rows, &r->how);
    embed_rows_start(&r->window, &r->how);
    int rc = can_have_part(r->out) ? open_part(r, e) : open_writer(r, e);
    for (int64_t w = r->n_before; !rc && w < r->n_windows; w++)
        r->n_tokens_left += (double)r->window_tokens[w];
    return rc;
}

static int save_window(struct embed_run *r, size_t n_drops_before, struct err *e)
{
    char *data;
    size_t len;
    embed_part_pack(&r->window, r->drops.drop ? r->drops.drop + n_drops_before : NULL,
                    r->drops.n - n_drops_before, &data, &len);
    int rc = part_put(r->part, data, len, e);
    free(data);
    return rc;
}

/* A saved window's rows, or the records that dropped out when it was scored. */
static int load_window(struct embed_run *r, int64_t w, bool is_for_drops, struct err *e)
{
    char *data;
    size_t len;
    int rc = part_get(r->part, w, &data, &len, e);
    if (rc)
        return rc;
    rc = embed_part_unpack(is_for_drops ? NULL : &r->rows, is_for_drops ? &r->drops : NULL,
                           data, len, r->out, e);
    free(data);
    return rc;
}

/* ---- the work ---- */

static int score_window(struct embed_run *r, int64_t w, struct err *e)
{
    size_t n_drops = r->drops.n;
    embed_rows_clear(&r->window);
    int rc = embed_window(r->lm, &r->how, r->data, window_from(r, w), window_len(r, w),
                          r->part ? &r->window : &r->rows, &r->drops, e);
    if (rc)
        return rc;
    return r->part ? save_window(r, n_drops, e) : window_arrived(r, w, e);
}

int embed_run_score(struct embed_run *r, struct err *e)
{
    int rc = 0;
    for (int64_t w = 0; !rc && w < r->n_before; w++)
        rc = load_window(r, w, true, e);
    for (int64_t w = r->n_before; !rc && w < r->n_windows; w++) {
        rc = score_window(r, w, e);
        if (!rc && r->how.progress)
            r->how.progress(r->how.progress_arg, 0); /* one more is kept */
    }
    return rc;
}

static int assemble(struct embed_run *r, struct err *e)
{
    int rc = open_writer(r, e);
    for (int64_t w = 0; !rc && w < r->n_windows; w++) {
        rc = load_window(r, w, false, e);
        if (!rc)
            rc = window_arrived(r, w, e);
    }
    return rc;
}

int embed_run_finish(struct embed_run *r, struct err *e)
{
    int rc = r->part ? assemble(r, e) : 0;
    if (!rc && keeps_all_rows(r))
        rc = put_kept(r, e);
    if (!rc && !r->n_written)
        rc = err_set(e, ERR_EMPTY, "%s: no record gave a row: %s", r->data->name,
                     embed_why_text(r->drops.drop[0].why));
    if (rc)
        return rc;
    rc = st_writer_close(r->writer, e);
    r->writer = NULL;
    if (!rc) {
        part_close(r->part, true);
        r->part = NULL;
    }
    return rc;
}

/* A part is kept where it can be taken up, and only when it holds something. */
int64_t embed_run_n_kept(const struct embed_run *r)
{
    return r->part && r->is_resumed ? part_n_entries(r->part) : 0;
}

void embed_run_free(struct embed_run *r)
{
    part_close(r->part, !embed_run_n_kept(r));
    st_writer_abort(r->writer);
    embed_rows_free(&r->rows);
    embed_rows_free(&r->window);
    embed_drops_free(&r->drops);
    free(r->window_tokens);
    free(r->target_reduced);
    *r = (struct embed_run){0};
}
