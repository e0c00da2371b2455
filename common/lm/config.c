/* SPDX-License-Identifier: MIT
 * config: config.json of Hugging Face folders, read and written; see config.h. */
#include "lm/config.h"

#include "base/file.h"
#include "base/mem.h"
#include "lm/config_check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

static const struct {
    const char *model_type, *architecture;
} families[] = {
    [LM_LLAMA] = {"llama", "LlamaForCausalLM"},
    [LM_MISTRAL] = {"mistral", "MistralForCausalLM"},
    [LM_QWEN2] = {"qwen2", "Qwen2ForCausalLM"},
    [LM_QWEN3] = {"qwen3", "Qwen3ForCausalLM"},
};
enum { N_FAMILIES = sizeof families / sizeof *families };

/* ---- fields of a JSON object; `place` is the file's name for messages ---- */

struct reader {
    const char *place;
    json_t *root;
    struct err *e;
};

static bool is_absent(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return !v || json_is_null(v);
}

/* A whole number, also written 64.0; `missing` < 0: the field is required. */
static int get_int(struct reader *r, json_t *o, const char *key, int64_t missing, int64_t *v)
{
    if (is_absent(o, key)) {
        *v = missing;
        if (missing < 0)
            return err_set(r->e, ERR_FORMAT, "%s: \"%s\" is missing", r->place, key);
        return 0;
    }
    json_t *x = json_object_get(o, key);
    double d = json_number_value(x);
    if (!json_is_number(x) || d != floor(d) || fabs(d) > 1e15)
        return err_set(r->e, ERR_FORMAT, "%s: \"%s\" is not a whole number", r->place, key);
    *v = json_is_integer(x) ? (int64_t)json_integer_value(x) : (int64_t)d;
    return 0;
}

static int get_real(struct reader *r, json_t *o, const char *key, double missing, double *v)
{
    if (is_absent(o, key)) {
        *v = missing;
        if (isnan(missing))
            return err_set(r->e, ERR_FORMAT, "%s: \"%s\" is missing", r->place, key);
        return 0;
    }
    json_t *x = json_object_get(o, key);
    if (!json_is_number(x))
        return err_set(r->e, ERR_FORMAT, "%s: \"%s\" is not a number", r->place, key);
    *v = json_number_value(x);
    return 0;
}

static int get_bool(struct reader *r, const char *key, bool missing, bool *v)
{
    json_t *x = json_object_get(r->root, key);
    *v = missing;
    if (!x || json_is_null(x))
        return 0;
    if (!json_is_boolean(x))
        return err_set(r->e, ERR_FORMAT, "%s: \"%s\" is not true or false", r->place, key);
    *v = json_is_true(x);
    return 0;
}

