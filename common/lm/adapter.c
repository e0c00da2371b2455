/* SPDX-License-Identifier: MIT
 * adapter: LoRA adapters in PEFT's layout, written and read.
 *
 * adapter_model.safetensors holds "base_model.model.<published name>.lora_A.weight" [r, n_in]
 * and lora_B.weight [n_out, r]; adapter_config.json rank, alpha and the projections. What
 * changes the arithmetic (rank patterns, DoRA, biases, saved modules) is refused by name.
 * rsLoRA scales by alpha / sqrt(r): the same as alpha sqrt(r), and that is what it becomes
 * here. */
#include "base/file.h"
#include "base/mem.h"
#include "lm/model.h"
#include "stream/st.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

static const char prefix[] = "base_model.model.";
static const char *const projections[] = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                          "gate_proj", "up_proj", "down_proj"};
enum { N_PROJECTIONS = 7 };

/* ---- writing ---- */

static int write_config(const struct lm *m, const char *dir, const char *base_name,
                        struct err *e)
{
    json_t *targets = json_array();
    for (int i = 0; i < N_PROJECTIONS; i++)
        if (m->o.lora_targets >> i & 1)
            json_array_append_new(targets, json_string(projections[i]));
    double alpha = m->o.lora_alpha;
    json_t *a = alpha == floor(alpha) ? json_integer((json_int_t)alpha) : json_real(alpha);
    json_t *o = json_pack(
        "{s:s?, s:s, s:b, s:b, s:b, s:o, s:f, s:n, s:s, s:I, s:o, s:s, s:b, s:b}",
        "base_model_name_or_path", base_name, "bias", "none", "fan_in_fan_out", 0,
        "inference_mode", 1, "init_lora_weights", 1, "lora_alpha", a, "lora_dropout", 0.0,
        "modules_to_save", "peft_type", "LORA", "r", (json_int_t)m->o.lora_rank,
        "target_modules", targets, "task_type", "CAUSAL_LM", "use_dora", 0, "use_rslora", 0);
    char *text = json_dumps(o, JSON_INDENT(2) | JSON_SORT_KEYS);
    char *path = mem_printf("%s/adapter_config.json", dir);
    struct buf b = {0};
    buf_puts(&b, text);
    buf_putc(&b, '\n');
    int code = file_write_all(path, b.data, b.len, e);
    buf_free(&b);
    free(path);
    free(text);
    json_decref(o);
    return code;
}

int lm_save_adapter(struct lm *m, const char *dir, const char *base_name, struct err *e)
{
    if (!m->has_lora)
        return err_set(e, ERR_EMPTY, "%s: the model has no adapter to save", m->path);
    int code = file_mkdirs(dir, e);
    if (code < 0)
        return code;
    size_t bytes = (size_t)m->lora.n_floats * sizeof(float);
    float *host = mem_aligned(bytes);
    m->d->ops->download(m->d, host, m->adapter, bytes);
    struct st_msg *msg = st_msg_new();
    st_msg_set_meta(msg, "format", "pt");
    for (size_t i = 0; i < m->lora.n; i++) {
        const struct lm_tensor *t = &m->lora.t[i];
        char *name = mem_printf("%s%s", prefix, t->p.name);
        st_msg_add(msg, name, ST_F32, 2, t->p.shape, host + t->offset);
        free(name);
    }
    char *path = mem_printf("%s/adapter_model.safetensors", dir);
    code = st_write(path, ST_PLAIN, msg, e);
    if (code >= 0)
        code = write_config(m, dir, base_name, e);
    free(path);
    st_msg_free(msg);
    free(host);
    return code < 0 ? code : 0;
}

