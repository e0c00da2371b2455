/* SPDX-License-Identifier: MIT
 * device: which device a model runs on. */
#include "base/cpu.h"
#include "base/mem.h"
#include "lm/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- opening ---- */

static struct lm_dev *open_cpu(const struct lm_options *o, struct err *e)
{
    if (o->precision == LM_PRECISION_BF16)
        return lm_dev_open_cpu(LM_BF16, e);
    bool is_bf16 = o->precision == LM_PRECISION_AUTO && lm_cpu_prefers_bf16();
    return lm_dev_open_cpu(is_bf16 ? LM_BF16 : LM_F32, e);
}

/* N of "cuda:N", 0 of "cuda"; -1: no number from 0 to 1023. */
static int index_of(const char *name)
{
    const char *digits = strchr(name, ':');
    char *end;
    if (!digits)
        return 0;
    long n = strtol(++digits, &end, 10);
    bool is_number = *digits >= '0' && *digits <= '9' && !*end;
    return is_number && n <= 1023 ? (int)n : -1;
}

static struct lm_dev *open_cuda(const struct lm_options *o, const char *name, struct err *e)
{
    int index = index_of(name);
    if (index < 0) {
        err_set(e, ERR_RANGE, "device \"%s\": no number from 0 to 1023 after cuda:", name);
        return NULL;
    }
    if (o->precision == LM_PRECISION_FP32) {
        err_set(e, ERR_UNSUPPORTED, "device \"%s\" works in bf16 only", name);
        return NULL;
    }
    return lm_dev_open_cuda(index, e);
}

/* The GPU if plugin and device are there, else the CPU. A plugin that is there but not this
 * program's is worth a warning: the GPU stands idle. */
static struct lm_dev *open_any(const struct lm_options *o, struct lm_choice *choice,
                               struct err *e)
{
    struct err why = ERR_INIT;
    struct lm_dev *d = open_cuda(o, "cuda", &why);
    if (d)
        return d;
    snprintf(choice->why, sizeof choice->why, "%.255s", why.msg);
    choice->is_warning = why.code == ERR_MISMATCH || why.code == ERR_FORMAT;
    return open_cpu(o, e);
}

struct lm_dev *lm_device_open(const struct lm_options *o, struct lm_choice *choice,
                              struct err *e)
{
    struct lm_choice own = {.is_warning = false};
    const char *name = o->device ? o->device : "cpu";
    if (!strcmp(name, "ref"))
        return lm_dev_open_ref();
    if (!strcmp(name, "cpu"))
        return open_cpu(o, e);
    if (!strcmp(name, "cuda") || !strncmp(name, "cuda:", 5))
        return open_cuda(o, name, e);
    if (!strcmp(name, "auto"))
        return open_any(o, choice ? choice : &own, e);
    err_set(e, ERR_UNSUPPORTED, "device \"%s\" is none of auto, cpu, cuda, cuda:N, ref", name);
    return NULL;
}

char *lm_device_arith(const struct lm_dev *d)
{
    const char *precision = d->act == LM_BF16 ? "bf16" : "fp32";
    if (!strncmp(d->ops->name, "cpu", 3))
        return mem_printf("%s-%s-%s", d->ops->name, precision, cpu_blas_kernel());
    return mem_printf("%s-%s%s%s", d->ops->name, precision, d->model ? "-" : "",
                      d->model ? d->model : "");
}

/* With more, a step's time grows as they do: products are at the processor's speed. */
int64_t lm_device_slots(const struct lm_dev *d, int64_t asked)
{
    int64_t usual = lm_dev_is_gpu(d) ? 256 : 32;
    return asked >= 0 ? asked : -asked < usual ? -asked : usual;
}

int64_t lm_device_tokens(const struct lm_dev *d, const struct lm_options *o)
{
    if (o->micro_tokens)
        return o->micro_tokens;
    return lm_dev_is_gpu(d) ? 16384 : o->tuning == LM_TUNE_NONE ? 1024 : 4096;
}
