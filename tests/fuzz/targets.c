/* SPDX-License-Identifier: MIT
 * targets: the parsers, each fed as its programs feed it; see fuzz.h.
 *
 * `forged` is aware of structure: its input is a program that changes a valid message of some
 * kind (a byte of a tensor, a shape, a dtype, a name, a value of the metadata, rows split over
 * shards), which is then written with the right checksums, digest and seek table, so that
 * mutations arrive at what reads the kinds. `frames` does the same a floor below: its input is
 * cut into frames. */
#include "base/file.h"
#include "base/mem.h"
#include "data/dataset.h"
#include "data/tmpl.h"
#include "features/features.h"
#include "fuzz.h"
#include "learn/checkpoint.h"
#include "learn/learners.h"
#include "lm/adapter_file.h"
#include "lm/config.h"
#include "plan/plan.h"
#include "policy/policy.h"
#include "stream/gguf.h"
#include "stream/st_priv.h"
#include "text/tok.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <xxhash.h>
#include <zstd.h>

static char *dir, *tests;
static struct tok *plain_tok;
enum { N_BASES = 5 };
static struct st_msg *base[N_BASES];
static char *base_text[N_BASES];

/* ---- files ---- */

static char *in_dir(const char *name)
{
    return mem_printf("%s/%s", dir, name);
}

static void put(const char *name, const void *data, size_t len)
{
    char *path = in_dir(name);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, len, f) != len || fclose(f))
        abort();
    free(path);
}

static void copy(const char *from, const char *name)
{
    struct err e = ERR_INIT;
    char *text, *path = mem_printf("%s/%s", tests, from);
    size_t len;
    if (file_read_all(path, &text, &len, &e) < 0) {
        fprintf(stderr, "%s\n", e.msg);
        exit(1);
    }
    put(name, text, len);
    free(text);
    free(path);
}

void fuzz_set_up(const char *folder)
{
    static const char *const kinds[N_BASES] = {"f", "t", "plan", "ppo", "reward1"};
    struct err e = ERR_INIT;
    omp_set_num_threads(1);
    tests = mem_strdup(folder);
    dir = mem_printf("%s/raise-fuzz-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
    if (!mkdtemp(dir))
        abort();
    copy("fixtures/lm/llama/adapter/adapter_model.safetensors", "adapter_model.safetensors");
    char *path = mem_printf("%s/fixtures/tok/pieces.json", tests);
    plain_tok = tok_load_json(path, &e);
    free(path);
    if (!plain_tok)
        abort();
    for (int i = 0; i < N_BASES; i++) {
        size_t len;
        path = mem_printf("%s/fuzz/base/%s", tests, kinds[i]);
        if (file_read_all(path, &base_text[i], &len, &e) < 0 ||
            !(base[i] = st_msg_parse(base_text[i], len, path, &e)))
            abort();
        free(path);
    }
}

void fuzz_tear_down(void)
{
    char *command = mem_printf("rm -rf %s", dir);
    if (system(command))
        fprintf(stderr, "%s: not removed\n", dir);
    for (int i = 0; i < N_BASES; i++) {
        st_msg_free(base[i]);
        free(base_text[i]);
    }
    tok_free(plain_tok);
    free(command);
    free(dir);
    free(tests);
}

/* ---- text ---- */

static void read_dataset(const char *name, const uint8_t *data, size_t len)
{
    struct err e = ERR_INIT;
    struct dataset d = {0};
    struct data_options o = {.on_error = len % 2 ? DATA_SKIP : DATA_FAIL};
    char *path = in_dir(name);
    put(name, data, len);
    (void)!dataset_read(&d, path, &o, &e);
    dataset_free(&d);
    free(path);
}

static void run_json(const uint8_t *data, size_t len)
{
    read_dataset("d.json", data, len);
}

static void run_jsonl(const uint8_t *data, size_t len)
{
    read_dataset("d.jsonl", data, len);
}

static void run_csv(const uint8_t *data, size_t len)
{
    read_dataset("d.csv", data, len);
}

static void run_template(const uint8_t *data, size_t len)
{
    struct err e = ERR_INIT;
    char *text =
        mem_strndup((const char *)data, len); /* ends with NUL, as file_read_all's does */
    tmpl_free(tmpl_parse("t", text, len, &e));
    free(text);
}

static void encode(const struct tok *t, const char *s, size_t len)
{
    struct err e = ERR_INIT;
    struct tok_ids ids = {0};
    struct buf text = {0};
    if (tok_encode(t, s, len, 3, &ids, &e) >= 0)
        (void)!tok_decode(t, ids.ids, ids.n, true, &text, &e);
    free(ids.ids);
    buf_free(&text);
}

static void run_tokenizer(const uint8_t *data, size_t len)
{
    static const char text[] =
        "Hello  World,\n\t2024 it's \xc3\xa9t\xc3\xa9 <s> \xf0\x9f\x98\x80";
    struct err e = ERR_INIT;
    char *path = in_dir("tokenizer.json");
    put("tokenizer.json", data, len);
    struct tok *t = tok_load_json(path, &e);
    if (t)
        encode(t, text, sizeof text - 1);
    tok_free(t);
    free(path);
}

static void run_encode(const uint8_t *data, size_t len)
{
    encode(plain_tok, (const char *)data, len);
}

/* ---- models ---- */

static void run_config(const uint8_t *data, size_t len)
{
    struct err e = ERR_INIT;
    struct lm_config c;
    put("config.json", data, len);
    (void)!lm_config_read_hf(&c, dir, &e);
}

static void run_adapter(const uint8_t *data, size_t len)
{
    struct err e = ERR_INIT;
    struct lm_adapter_file f;
    uint64_t hash;
    put("adapter_config.json", data, len);
    if (lm_adapter_file_open(&f, dir, &e) < 0)
        return;
    (void)!lm_adapter_file_hash(&f, &hash, &e);
    lm_adapter_file_close(&f);
}

static void run_safetensors(const uint8_t *data, size_t len)
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
    st_msg_free(m);
}

