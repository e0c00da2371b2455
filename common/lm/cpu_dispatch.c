/* SPDX-License-Identifier: MIT
 * cpu_dispatch: opens the CPU device with the kernels that suit this machine. */
#include "base/cpu.h"
#include "lm/backend.h"

#include <stdlib.h>
#include <string.h>

/* lm/cpu/device.c, compiled for each instruction set. */
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

/* A rule, not a race: a probe of speed may choose differently on a busy machine, and the
 * programs of one pipeline would compute in different arithmetic. With AMX bf16 is up to eight
 * times as fast as fp32; AMD's dot products (Zen 4 on) run at twice its rate, 213-230 against
 * 98-104 GFLOP/s a thread; Intel's without AMX are no faster. */
bool lm_cpu_prefers_bf16(void)
{
    bool is_fast = cpu_has_amx_bf16() || strstr(cpu_model_name(), "AMD") != NULL;
    struct lm_dev *d = is_fast ? open_bf16(NULL) : NULL;
    lm_dev_close(d);
    return d != NULL;
}
