/* SPDX-License-Identifier: MIT
 *
 * bench_embed: what raise-embed does with records, beside the forward pass of the same records,
 * and what sequences share of their beginnings.
 *
 *     bench_embed MODEL DATA RECORDS TURNS fp32|bf16 [TEMPLATE [ROW]]      [alpaca, all]
 *
 * RECORDS spread over the file. In turns, medians of the processor's seconds. Rows
 * work,ours,peer,ratio,unit, all in tokens a second of all sequences (x y, and s y where they
 * are scored), shared or not:
 *
 *     embed-P-apart    embed_window, nothing shared, beside lm_nll of x y in batches of 16
 *     embed-P-same     the same beside lm_nll of just its own sequences: what the rest costs
 *     embed-P          embed_window, beginnings shared, beside lm_nll of x y, nothing shared
 *     prefix-forward   lm_nll of x y, beginnings shared, beside nothing shared
 *     prefix-lora      steps of LoRA on batches of 16, likewise
 */
#include "base/cpu.h"
#include "base/mem.h"
#include "bench/bench.h"
#include "features/embed.h"
#include "lm/batch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BENCH_NAME "bench_embed"

enum { BATCH = 16, MAX_LEN = 1024, MOST_TURNS = 99 };

struct bench {
    struct dataset data;    /* the records that are worked on */
    struct example_set all; /* the same as ids */
    struct embed_options how;
    const char *model, *precision;
    struct lm *models[2][2]; /* by is_training, is_apart; opened when needed */
    int n_turns;
};

/* Every k-th record. */
static void thin(struct dataset *d, int64_t n)
{
    int64_t have = d->n_records;
    n = n < have ? n : have;
    for (int64_t i = 0; i < n; i++)
        d->records[i] = d->records[i * have / n];
    d->n_records = n;
}

static struct lm *model_of(struct bench *b, bool is_training, bool is_apart)
{
    struct err e = ERR_INIT;
    struct lm **m = &b->models[is_training][is_apart];
    struct lm_options o = LM_OPTIONS_DEFAULTS;
    o.precision = !strcmp(b->precision, "bf16") ? LM_PRECISION_BF16 : LM_PRECISION_FP32;
    o.tuning = is_training ? LM_TUNE_LORA : LM_TUNE_NONE;
    o.is_apart = is_apart;
    o.micro_tokens = 0;
    *m = *m ? *m : lm_open(b->model, &o, &e);
    must(*m ? 0 : -1, &e);
    return *m;
}

/* ---- works: each returns the tokens of its sequences ---- */

static int64_t embed(struct bench *b, struct lm *m)
{
    struct err e = ERR_INIT;
    struct embed_rows rows;
    struct embed_drops drops = {0};
    int64_t n = 0;
    b->how.batch_tokens = lm_micro_tokens(m);
    embed_rows_start(&rows, &b->how);
    must(embed_window(m, &b->how, &b->data, 0, b->data.n_records, &rows, &drops, &e), &e);
    for (int64_t i = 0; i < rows.n; i++)
        n += rows.len_x[i] + 2 * rows.len_y[i] + 1;
    embed_rows_free(&rows);
    embed_drops_free(&drops);
    return n;
}

static int64_t embed_apart(struct bench *b)
{
    return embed(b, model_of(b, false, true));
}
static int64_t embed_shared(struct bench *b)
{
    return embed(b, model_of(b, false, false));
}

/* Batches of x y; with is_both of s y, too, as raise-embed has them. */
static int64_t each_batch(struct bench *b, struct lm *m, bool is_both, bool is_training)
{
    struct err e = ERR_INIT;
    struct lm_pack p = {0};
    int64_t n = 0;
    double loss;
    for (int64_t i = 0; i < b->data.n_records; i++) {
        const struct example *x = &b->all.examples[i];
        int64_t start = x->n - x->n_response - 1;
        if (embed_is_scorable(x))
            lm_pack_add(&p, x->ids, x->is_loss, x->n);
        if (embed_is_scorable(x) && is_both)
            lm_pack_add(&p, x->ids + start, x->is_loss + start, x->n_response + 1);
        if (p.n_seqs < (is_both ? 2 : 1) * BATCH && i + 1 < b->data.n_records)
            continue;
        struct lm_batch batch = lm_pack_batch(&p);
        if (batch.n_seqs && is_training)
            must(lm_step(m, &batch, 1e-5, NULL, &e), &e);
        else if (batch.n_seqs)
            must(lm_mean_nll(m, &batch, &loss, NULL, &e), &e);
        n += batch.n_tokens;
        lm_pack_clear(&p);
    }
    lm_pack_free(&p);
    return n;
}

