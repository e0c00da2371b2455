/* SPDX-License-Identifier: MIT
 * The CPU device: opened and closed, and its table of every kernel of this folder. */
#include "base/mem.h"
#include "lm/cpu/cpu.h"

#include <stdlib.h>

#define TABLE_ROW(op) .op = CPU_OP(op),

static const struct lm_ops cpu_ops = {.close = CPU_SYM(cpu_close),
                                      .attention_bytes = CPU_SYM(cpu_attention_bytes),
#if !CPU_ACT_BF16
                                      .matrix_keep = CPU_OP(matrix_keep),
                                      .kept_rows = CPU_OP(kept_rows),
                                      .kept_bytes = CPU_OP(kept_bytes),
#endif
                                      LM_OPS_EACH(TABLE_ROW)};

struct lm_dev *CPU_SYM(cpu_open)(const char *name, struct err *e)
{
    (void)e;
    struct lm_dev *d = mem_zalloc(1, sizeof *d);
    struct cpu_priv *p = mem_zalloc(1, sizeof *p);
    p->ops = cpu_ops;
    p->ops.name = name;
    *d = (struct lm_dev){.ops = &p->ops, .act = CPU_ACT_BF16 ? LM_BF16 : LM_F32, .priv = p};
#if CPU_ACT_BF16
    if (CPU_SYM(cpu_dnnl_open)(p, e) < 0) {
        CPU_SYM(cpu_close)(d);
        free(d);
        return NULL;
    }
#endif
    return d;
}

void CPU_SYM(cpu_close)(struct lm_dev *d)
{
    struct cpu_priv *p = d->priv;
#if CPU_ACT_BF16
    CPU_SYM(cpu_dnnl_close)(p);
#endif
    free(p->scratch);
    free(p);
}
