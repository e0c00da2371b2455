/* SPDX-License-Identifier: MIT
 * config_gguf: the same configuration from GGUF metadata; see config.h.
 *
 * Keys begin with the architecture's name ("llama.block_count"). Two things are told by tensors
 * only: a tied classifier by the absence of output.weight, and llama3's rotary scaling by
 * rope_freqs.weight, the factor of each frequency. */
#include "base/mem.h"
#include "lm/config.h"
#include "lm/config_check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct reader {
    const struct gguf *g;
    const char *place, *arch;
    struct err *e;
};

static const char *key_of(const struct reader *r, char dst[128], const char *name)
{
    snprintf(dst, 128, "%s.%s", r->arch, name);
    return dst;
}

static int get_int(const struct reader *r, const char *name, int64_t missing, int64_t *v)
{
    char key[128];
    *v = missing;
    if (!gguf_get_int(r->g, key_of(r, key, name), v) && missing < 0)
        return err_set(r->e, ERR_FORMAT, "%s: \"%s\" is missing", r->place, key);
    return 0;
}

static double get_real(const struct reader *r, const char *name, double missing)
{
    char key[128];
    double v = missing;
    return gguf_get_real(r->g, key_of(r, key, name), &v) ? v : missing;
}

static int read_family(struct reader *r, struct lm_config *c)
{
    r->arch = gguf_get_string(r->g, "general.architecture");
    c->family = r->arch ? lm_family_find_gguf(r->arch) : NULL;
    if (c->family)
        return 0;
    char *known = lm_family_list(true);
    int code = err_set(r->e, ERR_UNSUPPORTED, "%s: architecture \"%s\" is not one of %s",
                       r->place, r->arch ? r->arch : "(none)", known);
    free(known);
    return code;
}

static int read_shape(struct reader *r, struct lm_config *c)
{
    int64_t n_experts, window, n_rotated, width_v;
    if (get_int(r, "block_count", -1, &c->n_layers) < 0 ||
        get_int(r, "embedding_length", -1, &c->d_model) < 0 ||
        get_int(r, "attention.head_count", -1, &c->n_heads) < 0 ||
        get_int(r, "feed_forward_length", -1, &c->d_ff) < 0 ||
        get_int(r, "context_length", -1, &c->max_positions) < 0 ||
        get_int(r, "attention.head_count_kv", c->n_heads, &c->n_kv_heads) < 0 ||
        get_int(r, "expert_count", 0, &n_experts) < 0 ||
        get_int(r, "attention.sliding_window", 0, &window) < 0)
        return r->e->code;
    int64_t K = c->n_heads > 0 ? c->d_model / c->n_heads : 0;
    if (get_int(r, "attention.key_length", K, &c->d_head) < 0 ||
        get_int(r, "attention.value_length", c->d_head, &width_v) < 0 ||
        get_int(r, "rope.dimension_count", c->d_head, &n_rotated) < 0)
        return r->e->code;
    if (n_experts > 0)
        return err_set(r->e, ERR_UNSUPPORTED,
                       "%s: a mixture of experts (%s.expert_count = %lld)", r->place, r->arch,
                       (long long)n_experts);
    c->n_window = window > 0 && window < c->max_positions ? window : 0;
    if (n_rotated != c->d_head || width_v != c->d_head)
        return err_set(r->e, ERR_UNSUPPORTED,
                       "%s: heads of %lld with values of %lld and %lld rotated dimensions",
                       r->place, (long long)c->d_head, (long long)width_v,
                       (long long)n_rotated);
    return 0;
}

