/* SPDX-License-Identifier: MIT
 *
 * bench_cuda: steps of models of published shapes on a GPU, as tests/bench/bench-cuda asks.
 *
 *     bench_cuda RECORDS       a line a record: tokens of its prompt, then all ids
 *
 * Commands on standard input, each answered by a line; a failure ends the program. Ids are
 * taken modulo the vocabulary, so that one file serves all shapes.
 *
 *     probe                    the device and its memory
 *     peak N                   TFLOP/s of a bf16 product of N x N matrices
 *     shape NAME DIR           writes a model of that shape with random weights
 *     open DIR WORK B          lora, full, lora-recompute...: batches of B records; says how
 *     step K                   seconds, tokens, targets, loss, floating-point operations
 *     memory                   bytes that the model takes on the device, as planned and as seen
 *     counts                   launches of the last step (attention's left out), and of those
 * the products that cuBLASLt had no kernel for close                    gives the device's
 * memory back compare DIR B STEPS      cpu in fp32 and the GPU: how far loss, gradient, curve
 * are apart
 *
 * Floating-point operations are those that the step needs: 2 a weight and token forward, 2 for
 * the gradient of inputs, 2 more for that of weights when they are tuned; the classifier for
 * tokens that predict a target only; attention 4 H K a pair of tokens that see each other
 * forward, twice that backward. Adapters, norms and what is computed twice do not count.
 */
#include "base/cpu.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/text.h"
#include "lm/batch.h"
#include "lm/model.h"
#include "stream/st.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_BATCHES = 4 };

static const struct shape {
    const char *name;
    struct lm_config c;
} shapes[] = {
    {"tiny",
     {.n_layers = 2,
      .d_model = 64,
      .n_heads = 4,
      .n_kv_heads = 2,
      .d_head = 16,
      .d_ff = 128,
      .n_vocab = 512,
      .max_positions = 512,
      .norm_eps = 1e-5,
      .rope_theta = 1e4,
      .is_tied = true}},
    {"tiny-untied",
     {.n_layers = 2,
      .d_model = 64,
      .n_heads = 2,
      .n_kv_heads = 1,
      .d_head = 32,
      .d_ff = 96,
      .n_vocab = 512,
      .max_positions = 512,
      .norm_eps = 1e-5,
      .rope_theta = 1e4}},
    {"smollm2-135m",
     {.n_layers = 30,
      .d_model = 576,
      .n_heads = 9,
      .n_kv_heads = 3,
      .d_head = 64,
      .d_ff = 1536,
      .n_vocab = 49152,
      .max_positions = 8192,
      .norm_eps = 1e-5,
      .rope_theta = 1e5,
      .is_tied = true}},
    {"llama-1b",
     {.n_layers = 16,
      .d_model = 2048,
      .n_heads = 32,
      .n_kv_heads = 8,
      .d_head = 64,
      .d_ff = 8192,
      .n_vocab = 128256,
      .max_positions = 8192,
      .norm_eps = 1e-5,
      .rope_theta = 5e5,
      .is_tied = true}},
    {"llama-3b",
     {.n_layers = 28,
      .d_model = 3072,
      .n_heads = 24,
      .n_kv_heads = 8,
      .d_head = 128,
      .d_ff = 8192,
      .n_vocab = 128256,
      .max_positions = 8192,
      .norm_eps = 1e-5,
      .rope_theta = 5e5,
      .is_tied = true}},
    {"llama-8b",
     {.n_layers = 32,
      .d_model = 4096,
      .n_heads = 32,
      .n_kv_heads = 8,
      .d_head = 128,
      .d_ff = 14336,
      .n_vocab = 128256,
      .max_positions = 8192,
      .norm_eps = 1e-5,
      .rope_theta = 5e5}},
};

struct bench {
    struct lm_pack *records; /* one sequence each */
    int64_t n_records;
    struct lm *m;
    struct lm_memory plan;
    struct lm_pack batches[MAX_BATCHES];
    int n_batches;
    int64_t used_before;
    int64_t counts[2]; /* of the last step */
};

