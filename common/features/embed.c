/* SPDX-License-Identifier: MIT
 * embed: records to rows of features; see embed.h. */
#include "features/embed.h"

#include "base/mem.h"
#include "lm/batch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *embed_why_text(int64_t why)
{
    static const char *const text[EMBED_N_WHYS] = {
        "longer than --max-length", "no token of its response can be scored",
        "its log-probability is not finite", "its embedding is not finite",
        "its gradient is not finite"};
    return why >= 0 && why < EMBED_N_WHYS ? text[why] : "unknown";
}

/* ---- rows ---- */

#define AT(type, field) ST_FIELD(struct embed_rows, type, field)
#define COUNT(field) ST_COUNT(struct embed_rows, field)
#define COLUMN(name, type, dtype, shape, flags) {#name, AT(dtype, name), shape, flags},
static const struct st_size sizes[] = {{"N", COUNT(n)},
                                       {"D", COUNT(dim)},
                                       {"K", COUNT(n_record)},
                                       {"G", COUNT(n_given)},
                                       {NULL, 0}};
static const struct st_column columns[] = {FEATURES_COLUMNS(COLUMN){.name = NULL}};
const struct st_table embed_rows_table = {NULL, sizes, columns, NULL};

static void make_room(struct embed_rows *r, int64_t n)
{
    if (n <= r->cap)
        return;
    r->cap = n > r->cap + r->cap / 2 ? n : r->cap + r->cap / 2;
    st_table_grow(&embed_rows_table, r, r->cap);
}

void embed_rows_start(struct embed_rows *r, const struct embed_options *o)
{
    *r = (struct embed_rows){.dim = o->dim, .n_record = o->record.n};
    if (o->has_gain)
        r->gain_sum = mem_alloc(1, sizeof *r->gain_sum);
    if (o->given) {
        r->n_given = o->given->n;
        r->given = mem_alloc(1, sizeof *r->given);
    }
    if (o->influence)
        r->influence = mem_alloc(1, sizeof *r->influence);
    if (o->record.n)
        r->record = mem_alloc(1, sizeof *r->record);
}

void embed_rows_clear(struct embed_rows *r)
{
    r->n = 0;
}

void embed_rows_free(struct embed_rows *r)
{
    st_table_free(&embed_rows_table, r);
    *r = (struct embed_rows){.dim = r->dim, .n_record = r->n_record, .n_given = r->n_given};
}

void embed_rows_to_msg(const struct embed_rows *r, struct st_msg *m)
{
    st_table_put(&embed_rows_table, r, m);
}

int embed_rows_append(struct embed_rows *r, const struct st_msg *m, struct err *e)
{
    return st_table_append(&embed_rows_table, r, &r->cap, m, e);
}

struct embed_rows embed_rows_slice(const struct embed_rows *r, int64_t from, int64_t n)
{
    struct embed_rows s = *r;
    st_table_slice(&embed_rows_table, &s, from, r->n - from < n ? r->n - from : n);
    return s;
}

void embed_drops_add(struct embed_drops *d, const struct data_row *r, enum embed_why why)
{
    MEM_GROW(d->drop, d->cap, d->n + 1);
    d->drop[d->n++] = (struct embed_drop){r->source, r->line, why};
}

void embed_drops_free(struct embed_drops *d)
{
    free(d->drop);
    *d = (struct embed_drops){0};
}

/* ---- tokens ---- */

int32_t embed_start_token(const struct tok *t)
{
    if (tok_bos(t) >= 0)
        return tok_bos(t);
    return tok_eos(t) >= 0 ? tok_eos(t) : tok_pad(t);
}

static int make_examples(const struct embed_options *o, const struct dataset *d, int64_t from,
                         int64_t n, struct example_set *s, struct err *e)
{
    struct dataset window = *d;
    window.records += from;
    window.n_records = n;
    return example_set_make(s, o->tok, o->tmpl, &window, o->max_len, o->overlong, e);
}

static int check_record(const struct embed_options *o, const struct dataset *d, int64_t i,
                        const struct example *x, struct err *e)
{
    if (!o->config || lm_config_check_sequence(o->config, x->ids, x->n, e) >= 0)
        return 0;
    return dataset_name_record(e, d, i);
}

