/* SPDX-License-Identifier: MIT
 * layout: which tensors a model has, and where each lies in its block; see model.h. */
#include "base/mem.h"
#include "lm/model.h"

#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

enum { ALIGN_FLOATS = 64 }; /* 256 bytes: what GPUs' wide loads want */

static struct lm_tensor *add(struct lm_table *t, char *name, int64_t rows, int64_t cols,
                             bool is_joined)
{
    MEM_GROW(t->t, t->cap, t->n + 1);
    struct lm_tensor *x = &t->t[t->n++];
    *x = (struct lm_tensor){
        .p = {.name = name, .n_dims = cols ? 2 : 1, .shape = {rows, cols}},
        .n = rows * (cols ? cols : 1),
        .offset = 0, /* kept, until said otherwise */
        .is_matrix = cols != 0,
        .is_joined = is_joined,
    };
    return x;
}

/* Matrices first, then vectors; each group starts aligned. */
static void place(struct lm_table *t)
{
    int64_t at = 0;
    for (int half = 0; half < 2; half++) {
        for (size_t i = 0; i < t->n; i++) {
            struct lm_tensor *x = &t->t[i];
            if (x->is_matrix == (half == 1) || x->offset < 0)
                continue;
            if (!x->is_joined)
                at = (at + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
            x->offset = at;
            at += x->n;
        }
        at = (at + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
        if (half == 0)
            t->n_matrix = at;
    }
    t->n_floats = at;
}

void lm_table_free(struct lm_table *t)
{
    for (size_t i = 0; i < t->n; i++)
        free((void *)(uintptr_t)t->t[i].p.name);
    free(t->t);
    *t = (struct lm_table){0};
}

/* ---- the published weights ---- */

struct projection {
    const char *name;
    enum lm_group group;
    int64_t n_out, n_in;
};

static void projections_of(const struct lm_config *c, struct projection p[7])
{
    int64_t D = c->d_model, HK = c->n_heads * c->d_head, GK = c->n_kv_heads * c->d_head;
    int64_t F = c->d_ff;
    p[0] = (struct projection){"self_attn.q_proj", GROUP_QKV, HK, D};
    p[1] = (struct projection){"self_attn.k_proj", GROUP_QKV, GK, D};
    p[2] = (struct projection){"self_attn.v_proj", GROUP_QKV, GK, D};
    p[3] = (struct projection){"self_attn.o_proj", GROUP_O, D, HK};
    p[4] = (struct projection){"mlp.gate_proj", GROUP_GATE_UP, F, D};
    p[5] = (struct projection){"mlp.up_proj", GROUP_GATE_UP, F, D};
    p[6] = (struct projection){"mlp.down_proj", GROUP_DOWN, D, F};
}

static char *layer_name(int64_t l, const char *part, const char *suffix)
{
    return mem_printf("model.layers.%lld.%s.%s", (long long)l, part, suffix);
}

static void add_layer(struct lm *m, int64_t l, bool is_all_kept)
{
    const struct lm_config *c = &m->c;
    struct lm_layer *y = &m->layers[l];
    struct projection p[7];
    projections_of(c, p);
    *y = (struct lm_layer){.q_norm = -1, .k_norm = -1};
    for (int i = 0; i < 7; i++) {
        struct lm_linear *lin = &y->lin[p[i].group];
        bool is_joined = lin->n_tensors > 0;
        if (!is_joined)
            *lin = (struct lm_linear){
                .first = m->base.n, .n_in = p[i].n_in, .bias = -1, .lora_a = -1};
        struct lm_tensor *t =
            add(&m->base, layer_name(l, p[i].name, "weight"), p[i].n_out, p[i].n_in, is_joined);
        if (!is_all_kept)
            t->offset = -1;
        lin->n_out += p[i].n_out;
        lin->n_tensors++;
    }
    for (int i = 0; i < 4; i++)
        if (i < 3 ? c->has_qkv_bias : c->has_o_bias) {
            size_t at = m->base.n;
            add(&m->base, layer_name(l, p[i].name, "bias"), p[i].n_out, 0, i == 1 || i == 2);
            if (i == 0 || i == 3)
                y->lin[p[i].group].bias = (int64_t)at; /* a tensor's number until placed */
        }
    y->norm1 = (int64_t)m->base.n;
    add(&m->base, layer_name(l, "input_layernorm", "weight"), c->d_model, 0, false);
    y->norm2 = (int64_t)m->base.n;
    add(&m->base, layer_name(l, "post_attention_layernorm", "weight"), c->d_model, 0, false);
    if (c->has_qk_norm) {
        y->q_norm = (int64_t)m->base.n;
        add(&m->base, layer_name(l, "self_attn.q_norm", "weight"), c->d_head, 0, false);
        y->k_norm = (int64_t)m->base.n;
        add(&m->base, layer_name(l, "self_attn.k_norm", "weight"), c->d_head, 0, false);
    }
}

static int64_t offset_of(const struct lm *m, int64_t tensor)
{
    return tensor < 0 ? -1 : m->base.t[tensor].offset;
}

/* Numbers of tensors become offsets. */
static void resolve(struct lm *m)
{
    for (int64_t l = 0; l < m->c.n_layers; l++) {
        struct lm_layer *y = &m->layers[l];
        y->norm1 = offset_of(m, y->norm1);
        y->norm2 = offset_of(m, y->norm2);
        y->q_norm = offset_of(m, y->q_norm);
        y->k_norm = offset_of(m, y->k_norm);
        for (int g = 0; g < N_GROUPS; g++) {
            struct lm_linear *lin = &y->lin[g];
            lin->w = offset_of(m, (int64_t)lin->first);
            lin->bias = offset_of(m, lin->bias);
        }
    }
    m->embed = m->base.t[0].offset;
    m->norm_f = m->base.t[m->base.n - (m->c.is_tied ? 1 : 2)].offset;
    m->head.w = m->base.t[m->head.first].offset;
}

/* `is_all_kept` false: the fused matrices live only packed, as the backend has them. */
void lm_layout_base(struct lm *m, bool is_all_kept)
{
    const struct lm_config *c = &m->c;
    int64_t D = c->d_model, V = c->n_vocab;
    m->layers = mem_zalloc((size_t)c->n_layers, sizeof *m->layers);
    add(&m->base, mem_strdup("model.embed_tokens.weight"), V, D, false)->offset =
        m->is_embed_act || m->is_kept ? -1 : 0;
    for (int64_t l = 0; l < c->n_layers; l++)
        add_layer(m, l, is_all_kept);
    add(&m->base, mem_strdup("model.norm.weight"), D, 0, false);
    m->head = (struct lm_linear){.n_out = V, .n_in = D, .n_tensors = 1, .bias = -1};
    if (!c->is_tied) {
        m->head.first = m->base.n;
        struct lm_tensor *t = add(&m->base, mem_strdup("lm_head.weight"), V, D, false);
        if (!is_all_kept)
            t->offset = -1;
    }
    place(&m->base);
    resolve(m);
}

/* ---- adapters ---- */

static void add_adapters(struct lm *m, int64_t l, const struct projection p[7], enum lm_group g)
{
    struct lm_linear *lin = &m->layers[l].lin[g];
    int64_t r = m->o.lora_rank, col = 0;
    lin->n_parts = 0;
    lin->lora_a = (int64_t)m->lora.n;
    for (int i = 0; i < 7; i++)
        if (p[i].group == g && (m->o.lora_targets >> i & 1))
            add(&m->lora, layer_name(l, p[i].name, "lora_A.weight"), r, p[i].n_in,
                lin->n_parts++ > 0);
    lin->n_parts = 0;
    for (int i = 0; i < 7; i++) {
        if (p[i].group != g)
            continue;
        if (m->o.lora_targets >> i & 1) {
            lin->parts[lin->n_parts++] = (struct lm_part){col, p[i].n_out, (int64_t)m->lora.n};
            add(&m->lora, layer_name(l, p[i].name, "lora_B.weight"), p[i].n_out, r, false);
        }
        col += p[i].n_out;
    }
}

void lm_layout_lora(struct lm *m)
{
    struct projection p[7];
    projections_of(&m->c, p);
    lm_table_free(&m->lora);
    for (int64_t l = 0; l < m->c.n_layers; l++)
        for (int g = 0; g < N_GROUPS; g++)
            add_adapters(m, l, p, (enum lm_group)g);
    place(&m->lora);
    for (int64_t l = 0; l < m->c.n_layers; l++) {
        m->xa_width = 0;
        for (int g = 0; g < N_GROUPS; g++) {
            struct lm_linear *lin = &m->layers[l].lin[g];
            lin->xa_col = m->xa_width;
            m->xa_width += lin->n_parts * m->o.lora_rank;
            if (!lin->n_parts)
                continue;
            lin->lora_a = m->lora.t[lin->lora_a].offset;
            for (int i = 0; i < lin->n_parts; i++)
                lin->parts[i].lora_b = m->lora.t[lin->parts[i].lora_b].offset;
        }
    }
}

uint64_t lm_tensor_seed(const struct lm_tensor *t)
{
    uint64_t h = XXH64(t->p.name, strlen(t->p.name), (XXH64_hash_t)t->p.n_dims);
    return XXH64(t->p.shape, sizeof t->p.shape, h);
}

uint64_t lm_tensor_hash(const struct lm_tensor *t, const float *x)
{
    return XXH64(x, (size_t)t->n * sizeof *x, lm_tensor_seed(t));
}