static void fail(const char *what, const struct err *e)
{
    fprintf(stderr, "bench_cuda: %s: %s\n", what, e->msg);
    exit(1);
}

/* ---- records ---- */

static void add_record(struct bench *b, size_t *cap, char *line)
{
    struct lm_pack p = {0};
    char *at = line;
    int32_t ids[8192];
    uint8_t is_loss[8192];
    long n_prompt = strtol(at, &at, 10);
    int64_t n = 0;
    for (char *end; n < 8192; n++, at = end) {
        long id = strtol(at, &end, 10);
        if (end == at)
            break;
        ids[n] = (int32_t)id;
        is_loss[n] = n >= n_prompt && n > 0;
    }
    if (!n)
        return;
    lm_pack_add(&p, ids, is_loss, n);
    MEM_GROW(b->records, *cap, b->n_records + 1);
    b->records[b->n_records++] = p;
}

static void read_records(struct bench *b, const char *path)
{
    struct err e = ERR_INIT;
    size_t len, cap = 0;
    char *text, *rest;
    if (file_read_all(path, &text, &len, &e) < 0)
        fail("records", &e);
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        add_record(b, &cap, line);
    free(text);
}

static void free_batches(struct bench *b)
{
    for (int k = 0; k < b->n_batches; k++)
        lm_pack_free(&b->batches[k]);
    b->n_batches = 0;
}

static void make_batches(struct bench *b, int64_t size, int64_t n_vocab)
{
    free_batches(b);
    for (int64_t at = 0; at + size <= b->n_records && b->n_batches < MAX_BATCHES; at += size) {
        struct lm_pack *p = &b->batches[b->n_batches++];
        for (int64_t i = at; i < at + size; i++) {
            const struct lm_pack *r = &b->records[i];
            lm_pack_add(p, r->ids, r->is_loss, r->n_tokens);
        }
        for (int64_t t = 0; t < p->n_tokens; t++)
            p->ids[t] %= (int32_t)n_vocab;
    }
    if (!b->n_batches) {
        fprintf(stderr, "bench_cuda: fewer than %lld records\n", (long long)size);
        exit(1);
    }
}

/* ---- models ---- */

/* Random bf16 of standard deviation 0.02, or ones for a vector. */
static uint16_t *random_bf16(int64_t n, bool is_ones, uint64_t seed)
{
    uint16_t *x = mem_alloc((size_t)n, sizeof *x);
#pragma omp parallel for
    for (int64_t i = 0; i < n; i++) {
        double sum = 0; /* of four uniform ones: near enough to normal */
        for (uint64_t k = 0; k < 4; k++)
            sum += rng_hash_unit(seed, (uint64_t)i, k, 1) - 0.5;
        float v = is_ones ? 1 : (float)(sum * 0.02 * 1.7320508);
        uint32_t u;
        memcpy(&u, &v, sizeof u);
        x[i] = (uint16_t)(u >> 16);
    }
    return x;
}

struct part {
    const char *name;
    int64_t rows, cols; /* cols 0: a vector */
    uint16_t *x;
};

static void write_shard(const char *dir, int64_t i, const char *prefix, const struct part *part,
                        int n, struct buf *index)
{
    struct err e = ERR_INIT;
    struct st_msg *msg = st_msg_new();
    char *path = mem_printf("%s/model-%03lld.safetensors", dir, (long long)i);
    for (int k = 0; k < n; k++) {
        char *name = mem_printf("%s%s", prefix, part[k].name);
        int64_t shape[2] = {part[k].rows, part[k].cols};
        st_msg_add(msg, name, ST_BF16, part[k].cols ? 2 : 1, shape, part[k].x);
        buf_printf(index, "%s\"%s\": \"model-%03lld.safetensors\"", i || k ? ",\n" : "", name,
                   (long long)i);
        free(name);
    }
    st_msg_set_meta(msg, "format", "pt");
    if (st_write(path, ST_PLAIN, msg, &e) < 0)
        fail(path, &e);
    st_msg_free(msg);
    free(path);
}

