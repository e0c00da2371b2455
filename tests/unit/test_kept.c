/* SPDX-License-Identifier: MIT
 * Frozen weights in the type that their file has: the same bytes as of float ones, on every
 * instruction set and for any number of threads, in less memory. */
#include "base/cpu.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "lm/generate.h"
#include "lm/model.h"
#include "random_values.h"
#include "stream/st.h"

#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- products ---- */

enum { F32 = 0, F16 = 1, Q4_0 = 2, Q4_1 = 3, Q5_0 = 6, Q5_1 = 7, Q8_0 = 8, Q4_K = 12 };
enum { Q5_K = 13, Q6_K = 14, BF16 = 30, GAP = 3, N_PARTS = 3 };

/* Blocks of any type whose scales are finite: no byte makes a half or a bf16 of 1 or more. */
static void *random_blocks(uint64_t seed, size_t len)
{
    uint8_t *x = mem_alloc(len, 1);
    for (size_t i = 0; i < len; i++)
        x[i] = (uint8_t)(rng_hash(seed, i, 0, 0) & 0x3b);
    return x;
}

struct case_of {
    int type[N_PARTS];
    int64_t n_rows[N_PARTS], n_in, T;
};

/* A kept matrix and the same as float. */
struct both {
    struct lm_kept part[N_PARTS];
    float *wide;
    int64_t n_out;
};

static struct both both_of(const struct case_of *c)
{
    struct both b = {.n_out = 0};
    for (int i = 0; i < N_PARTS; i++)
        b.n_out += c->n_rows[i];
    b.wide = mem_alloc((size_t)(b.n_out * c->n_in), sizeof *b.wide);
    float *at = b.wide;
    for (int i = 0; i < N_PARTS; at += c->n_rows[i++] * c->n_in) {
        const struct gguf_type *t = gguf_type_find(c->type[i]);
        int64_t n = c->n_rows[i] * c->n_in / t->n_values;
        void *data = random_blocks((uint64_t)i + 1, (size_t)(n * t->n_bytes));
        t->decode(at, data, n);
        b.part[i] = (struct lm_kept){t, data, c->n_rows[i]};
    }
    return b;
}

static void both_free(struct both *b)
{
    for (int i = 0; i < N_PARTS; i++)
        free((void *)(uintptr_t)b->part[i].data);
    free(b->wide);
}

enum way { FWD, FWD_ADD, FWD_F32, FWD_ROWS, BWD, BWD_ADD, N_WAYS };

static void multiply(struct lm_dev *d, enum way way, float *y, const float *x, int64_t ld,
                     const struct lm_matrix *m, int64_t T)
{
    d->is_rowwise = way == FWD_ROWS;
    if (way == BWD || way == BWD_ADD)
        d->ops->linear_bwd(d, y, ld, x, ld, m, T, way == BWD_ADD);
    else if (way == FWD_F32)
        d->ops->linear_fwd_f32(d, y, ld, x, ld, m, T);
    else
        d->ops->linear_fwd(d, y, ld, x, ld, m, T, way != FWD);
    d->is_rowwise = false;
}

/* Kept, and kept but pointed at floats for a while, against float. */
static void check_products(struct lm_dev *d, const struct case_of *c)
{
    struct both b = both_of(c);
    int64_t ld = (b.n_out > c->n_in ? b.n_out : c->n_in) + GAP;
    size_t bytes = (size_t)(c->T * ld) * sizeof(float);
    float *x = random_values(3, c->T * ld), *start = random_values(5, c->T * ld);
    float *want = mem_alloc(bytes, 1), *got = mem_alloc(bytes, 1);
    struct lm_matrix *plain = d->ops->matrix_new(d, b.wide, b.n_out, c->n_in, NULL);
    struct lm_matrix *kept = d->ops->matrix_keep(d, b.part, N_PARTS, c->n_in);
    for (int i = 0; i < N_WAYS * 3; i++) {
        enum way way = (enum way)(i / 3);
        omp_set_num_threads(i % 3 == 1 ? 2 : 1);
        d->ops->matrix_update(d, kept, i % 3 == 2 ? b.wide : NULL);
        memcpy(want, start, bytes);
        memcpy(got, start, bytes);
        multiply(d, way, want, x, ld, plain, c->T);
        multiply(d, way, got, x, ld, kept, c->T);
        if (memcmp(want, got, bytes) != 0)
            fail_msg("%s, way %d, run %d, %d x %d", d->ops->name, (int)way, i % 3, (int)b.n_out,
                     (int)c->n_in);
    }
    static const int32_t ids[] = {5, 0, 5};
    float *rows = mem_alloc((size_t)(3 * c->n_in), sizeof *rows);
    d->ops->kept_rows(d, rows, kept, ids, 3);
    for (int i = 0; i < 3; i++)
        assert_memory_equal(rows + i * c->n_in, b.wide + ids[i] * c->n_in,
                            (size_t)c->n_in * sizeof *got);
    d->ops->matrix_free(d, plain);
    d->ops->matrix_free(d, kept);
    free(rows);
    free(x);
    free(start);
    free(want);
    free(got);
    both_free(&b);
}

