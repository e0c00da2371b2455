/* SPDX-License-Identifier: MIT
 * source: weights from safetensors and GGUF; see source.h. */
#include "lm/source.h"

#include "base/file.h"
#include "base/mem.h"
#include "lm/json_file.h"
#include "stream/model_path.h"
#include "stream/st.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct shard {
    char *path;
    struct file_map map;
    struct st_msg *msg;
};

/* One tensor of the file, whichever kind it is. */
struct entry {
    const char *name; /* as in the file */
    const char *place;
    const struct st_tensor *st;
    const struct gguf_tensor *gguf;
    bool is_read;
};

struct lm_source {
    char *path;
    struct lm_config config;
    bool is_gguf;
    struct gguf *gguf;
    struct shard *shards;
    size_t n_shards, cap_shards;
    struct entry *entries; /* sorted by name */
    size_t n_entries, cap_entries;
};

const struct lm_config *lm_source_config(const struct lm_source *s)
{
    return &s->config;
}

/* ---- entries ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static struct entry *find(const struct lm_source *s, const char *name)
{
    const struct entry key = {.name = name};
    if (!s->n_entries)
        return NULL;
    return bsearch(&key, s->entries, s->n_entries, sizeof key, by_name);
}

/* The entry of a published name. A file that was saved from the inner model alone
 * ("LlamaModel") has its names without "model.". */
static struct entry *find_published(const struct lm_source *s, const char *name)
{
    static const char prefix[] = "model.";
    size_t k = sizeof prefix - 1;
    struct entry *x = find(s, name);
    return x || strncmp(name, prefix, k) != 0 ? x : find(s, name + k);
}

/* The shards of a model hold each tensor once. */
static int check_once(const struct lm_source *s, struct err *e)
{
    for (size_t i = 1; i < s->n_entries; i++) {
        const struct entry *a = &s->entries[i - 1], *b = &s->entries[i];
        if (!strcmp(a->name, b->name))
            return err_set(e, ERR_FORMAT, "%s: tensor %s stands in %s, too", a->place, a->name,
                           b->place);
    }
    return 0;
}

/* Whether it is a part of what GPTQ, AWQ, bitsandbytes and others make of a weight. */
static bool is_quantised(const char *name)
{
    static const char *const parts[] = {
        ".qweight",     ".qzeros", ".g_idx",        ".absmax",        ".quant_map",
        ".quant_state", ".SCB",    ".weight_scale", ".weight_packed", ".weight_scale_inv"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strstr(name, parts[i]))
            return true;
    return false;
}

/* Why a tensor is missing, where the others tell; NULL: no idea. */
static const struct entry *instead_of(const struct lm_source *s, const char *name)
{
    name += strncmp(name, "model.", 6) ? 0 : 6;
    size_t n = strlen(name);
    for (size_t i = 0; i < s->n_entries; i++) {
        size_t k = strlen(s->entries[i].name);
        if (is_quantised(s->entries[i].name) ||
            (k > n && s->entries[i].name[k - n - 1] == '.' &&
             !strcmp(s->entries[i].name + k - n, name)))
            return &s->entries[i];
    }
    return NULL;
}

static int refuse_quantised(const struct entry *x, struct err *e)
{
    return err_set(e, ERR_UNSUPPORTED, "%s: weights are quantised (tensor %s)", x->place,
                   x->name);
}

static int refuse_missing(const struct lm_source *s, const char *name, struct err *e)
{
    const struct entry *x = instead_of(s, name);
    if (x && is_quantised(x->name))
        return refuse_quantised(x, e);
    return err_set(e, ERR_FORMAT, "%s: tensor %s is missing%s%s%s", s->path, name,
                   x ? ", but there is " : "", x ? x->name : "",
                   x ? ": saved from inside another model" : "");
}

/* ---- opening ---- */

static int open_shard(struct lm_source *s, char *path, struct err *e)
{
    MEM_GROW(s->shards, s->cap_shards, s->n_shards + 1);
    struct shard *x = &s->shards[s->n_shards++];
    memset(x, 0, sizeof *x);
    x->path = path;
    int code = file_map_open(&x->map, path, e);
    if (code < 0)
        return code;
    x->msg = st_msg_parse(x->map.data, x->map.len, path, e);
    if (!x->msg)
        return e->code;
    for (int64_t i = 0; i < st_msg_n_tensors(x->msg); i++) {
        const struct st_tensor *t = st_msg_at(x->msg, i);
        MEM_GROW(s->entries, s->cap_entries, s->n_entries + 1);
        s->entries[s->n_entries++] = (struct entry){t->name, x->path, t, NULL, false};
    }
    return 0;
}