static void write_layers(const struct lm_config *c, const char *dir, struct buf *index)
{
    int64_t D = c->d_model, HK = c->n_heads * c->d_head, GK = c->n_kv_heads * c->d_head;
    struct part part[] = {{"input_layernorm.weight", D, 0, NULL},
                          {"post_attention_layernorm.weight", D, 0, NULL},
                          {"self_attn.q_proj.weight", HK, D, NULL},
                          {"self_attn.k_proj.weight", GK, D, NULL},
                          {"self_attn.v_proj.weight", GK, D, NULL},
                          {"self_attn.o_proj.weight", D, HK, NULL},
                          {"mlp.gate_proj.weight", c->d_ff, D, NULL},
                          {"mlp.up_proj.weight", c->d_ff, D, NULL},
                          {"mlp.down_proj.weight", D, c->d_ff, NULL}};
    enum { N = sizeof part / sizeof *part };
    for (int k = 0; k < N; k++)
        part[k].x = random_bf16(part[k].rows * (part[k].cols ? part[k].cols : 1), !part[k].cols,
                                (uint64_t)k);
    for (int64_t l = 0; l < c->n_layers; l++) { /* all alike: only their number costs time */
        char *prefix = mem_printf("model.layers.%lld.", (long long)l);
        write_shard(dir, l + 1, prefix, part, N, index);
        free(prefix);
    }
    for (int k = 0; k < N; k++)
        free(part[k].x);
}

static void write_shape(const char *name, const char *dir)
{
    struct err e = ERR_INIT;
    const struct lm_config *c = NULL;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (!strcmp(shapes[i].name, name))
            c = &shapes[i].c;
    if (!c || file_mkdirs(dir, &e) < 0) {
        fprintf(stderr, "bench_cuda: %s: %s\n", name, c ? e.msg : "no such shape");
        exit(2);
    }
    struct buf index = {0};
    buf_puts(&index, "{\"metadata\": {}, \"weight_map\": {\n");
    struct part ends[] = {
        {"model.embed_tokens.weight", c->n_vocab, c->d_model,
         random_bf16(c->n_vocab * c->d_model, false, 100)},
        {"model.norm.weight", c->d_model, 0, random_bf16(c->d_model, true, 0)},
        {"lm_head.weight", c->n_vocab, c->d_model, NULL}};
    if (!c->is_tied)
        ends[2].x = random_bf16(c->n_vocab * c->d_model, false, 101);
    write_shard(dir, 0, "", ends, c->is_tied ? 2 : 3, &index);
    write_layers(c, dir, &index);
    buf_puts(&index, "\n}}\n");
    char *path = mem_printf("%s/model.safetensors.index.json", dir);
    struct lm_config llama = *c;
    llama.family = lm_family_find("llama", NULL);
    char *config = lm_config_write_hf(&llama), *config_path = mem_printf("%s/config.json", dir);
    if (file_write_all(path, index.data, index.len, &e) < 0 ||
        file_write_all(config_path, config, strlen(config), &e) < 0)
        fail(dir, &e);
    for (int k = 0; k < 3; k++)
        free(ends[k].x);
    free(path);
    free(config);
    free(config_path);
    buf_free(&index);
    printf("%lld parameters\n", (long long)lm_config_n_params(c));
}

/* ---- steps ---- */

static int64_t used_bytes(const struct lm_dev *d)
{
    size_t n_free = 0, n_total = 0;
    if (d->ops->memory_info)
        d->ops->memory_info((struct lm_dev *)(uintptr_t)d, &n_free, &n_total);
    return (int64_t)(n_total - n_free);
}

static struct lm_options options_of(const char *work, const char *device)
{
    struct lm_options o = LM_OPTIONS_DEFAULTS;
    o.device = device;
    o.tuning = !strncmp(work, "full", 4) ? LM_TUNE_FULL : LM_TUNE_LORA;
    o.recompute = strstr(work, "recompute") != NULL;
    o.micro_tokens = 0;
    return o;
}

