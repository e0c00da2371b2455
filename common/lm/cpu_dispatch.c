/* SPDX-License-Identifier: MIT
 * cpu_dispatch: opens the CPU device with the kernels that suit this machine. */
#include "base/cpu.h"
#include "base/mem.h"
#include "lm/backend.h"

#include <omp.h>
#include <stdlib.h>
#include <time.h>

/* lm/cpu/memory.c, compiled for each instruction set. */
struct lm_dev *cpu_open_base(const char *name, struct err *e);
#if defined(__x86_64__)
struct lm_dev *cpu_open_avx2(const char *name, struct err *e);
struct lm_dev *cpu_open_avx512(const char *name, struct err *e);
struct lm_dev *cpu_open_bf16(const char *name, struct err *e);
#endif

static struct lm_dev *open_f32(struct err *e)
{
#if defined(__x86_64__)
    if (cpu_isa() == CPU_AVX512)
        return cpu_open_avx512("cpu-avx512", e);
    if (cpu_isa() == CPU_AVX2)
        return cpu_open_avx2("cpu-avx2", e);
#endif
    return cpu_open_base("cpu-base", e);
}

static struct lm_dev *open_bf16(struct err *e)
{
#if defined(__x86_64__) && RAISE_HAVE_DNNL
    if (cpu_has_avx512_bf16()) /* every CPU with AMX has it, too */
        return cpu_open_bf16(cpu_has_amx_bf16() ? "cpu-amx" : "cpu-avx512bf16", e);
    err_set(e, ERR_UNSUPPORTED, "bf16: this CPU (%s) cannot multiply it", cpu_model_name());
#else
    err_set(e, ERR_UNSUPPORTED, "bf16: this build has no oneDNN");
#endif
    return NULL;
}

struct lm_dev *lm_dev_open_cpu(enum lm_dtype act, struct err *e)
{
    return act == LM_BF16 ? open_bf16(e) : open_f32(e);
}

void lm_dev_close(struct lm_dev *d)
{
    if (d && d->ops->close)
        d->ops->close(d);
    free(d);
}

static double thread_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Best of a few runs of one typical product, in seconds of one thread's own time: the answer
 * must be the same on a busy machine. */
static double probe(struct lm_dev *d)
{
    enum { T = 128, N = 768, K = 576 };
    const struct lm_ops *p = d->ops;
    float *w = mem_zalloc((size_t)N * K, sizeof *w);
    float *x = mem_zalloc((size_t)T * K, sizeof *x), *y = mem_zalloc((size_t)T * N, sizeof *y);
    struct lm_matrix *m = p->matrix_new(d, w, N, K, NULL);
    double best = 1e9;
    for (int i = 0; m && i < 5; i++) { /* the first one warms up */
        double start = thread_seconds();
        p->linear_fwd(d, y, N, x, K, m, T, false);
        double t = thread_seconds() - start;
        best = i > 0 && t < best ? t : best;
    }
    p->matrix_free(d, m);
    free(w);
    free(x);
    free(y);
    return best;
}

bool lm_cpu_prefers_bf16(void)
{
    struct lm_dev *bf16 = open_bf16(NULL);
    if (!bf16)
        return false;
    bool is_faster = cpu_has_amx_bf16();
    if (!is_faster) {
        struct lm_dev *f32 = open_f32(NULL);
        int n_threads = omp_get_max_threads();
        omp_set_num_threads(1);
        is_faster = f32 && probe(bf16) * 1.25 < probe(f32);
        omp_set_num_threads(n_threads);
        lm_dev_close(f32);
    }
    lm_dev_close(bf16);
    return is_faster;
}