static bool has_shard(const struct lm_source *s, const char *path)
{
    for (size_t i = 0; i < s->n_shards; i++)
        if (!strcmp(s->shards[i].path, path))
            return true;
    return false;
}

/* Opens each file that weight_map names, and holds every name of the map against them. */
static int open_index(struct lm_source *s, json_t *map, const char *place, struct err *e)
{
    const char *name;
    json_t *file;
    if (!json_is_object(map))
        return err_set(e, ERR_FORMAT, "%s: \"weight_map\" is missing", place);
    json_object_foreach(map, name, file)
    {
        const char *base = json_string_value(file);
        if (!base || !*base || strchr(base, '/') || *base == '.')
            return err_set(e, ERR_FORMAT, "%s: \"%s\" is in no plain file name", place, name);
        char *path = mem_printf("%s/%s", s->path, base);
        if (has_shard(s, path)) {
            free(path);
            continue;
        }
        int code = open_shard(s, path, e);
        if (code < 0)
            return code;
    }
    qsort(s->entries, s->n_entries, sizeof *s->entries, by_name);
    json_object_foreach(map, name, file)
    {
        if (!find(s, name))
            return err_set(e, ERR_FORMAT, "%s/%s: tensor %s is missing", s->path,
                           json_string_value(file), name);
    }
    return 0;
}

static int open_sharded(struct lm_source *s, const char *index, struct err *e)
{
    json_t *root = lm_json_read(index, e);
    int code = root ? open_index(s, json_object_get(root, "weight_map"), index, e) : e->code;
    json_decref(root);
    return code;
}

/* Older models have their weights in pickles. */
static int refuse_pickle(const struct lm_source *s, struct err *e)
{
    static const char *const names[] = {"pytorch_model.bin", "pytorch_model.bin.index.json"};
    bool has_pickle = false;
    for (size_t i = 0; i < 2; i++) {
        char *path = mem_printf("%s/%s", s->path, names[i]);
        has_pickle |= file_exists(path);
        free(path);
    }
    if (!has_pickle)
        return 0;
    return err_set(e, ERR_UNSUPPORTED,
                   "%s: has pytorch_model.bin, no model.safetensors: save it as safetensors "
                   "with transformers",
                   s->path);
}

static int open_hf(struct lm_source *s, struct err *e)
{
    int code = lm_config_read_hf(&s->config, s->path, e);
    if (code < 0)
        return code;
    char *index = mem_printf("%s/model.safetensors.index.json", s->path);
    char *one = mem_printf("%s/model.safetensors", s->path);
    bool is_one = file_exists(one), is_sharded = !is_one && file_exists(index);
    if (!is_one && !is_sharded)
        code = refuse_pickle(s, e);
    if (code >= 0 && is_sharded) {
        code = open_sharded(s, index, e);
    } else if (code >= 0) {
        code = open_shard(s, one, e);
        one = NULL;
    }
    free(index);
    free(one);
    return code;
}

static int open_gguf(struct lm_source *s, struct err *e)
{
    s->gguf = gguf_open(s->path, e);
    if (!s->gguf)
        return e->code;
    for (int64_t i = 0; i < gguf_n_tensors(s->gguf); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(s->gguf, i);
        MEM_GROW(s->entries, s->cap_entries, s->n_entries + 1);
        s->entries[s->n_entries++] = (struct entry){t->name, s->path, NULL, t, false};
    }
    return lm_config_read_gguf(&s->config, s->gguf, s->path, e);
}

int lm_config_read(struct lm_config *c, const char *path, struct err *e)
{
    struct err local = ERR_INIT;
    e = e ? e : &local;
    int kind = model_path_kind(path, e);
    if (kind != MODEL_GGUF)
        return kind < 0 ? kind : lm_config_read_hf(c, path, e);
    struct gguf *g = gguf_open(path, e);
    int code = g ? lm_config_read_gguf(c, g, path, e) : e->code;
    gguf_close(g);
    return code;
}

