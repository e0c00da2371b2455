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

void lm_lora_detach(struct lm *m)
{
    const struct lm_ops *f = m->d->ops;
    if (m->adapter_act && m->adapter_act != m->adapter)
        f->free(m->d, m->adapter_act);
    if (m->adapter)
        f->free(m->d, m->adapter);
    m->adapter = NULL;
    m->adapter_act = NULL;
    m->has_lora = false;
    m->adapter_hash = 0;
    m->xa_width = 0;
    for (int64_t l = 0; m->layers && l < m->c.n_layers; l++)
        for (int g = 0; g < N_GROUPS; g++)
            m->layers[l].lin[g].n_parts = 0;
    lm_table_free(&m->lora);
}