int embed_measure(const struct embed_options *o, const struct dataset *d, int64_t from,
                  int64_t n, struct embed_cost *cost, struct embed_drops *drops, struct err *e)
{
    struct example_set s = {0};
    int64_t n_passes = (o->has_gain ? 2 : 1) + (o->influence ? o->influence->n_epochs : 0);
    int rc = make_examples(o, d, from, n, &s, e);
    if (rc)
        return rc;
    for (int64_t i = 0; i < n && !rc; i++) {
        const struct example *x = &s.examples[i];
        if (!embed_is_scorable(x)) {
            embed_drops_add(drops, &d->records[from + i],
                            x->n || x->is_empty ? EMBED_UNSCORED : EMBED_OVERLONG);
            continue;
        }
        rc = check_record(o, d, from + i, x, e);
        cost->n_rows++;
        cost->n_cut += x->is_cut;
        cost->n_tokens += n_passes * (int64_t)x->n + 1 + x->n_response;
        if (x->n > cost->longest)
            cost->longest = x->n;
    }
    example_set_free(&s);
    return rc;
}

/* ---- scores ---- */

/* One sequence to score: x y, or s y, of a record of the window. */
struct sequence {
    int64_t record;
    const struct example *x;
    int64_t n;
    bool is_alone; /* s y */
};

/* Everything about one window, by record. */
struct window {
    int64_t n;
    struct example_set examples;
    struct sequence *seq;
    int64_t n_seqs;
    double *logp_yx, *logp_y; /* [n] */
    double *tuned_yx;         /* [n] logp_yx under the adapter's other state */
    double *influence;        /* [n] */
    float *embedding;         /* [n, dim] */
    int32_t *ids;             /* scratch for s y */
    uint8_t *is_loss;
};

/* By the tokens that are of a response (or are not) up to the shorter's end, then by length. */
static int by_tokens(const struct example *x, const struct example *y, bool is_response)
{
    int32_t i = 0, j = 0;
    for (;; i++, j++) {
        while (i < x->n && (x->is_loss[i] != 0) != is_response)
            i++;
        while (j < y->n && (y->is_loss[j] != 0) != is_response)
            j++;
        if (i == x->n || j == y->n)
            return (i < x->n) - (j < y->n);
        if (x->ids[i] != y->ids[j])
            return x->ids[i] < y->ids[j] ? -1 : 1;
    }
}

/* x y by the tokens of x, so that those with a common beginning are in one micro-batch, where
 * it is worked on once: of 2,000 Alpaca records with Alpaca's template a quarter of all tokens.
 * Then s y, by those of y: another fiftieth. */
static int by_beginning(const void *a, const void *b)
{
    const struct sequence *p = a, *q = b;
    if (p->is_alone != q->is_alone)
        return p->is_alone - q->is_alone;
    int order = by_tokens(p->x, q->x, p->is_alone);
    if (order)
        return order;
    if (p->n != q->n)
        return p->n < q->n ? 1 : -1;
    return p->record < q->record ? -1 : 1;
}

static void window_start(struct window *w, int64_t dim)
{
    int64_t longest = 1;
    w->seq = mem_alloc((size_t)w->n * 2, sizeof *w->seq);
    w->logp_yx = mem_zalloc((size_t)w->n, sizeof *w->logp_yx);
    w->logp_y = mem_zalloc((size_t)w->n, sizeof *w->logp_y);
    w->influence = mem_zalloc((size_t)w->n, sizeof *w->influence);
    w->tuned_yx = mem_zalloc((size_t)w->n, sizeof *w->tuned_yx);
    w->embedding = mem_zalloc((size_t)(w->n * dim), sizeof *w->embedding);
    for (int64_t i = 0; i < w->n; i++) {
        const struct example *x = &w->examples.examples[i];
        if (!embed_is_scorable(x))
            continue;
        w->seq[w->n_seqs++] = (struct sequence){i, x, x->n, false};
        w->seq[w->n_seqs++] = (struct sequence){i, x, x->n_response + 1, true};
        if (x->n_response + 1 > longest)
            longest = x->n_response + 1;
    }
    qsort(w->seq, (size_t)w->n_seqs, sizeof *w->seq, by_beginning);
    w->ids = mem_alloc((size_t)longest, sizeof *w->ids);
    w->is_loss = mem_alloc((size_t)longest, 1);
}