/* Whether a file of a tied model has a classifier all the same, with other values. */
static bool has_other_head(const struct lm_source *s)
{
    const struct entry *head = find(s, "lm_head.weight");
    const struct entry *embed = find_published(s, "model.embed_tokens.weight");
    if (!head || !embed)
        return false;
    const struct st_tensor *a = head->st, *b = embed->st;
    return a->dtype != b->dtype || a->len != b->len || memcmp(a->data, b->data, a->len) != 0;
}

struct lm_source *lm_source_open(const char *path, struct err *e)
{
    struct err local = ERR_INIT;
    e = e ? e : &local;
    struct lm_source *s = mem_zalloc(1, sizeof *s);
    s->path = mem_strdup(path);
    int code = model_path_kind(path, e);
    s->is_gguf = code == MODEL_GGUF;
    if (code >= 0)
        code = s->is_gguf ? open_gguf(s, e) : open_hf(s, e);
    if (code < 0) {
        lm_source_close(s);
        return NULL;
    }
    qsort(s->entries, s->n_entries, sizeof *s->entries, by_name);
    if (check_once(s, e) < 0) {
        lm_source_close(s);
        return NULL;
    }
    if (!s->is_gguf && s->config.is_tied && has_other_head(s))
        s->config.is_tied = false; /* the weights that are there are the model's */
    return s;
}

void lm_source_close(struct lm_source *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n_shards; i++) {
        st_msg_free(s->shards[i].msg);
        if (s->shards[i].map.data)
            file_map_close(&s->shards[i].map);
        free(s->shards[i].path);
    }
    gguf_close(s->gguf);
    free(s->shards);
    free(s->entries);
    free(s->path);
    free(s);
}

/* ---- names ---- */

/* The name in the GGUF of a published one, into dst. Returns false for an unknown one. */
static bool gguf_name(char dst[128], const char *name)
{
    static const struct {
        const char *hf, *gguf;
    } whole[] = {{"model.embed_tokens.weight", "token_embd.weight"},
                 {"model.norm.weight", "output_norm.weight"},
                 {"lm_head.weight", "output.weight"}},
      layer[] = {{"input_layernorm", "attn_norm"},    {"post_attention_layernorm", "ffn_norm"},
                 {"self_attn.q_proj", "attn_q"},      {"self_attn.k_proj", "attn_k"},
                 {"self_attn.v_proj", "attn_v"},      {"self_attn.o_proj", "attn_output"},
                 {"self_attn.q_norm", "attn_q_norm"}, {"self_attn.k_norm", "attn_k_norm"},
                 {"mlp.gate_proj", "ffn_gate"},       {"mlp.up_proj", "ffn_up"},
                 {"mlp.down_proj", "ffn_down"}};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        if (!strcmp(name, whole[i].hf)) {
            snprintf(dst, 128, "%s", whole[i].gguf);
            return true;
        }
    long l;
    char part[64];
    if (sscanf(name, "model.layers.%ld.%63s", &l, part) != 2)
        return false;
    char *kind = strrchr(part, '.'); /* ".weight" or ".bias" */
    for (size_t i = 0; kind && i < sizeof layer / sizeof *layer; i++)
        if (strlen(layer[i].hf) == (size_t)(kind - part) &&
            !strncmp(part, layer[i].hf, (size_t)(kind - part))) {
            snprintf(dst, 128, "blk.%ld.%s%s", l, layer[i].gguf, kind);
            return true;
        }
    return false;
}

/* ---- reading ---- */

static int check_shape(const struct entry *x, int n_dims, const int64_t *shape, struct err *e)
{
    int have = x->st ? x->st->n_dims : x->gguf->n_dims;
    const int64_t *dims = x->st ? x->st->shape : x->gguf->shape;
    bool is_same = have == n_dims;
    for (int i = 0; is_same && i < n_dims; i++)
        is_same = dims[i] == shape[i];
    if (is_same)
        return 0;
    struct buf b = {0};
    for (int i = 0; i < have; i++)
        buf_printf(&b, "%s%lld", i ? ", " : "", (long long)dims[i]);
    int code = err_set(e, ERR_MISMATCH, "%s: tensor %s is [%s], expected [%lld%s%.0lld]",
                       x->place, x->name, buf_str(&b), (long long)shape[0],
                       n_dims > 1 ? ", " : "", n_dims > 1 ? (long long)shape[1] : 0LL);
    buf_free(&b);
    return code;
}

