/* SPDX-License-Identifier: MIT
 *
 * config: what a decoder-only transformer looks like, from config.json or GGUF metadata.
 *
 * Families are the rows of family.h: llama (1-3.x, SmolLM2, TinyLlama), mistral, qwen2, qwen3.
 * Shape letters used all over lm/ and the folders after it: B sequences, T tokens, D model
 * width, H query heads, G key/value heads, K head width, F feed-forward width, L layers, V
 * vocabulary (padded rows included).
 */
#ifndef RAISE_LM_CONFIG_H
#define RAISE_LM_CONFIG_H

#include "base/err.h"
#include "lm/family.h"
#include "stream/gguf.h"

#include <stdbool.h>
#include <stdint.h>

/* Dynamic: as none up to rope_original_positions, and another function of the sequence's length
 * beyond them, which we do not compute. */
enum lm_rope_scaling {
    LM_ROPE_NONE,
    LM_ROPE_LINEAR,
    LM_ROPE_LLAMA3,
    LM_ROPE_DYNAMIC,
    LM_ROPE_YARN
};

struct lm_config {
    const struct lm_family *family;
    int64_t n_layers, d_model, n_heads, n_kv_heads, d_head, d_ff, n_vocab;
    int64_t max_positions;
    int64_t n_window; /* the attention's sliding window, shorter than the context; 0: none. It
                       * changes nothing for sequences up to it, and longer ones are refused */
    double norm_eps;
    double rope_theta;
    enum lm_rope_scaling rope_scaling;
    double rope_factor, rope_low_freq, rope_high_freq; /* llama3: low/high_freq_factor */
    double rope_fast, rope_slow; /* yarn: beta_fast/slow, turns within the original context */
    double rope_attention;       /* yarn: attention_factor, what sine and cosine are times */
    bool is_rope_truncated;      /* yarn: its ramp begins and ends at whole dimensions */
    int64_t rope_original_positions;
    bool is_tied;      /* classifier is the embedding */
    bool has_qkv_bias; /* qwen2, or attention_bias */
    bool has_o_bias;   /* attention_bias of llama */
    bool has_qk_norm;  /* qwen3 */
};

/* Of a model, a Hugging Face folder or a GGUF file, without its weights: one of the two below.
 */
int lm_config_read(struct lm_config *c, const char *path, struct err *e) RAISE_MUST_CHECK;
/* From `dir`/config.json. An unknown architecture, activation or rope type, quantised weights
 * or experts: ERR_UNSUPPORTED with the name. */
int lm_config_read_hf(struct lm_config *c, const char *dir, struct err *e) RAISE_MUST_CHECK;
int lm_config_read_gguf(struct lm_config *c, const struct gguf *g, const char *name,
                        struct err *e) RAISE_MUST_CHECK;
/* config.json text that transformers loads; owned by the caller. */
char *lm_config_write_hf(const struct lm_config *c);
int64_t lm_config_n_params(const struct lm_config *c);
/* Whether the model can be computed on a sequence of n tokens: ERR_RANGE beyond its context,
 * ERR_UNSUPPORTED beyond its sliding window or where dynamic positions begin. The message
 * begins with the number of tokens. */
int lm_config_check_length(const struct lm_config *c, int64_t n,
                           struct err *e) RAISE_MUST_CHECK;
/* That, and that each id has a row of the embedding (ERR_RANGE): what to hold each record
 * against before a model is loaded. */
int lm_config_check_sequence(const struct lm_config *c, const int32_t *ids, int64_t n,
                             struct err *e) RAISE_MUST_CHECK;

#endif
