/* SPDX-License-Identifier: MIT
 * lm: a model opened, described, planned and closed; see lm.h. */
#include "lm/lm.h"

#include "base/cpu.h"
#include "base/mem.h"
#include "lm/model.h"

#include <stdlib.h>
#include <string.h>

/* ---- options ---- */

static int check_options(const struct lm_options *o, struct err *e)
{
    bool is_lora = o->tuning == LM_TUNE_LORA;
    if (is_lora && (o->lora_rank < 1 || o->lora_rank > 4096))
        return err_set(e, ERR_RANGE, "adapter rank %lld is not in 1 to 4096",
                       (long long)o->lora_rank);
    if (is_lora && (!o->lora_targets || o->lora_targets > LM_ALL_PROJECTIONS))
        return err_set(e, ERR_RANGE, "no projection to adapt");
    if (is_lora && !(o->lora_alpha > 0))
        return err_set(e, ERR_RANGE, "adapter alpha %g is not positive", o->lora_alpha);
    if (o->micro_tokens < 1 || o->micro_tokens > 1 << 24)
        return err_set(e, ERR_RANGE, "micro-batch of %lld tokens is not in 1 to 16777216",
                       (long long)o->micro_tokens);
    if (!(o->beta1 >= 0 && o->beta1 < 1 && o->beta2 >= 0 && o->beta2 < 1 && o->eps > 0))
        return err_set(e, ERR_RANGE, "betas %g and %g must be in [0, 1), epsilon %g positive",
                       o->beta1, o->beta2, o->eps);
    if (!(o->weight_decay >= 0) || !(o->clip >= 0))
        return err_set(e, ERR_RANGE, "weight decay %g and clip %g must not be negative",
                       o->weight_decay, o->clip);
    return 0;
}

static struct lm_dev *open_cpu(const struct lm_options *o, struct err *e)
{
    if (o->precision == LM_PRECISION_BF16)
        return lm_dev_open_cpu(LM_BF16, e);
    bool is_bf16 = o->precision == LM_PRECISION_AUTO && lm_cpu_prefers_bf16();
    return lm_dev_open_cpu(is_bf16 ? LM_BF16 : LM_F32, e);
}

/* "cuda" or "cuda:N" */
static struct lm_dev *open_cuda(const struct lm_options *o, const char *name, struct err *e)
{
    long index = 0;
    char *end = NULL;
    if (name[4] == ':')
        index = strtol(name + 5, &end, 10);
    if (end && (end == name + 5 || *end || index < 0 || index > 1023 || name[5] == '+')) {
        err_set(e, ERR_RANGE, "device \"%s\": no number from 0 to 1023 after cuda:", name);
        return NULL;
    }
    if (o->precision == LM_PRECISION_FP32) {
        err_set(e, ERR_UNSUPPORTED, "device \"%s\" works in bf16 only", name);
        return NULL;
    }
    return lm_dev_open_cuda((int)index, e);
}

static struct lm_dev *open_device(const struct lm_options *o, struct err *e)
{
    const char *name = o->device ? o->device : "cpu";
    if (!strcmp(name, "ref"))
        return lm_dev_open_ref();
    if (!strcmp(name, "cpu"))
        return open_cpu(o, e);
    if (!strcmp(name, "cuda") || !strncmp(name, "cuda:", 5))
        return open_cuda(o, name, e);
    if (!strcmp(name, "auto")) {
        struct err why = ERR_INIT; /* no plugin or no GPU: the CPU, silently */
        struct lm_dev *d = open_cuda(o, "cuda", &why);
        return d ? d : open_cpu(o, e);
    }
    err_set(e, ERR_UNSUPPORTED, "device \"%s\" is none of auto, cpu, cuda, cuda:N, ref", name);
    return NULL;
}

/* Float copies of the frozen matrices are dropped when the packed ones are not float. */
static bool keeps_all(const struct lm *m)
{
    return m->d->act == LM_F32 || m->o.tuning == LM_TUNE_FULL;
}

/* ---- opening ---- */

static char *describe_arith(const struct lm_dev *d)
{
    const char *precision = d->act == LM_BF16 ? "bf16" : "fp32";
    if (!strncmp(d->ops->name, "cpu", 3))
        return mem_printf("%s-%s-%s", d->ops->name, precision, cpu_blas_kernel());
    return mem_printf("%s-%s", d->ops->name, precision);
}

/* Device, options and tables, without any weight. */
static struct lm *skeleton(const char *path, const struct lm_options *o, struct lm_source *src,
                           struct err *e)
{
    if (check_options(o, e) < 0)
        return NULL;
    struct lm *m = mem_zalloc(1, sizeof *m);
    m->path = mem_strdup(path);
    m->o = *o;
    m->c = *lm_source_config(src);
    m->d = open_device(o, e);
    if (!m->d) {
        lm_close(m);
        return NULL;
    }
    m->arith = describe_arith(m->d);
    lm_layout_base(m, keeps_all(m));
    return m;
}

static int build(struct lm *m, struct lm_source *src, struct err *e)
{
    int code = lm_weights_load(m, src, e);
    if (code >= 0 && m->o.tuning == LM_TUNE_LORA)
        code = lm_lora_attach(m, e);
    if (code >= 0 && m->o.tuning != LM_TUNE_NONE)
        code = lm_optimizer_attach(m, e);
    return code;
}

