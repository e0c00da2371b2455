/* SPDX-License-Identifier: MIT
 * cpu_dispatch: opens the CPU device with the kernels that suit this machine. */
#include "base/cpu.h"
#include "lm/backend.h"

#include <stdlib.h>

/* lm/cpu/memory.c, compiled for each instruction set. */
struct lm_dev *cpu_open_base(struct err *e);
struct lm_dev *cpu_open_avx2(struct err *e);
struct lm_dev *cpu_open_avx512(struct err *e);

struct lm_dev *lm_dev_open_cpu(enum lm_dtype act, struct err *e)
{
    static struct lm_dev *(*const open[])(struct err *) = {
        [CPU_BASE] = cpu_open_base, [CPU_AVX2] = cpu_open_avx2, [CPU_AVX512] = cpu_open_avx512};
    if (act == LM_BF16) {
        err_set(e, ERR_UNSUPPORTED, "bf16 on the CPU: not in this build");
        return NULL;
    }
    return open[cpu_isa()](e);
}

void lm_dev_close(struct lm_dev *d)
{
    if (d && d->ops->close)
        d->ops->close(d);
    free(d);
}
