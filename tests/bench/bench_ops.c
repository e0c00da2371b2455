/* SPDX-License-Identifier: MIT
 *
 * bench_ops: one decoder layer, op by op, against the time of its own matrix products.
 *
 *     bench_ops [-b] [-c] [-l] [-o OP] [T [N]]
 *
 * T tokens (4096) in records of 110 to 200, medians of N runs (7); -o: only the ops that begin
 * so; -b: bf16; -c: CPU time, for one thread on a busy machine; -l: the sizes of Llama-3.2-1B
 * instead of SmolLM2-135M. Prints one line an op: milliseconds, GB/s or GFLOP/s, and its share
 * of the layer's GEMM time in a LoRA step. */
#include "base/cpu.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/text.h"
#include "lm/backend.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_REPEATS = 101 };

struct bench {
    struct lm_dev *dev;
    int64_t T, D, H, G, K, F, V, n_seqs, n_targets;
    int n_repeats;
    bool is_cpu_time;
    const char *only; /* prefix of the ops to run; NULL: all */
    int32_t *offsets, *positions, *ids;
    struct lm_matrix *qkv, *o, *gate_up, *down, *classifier;
    /* [T, 2F] is the widest activation */
    void *a, *b, *c, *e;
    float *x, *dx, *f, *rstd, *lse, *delta, *table, *logits;
    double gemm_ms;
};

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double seconds(const struct bench *b)
{
    return b->is_cpu_time ? (double)clock() / CLOCKS_PER_SEC : text_clock();
}

static double median_ms(struct bench *b, void (*op)(struct bench *))
{
    double t[MAX_REPEATS];
    op(b);
    for (int i = 0; i < b->n_repeats; i++) {
        double start = seconds(b);
        op(b);
        t[i] = (seconds(b) - start) * 1e3;
    }
    qsort(t, (size_t)b->n_repeats, sizeof *t, by_value);
    return t[b->n_repeats / 2];
}

/* ---- the products of a layer: forward, and the gradient of the inputs ---- */

static int64_t qkv_width(const struct bench *b)
{
    return (b->H + 2 * b->G) * b->K;
}

static void gemm_fwd(struct bench *b)
{
    const struct lm_ops *p = b->dev->ops;
    p->linear_fwd(b->dev, b->b, qkv_width(b), b->a, b->D, b->qkv, b->T, false);
    p->linear_fwd(b->dev, b->b, b->D, b->a, b->H * b->K, b->o, b->T, false);
    p->linear_fwd(b->dev, b->b, 2 * b->F, b->a, b->D, b->gate_up, b->T, false);
    p->linear_fwd(b->dev, b->a, b->D, b->c, b->F, b->down, b->T, false);
}

static void gemm_bwd(struct bench *b)
{
    const struct lm_ops *p = b->dev->ops;
    p->linear_bwd(b->dev, b->b, b->F, b->a, b->D, b->down, b->T, false);
    p->linear_bwd(b->dev, b->a, b->D, b->c, 2 * b->F, b->gate_up, b->T, false);
    p->linear_bwd(b->dev, b->b, b->H * b->K, b->a, b->D, b->o, b->T, false);
    p->linear_bwd(b->dev, b->b, b->D, b->a, qkv_width(b), b->qkv, b->T, false);
}

static void classifier(struct bench *b)
{
    b->dev->ops->linear_fwd_f32(b->dev, b->logits, b->V, b->a, b->D, b->classifier,
                                b->n_targets);
}

static void lora_fwd(struct bench *b) /* one adapter of rank 16 on a [D, D] matrix */
{
    b->dev->ops->gemm(b->dev, false, true, b->T, 16, b->D, 1, b->a, b->D, b->x, b->D, 0, b->b,
                      16);
    b->dev->ops->gemm(b->dev, false, true, b->T, b->D, 16, 1, b->b, 16, b->x, 16, 1, b->c,
                      b->D);
}

static void lora_grad(struct bench *b)
{
    b->dev->ops->weight_grad(b->dev, b->f, b->b, 16, b->a, b->D, b->T, 16, b->D);
    b->dev->ops->weight_grad(b->dev, b->f, b->a, b->D, b->b, 16, b->T, b->D, 16);
}

/* ---- the rest ---- */

static void norm_fwd(struct bench *b)
{
    b->dev->ops->rmsnorm_fwd(b->dev, b->b, b->rstd, b->x, b->x, b->a, b->table, b->T, b->D,
                             1e-5f);
}

static void norm_bwd(struct bench *b)
{
    b->dev->ops->rmsnorm_bwd(b->dev, b->dx, b->b, NULL, NULL, b->a, b->x, b->table, b->rstd,
                             b->T, b->D);
}

static void rope(struct bench *b)
{
    b->dev->ops->rope(b->dev, b->e, qkv_width(b), b->positions, b->table, b->T, b->H + b->G,
                      b->K, false);
}

