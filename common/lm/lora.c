/* SPDX-License-Identifier: MIT
 * lora: adapters' memory and initial values. */
#include "base/mem.h"
#include "base/rng.h"
#include "lm/model.h"

#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

/* As PEFT does: A uniform in +-1/sqrt(n_in) (kaiming_uniform with a = sqrt 5), B zero, so that
 * the first forward is the base model's. Each value depends on the seed, its tensor and its
 * place in it only. */
void lm_lora_init(struct lm *m, uint64_t seed)
{
    const struct lm_ops *f = m->d->ops;
    float *host = mem_zalloc((size_t)m->lora.n_floats, sizeof *host);
    for (size_t i = 0; i < m->lora.n; i++) {
        const struct lm_tensor *t = &m->lora.t[i];
        if (t->p.shape[0] != m->o.lora_rank || !strstr(t->p.name, "lora_A"))
            continue;
        uint64_t key = XXH64(t->p.name, strlen(t->p.name), 0);
        double bound = 1 / sqrt((double)t->p.shape[1]);
#pragma omp parallel for
        for (int64_t k = 0; k < t->n; k++)
            host[t->offset + k] =
                (float)(bound * (2 * rng_hash_unit(seed, key, (uint64_t)k, 0x4c6f5241) - 1));
    }
    f->upload(m->d, m->adapter, host, (size_t)m->lora.n_floats * sizeof *host);
    free(host);
    m->adapter_hash = 0;
    lm_lora_refresh(m);
}

void lm_lora_refresh(struct lm *m)
{
    if (m->adapter_act != m->adapter)
        m->d->ops->to_act(m->d, m->adapter_act, m->adapter, (size_t)m->lora.n_floats);
}

int lm_lora_attach(struct lm *m, struct err *e)
{
    lm_layout_lora(m);
    m->lora_scale = (float)(m->o.lora_alpha / (double)m->o.lora_rank);
    m->adapter = lm_dev_alloc(m, "adapter", m->lora.n_floats * 4, e);
    if (!m->adapter)
        return e->code;
    m->has_lora = true;
    m->adapter_act = m->adapter;
    if (m->d->act == LM_BF16) {
        m->adapter_act = lm_dev_alloc(m, "adapter in bf16", m->lora.n_floats * 2, e);
        if (!m->adapter_act)
            return e->code;
    }
    lm_lora_init(m, m->o.seed);
    return 0;
}

static void free_adapter(struct lm *m, float **adapter, void **act)
{
    if (*act && *act != *adapter)
        m->d->ops->free(m->d, *act);
    if (*adapter)
        m->d->ops->free(m->d, *adapter);
    *adapter = NULL;
    *act = NULL;
}

int lm_adapter_fork(struct lm *m, struct err *e)
{
    size_t n = (size_t)m->lora.n_floats, act = lm_act_size(m->d);
    if (!m->has_lora)
        return err_set(e, ERR_RANGE, "%s: no adapter to keep", m->path);
    free_adapter(m, &m->kept, &m->kept_act);
    m->kept = lm_dev_alloc(m, "second adapter", (int64_t)n * 4, e);
    m->kept_act = m->kept;
    if (m->kept && m->adapter_act != m->adapter)
        m->kept_act = lm_dev_alloc(m, "second adapter in bf16", (int64_t)(n * act), e);
    if (!m->kept || !m->kept_act)
        return ERR_MEMORY;
    m->d->ops->copy(m->d, m->kept, m->adapter, n * sizeof(float));
    if (m->kept_act != m->kept)
        m->d->ops->copy(m->d, m->kept_act, m->adapter_act, n * act);
    m->kept_hash = m->adapter_hash;
    return 0;
}

void lm_adapter_swap(struct lm *m)
{
    float *adapter = m->adapter;
    void *act = m->adapter_act;
    uint64_t hash = m->adapter_hash;
    if (!m->kept)
        return;
    m->adapter = m->kept;
    m->adapter_act = m->kept_act;
    m->adapter_hash = m->kept_hash;
    m->kept = adapter;
    m->kept_act = act;
    m->kept_hash = hash;
}

void lm_lora_detach(struct lm *m)
{
    free_adapter(m, &m->adapter, &m->adapter_act);
    free_adapter(m, &m->kept, &m->kept_act);
    m->has_lora = false;
    m->adapter_hash = 0;
    m->xa_width = 0;
    for (int64_t l = 0; m->layers && l < m->c.n_layers; l++)
        for (int g = 0; g < N_GROUPS; g++)
            m->layers[l].lin[g].n_parts = 0;
    lm_table_free(&m->lora);
}
