/* SPDX-License-Identifier: MIT
 * tok_load: a tokenizer from wherever a model keeps it; see tok.h. A loader of another kind of
 * file gets its place here. */
#include "base/file.h"
#include "base/mem.h"
#include "stream/model_path.h"
#include "text/tok_json.h"

#include <stdbool.h>
#include <stdlib.h>

static struct tok *load_gguf_file(const char *path, struct err *e)
{
    struct gguf *g = gguf_open(path, e);
    struct tok *t = g ? tok_load_gguf(g, path, e) : NULL;
    gguf_close(g);
    return t;
}

struct tok *tok_load_json(const char *path, struct err *e)
{
    struct tok *t = tok_new();
    int rc = tok_json_read(t, path, e);
    if (rc == 0)
        rc = tok_read_beside(t, path, e);
    if (rc == 0 && (rc = tok_finish(t, e)) < 0)
        err_prefix(e, "%s", path);
    if (rc < 0) {
        tok_free(t);
        return NULL;
    }
    return t;
}

/* A tokenizer of another kind may be there, which transformers converts. */
static void refuse(const char *dir, struct err *e)
{
    static const char *const others[] = {"tokenizer.model", "tekken.json", "spiece.model",
                                         "vocab.json", "vocab.txt"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char *path = mem_printf("%s/%s", dir, others[i]);
        bool is_there = file_exists(path);
        free(path);
        if (is_there) {
            err_set(
                e, ERR_UNSUPPORTED,
                "%s: has %s, and no tokenizer.json: AutoTokenizer of transformers makes one "
                "of it (from_pretrained, then save_pretrained)",
                dir, others[i]);
            return;
        }
    }
    err_set(e, ERR_IO, "%s: has no tokenizer.json", dir);
}

struct tok *tok_load(const char *model_path, struct err *e)
{
    struct err why = ERR_INIT;
    int kind = model_path_kind(model_path, &why);
    if (kind == MODEL_GGUF)
        return load_gguf_file(model_path, e);
    if (kind == ERR_IO) {
        err_set(e, kind, "%s", why.msg);
        return NULL;
    }
    if (kind != MODEL_FOLDER)
        return tok_load_json(model_path, e); /* or so it should be */
    static const char *const NAMES[] = {"tokenizer.json", "tokenizer.json.zst"};
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        char *path = mem_printf("%s/%s", model_path, NAMES[i]);
        struct tok *t = NULL;
        bool is_there = file_exists(path);
        if (is_there)
            t = tok_load_json(path, e);
        free(path);
        if (is_there)
            return t;
    }
    refuse(model_path, e);
    return NULL;
}