static char *kv(const struct bench *b, void *qkv, int which)
{
    size_t at = (size_t)((b->H + which * b->G) * b->K);
    return (char *)qkv + at * lm_act_size(b->dev);
}

static void attention_fwd(struct bench *b)
{
    int64_t ld = qkv_width(b);
    b->dev->ops->attention_fwd(b->dev, b->c, b->H * b->K, b->lse, b->e, ld, kv(b, b->e, 0), ld,
                               kv(b, b->e, 1), ld, b->offsets, b->n_seqs, b->T, b->H, b->G,
                               b->K, 0.125f);
}

static void attention_bwd(struct bench *b)
{
    int64_t ld = qkv_width(b);
    b->dev->ops->attention_bwd(b->dev, b->b, kv(b, b->b, 0), kv(b, b->b, 1), b->delta, b->a,
                               b->c, b->H * b->K, b->lse, b->e, ld, kv(b, b->e, 0), ld,
                               kv(b, b->e, 1), ld, b->offsets, b->n_seqs, b->T, b->H, b->G,
                               b->K, 0.125f);
}

static void swiglu_fwd(struct bench *b)
{
    b->dev->ops->swiglu_fwd(b->dev, b->c, b->a, b->T, b->F);
}

static void swiglu_bwd(struct bench *b)
{
    b->dev->ops->swiglu_bwd(b->dev, b->b, b->e, b->c, b->a, b->T, b->F);
}

static void xent(struct bench *b)
{
    b->dev->ops->xent(b->dev, b->rstd, b->b, b->logits, b->ids, b->n_targets, b->V, 1e-3f);
}

static void adamw(struct bench *b)
{
    struct lm_adamw h = {1e-3, 0.9, 0.999, 1e-8, 0, 3, 1};
    int64_t n = b->T * b->D / 4;
    b->dev->ops->adamw(b->dev, b->x, b->x + n, b->dx, b->dx + n, n, &h);
}

/* ---- what is measured ---- */

struct row {
    const char *name;
    void (*op)(struct bench *);
    double per_step; /* times a layer in a LoRA step: for the share */
    bool is_gemm;
};

static const struct row rows[] = {
    {"gemm forward", gemm_fwd, 1, true},
    {"gemm backward", gemm_bwd, 1, true},
    {"lora forward", lora_fwd, 0, false},
    {"lora gradients", lora_grad, 0, false},
    {"rmsnorm forward", norm_fwd, 2, false},
    {"rmsnorm backward", norm_bwd, 2, false},
    {"rope", rope, 2, false},
    {"attention forward", attention_fwd, 1, false},
    {"attention backward", attention_bwd, 1, false},
    {"swiglu forward", swiglu_fwd, 1, false},
    {"swiglu backward", swiglu_bwd, 1, false},
    {"classifier (chunk)", classifier, 0, false},
    {"xent (chunk)", xent, 0, false},
    {"adamw", adamw, 0, false},
};

static double work(const struct bench *b, const char *name, const char **unit)
{
    double T = (double)b->T, D = (double)b->D, F = (double)b->F,
           size = (double)lm_act_size(b->dev);
    double qkv = (double)qkv_width(b), n_sq = 0;
    for (int64_t s = 0; s < b->n_seqs; s++)
        n_sq += pow((double)(b->offsets[s + 1] - b->offsets[s]), 2);
    *unit = "GFLOP/s";
    if (!strncmp(name, "gemm", 4))
        return 2 * T * (D * qkv + D * (double)(b->H * b->K) + 3 * D * F);
    if (!strncmp(name, "lora", 4))
        return 2 * T * 16 * D * 2;
    if (!strncmp(name, "attention", 9)) /* half the square: causal */
        return n_sq * (double)(b->H * b->K) * (name[10] == 'f' ? 2 : 5);
    if (!strncmp(name, "classifier", 10))
        return 2 * (double)(b->n_targets * b->V) * D;
    *unit = "GB/s";
    if (!strcmp(name, "rmsnorm forward"))
        return T * D * (8 + 2 * size);
    if (!strcmp(name, "rmsnorm backward"))
        return T * D * (12 + 2 * size);
    if (!strcmp(name, "rope"))
        return T * (double)((b->H + b->G) * b->K) * 2 * size;
    if (!strcmp(name, "swiglu forward"))
        return T * F * 3 * size;
    if (!strcmp(name, "swiglu backward"))
        return T * F * 6 * size;
    if (!strncmp(name, "xent", 4))
        return (double)(b->n_targets * b->V) * (4 + size);
    return T * D / 4 * 28;
}