static void products_are_those_of_floats(void **state)
{
    /* The first is cut into panels, across parts. */
    static const struct case_of cases[] = {{{BF16, Q4_K, F32}, {900, 1201, 1300}, 1280, 4},
                                           {{F16, Q4_0, Q4_1}, {40, 41, 42}, 352, 7},
                                           {{Q5_0, Q5_1, Q8_0}, {7, 350, 1}, 64, 33},
                                           {{Q6_K, Q5_K, BF16}, {17, 20, 30}, 512, 1}};
    (void)state;
    unsetenv("RAISE_ISA");
    for (enum cpu_isa isa = CPU_BASE, best = cpu_isa(); isa <= best; isa++) {
        setenv("RAISE_ISA", cpu_isa_name(isa), 1);
        struct lm_dev *d = lm_dev_open_cpu(LM_F32, NULL);
        assert_non_null(d);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
            check_products(d, &cases[i]);
        lm_dev_close(d);
    }
    unsetenv("RAISE_ISA");
}

/* ---- models ---- */

enum { N_IDS = 14, N_NEW = 6 };
static const int32_t ids[N_IDS] = {1, 7, 3, 9, 4, 11, 2, 1, 5, 8, 21, 6, 30, 12};
static const uint8_t is_loss[N_IDS] = {0, 0, 0, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1};
static const int64_t offsets[] = {0, 7, N_IDS};
static const struct lm_batch batch = {ids, is_loss, offsets, 2, N_IDS};

struct seen {
    uint64_t hash;
    double nll[2], loss, norm;
    float pooled[2 * 64];
    int32_t made[2 * N_NEW];
};

static struct lm_options options(enum lm_tuning tuning, bool is_widened)
{
    struct lm_options o = LM_OPTIONS_DEFAULTS;
    o.precision = LM_PRECISION_FP32;
    o.device = "cpu";
    o.tuning = tuning;
    o.is_widened = is_widened;
    o.lora_rank = 4;
    o.micro_tokens = 8;
    o.longest = 20;
    return o;
}

/* F32 as BF16 (every third tensor), F16 (the next) or F32: truncated, and what is below the
 * halves' range is 0. */
static void *narrow(int64_t i, const struct st_tensor *t, enum st_dtype *type)
{
    size_t n = t->len / 4;
    uint32_t *x = mem_dup(t->data, t->len);
    uint16_t *y = (uint16_t *)(void *)x;
    *type = i % 3 == 0 ? ST_BF16 : i % 3 == 1 ? ST_F16 : ST_F32;
    for (size_t k = 0; k < n && *type != ST_F32; k++) {
        uint32_t u = x[k], exponent = u >> 23 & 255;
        uint32_t half = (exponent - 112) << 10 | (u >> 13 & 1023);
        half = exponent > 112 && exponent < 143 ? half : 0;
        y[k] = (uint16_t)(*type == ST_BF16 ? u >> 16 : (u >> 16 & 0x8000) | half);
    }
    return x;
}

/* A fixture's model in `dir`, its tensors of all three types. */
static void make_mixed(const char *name, const char *dir)
{
    struct err e = ERR_INIT;
    struct file_map map;
    const char *tests = getenv("RAISE_TESTS");
    char *from = mem_printf("%s/fixtures/lm/%s", tests ? tests : "tests", name);
    char *path = mem_printf("%s/model.safetensors", from);
    char *to = mem_printf("%s/model.safetensors", dir);
    char *copy = mem_printf("cp '%s/config.json' '%s'", from, dir);
    assert_int_equal(system(copy), 0);
    assert_int_equal(file_map_open(&map, path, &e), 0);
    struct st_msg *in = st_msg_parse(map.data, map.len, path, &e), *out = st_msg_new();
    assert_non_null(in);
    int64_t n = st_msg_n_tensors(in);
    void **data = mem_alloc((size_t)n, sizeof *data);
    for (int64_t i = 0; i < n; i++) {
        const struct st_tensor *t = st_msg_at(in, i);
        enum st_dtype type;
        assert_int_equal(t->dtype, ST_F32);
        data[i] = narrow(i, t, &type);
        st_msg_add(out, t->name, type, t->n_dims, t->shape, data[i]);
    }
    assert_true(st_write(to, ST_PLAIN, out, &e) >= 0);
    for (int64_t i = 0; i < n; i++)
        free(data[i]);
    st_msg_free(in);
    st_msg_free(out);
    file_map_close(&map);
    free(data);
    free(from);
    free(path);
    free(to);
    free(copy);
}

