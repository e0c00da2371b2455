/* SPDX-License-Identifier: MIT
 * models: targets of what a model is made of: its folder's JSON, safetensors, GGUF. */
#include "base/mem.h"
#include "fuzz.h"
#include "lm/adapter_file.h"
#include "lm/config.h"
#include "lm/source.h"
#include "stream/gguf.h"
#include "stream/st.h"
#include "text/tok.h"

#include <stdlib.h>

bool run_config(const uint8_t *data, size_t len)
{
    struct err e = ERR_INIT;
    struct lm_config c;
    fuzz_put("config.json", data, len);
    return lm_config_read_hf(&c, fuzz_dir, &e) == 0;
}

/* model.safetensors.index.json of a folder that has one file of weights. */
bool run_index(const uint8_t *data, size_t len)
{
    static int is_there;
    struct err e = ERR_INIT;
    if (!is_there) {
        fuzz_copy("fixtures/lm/llama/model.safetensors", "model-1.safetensors");
        is_there = 1;
    }
    fuzz_copy("fixtures/lm/llama/config.json", "config.json");
    fuzz_put("model.safetensors.index.json", data, len);
    struct lm_source *s = lm_source_open(fuzz_dir, &e);
    if (s)
        (void)!lm_source_check(s, &e); /* nothing was read: always an error */
    bool is_read = s != NULL;
    lm_source_close(s);
    return is_read;
}

bool run_adapter(const uint8_t *data, size_t len)
{
    static int is_there;
    struct err e = ERR_INIT;
    struct lm_adapter_file f;
    uint64_t hash;
    if (!is_there) {
        fuzz_copy("fixtures/lm/llama/adapter/adapter_model.safetensors",
                  "adapter_model.safetensors");
        is_there = 1;
    }
    fuzz_put("adapter_config.json", data, len);
    if (lm_adapter_file_open(&f, fuzz_dir, &e) < 0)
        return false;
    int rc = lm_adapter_file_hash(&f, &hash, &e);
    lm_adapter_file_close(&f);
    return rc == 0;
}

bool run_safetensors(const uint8_t *data, size_t len)
{
    struct err e = ERR_INIT;
    struct st_msg *m = st_msg_parse(data, len, "m", &e);
    float *x = m && st_msg_n_tensors(m) ? mem_alloc(len + 8, sizeof *x) : NULL;
    for (int64_t i = 0; x && i < st_msg_n_tensors(m); i++) {
        const struct st_tensor *t = st_msg_at(m, i);
        (void)!st_to_f32(x, t->data, t->dtype, t->len / st_dtype_size(t->dtype), &e);
    }
    if (m)
        (void)st_msg_hash(m);
    free(x);
    bool is_read = m != NULL;
    st_msg_free(m);
    return is_read;
}

bool run_gguf(const uint8_t *data, size_t len)
{
    struct err e = ERR_INIT;
    struct lm_config c;
    char *path = fuzz_path("m.gguf");
    fuzz_put("m.gguf", data, len);
    struct gguf *g = gguf_open(path, &e);
    for (int64_t i = 0; g && i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        float *x = mem_alloc((size_t)t->n_values, sizeof *x);
        (void)!gguf_dequantize(x, t, &e);
        free(x);
    }
    if (g) {
        (void)!lm_config_read_gguf(&c, g, path, &e);
        struct tok *t = tok_load_gguf(g, path, &e);
        if (t)
            fuzz_encode(t, "It is 12 o'clock", 16);
        tok_free(t);
    }
    bool is_read = g != NULL;
    gguf_close(g);
    free(path);
    return is_read;
}
