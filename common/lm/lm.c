/* SPDX-License-Identifier: MIT
 * lm: a model opened, described and closed; see lm.h. */
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
    if (o->micro_tokens < 0 || o->micro_tokens > 1 << 24)
        return err_set(e, ERR_RANGE, "micro-batch of %lld tokens is not in 0 to 16777216",
                       (long long)o->micro_tokens);
    if (!(o->beta1 >= 0 && o->beta1 < 1 && o->beta2 >= 0 && o->beta2 < 1 && o->eps > 0))
        return err_set(e, ERR_RANGE, "betas %g and %g must be in [0, 1), epsilon %g positive",
                       o->beta1, o->beta2, o->eps);
    if (!(o->weight_decay >= 0) || !(o->clip >= 0))
        return err_set(e, ERR_RANGE, "weight decay %g and clip %g must not be negative",
                       o->weight_decay, o->clip);
    return 0;
}

/* Frozen matrices are not in the block of floats where the packed ones are not float, or where
 * they are kept as they came. */
static bool keeps_all(const struct lm *m)
{
    return (m->d->act == LM_F32 && !m->is_kept) || m->o.tuning == LM_TUNE_FULL;
}

/* ---- opening ---- */

/* Device, options and tables, without any weight. `choice` may be NULL. */
struct lm *lm_skeleton(const char *path, const struct lm_options *o, struct lm_source *src,
                       struct lm_choice *choice, struct err *e)
{
    if (check_options(o, e) < 0)
        return NULL;
    const struct lm_config *c = lm_source_config(src);
    int64_t longest = o->longest < c->max_positions ? o->longest : c->max_positions;
    if (o->longest > 0 && lm_config_check_length(c, longest, e) < 0) {
        err_prefix(e, "%s: the longest sequence", path);
        return NULL;
    }
    struct lm *m = mem_zalloc(1, sizeof *m);
    m->path = mem_strdup(path);
    m->o = *o;
    m->c = *c;
    m->d = lm_device_open(o, choice, e);
    if (!m->d) {
        lm_close(m);
        return NULL;
    }
    m->arith = lm_device_arith(m->d);
    m->o.micro_tokens = lm_device_tokens(m->d, o);
    if (m->o.micro_tokens < o->longest)
        m->o.micro_tokens = o->longest;
    m->o.n_slots = lm_device_slots(m->d, o->n_slots);
    m->is_embed_act = m->d->ops->matrix_act && o->tuning != LM_TUNE_FULL &&
                      lm_source_is_bf16(src, "model.embed_tokens.weight");
    m->is_kept = m->d->ops->matrix_keep && o->tuning != LM_TUNE_FULL && !o->is_widened;
    lm_layout_base(m, keeps_all(m));
    if (m->is_kept)
        lm_kept_plan(m, src);
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
    struct lm *m = lm_skeleton(path, o, src, NULL, e);
    if (m && build(m, src, e) < 0) {
        lm_close(m);
        m = NULL;
    }
    lm_source_close(src);
    return m;
}

static void free_matrix(struct lm *m, struct lm_linear *lin)
{
    if (lin->m)
        m->d->ops->matrix_free(m->d, lin->m);
    if (lin->kept)
        m->d->ops->free(m->d, lin->kept);
}

static void free_matrices(struct lm *m)
{
    for (int64_t l = 0; m->layers && l < m->c.n_layers; l++)
        for (int g = 0; g < N_GROUPS; g++)
            free_matrix(m, &m->layers[l].lin[g]);
    free_matrix(m, &m->embedding);
    free_matrix(m, &m->head);
}

void lm_close(struct lm *m)
{
    if (!m)
        return;
    if (m->d) {
        void *blocks[] = {m->weights, m->c.is_tied ? NULL : m->embed_act,
                          m->cos_sin, m->grads,
                          m->moment1, m->moment2};
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
    free(m->path);
    free(m->arith);
    free(m);
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

int64_t lm_micro_tokens(const struct lm *m)
{
    return m->o.micro_tokens;
}

void lm_on_work(struct lm *m, void (*on_work)(void *arg, double n_tokens), void *arg)
{
    m->on_work = on_work;
    m->work_arg = arg;
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
    struct err local = ERR_INIT;
    e = e ? e : &local;
    if (!m->is_trainable)
        return err_set(e, ERR_RANGE, "%s: opened without tuning, there is nothing to reset",
                       m->path);
    size_t bytes = (size_t)lm_trainable(m)->n_floats * 4;
    if (m->o.tuning != LM_TUNE_FULL)
        lm_lora_init(m, seed);
    else if (lm_weights_reload(m, e) < 0)
        return e->code;
    f->zero(m->d, m->moment1, bytes);
    f->zero(m->d, m->moment2, bytes);
    m->n_steps = 0;
    return 0;
}
