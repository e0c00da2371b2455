/* SPDX-License-Identifier: MIT
 * raise-view: what a file is, where it came from, its tables, its integrity; and one file of
 * several. Files are read a shard at a time: memory does not grow with them. */
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/opt.h"
#include "base/place.h"
#include "base/text.h"
#include "stream/prov.h"
#include "stream/st.h"
#include "stream/st_cat.h"
#include "stream/st_csv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

struct options {
    struct opt_common common;
    bool is_csv, is_history, is_check, is_cat;
    const char *columns; /* of --csv */
    const char *meta;    /* a key */
};

static const struct opt table[] = {
    {0, "csv", OPT_FLAG, offsetof(struct options, is_csv), NULL,
     "print the largest table as CSV", 0, 0, NULL},
    {0, "table", OPT_STRING, offsetof(struct options, columns), "NAMES",
     "print these tensors as CSV (comma-separated)", 0, 0, NULL},
    {0, "history", OPT_FLAG, offsetof(struct options, is_history), NULL,
     "print the programs that made the file, one a line", 0, 0, NULL},
    {0, "meta", OPT_STRING, offsetof(struct options, meta), "KEY",
     "print the value of one metadata key", 0, 0, NULL},
    {0, "check", OPT_FLAG, offsetof(struct options, is_check), NULL,
     "read everything, print nothing; exit status 0 or 1", 0, 0, NULL},
    {0, "cat", OPT_FLAG, offsetof(struct options, is_cat), NULL,
     "join the shards of several files to one stream", 0, 0, NULL},
    {0, NULL, OPT_END, 0, NULL, NULL, 0, 0, NULL},
};

static const struct opt_spec spec = {
    .program = "raise-view",
    .usage = "[options] [file ...]",
    .summary = "Tells what a RAISE file is, prints its tables, checks it, joins shards.",
    .common = "otup",
    .common_offset = offsetof(struct options, common),
    .table = table,
    .min_args = 0,
    .max_args = -1,
    .input = "It reads any file that a RAISE program wrote (features, trajectories, policies, "
             "plans), or one from a pipe.",
    .examples = "raise-view features.st.zst\n"
                "raise-view --table len_x,len_y,logp_yx features.st.zst",
};

/* ---- what a file is ---- */

/* The first shard's outline, and sums over all shards. */
struct summary {
    struct st_msg *m; /* tensors with the rows of all shards; their data are gone */
    int64_t *rows;    /* one a tensor */
    int64_t n_shards, data_bytes, file_bytes; /* file_bytes -1: a pipe */
    bool is_compressed;
    uint64_t id;
};

static void add_rows(struct summary *s, const struct st_msg *m)
{
    for (int64_t i = 0; i < st_msg_n_tensors(s->m); i++) {
        const char *name = st_msg_at(s->m, i)->name;
        const struct st_tensor *x = i < st_msg_n_tensors(m) ? st_msg_at(m, i) : NULL;
        if (!x || strcmp(x->name, name) != 0) /* shards list theirs in the same order, mostly */
            x = st_msg_find(m, name);
        if (s->n_shards && st_msg_is_whole(m, x->name))
            continue;
        s->rows[i] += x->n_dims ? x->shape[0] : 0;
        s->data_bytes += (int64_t)x->len;
    }
    s->n_shards++;
}

static int summarize(struct summary *s, const char *path, struct err *e)
{
    struct st_reader *r = st_reader_open(path, e);
    struct st_msg *m = NULL;
    struct stat st;
    if (!r)
        return e->code;
    struct st_hash *hash = st_hash_new();
    int rc;
    while ((rc = st_reader_next(r, &m, e)) == 1) {
        if (!s->m) {
            s->m = m;
            s->rows = mem_zalloc((size_t)st_msg_n_tensors(m), sizeof *s->rows);
        } else if ((rc = st_msg_check_shard(s->m, m, e)) < 0) {
            st_msg_free(m);
            break;
        } else {
            st_msg_merge_meta(s->m, m);
        }
        st_hash_add(hash, m);
        add_rows(s, m);
        if (m != s->m)
            st_msg_free(m);
    }
    s->id = st_hash_end(hash);
    s->is_compressed = st_reader_is_compressed(r);
    s->file_bytes = !file_is_std(path) && !stat(path, &st) && S_ISREG(st.st_mode)
                        ? (int64_t)st.st_size
                        : -1;
    st_reader_close(r);
    return rc;
}

