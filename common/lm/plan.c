/* SPDX-License-Identifier: MIT
 * plan: how much memory a model will take on its device, before any weight is read.
 *
 * The model is laid out as lm_open would, tables and all, and what each part of it allocates is
 * summed: a part that is not here is one that the plan does not know of. */
#include "base/mem.h"
#include "base/text.h"
#include "lm/model.h"

#include <stdio.h>

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

/* Values of all published tensors, kept as float or not. */
static int64_t block_values(const struct lm *m)
{
    int64_t n = 0;
    for (size_t i = 0; i < m->base.n; i++)
        n += m->base.t[i].n;
    return n;
}

static void plan_weights(const struct lm *m, struct lm_memory *p)
{
    bool is_full = m->o.tuning == LM_TUNE_FULL;
    int64_t block = m->base.n_floats * 4, adapter = m->lora.n_floats * 4;
    p->weights = block + packed_bytes(m) + m->kept_bytes;
    p->adapter = m->d->act == LM_BF16 ? adapter * 3 / 2 : adapter;
    p->gradients = is_full ? block : adapter;
    p->optimizer = 2 * p->gradients;
    p->workspace = m->d->workspace_bytes;
    p->saving = m->o.is_saved ? block_values(m) * 4 : 0;
}

/* The longest sequence is the options', or a whole micro-batch where they do not say. */
static int64_t attention_bytes(const struct lm *m, int64_t n)
{
    int64_t longest = m->o.longest > 0 && m->o.longest < n ? m->o.longest : n;
    if (longest > m->c.max_positions)
        longest = m->c.max_positions;
    if (!m->d->ops->attention_bytes)
        return 0;
    return m->d->ops->attention_bytes(longest, m->c.d_head, m->o.tuning != LM_TUNE_NONE);
}

/* A panel in the scratch that attention uses as well; to generate, all, if there is room. */
static int64_t widening_bytes(const struct lm *m, const struct lm_memory *p, int64_t running)
{
    int64_t wide = lm_kept_wide_bytes(m), panel = lm_kept_scratch(m) - p->attention;
    int64_t left =
        p->available - p->weights - p->adapter - p->gradients - p->optimizer - running;
    panel = panel > 0 ? panel : 0;
    return m->o.n_slots && lm_kept_has_room(wide, left - panel) ? wide + panel : panel;
}

static void plan_activations(const struct lm *m, int64_t n, struct lm_memory *p)
{
    bool is_training = m->o.tuning != LM_TUNE_NONE;
    p->micro_tokens = n;
    p->logits = lm_acts_logit_bytes(m, n);
    p->activations = lm_acts_bytes(m, n, is_training) - p->logits + n * m->c.d_head * 4;
    p->attention = attention_bytes(m, n);
    p->cache = p->n_slots * lm_slot_bytes(m, m->o.longest);
    int64_t running = p->activations + p->logits + p->attention + p->cache;
    p->widening = widening_bytes(m, p, running);
    running += p->widening;
    int64_t at_end = p->saving;
    if (lm_dev_is_gpu(m->d)) {
        p->host = p->saving;
        at_end = 0;
    }
    p->total = p->weights + p->adapter + p->gradients + p->optimizer + p->workspace +
               (running > at_end ? running : at_end);
}

/* A smaller micro-batch changes sums' last bits, so a CPU, where what is free changes from
 * minute to minute, never takes one by itself. */
static void fit(const struct lm *m, const struct lm_options *asked, struct lm_memory *p)
{
    int64_t longest = m->o.longest > 0 ? m->o.longest : 1;
    p->asked_tokens = lm_device_tokens(m->d, asked);
    p->wanted_tokens = m->o.micro_tokens;
    p->n_slots = m->o.n_slots;
    plan_activations(m, p->wanted_tokens, p);
    while (p->available && p->total > p->available && p->n_slots > 1) {
        p->n_slots /= 2; /* changes what generate.h says, no sum of lm_nll's */
        plan_activations(m, p->wanted_tokens, p);
    }
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
    plan->available = lm_available_bytes(m);
    plan->is_warning = choice.is_warning;
    snprintf(plan->device_note, sizeof plan->device_note, "%s", choice.why);
    snprintf(plan->arith, sizeof plan->arith, "%s", m->arith);
    plan_weights(m, plan);
    fit(m, o, plan);
    lm_close(m);
    return 0;
}

char *lm_memory_text(const struct lm_memory *p)
{
    const struct {
        const char *name;
        int64_t bytes;
    } part[] = {{"weights", p->weights},
                {"adapter", p->adapter},
                {"gradients", p->gradients},
                {"optimizer", p->optimizer},
                {"activations", p->activations},
                {"logits", p->logits},
                {"attention", p->attention},
                {"widening", p->widening},
                {"cache", p->cache},
                {"saving", p->is_gpu ? 0 : p->saving},
                {"workspace", p->workspace}};
    struct buf b = {0};
    char text[32];
    for (size_t i = 0; i < sizeof part / sizeof *part; i++)
        if (part[i].bytes)
            buf_printf(&b, "%s%s %s", b.len ? ", " : "", part[i].name,
                       text_bytes(text, part[i].bytes));
    return buf_str(&b);
}