static const char *get_string(json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

/* ---- what makes a model one of ours ---- */

static int read_family(struct reader *r, struct lm_config *c)
{
    json_t *architecture = json_array_get(json_object_get(r->root, "architectures"), 0);
    const char *name = json_string_value(architecture);
    const char *type = get_string(r->root, "model_type");
    for (int i = 0; i < N_FAMILIES; i++) {
        bool is_arch = !name || !strcmp(name, families[i].architecture);
        if (type && !strcmp(type, families[i].model_type) && is_arch) {
            c->family = (enum lm_family)i;
            return 0;
        }
    }
    return err_set(r->e, ERR_UNSUPPORTED,
                   "%s: architecture %s (model_type %s) is not one of llama, mistral, qwen2, "
                   "qwen3",
                   r->place, name ? name : "(none)", type ? type : "(none)");
}

static int read_rope(struct reader *r, struct lm_config *c)
{
    json_t *p = json_object_get(r->root, "rope_parameters"); /* transformers >= 5 */
    if (!json_is_object(p))
        p = json_object_get(r->root, "rope_scaling");
    json_t *theta_in = p && !is_absent(p, "rope_theta") ? p : r->root;
    if (get_real(r, theta_in, "rope_theta", 10000, &c->rope_theta) < 0)
        return r->e->code;
    if (!json_is_object(p))
        return 0;
    const char *type = get_string(p, "rope_type");
    if (!type)
        type = get_string(p, "type");
    if (!type || !strcmp(type, "default"))
        return 0;
    if (strcmp(type, "linear") != 0 && strcmp(type, "llama3") != 0)
        return err_set(r->e, ERR_UNSUPPORTED,
                       "%s: rope type \"%s\" is not default, linear or llama3", r->place, type);
    c->rope_scaling = *type == 'l' && type[1] == 'i' ? LM_ROPE_LINEAR : LM_ROPE_LLAMA3;
    if (get_real(r, p, "factor", (double)NAN, &c->rope_factor) < 0)
        return r->e->code;
    if (c->rope_scaling == LM_ROPE_LINEAR)
        return 0;
    if (get_real(r, p, "low_freq_factor", (double)NAN, &c->rope_low_freq) < 0 ||
        get_real(r, p, "high_freq_factor", (double)NAN, &c->rope_high_freq) < 0 ||
        get_int(r, p, "original_max_position_embeddings", -1, &c->rope_original_positions) < 0)
        return r->e->code;
    return 0;
}

/* Mistral applies a window unless it is null; the Qwens only with use_sliding_window, or by
 * layer_types in newer files. A file that does not name it means transformers' default: 4096.
 */
static int check_window(struct reader *r, const struct lm_config *c)
{
    bool is_used = c->family == LM_MISTRAL;
    int64_t window = 4096;
    json_t *types = json_object_get(r->root, "layer_types"), *type;
    size_t i;
    if (!is_used && get_bool(r, "use_sliding_window", false, &is_used) < 0)
        return r->e->code;
    json_array_foreach(types, i, type)
    {
        const char *s = json_string_value(type);
        if (s && !strcmp(s, "sliding_attention"))
            is_used = true;
        else if (!s || strcmp(s, "full_attention") != 0)
            return err_set(r->e, ERR_UNSUPPORTED, "%s: attention of type \"%s\"", r->place,
                           s ? s : "?");
    }
    if (!is_used || json_is_null(json_object_get(r->root, "sliding_window")))
        return 0;
    if (get_int(r, r->root, "sliding_window", 4096, &window) < 0)
        return r->e->code;
    if (window < c->max_positions)
        return err_set(r->e, ERR_UNSUPPORTED,
                       "%s: a sliding window of %lld, shorter than the context of %lld",
                       r->place, (long long)window, (long long)c->max_positions);
    return 0;
}

static int check_unsupported(struct reader *r)
{
    static const char *const experts[] = {"num_experts", "num_local_experts",
                                          "n_routed_experts"};
    const char *act = get_string(r->root, "hidden_act");
    if (act && strcmp(act, "silu") != 0 && strcmp(act, "swish") != 0)
        return err_set(r->e, ERR_UNSUPPORTED, "%s: activation \"%s\" is not silu", r->place,
                       act);
    for (size_t i = 0; i < sizeof experts / sizeof *experts; i++) {
        int64_t n;
        if (get_int(r, r->root, experts[i], 0, &n) < 0)
            return r->e->code;
        if (n > 0)
            return err_set(r->e, ERR_UNSUPPORTED, "%s: a mixture of experts (%s = %lld)",
                           r->place, experts[i], (long long)n);
    }
    if (!is_absent(r->root, "quantization_config")) {
        json_t *q = json_object_get(r->root, "quantization_config");
        const char *how = get_string(q, "quant_method");
        return err_set(r->e, ERR_UNSUPPORTED, "%s: weights are quantised (%s)", r->place,
                       how ? how : "quantization_config");
    }
    bool has_mlp_bias;
    if (get_bool(r, "mlp_bias", false, &has_mlp_bias) < 0)
        return r->e->code;
    if (has_mlp_bias)
        return err_set(r->e, ERR_UNSUPPORTED, "%s: mlp_bias is true", r->place);
    json_t *rope = json_object_get(r->root, "rope_parameters");
    bool is_inside = rope && !is_absent(rope, "partial_rotary_factor"); /* transformers >= 5 */
    double part;
    if (get_real(r, is_inside ? rope : r->root, "partial_rotary_factor", 1, &part) < 0)
        return r->e->code;
    if (part != 1)
        return err_set(r->e, ERR_UNSUPPORTED, "%s: partial_rotary_factor is %g, not 1",
                       r->place, part);
    return 0;
}

static int read_shape(struct reader *r, struct lm_config *c)
{
    json_t *o = r->root;
    if (get_int(r, o, "num_hidden_layers", -1, &c->n_layers) < 0 ||
        get_int(r, o, "hidden_size", -1, &c->d_model) < 0 ||
        get_int(r, o, "num_attention_heads", -1, &c->n_heads) < 0 ||
        get_int(r, o, "intermediate_size", -1, &c->d_ff) < 0 ||
        get_int(r, o, "vocab_size", -1, &c->n_vocab) < 0 ||
        get_int(r, o, "max_position_embeddings", -1, &c->max_positions) < 0 ||
        get_int(r, o, "num_key_value_heads", c->n_heads, &c->n_kv_heads) < 0)
        return r->e->code;
    int64_t K = c->n_heads > 0 ? c->d_model / c->n_heads : 0;
    bool is_default = c->family == LM_QWEN3 && !json_object_get(o, "head_dim");
    if (get_int(r, o, "head_dim", is_default ? 128 : K, &c->d_head) < 0 ||
        get_real(r, o, "rms_norm_eps", 1e-6, &c->norm_eps) < 0 ||
        get_bool(r, "tie_word_embeddings", false, &c->is_tied) < 0)
        return r->e->code;
    if (is_absent(o, "head_dim") && !is_default && K * c->n_heads != c->d_model)
        return err_set(r->e, ERR_FORMAT,
                       "%s: hidden_size %lld is not a multiple of num_attention_heads %lld",
                       r->place, (long long)c->d_model, (long long)c->n_heads);
    return 0;
}

static int read_root(struct reader *r, struct lm_config *c)
{
    if (read_family(r, c) < 0 || check_unsupported(r) < 0 || read_shape(r, c) < 0 ||
        read_rope(r, c) < 0 || check_window(r, c) < 0)
        return r->e->code;
    bool has_bias = false;
    if (c->family == LM_LLAMA || c->family == LM_QWEN3)
        if (get_bool(r, "attention_bias", false, &has_bias) < 0)
            return r->e->code;
    c->has_qkv_bias = has_bias || c->family == LM_QWEN2;
    c->has_o_bias = has_bias;
    c->has_qk_norm = c->family == LM_QWEN3;
    return lm_config_check(c, r->place, r->e);
}

int lm_config_read_hf(struct lm_config *c, const char *dir, struct err *e)
{
    char *path = mem_printf("%s/config.json", dir), *text = NULL;
    size_t len;
    json_error_t je;
    struct err local = ERR_INIT;
    struct reader r = {path, NULL, e ? e : &local};

    memset(c, 0, sizeof *c);
    int code = file_read_all(path, &text, &len, r.e);
    if (code < 0)
        goto out;
    r.root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &je);
    if (!r.root)
        code = err_set(r.e, ERR_FORMAT, "%s:%d: %s", path, je.line, je.text);
    else if (!json_is_object(r.root))
        code = err_set(r.e, ERR_FORMAT, "%s: not a JSON object", path);
    else
        code = read_root(&r, c);
out:
    json_decref(r.root);
    free(text);
    free(path);
    return code < 0 ? code : 0;
}

