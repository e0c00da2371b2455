/* SPDX-License-Identifier: MIT
 *
 * bench_generate: generation with its cache beside the forward pass run again for each token.
 *
 *     bench_generate MODEL [PROMPTS [LENGTH [NEW]]]        [8 256 64]
 *
 * Random prompts of LENGTH ids, in fp32, the same in each row. Prints rows
 * work,ours,peer,ratio,unit: tokens generated a second, prompts' own pass included, with the
 * cache; and when every token takes a pass over all before it, by one such pass at the mean
 * length. `shared`: half of a prompt is common to all. `prefill`: tokens of prompts a second,
 * as generation computes them (row by row) and as scoring does. Seconds are the processor's:
 * with OMP_NUM_THREADS=1 what a machine takes that does nothing else. */
#include "base/cpu.h"
#include "base/mem.h"
#include "base/rng.h"
#include "bench/bench.h"
#include "lm/batch.h"
#include "lm/generate.h"

#include <stdio.h>
#include <stdlib.h>

#define BENCH_NAME "bench_generate"

/* n prompts of len ids, the first n_same of all the same; the last is a target. */
static struct lm_pack prompts(int64_t n, int64_t len, int64_t n_same, int64_t V)
{
    struct lm_pack p = {0};
    int32_t *ids = mem_alloc((size_t)len, sizeof *ids);
    uint8_t *is_loss = mem_zalloc((size_t)len, 1);
    is_loss[len - 1] = 1;
    for (int64_t i = 0; i < n; i++) {
        for (int64_t t = 0; t < len; t++)
            ids[t] = (int32_t)(rng_hash(1, t < n_same ? 0 : (uint64_t)i, (uint64_t)t, 0) %
                               (uint64_t)V);
        lm_pack_add(&p, ids, is_loss, len);
    }
    free(ids);
    free(is_loss);
    return p;
}

static double seconds_of(struct lm *m, const struct lm_pack *p, int64_t n_new, int64_t n_shared)
{
    struct err e = ERR_INIT;
    struct lm_batch b = lm_pack_batch(p);
    struct lm_generate_options o = {.max_new = n_new, .n_shared = n_shared};
    struct lm_generated *g = mem_alloc((size_t)b.n_seqs, sizeof *g);
    double start = bench_cpu_clock();
    must(lm_generate(m, &b, &o, g, &e), &e);
    double spent = bench_cpu_clock() - start;
    lm_generated_free(g, b.n_seqs);
    free(g);
    return spent;
}

static double seconds_of_scoring(struct lm *m, const struct lm_pack *p)
{
    struct err e = ERR_INIT;
    struct lm_batch b = lm_pack_batch(p);
    double *nll = mem_alloc((size_t)b.n_seqs, sizeof *nll);
    int64_t *count = mem_alloc((size_t)b.n_seqs, sizeof *count);
    double start = bench_cpu_clock();
    must(lm_nll(m, &b, nll, count, &e), &e);
    double spent = bench_cpu_clock() - start;
    free(nll);
    free(count);
    return spent;
}

static void row(const char *work, double ours, double peer)
{
    printf("%s,%.4g,%.4g,%.4g,tokens/s\n", work, ours, peer, ours / peer);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    cpu_fix_blas(argv);
    struct err e = ERR_INIT;
    struct lm_options lo = LM_OPTIONS_DEFAULTS;
    int64_t n = argc > 2 ? atoll(argv[2]) : 8, len = argc > 3 ? atoll(argv[3]) : 256;
    int64_t n_new = argc > 4 ? atoll(argv[4]) : 64;
    if (argc < 2 || argc > 5 || n < 1 || len < 2 || n_new < 2) {
        fprintf(stderr, "usage: bench_generate MODEL [PROMPTS [LENGTH [NEW]]]\n");
        return 2;
    }
    lo.precision = LM_PRECISION_FP32;
    lo.longest = len + n_new;
    lo.n_slots = n;
    struct lm *m = lm_open(argv[1], &lo, &e);
    must(m ? 0 : -1, &e);
    int64_t V = lm_get_config(m)->n_vocab;
    struct lm_pack own = prompts(n, len, 0, V), like = prompts(n, len, len / 2, V);
    struct lm_pack grown = prompts(n, len + n_new / 2, 0, V);
    seconds_of_scoring(m, &own); /* memory is touched */
    double again = (double)n / seconds_of_scoring(m, &grown);
    double first = seconds_of(m, &own, 1, 0);
    row("prefill", (double)(n * len) / first, (double)(n * len) / seconds_of_scoring(m, &own));
    row("generate", (double)(n * n_new) / seconds_of(m, &own, n_new, 0), again);
    row("generate-shared", (double)(n * n_new) / seconds_of(m, &like, n_new, len / 2), again);
    lm_pack_free(&own);
    lm_pack_free(&like);
    lm_pack_free(&grown);
    lm_close(m);
    return 0;
}