static void *filled(struct bench *b, int64_t n, bool is_act)
{
    struct rng r;
    float *f = mem_aligned((size_t)n * sizeof *f);
    rng_init(&r, 1, 2);
    for (int64_t i = 0; i < n; i++)
        f[i] = (float)(rng_unit(&r) - 0.5);
    if (!is_act)
        return f;
    void *p = mem_aligned((size_t)n * lm_act_size(b->dev));
    b->dev->ops->to_act(b->dev, p, f, (size_t)n);
    free(f);
    return p;
}

static struct lm_matrix *matrix(struct bench *b, int64_t n_out, int64_t n_in)
{
    return b->dev->ops->matrix_new(b->dev, filled(b, n_out * n_in, false), n_out, n_in, NULL);
}

static void setup(struct bench *b)
{
    int64_t wide = 2 * b->F > qkv_width(b) ? 2 * b->F : qkv_width(b), T = b->T;
    struct rng r;
    rng_init(&r, 3, 4);
    b->offsets = mem_zalloc((size_t)T + 1, sizeof *b->offsets);
    b->positions = mem_zalloc((size_t)T, sizeof *b->positions);
    b->ids = mem_zalloc((size_t)T, sizeof *b->ids);
    for (int64_t at = 0; at < T; b->n_seqs++) {
        int64_t n = 110 + (int64_t)rng_below(&r, 91);
        for (int64_t i = 0; i < n && at + i < T; i++)
            b->positions[at + i] = (int32_t)i;
        at = at + n < T ? at + n : T;
        b->offsets[b->n_seqs + 1] = (int32_t)at;
    }
    b->n_targets = 256;
    int64_t n_big = T * wide > b->n_targets * b->V ? T * wide : b->n_targets * b->V;
    b->a = filled(b, T * wide, true), b->b = filled(b, n_big, true);
    b->c = filled(b, T * wide, true), b->e = filled(b, T * wide, true);
    b->x = filled(b, T * b->D, false), b->dx = filled(b, T * b->D, false);
    b->f = filled(b, b->D * b->D, false), b->table = filled(b, 256 * b->D, false);
    b->rstd = filled(b, T, false), b->lse = filled(b, T * b->H, false);
    b->delta = filled(b, T * b->H, false), b->logits = filled(b, b->n_targets * b->V, false);
    b->qkv = matrix(b, qkv_width(b), b->D), b->o = matrix(b, b->D, b->H * b->K);
    b->gate_up = matrix(b, 2 * b->F, b->D), b->down = matrix(b, b->D, b->F);
    b->classifier = matrix(b, b->V, b->D);
}

static void report(struct bench *b)
{
    double other_ms = 0;
    printf("%s, BLAS kernel %s: T %lld, D %lld, F %lld, %lld records\n", b->dev->ops->name,
           cpu_blas_kernel(), (long long)b->T, (long long)b->D, (long long)b->F,
           (long long)b->n_seqs);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *unit;
        if (b->only && strncmp(rows[i].name, b->only, strlen(b->only)) != 0)
            continue;
        double ms = median_ms(b, rows[i].op), rate = work(b, rows[i].name, &unit) / ms / 1e6;
        if (rows[i].is_gemm)
            b->gemm_ms += ms;
        else
            other_ms += ms * rows[i].per_step;
        printf("%-20s %9.2f ms %8.1f %-8s", rows[i].name, ms, rate, unit);
        if (rows[i].is_gemm || !(rows[i].per_step > 0) || b->only)
            printf("\n");
        else
            printf(" %5.1f %% of GEMM\n", 100 * ms * rows[i].per_step / b->gemm_ms);
    }
    if (!b->only)
        printf("a layer's other ops: %.1f %% of its GEMM\n", 100 * other_ms / b->gemm_ms);
}

int main(int argc, char **argv)
{
    cpu_fix_blas(argv);
    struct bench b = {
        .T = 4096, .D = 576, .H = 9, .G = 3, .K = 64, .F = 1536, .V = 49152, .n_repeats = 7};
    enum lm_dtype act = LM_F32;
    int first = 1;
    for (; first < argc && argv[first][0] == '-'; first++)
        if (!strcmp(argv[first], "-b"))
            act = LM_BF16;
        else if (!strcmp(argv[first], "-c"))
            b.is_cpu_time = true;
        else if (!strcmp(argv[first], "-o") && first + 1 < argc)
            b.only = argv[++first];
        else if (!strcmp(argv[first], "-l"))
            b.D = 2048, b.H = 32, b.G = 8, b.F = 8192, b.V = 128256;
    if (first < argc)
        b.T = atoll(argv[first]);
    if (first + 1 < argc)
        b.n_repeats = atoi(argv[first + 1]);
    if (b.T < 1 || b.n_repeats < 1 || b.n_repeats > MAX_REPEATS)
        return 2;
    struct err e = ERR_INIT;
    b.dev = lm_dev_open_cpu(act, &e);
    if (!b.dev) {
        fprintf(stderr, "bench_ops: %s\n", e.msg);
        return 1;
    }
    setup(&b);
    report(&b);
    return 0;
}
