/* SPDX-License-Identifier: MIT
 * weights: from the file to the device, and the optimiser's memory. */
#include "base/mem.h"
#include "lm/model.h"

#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

/* The n tensors from `first` on, which lie side by side, through `host` to the device. *block
 * is where they are: in the base block, or a buffer that the caller frees (not kept as float).
 */
static int load_joined(struct lm *m, struct lm_source *src, size_t first, int n, float **block,
                       struct err *e)
{
    struct lm_tensor *t = &m->base.t[first];
    int64_t total = 0, at = 0;
    for (int i = 0; i < n; i++)
        total += t[i].n;
    float *host = mem_aligned((size_t)total * sizeof *host);
    int code = 0;
    for (int i = 0; i < n && code >= 0; at += t[i++].n) {
        code = lm_source_read(src, t[i].p.name, t[i].p.n_dims, t[i].p.shape, host + at, e);
        if (code >= 0)
            t[i].hash = lm_tensor_hash(&t[i], host + at);
    }
    *block = t->offset >= 0 ? m->weights + t->offset : NULL;
    if (code >= 0 && !*block) {
        *block = lm_dev_alloc(m, t->p.name, total * 4, e);
        code = *block ? 0 : e->code;
    }
    if (code >= 0)
        m->d->ops->upload(m->d, *block, host, (size_t)total * sizeof *host);
    free(host);
    return code;
}

static int load_linear(struct lm *m, struct lm_source *src, struct lm_linear *lin, bool is_read,
                       struct err *e)
{
    if (m->is_kept)
        return lm_kept_load(m, src, lin, e);
    float *block = is_read ? m->weights + lin->w : NULL;
    int code = is_read ? 0 : load_joined(m, src, lin->first, lin->n_tensors, &block, e);
    if (code >= 0) {
        lin->m = m->d->ops->matrix_new(m->d, block, lin->n_out, lin->n_in, e);
        code = lin->m ? 0 : e->code;
    }
    if (block && lin->w < 0)
        m->d->ops->free(m->d, block);
    return code;
}

/* The frozen embedding as the products have it; a tied model's classifier is the same matrix.
 */
static int load_embed_act(struct lm *m, struct lm_source *src, struct err *e)
{
    const struct lm_ops *f = m->d->ops;
    int64_t n = m->base.t[0].n;
    float *block = NULL;
    int code = load_joined(m, src, 0, 1, &block, e);
    if (code >= 0 && m->c.is_tied) {
        m->head.m = f->matrix_new(m->d, block, m->head.n_out, m->head.n_in, e);
        m->embed_act = m->head.m ? (void *)(uintptr_t)f->matrix_act(m->head.m) : NULL;
    } else if (code >= 0) {
        m->embed_act = lm_dev_alloc(m, "the embedding", n * 2, e);
        if (m->embed_act)
            f->to_act(m->d, m->embed_act, block, (size_t)n);
    }
    if (block)
        f->free(m->d, block);
    return code < 0 ? code : m->embed_act ? 0 : e->code;
}

/* What is in no fused matrix: the embedding, norms, biases. */
static int load_others(struct lm *m, struct lm_source *src, struct err *e)
{
    for (size_t i = 0; i < m->base.n; i++) {
        float *block;
        if (i == 0 && !m->is_kept ? m->is_embed_act : m->base.t[i].is_matrix)
            continue;
        int code = load_joined(m, src, i, 1, &block, e);
        if (code < 0)
            return code;
    }
    return 0;
}

static void hash_all(struct lm *m)
{
    char *config = lm_config_write_hf(&m->c);
    m->hash = XXH64(config, strlen(config), 0);
    free(config);
    for (size_t i = 0; i < m->base.n; i++)
        m->hash = XXH64(&m->base.t[i].hash, sizeof m->base.t[i].hash, m->hash);
}

int lm_weights_load(struct lm *m, struct lm_source *src, struct err *e)
{
    m->weights = lm_dev_alloc(m, "weights", m->base.n_floats * 4, e);
    if (!m->weights)
        return e->code;
    m->d->ops->zero(m->d, m->weights, (size_t)m->base.n_floats * 4); /* the gaps */
    int code = load_others(m, src, e);
    if (code >= 0 && m->is_embed_act)
        code = load_embed_act(m, src, e);
    if (code >= 0 && m->is_kept && !m->c.is_tied)
        code = lm_kept_load(m, src, &m->embedding, e);
    for (int64_t l = 0; l < m->c.n_layers && code >= 0; l++)
        for (int g = 0; g < N_GROUPS && code >= 0; g++)
            code = load_linear(m, src, &m->layers[l].lin[g], false, e);
    if (code >= 0 && !m->head.m)
        code = load_linear(m, src, &m->head, m->c.is_tied, e);
    if (code >= 0)
        code = lm_source_check(src, e);
    if (code < 0)
        return code;
    hash_all(m);
    return 0;
}

/* The file is read again, since a copy of the first weights would cost as much memory as the
 * weights; it must still be the one that was loaded. */
int lm_weights_reload(struct lm *m, struct err *e)
{
    struct lm_source *src = lm_source_open(m->path, e);
    int code = src ? 0 : e->code;
    float *host = NULL;
    size_t cap = 0;
    for (size_t i = 0; i < m->base.n && code >= 0; i++) {
        const struct lm_tensor *t = &m->base.t[i];
        MEM_GROW(host, cap, t->n);
        code = lm_source_read(src, t->p.name, t->p.n_dims, t->p.shape, host, e);
        if (code >= 0 && lm_tensor_hash(t, host) != t->hash)
            code = err_set(e, ERR_MISMATCH, "%s: tensor %s changed since it was loaded",
                           m->path, t->p.name);
        if (code >= 0)
            m->d->ops->upload(m->d, m->weights + t->offset, host, (size_t)t->n * sizeof *host);
    }
    free(host);
    lm_source_close(src);
    lm_weights_refresh(m);
    return code;
}

void lm_weights_refresh(struct lm *m)
{
    for (int64_t l = 0; l < m->c.n_layers; l++)
        for (int g = 0; g < N_GROUPS; g++) {
            struct lm_linear *lin = &m->layers[l].lin[g];
            m->d->ops->matrix_update(m->d, lin->m, m->weights + lin->w);
        }
    m->d->ops->matrix_update(m->d, m->head.m, m->weights + m->head.w);
}

int lm_optimizer_attach(struct lm *m, struct err *e)
{
    int64_t bytes = lm_trainable(m)->n_floats * 4;
    m->grads = lm_dev_alloc(m, "gradients", bytes, e);
    m->moment1 = m->grads ? lm_dev_alloc(m, "optimiser state", bytes, e) : NULL;
    m->moment2 = m->moment1 ? lm_dev_alloc(m, "optimiser state", bytes, e) : NULL;
    if (!m->moment2)
        return e->code;
    m->d->ops->zero(m->d, m->grads, (size_t)bytes);
    m->d->ops->zero(m->d, m->moment1, (size_t)bytes);
    m->d->ops->zero(m->d, m->moment2, (size_t)bytes);
    m->is_trainable = true;
    return 0;
}