static void run_gguf(const uint8_t *data, size_t len)
{
    struct err e = ERR_INIT;
    struct lm_config c;
    char *path = in_dir("m.gguf");
    put("m.gguf", data, len);
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
            encode(t, "It is 12 o'clock", 16);
        tok_free(t);
    }
    gguf_close(g);
    free(path);
}

/* ---- streams ---- */

static void read_kinds(const char *path)
{
    struct err e = ERR_INIT;
    struct features f = {0};
    struct traj t = {0};
    struct plan p = {0};
    struct checkpoint c = {0};
    if (features_read(&f, path, &e) == 0)
        features_free(&f);
    if (traj_read(&t, path, &e) == 0)
        traj_free(&t);
    if (plan_read(&p, path, &e) == 0)
        plan_free(&p);
    policy_free(policy_read(path, learners(), &e));
    (void)!checkpoint_read(&c, path, 0, &e);
    checkpoint_free(&c);
}

static void run_stream(const uint8_t *data, size_t len)
{
    struct err e = ERR_INIT;
    char *path = in_dir("s.st.zst");
    put("s.st.zst", data, len);
    st_msg_free(st_read(path, NULL, &e));
    read_kinds(path);
    free(path);
}

/* Frames of the pieces that 0xFF parts, the digest and the seek table as they should be. */
static void run_frames(const uint8_t *data, size_t len)
{
    struct buf b = {0};
    struct st_entry entry[16];
    size_t n = 0;
    ZSTD_CCtx *z = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(z, ZSTD_c_checksumFlag, 1);
    for (size_t at = 0; at < len && n < 16; n++) {
        const uint8_t *end = memchr(data + at, 0xFF, len - at);
        size_t k = end ? (size_t)(end - data) - at : len - at, start = b.len,
               cap = ZSTD_compressBound(k);
        MEM_GROW(b.data, b.cap, b.len + cap);
        size_t got = ZSTD_compress2(z, b.data + b.len, cap, data + at, k);
        if (ZSTD_isError(got))
            abort();
        b.len += got;
        entry[n] = (struct st_entry){(uint32_t)(b.len - start), (uint32_t)k,
                                     st_get_u32((unsigned char *)b.data + b.len - 4)};
        at += k + 1;
    }
    ZSTD_freeCCtx(z);
    st_put_digest(&b, XXH64(b.data ? b.data : "", b.len, 0));
    st_put_seek_table(&b, entry, n);
    run_stream((const uint8_t *)b.data, b.len);
    buf_free(&b);
}

struct reader {
    const uint8_t *p;
    size_t len;
};
static unsigned next(struct reader *r)
{
    if (!r->len)
        return 0;
    r->len--;
    return *r->p++;
}

static void replace_meta(struct st_msg *m, struct reader *r)
{
    static const char *const odd[] = {
        "",          "0",     "-1", "1e400", "18446744073709551615",
        "nan",       "[{}]",  "[",  "ok",    "9223372036854775807",
        "ppo",       "a,b,a", ",",  "1.5",   "0123456789abcdef",
        "2147483648"};
    const char *key, *value;
    if (!st_msg_n_meta(m))
        return;
    st_msg_meta_at(m, (int64_t)next(r) % st_msg_n_meta(m), &key, &value);
    char *name = mem_strdup(key), *text = mem_strdup(value);
    unsigned how = next(r);
    if (how < 16)
        st_msg_set_meta(m, name, odd[how]);
    else if (how < 24)
        st_msg_unset_meta(m, name);
    else if (*text)
        text[next(r) % strlen(text)] = (char)(' ' + how % 95);
    if (how >= 24)
        st_msg_set_meta(m, name, text);
    free(name);
    free(text);
}