static char dir[] = "/tmp/test_kept.XXXXXX";

static void remove_dir(void)
{
    char *command = mem_printf("rm -rf '%s'", dir);
    assert_int_equal(system(command), 0);
    free(command);
}

static void look(const char *path, bool is_widened, struct seen *s)
{
    struct err e = ERR_INIT;
    struct lm_options o = options(LM_TUNE_LORA, is_widened);
    struct lm_generate_options go = {.max_new = N_NEW};
    struct lm_generated g[2];
    struct lm_step_stats stats;
    struct lm *m = lm_open(path, &o, &e);
    if (!m)
        fail_msg("%s", e.msg);
    memset(s, 0, sizeof *s);
    s->hash = lm_hash(m);
    for (int t = 0; t < 3; t++)
        assert_int_equal(lm_step(m, &batch, 0.01, &stats, &e), 0);
    s->loss = stats.loss;
    s->norm = stats.grad_norm;
    assert_true(lm_get_config(m)->d_model <= 64);
    assert_int_equal(lm_embed(m, &batch, batch.n_seqs, s->pooled, s->nll, NULL, &e), 0);
    assert_int_equal(lm_generate(m, &batch, &go, g, &e), 0);
    for (int i = 0; i < 2; i++)
        memcpy(s->made + i * N_NEW, g[i].ids, (size_t)g[i].n * sizeof *s->made);
    lm_generated_free(g, 2);
    assert_true(is_widened ? !m->is_kept
                           : m->is_kept && !m->wide && m->layers[0].lin[0].is_narrow &&
                                 m->layers[1].lin[0].is_narrow);
    lm_close(m);
}

static void models_are_those_of_floats(void **state)
{
    static const char *const names[] = {"llama", "llama-tied-llama3", "llama-bias", "qwen2"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct seen kept, wide;
        make_mixed(names[i], dir);
        look(dir, false, &kept);
        look(dir, true, &wide);
        if (memcmp(&kept, &wide, sizeof kept) != 0)
            fail_msg("%s", names[i]);
    }
}

/* Two bytes a value where the file has two; generation has room for floats, full tuning
 * masters.
 */
static void the_plan_knows_what_is_kept(void **state)
{
    (void)state;
    struct lm_memory kept, wide, full, made;
    struct lm_options o = options(LM_TUNE_NONE, false);
    make_mixed("llama", dir);
    const char *path = dir;
    struct lm *m = lm_open(path, &o, NULL);
    assert_non_null(m);
    int64_t n = 0, rest = m->base.n_floats * 4;
    for (size_t i = 0; i < m->base.n; i++)
        n += m->base.t[i].is_matrix ? m->base.t[i].n : 0;
    assert_int_equal(lm_plan(path, &o, &kept, NULL), 0);
    assert_int_equal(kept.weights, rest + m->kept_bytes);
    assert_true(m->kept_bytes >= 2 * n && m->kept_bytes < 3 * n);
    assert_true(kept.widening <= lm_kept_scratch(m));
    o.n_slots = 2;
    assert_int_equal(lm_plan(path, &o, &made, NULL), 0);
    assert_int_equal(made.widening - kept.widening, lm_kept_wide_bytes(m));
    assert_true(lm_kept_wide_bytes(m) > 2 * n && lm_kept_wide_bytes(m) < 4 * n);
    o = options(LM_TUNE_NONE, true);
    assert_int_equal(lm_plan(path, &o, &wide, NULL), 0);
    assert_true(wide.weights >= rest + 4 * n && wide.widening == 0);
    o = options(LM_TUNE_FULL, false);
    assert_int_equal(lm_plan(path, &o, &full, NULL), 0);
    assert_int_equal(full.weights, wide.weights);
    assert_false(lm_kept_has_room(76, 100));
    assert_false(lm_kept_has_room(1, 0)); /* unknown */
    assert_true(lm_kept_has_room(75, 100));
    lm_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_those_of_floats),
        cmocka_unit_test(models_are_those_of_floats),
        cmocka_unit_test(the_plan_knows_what_is_kept),
    };
    assert_non_null(mkdtemp(dir));
    int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    remove_dir();
    return n_failed;
}