/* All published models with this scaling use 1, 4 and 8192; the tensor must agree with them. */
static int read_rope_factors(struct reader *r, struct lm_config *c, const struct gguf_tensor *t)
{
    int64_t n = c->d_head / 2;
    if (t->n_values != n)
        return err_set(r->e, ERR_FORMAT, "%s: %s has %lld values, expected %lld", r->place,
                       t->name, (long long)t->n_values, (long long)n);
    float *factors = mem_alloc(3 * (size_t)n, sizeof *factors);
    float *plain = factors + n, *scaled = factors + 2 * n;
    int code = gguf_dequantize(factors, t, r->e);
    if (code < 0)
        goto out;
    lm_rope_frequencies(c, plain);
    c->rope_scaling = LM_ROPE_LLAMA3;
    c->rope_factor = (double)factors[n - 1];
    c->rope_low_freq = 1;
    c->rope_high_freq = 4;
    c->rope_original_positions = 8192;
    lm_rope_frequencies(c, scaled);
    for (int64_t i = 0; i < n && code >= 0; i++)
        if (!(fabsf(plain[i] / factors[i] - scaled[i]) <= 1e-4f * scaled[i]))
            code = err_set(r->e, ERR_UNSUPPORTED,
                           "%s: %s is not llama3's scaling (low 1, high 4, 8192 positions)",
                           r->place, t->name);
out:
    free(factors);
    return code < 0 ? code : 0;
}

static int read_rope(struct reader *r, struct lm_config *c)
{
    char key[128];
    c->rope_theta = get_real(r, "rope.freq_base", 10000);
    const char *type = gguf_get_string(r->g, key_of(r, key, "rope.scaling.type"));
    if (type && !strcmp(type, "linear")) {
        c->rope_scaling = LM_ROPE_LINEAR;
        c->rope_factor = get_real(r, "rope.scaling.factor", 1);
    } else if (type && !strcmp(type, "yarn")) {
        c->rope_scaling = LM_ROPE_YARN;
        c->rope_factor = get_real(r, "rope.scaling.factor", 1);
        c->rope_fast = get_real(r, "rope.scaling.yarn_beta_fast", 32);
        c->rope_slow = get_real(r, "rope.scaling.yarn_beta_slow", 1);
        c->rope_attention =
            lm_rope_attention(c->rope_factor) * get_real(r, "rope.scaling.attn_factor", 1);
        c->is_rope_truncated = true;
        if (get_int(r, "rope.scaling.original_context_length", c->max_positions,
                    &c->rope_original_positions) < 0)
            return r->e->code;
    } else if (type && strcmp(type, "none") != 0) {
        return err_set(r->e, ERR_UNSUPPORTED,
                       "%s: rope type \"%s\" is not none, linear or yarn", r->place, type);
    }
    const struct gguf_tensor *t = gguf_find(r->g, "rope_freqs.weight");
    if (!t)
        return 0;
    if (c->rope_scaling != LM_ROPE_NONE)
        return err_set(r->e, ERR_UNSUPPORTED, "%s: both rope.scaling and %s", r->place,
                       t->name);
    return read_rope_factors(r, c, t);
}

int lm_config_read_gguf(struct lm_config *c, const struct gguf *g, const char *name,
                        struct err *e)
{
    struct err local = ERR_INIT;
    struct reader r = {g, name, NULL, e ? e : &local};

    memset(c, 0, sizeof *c);
    if (read_family(&r, c) < 0 || read_shape(&r, c) < 0)
        return r.e->code;
    const struct gguf_tensor *embed = gguf_find(g, "token_embd.weight");
    if (!embed || embed->n_dims != 2)
        return err_set(r.e, ERR_FORMAT, "%s: token_embd.weight is missing", name);
    c->n_vocab = embed->shape[0];
    c->is_tied = !gguf_find(g, "output.weight");
    c->has_qkv_bias = gguf_find(g, "blk.0.attn_q.bias") != NULL;
    c->has_o_bias = gguf_find(g, "blk.0.attn_output.bias") != NULL;
    c->has_qk_norm = c->family->has_qk_norm;
    c->norm_eps = get_real(&r, "attention.layer_norm_rms_epsilon", 1e-6);
    c->rope_theta = get_real(&r, "rope.freq_base", 10000);
    int code = lm_config_check(c, name, r.e);
    if (code < 0 || (code = read_rope(&r, c)) < 0)
        return code;
    return lm_config_check(c, name, r.e);
}