/* Whatever a file says is made printable before it gets here: names, kinds, histories. */
static void put_text(struct buf *b, const char *before, const char *s)
{
    buf_puts(b, before);
    text_printable(b, s, strlen(s));
}

static void put_padded(struct buf *b, const char *s, int width)
{
    size_t from = b->len;
    put_text(b, "  ", s);
    for (size_t len = b->len - from - 2; len < (size_t)width; len++)
        buf_putc(b, ' ');
    buf_puts(b, "  ");
}

static void put_plural(struct buf *b, int64_t n, const char *what)
{
    buf_printf(b, "%" PRId64 " %s%s", n, what, n == 1 ? "" : "s");
}

static void put_head(struct buf *b, const struct summary *s, const char *path)
{
    char text[32], hex[17];
    const char *kind = st_msg_meta(s->m, "raise.kind"),
               *version = st_msg_meta(s->m, "raise.version"),
               *status = st_msg_meta(s->m, "raise.status");
    put_text(b, "", file_name_in(path));
    put_text(b, ": ", kind ? kind : "safetensors, not made by RAISE");
    if (kind)
        put_text(b, ", format version ", version ? version : "missing");
    if (status && strcmp(status, "ok") != 0)
        put_text(b, "\n  the episode ", status);
    buf_puts(b, s->is_compressed ? "\n  compressed, " : "\n  plain, ");
    put_plural(b, s->n_shards, "shard");
    buf_printf(b, ", %s of tensors", text_bytes(text, s->data_bytes));
    if (s->file_bytes >= 0)
        buf_printf(b, " in %s", text_bytes(text, s->file_bytes));
    buf_printf(b, "\n  identity %s\n", prov_hex(hex, s->id));
}

static void put_meta(struct buf *b, const struct st_msg *m)
{
    static const char *const elsewhere[] = {"raise.kind", "raise.version", "raise.history",
                                            NULL};
    const char *title = "metadata\n", *key, *value;
    int width = 0;
    for (int64_t i = 0; i < st_msg_n_meta(m); i++) {
        st_msg_meta_at(m, i, &key, &value);
        width = (int)strlen(key) > width ? (int)strlen(key) : width;
    }
    width = width > 40 ? 40 : width;
    for (int64_t i = 0; i < st_msg_n_meta(m); i++) {
        st_msg_meta_at(m, i, &key, &value);
        const char *const *x = elsewhere;
        while (*x && strcmp(*x, key))
            x++;
        if (*x)
            continue;
        buf_puts(b, title);
        put_padded(b, key, width);
        put_text(b, "", value);
        buf_putc(b, '\n');
        title = "";
    }
}

static void put_tensors(struct buf *b, const struct summary *s)
{
    int width = 0;
    for (int64_t i = 0; i < st_msg_n_tensors(s->m); i++) {
        int len = (int)strlen(st_msg_at(s->m, i)->name);
        width = len > width ? len : width;
    }
    width = width > 60 ? 60 : width;
    buf_puts(b, "tensors\n");
    for (int64_t i = 0; i < st_msg_n_tensors(s->m); i++) {
        const struct st_tensor *x = st_msg_at(s->m, i);
        put_padded(b, x->name, width);
        buf_printf(b, "%-4s  [", st_dtype_name(x->dtype));
        for (int d = 0; d < x->n_dims; d++)
            buf_printf(b, "%s%" PRId64, d ? ", " : "", d ? x->shape[d] : s->rows[i]);
        buf_printf(b, "]%s\n", st_msg_is_whole(s->m, x->name) ? "  whole" : "");
    }
}

/* ---- where it came from ---- */

static const char *text_of(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));
    return s ? s : "?";
}

