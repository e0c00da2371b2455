/* SPDX-License-Identifier: MIT
 * config_write: a configuration as config.json; see config.h. */
#include "base/text.h"
#include "lm/config_check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The shortest text that reads back as the same float: 1e-05, not 9.99999975e-06. */
static void put_real(struct buf *b, const char *before, double v, const char *after)
{
    char text[TEXT_REAL];
    /* GGUF has floats, config.json doubles */
    text_real(text, v, (double)(float)v == v ? TEXT_FLOAT : TEXT_DOUBLE);
    bool is_integer = !strpbrk(text, ".en");
    buf_printf(b, "%s%s%s%s", before, text, is_integer ? ".0" : "", after);
}

static void put_rope(struct buf *b, const struct lm_config *c)
{
    put_real(b, "  \"rope_theta\": ", c->rope_theta, ",\n");
    if (c->rope_scaling == LM_ROPE_NONE) {
        buf_puts(b, "  \"rope_scaling\": null,\n");
        return;
    }
    put_real(b, "  \"rope_scaling\": {\n    \"factor\": ", c->rope_factor, ",\n");
    if (c->rope_scaling == LM_ROPE_LLAMA3) {
        put_real(b, "    \"high_freq_factor\": ", c->rope_high_freq, ",\n");
        put_real(b, "    \"low_freq_factor\": ", c->rope_low_freq, ",\n");
    }
    if (c->rope_scaling == LM_ROPE_YARN) {
        put_real(b, "    \"attention_factor\": ", c->rope_attention, ",\n");
        put_real(b, "    \"beta_fast\": ", c->rope_fast, ",\n");
        put_real(b, "    \"beta_slow\": ", c->rope_slow, ",\n");
        buf_printf(b, "    \"truncate\": %s,\n", c->is_rope_truncated ? "true" : "false");
    }
    if (c->rope_scaling != LM_ROPE_LINEAR)
        buf_printf(b, "    \"original_max_position_embeddings\": %lld,\n",
                   (long long)c->rope_original_positions);
    buf_printf(b, "    \"rope_type\": \"%s\"\n  },\n", lm_rope_names[c->rope_scaling]);
}

static void put_window(struct buf *b, const struct lm_config *c)
{
    bool is_used = c->n_window > 0;
    if (c->family->window != LM_WINDOW_NO_KEY && is_used)
        buf_printf(b, "  \"sliding_window\": %lld,\n", (long long)c->n_window);
    else if (c->family->window != LM_WINDOW_NO_KEY)
        buf_puts(b, "  \"sliding_window\": null,\n");
    if (c->family->window == LM_WINDOW_BY_KEY)
        buf_printf(b, "  \"use_sliding_window\": %s,\n", is_used ? "true" : "false");
}

char *lm_config_write_hf(const struct lm_config *c)
{
    struct buf b = {0};
    buf_printf(&b, "{\n  \"architectures\": [\n    \"%s\"\n  ],\n", c->family->architecture);
    if (c->family->bias == LM_BIAS_BY_KEY)
        buf_printf(&b, "  \"attention_bias\": %s,\n", c->has_qkv_bias ? "true" : "false");
    buf_printf(&b, "  \"head_dim\": %lld,\n  \"hidden_act\": \"silu\",\n",
               (long long)c->d_head);
    buf_printf(&b, "  \"hidden_size\": %lld,\n  \"intermediate_size\": %lld,\n",
               (long long)c->d_model, (long long)c->d_ff);
    buf_printf(&b, "  \"max_position_embeddings\": %lld,\n", (long long)c->max_positions);
    if (c->family->has_mlp_bias_key)
        buf_puts(&b, "  \"mlp_bias\": false,\n");
    buf_printf(&b, "  \"model_type\": \"%s\",\n", c->family->model_type);
    buf_printf(&b, "  \"num_attention_heads\": %lld,\n  \"num_hidden_layers\": %lld,\n",
               (long long)c->n_heads, (long long)c->n_layers);
    buf_printf(&b, "  \"num_key_value_heads\": %lld,\n", (long long)c->n_kv_heads);
    put_real(&b, "  \"rms_norm_eps\": ", c->norm_eps, ",\n");
    put_rope(&b, c);
    put_window(&b, c);
    buf_printf(&b, "  \"tie_word_embeddings\": %s,\n  \"torch_dtype\": \"float32\",\n",
               c->is_tied ? "true" : "false");
    buf_printf(&b, "  \"use_cache\": true,\n  \"vocab_size\": %lld\n}\n",
               (long long)c->n_vocab);
    return buf_str(&b);
}