/* Rows [row, row + n_rows) of a tensor of n_all rows. */
static int convert_rows(const struct entry *x, int64_t row, int64_t n_rows, int64_t n_all,
                        int64_t width, float *dst, struct err *e)
{
    if (x->st) {
        size_t size = st_dtype_size(x->st->dtype);
        const char *src = (const char *)x->st->data + (size_t)(row * width) * size;
        return st_to_f32(dst, src, x->st->dtype, (size_t)(n_rows * width), e);
    }
    struct gguf_tensor part = *x->gguf; /* a row is a whole number of blocks */
    size_t row_len = part.len / (size_t)n_all;
    part.data = (const char *)part.data + (size_t)row * row_len;
    part.len = (size_t)n_rows * row_len;
    part.n_values = n_rows * width;
    part.shape[0] = n_rows;
    return gguf_dequantize(dst, &part, e);
}

static int check_dtype(const struct entry *x, struct err *e)
{
    if (!x->st)
        return 0; /* gguf_dequantize names an unknown one */
    enum st_dtype t = x->st->dtype;
    if (t == ST_F32 || t == ST_F16 || t == ST_BF16 || t == ST_F64)
        return 0;
    return err_set(e, ERR_UNSUPPORTED, "%s: tensor %s is %s, not F32, F16 or BF16", x->place,
                   x->name, st_dtype_name(t));
}

/* GGUF stores a head's rows so that rotary pairs lie side by side (0, K/2, 1, K/2 + 1, ...);
 * ours are halves, as published. src and dst [n_heads * K, width]. */
static void unpermute(float *dst, const float *src, int64_t n_heads, int64_t K, int64_t width)
{
    for (int64_t h = 0; h < n_heads; h++)
        for (int64_t i = 0; i < K; i++) {
            int64_t from = i < K / 2 ? 2 * i : 2 * (i - K / 2) + 1;
            memcpy(dst + (h * K + i) * width, src + (h * K + from) * width,
                   (size_t)width * sizeof *dst);
        }
}

static bool is_permuted(const struct lm_source *s, const char *name)
{
    return s->is_gguf && s->config.family->is_gguf_permuted &&
           (strstr(name, ".q_proj.") || strstr(name, ".k_proj."));
}

static int convert(const struct entry *x, int64_t n_rows, int64_t width, float *dst,
                   struct err *e)
{
    int64_t step = width > 0 && width < 65536 ? 1 + 65536 / width : 1;
    if (x->gguf && x->gguf->n_dims < 2)
        step = n_rows; /* a vector may be one block */
    int code = 0;
    struct err first = ERR_INIT;
#pragma omp parallel for schedule(dynamic)
    for (int64_t row = 0; row < n_rows; row += step) {
        struct err mine = ERR_INIT;
        int64_t n = row + step < n_rows ? step : n_rows - row;
        if (convert_rows(x, row, n, n_rows, width, dst + row * width, &mine) < 0)
#pragma omp critical
        {
            first = mine;
            code = mine.code;
        }
    }
    if (code < 0)
        return err_set(e, code, "%s: %s", x->place, first.msg);
    return 0;
}

/* What has been read stands in memory a second time, as long as the file is mapped. */
static void release(const struct entry *x)
{
    if (x->st)
        file_map_release(x->st->data, x->st->len);
    else
        file_map_release(x->gguf->data, x->gguf->len);
}

/* NULL: there is none; wanted (translated has room for it) is its name in the file. */
static struct entry *entry_of(const struct lm_source *s, const char *name, char translated[128],
                              const char **wanted)
{
    *wanted = name;
    if (s->is_gguf)
        *wanted = gguf_name(translated, name) ? translated : "?";
    return s->is_gguf ? find(s, *wanted) : find_published(s, *wanted);
}

/* The entry of a tensor that is read now; NULL on error. */
static struct entry *entry_to_read(struct lm_source *s, const char *name, int n_dims,
                                   const int64_t *shape, struct err *e)
{
    char translated[128];
    const char *wanted;
    struct entry *x = entry_of(s, name, translated, &wanted);
    if (!x) {
        refuse_missing(s, wanted, e);
        return NULL;
    }
    x->is_read = true;
    return check_shape(x, n_dims, shape, e) < 0 || check_dtype(x, e) < 0 ? NULL : x;
}

