/* SPDX-License-Identifier: MIT
 * config: config.json of Hugging Face folders, read; see config.h. */
#include "lm/config.h"

#include "base/file.h"
#include "base/mem.h"
#include "lm/config_check.h"
#include "lm/json_file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

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

static int get_bool(struct reader *r, json_t *o, const char *key, bool missing, bool *v)
{
    json_t *x = json_object_get(o, key);
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
    c->family = type ? lm_family_find(type, name) : NULL;
    if (c->family)
        return 0;
    char *known = lm_family_list(false);
    int code =
        err_set(r->e, ERR_UNSUPPORTED, "%s: architecture %s (model_type %s) is not one of %s",
                r->place, name ? name : "(none)", type ? type : "(none)", known);
    free(known);
    return code;
}

static int read_yarn(struct reader *r, json_t *p, struct lm_config *c)
{
    double mscale, mscale_all;
    if (get_real(r, p, "beta_fast", 0, &c->rope_fast) < 0 ||
        get_real(r, p, "beta_slow", 0, &c->rope_slow) < 0 ||
        get_real(r, p, "mscale", 0, &mscale) < 0 ||
        get_real(r, p, "mscale_all_dim", 0, &mscale_all) < 0 ||
        get_real(r, p, "attention_factor", lm_rope_attention(c->rope_factor),
                 &c->rope_attention) < 0 ||
        get_bool(r, p, "truncate", true, &c->is_rope_truncated) < 0)
        return r->e->code;
    c->rope_fast = c->rope_fast == 0 ? 32 : c->rope_fast; /* as transformers: 0 is none */
    c->rope_slow = c->rope_slow == 0 ? 1 : c->rope_slow;
    if (mscale != 0 && mscale_all != 0 && is_absent(p, "attention_factor"))
        c->rope_attention = (1 + mscale * (lm_rope_attention(c->rope_factor) - 1)) /
                            (1 + mscale_all * (lm_rope_attention(c->rope_factor) - 1));
    return 0;
}

/* What the scaling named by rope_type is made of. The original context is the context where the
 * file does not say what it was. */
static int read_scaling(struct reader *r, json_t *p, struct lm_config *c)
{
    if (get_real(r, p, "factor", (double)NAN, &c->rope_factor) < 0)
        return r->e->code;
    if (c->rope_scaling == LM_ROPE_LLAMA3 &&
        (get_real(r, p, "low_freq_factor", (double)NAN, &c->rope_low_freq) < 0 ||
         get_real(r, p, "high_freq_factor", (double)NAN, &c->rope_high_freq) < 0))
        return r->e->code;
    if (c->rope_scaling != LM_ROPE_LINEAR &&
        get_int(r, p, "original_max_position_embeddings", c->max_positions,
                &c->rope_original_positions) < 0)
        return r->e->code;
    return c->rope_scaling == LM_ROPE_YARN ? read_yarn(r, p, c) : 0;
}

/* transformers >= 5 writes rope_parameters, older ones rope_scaling. NULL: neither. */
static int find_rope(struct reader *r, json_t **p)
{
    static const char *const keys[] = {"rope_parameters", "rope_scaling"};
    *p = NULL;
    for (int i = 0; i < 2 && !*p; i++) {
        json_t *x = json_object_get(r->root, keys[i]), *part;
        const char *name;
        if (is_absent(r->root, keys[i]))
            continue;
        if (!json_is_object(x))
            return err_set(r->e, ERR_FORMAT, "%s: \"%s\" is not an object", r->place, keys[i]);
        json_object_foreach(x, name, part)
        {
            if (json_is_object(part))
                return err_set(r->e, ERR_UNSUPPORTED,
                               "%s: \"%s\" is by types of layers (%s), which is not supported",
                               r->place, keys[i], name);
        }
        *p = x;
    }
    return 0;
}

/* "a, b or c" of the types that are known. */
static char *rope_types(void)
{
    struct buf b = {0};
    for (int i = 0; i < LM_N_ROPE_SCALINGS; i++)
        buf_printf(&b, "%s%s",
                   i + 1 == LM_N_ROPE_SCALINGS ? " or "
                   : i                         ? ", "
                                               : "",
                   lm_rope_names[i]);
    return buf_str(&b);
}

