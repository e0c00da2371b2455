/* SPDX-License-Identifier: MIT
 *
 * bench_kept: frozen weights in the type that their file has, beside the same as float.
 *
 *     bench_kept MODEL [TURNS [TOKENS]]        [3 1024]
 *
 * In fp32, on one batch of TOKENS random ids in sequences of 128. Both models are open at the
 * same time and take turns; medians of the processor's seconds, for with OMP_NUM_THREADS=1 they
 * are what a machine takes that does nothing else. Rows work,ours,peer,ratio,unit, where the
 * peer is the model as float: tokens a second of scoring, of a LoRA step, of generation of one
 * sequence and of eight at once, each after 32 tokens; and bytes of frozen weights as the plan
 * has them. A loss that is not the same, to the last bit, is an error. */
#include "base/cpu.h"
#include "base/mem.h"
#include "base/rng.h"
#include "bench/bench.h"
#include "lm/batch.h"
#include "lm/generate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BENCH_NAME "bench_kept"

enum { LEN = 128, PROMPT = 32, NEW = 32, MOST_TURNS = 99 };

static struct lm_pack random_batch(int64_t n, int64_t len, int64_t V)
{
    struct lm_pack p = {0};
    int32_t ids[LEN];
    uint8_t is_loss[LEN];
    for (int64_t i = 0; i < n; i++) {
        for (int64_t t = 0; t < len; t++) {
            ids[t] = (int32_t)(rng_hash(1, (uint64_t)i, (uint64_t)t, 0) % (uint64_t)V);
            is_loss[t] = t >= len / 2;
        }
        lm_pack_add(&p, ids, is_loss, len);
    }
    return p;
}

struct run {
    struct lm *m;
    struct lm_pack batch, prompts;
};

/* Each returns a number that must be the same for both models. */
static double score(struct run *r)
{
    struct err e = ERR_INIT;
    struct lm_batch b = lm_pack_batch(&r->batch);
    double loss;
    must(lm_mean_nll(r->m, &b, &loss, NULL, &e), &e);
    return loss;
}

static double step(struct run *r)
{
    struct err e = ERR_INIT;
    struct lm_batch b = lm_pack_batch(&r->batch);
    struct lm_step_stats s;
    must(lm_step(r->m, &b, 1e-4, &s, &e), &e);
    return s.loss + s.grad_norm;
}

static double generate(struct run *r)
{
    struct err e = ERR_INIT;
    struct lm_batch b = lm_pack_batch(&r->prompts);
    struct lm_generate_options o = {.max_new = NEW};
    struct lm_generated *g = mem_alloc((size_t)b.n_seqs, sizeof *g);
    double sum = 0;
    must(lm_generate(r->m, &b, &o, g, &e), &e);
    for (int64_t i = 0; i < b.n_seqs; i++)
        for (int64_t k = 0; k < g[i].n; k++)
            sum += (double)g[i].ids[k] * (double)(k + 1);
    lm_generated_free(g, b.n_seqs);
    free(g);
    return sum;
}

static void turns(const char *name, struct run r[2], double (*work)(struct run *), int n,
                  double tokens)
{
    double seconds[2][MOST_TURNS], value[2];
    for (int t = -1; t < n; t++) { /* the first warms up */
        for (int k = 0; k < 2; k++) {
            double start = bench_cpu_clock();
            value[k] = work(&r[k]);
            if (t >= 0)
                seconds[k][t] = bench_cpu_clock() - start;
        }
        if (memcmp(&value[0], &value[1], sizeof value[0]) != 0) {
            fprintf(stderr, "bench_kept: %s: %.17g, and as float %.17g\n", name, value[0],
                    value[1]);
            exit(1);
        }
    }
    for (int k = 0; k < 2; k++)
        qsort(seconds[k], (size_t)n, sizeof **seconds, bench_by_value);
    double ours = tokens / seconds[0][n / 2], peer = tokens / seconds[1][n / 2];
    printf("%s,%.4g,%.4g,%.4g,tokens/s\n", name, ours, peer, ours / peer);
    fflush(stdout);
}

static void open_both(struct run r[2], const char *model, struct lm_options o, int64_t n_tokens)
{
    struct err e = ERR_INIT;
    for (int k = 0; k < 2; k++) {
        o.is_widened = k == 1;
        lm_close(r[k].m);
        r[k].m = lm_open(model, &o, &e);
        must(r[k].m ? 0 : -1, &e);
        lm_pack_free(&r[k].batch);
        lm_pack_free(&r[k].prompts);
        int64_t V = lm_get_config(r[k].m)->n_vocab, len = n_tokens < LEN ? n_tokens : LEN;
        r[k].batch = random_batch(n_tokens / len, len, V);
        r[k].prompts = random_batch(o.n_slots ? o.n_slots : 1, PROMPT, V);
    }
}

static void bytes(const char *model, struct lm_options o)
{
    struct err e = ERR_INIT;
    struct lm_memory p[2];
    for (int k = 0; k < 2; k++) {
        o.is_widened = k == 1;
        must(lm_plan(model, &o, &p[k], &e), &e);
    }
    double kept = (double)p[0].weights, wide = (double)p[1].weights;
    printf("kept-weights,%.4g,%.4g,%.4g,bytes\n", kept, wide, wide / kept);
}

int main(int argc, char **argv)
{
    cpu_fix_blas(argv);
    int n = argc > 2 ? atoi(argv[2]) : 3;
    int64_t n_tokens = argc > 3 ? atoll(argv[3]) : 1024;
    if (argc < 2 || argc > 4 || n < 1 || n > MOST_TURNS || n_tokens < 2) {
        fprintf(stderr, "usage: bench_kept MODEL [TURNS [TOKENS]]\n");
        return 2;
    }
    struct run r[2] = {{0}};
    struct lm_options o = LM_OPTIONS_DEFAULTS;
    o.precision = LM_PRECISION_FP32;
    o.micro_tokens = n_tokens;
    bytes(argv[1], o);
    o.is_apart = true;
    open_both(r, argv[1], o, n_tokens);
    turns("kept-forward", r, score, n, (double)n_tokens);
    for (int slots = 1; slots <= 8; slots *= 8) {
        o.longest = PROMPT + NEW;
        o.n_slots = slots;
        open_both(r, argv[1], o, n_tokens);
        turns(slots == 1 ? "kept-generate-1" : "kept-generate-8", r, generate, n, slots * NEW);
    }
    o.n_slots = 0;
    o.tuning = LM_TUNE_LORA;
    open_both(r, argv[1], o, n_tokens);
    turns("kept-lora", r, step, n, (double)n_tokens);
    for (int k = 0; k < 2; k++) {
        lm_close(r[k].m);
        lm_pack_free(&r[k].batch);
        lm_pack_free(&r[k].prompts);
    }
    return 0;
}
