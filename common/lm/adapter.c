/* SPDX-License-Identifier: MIT
 * adapter: LoRA adapters of a model, written and read; adapter_file.h has their layout. */
#include "base/file.h"
#include "base/mem.h"
#include "lm/adapter_file.h"
#include "lm/model.h"
#include "stream/model_path.h"
#include "stream/st.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

/* ---- writing ---- */

static int write_config(const struct lm *m, const char *dir, const char *base_name,
                        struct err *e)
{
    json_t *targets = json_array();
    for (int i = 0; i < LM_N_PROJECTIONS; i++)
        if (m->o.lora_targets >> i & 1)
            json_array_append_new(targets, json_string(lm_projection_names[i]));
    double alpha = m->o.lora_alpha;
    json_t *a = alpha == floor(alpha) ? json_integer((json_int_t)alpha) : json_real(alpha);
    const char *revision = NULL;
    size_t n_name = base_name ? model_path_name(base_name, &revision) : 0;
    char *name = base_name ? mem_printf("%.*s", (int)n_name, base_name) : NULL;
    json_t *o = json_pack(
        "{s:s?, s:s*, s:s, s:b, s:b, s:b, s:o, s:f, s:n, s:s, s:I, s:o, s:s, s:b, s:b}",
        "base_model_name_or_path", name, "revision", revision, "bias", "none", "fan_in_fan_out",
        0, "inference_mode", 1, "init_lora_weights", 1, "lora_alpha", a, "lora_dropout", 0.0,
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
    free(name);
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
        char *name = mem_printf(LM_ADAPTER_PREFIX "%s", t->p.name);
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

static const struct st_tensor *find(const struct st_msg *msg, const struct lm_tensor *t)
{
    char *name = mem_printf(LM_ADAPTER_PREFIX "%s", t->p.name);
    const struct st_tensor *s = st_msg_find(msg, name);
    free(name);
    return s;
}

/* The file need not adapt a projection in every layer, but must have both its matrices. */
static int check_pair(const struct lm *m, const struct lm_adapter_file *f,
                      const struct lm_tensor *t, struct err *e)
{
    size_t stem = strlen(t->p.name) - strlen("A.weight");
    for (size_t i = 0; i < m->lora.n; i++)
        if (!strncmp(m->lora.t[i].p.name, t->p.name, stem) && find(f->msg, &m->lora.t[i]))
            return err_set(e, ERR_FORMAT, "%s: tensor " LM_ADAPTER_PREFIX "%s is missing",
                           f->path, t->p.name);
    return 0;
}

static int check_all_known(const struct lm *m, const struct lm_adapter_file *f, struct err *e)
{
    const size_t skip = strlen(LM_ADAPTER_PREFIX);
    for (int64_t i = 0; i < st_msg_n_tensors(f->msg); i++) {
        const char *name = st_msg_at(f->msg, i)->name;
        bool is_known = false;
        for (size_t k = 0; k < m->lora.n && !is_known; k++)
            is_known = !strncmp(name, LM_ADAPTER_PREFIX, skip) &&
                       !strcmp(name + skip, m->lora.t[k].p.name);
        if (!is_known)
            return err_set(e, ERR_UNSUPPORTED, "%s: tensor %s fits no projection of the model",
                           f->path, name);
    }
    return 0;
}

/* One tensor, of its own rank, to its place among those of the largest. */
static int read_tensor(const struct lm_adapter_file *f, const struct lm_tensor *t,
                       const struct st_tensor *s, float *dst, struct err *e)
{
    bool is_a = strstr(t->p.name, ".lora_A.") != NULL;
    int64_t rank, full = f->rank;
    double times;
    if (lm_adapter_file_scale(f, t->p.name, &rank, &times, e) < 0)
        return e->code;
    int64_t n_rows = is_a ? rank : t->p.shape[0], n_cols = is_a ? t->p.shape[1] : rank;
    if (s->n_dims != 2 || s->shape[0] != n_rows || s->shape[1] != n_cols || rank > full)
        return err_set(e, ERR_MISMATCH,
                       "%s: tensor %s is [%lld, %lld], expected "
                       "[%lld, %lld]",
                       f->path, s->name, (long long)s->shape[0], (long long)s->shape[1],
                       (long long)n_rows, (long long)n_cols);
    float *own = mem_alloc((size_t)(n_rows * n_cols), sizeof *own);
    int code = st_to_f32(own, s->data, s->dtype, (size_t)(n_rows * n_cols), e);
    int64_t width = is_a ? n_cols : full;
    for (int64_t i = 0; code >= 0 && i < n_rows; i++)
        for (int64_t k = 0; k < n_cols; k++)
            dst[i * width + k] =
                is_a ? own[i * n_cols + k] : own[i * n_cols + k] * (float)times;
    free(own);
    return code < 0 ? err_prefix(e, "%s: tensor %s", f->path, s->name) : 0;
}

/* Values of every adapter tensor to `host`, which is zero, laid out as the table says. A
 * projection that the file does not adapt in some layer stays zero there: both A and B, so
 * that training leaves it, too. */
static int read_tensors(const struct lm *m, const struct lm_adapter_file *f, float *host,
                        struct err *e)
{
    int code;
    for (size_t i = 0; i < m->lora.n; i++) {
        const struct lm_tensor *t = &m->lora.t[i];
        const struct st_tensor *s = find(f->msg, t);
        if (!s && (code = check_pair(m, f, t, e)) < 0)
            return code;
        if (!s)
            continue;
        if ((code = read_tensor(f, t, s, host + t->offset, e)) < 0)
            return code;
    }
    return check_all_known(m, f, e);
}

/* Gives the model an adapter of the file's shape when it has none, or holds its own against it:
 * a model opened for training keeps its optimiser's layout. */
static int fit(struct lm *m, const struct lm_adapter_file *f, struct err *e)
{
    const char *path = f->path;
    int64_t rank = f->rank;
    double alpha = f->alpha;
    unsigned targets = f->targets;
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

static int load(struct lm *m, const struct lm_adapter_file *f, struct err *e)
{
    size_t bytes = (size_t)m->lora.n_floats * sizeof(float);
    float *host = mem_zalloc(bytes, 1);
    uint64_t hash = 0;
    int code = read_tensors(m, f, host, e);
    if (code >= 0 && (code = lm_adapter_file_hash(f, &hash, e)) >= 0) {
        m->d->ops->upload(m->d, m->adapter, host, bytes);
        lm_lora_refresh(m);
        m->adapter_hash = hash;
    }
    free(host);
    return code;
}

int lm_load_adapter(struct lm *m, const char *dir, struct err *e)
{
    struct err local = ERR_INIT;
    struct lm_adapter_file f;
    e = e ? e : &local;
    int code = lm_adapter_file_open(&f, dir, e);
    if (code < 0)
        return code;
    code = fit(m, &f, e);
    if (code >= 0)
        code = load(m, &f, e);
    lm_adapter_file_close(&f);
    return code < 0 ? code : 0;
}

uint64_t lm_adapter_hash(const struct lm *m)
{
    return m->adapter_hash;
}
