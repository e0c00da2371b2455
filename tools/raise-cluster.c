/* SPDX-License-Identifier: MIT
 * raise-cluster: groups instructions by their embeddings.
 *
 * A filter on features streams: all rows in, k-means, the same rows out with `class` and the
 * table of centroids beside them, and with what else takes all rows to tell: `consistency`, and
 * `near` where the target's embeddings are there. Everything else passes through untouched. */
#include "base/cpu.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/opt.h"
#include "base/place.h"
#include "base/text.h"
#include "cluster/cluster.h"
#include "features/features.h"
#include "features/relate.h"
#include "policy/select.h"
#include "stream/prov.h"
#include "stream/st.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SHARD_ROWS = 1 << 16, USUAL_BATCH = 16 };

struct options {
    struct opt_common common;
    int64_t n_classes, n_iter, n_redo, min_size, n_neighbours;
    bool is_spherical;
    const char *in;
    const char *command_line;
};

static const struct opt table[] = {
    {'k', "classes", OPT_INT, offsetof(struct options, n_classes), "N", "classes to make", 1,
     1 << 20, NULL},
    {0, "iterations", OPT_INT, offsetof(struct options, n_iter), "N", "k-means iterations", 1,
     1e6, NULL},
    {0, "redo", OPT_INT, offsetof(struct options, n_redo), "N",
     "starts, of which the best is kept", 1, 1e6, NULL},
    {0, "min-size", OPT_INT, offsetof(struct options, min_size), "ROWS",
     "dissolve smaller classes; 0: a twentieth of the average", 0, 1e12, NULL},
    {0, "neighbours", OPT_INT, offsetof(struct options, n_neighbours), "N",
     "nearest rows that consistency compares with; 0: leave it out", 0, 1000, NULL},
    {0, "spherical", OPT_FLAG, offsetof(struct options, is_spherical), NULL,
     "compare directions only (cosine)", 0, 0, NULL},
    {0, NULL, OPT_END, 0, NULL, NULL, 0, 0, NULL},
};

static const struct opt_spec spec = {
    .program = "raise-cluster",
    .usage = "[options] [features]",
    .summary =
        "Groups instructions into classes by k-means, and compares each with those like it.",
    .common = "otusp",
    .common_offset = offsetof(struct options, common),
    .table = table,
    .max_args = 1,
    .input = "It reads features, as raise-embed writes them: a file, or standard input where a "
             "pipe or a file is. All rows are read before the first is written.",
    .examples = "raise-cluster -k 1 -o features.st.zst pool.st.zst\n"
                "raise-embed -m MODEL data.jsonl | raise-cluster -k 4 > features.st.zst",
};

/* ---- input ---- */

static int check_rows(const struct st_msg *m, int64_t n, struct err *e)
{
    for (int64_t i = 0; i < st_msg_n_tensors(m); i++) {
        const struct st_tensor *t = st_msg_at(m, i);
        if (!st_msg_is_whole(m, t->name) && (!t->n_dims || t->shape[0] != n))
            return err_set(e, ERR_MISMATCH, "tensor \"%s\" does not have %" PRId64 " rows",
                           t->name, n);
    }
    return n ? 0 : err_set(e, ERR_EMPTY, "no rows");
}

/* The record of a row, for messages. */
static int64_t record_of(const struct st_msg *m, int64_t row)
{
    const struct st_tensor *source = st_msg_find(m, "source");
    return source && source->dtype == ST_I64 && source->n_dims == 1
               ? ((const int64_t *)source->data)[row]
               : row;
}

static int check_finite(const struct st_msg *m, const char *name, const float *x, int64_t n,
                        int64_t width, struct err *e)
{
    for (int64_t i = 0; i < n * width; i++)
        if (!isfinite(x[i]))
            return err_set(e, ERR_NONFINITE,
                           "row %" PRId64 " (record %" PRId64 "): %s is not finite", i / width,
                           record_of(m, i / width), name);
    return 0;
}

/* A row that cannot be grouped is named by its record; rows that are all the same are a fault
 * further up, and no classes. */
static int check_embedding(const struct st_msg *m, const struct st_tensor *t, struct err *e)
{
    const float *x = t->data;
    int64_t n = t->shape[0], dim = t->shape[1];
    int rc = check_finite(m, "embedding", x, n, dim, e);
    for (int64_t i = 1; !rc && i < n; i++)
        if (memcmp(x, x + i * dim, (size_t)dim * sizeof *x))
            return 0;
    return rc || n == 1 ? rc : err_set(e, ERR_RANGE, "all %" PRId64 " embeddings are equal", n);
}

/* ---- the columns ---- */

/* What this program adds. */
struct added {
    struct cluster_result classes;
    float *consistency, *near; /* [n]; NULL: not to be had */
};

static void added_free(struct added *a)
{
    cluster_result_free(&a->classes);
    free(a->consistency);
    free(a->near);
}

