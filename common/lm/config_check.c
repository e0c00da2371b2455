/* SPDX-License-Identifier: MIT
 * config_check: bounds of a configuration, and of what it can be used on. */
#include "lm/config_check.h"

static int check_int(const char *what, int64_t v, int64_t max, const char *place, struct err *e)
{
    if (v >= 1 && v <= max)
        return 0;
    return err_set(e, ERR_RANGE, "%s: %s is %lld, must be 1 to %lld", place, what, (long long)v,
                   (long long)max);
}

int lm_config_check(const struct lm_config *c, const char *place, struct err *e)
{
    int code;
    /* Bounds far above any published model keep every product below in 63 bits. */
    if ((code = check_int("number of layers", c->n_layers, 4096, place, e)) < 0 ||
        (code = check_int("model width", c->d_model, 1 << 20, place, e)) < 0 ||
        (code = check_int("number of heads", c->n_heads, 1 << 14, place, e)) < 0 ||
        (code = check_int("number of key/value heads", c->n_kv_heads, 1 << 14, place, e)) < 0 ||
        (code = check_int("head width", c->d_head, 1 << 14, place, e)) < 0 ||
        (code = check_int("feed-forward width", c->d_ff, 1 << 22, place, e)) < 0 ||
        (code = check_int("vocabulary", c->n_vocab, 1 << 24, place, e)) < 0 ||
        (code = check_int("context length", c->max_positions, 1 << 28, place, e)) < 0)
        return code;
    if (c->n_heads % c->n_kv_heads)
        return err_set(e, ERR_RANGE,
                       "%s: %lld heads are not a multiple of %lld key/value heads", place,
                       (long long)c->n_heads, (long long)c->n_kv_heads);
    if (c->d_head % 2)
        return err_set(e, ERR_RANGE, "%s: head width %lld is odd", place, (long long)c->d_head);
    if (!(c->norm_eps > 0 && c->norm_eps < 1) || !(c->rope_theta > 1 && c->rope_theta < 1e12))
        return err_set(e, ERR_RANGE, "%s: norm epsilon %g or rope theta %g is out of range",
                       place, c->norm_eps, c->rope_theta);
    if (c->rope_scaling != LM_ROPE_NONE && !(c->rope_factor >= 1 && c->rope_factor < 1e6))
        return err_set(e, ERR_RANGE, "%s: rope factor %g is out of range", place,
                       c->rope_factor);
    if (c->rope_scaling == LM_ROPE_DYNAMIC && c->rope_original_positions < 1)
        return err_set(e, ERR_RANGE, "%s: dynamic rope from %lld positions on", place,
                       (long long)c->rope_original_positions);
    if (c->rope_scaling == LM_ROPE_YARN &&
        !(c->rope_fast > 0 && c->rope_fast < 1e6 && c->rope_slow > 0 && c->rope_slow < 1e6 &&
          c->rope_attention > 0 && c->rope_attention < 1e3 && c->rope_original_positions > 0))
        return err_set(e, ERR_RANGE,
                       "%s: yarn's betas %g and %g, attention factor %g or %lld original "
                       "positions are out of range",
                       place, c->rope_fast, c->rope_slow, c->rope_attention,
                       (long long)c->rope_original_positions);
    if (c->rope_scaling == LM_ROPE_LLAMA3 &&
        !(c->rope_low_freq > 0 && c->rope_high_freq > c->rope_low_freq &&
          c->rope_original_positions > 0))
        return err_set(e, ERR_RANGE, "%s: rope frequency factors %g and %g are out of order",
                       place, c->rope_low_freq, c->rope_high_freq);
    return 0;
}

int64_t lm_config_n_params(const struct lm_config *c)
{
    int64_t D = c->d_model, HK = c->n_heads * c->d_head, GK = c->n_kv_heads * c->d_head;
    int64_t layer = 2 * D + (HK + 2 * GK) * D + D * HK + 3 * c->d_ff * D;
    if (c->has_qkv_bias)
        layer += HK + 2 * GK;
    if (c->has_o_bias)
        layer += D;
    if (c->has_qk_norm)
        layer += 2 * c->d_head;
    return c->n_layers * layer + D + c->n_vocab * D * (c->is_tied ? 1 : 2);
}

int lm_config_check_length(const struct lm_config *c, int64_t n, struct err *e)
{
    if (n > c->max_positions)
        return err_set(e, ERR_RANGE, "%lld tokens, more than the model's context of %lld",
                       (long long)n, (long long)c->max_positions);
    if (c->n_window && n > c->n_window)
        return err_set(e, ERR_UNSUPPORTED,
                       "%lld tokens, more than the model's sliding window of %lld",
                       (long long)n, (long long)c->n_window);
    if (c->rope_scaling == LM_ROPE_DYNAMIC && n > c->rope_original_positions)
        return err_set(e, ERR_UNSUPPORTED,
                       "%lld tokens, more than the %lld from which on the model's rope type "
                       "\"dynamic\" depends on the length",
                       (long long)n, (long long)c->rope_original_positions);
    return 0;
}

int lm_config_check_sequence(const struct lm_config *c, const int32_t *ids, int64_t n,
                             struct err *e)
{
    for (int64_t t = 0; t < n; t++)
        if (ids[t] < 0 || ids[t] >= c->n_vocab)
            return err_set(e, ERR_RANGE, "token %lld is %ld, outside the vocabulary of %lld",
                           (long long)t, (long)ids[t], (long long)c->n_vocab);
    return lm_config_check_length(c, n, e);
}