static int read_rope(struct reader *r, struct lm_config *c)
{
    json_t *p;
    if (find_rope(r, &p) < 0)
        return r->e->code;
    json_t *theta_in = p && !is_absent(p, "rope_theta") ? p : r->root;
    if (get_real(r, theta_in, "rope_theta", 10000, &c->rope_theta) < 0)
        return r->e->code;
    const char *key = is_absent(p, "rope_type") ? "type" : "rope_type";
    const char *type = get_string(p, key);
    if (!type && !is_absent(p, key))
        return err_set(r->e, ERR_FORMAT, "%s: \"%s\" of the rotation is not a name", r->place,
                       key);
    if (!type || !strcmp(type, "default"))
        return 0;
    for (int i = LM_ROPE_NONE + 1; i < LM_N_ROPE_SCALINGS; i++)
        if (!strcmp(type, lm_rope_names[i]))
            c->rope_scaling = (enum lm_rope_scaling)i;
    if (c->rope_scaling != LM_ROPE_NONE)
        return read_scaling(r, p, c);
    char *known = rope_types();
    err_set(r->e, ERR_UNSUPPORTED, "%s: rope type \"%s\" is not %s", r->place, type, known);
    free(known);
    return r->e->code;
}

/* Some families apply a window unless it is null; others only with use_sliding_window, or by
 * layer_types in newer files. A file that does not name it means transformers' default: 4096.
 */
static int read_window(struct reader *r, struct lm_config *c)
{
    bool is_used = c->family->window == LM_WINDOW_ALWAYS;
    int64_t window = 4096;
    json_t *types = json_object_get(r->root, "layer_types"), *type;
    size_t i;
    if (!is_used && get_bool(r, r->root, "use_sliding_window", false, &is_used) < 0)
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
    if (window < 1)
        return err_set(r->e, ERR_RANGE, "%s: a sliding window of %lld", r->place,
                       (long long)window);
    c->n_window = window < c->max_positions ? window : 0;
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
    if (get_bool(r, r->root, "mlp_bias", false, &has_mlp_bias) < 0)
        return r->e->code;
    if (has_mlp_bias)
        return err_set(r->e, ERR_UNSUPPORTED, "%s: mlp_bias is true", r->place);
    json_t *rope = json_object_get(r->root, "rope_parameters");
    bool is_inside = rope && !is_absent(rope, "partial_rotary_factor"); /* transformers >= 5 */
    double part = 1;
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
    bool is_default = c->family->default_d_head && !json_object_get(o, "head_dim");
    if (get_int(r, o, "head_dim", is_default ? c->family->default_d_head : K, &c->d_head) < 0 ||
        get_real(r, o, "rms_norm_eps", 1e-6, &c->norm_eps) < 0 ||
        get_bool(r, r->root, "tie_word_embeddings", false, &c->is_tied) < 0)
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
        read_rope(r, c) < 0 || read_window(r, c) < 0)
        return r->e->code;
    bool has_bias = false;
    if (c->family->bias == LM_BIAS_BY_KEY)
        if (get_bool(r, r->root, "attention_bias", false, &has_bias) < 0)
            return r->e->code;
    c->has_qkv_bias = has_bias || c->family->bias == LM_BIAS_QKV;
    c->has_o_bias = has_bias;
    c->has_qk_norm = c->family->has_qk_norm;
    return lm_config_check(c, r->place, r->e);
}

/* A folder without config.json is something else, which may be told. */
static int refuse_folder(const char *dir, struct err *e)
{
    static const struct {
        const char *file, *what;
    } known[] = {
        {"adapter_config.json", "an adapter, not a model: the model is what it was trained on"},
        {"model_index.json", "a diffusion model"},
        {"params.json", "Meta's or Mistral's own format: convert it with transformers"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        char *path = mem_printf("%s/%s", dir, known[i].file);
        bool is_there = file_exists(path);
        free(path);
        if (is_there)
            return err_set(e, ERR_FORMAT, "%s: has no config.json, but %s: %s", dir,
                           known[i].file, known[i].what);
    }
    return err_set(e, ERR_FORMAT, "%s: has no config.json, so it is no model's folder", dir);
}

int lm_config_read_hf(struct lm_config *c, const char *dir, struct err *e)
{
    struct err local = ERR_INIT;
    memset(c, 0, sizeof *c);
    e = e ? e : &local;
    char *path = mem_printf("%s/config.json", dir);
    struct reader r = {path, NULL, e};
    int code = file_exists(path) ? 0 : refuse_folder(dir, e);
    if (code >= 0) {
        r.root = lm_json_read(path, e);
        code = r.root ? read_root(&r, c) : e->code;
    }
    json_decref(r.root);
    free(path);
    return code < 0 ? code : 0;
}
