/* SPDX-License-Identifier: MIT
 *
 * bench_learn: a step's choice, and an update, on features made up in memory.
 *
 *     bench_learn [N [d [C [T [K]]]]]     rows (52002), columns (32), classes (4), steps (16),
 *                                      episodes of the update (20; 0: none)
 *
 * Batches are of 16. Prints rows of work,rows,seconds,cpu,MiB: medians of seven for a step;
 * cpu is the seconds of all threads (OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive on a busy
 * machine), MiB the peak of resident memory beyond the features. */
#include "base/text.h"
#include "learn/learn.h"
#include "unit/pool.h"

#include <math.h>
#include <stdio.h>
#include <time.h>

enum { BATCH = 16, REPEATS = 7 };

static void fail(const char *what)
{
    fprintf(stderr, "bench_learn: %s\n", what);
    exit(1);
}

struct span {
    double wall, cpu;
};

static struct span now(void)
{
    return (struct span){text_clock(), (double)clock() / CLOCKS_PER_SEC};
}

static struct span since(struct span start)
{
    struct span t = now();
    return (struct span){t.wall - start.wall, t.cpu - start.cpu};
}

static void print(const char *work, int64_t n, struct span s, int64_t before)
{
    printf("%s,%lld,%.6f,%.6f,%.1f\n", work, (long long)n, s.wall, s.cpu,
           (double)(mem_peak_bytes() - before) / 1048576.0);
    fflush(stdout);
}

static int by_cpu(const void *a, const void *b)
{
    const struct span *x = a, *y = b;
    return x->cpu < y->cpu ? -1 : x->cpu > y->cpu;
}

static struct span median(struct span *v)
{
    qsort(v, REPEATS, sizeof *v, by_cpu);
    return v[REPEATS / 2];
}

static double flat(void *arg, const int64_t *picks, int64_t n, int64_t t, double perf)
{
    (void)arg;
    return perf + 1e-3 * (double)((picks[0] + n + t) % 17);
}

static struct policy *make(const struct features *f, const struct learner *l)
{
    struct err e = ERR_INIT;
    struct policy *p = pool_policy(f, l->name, PART_PAPER, 32, &e);
    if (!p)
        fail(e.msg);
    for (int64_t i = 0; i < 32 && !strcmp(l->name, "ppo"); i++)
        ppo_of(p)->o[i] = (float)(i % 5) - 2;
    return p;
}

static void bench_step(const struct features *f, const struct learner *l, int64_t before)
{
    struct span at, score[REPEATS], sample[REPEATS], greedy[REPEATS];
    struct err e = ERR_INIT;
    char work[64];
    at = now();
    struct policy *p = make(f, l);
    snprintf(work, sizeof work, "%s: new", l->name);
    print(work, f->n, since(at), before);
    struct selector *s = selector_new(f->n, f->class_of, f->n_classes);
    float *scores = mem_alloc((size_t)f->n, sizeof *scores);
    int64_t picks[BATCH], *offset = mem_alloc((size_t)f->n_classes + 1, sizeof *offset);
    double *logp = mem_alloc((size_t)f->n_classes, sizeof *logp);
    for (int k = 0; k < REPEATS; k++) {
        const struct policy_stage stage = {k + 1, REPEATS, -2, -1.9, 16, NULL};
        struct select_options o = {.batch = BATCH, .tau = 1, .seed = 1, .step = k + 1};
        at = now();
        if (policy_score(p, f, &stage, selector_counts(s), false, 1, scores, &e) < 0)
            fail(e.msg);
        score[k] = since(at);
        at = now();
        if (select_batch(s, scores, &o, picks, offset, logp, &e) != BATCH)
            fail(e.msg);
        sample[k] = since(at);
        at = now();
        o.is_greedy = true;
        if (select_batch(s, scores, &o, picks, offset, logp, &e) != BATCH)
            fail(e.msg);
        greedy[k] = since(at);
    }
    snprintf(work, sizeof work, "%s: score a step", l->name);
    print(work, f->n, median(score), before);
    print("sample a batch", f->n, median(sample), before);
    print("greedy batch", f->n, median(greedy), before);
    free(scores);
    free(offset);
    free(logp);
    selector_free(s);
    policy_free(p);
}

static void bench_update(const struct features *f, const struct learner *l, int64_t T,
                         int64_t K, int64_t before)
{
    struct learn_report r;
    struct err e = ERR_INIT;
    struct traj *t = mem_zalloc((size_t)K, sizeof *t);
    const char **names = mem_alloc((size_t)K, sizeof *names);
    struct policy *p = make(f, l);
    for (int64_t k = 0; k < K; k++) {
        struct pool_episode q = {.n_steps = T,
                                 .batch = BATCH,
                                 .tau = 1,
                                 .perf_start = -2,
                                 .seed = (uint64_t)k,
                                 .world = flat};
        names[k] = "episode";
        if (pool_run(p, f, &q, &t[k], &e) < 0)
            fail(e.msg);
    }
    struct span start = now();
    if (learn_update(p, f, t, names, K, K, NULL, &r, &e) < 0)
        fail(e.msg);
    char work[64];
    snprintf(work, sizeof work, "%s: update", l->name);
    print(work, f->n, since(start), before);
    learn_report_free(&r);
    for (int64_t k = 0; k < K; k++)
        traj_free(&t[k]);
    free(t);
    free(names);
    policy_free(p);
}

int main(int argc, char **argv)
{
    int64_t size[] = {52002, 32, 4, 16, 20};
    for (int i = 1; i < argc && i <= 5; i++)
        size[i - 1] = strtoll(argv[i], NULL, 10);
    if (size[0] < BATCH || size[1] < 1 || size[2] < 1 || size[3] < 1 || size[4] < 0)
        fail("usage: bench_learn [rows [columns [classes [steps [episodes]]]]]");
    struct pool pool;
    pool_make(&pool, size[0], size[1], size[2], 1);
    int64_t before = mem_peak_bytes();
    printf("work,rows,seconds,cpu,MiB\n");
    for (int i = 0; learners()[i]; i++) {
        bench_step(&pool.f, learners()[i], before);
        if (size[4])
            bench_update(&pool.f, learners()[i], size[3], size[4], before);
    }
    pool_free(&pool);
    return 0;
}
