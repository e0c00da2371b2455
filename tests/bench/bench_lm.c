/* SPDX-License-Identifier: MIT
 *
 * bench_lm: steps of a model on fixed records, one at a time, as tests/bench/run asks for them.
 *
 *     bench_lm MODEL DATA
 *
 * 32 records spread over the file, Stanford's prompt, at most 512 tokens, in two batches of 16.
 * Commands on standard input, each answered by a line; a failure ends the program:
 *
 *     ids            a line a record: tokens of the prompt, then all ids; then an empty line
 *     open WORK      forward-fp32, lora-bf16, ...: loads the model, runs all once; says how
 *     step           seconds, tokens and mean loss of one pass over all records
 *     gemm           seconds of the matrix products of such a pass, alone
 *
 * `gemm` calls again what the last pass called, on the same buffers: a table of operations that
 * records goes between the model and its device for one pass. The buffers then hold the results
 * of that pass, so the values are of the right size, and the gradients are cleared by the next.
 */
#include "base/cpu.h"
#include "base/mem.h"
#include "base/text.h"
#include "lm/batch.h"
#include "lm/model.h"
#include "text/example.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_RECORDS = 32, BATCH = 16, MAX_LEN = 512 };

static void fail(const struct err *e)
{
    fprintf(stderr, "bench_lm: %s\n", e->msg);
    exit(1);
}

/* ---- recording the products ---- */

enum kind { LINEAR_FWD, LINEAR_BWD, LINEAR_FWD_F32, WEIGHT_GRAD, GEMM };

struct call {
    enum kind kind;
    bool is_ta, is_tb, is_accumulated;
    int64_t T, M, N, ldy, ldx, ldc;
    float alpha, beta;
    void *y;
    const void *x, *x2;
    const struct lm_matrix *m;
};

/* The operations have no room for a caller's pointer, so this is the file's one global. */
static struct {
    const struct lm_ops *real;
    struct lm_ops ops;
    struct call *calls;
    size_t n, cap;
} record;

static void add(const struct call *c)
{
    MEM_GROW(record.calls, record.cap, record.n + 1);
    record.calls[record.n++] = *c;
}

static void on_linear_fwd(struct lm_dev *d, void *y, int64_t ldy, const void *x, int64_t ldx,
                          const struct lm_matrix *m, int64_t T, bool is_accumulated)
{
    add(&(struct call){.kind = LINEAR_FWD,
                       .y = y,
                       .ldy = ldy,
                       .x = x,
                       .ldx = ldx,
                       .m = m,
                       .T = T,
                       .is_accumulated = is_accumulated});
    record.real->linear_fwd(d, y, ldy, x, ldx, m, T, is_accumulated);
}

static void on_linear_bwd(struct lm_dev *d, void *dx, int64_t lddx, const void *dy,
                          int64_t lddy, const struct lm_matrix *m, int64_t T,
                          bool is_accumulated)
{
    add(&(struct call){.kind = LINEAR_BWD,
                       .y = dx,
                       .ldy = lddx,
                       .x = dy,
                       .ldx = lddy,
                       .m = m,
                       .T = T,
                       .is_accumulated = is_accumulated});
    record.real->linear_bwd(d, dx, lddx, dy, lddy, m, T, is_accumulated);
}

static void on_linear_fwd_f32(struct lm_dev *d, float *y, int64_t ldy, const void *x,
                              int64_t ldx, const struct lm_matrix *m, int64_t T)
{
    add(&(struct call){
        .kind = LINEAR_FWD_F32, .y = y, .ldy = ldy, .x = x, .ldx = ldx, .m = m, .T = T});
    record.real->linear_fwd_f32(d, y, ldy, x, ldx, m, T);
}

static void on_weight_grad(struct lm_dev *d, float *dw, const void *dy, int64_t lddy,
                           const void *x, int64_t ldx, int64_t T, int64_t n_out, int64_t n_in)
{
    add(&(struct call){.kind = WEIGHT_GRAD,
                       .y = dw,
                       .x = dy,
                       .ldy = lddy,
                       .x2 = x,
                       .ldx = ldx,
                       .T = T,
                       .M = n_out,
                       .N = n_in});
    record.real->weight_grad(d, dw, dy, lddy, x, ldx, T, n_out, n_in);
}

