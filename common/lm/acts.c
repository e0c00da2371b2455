/* SPDX-License-Identifier: MIT
 * acts: the activation buffers, one block sized from one table.
 *
 * Each row of the table names a buffer, its element type and its width for one token (or one
 * row of the classifier's chunk). "Saved" buffers exist once for each layer when training; when
 * only forward runs, or backward computes a layer again, the layers share one set. The block is
 * made for the largest piece seen so far and re-used: a step allocates nothing. */
#include "base/mem.h"
#include "lm/config_check.h"
#include "lm/model.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum kind { F32, ACT, I32 };
/* SAVED: one for each layer when training; AGAIN: so too, unless layers are recomputed; CHUNK:
 * a width for each row of the classifier's chunk. */
enum place { SAVED, AGAIN, SCRATCH, CHUNK };

struct row {
    const char *name;
    enum place place;
    enum kind kind;
    size_t field; /* of the pointer in lm_saved or lm_scratch */
    int64_t width;
    int64_t extra; /* values more, for whatever number of tokens */
};
enum { MAX_ROWS = 48, ALIGN = 256, LOGIT_BYTES = 64 << 20 };

/* Rows of logits worked on at once: about 64 MiB of them, but 64 to 1024 rows; on a GPU, whose
 * products want many rows, what the device says. */
static int64_t chunk_rows(const struct lm *m, int64_t n_tokens)
{
    int64_t bytes = m->d->chunk_bytes ? m->d->chunk_bytes : LOGIT_BYTES;
    int64_t most = m->d->chunk_bytes ? n_tokens : 1024, n = bytes / (4 * m->c.n_vocab);
    n = n > most ? most : n;
    return n < 64 ? 64 : n;
}

#define SAVED_ROW(field, kind, width)                                                          \
    {                                                                                          \
#field, SAVED, kind, offsetof(struct lm_saved, field), width, 0                        \
    }
#define AGAIN_ROW(field, kind, width)                                                          \
    {                                                                                          \
#field, AGAIN, kind, offsetof(struct lm_saved, field), width, 0                        \
    }
#define SCRATCH_ROW(field, kind, width)                                                        \
    {                                                                                          \
#field, SCRATCH, kind, offsetof(struct lm_scratch, field), width, 0                    \
    }
#define CHUNK_ROW(field, kind, width)                                                          \
    {                                                                                          \
#field, CHUNK, kind, offsetof(struct lm_scratch, field), width, 0                      \
    }

/* Rows of width 0 get no buffer: their pointer is NULL, or set by `alias`. */
static int table(const struct lm *m, bool is_training, struct row out[MAX_ROWS])
{
    const struct lm_config *c = &m->c;
    int64_t D = c->d_model, H = c->n_heads, G = c->n_kv_heads, K = c->d_head, F = c->d_ff;
    int64_t V = c->n_vocab, QKV = (H + 2 * G) * K;
    int64_t train = is_training ? 1 : 0;
    int64_t bf16 = m->d->act == LM_BF16 ? train : 0, norm_qk = c->has_qk_norm ? 1 : 0;
    int64_t part = 3 * m->o.lora_rank;
    int64_t all = m->o.is_apart ? 0 : SHARE_MOST, most = all ? all : 1;
    const struct row rows[] = {
        SAVED_ROW(x_in, F32, D),
        AGAIN_ROW(x_mid, F32, D * train),
        AGAIN_ROW(rstd1, F32, 1),
        AGAIN_ROW(rstd2, F32, 1),
        AGAIN_ROW(qkv_raw, ACT, QKV * norm_qk * train),
        AGAIN_ROW(rstd_q, F32, H * norm_qk),
        AGAIN_ROW(rstd_k, F32, G * norm_qk),
        AGAIN_ROW(qkv, ACT, QKV),
        AGAIN_ROW(o, ACT, H * K),
        AGAIN_ROW(lse, F32, H * most),
        AGAIN_ROW(gate_up, ACT, 2 * F),
        SAVED_ROW(xa, ACT, m->xa_width),
        {"input", SCRATCH, I32, offsetof(struct lm_scratch, input), PIECE_INTS, 3},
        SCRATCH_ROW(losses, F32, 1),
        SCRATCH_ROW(x_out, F32, D),
        SCRATCH_ROW(y, ACT, D),
        SCRATCH_ROW(delta, ACT, D),
        SCRATCH_ROW(h, ACT, F),
        SCRATCH_ROW(dx, F32, D * train),
        SCRATCH_ROW(dx_act, ACT, D * bf16),
        SCRATCH_ROW(dh, ACT, F * train),
        SCRATCH_ROW(dqkv, ACT, QKV * train),
        SCRATCH_ROW(d_o, ACT, H * K * train),
        SCRATCH_ROW(dxa, ACT, m->has_lora ? part * train : 0),
        SCRATCH_ROW(attn_delta, F32, H * most * train),
        SCRATCH_ROW(all_qkv, ACT, all * (QKV > D ? QKV : D)),
        SCRATCH_ROW(all_o, ACT, all * H * K),
        SCRATCH_ROW(all_dqkv, ACT, all * QKV * train),
        SCRATCH_ROW(all_do, ACT, all * H * K * train),
        SCRATCH_ROW(pooled, F32, D),
        CHUNK_ROW(logits, F32, V),
        CHUNK_ROW(dlogits, ACT, V * bf16),
        CHUNK_ROW(row_x, F32, D),
        CHUNK_ROW(row_dx, F32, D * train),
        CHUNK_ROW(row_y, ACT, D),
        CHUNK_ROW(row_dy, ACT, D * train),
        CHUNK_ROW(row_rstd, F32, 1),
    };
    _Static_assert(sizeof rows / sizeof *rows <= MAX_ROWS, "the caller's table has room");
    memcpy(out, rows, sizeof rows);
    return (int)(sizeof rows / sizeof *rows);
}

