/* SPDX-License-Identifier: MIT
 * family: the table of model families; see family.h. */
#include "lm/family.h"

#include "base/mem.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

static const struct lm_family families[] = {
    {.model_type = "llama",
     .architecture = "LlamaForCausalLM",
     .gguf = "llama", /* mistral's, too */
     .bias = LM_BIAS_BY_KEY,
     .has_mlp_bias_key = true,
     .is_gguf_permuted = true},
    {.model_type = "mistral", .architecture = "MistralForCausalLM", .window = LM_WINDOW_ALWAYS},
    {.model_type = "qwen2",
     .architecture = "Qwen2ForCausalLM",
     .gguf = "qwen2",
     .bias = LM_BIAS_QKV,
     .window = LM_WINDOW_BY_KEY},
    {.model_type = "qwen3",
     .architecture = "Qwen3ForCausalLM",
     .gguf = "qwen3",
     .bias = LM_BIAS_BY_KEY,
     .window = LM_WINDOW_BY_KEY,
     .has_qk_norm = true,
     .default_d_head = 128},
};
enum { N_FAMILIES = sizeof families / sizeof *families };

const struct lm_family *lm_family_at(size_t i)
{
    return i < N_FAMILIES ? &families[i] : NULL;
}

/* "LlamaForCausalLM", "LLaMAForCausalLM" in older files, or "LlamaModel", which is the same
 * without the classifier. */
static bool is_of(const struct lm_family *f, const char *architecture)
{
    size_t n = strlen(f->architecture) - strlen("ForCausalLM");
    return !strcasecmp(f->architecture, architecture) ||
           (!strncmp(f->architecture, architecture, n) && !strcmp(architecture + n, "Model"));
}

const struct lm_family *lm_family_find(const char *model_type, const char *architecture)
{
    for (const struct lm_family *f = families; f < families + N_FAMILIES; f++)
        if ((!model_type || !strcmp(f->model_type, model_type)) &&
            (!architecture || is_of(f, architecture)))
            return f;
    return NULL;
}

const struct lm_family *lm_family_find_gguf(const char *architecture)
{
    for (const struct lm_family *f = families; f < families + N_FAMILIES; f++)
        if (f->gguf && !strcmp(f->gguf, architecture))
            return f;
    return NULL;
}

char *lm_family_list(bool is_gguf)
{
    struct buf b = {0};
    for (const struct lm_family *f = families; f < families + N_FAMILIES; f++) {
        const char *name = is_gguf ? f->gguf : f->model_type;
        if (name)
            buf_printf(&b, "%s%s", b.len ? ", " : "", name);
    }
    return buf_str(&b);
}