static void window_free(struct window *w)
{
    example_set_free(&w->examples);
    free(w->seq);
    free(w->logp_yx);
    free(w->logp_y);
    free(w->tuned_yx);
    free(w->influence);
    free(w->embedding);
    free(w->ids);
    free(w->is_loss);
}

static void pack_sequence(struct lm_pack *p, const struct window *w, const struct sequence *s,
                          int32_t start)
{
    const struct example *x = &w->examples.examples[s->record];
    if (!s->is_alone) {
        lm_pack_add(p, x->ids, x->is_loss, x->n);
        return;
    }
    int64_t n = 0;
    w->ids[n] = start;
    w->is_loss[n++] = 0;
    for (int32_t i = 0; i < x->n; i++)
        if (x->is_loss[i]) {
            w->ids[n] = x->ids[i];
            w->is_loss[n++] = 1;
        }
    lm_pack_add(p, w->ids, w->is_loss, n);
}

/* What of a window's work was told already. */
struct told {
    const struct embed_options *o;
    int64_t n;
};

static void on_work(void *arg, double n_tokens)
{
    struct told *t = arg;
    t->n += (int64_t)n_tokens;
    t->o->progress(t->o->progress_arg, (int64_t)n_tokens);
}

/* One batch, of which the engine makes the micro-batches: it knows what sequences share. */
static int score_all(struct lm *m, const struct embed_options *o, struct window *w,
                     struct err *e)
{
    int64_t D = lm_get_config(m)->d_model, n = w->n_seqs, n_pooled = 0;
    struct lm_pack p = {0};
    struct told told = {o, 0};
    int32_t start = embed_start_token(o->tok);
    for (int64_t i = 0; i < n; i++) {
        pack_sequence(&p, w, &w->seq[i], start);
        n_pooled += !w->seq[i].is_alone;
    }
    float *pooled = mem_alloc((size_t)(n_pooled * D) + 1, sizeof *pooled);
    double *nll = mem_alloc((size_t)n + 1, sizeof *nll);
    struct lm_batch b = lm_pack_batch(&p);
    if (o->progress)
        lm_on_work(m, on_work, &told);
    int rc = n ? lm_embed(m, &b, n_pooled, pooled, nll, NULL, e) : 0;
    lm_on_work(m, NULL, NULL);
    for (int64_t i = 0; !rc && i < n; i++) {
        const struct sequence *s = &w->seq[i];
        (s->is_alone ? w->logp_y : w->logp_yx)[s->record] = -nll[i];
        if (!s->is_alone)
            embed_pool(w->embedding + s->record * o->dim, o->dim, pooled + i * D, D);
    }
    if (!rc && o->progress && p.n_tokens > told.n) /* what need not be worked on */
        o->progress(o->progress_arg, p.n_tokens - told.n);
    lm_pack_free(&p);
    free(pooled);
    free(nll);
    return rc;
}

/* Under the adapter's other state: sequences x y only, and of them the response only. */
static int score_tuned(struct lm *m, const struct embed_options *o, struct window *w,
                       struct err *e)
{
    struct lm_pack p = {0};
    double *nll = mem_alloc((size_t)w->n_seqs + 1, sizeof *nll);
    int64_t *record = mem_alloc((size_t)w->n_seqs + 1, sizeof *record);
    int rc = 0;
    lm_adapter_swap(m);
    for (int64_t from = 0, to = 0; !rc && from < w->n_seqs; from = to) {
        lm_pack_clear(&p);
        for (; to < w->n_seqs; to++) {
            if (w->seq[to].is_alone)
                continue;
            if (p.n_seqs && p.n_tokens + w->seq[to].n > o->batch_tokens)
                break;
            record[p.n_seqs] = w->seq[to].record;
            pack_sequence(&p, w, &w->seq[to], -1);
        }
        struct lm_batch b = lm_pack_batch(&p);
        rc = p.n_seqs ? lm_nll(m, &b, nll, NULL, e) : 0;
        for (int64_t i = 0; !rc && i < p.n_seqs; i++)
            w->tuned_yx[record[i]] = -nll[i];
        if (!rc && p.n_seqs && o->progress)
            o->progress(o->progress_arg, p.n_tokens);
    }
    lm_adapter_swap(m);
    lm_pack_free(&p);
    free(nll);
    free(record);
    return rc;
}