/* ---- sizes ---- */

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

/* ---- writing ---- */

/* The shortest text that reads back as the same float: 1e-05, not 9.99999975e-06. */
static void put_real(struct buf *b, const char *before, double v, const char *after)
{
    char text[40];
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v || (float)strtod(text, NULL) == (float)v)
            break;
    }
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
    bool is_llama3 = c->rope_scaling == LM_ROPE_LLAMA3;
    put_real(b, "  \"rope_scaling\": {\n    \"factor\": ", c->rope_factor, ",\n");
    if (is_llama3) {
        put_real(b, "    \"high_freq_factor\": ", c->rope_high_freq, ",\n");
        put_real(b, "    \"low_freq_factor\": ", c->rope_low_freq, ",\n");
        buf_printf(b, "    \"original_max_position_embeddings\": %lld,\n",
                   (long long)c->rope_original_positions);
    }
    buf_printf(b, "    \"rope_type\": \"%s\"\n  },\n", is_llama3 ? "llama3" : "linear");
}

char *lm_config_write_hf(const struct lm_config *c)
{
    struct buf b = {0};
    buf_printf(&b, "{\n  \"architectures\": [\n    \"%s\"\n  ],\n",
               families[c->family].architecture);
    if (c->family == LM_LLAMA || c->family == LM_QWEN3)
        buf_printf(&b, "  \"attention_bias\": %s,\n", c->has_qkv_bias ? "true" : "false");
    buf_printf(&b, "  \"head_dim\": %lld,\n  \"hidden_act\": \"silu\",\n",
               (long long)c->d_head);
    buf_printf(&b, "  \"hidden_size\": %lld,\n  \"intermediate_size\": %lld,\n",
               (long long)c->d_model, (long long)c->d_ff);
    buf_printf(&b, "  \"max_position_embeddings\": %lld,\n", (long long)c->max_positions);
    if (c->family == LM_LLAMA)
        buf_puts(&b, "  \"mlp_bias\": false,\n");
    buf_printf(&b, "  \"model_type\": \"%s\",\n", families[c->family].model_type);
    buf_printf(&b, "  \"num_attention_heads\": %lld,\n  \"num_hidden_layers\": %lld,\n",
               (long long)c->n_heads, (long long)c->n_layers);
    buf_printf(&b, "  \"num_key_value_heads\": %lld,\n", (long long)c->n_kv_heads);
    put_real(&b, "  \"rms_norm_eps\": ", c->norm_eps, ",\n");
    put_rope(&b, c);
    if (c->family != LM_LLAMA)
        buf_puts(&b, "  \"sliding_window\": null,\n");
    if (c->family == LM_QWEN2 || c->family == LM_QWEN3)
        buf_puts(&b, "  \"use_sliding_window\": false,\n");
    buf_printf(&b, "  \"tie_word_embeddings\": %s,\n  \"torch_dtype\": \"float32\",\n",
               c->is_tied ? "true" : "false");
    buf_printf(&b, "  \"use_cache\": true,\n  \"vocab_size\": %lld\n}\n",
               (long long)c->n_vocab);
    return buf_str(&b);
}