static void on_gemm(struct lm_dev *d, bool is_ta, bool is_tb, int64_t M, int64_t N, int64_t K,
                    float alpha, const void *a, int64_t lda, const void *b, int64_t ldb,
                    float beta, void *c, int64_t ldc)
{
    add(&(struct call){.kind = GEMM,
                       .is_ta = is_ta,
                       .is_tb = is_tb,
                       .M = M,
                       .N = N,
                       .T = K,
                       .alpha = alpha,
                       .beta = beta,
                       .x = a,
                       .ldx = lda,
                       .x2 = b,
                       .ldy = ldb,
                       .y = c,
                       .ldc = ldc});
    record.real->gemm(d, is_ta, is_tb, M, N, K, alpha, a, lda, b, ldb, beta, c, ldc);
}

static void record_start(struct lm *m)
{
    record.n = 0;
    record.real = m->d->ops;
    record.ops = *record.real;
    record.ops.linear_fwd = on_linear_fwd;
    record.ops.linear_bwd = on_linear_bwd;
    record.ops.linear_fwd_f32 = on_linear_fwd_f32;
    record.ops.weight_grad = on_weight_grad;
    record.ops.gemm = on_gemm;
    m->d->ops = &record.ops;
}

static void record_stop(struct lm *m)
{
    m->d->ops = record.real;
}

static void call_again(struct lm_dev *d, const struct call *c)
{
    const struct lm_ops *f = record.real;
    switch (c->kind) {
    case LINEAR_FWD:
        f->linear_fwd(d, c->y, c->ldy, c->x, c->ldx, c->m, c->T, c->is_accumulated);
        break;
    case LINEAR_BWD:
        f->linear_bwd(d, c->y, c->ldy, c->x, c->ldx, c->m, c->T, c->is_accumulated);
        break;
    case LINEAR_FWD_F32:
        f->linear_fwd_f32(d, c->y, c->ldy, c->x, c->ldx, c->m, c->T);
        break;
    case WEIGHT_GRAD:
        f->weight_grad(d, c->y, c->x, c->ldy, c->x2, c->ldx, c->T, c->M, c->N);
        break;
    case GEMM:
        f->gemm(d, c->is_ta, c->is_tb, c->M, c->N, c->T, c->alpha, c->x, c->ldx, c->x2, c->ldy,
                c->beta, c->y, c->ldc);
        break;
    }
}

static double replay(struct lm *m)
{
    double start = text_clock();
    for (size_t i = 0; i < record.n; i++)
        call_again(m->d, &record.calls[i]);
    m->d->ops->sync(m->d);
    return text_clock() - start;
}

/* ---- the records and the steps ---- */

struct bench {
    const char *model;
    struct lm *m;
    bool is_training;
    struct lm_pack batches[N_RECORDS / BATCH];
};

static void read_records(struct bench *b, const char *data)
{
    struct err e = ERR_INIT;
    struct data_options o = {.on_error = DATA_SKIP};
    struct dataset d = {0};
    struct tok *t = tok_load(b->model, &e);
    struct tmpl *tm = t ? tmpl_load("alpaca", &e) : NULL;
    if (!tm || dataset_read(&d, data, &o, &e) < 0)
        fail(&e);
    struct data_reader *reader = data_reader_new(&d);
    for (int64_t i = 0, n = 0; n < N_RECORDS; n++) {
        struct example x = {0};
        int64_t at = n * d.n_records / N_RECORDS;
        for (i = i > at ? i : at; i < d.n_records && !x.n; i++) {
            const struct data_record *r = data_reader_get(reader, i, &e);
            if (!r || example_make(t, tm, r, MAX_LEN, EXAMPLE_DROP, &x, &e) < 0)
                fail(&e);
        }
        if (!x.n) {
            (void)err_set(&e, ERR_EMPTY, "%s: fewer than %d usable records", data, N_RECORDS);
            fail(&e);
        }
        lm_pack_add(&b->batches[n / BATCH], x.ids, x.is_loss, x.n);
        example_free(&x);
    }
    data_reader_free(reader);
    dataset_free(&d);
    tmpl_free(tm);
    tok_free(t);
}

