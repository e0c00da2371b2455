/* SPDX-License-Identifier: MIT
 * loss: the NLL of each record's response; see eval.h. */
#include "base/text.h"
#include "eval/eval.h"
#include "lm/batch.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

enum { NLL, TOKENS, MEAN };

const struct eval_schema eval_loss_schema = {
    .columns = {[NLL] = {"nll", false}, [TOKENS] = {"tokens", true}, [MEAN] = {"mean", false}},
    .metrics = {{"loss", NLL, TOKENS}, {"record_loss", MEAN, -1}},
};

struct file {
    struct dataset data;
    struct example_set set;
};

struct job {
    struct eval *v;
    struct file *files;
    struct lm *m;
    struct lm_pack pack; /* a sequence a row of the result */
};

/* ---- inputs ---- */

static int read_file(struct eval *v, struct file *f, const char *path, struct err *e)
{
    const struct eval_options *o = &v->o;
    int rc = dataset_read(&f->data, path, &o->reading, e);
    if (rc == 0)
        rc = example_set_make(&f->set, o->tok, o->tmpl, &f->data, o->max_len, o->overlong, e);
    if (rc < 0)
        return rc;
    if (v->on_records)
        v->on_records(v->arg, &f->data);
    for (int64_t i = 0; i < f->data.n_problems; i++)
        eval_result_miss(&v->result, f->data.name, f->data.problems[i].source,
                         f->data.problems[i].line, "%s",
                         data_problem_text(&f->data.problems[i]));
    for (int64_t i = 0; i < f->set.n_examples; i++)
        if (!f->set.examples[i].n)
            eval_result_miss(
                &v->result, f->data.name, f->data.records[i].source, f->data.records[i].line,
                "does not fit into %" PRId64 " tokens, or has no response there", o->max_len);
    return 0;
}

static int read_files(struct job *j, struct eval_work *w, struct err *e)
{
    struct eval *v = j->v;
    j->files = mem_zalloc((size_t)v->o.n_files, sizeof *j->files);
    int64_t n = 0, n_records = 0;
    for (int i = 0; i < v->o.n_files; i++) {
        struct file *f = &j->files[i];
        int rc = read_file(v, f, v->o.files[i], e);
        if (rc < 0)
            return rc;
        w->longest = f->set.max_len > w->longest ? f->set.max_len : w->longest;
        w->n_tokens += f->set.n_tokens;
        n += f->set.n_examples - f->set.n_dropped;
        n_records += f->set.n_examples;
    }
    /* the records' tokens, their copy in the pack, the rows */
    w->bytes = 2 * w->n_tokens * 5 + n_records * (int64_t)sizeof(struct eval_row);
    w->n_tokens -= n; /* the last predicts nothing */
    if (n == 0)
        return err_set(e, ERR_EMPTY,
                       "none of the %" PRId64 " records fits into %" PRId64 " tokens",
                       n_records, v->o.max_len);
    return 0;
}

/* ---- rows ---- */

/* The record as the template renders it: what is asked, exactly. */
static int render(const struct eval *v, const struct data_record *r, uint64_t *hash,
                  struct buf *segments, struct err *e)
{
    struct tmpl_text text;
    int rc = tmpl_render(v->o.tmpl, r, &text, e);
    if (rc < 0)
        return rc;
    struct eval_hash *h = eval_hash_new();
    for (int i = 0; i < text.n_segments; i++) {
        const struct tmpl_segment *s = &text.segments[i];
        eval_hash_add(h, s->is_response | s->is_markup << 1 | s->wants_eos << 2, s->text,
                      s->len);
        buf_puts(segments, i ? ", {\"text\": " : "{\"text\": ");
        text_json_string(segments, s->text, s->len);
        buf_printf(segments, ", \"is_response\": %s}", s->is_response ? "true" : "false");
    }
    *hash = eval_hash_end(h);
    tmpl_text_free(&text);
    return 0;
}

static int fill_rows(struct eval_result *r, const double *nll, const int64_t *count,
                     struct err *e)
{
    for (int64_t i = 0; i < r->n_rows; i++) {
        struct eval_row *row = &r->rows[i];
        if (!isfinite(nll[i]))
            return err_set(e, ERR_NONFINITE,
                           "%s:%" PRId64 ": record %" PRId64 ": the loss is not finite",
                           row->file, row->line, row->record);
        row->value[NLL] = nll[i];
        row->value[TOKENS] = (double)count[i];
        row->value[MEAN] = nll[i] / (double)count[i];
    }
    return 0;
}

static int score(struct job *j, struct err *e)
{
    struct lm_batch b = lm_pack_batch(&j->pack);
    double *nll = mem_alloc((size_t)b.n_seqs, sizeof *nll);
    int64_t *count = mem_alloc((size_t)b.n_seqs, sizeof *count);
    int rc = lm_nll(j->m, &b, nll, count, e);
    if (rc == 0)
        rc = fill_rows(&j->v->result, nll, count, e);
    free(nll);
    free(count);
    return rc;
}

static void log_sample(struct eval *v, const struct eval_row *row, const char *segments)
{
    eval_put_sample(&v->samples, row);
    buf_printf(&v->samples, ", \"segments\": [%s]}\n", segments);
}

static int add(struct job *j, const struct dataset *d, const struct data_record *r,
               const struct example *x, struct err *e)
{
    struct buf segments = {0};
    uint64_t hash = 0;
    int rc = render(j->v, r, &hash, &segments, e);
    if (rc == 0) {
        struct eval_row *row =
            eval_result_add(&j->v->result, d->name, r->source, r->line, "", hash);
        if (j->v->o.is_logged)
            log_sample(j->v, row, buf_str(&segments));
        lm_pack_add(&j->pack, x->ids, x->is_loss, x->n);
    }
    buf_free(&segments);
    return rc;
}

static int add_file(struct job *j, const struct file *f, struct err *e)
{
    struct data_reader *reader = data_reader_new(&f->data);
    int rc = 0;
    for (int64_t i = 0; rc == 0 && i < f->set.n_examples; i++) {
        if (!f->set.examples[i].n)
            continue;
        const struct data_record *r = data_reader_get(reader, i, e);
        rc = r ? add(j, &f->data, r, &f->set.examples[i], e)
               : dataset_name_record(e, &f->data, i);
    }
    data_reader_free(reader);
    return rc;
}

int eval_loss(struct eval *v, struct err *e)
{
    struct job j = {.v = v};
    struct eval_work w = {0};
    int rc = read_files(&j, &w, e);
    if (rc == 0) {
        j.m = eval_open(v, &w, e);
        rc = j.m ? 0 : e->code;
    }
    for (int i = 0; rc == 0 && i < v->o.n_files; i++)
        rc = add_file(&j, &j.files[i], e);
    if (rc == 0)
        rc = score(&j, e);
    for (int i = 0; j.files && i < v->o.n_files; i++) {
        example_set_free(&j.files[i].set);
        dataset_free(&j.files[i].data);
    }
    lm_pack_free(&j.pack);
    free(j.files);
    return rc;
}
