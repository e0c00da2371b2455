/* SPDX-License-Identifier: MIT
 * adapter_file: adapters' folders, read and identified; see adapter_file.h. */
#include "lm/adapter_file.h"

#include "base/mem.h"
#include "lm/adapter_pattern.h"
#include "lm/json_file.h"
#include "lm/lm.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

/* ---- the configuration ---- */

/* False, null, empty and absent all mean "off". */
static bool is_on(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    if (!v || json_is_null(v) || json_is_false(v))
        return false;
    if (json_is_object(v))
        return json_object_size(v) > 0;
    if (json_is_array(v))
        return json_array_size(v) > 0;
    return true;
}

/* Initialisations that also change the base model's weights, which the adapter then needs. */
static bool is_init_of_base(const char *init)
{
    static const char *const names[] = {"pissa", "olora", "corda", "loftq", "lora_ga"};
    for (size_t i = 0; init && i < sizeof names / sizeof *names; i++)
        if (!strncmp(init, names[i], strlen(names[i])))
            return true;
    return false;
}

static int check_config(const json_t *o, const char *path, struct err *e)
{
    static const char *const refused[] = {"use_dora",          "modules_to_save",
                                          "lora_bias",         "fan_in_fan_out",
                                          "target_parameters", "trainable_token_indices",
                                          "layer_replication", "alora_invocation_tokens",
                                          "use_qalora",        "use_bdlora",
                                          "arrow_config",      "kasa_config",
                                          "velora_config",     "monteclora_config"};
    const char *init = json_string_value(json_object_get(o, "init_lora_weights"));
    const char *type = json_string_value(json_object_get(o, "peft_type"));
    const char *bias = json_string_value(json_object_get(o, "bias"));
    if (!type || strcmp(type, "LORA") != 0)
        return err_set(e, ERR_UNSUPPORTED, "%s: peft_type \"%s\" is not LORA", path,
                       type ? type : "(none)");
    if (bias && strcmp(bias, "none") != 0)
        return err_set(e, ERR_UNSUPPORTED, "%s: bias \"%s\" is not none", path, bias);
    if (is_init_of_base(init))
        return err_set(e, ERR_UNSUPPORTED,
                       "%s: init_lora_weights \"%s\" changes the base model's weights", path,
                       init);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (is_on(o, refused[i]))
            return err_set(e, ERR_UNSUPPORTED, "%s: %s is set, which is not supported", path,
                           refused[i]);
    return 0;
}

static bool has_patterns(const json_t *o)
{
    return is_on(o, "rank_pattern") || is_on(o, "alpha_pattern");
}

/* rank and alpha as the file has them. */
static int read_config(struct lm_adapter_file *f, const char *dir, struct err *e)
{
    char *path = mem_printf("%s/adapter_config.json", dir);
    json_t *o = f->config = lm_json_read(path, e);
    int code = o ? check_config(o, path, e) : e->code;
    json_t *r = json_object_get(o, "r"), *a = json_object_get(o, "lora_alpha");
    if (code >= 0 && (!json_is_integer(r) || !json_is_number(a) || json_integer_value(r) < 1 ||
                      json_integer_value(r) > 4096 || !(json_number_value(a) > 0)))
        code = err_set(e, ERR_FORMAT, "%s: \"r\" and \"lora_alpha\" must be positive numbers",
                       path);
    if (code >= 0) {
        f->rank = (int64_t)json_integer_value(r);
        f->alpha = json_number_value(a);
    }
    free(path);
    return code < 0 ? code : 0;
}

/* What the product of A and B is multiplied by. */
static double scale_of(const struct lm_adapter_file *f, int64_t rank, double alpha)
{
    double r = (double)rank;
    return alpha / (is_on(f->config, "use_rslora") ? sqrt(r) : r);
}

int lm_adapter_file_scale(const struct lm_adapter_file *f, const char *name, int64_t *rank,
                          double *times, struct err *e)
{
    double alpha = json_number_value(json_object_get(f->config, "lora_alpha"));
    *rank = (int64_t)json_integer_value(json_object_get(f->config, "r"));
    *times = 1;
    if (!has_patterns(f->config))
        return 0;
    size_t n = strlen(name) - strlen(".lora_A.weight");
    char *module = mem_strndup(name, n);
    int code = lm_adapter_pattern(f->config, f->path, module, rank, &alpha, e);
    free(module);
    if (code >= 0)
        *times = scale_of(f, *rank, alpha) / (f->alpha / (double)f->rank);
    return code;
}

/* ---- the tensors ---- */

static unsigned targets_of(const struct st_msg *msg)
{
    unsigned targets = 0;
    for (int64_t i = 0; i < st_msg_n_tensors(msg); i++) {
        const char *name = st_msg_at(msg, i)->name;
        for (int k = 0; k < LM_N_PROJECTIONS; k++) {
            const char *at = strstr(name, lm_projection_names[k]);
            if (at && !strncmp(at + strlen(lm_projection_names[k]), ".lora_A", 7))
                targets |= 1U << k;
        }
    }
    return targets;
}