static int check_lengths(const struct st_msg *m, const int32_t *len_y, int64_t n, struct err *e)
{
    for (int64_t i = 0; i < n; i++)
        if (len_y[i] < 1)
            return err_set(e, ERR_RANGE,
                           "row %" PRId64 " (record %" PRId64 "): len_y is not positive", i,
                           record_of(m, i));
    return 0;
}

static int find_pool(struct relate_pool *p, const struct st_msg *m,
                     const struct st_tensor *embedding, struct err *e)
{
    const struct st_tensor *len_x, *len_y, *logp_yx, *logp_y;
    int64_t n = embedding->shape[0];
    if (!(len_x = st_msg_need(m, "len_x", ST_I32, 1, (int64_t[]){n}, e)) ||
        !(len_y = st_msg_need(m, "len_y", ST_I32, 1, (int64_t[]){n}, e)) ||
        !(logp_yx = st_msg_need(m, "logp_yx", ST_F32, 1, (int64_t[]){n}, e)) ||
        !(logp_y = st_msg_need(m, "logp_y", ST_F32, 1, (int64_t[]){n}, e)))
        return e->code;
    *p = (struct relate_pool){n,           embedding->shape[1], embedding->data, len_x->data,
                              len_y->data, logp_yx->data,       logp_y->data};
    int rc = check_finite(m, "logp_yx", p->logp_yx, n, 1, e);
    if (!rc)
        rc = check_finite(m, "logp_y", p->logp_y, n, 1, e);
    return rc ? rc : check_lengths(m, p->len_y, n, e);
}

/* A file may hold embeddings alone, made by others: it can be grouped all the same. */
static bool has_scores(const struct st_msg *m)
{
    static const char *const needed[] = {"len_x", "len_y", "logp_yx", "logp_y"};
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        if (!st_msg_find(m, needed[i])) {
            log_warn("no tensor \"%s\": consistency left out", needed[i]);
            return false;
        }
    return true;
}

static int relate(struct added *a, const struct options *o, const struct st_msg *m,
                  const struct st_tensor *embedding, struct err *e)
{
    int64_t n = embedding->shape[0], dim = embedding->shape[1];
    struct relate_pool p = {.n = n, .dim = dim, .embedding = embedding->data};
    struct neighbours_options how = NEIGHBOURS_OPTIONS_DEFAULTS;
    const struct st_tensor *target = st_msg_find(m, "target_embedding");
    int rc = 0;
    if (o->n_neighbours && has_scores(m) && !(rc = find_pool(&p, m, embedding, e))) {
        how.k = o->n_neighbours;
        how.seed = o->common.seed;
        a->consistency = mem_alloc((size_t)n, sizeof *a->consistency);
        rc = relate_consistency(a->consistency, &p, &how, e);
    }
    if (rc || !target)
        return rc;
    if (!(target = st_msg_need(m, "target_embedding", ST_F32, 2, (int64_t[]){-1, dim}, e)))
        return e->code;
    a->near = mem_alloc((size_t)n, sizeof *a->near);
    return relate_near(a->near, &p, target->data, target->shape[0], e);
}

/* ---- output ---- */

/* Rows [first, first + n) of the input and what is added to them. Borrows both. */
static struct st_msg *shard_of(const struct st_msg *in, const struct added *a, int64_t dim,
                               int64_t first, int64_t n, const struct prov *prov)
{
    struct st_msg *m = st_msg_new();
    const char *key, *value;
    for (int64_t i = 0; i < st_msg_n_meta(in); i++) {
        st_msg_meta_at(in, i, &key, &value);
        st_msg_set_meta(m, key, value);
    }
    prov_write(prov, m, st_msg_meta(in, "raise.history"));
    for (int64_t i = 0; i < st_msg_n_tensors(in); i++) {
        const struct st_tensor *t = st_msg_at(in, i);
        const char *data = t->data;
        int64_t shape[ST_MAX_DIMS];
        if (st_table_has(&features_cluster_table, t->name))
            continue; /* of an earlier run */
        memcpy(shape, t->shape, sizeof shape);
        if (!st_msg_is_whole(in, t->name)) {
            data += t->len / (size_t)t->shape[0] * (size_t)first;
            shape[0] = n;
        }
        st_msg_add(m, t->name, t->dtype, t->n_dims, shape, data);
    }
    const struct features added = {.n = n,
                                   .dim = dim,
                                   .n_classes = a->classes.k,
                                   .class_of = a->classes.assign + first,
                                   .centroids = a->classes.centroids,
                                   .consistency =
                                       a->consistency ? a->consistency + first : NULL,
                                   .near = a->near ? a->near + first : NULL};
    st_table_put(&features_cluster_table, &added, m);
    return m;
}