static int64_t longest_of(const struct bench *b)
{
    int64_t longest = 1;
    for (int64_t i = 0; i < b->n_records; i++)
        if (b->records[i].n_tokens > longest)
            longest = b->records[i].n_tokens;
    return longest;
}

static int64_t largest_batch(const struct bench *b)
{
    int64_t largest = 1;
    for (int k = 0; k < b->n_batches; k++)
        if (b->batches[k].n_tokens > largest)
            largest = b->batches[k].n_tokens;
    return largest;
}

static struct lm_step_stats step(struct lm *m, const struct lm_batch *batch, double lr)
{
    struct err e = ERR_INIT;
    struct lm_step_stats s;
    if (lm_step(m, batch, lr, &s, &e) < 0)
        fail("step", &e);
    return s;
}

static void open_work(struct bench *b, const char *dir, const char *work, int64_t size)
{
    struct err e = ERR_INIT;
    struct lm_options o = options_of(work, "cuda");
    lm_close(b->m);
    b->m = NULL;
    make_batches(b, size, INT32_MAX);
    o.micro_tokens = largest_batch(b);
    o.longest = longest_of(b);
    struct lm_dev *d =
        lm_dev_open_cuda(0, &e); /* the context's own memory is not the model's */
    if (!d)
        fail("device", &e);
    b->used_before = used_bytes(d) - d->workspace_bytes;
    if (lm_plan(dir, &o, &b->plan, &e) < 0)
        fail(dir, &e);
    if (b->plan.total > b->plan.available) {
        printf("does not fit: %.1f GiB of %.1f\n", (double)b->plan.total / (1 << 30),
               (double)b->plan.available / (1 << 30));
        lm_dev_close(d);
        return;
    }
    lm_dev_close(d);
    o.micro_tokens = b->plan.micro_tokens;
    double start = text_clock();
    b->m = lm_open(dir, &o, &e);
    if (!b->m)
        fail(dir, &e);
    make_batches(b, size, b->m->c.n_vocab);
    printf("%s, loaded in %.1f s, micro-batch %lld, %d batches\n", lm_arith_path(b->m),
           text_clock() - start, (long long)b->plan.micro_tokens, b->n_batches);
}

static double pairs(const struct lm_batch *batch)
{
    double sum = 0;
    for (int64_t s = 0; s < batch->n_seqs; s++) {
        double n = (double)(batch->offsets[s + 1] - batch->offsets[s]);
        sum += n * (n + 1) / 2;
    }
    return sum;
}

static double operations(const struct lm *m, const struct lm_batch *batch, int64_t n_targets)
{
    double weights = 0, passes = m->o.tuning == LM_TUNE_FULL ? 3 : 2;
    double head = 2 * (double)m->head.n_out * (double)m->head.n_in * (double)n_targets;
    for (int g = 0; g < N_GROUPS; g++)
        weights += (double)m->layers[0].lin[g].n_out * (double)m->layers[0].lin[g].n_in;
    double linear = 2 * weights * (double)batch->n_tokens * (double)m->c.n_layers;
    double attention =
        4 * (double)(m->c.n_heads * m->c.d_head) * pairs(batch) * (double)m->c.n_layers;
    return (linear + head) * passes + attention * 3;
}

/* The plugin's own counters, which RAISE_CUDA_PLUGIN names. */
static void read_counts(const struct bench *b, int64_t counts[2])
{
    const char *path = getenv("RAISE_CUDA_PLUGIN");
    void *so = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    void *symbol = so ? dlsym(so, "raise_cuda_counts") : NULL;
    void (*read)(struct lm_dev *, int64_t *, int64_t *);
    memcpy(&read, &symbol, sizeof read);
    counts[0] = counts[1] = 0;
    if (symbol)
        read(b->m->d, &counts[0], &counts[1]);
    if (so)
        dlclose(so);
}