static void print_ids(const struct bench *b)
{
    for (int k = 0; k < N_RECORDS / BATCH; k++) {
        const struct lm_pack *p = &b->batches[k];
        for (int64_t s = 0; s < p->n_seqs; s++) {
            int64_t at = p->offsets[s], n_prompt = 0;
            while (at + n_prompt < p->offsets[s + 1] && !p->is_loss[at + n_prompt])
                n_prompt++;
            printf("%lld", (long long)n_prompt);
            for (; at < p->offsets[s + 1]; at++)
                printf(" %d", p->ids[at]);
            putchar('\n');
        }
    }
    putchar('\n');
}

struct pass {
    double seconds, loss; /* mean of the batches' losses */
    int64_t n_tokens;
};

static double forward(struct lm *m, const struct lm_batch *batch)
{
    struct err e = ERR_INIT;
    double loss;
    if (lm_mean_nll(m, batch, &loss, NULL, &e) < 0)
        fail(&e);
    return loss;
}

static double step(struct lm *m, const struct lm_batch *batch)
{
    struct err e = ERR_INIT;
    struct lm_step_stats s;
    if (lm_step(m, batch, 1e-5, &s, &e) < 0)
        fail(&e);
    return s.loss;
}

static struct pass run(struct bench *b)
{
    struct pass p = {0};
    double start = text_clock();
    for (int k = 0; k < N_RECORDS / BATCH; k++) {
        const struct lm_batch batch = lm_pack_batch(&b->batches[k]);
        p.loss += (b->is_training ? step : forward)(b->m, &batch) / (N_RECORDS / BATCH);
        p.n_tokens += batch.n_tokens;
    }
    p.seconds = text_clock() - start;
    return p;
}

/* Also the warm-up: room for the largest batch, pages touched, the products recorded. */
static void open_work(struct bench *b, const char *work)
{
    struct err e = ERR_INIT;
    struct lm_options o = LM_OPTIONS_DEFAULTS;
    const char *dash = strchr(work, '-');
    o.tuning = !strncmp(work, "lora", 4)   ? LM_TUNE_LORA
               : !strncmp(work, "full", 4) ? LM_TUNE_FULL
                                           : LM_TUNE_NONE;
    o.precision = dash && !strcmp(dash, "-bf16") ? LM_PRECISION_BF16 : LM_PRECISION_FP32;
    lm_close(b->m);
    b->m = lm_open(b->model, &o, &e);
    if (!b->m)
        fail(&e);
    b->is_training = o.tuning != LM_TUNE_NONE;
    run(b); /* buffers grow to their size */
    record_start(b->m);
    run(b);
    record_stop(b->m);
    printf("%s\n", lm_arith_path(b->m));
}

static void serve(struct bench *b)
{
    char line[128];
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = '\0';
        if (!strcmp(line, "ids")) {
            print_ids(b);
        } else if (!strncmp(line, "open ", 5)) {
            open_work(b, line + 5);
        } else if (b->m && !strcmp(line, "step")) {
            struct pass p = run(b);
            printf("%.6f %lld %.6f\n", p.seconds, (long long)p.n_tokens, p.loss);
        } else if (b->m && !strcmp(line, "gemm")) {
            printf("%.6f\n", replay(b->m));
        } else {
            fprintf(stderr, "bench_lm: %s: unknown, or nothing is open\n", line);
            exit(2);
        }
        fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    cpu_fix_blas(argv);
    if (argc != 3) {
        fprintf(stderr, "usage: bench_lm MODEL DATA\n");
        return 2;
    }
    struct bench b = {.model = argv[1]};
    read_records(&b, argv[2]);
    serve(&b);
    lm_close(b.m);
    for (int k = 0; k < N_RECORDS / BATCH; k++)
        lm_pack_free(&b.batches[k]);
    free(record.calls);
    return 0;
}
