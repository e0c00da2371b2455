/* SPDX-License-Identifier: MIT
 * device: which device a model runs on, and how much memory it will take there. */
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

int64_t lm_device_tokens(const struct lm_dev *d, const struct lm_options *o)
{
    if (o->micro_tokens)
        return o->micro_tokens;
    return lm_dev_is_gpu(d) ? 16384 : o->tuning == LM_TUNE_NONE ? 1024 : 4096;
}

/* ---- planning ---- */

static int64_t packed_bytes(const struct lm *m)
{
    if (m->d->act == LM_F32)
        return 0; /* the products read the float weights */
    int64_t n = m->head.n_out * m->head.n_in;
    for (int64_t l = 0; l < m->c.n_layers; l++)
        for (int g = 0; g < N_GROUPS; g++)
            n += m->layers[l].lin[g].n_out * m->layers[l].lin[g].n_in;
    /* On a CPU backward has its own layout. */
    bool is_one = lm_dev_is_gpu(m->d) || m->o.tuning == LM_TUNE_NONE;
    n *= is_one ? 2 : 4;
    return n + (m->is_embed_act && !m->c.is_tied ? m->c.n_vocab * m->c.d_model * 2 : 0);
}

static void plan_weights(const struct lm *m, struct lm_memory *p)
{
    bool is_full = m->o.tuning == LM_TUNE_FULL, is_gpu = lm_dev_is_gpu(m->d);
    int64_t block = m->base.n_floats * 4, adapter = m->lora.n_floats * 4;
    p->weights = block + packed_bytes(m);
    p->adapter = m->d->act == LM_BF16 ? adapter * 3 / 2 : adapter;
    p->gradients = is_full ? block : adapter;
    p->optimizer = 2 * p->gradients;
    p->workspace = m->d->workspace_bytes;
    if (is_full && is_gpu)
        p->host += block; /* the first weights, for lm_reset */
    else if (is_full)
        p->weights += block;
}

static void plan_activations(const struct lm *m, int64_t n, struct lm_memory *p)
{
    bool is_training = m->o.tuning != LM_TUNE_NONE;
    p->micro_tokens = n;
    p->logits = lm_acts_logit_bytes(m, n);
    p->activations = lm_acts_bytes(m, n, is_training) - p->logits + n * m->c.d_head * 4;
    p->total = p->weights + p->adapter + p->gradients + p->optimizer + p->activations +
               p->logits + p->workspace;
}

/* What is free on the device; the workspace, taken already, counts as free. */
static int64_t available(const struct lm *m)
{
    size_t n_free = 0, n_total = 0;
    if (!lm_dev_is_gpu(m->d))
        return mem_available_bytes();
    m->d->ops->memory_info(m->d, &n_free, &n_total);
    return (int64_t)n_free + m->d->workspace_bytes;
}

/* A smaller micro-batch changes sums' last bits, so a CPU, where what is free changes from
 * minute to minute, never takes one by itself. */
static void fit(const struct lm *m, const struct lm_options *asked, struct lm_memory *p)
{
    int64_t longest = m->o.longest > 0 ? m->o.longest : 1;
    p->asked_tokens = lm_device_tokens(m->d, asked);
    p->wanted_tokens = m->o.micro_tokens;
    plan_activations(m, p->wanted_tokens, p);
    while (lm_dev_is_gpu(m->d) && p->total > p->available && p->micro_tokens > longest)
        plan_activations(m, p->micro_tokens / 2 > longest ? p->micro_tokens / 2 : longest, p);
}

int lm_plan(const char *path, const struct lm_options *o, struct lm_memory *plan, struct err *e)
{
    struct err local = ERR_INIT;
    struct lm_choice choice = {.is_warning = false};
    e = e ? e : &local;
    *plan = (struct lm_memory){0};
    struct lm_source *src = lm_source_open(path, e);
    struct lm *m = src ? lm_skeleton(path, o, src, &choice, e) : NULL;
    lm_source_close(src);
    if (!m)
        return e->code;
    m->has_lora = o->tuning == LM_TUNE_LORA;
    if (m->has_lora)
        lm_layout_lora(m);
    plan->is_gpu = lm_dev_is_gpu(m->d);
    plan->available = available(m);
    plan->is_warning = choice.is_warning;
    snprintf(plan->device_note, sizeof plan->device_note, "%s", choice.why);
    snprintf(plan->arith, sizeof plan->arith, "%s", m->arith);
    plan_weights(m, plan);
    fit(m, o, plan);
    lm_close(m);
    return 0;
}