static int64_t row_bytes(const struct lm *m, const struct row *r, int64_t n_tokens)
{
    int64_t size = r->kind == ACT ? (int64_t)lm_act_size(m->d) : 4;
    int64_t n = r->place == CHUNK ? chunk_rows(m, n_tokens) : n_tokens;
    int64_t bytes = (r->width * n + (r->width ? r->extra : 0)) * size;
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

static int64_t copies(const struct lm *m, const struct row *r, bool is_training)
{
    bool is_own = r->place == SAVED || (r->place == AGAIN && !m->o.recompute);
    return is_own && is_training ? m->c.n_layers : 1;
}

int64_t lm_acts_bytes(const struct lm *m, int64_t n_tokens, bool is_training)
{
    struct row rows[MAX_ROWS];
    int n = table(m, is_training, rows);
    int64_t total = 0;
    for (int i = 0; i < n; i++)
        total += row_bytes(m, &rows[i], n_tokens) * copies(m, &rows[i], is_training);
    return total;
}

int64_t lm_acts_logit_bytes(const struct lm *m, int64_t n_tokens)
{
    struct row rows[MAX_ROWS];
    int n = table(m, m->o.tuning != LM_TUNE_NONE, rows);
    int64_t total = 0;
    for (int i = 0; i < n; i++)
        if (rows[i].place == CHUNK)
            total += row_bytes(m, &rows[i], n_tokens);
    return total;
}

static void set_pointer(void *base, const struct row *r, char *p)
{
    memcpy((char *)base + r->field, &p, sizeof p);
}

static void hand_out(struct lm *m, int64_t n_tokens, bool is_training)
{
    struct row rows[MAX_ROWS];
    int n = table(m, is_training, rows);
    char *p = m->acts.block;
    for (int i = 0; i < n; i++) {
        int64_t bytes = row_bytes(m, &rows[i], n_tokens);
        bool is_saved = rows[i].place == SAVED || rows[i].place == AGAIN;
        int64_t n_own = copies(m, &rows[i], is_training);
        for (int64_t l = 0; is_saved && l < m->acts.n_saved; l++)
            set_pointer(&m->acts.saved[l], &rows[i],
                        rows[i].width ? p + (n_own > 1 ? l * bytes : 0) : NULL);
        if (!is_saved)
            set_pointer(&m->acts.s, &rows[i], rows[i].width ? p : NULL);
        p += n_own * bytes;
    }
    if (m->d->act == LM_F32) { /* one buffer under two names */
        m->acts.s.dx_act = m->acts.s.dx;
        m->acts.s.dlogits = m->acts.s.logits;
    }
}

int lm_acts_reserve(struct lm *m, int64_t n_tokens, bool is_training, struct err *e)
{
    struct lm_acts *a = &m->acts;
    is_training = is_training || a->is_training;
    if (a->block && n_tokens <= a->cap_tokens && is_training == a->is_training)
        return 0;
    if (n_tokens < m->o.micro_tokens)
        n_tokens = m->o.micro_tokens;
    if (n_tokens < a->cap_tokens)
        n_tokens = a->cap_tokens;
    lm_acts_free(m);
    if (lm_rope_reserve(m, n_tokens, e) <
        0) /* first: once the block is there, this returns early */
        return e->code;
    a->block = lm_dev_alloc(m, "activations", lm_acts_bytes(m, n_tokens, is_training), e);
    if (!a->block)
        return e->code;
    a->n_saved = is_training ? m->c.n_layers : 1;
    a->saved = mem_zalloc((size_t)a->n_saved, sizeof *a->saved);
    a->cap_tokens = n_tokens;
    a->cap_rows = chunk_rows(m, n_tokens);
    a->is_training = is_training;
    hand_out(m, n_tokens, is_training);
    return 0;
}

void lm_acts_free(struct lm *m)
{
    if (m->acts.block)
        m->d->ops->free(m->d, m->acts.block);
    free(m->acts.saved);
    m->acts = (struct lm_acts){0};
}

int lm_rope_reserve(struct lm *m, int64_t n, struct err *e)
{
    int64_t K = m->c.d_head;
    if (n > m->c.max_positions)
        n = m->c.max_positions;
    if (m->cos_sin && n <= m->n_positions)
        return 0;
    size_t bytes = (size_t)(n * K) * sizeof(float);
    float *device = lm_dev_alloc(m, "rotary table", (int64_t)bytes, e);
    if (!device)
        return e->code;
    float *host = mem_alloc((size_t)(n * K + K / 2), sizeof *host), *freq = host + n * K;
    float times = lm_rope_frequencies(&m->c, freq);
    for (int64_t t = 0; t < n; t++)
        for (int64_t i = 0; i < K / 2; i++) {
            float angle = (float)t * freq[i];
            host[t * K + i] = (float)cos((double)angle) * times;
            host[t * K + K / 2 + i] = (float)sin((double)angle) * times;
        }
    m->d->ops->upload(m->d, device, host, bytes);
    free(host);
    if (m->cos_sin)
        m->d->ops->free(m->d, m->cos_sin);
    m->cos_sin = device;
    m->n_positions = n;
    return 0;
}