static void one_step(struct bench *b, int k)
{
    int64_t before[2];
    const struct lm_batch batch = lm_pack_batch(&b->batches[k % b->n_batches]);
    read_counts(b, before);
    double start = text_clock();
    struct lm_step_stats s = step(b->m, &batch, 1e-5);
    b->m->d->ops->sync(b->m->d);
    double seconds = text_clock() - start;
    read_counts(b, b->counts);
    for (int i = 0; i < 2; i++)
        b->counts[i] -= before[i];
    printf("%.6f %lld %lld %.6f %.6e\n", seconds, (long long)s.n_tokens, (long long)s.n_targets,
           s.loss, operations(b->m, &batch, s.n_targets));
}

/* ---- the device ---- */

static void probe(void)
{
    struct err e = ERR_INIT;
    size_t n_free, n_total;
    struct lm_dev *d = lm_dev_open_cuda(0, &e);
    if (!d) {
        printf("none: %s\n", e.msg);
        return;
    }
    d->ops->memory_info(d, &n_free, &n_total);
    printf("%s, %.1f of %.1f GiB free\n", d->model, (double)n_free / (1 << 30),
           (double)n_total / (1 << 30));
    lm_dev_close(d);
}

static void peak(int64_t n)
{
    struct err e = ERR_INIT;
    enum { TIMES = 30 };
    struct lm_dev *d = lm_dev_open_cuda(0, &e);
    if (!d)
        fail("device", &e);
    size_t count = (size_t)(n * n);
    float *host = mem_alloc(count, sizeof *host), *w = d->ops->alloc(d, count * 4, &e);
    void *x = d->ops->alloc(d, count * 2, &e), *y = d->ops->alloc(d, count * 2, &e);
    if (!w || !x || !y)
        fail("peak", &e);
#pragma omp parallel for
    for (size_t i = 0; i < count; i++)
        host[i] = (float)(rng_hash_unit(1, i, 0, 0) - 0.5);
    d->ops->upload(d, w, host, count * 4);
    d->ops->to_act(d, x, w, count);
    struct lm_matrix *m = d->ops->matrix_new(d, w, n, n, &e);
    if (!m)
        fail("peak", &e);
    double start = 0;
    for (int i = -3; i < TIMES; i++) {
        if (!i) {
            d->ops->sync(d);
            start = text_clock();
        }
        d->ops->linear_fwd(d, y, n, x, n, m, n, false);
        if (n < 1024 && i >= 0)
            break;
    }
    d->ops->sync(d);
    double seconds = (text_clock() - start) / (n < 1024 ? 1 : TIMES);
    printf("%.2f\n", 2 * (double)n * (double)n * (double)n / seconds / 1e12);
    d->ops->matrix_free(d, m);
    d->ops->free(d, w);
    d->ops->free(d, x);
    d->ops->free(d, y);
    lm_dev_close(d);
    free(host);
}

/* ---- the GPU beside the CPU ---- */

static float *gradients(struct lm *m, const struct lm_batch *batch, int64_t *n, double *loss)
{
    struct err e = ERR_INIT;
    struct lm_step_stats s;
    float *x = NULL;
    size_t cap = 0;
    if (lm_gradient(m, batch, &s, &e) < 0)
        fail("gradient", &e);
    *n = 0;
    for (int64_t i = 0; i < lm_n_params(m); i++) {
        const struct lm_param *p = lm_param_at(m, i);
        int64_t size = p->shape[0] * (p->n_dims > 1 ? p->shape[1] : 1);
        MEM_GROW(x, cap, *n + size);
        lm_param_grad(m, i, x + *n);
        *n += size;
    }
    *loss = s.loss;
    return x;
}

static double distance(const float *a, const float *b, int64_t n)
{
    double diff = 0, norm = 0;
    for (int64_t i = 0; i < n; i++) {
        diff += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        norm += (double)b[i] * (double)b[i];
    }
    return sqrt(diff / norm);
}

/* AdamW's first steps are sign-like: where a gradient is near zero, rounding decides. */
static void copy_params(struct lm *to, struct lm *from)
{
    float *x = NULL;
    size_t cap = 0;
    for (int64_t i = 0; i < lm_n_params(from); i++) {
        const struct lm_param *p = lm_param_at(from, i);
        MEM_GROW(x, cap, p->shape[0] * (p->n_dims > 1 ? p->shape[1] : 1));
        lm_param_get(from, i, x);
        lm_param_set(to, i, x);
    }
    free(x);
}