int lm_source_read(struct lm_source *s, const char *name, int n_dims, const int64_t *shape,
                   float *dst, struct err *e)
{
    struct entry *x = entry_to_read(s, name, n_dims, shape, e);
    int code;
    if (!x)
        return e->code;
    int64_t width = n_dims > 1 ? shape[1] : 1;
    if (!is_permuted(s, name)) {
        code = convert(x, shape[0], width, dst, e);
        release(x);
        return code;
    }
    int64_t K = s->config.d_head;
    float *rows = mem_alloc((size_t)(shape[0] * width), sizeof *rows);
    code = convert(x, shape[0], width, rows, e);
    if (code >= 0)
        unpermute(dst, rows, shape[0] / K, K, width);
    release(x);
    free(rows);
    return code;
}

static const struct gguf_type *type_of(const struct entry *x)
{
    enum { GGML_F32 = 0, GGML_F16 = 1, GGML_BF16 = 30 };
    const struct gguf_type *t = NULL;
    if (x->gguf)
        t = gguf_type_find(x->gguf->type);
    else if (x->st->dtype == ST_F32 || x->st->dtype == ST_F64)
        t = gguf_type_find(GGML_F32);
    else if (x->st->dtype == ST_F16 || x->st->dtype == ST_BF16)
        t = gguf_type_find(x->st->dtype == ST_F16 ? GGML_F16 : GGML_BF16);
    return t && t->decode ? t : NULL;
}

const struct gguf_type *lm_source_type(const struct lm_source *s, const char *name)
{
    char translated[128];
    const char *wanted;
    const struct entry *x = entry_of(s, name, translated, &wanted);
    return x ? type_of(x) : NULL;
}

/* Row `row` of what is published is this one of the file; see unpermute. */
static int64_t stored_row(const struct lm_source *s, const char *name, int64_t row)
{
    int64_t K = s->config.d_head, i = row % K;
    if (!is_permuted(s, name))
        return row;
    return row - i + (i < K / 2 ? 2 * i : 2 * (i - K / 2) + 1);
}

int lm_source_keep(struct lm_source *s, const char *name, int n_dims, const int64_t *shape,
                   void *dst, struct err *e)
{
    enum { SLICE = 16 << 20 }; /* what stands in memory twice */
    const struct entry *x = entry_to_read(s, name, n_dims, shape, e);
    const struct gguf_type *type = x ? type_of(x) : NULL;
    if (!x)
        return e->code;
    if (!type || (x->st && x->st->dtype == ST_F64)) /* read, or refused by name */
        return lm_source_read(s, name, n_dims, shape, dst, e);
    const char *src = x->st ? x->st->data : x->gguf->data;
    size_t len = x->st ? x->st->len : x->gguf->len, row = len / (size_t)shape[0];
    int64_t step = row < SLICE ? (int64_t)(SLICE / (row ? row : 1)) : 1, K = s->config.d_head;
    step = (step + K - 1) / K * K; /* whole heads */
    for (int64_t from = 0; from < shape[0]; from += step) {
        int64_t n = from + step < shape[0] ? step : shape[0] - from;
#pragma omp parallel for schedule(static)
        for (int64_t i = from; i < from + n; i++)
            memcpy((char *)dst + (size_t)i * row, src + (size_t)stored_row(s, name, i) * row,
                   row);
        file_map_release(src + (size_t)from * row, (size_t)n * row);
    }
    return 0;
}

bool lm_source_is_bf16(const struct lm_source *s, const char *name)
{
    const struct entry *x = s->is_gguf ? NULL : find_published(s, name);
    return x && x->st && x->st->dtype == ST_BF16;
}

/* Left-overs that carry no weights of their own: rotary tables of older files, and the
 * classifier of a tied model, which is the embedding again. */
static bool is_harmless(const struct lm_source *s, const char *name)
{
    static const char suffix[] = ".rotary_emb.inv_freq";
    size_t n = strlen(name), k = sizeof suffix - 1;
    if (s->is_gguf)
        return !strcmp(name, "rope_freqs.weight");
    return (n > k && !strcmp(name + n - k, suffix)) ||
           (s->config.is_tied && !strcmp(name, "lm_head.weight"));
}

int lm_source_check(struct lm_source *s, struct err *e)
{
    for (size_t i = 0; i < s->n_entries; i++) {
        const struct entry *x = &s->entries[i];
        if (!x->is_read && is_quantised(x->name))
            return refuse_quantised(x, e);
        if (!x->is_read && !is_harmless(s, x->name))
            return err_set(e, ERR_UNSUPPORTED, "%s: tensor %s is none of this architecture",
                           x->place, x->name);
    }
    return 0;
}