struct lm *lm_open(const char *path, const struct lm_options *o, struct err *e)
{
    struct err local = ERR_INIT;
    e = e ? e : &local;
    struct lm_source *src = lm_source_open(path, e);
    if (!src)
        return NULL;
    struct lm *m = skeleton(path, o, src, e);
    if (m && build(m, src, e) < 0) {
        lm_close(m);
        m = NULL;
    }
    lm_source_close(src);
    return m;
}

static void free_matrices(struct lm *m)
{
    for (int64_t l = 0; m->layers && l < m->c.n_layers; l++)
        for (int g = 0; g < N_GROUPS; g++)
            if (m->layers[l].lin[g].m)
                m->d->ops->matrix_free(m->d, m->layers[l].lin[g].m);
    if (m->head.m)
        m->d->ops->matrix_free(m->d, m->head.m);
}

void lm_close(struct lm *m)
{
    if (!m)
        return;
    if (m->d) {
        void *blocks[] = {m->weights, m->cos_sin, m->grads, m->moment1, m->moment2};
        lm_acts_free(m);
        lm_lora_detach(m);
        free_matrices(m);
        for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
            if (blocks[i])
                m->d->ops->free(m->d, blocks[i]);
    }
    lm_dev_close(m->d);
    lm_table_free(&m->base);
    free(m->layers);
    free(m->initial);
    free(m->path);
    free(m->arith);
    free(m);
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
    return 2 * n * (m->o.tuning == LM_TUNE_NONE ? 1 : 2); /* backward has its own layout */
}

int lm_plan(const char *path, const struct lm_options *o, struct lm_memory *plan, struct err *e)
{
    struct err local = ERR_INIT;
    e = e ? e : &local;
    *plan = (struct lm_memory){0};
    struct lm_source *src = lm_source_open(path, e);
    struct lm *m = src ? skeleton(path, o, src, e) : NULL;
    lm_source_close(src);
    if (!m)
        return e->code;
    bool is_full = o->tuning == LM_TUNE_FULL, is_lora = o->tuning == LM_TUNE_LORA;
    if (is_lora)
        lm_layout_lora(m);
    m->has_lora = is_lora;
    int64_t block = m->base.n_floats * 4, adapter = m->lora.n_floats * 4;
    plan->weights = block * (is_full ? 2 : 1) + packed_bytes(m);
    plan->adapter = m->d->act == LM_BF16 ? adapter * 3 / 2 : adapter;
    plan->gradients = is_full ? block : adapter;
    plan->optimizer = 2 * plan->gradients;
    int64_t n = o->micro_tokens;
    plan->activations = lm_acts_bytes(m, n, o->tuning != LM_TUNE_NONE) + n * m->c.d_head * 4;
    plan->total =
        plan->weights + plan->adapter + plan->gradients + plan->optimizer + plan->activations;
    lm_close(m);
    return 0;
}

/* ---- what a model is ---- */

const struct lm_config *lm_get_config(const struct lm *m)
{
    return &m->c;
}

uint64_t lm_hash(const struct lm *m)
{
    return m->hash;
}

const char *lm_arith_path(const struct lm *m)
{
    return m->arith;
}

int64_t lm_n_trainable(const struct lm *m)
{
    int64_t n = 0;
    for (int64_t i = 0; i < lm_n_params(m); i++) {
        const struct lm_param *p = lm_param_at(m, i);
        n += p->shape[0] * (p->n_dims > 1 ? p->shape[1] : 1);
    }
    return n;
}

/* ---- trainable parameters ---- */

static const struct lm_table *trainable(const struct lm *m)
{
    return m->o.tuning == LM_TUNE_FULL ? &m->base : &m->lora;
}

int64_t lm_n_params(const struct lm *m)
{
    return (int64_t)trainable(m)->n;
}

const struct lm_param *lm_param_at(const struct lm *m, int64_t i)
{
    return &trainable(m)->t[i].p;
}

void lm_param_get(struct lm *m, int64_t i, float *dst)
{
    const struct lm_tensor *t = &trainable(m)->t[i];
    m->d->ops->download(m->d, dst, lm_trainable_block(m) + t->offset, (size_t)t->n * 4);
}

void lm_param_set(struct lm *m, int64_t i, const float *src)
{
    const struct lm_tensor *t = &trainable(m)->t[i];
    m->d->ops->upload(m->d, lm_trainable_block(m) + t->offset, src, (size_t)t->n * 4);
    if (m->o.tuning == LM_TUNE_FULL)
        lm_weights_refresh(m);
    else
        lm_lora_refresh(m);
}

void lm_param_grad(struct lm *m, int64_t i, float *dst)
{
    const struct lm_tensor *t = &trainable(m)->t[i];
    m->d->ops->download(m->d, dst, m->grads + t->offset, (size_t)t->n * 4);
}

/* ---- back to M_0 ---- */

int lm_reset(struct lm *m, uint64_t seed, struct err *e)
{
    const struct lm_ops *f = m->d->ops;
    if (!m->is_trainable)
        return err_set(e, ERR_RANGE, "%s: opened without tuning, there is nothing to reset",
                       m->path);
    size_t bytes = (size_t)lm_trainable(m)->n_floats * 4;
    if (m->o.tuning == LM_TUNE_FULL) {
        f->upload(m->d, m->weights, m->initial, bytes);
        lm_weights_refresh(m);
    } else {
        lm_lora_init(m, seed);
    }
    f->zero(m->d, m->moment1, bytes);
    f->zero(m->d, m->moment2, bytes);
    m->n_steps = 0;
    return 0;
}