/* Older adapters are pickles. */
static int refuse_pickle(const char *path, const char *dir, struct err *e)
{
    char *pickle = mem_printf("%s/adapter_model.bin", dir);
    int code = 0;
    if (!file_exists(path) && file_exists(pickle))
        code = err_set(
            e, ERR_UNSUPPORTED,
            "%s: a pickle, which is not read: peft saves it as adapter_model.safetensors",
            pickle);
    free(pickle);
    return code;
}

/* The largest rank, and the alpha that gives the same scale with it. */
static void widen(struct lm_adapter_file *f)
{
    double scale = scale_of(f, f->rank, f->alpha);
    for (int64_t i = 0; has_patterns(f->config) && i < st_msg_n_tensors(f->msg); i++) {
        const struct st_tensor *t = st_msg_at(f->msg, i);
        if (strstr(t->name, ".lora_A.weight") && t->n_dims == 2 && t->shape[0] > f->rank)
            f->rank = t->shape[0];
    }
    f->alpha = scale * (double)f->rank;
}

int lm_adapter_file_open(struct lm_adapter_file *f, const char *dir, struct err *e)
{
    *f = (struct lm_adapter_file){.path = mem_printf("%s/adapter_model.safetensors", dir)};
    int code = read_config(f, dir, e);
    if (code >= 0)
        code = refuse_pickle(f->path, dir, e);
    if (code < 0 || (code = file_map_open(&f->map, f->path, e)) < 0)
        goto fail;
    f->msg = st_msg_parse(f->map.data, f->map.len, f->path, e);
    if (!f->msg) {
        code = e->code;
        goto fail;
    }
    widen(f);
    f->targets = targets_of(f->msg);
    if (f->targets)
        return 0;
    code = err_set(e, ERR_EMPTY, "%s: no adapter of a projection that we know", f->path);
fail:
    lm_adapter_file_close(f);
    return code;
}

void lm_adapter_file_close(struct lm_adapter_file *f)
{
    st_msg_free(f->msg);
    if (f->map.data)
        file_map_close(&f->map);
    json_decref(f->config);
    free(f->path);
    *f = (struct lm_adapter_file){0};
}

/* ---- identity ---- */

static int by_name(const void *a, const void *b)
{
    const struct st_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

/* *hash becomes that of the tensors so far and this one. */
static int hash_tensor(const struct st_tensor *t, uint64_t *hash, struct err *e)
{
    size_t n = t->len / st_dtype_size(t->dtype);
    float *values = mem_alloc(n, sizeof *values);
    int code = st_to_f32(values, t->data, t->dtype, n, e);
    if (code >= 0) {
        *hash = XXH64(t->name, strlen(t->name), *hash);
        *hash = XXH64(t->shape, (size_t)t->n_dims * sizeof *t->shape, *hash);
        *hash = XXH64(values, n * sizeof *values, *hash);
    }
    free(values);
    return code;
}

int lm_adapter_file_hash(const struct lm_adapter_file *f, uint64_t *hash, struct err *e)
{
    size_t n = (size_t)st_msg_n_tensors(f->msg);
    const struct st_tensor **t = mem_alloc(n, sizeof(void *));
    int code = 0;
    for (size_t i = 0; i < n; i++)
        t[i] = st_msg_at(f->msg, (int64_t)i);
    qsort(t, n, sizeof(void *), by_name);
    uint64_t h = XXH64(&f->rank, sizeof f->rank, 0);
    h = XXH64(&f->alpha, sizeof f->alpha, h);
    for (size_t i = 0; i < n && code >= 0; i++)
        if ((code = hash_tensor(t[i], &h, e)) < 0)
            err_prefix(e, "%s: tensor %s", f->path, t[i]->name);
    free(t);
    if (has_patterns(f->config)) {
        json_t *both = json_pack("[O?O?]", json_object_get(f->config, "rank_pattern"),
                                 json_object_get(f->config, "alpha_pattern"));
        char *text = json_dumps(both, JSON_COMPACT);
        h = XXH64(text, strlen(text), h);
        free(text);
        json_decref(both);
    }
    *hash = h ? h : 1;
    return code < 0 ? code : 0;
}

int lm_adapter_identify(const char *dir, uint64_t *hash, struct err *e)
{
    struct err local = ERR_INIT;
    struct lm_adapter_file f;
    e = e ? e : &local;
    int code = lm_adapter_file_open(&f, dir, e);
    if (code < 0)
        return code;
    code = lm_adapter_file_hash(&f, hash, e);
    lm_adapter_file_close(&f);
    return code;
}