static void compare(struct bench *b, const char *dir, int64_t size, int n_steps)
{
    struct err e = ERR_INIT;
    static const char *const devices[] = {"cpu", "cuda"};
    struct lm *m[2];
    float *g[2];
    double loss[2], curve = 0;
    int64_t n = 0;
    for (int i = 0; i < 2; i++) {
        struct lm_options o = options_of("lora", devices[i]);
        o.precision = i ? LM_PRECISION_AUTO : LM_PRECISION_FP32;
        if (!(m[i] = lm_open(dir, &o, &e)))
            fail(dir, &e);
        make_batches(b, size, m[i]->c.n_vocab);
        const struct lm_batch batch = lm_pack_batch(&b->batches[0]);
        step(m[i], &batch, 1e-3); /* B is zero before, and A's gradient, too */
        if (i)
            copy_params(m[1], m[0]);
        g[i] = gradients(m[i], &batch, &n, &loss[i]);
    }
    for (int k = 0; k < n_steps; k++) {
        const struct lm_batch batch = lm_pack_batch(&b->batches[k % b->n_batches]);
        double x = step(m[1], &batch, 1e-3).loss, y = step(m[0], &batch, 1e-3).loss;
        if (!isnan(curve) && !(fabs(x / y - 1) <= curve))
            curve = fabs(x / y - 1); /* or NaN, which stays */
    }
    printf("%.3e %.3e %.3e\n", fabs(loss[1] / loss[0] - 1), distance(g[1], g[0], n), curve);
    for (int i = 0; i < 2; i++) {
        lm_close(m[i]);
        free(g[i]);
    }
}

/* ---- commands ---- */

static void need_model(const struct bench *b)
{
    if (!b->m) {
        fprintf(stderr, "bench_cuda: nothing is open\n");
        exit(2);
    }
}

static void obey(struct bench *b, char *line)
{
    char word[32] = "", s1[512] = "", s2[512] = "";
    long n1 = 0, n2 = 0;
    (void)!sscanf(line, "%31s", word);
    if (!strcmp(word, "probe")) {
        probe();
    } else if (sscanf(line, "peak %ld", &n1) == 1) {
        peak(n1);
    } else if (sscanf(line, "shape %511s %511s", s1, s2) == 2) {
        write_shape(s1, s2);
    } else if (sscanf(line, "open %511s %511s %ld", s1, s2, &n1) == 3) {
        open_work(b, s1, s2, n1);
    } else if (sscanf(line, "step %ld", &n1) == 1) {
        need_model(b);
        one_step(b, (int)n1);
    } else if (!strcmp(word, "counts")) {
        printf("%lld %lld\n", (long long)b->counts[0], (long long)b->counts[1]);
    } else if (!strcmp(word, "close")) {
        lm_close(b->m);
        b->m = NULL;
        puts("closed");
    } else if (!strcmp(word, "memory")) {
        need_model(b);
        printf("%lld %lld\n", (long long)b->plan.total,
               (long long)(used_bytes(b->m->d) - b->used_before));
    } else if (sscanf(line, "compare %511s %ld %ld", s1, &n1, &n2) == 3) {
        compare(b, s1, n1, (int)n2);
    } else {
        fprintf(stderr, "bench_cuda: %s: unknown\n", line);
        exit(2);
    }
    fflush(stdout);
}

int main(int argc, char **argv)
{
    cpu_fix_blas(argv);
    if (argc != 2) {
        fprintf(stderr, "usage: bench_cuda RECORDS\n");
        return 2;
    }
    struct bench b = {.records = NULL};
    char line[2048];
    read_records(&b, argv[1]);
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = '\0';
        obey(&b, line);
    }
    lm_close(b.m);
    free_batches(&b);
    for (int64_t i = 0; i < b.n_records; i++)
        lm_pack_free(&b.records[i]);
    free(b.records);
    return 0;
}
