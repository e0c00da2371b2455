/* SPDX-License-Identifier: MIT
 * kept: frozen matrices in the type that their file has them in, for devices that widen them
 * where they are read (matrix_keep): a model in bf16 takes half of what it does as float, one
 * in four bits a seventh. A matrix that is all F32 is read in place. */
#include "base/mem.h"
#include "lm/model.h"

#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

static size_t bytes_of(const struct lm_tensor *t, const struct gguf_type *type)
{
    return (size_t)(t->n / type->n_values * type->n_bytes);
}

/* What lm_tensor_hash has of the widened values, which are never all in memory. */
static uint64_t hash_kept(const struct lm_tensor *t, const struct gguf_type *type,
                          const void *data)
{
    enum { VALUES = 1 << 20, EACH = 1 << 14 }; /* whole blocks of every type */
    XXH64_state_t *state = XXH64_createState();
    float *wide = mem_aligned(VALUES * sizeof *wide);
    XXH64_reset(state, lm_tensor_seed(t));
    for (int64_t at = 0; at < t->n; at += VALUES) {
        int64_t n = t->n - at < VALUES ? t->n - at : VALUES;
#pragma omp parallel for schedule(static)
        for (int64_t i = 0; i < n; i += EACH)
            type->decode(wide + i,
                         (const uint8_t *)data + (at + i) / type->n_values * type->n_bytes,
                         (n - i < EACH ? n - i : EACH) / type->n_values);
        XXH64_update(state, wide, (size_t)n * sizeof *wide);
    }
    uint64_t h = XXH64_digest(state);
    XXH64_freeState(state);
    free(wide);
    return h;
}

/* What may be kept as it is; what has no type fails when it is read, by name. */
static const struct gguf_type *type_of(const struct lm_source *s, const struct lm_tensor *t)
{
    const struct gguf_type *type = lm_source_type(s, t->p.name);
    return type ? type : gguf_type_find(0);
}

static bool is_float(const struct gguf_type *type)
{
    return type == gguf_type_find(0);
}

int lm_kept_load(struct lm *m, struct lm_source *s, struct lm_linear *lin, struct err *e)
{
    struct lm_tensor *t = &m->base.t[lin->first];
    struct lm_kept parts[3];
    size_t total = 0, at = 0;
    for (int i = 0; i < lin->n_tensors; i++)
        total += bytes_of(&t[i], type_of(s, &t[i]));
    lin->kept = lm_dev_alloc(m, "weights", (int64_t)total, e);
    if (!lin->kept)
        return e->code;
    for (int i = 0; i < lin->n_tensors; i++) {
        char *data = (char *)lin->kept + at;
        parts[i] = (struct lm_kept){type_of(s, &t[i]), data, t[i].p.shape[0]};
        if (lm_source_keep(s, t[i].p.name, t[i].p.n_dims, t[i].p.shape, data, e) < 0)
            return e->code;
        t[i].hash = hash_kept(&t[i], parts[i].type, data);
        at += bytes_of(&t[i], parts[i].type);
    }
    lin->m = lin->is_narrow ? m->d->ops->matrix_keep(m->d, parts, lin->n_tensors, lin->n_in)
                            : m->d->ops->matrix_new(m->d, lin->kept, lin->n_out, lin->n_in, e);
    return lin->m ? 0 : e->code;
}

/* ---- the plan ---- */

/* Number i of the model's kept matrices; NULL: there are no more. */
static struct lm_linear *linear_at(struct lm *m, int64_t i)
{
    int64_t n = m->c.n_layers * N_GROUPS;
    if (i < n)
        return &m->layers[i / N_GROUPS].lin[i % N_GROUPS];
    return i == n ? &m->head : i == n + 1 && !m->c.is_tied ? &m->embedding : NULL;
}

void lm_kept_plan(struct lm *m, const struct lm_source *s)
{
    struct lm_linear *lin;
    m->embedding = (struct lm_linear){
        .n_out = m->c.n_vocab, .n_in = m->c.d_model, .n_tensors = 1, .w = -1, .bias = -1};
    for (int64_t i = 0; (lin = linear_at(m, i)); i++)
        for (int k = 0; k < lin->n_tensors; k++) {
            const struct lm_tensor *t = &m->base.t[lin->first + (size_t)k];
            const struct gguf_type *type = type_of(s, t);
            lin->is_narrow |= !is_float(type);
            m->kept_bytes += (int64_t)bytes_of(t, type);
        }
}

int64_t lm_kept_scratch(const struct lm *m)
{
    struct lm_linear *lin;
    int64_t most = 0;
    for (int64_t i = 0; m->is_kept && (lin = linear_at((struct lm *)(uintptr_t)m, i)); i++) {
        int64_t bytes = lin->is_narrow ? m->d->ops->kept_bytes(lin->n_out, lin->n_in) : 0;
        most = bytes > most ? bytes : most;
    }
    return most;
}

/* ---- all of them as float ---- */

int64_t lm_kept_wide_bytes(const struct lm *m)
{
    struct lm_linear *lin;
    int64_t sum = 0;
    for (int64_t i = 0; m->is_kept && (lin = linear_at((struct lm *)(uintptr_t)m, i)); i++)
        sum += lin->is_narrow && lin != &m->embedding ? lin->n_out * lin->n_in * 4 : 0;
    return sum;
}

/* Points the products at float copies in `at`; NULL: back to what is kept. */
static void point(struct lm *m, float *at)
{
    struct lm_linear *lin;
    for (int64_t i = 0; (lin = linear_at(m, i)); i++) {
        if (!lin->is_narrow || lin == &m->embedding)
            continue;
        m->d->ops->matrix_update(m->d, lin->m, at);
        at += at ? lin->n_out * lin->n_in : 0;
    }
}

static void fill(struct lm *m, float *at)
{
    struct lm_linear *lin;
    int32_t *rows = NULL;
    size_t cap = 0;
    for (int64_t i = 0; (lin = linear_at(m, i)); i++) {
        if (!lin->is_narrow || lin == &m->embedding)
            continue;
        MEM_GROW(rows, cap, lin->n_out);
        for (int64_t r = 0; r < lin->n_out; r++)
            rows[r] = (int32_t)r;
        m->d->ops->kept_rows(m->d, at, lin->m, rows, lin->n_out);
        at += lin->n_out * lin->n_in;
    }
    free(rows);
}

void lm_kept_widen(struct lm *m, int64_t taken)
{
    int64_t bytes = lm_kept_wide_bytes(m);
    if (m->wide || !lm_kept_has_room(bytes, lm_available_bytes(m) - taken))
        return;
    m->wide = m->d->ops->alloc(m->d, (size_t)bytes, NULL);
    if (!m->wide)
        return;
    fill(m, m->wide);
    point(m, m->wide);
}

void lm_kept_narrow(struct lm *m)
{
    if (!m->wide)
        return;
    point(m, NULL);
    m->d->ops->free(m->d, m->wide);
    m->wide = NULL;
}