/* One tensor in the place of another's: other shape, dtype, name or bytes; NULL: left out. */
static void put_tensor(struct st_msg *dst, const struct st_tensor *t, struct reader *r,
                       bool is_changed)
{
    struct st_tensor x = *t;
    char *name = mem_strdup(t->name);
    unsigned how = is_changed ? next(r) % 6 : 6;
    if (how == 0 && x.n_dims)
        x.shape[next(r) % (unsigned)x.n_dims] = next(r) % 9;
    else if (how == 1)
        x.dtype = (enum st_dtype)(next(r) % ST_N_DTYPES);
    else if (how == 2)
        x.n_dims = (int)(next(r) % 4);
    else if (how == 3)
        name[next(r) % strlen(name)] = (char)('a' + next(r) % 26);
    size_t n = st_dtype_size(x.dtype);
    for (int i = 0; i < x.n_dims; i++) {
        x.shape[i] = i < t->n_dims ? x.shape[i] : 1;
        n *= (size_t)x.shape[i];
    }
    unsigned char *data = mem_zalloc(n, 1);
    memcpy(data, t->data, n < t->len ? n : t->len);
    for (unsigned k = 0; how == 4 && n && k < 8; k++)
        data[(next(r) | next(r) << 8) % n] = (unsigned char)next(r);
    if (how != 5 && !st_msg_find(dst, name))
        st_msg_add_copy(dst, name, x.dtype, x.n_dims, x.shape, data);
    free(data);
    free(name);
}

static void run_forged(const uint8_t *data, size_t len)
{
    struct err e = ERR_INIT;
    struct reader r = {data, len};
    const struct st_msg *from = base[next(&r) % N_BASES];
    struct st_msg *m = st_msg_new();
    unsigned victim = next(&r), n_meta = next(&r) % 4;
    const char *key, *value;
    for (int64_t i = 0; i < st_msg_n_meta(from); i++) {
        st_msg_meta_at(from, i, &key, &value);
        st_msg_set_meta(m, key, value);
    }
    for (int64_t i = 0; i < st_msg_n_tensors(from); i++)
        put_tensor(m, st_msg_at(from, i), &r,
                   i == (int64_t)victim % (st_msg_n_tensors(from) + 1));
    for (unsigned i = 0; i < n_meta; i++)
        replace_meta(m, &r);
    char *path = in_dir("k.st.zst");
    struct st_writer *w = st_writer_open(path, 0, &e);
    if (!w)
        abort();
    unsigned n_shards = 1 + next(&r) % 3;
    int rc = 0;
    for (unsigned i = 0; !rc && i < n_shards; i++)
        rc = st_writer_put(w, m, &e);
    if (rc)
        st_writer_abort(w);
    else if (st_writer_close(w, &e) == 0)
        read_kinds(path);
    st_msg_free(m);
    free(path);
}

/* A history of another program's, taken into one of ours. */
static void run_history(const uint8_t *data, size_t len)
{
    char *text = mem_strndup((const char *)data, len);
    struct st_msg *m = st_msg_new();
    struct prov *p = prov_new("fuzz", "fuzz", 1);
    prov_write(p, m, text);
    prov_free(p);
    st_msg_free(m);
    free(text);
}

const struct target targets[] = {
    {"json", run_json, {NULL}},
    {"jsonl", run_jsonl, {"fuzz/corpus/json/alpaca.json", NULL}},
    {"csv", run_csv, {NULL}},
    {"template", run_template, {"../pipelines/demo/demo.tmpl", NULL}},
    {"tokenizer",
     run_tokenizer,
     {"fixtures/tok/bytes.json", "fixtures/tok/pieces.json", "fixtures/tok/meta.json",
      "fixtures/tok/split.json", "fixtures/tok/unknown.json", NULL}},
    {"encode", run_encode, {"fixtures/tok/make.py", NULL}},
    {"config",
     run_config,
     {"fixtures/lm/llama/config.json", "fixtures/lm/qwen2/config.json",
      "fixtures/lm/llama-tied-llama3/config.json", NULL}},
    {"adapter", run_adapter, {"fixtures/lm/llama/adapter/adapter_config.json", NULL}},
    {"safetensors",
     run_safetensors,
     {"fixtures/features/small.safetensors", "fuzz/base/ppo", "fuzz/base/t", NULL}},
    {"gguf",
     run_gguf,
     {"fixtures/gguf/types.gguf", "fixtures/tok/bytes.gguf", "fixtures/tok/pieces.gguf", NULL}},
    {"stream", run_stream, {"fuzz/base/f", "fuzz/base/plan", "fuzz/base/reward1", NULL}},
    {"frames", run_frames, {"fuzz/base/f", "fuzz/base/plan", NULL}},
    {"forged", run_forged, {NULL}},
    {"history", run_history, {NULL}},
    {NULL, NULL, {NULL}},
};