static void put_seed(struct buf *b, const json_t *seed)
{
    if (json_is_integer(seed))
        buf_printf(b, ", seed %" JSON_INTEGER_FORMAT, json_integer_value(seed));
    else if (json_is_string(seed))
        put_text(b, ", seed ", json_string_value(seed));
}

/* One record: on one line, or (in the summary) its parts on lines of their own. */
static void put_record(struct buf *b, const json_t *record, bool is_line)
{
    const char *path = json_string_value(json_object_get(record, "path"));
    size_t i;
    json_t *input;
    put_text(b, "", text_of(record, "program"));
    put_text(b, " ", text_of(record, "version"));
    put_seed(b, json_object_get(record, "seed"));
    if (path)
        put_text(b, ", ", path);
    put_text(b, is_line ? ": " : "\n    ", text_of(record, "args"));
    buf_puts(b, is_line ? "" : "\n");
    json_array_foreach(json_object_get(record, "inputs"), i, input)
    {
        const char *before = is_line ? (i ? ", " : " <- ") : "    input ";
        put_text(b, before, text_of(input, "name"));
        put_text(b, " ", text_of(input, "xxh64"));
        buf_puts(b, is_line ? "" : "\n");
    }
    json_int_t later = json_integer_value(json_object_get(record, "later"));
    if (later > 0)
        buf_printf(b, "%s%" JSON_INTEGER_FORMAT " inputs that a later record names%s",
                   is_line ? ", and " : "    ", later, is_line ? "" : "\n");
    if (is_line)
        buf_putc(b, '\n');
}

static int put_history(struct buf *b, const struct st_msg *m, const char *path, bool is_line,
                       struct err *e)
{
    const char *text = st_msg_meta(m, "raise.history");
    size_t i;
    json_t *record, *history = text ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;
    if (text && !json_is_array(history)) {
        json_decref(history);
        return err_set(e, ERR_FORMAT, "%s: metadata raise.history is not a JSON array",
                       file_name_in(path));
    }
    if (json_array_size(history) && !is_line)
        buf_puts(b, "history\n");
    json_array_foreach(history, i, record)
    {
        buf_puts(b, is_line ? "" : "  ");
        put_record(b, record, is_line);
    }
    json_decref(history);
    return 0;
}

/* ---- the modes ---- */

static int write_text(const struct options *o, const struct buf *b, struct err *e)
{
    return file_write_all(o->common.out, b->data, b->len, e);
}

/* All modes but CSV read everything first: a damaged file has no say. */
static int view(const struct options *o, const char *const *paths, int n, struct err *e)
{
    struct buf b = {0};
    int rc = 0;
    for (int i = 0; !rc && i < n; i++) {
        struct summary s = {0};
        rc = summarize(&s, paths[i], e);
        if (!rc && o->is_history) {
            rc = put_history(&b, s.m, paths[i], true, e);
        } else if (!rc && o->meta) {
            const char *value = st_msg_meta(s.m, o->meta);
            if (value && file_is_std(o->common.out) && isatty(STDOUT_FILENO))
                put_text(&b, "", value);
            else if (value)
                buf_puts(&b, value);
            if (value)
                buf_putc(&b, '\n');
            else
                rc = err_set(e, ERR_RANGE, "%s: no metadata \"%s\"", file_name_in(paths[i]),
                             o->meta);
        } else if (!rc && !o->is_check) {
            buf_puts(&b, i ? "\n" : "");
            put_head(&b, &s, paths[i]);
            put_meta(&b, s.m);
            put_tensors(&b, &s);
            rc = put_history(&b, s.m, paths[i], false, e);
        }
        st_msg_free(s.m);
        free(s.rows);
    }
    if (!rc && !o->is_check)
        rc = write_text(o, &b, e);
    buf_free(&b);
    return rc;
}

/* A trajectory's performance is minus a loss: "loss" is another name for that. */
static void add_loss(struct st_msg *m)
{
    const struct st_tensor *perf = st_msg_find(m, "perf");
    if (!perf || perf->dtype != ST_F64 || perf->n_dims != 1 || st_msg_find(m, "loss"))
        return;
    const double *p = perf->data;
    double *loss = mem_alloc((size_t)perf->shape[0], sizeof *loss);
    for (int64_t i = 0; i < perf->shape[0]; i++)
        loss[i] = -p[i];
    st_msg_add_copy(m, "loss", ST_F64, 1, perf->shape, loss);
    free(loss);
}

