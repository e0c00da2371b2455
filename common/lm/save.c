/* SPDX-License-Identifier: MIT
 * save: a whole model as a Hugging Face folder, adapters merged, in F32. */
#include "base/file.h"
#include "base/mem.h"
#include "lm/model.h"
#include "stream/st.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <jansson.h>

/* Published weights to `host`, laid end to end in table order. Frozen matrices that were packed
 * and not kept are read again; the file must still be the one that was loaded. */
static int collect(struct lm *m, float *host, struct err *e)
{
    struct lm_source *src = NULL;
    int code = 0;
    for (size_t i = 0; i < m->base.n && code >= 0; host += m->base.t[i++].n) {
        const struct lm_tensor *t = &m->base.t[i];
        if (t->offset >= 0) {
            m->d->ops->download(m->d, host, m->weights + t->offset, (size_t)t->n * 4);
            continue;
        }
        if (!src && !(src = lm_source_open(m->path, e)))
            return e->code;
        code = lm_source_read(src, t->p.name, t->p.n_dims, t->p.shape, host, e);
        if (code >= 0 && lm_tensor_hash(t, host) != t->hash)
            code = err_set(e, ERR_MISMATCH, "%s: tensor %s changed since it was loaded",
                           m->path, t->p.name);
    }
    lm_source_close(src);
    return code;
}

/* w [n_out, n_in] += scale * B [n_out, r] A [r, n_in], summed in double. */
static void merge_one(float *w, const float *a, const float *b, int64_t n_out, int64_t n_in,
                      int64_t r, double scale)
{
#pragma omp parallel for
    for (int64_t i = 0; i < n_out; i++)
        for (int64_t j = 0; j < n_in; j++) {
            double sum = 0;
            for (int64_t k = 0; k < r; k++)
                sum += (double)b[i * r + k] * (double)a[k * n_in + j];
            w[i * n_in + j] = (float)((double)w[i * n_in + j] + scale * sum);
        }
}

/* Adds each adapter to the weight whose name it extends. */
static void merge(struct lm *m, float *host)
{
    size_t bytes = (size_t)m->lora.n_floats * sizeof(float);
    float *adapter = mem_aligned(bytes);
    m->d->ops->download(m->d, adapter, m->adapter, bytes);
    for (size_t i = 0; i < m->base.n; host += m->base.t[i++].n) {
        const struct lm_tensor *w = &m->base.t[i];
        size_t stem = strlen(w->p.name) - strlen("weight");
        const float *a = NULL, *b = NULL;
        for (size_t k = 0; k < m->lora.n && w->is_matrix; k++) {
            const struct lm_tensor *t = &m->lora.t[k];
            if (strncmp(t->p.name, w->p.name, stem) != 0)
                continue;
            if (!strcmp(t->p.name + stem, "lora_A.weight"))
                a = adapter + t->offset;
            else
                b = adapter + t->offset;
        }
        if (a && b)
            merge_one(host, a, b, w->p.shape[0], w->p.shape[1], m->o.lora_rank,
                      m->o.lora_alpha / (double)m->o.lora_rank);
    }
    free(adapter);
}

static int write_weights(struct lm *m, const char *dir, struct err *e)
{
    int64_t n = 0, at = 0;
    for (size_t i = 0; i < m->base.n; i++)
        n += m->base.t[i].n;
    lm_acts_free(m); /* makes room for the copy; the next batch takes them again */
    float *host = mem_aligned((size_t)n * sizeof *host);
    int code = collect(m, host, e);
    if (code >= 0) {
        if (m->has_lora)
            merge(m, host);
        struct st_msg *msg = st_msg_new();
        st_msg_set_meta(msg, "format", "pt");
        for (size_t i = 0; i < m->base.n; at += m->base.t[i++].n) {
            const struct lm_param *p = &m->base.t[i].p;
            st_msg_add(msg, p->name, ST_F32, p->n_dims, p->shape, host + at);
        }
        char *path = mem_printf("%s/model.safetensors", dir);
        code = st_write(path, ST_PLAIN, msg, e);
        free(path);
        st_msg_free(msg);
    }
    free(host);
    return code;
}

/* The original's own config.json (it names special tokens and more) with the new dtype; from a
 * GGUF, one written from what we know. */
static int write_config(const struct lm *m, const char *dir, const char *like, struct err *e)
{
    char *path = mem_printf("%s/config.json", dir), *text = NULL;
    json_t *o = NULL;
    if (like) {
        char *from = mem_printf("%s/config.json", like);
        o = json_load_file(from, JSON_REJECT_DUPLICATES, NULL);
        free(from);
    }
    if (o) {
        const char *key = json_object_get(o, "dtype") ? "dtype" : "torch_dtype";
        json_object_set_new(o, key, json_string("float32"));
        if (!m->c.is_tied && json_is_true(json_object_get(o, "tie_word_embeddings")))
            json_object_set_new(o, "tie_word_embeddings", json_false());
        text = json_dumps(o, JSON_INDENT(2));
    } else {
        text = lm_config_write_hf(&m->c);
    }
    int code = file_write_all(path, text, strlen(text), e);
    json_decref(o);
    free(text);
    free(path);
    return code;
}

static int copy_file(const char *from_dir, const char *to_dir, const char *name, struct err *e)
{
    char *from = mem_printf("%s/%s", from_dir, name), *to = mem_printf("%s/%s", to_dir, name);
    char *data = NULL;
    size_t len;
    int code = 0;
    if (file_exists(from)) {
        code = file_read_all(from, &data, &len, e);
        if (code >= 0)
            code = file_write_all(to, data, len, e);
    }
    free(data);
    free(from);
    free(to);
    return code;
}

int lm_save_model(struct lm *m, const char *dir, const char *like, struct err *e)
{
    static const char *const companions[] = {"tokenizer.json",
                                             "tokenizer_config.json",
                                             "special_tokens_map.json",
                                             "tokenizer.model",
                                             "vocab.json",
                                             "merges.txt",
                                             "added_tokens.json",
                                             "chat_template.jinja",
                                             "generation_config.json"};
    struct err local = ERR_INIT;
    struct stat st, to;
    e = e ? e : &local;
    if (like && (stat(like, &st) != 0 || !S_ISDIR(st.st_mode)))
        like = NULL; /* a GGUF has no companions */
    int code = file_mkdirs(dir, e);
    if (code < 0)
        return code;
    if (like && stat(dir, &to) == 0 && to.st_dev == st.st_dev && to.st_ino == st.st_ino)
        return err_set(e, ERR_RANGE, "%s: is the model that is being saved", dir);
    if ((code = write_weights(m, dir, e)) < 0 || (code = write_config(m, dir, like, e)) < 0)
        return code;
    for (size_t i = 0; like && i < sizeof companions / sizeof *companions && code >= 0; i++)
        code = copy_file(like, dir, companions[i], e);
    return code < 0 ? code : 0;
}
