/* SPDX-License-Identifier: MIT
 *
 * bench_model: what a model takes to load, to score and to train a step of LoRA, in one
 * process, so that its peak of memory can be held against the plan.
 *
 *     bench_model plan|forward|lora MODEL RECORDS LENGTH MICRO
 *
 * RECORDS sequences of LENGTH random ids, the second half of each targets; MICRO tokens at
 * once; layers are recomputed. The arithmetic is fp32. Prints one line: seconds of loading,
 * bytes of the plan, of what is available and of the peak, tokens, seconds of one pass and the
 * processor's, loss. `plan` stops after the plan: the rest is 0. */
#include "base/cpu.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/text.h"
#include "bench/bench.h"
#include "lm/batch.h"
#include "lm/lm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BENCH_NAME "bench_model"

static struct lm_pack random_records(int64_t n, int64_t len, int64_t V)
{
    struct lm_pack p = {0};
    int32_t *ids = mem_alloc((size_t)len, sizeof *ids);
    uint8_t *is_loss = mem_alloc((size_t)len, 1);
    for (int64_t i = 0; i < n; i++) {
        for (int64_t t = 0; t < len; t++) {
            ids[t] = (int32_t)(rng_hash(7, (uint64_t)i, (uint64_t)t, 0) % (uint64_t)V);
            is_loss[t] = t >= len / 2;
        }
        lm_pack_add(&p, ids, is_loss, len);
    }
    free(ids);
    free(is_loss);
    return p;
}

static double pass(struct lm *m, const struct lm_pack *p, bool is_training)
{
    struct err e = ERR_INIT;
    struct lm_batch b = lm_pack_batch(p);
    struct lm_step_stats s;
    double loss = 0;
    if (!is_training) {
        must(lm_mean_nll(m, &b, &loss, NULL, &e), &e);
        return loss;
    }
    must(lm_step(m, &b, 1e-5, &s, &e), &e);
    return s.loss;
}

int main(int argc, char **argv)
{
    cpu_fix_blas(argv);
    struct err e = ERR_INIT;
    struct lm_options o = LM_OPTIONS_DEFAULTS;
    struct lm_memory plan;
    if (argc != 6) {
        fprintf(stderr, "usage: bench_model plan|forward|lora MODEL RECORDS LENGTH MICRO\n");
        return 2;
    }
    bool is_training = !strcmp(argv[1], "lora");
    int64_t n = atoll(argv[3]), len = atoll(argv[4]);
    o.precision = LM_PRECISION_FP32;
    o.tuning = is_training ? LM_TUNE_LORA : LM_TUNE_NONE;
    o.recompute = is_training;
    o.micro_tokens = atoll(argv[5]);
    o.longest = len;
    must(lm_plan(argv[2], &o, &plan, &e), &e);
    double start = text_clock(), load = 0, wall = 0, cpu = 0, loss = 0;
    if (strcmp(argv[1], "plan") != 0) {
        struct lm *m = lm_open(argv[2], &o, &e);
        must(m ? 0 : -1, &e);
        load = text_clock() - start;
        struct lm_pack p = random_records(n, len, lm_get_config(m)->n_vocab);
        start = text_clock();
        cpu = bench_cpu_clock();
        loss = pass(m, &p, is_training);
        wall = text_clock() - start;
        cpu = bench_cpu_clock() - cpu;
        lm_pack_free(&p);
        lm_close(m);
    }
    printf("%.2f %lld %lld %lld %lld %.3f %.3f %.6f\n", load, (long long)plan.total,
           (long long)plan.available, (long long)mem_peak_bytes(), (long long)(n * len), wall,
           cpu, loss);
    return 0;
}