static bool is_asked(const char *names, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = names; p; p = strchr(p, ','), p += p != NULL)
        if (strcspn(p, ",") == n && !strncmp(p, name, n))
            return true;
    return false;
}

static int csv(const struct options *o, const char *path, struct err *e)
{
    struct st_msg *first = NULL, *m = NULL;
    struct st_reader *r = st_reader_open(path, e);
    if (!r)
        return e->code;
    struct outfile *out = outfile_open(o->common.out, e);
    struct st_csv *c = st_csv_new(out, o->columns);
    int rc = out ? 0 : e->code;
    while (!rc && (rc = st_reader_next(r, &m, e)) == 1) {
        if (is_asked(o->columns, "loss"))
            add_loss(m);
        rc = first ? st_msg_check_shard(first, m, e) : 0;
        if (!rc)
            rc = st_csv_put(c, m, e);
        if (first)
            st_msg_free(m);
        else
            first = m;
    }
    st_csv_free(c);
    st_msg_free(first);
    st_reader_close(r);
    if (rc) {
        outfile_abort(out);
        return rc;
    }
    return outfile_commit(out, e);
}

static int cat(const struct options *o, const char *const *paths, int n, const char *args,
               struct err *e)
{
    struct st_cat_count count;
    char rows[32], left[32];
    struct prov *prov = o->common.no_provenance ? NULL : prov_new("raise-view", args, 0);
    if (prov)
        prov_set_no_seed(prov);
    int rc = st_cat(paths, (size_t)n, o->common.out, o->common.is_uncompressed ? ST_PLAIN : 0,
                    prov, &count, e);
    prov_free(prov);
    if (rc)
        return rc;
    if (count.n_left_out)
        log_warn("%s records are in no shard (left out by the program that made them?)",
                 text_count(left, (double)count.n_left_out));
    log_detail("%d files, %" PRId64 " shards, %s rows", n, count.n_shards,
               text_count(rows, (double)count.n_rows));
    return 0;
}

static void check_modes(struct options *o, int n_files)
{
    o->is_csv = o->is_csv || o->columns;
    int n_modes = o->is_csv + o->is_history + o->is_check + o->is_cat + (o->meta != NULL);
    if (n_modes > 1)
        opt_misuse("only one of --csv or --table, --history, --meta, --check and --cat");
    if (o->is_csv && n_files > 1)
        opt_misuse("CSV is of one file; join several with --cat");
    if (o->common.is_uncompressed && !o->is_cat)
        opt_misuse("-u goes with --cat only");
    if (!n_files && isatty(STDIN_FILENO))
        opt_misuse("no file, and standard input is a terminal");
}

static void check_places(const struct options *o, const char *const *paths, int n)
{
    struct places p = {0};
    for (int i = 0; i < n; i++)
        places_add(&p, PLACE_INPUT, "a file to read", paths[i]);
    places_add(&p, PLACE_FILE, "-o", o->common.out ? o->common.out : "-");
    opt_check_places(&p);
}

int main(int argc, char **argv)
{
    struct options o = {.common = OPT_COMMON_DEFAULTS};
    struct err e = ERR_INIT;
    const char *standard_input[] = {"-"};
    int first = opt_parse(&spec, &o, argc, argv);
    char *args = opt_command_line(&spec, argc, argv);
    int n = argc - first;
    const char *const *paths = n ? (const char *const *)(argv + first) : standard_input;
    check_modes(&o, n);
    n = n ? n : 1;
    check_places(&o, paths, n);
    int rc = o.is_cat   ? cat(&o, paths, n, args, &e)
             : o.is_csv ? csv(&o, paths[0], &e)
                        : view(&o, paths, n, &e);
    free(args);
    if (!rc)
        rc = file_close_stdout(&e);
    if (rc && !(o.is_check && o.common.is_quiet))
        log_error("%s", e.msg);
    return rc ? 1 : 0;
}