static int64_t forward(struct bench *b)
{
    return each_batch(b, model_of(b, false, true), false, false);
}
static int64_t forward_both(struct bench *b)
{
    return each_batch(b, model_of(b, false, true), true, false);
}
static int64_t forward_shared(struct bench *b)
{
    return each_batch(b, model_of(b, false, false), false, false);
}
static int64_t lora(struct bench *b)
{
    return each_batch(b, model_of(b, true, true), false, true);
}
static int64_t lora_shared(struct bench *b)
{
    return each_batch(b, model_of(b, true, false), false, true);
}

static const struct work {
    const char *name, *suffix; /* the precision between them, but for prefix- */
    int64_t (*ours)(struct bench *), (*peer)(struct bench *);
} works[] = {
    {"embed-", "-apart", embed_apart, forward},
    {"embed-", "-same", embed_apart, forward_both},
    {"embed-", "", embed_shared, forward},
    {"prefix-forward", NULL, forward_shared, forward},
    {"prefix-lora", NULL, lora_shared, lora},
};

static void turns(struct bench *b, const struct work *w, const char *row)
{
    double rate[2][MOST_TURNS];
    char *name = mem_printf("%s%s%s", w->name, w->suffix ? b->precision : "",
                            w->suffix ? w->suffix : "");
    if (row && strcmp(row, name) != 0) {
        free(name);
        return;
    }
    for (int t = -1; t < b->n_turns; t++) /* the first warms up */
        for (int k = 0; k < 2; k++) {
            double start = bench_cpu_clock();
            int64_t n = (k ? w->peer : w->ours)(b);
            if (t >= 0)
                rate[k][t] = (double)n / (bench_cpu_clock() - start);
        }
    for (int k = 0; k < 2; k++)
        qsort(rate[k], (size_t)b->n_turns, sizeof **rate, bench_by_value);
    double ours = rate[0][b->n_turns / 2], peer = rate[1][b->n_turns / 2];
    printf("%s,%.4g,%.4g,%.4g,tokens/s\n", name, ours, peer, ours / peer);
    fflush(stdout);
    free(name);
}

static void read_all(struct bench *b, const char *model, const char *data, int64_t n,
                     const char *template)
{
    struct err e = ERR_INIT;
    struct data_options o = {.on_error = DATA_SKIP};
    struct tok *t = tok_load(model, &e);
    struct tmpl *tm = t ? tmpl_load(template, &e) : NULL;
    must(tm ? 0 : -1, &e);
    must(dataset_read(&b->data, data, &o, &e), &e);
    thin(&b->data, n);
    b->how = (struct embed_options){
        .tok = t, .tmpl = tm, .max_len = MAX_LEN, .overlong = EXAMPLE_DROP, .dim = 64};
    must(example_set_make(&b->all, t, tm, &b->data, MAX_LEN, EXAMPLE_DROP, &e), &e);
}

int main(int argc, char **argv)
{
    cpu_fix_blas(argv);
    struct bench b = {.n_turns = argc > 4 ? atoi(argv[4]) : 0};
    if (argc < 6 || argc > 8 || b.n_turns < 1 || b.n_turns > MOST_TURNS) {
        fprintf(stderr,
                "usage: bench_embed MODEL DATA RECORDS TURNS fp32|bf16 [TEMPLATE [ROW]]\n");
        return 2;
    }
    b.model = argv[1];
    b.precision = argv[5];
    read_all(&b, argv[1], argv[2], atoll(argv[3]), argc > 6 ? argv[6] : "alpaca");
    for (size_t i = 0; i < sizeof works / sizeof *works; i++)
        turns(&b, &works[i], argc > 7 ? argv[7] : NULL);
    for (int i = 0; i < 4; i++)
        lm_close(b.models[i / 2][i % 2]);
    tok_free((struct tok *)(uintptr_t)b.how.tok);
    tmpl_free((struct tmpl *)(uintptr_t)b.how.tmpl);
    example_set_free(&b.all);
    dataset_free(&b.data);
    return 0;
}