static bool is_finite_row(const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return false;
    return true;
}

/* What the record itself says. */
static int collect_record(const struct embed_options *o, struct data_reader *reader, int64_t i,
                          const struct example *x, struct embed_rows *r, int64_t k,
                          struct err *e)
{
    const struct data_record *record = NULL;
    if (!r->given && !r->n_record)
        return 0;
    record = data_reader_get(reader, i, e);
    if (!record)
        return e->code;
    if (r->given)
        given_of(o->given, record, r->given + k * r->n_given);
    for (int64_t j = 0; j < r->n_record; j++)
        r->record[k * r->n_record + j] = (float)o->record.column[j]->value(record, x);
    return 0;
}

static int collect(const struct window *w, const struct embed_options *o,
                   const struct dataset *d, int64_t from, struct embed_rows *r,
                   struct embed_drops *drops, struct err *e)
{
    const struct data_row *records = d->records + from;
    struct data_reader *reader = data_reader_new(d);
    int rc = 0;
    make_room(r, r->n + w->n);
    for (int64_t i = 0; rc == 0 && i < w->n; i++) {
        const struct example *x = &w->examples.examples[i];
        const float *embedding = w->embedding + i * r->dim;
        if (!embed_is_scorable(x))
            continue;
        if (!isfinite(w->logp_yx[i]) || !isfinite(w->logp_y[i]) || !isfinite(w->tuned_yx[i])) {
            embed_drops_add(drops, &records[i], EMBED_LOGP);
            continue;
        }
        if (!is_finite_row(embedding, r->dim)) {
            embed_drops_add(drops, &records[i], EMBED_EMBEDDING);
            continue;
        }
        if (!isfinite(w->influence[i])) {
            embed_drops_add(drops, &records[i], EMBED_GRADIENT);
            continue;
        }
        int64_t k = r->n++;
        r->len_x[k] = x->n_prompt;
        r->len_y[k] = x->n_response;
        r->logp_yx[k] = (float)w->logp_yx[i];
        r->logp_y[k] = (float)w->logp_y[i];
        if (r->gain_sum)
            r->gain_sum[k] = (float)(w->tuned_yx[i] - w->logp_yx[i]);
        if (r->influence)
            r->influence[k] = (float)w->influence[i];
        memcpy(r->embedding + k * r->dim, embedding, (size_t)r->dim * sizeof *embedding);
        r->hash[k] = records[i].hash;
        r->source[k] = records[i].source;
        if (collect_record(o, reader, from + i, x, r, k, e) < 0)
            rc = dataset_name_record(e, d, from + i);
    }
    data_reader_free(reader);
    return rc;
}

int embed_window(struct lm *m, const struct embed_options *o, const struct dataset *d,
                 int64_t from, int64_t n, struct embed_rows *rows, struct embed_drops *drops,
                 struct err *e)
{
    struct window w = {.n = n};
    int rc = make_examples(o, d, from, n, &w.examples, e);
    if (rc)
        return rc;
    window_start(&w, o->dim);
    rc = score_all(m, o, &w, e);
    if (!rc && o->has_gain)
        rc = score_tuned(m, o, &w, e);
    if (!rc && o->influence)
        rc = influence_of(o->influence, m, w.examples.examples, n, w.influence, e);
    if (!rc)
        rc = collect(&w, o, d, from, rows, drops, e);
    window_free(&w);
    return rc;
}

void embed_pool(float *dst, int64_t d, const float *src, int64_t D)
{
    for (int64_t j = 0; j < d; j++) {
        int64_t from = j * D / d, to = ((j + 1) * D + d - 1) / d;
        double sum = 0;
        for (int64_t i = from; i < to; i++)
            sum += (double)src[i];
        dst[j] = (float)(sum / (double)(to - from));
    }
}
