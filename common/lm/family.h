/* SPDX-License-Identifier: MIT
 *
 * family: the model families that we know, a row each. Internal to lm/, but for the names.
 *
 * All are decoders of one build: RMS norms, rotary positions, grouped key/value heads, SwiGLU.
 * What sets one apart is a flag here, which both readers of a configuration, the writer and the
 * reader of weights obey; so a family that differs by these flags only is one row of family.c.
 */
#ifndef RAISE_LM_FAMILY_H
#define RAISE_LM_FAMILY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Biases of the attention's projections. */
enum lm_family_bias {
    LM_BIAS_NONE,
    LM_BIAS_QKV,   /* always on q, k and v */
    LM_BIAS_BY_KEY /* "attention_bias": on q, k, v and o */
};

/* The attention's sliding window, "sliding_window" (4096 where the key is absent). */
enum lm_family_window {
    LM_WINDOW_NO_KEY, /* of another class's: only with use_sliding_window or layer_types */
    LM_WINDOW_ALWAYS, /* unless the key is null */
    LM_WINDOW_BY_KEY  /* "use_sliding_window" is a key of the family */
};

struct lm_family {
    const char *model_type;   /* of config.json: "llama" */
    const char *architecture; /* its class: "LlamaForCausalLM" */
    const char *gguf;         /* general.architecture; NULL: GGUFs have another family's */
    enum lm_family_bias bias;
    enum lm_family_window window;
    bool has_qk_norm;       /* an RMS norm over each head of q and k */
    bool has_mlp_bias_key;  /* "mlp_bias" is a key of its config.json */
    bool is_gguf_permuted;  /* GGUF has the rows of q and k as rotary pairs */
    int64_t default_d_head; /* where "head_dim" is absent; 0: model width by heads */
};

/* The row, or NULL. Any of the names may be NULL: whatever it is. */
const struct lm_family *lm_family_find(const char *model_type, const char *architecture);
const struct lm_family *lm_family_find_gguf(const char *architecture);
/* Row i, or NULL past the last. */
const struct lm_family *lm_family_at(size_t i);
/* "llama, mistral, qwen2", or GGUF's names; owned by the caller. */
char *lm_family_list(bool is_gguf);

#endif