/* ---- reading ---- */

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
    static const char *const refused[] = {"use_dora",          "rank_pattern",
                                          "alpha_pattern",     "modules_to_save",
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

static int read_config(const char *dir, int64_t *rank, double *alpha, struct err *e)
{
    char *path = mem_printf("%s/adapter_config.json", dir), *text = NULL;
    size_t len;
    json_error_t je;
    json_t *o = NULL;
    int code = file_read_all(path, &text, &len, e);
    if (code < 0)
        goto out;
    o = json_loadb(text, len, JSON_REJECT_DUPLICATES, &je);
    if (!o) {
        code = err_set(e, ERR_FORMAT, "%s:%d: %s", path, je.line, je.text);
        goto out;
    }
    if ((code = check_config(o, path, e)) < 0)
        goto out;
    json_t *r = json_object_get(o, "r"), *a = json_object_get(o, "lora_alpha");
    if (!json_is_integer(r) || !json_is_number(a) || json_integer_value(r) < 1 ||
        json_integer_value(r) > 4096 || !(json_number_value(a) > 0)) {
        code = err_set(e, ERR_FORMAT, "%s: \"r\" and \"lora_alpha\" must be positive numbers",
                       path);
        goto out;
    }
    *rank = (int64_t)json_integer_value(r);
    *alpha = json_number_value(a) * (is_on(o, "use_rslora") ? sqrt((double)*rank) : 1);
out:
    json_decref(o);
    free(text);
    free(path);
    return code < 0 ? code : 0;
}

/* Projections that the file's tensors adapt in layer 0; the rest of the layers must agree, as
 * every tensor of the resulting table is then needed and no other allowed. */
static unsigned targets_of(const struct st_msg *msg)
{
    unsigned targets = 0;
    for (int64_t i = 0; i < st_msg_n_tensors(msg); i++) {
        const char *name = st_msg_at(msg, i)->name;
        for (int k = 0; k < N_PROJECTIONS; k++) {
            const char *at = strstr(name, projections[k]);
            if (at && !strncmp(at + strlen(projections[k]), ".lora_A", 7))
                targets |= 1U << k;
        }
    }
    return targets;
}

/* Values of every adapter tensor to `host`, laid out as the table says. */
static int read_tensors(const struct lm *m, const struct st_msg *msg, const char *path,
                        float *host, struct err *e)
{
    for (size_t i = 0; i < m->lora.n; i++) {
        const struct lm_tensor *t = &m->lora.t[i];
        char *name = mem_printf("%s%s", prefix, t->p.name);
        const struct st_tensor *s = st_msg_find(msg, name);
        free(name);
        if (!s)
            return err_set(e, ERR_FORMAT, "%s: tensor %s%s is missing", path, prefix,
                           t->p.name);
        if (s->n_dims != 2 || s->shape[0] != t->p.shape[0] || s->shape[1] != t->p.shape[1])
            return err_set(e, ERR_MISMATCH,
                           "%s: tensor %s is [%lld, %lld], expected "
                           "[%lld, %lld]",
                           path, s->name, (long long)s->shape[0], (long long)s->shape[1],
                           (long long)t->p.shape[0], (long long)t->p.shape[1]);
        if (st_to_f32(host + t->offset, s->data, s->dtype, (size_t)t->n, e) < 0)
            return err_prefix(e, "%s: tensor %s", path, s->name);
    }
    if (st_msg_n_tensors(msg) == (int64_t)m->lora.n)
        return 0;
    for (int64_t i = 0; i < st_msg_n_tensors(msg); i++) {
        const char *name = st_msg_at(msg, i)->name;
        bool is_known = false;
        for (size_t k = 0; k < m->lora.n && !is_known; k++)
            is_known = !strncmp(name, prefix, sizeof prefix - 1) &&
                       !strcmp(name + sizeof prefix - 1, m->lora.t[k].p.name);
        if (!is_known)
            return err_set(e, ERR_UNSUPPORTED, "%s: tensor %s fits no projection of the model",
                           path, name);
    }
    return 0;
}

/* Gives the model an adapter of the file's shape when it has none, or holds its own against it:
 * a model opened for training keeps its optimiser's layout. */
static int fit(struct lm *m, const char *path, int64_t rank, double alpha, unsigned targets,
               struct err *e)
{
    bool is_same = m->has_lora && m->o.lora_rank == rank && m->o.lora_targets == targets;
    if (m->o.tuning == LM_TUNE_FULL)
        return err_set(e, ERR_UNSUPPORTED, "%s: an adapter on a model opened for full tuning",
                       path);
    if (m->o.tuning == LM_TUNE_LORA && (!is_same || m->o.lora_alpha != alpha))
        return err_set(e, ERR_MISMATCH,
                       "%s: rank %lld, alpha %g, projections 0x%x; the model was opened with "
                       "rank %lld, alpha %g, projections 0x%x",
                       path, (long long)rank, alpha, targets, (long long)m->o.lora_rank,
                       m->o.lora_alpha, m->o.lora_targets);
    if (m->o.tuning == LM_TUNE_LORA)
        return 0;
    lm_lora_detach(m);
    lm_acts_free(m); /* their sizes depend on the rank */
    m->o.lora_rank = rank;
    m->o.lora_alpha = alpha;
    m->o.lora_targets = targets;
    return lm_lora_attach(m, e);
}

static int load(struct lm *m, const struct st_msg *msg, const char *path, struct err *e)
{
    size_t bytes = (size_t)m->lora.n_floats * sizeof(float);
    float *host = mem_zalloc(bytes, 1);
    int code = read_tensors(m, msg, path, host, e);
    if (code >= 0) {
        m->d->ops->upload(m->d, m->adapter, host, bytes);
        lm_lora_refresh(m);
    }
    free(host);
    return code;
}

int lm_load_adapter(struct lm *m, const char *dir, struct err *e)
{
    struct err local = ERR_INIT;
    int64_t rank = 0;
    double alpha = 0;
    struct file_map map = {0};
    struct st_msg *msg = NULL;
    char *path = mem_printf("%s/adapter_model.safetensors", dir);

    e = e ? e : &local;
    int code = read_config(dir, &rank, &alpha, e);
    if (code < 0 || (code = file_map_open(&map, path, e)) < 0)
        goto out;
    msg = st_msg_parse(map.data, map.len, path, e);
    if (!msg) {
        code = e->code;
        goto out;
    }
    unsigned targets = targets_of(msg);
    if (!targets) {
        code = err_set(e, ERR_EMPTY, "%s: no adapter of a projection that we know", path);
        goto out;
    }
    code = fit(m, path, rank, alpha, targets, e);
    if (code >= 0)
        code = load(m, msg, path, e);
out:
    st_msg_free(msg);
    if (map.data)
        file_map_close(&map);
    free(path);
    return code < 0 ? code : 0;
}