static int write_all(const struct options *o, const struct st_msg *in, const struct added *a,
                     int64_t n, int64_t dim, const struct prov *prov, struct err *e)
{
    bool is_plain = o->common.is_uncompressed;
    struct st_writer *w = st_writer_open(o->common.out, is_plain ? ST_PLAIN : 0, e);
    int64_t step = is_plain ? n : SHARD_ROWS;
    if (!w)
        return e->code;
    for (int64_t first = 0; first < n; first += step) {
        int64_t rows = n - first < step ? n - first : step;
        struct st_msg *m = shard_of(in, a, dim, first, rows, prov);
        int rc = st_writer_put(w, m, e);
        st_msg_free(m);
        if (rc < 0) {
            st_writer_abort(w);
            return rc;
        }
    }
    return st_writer_close(w, e);
}

static struct prov *provenance(const struct options *o, const struct st_msg *in)
{
    if (o->common.no_provenance)
        return NULL;
    struct prov *p = prov_new(spec.program, o->command_line, o->common.seed);
    char *path = mem_printf("faiss-%s-%s", cluster_faiss_version(), cpu_blas_kernel());
    prov_set_path(p, path);
    prov_add_input(p, o->in, st_msg_hash(in));
    free(path);
    return p;
}

static void report(const struct cluster_result *r, int64_t n)
{
    enum { N_SHOWN = 16 };
    struct buf sizes = {0};
    for (int64_t c = 0; c < r->k && c < N_SHOWN; c++)
        buf_printf(&sizes, "%s%" PRId64, c ? ", " : "", r->sizes[c]);
    if (r->k > N_SHOWN)
        buf_puts(&sizes, ", ...");
    if (r->n_empty)
        log_warn("%" PRId64 " of the classes stayed empty and were left out", r->n_empty);
    if (r->n_dissolved)
        log_warn("%" PRId64 " small classes were dissolved: their %" PRId64
                 " rows went to the nearest others",
                 r->n_dissolved, r->n_moved);
    log_detail("mean squared distance to the centroid: %.6g", r->objective / (double)n);
    if (r->k > 1) {
        char *shares = select_quotas_text(r->sizes, r->k, USUAL_BATCH);
        log_note("%s that a policy draws, whatever it holds of the others (-k 1: no quotas)",
                 shares);
        free(shares);
        log_summary("%" PRId64 " rows in %" PRId64 " classes: %s", n, (int64_t)r->k,
                    buf_str(&sizes));
    } else {
        log_summary("%" PRId64 " row%s, one class", n, text_s(n));
    }
    buf_free(&sizes);
}

static struct cluster_options settings(const struct options *o, int64_t n)
{
    int64_t share = o->n_classes * CLUSTER_TINY_SHARE, tiny = (n + share - 1) / share;
    return (struct cluster_options){.k = o->n_classes,
                                    .n_iter = o->n_iter,
                                    .n_redo = o->n_redo,
                                    .seed = o->common.seed,
                                    .min_size = o->min_size ? o->min_size : tiny,
                                    .is_spherical = o->is_spherical};
}

static int run(const struct options *o, struct err *e)
{
    struct added a = {0};
    struct prov *prov = NULL;
    int rc = file_refuse_tty(o->common.out, e);
    if (rc < 0)
        return rc;
    struct st_msg *in = st_read(o->in, "features", e);
    if (!in)
        return e->code;
    if (file_is_std(o->in))
        log_start_clock(); /* the time until then is another program's */
    const struct st_tensor *t = st_msg_need(in, "embedding", ST_F32, 2, (int64_t[]){-1, -1}, e);
    if (!t) {
        rc = e->code;
        goto out;
    }
    int64_t n = t->shape[0], dim = t->shape[1];
    struct cluster_options k = settings(o, n);
    if ((rc = check_rows(in, n, e)) < 0 || (rc = check_embedding(in, t, e)) < 0 ||
        (rc = cluster_kmeans(&a.classes, t->data, n, dim, &k, e)) < 0 ||
        (rc = relate(&a, o, in, t, e)) < 0) {
        err_prefix(e, "%s", file_name_in(o->in));
        goto out;
    }
    prov = provenance(o, in);
    rc = write_all(o, in, &a, n, dim, prov, e);
    if (!rc)
        report(&a.classes, n);
out:
    prov_free(prov);
    added_free(&a);
    st_msg_free(in);
    return rc;
}

static void check_places(const struct options *o)
{
    struct places p = {0};
    places_add(&p, PLACE_INPUT, "the features", o->in ? o->in : "-");
    places_add(&p, PLACE_FILE, "-o", o->common.out ? o->common.out : "-");
    opt_check_places(&p);
}

int main(int argc, char **argv)
{
    struct options o = {.common = OPT_COMMON_DEFAULTS,
                        .n_classes = 1,
                        .n_iter = 25,
                        .n_redo = 10,
                        .n_neighbours = 20};
    struct err e = ERR_INIT;
    cpu_fix_blas(argv);
    int first = opt_parse(&spec, &o, argc, argv);
    char *command_line = opt_command_line(&spec, argc, argv);
    o.in = first < argc ? argv[first] : NULL;
    o.command_line = command_line;
    check_places(&o);
    int rc = run(&o, &e);
    if (!rc)
        rc = file_close_stdout(&e);
    if (rc < 0)
        log_error("%s", e.msg);
    free(command_line);
    return rc < 0;
}
