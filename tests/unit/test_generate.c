/* SPDX-License-Identifier: MIT
 * lm/generate: tokens beside the scoring forward pass over the grown sequence, on the tiny
 * models of tests/fixtures/lm; what they must not depend on; how sequences end; what is
 * refused. */
#include "base/mem.h"
#include "base/rng.h"
#include "lm/batch.h"
#include "lm/generate.h"

#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { N_PROMPTS = 7, MAX_NEW = 9, V = 83 };

static const char *const families[] = {"llama", "llama-bias", "llama-mha-linear", "mistral",
                                       "qwen2", "qwen3",      "llama-tied-llama3"};
enum { N_FAMILIES = sizeof families / sizeof *families };

static char *fixture(const char *name)
{
    const char *tests = getenv("RAISE_TESTS");
    return mem_printf("%s/fixtures/lm/%s", tests ? tests : "tests", name);
}

static struct lm_options options_for(const char *device)
{
    struct lm_options o = LM_OPTIONS_DEFAULTS;
    o.device = device;
    o.precision = LM_PRECISION_FP32;
    return o;
}

/* The model with its adapter, whose B is not zero. */
static struct lm *open_with(const char *name, const struct lm_options *o)
{
    struct err e = ERR_INIT;
    char *path = fixture(name), *adapter = mem_printf("%s/adapter", path);
    struct lm *m = lm_open(path, o, &e);
    if (!m || lm_load_adapter(m, adapter, &e) < 0)
        fail_msg("%s", e.msg);
    free(path);
    free(adapter);
    return m;
}

/* Prompts of 1, 4, 7, ... tokens; of n_same tokens more at their beginning. */
static struct lm_pack make_prompts(int64_t n_same)
{
    struct lm_pack p = {0};
    uint8_t none[64] = {0};
    for (int64_t i = 0; i < N_PROMPTS; i++) {
        int32_t ids[64];
        int64_t n = n_same + 1 + i * 3;
        for (int64_t t = 0; t < n; t++)
            ids[t] = (int32_t)(rng_hash(17, t < n_same ? 99 : (uint64_t)i, (uint64_t)t, 0) % V);
        lm_pack_add(&p, ids, none, n);
    }
    return p;
}

struct made {
    struct lm_generated g[N_PROMPTS];
};

static struct made generate(struct lm *m, const struct lm_pack *p,
                            const struct lm_generate_options *o)
{
    struct made x;
    struct err e = ERR_INIT;
    struct lm_batch b = lm_pack_batch(p);
    if (lm_generate(m, &b, o, x.g, &e) < 0)
        fail_msg("%s", e.msg);
    return x;
}

static void made_free(struct made *x)
{
    lm_generated_free(x->g, N_PROMPTS);
}

static void check_same(const char *what, const struct made *a, const struct made *b)
{
    for (int i = 0; i < N_PROMPTS; i++) {
        if (a->g[i].n != b->g[i].n || a->g[i].end != b->g[i].end)
            fail_msg("%s: prompt %d ends otherwise", what, i);
        for (int64_t t = 0; t < a->g[i].n; t++)
            if (a->g[i].ids[t] != b->g[i].ids[t])
                fail_msg("%s: prompt %d, token %d differs", what, i, (int)t);
    }
}

/* ---- beside scoring ---- */

/* Each token has the greatest logit of the forward pass over all before it, or is as near to it
 * as rounding. Returns how many do not have it. */
static int64_t check_prompt(const char *what, struct lm *m, const struct lm_pack *p, int64_t i,
                            const struct lm_generated *g, float tol)
{
    int64_t n = p->offsets[i + 1] - p->offsets[i], total = n + g->n, n_near = 0;
    int64_t offsets[2] = {0, total};
    int32_t *ids = mem_alloc((size_t)total, sizeof *ids);
    float *logits = mem_alloc((size_t)(total * V), sizeof *logits);
    memcpy(ids, p->ids + p->offsets[i], (size_t)n * sizeof *ids);
    memcpy(ids + n, g->ids, (size_t)g->n * sizeof *ids);
    struct lm_batch b = {ids, NULL, offsets, 1, total};
    assert_int_equal(lm_logits(m, &b, logits, NULL), 0);
    for (int64_t t = 0; t < g->n; t++) {
        const float *z = logits + (n + t - 1) * V;
        int best = 0;
        for (int v = 1; v < V; v++)
            best = z[v] > z[best] ? v : best;
        n_near += best != g->ids[t];
        if (!(z[best] - z[g->ids[t]] <= tol))
            fail_msg("%s: prompt %d, token %d is %d with logit %g, want %d with %g", what,
                     (int)i, (int)t, g->ids[t], (double)z[g->ids[t]], best, (double)z[best]);
    }
    free(ids);
    free(logits);
    return n_near;
}

static void check_family(const char *name, const char *device, enum lm_precision precision,
                         float tol)
{
    char what[64];
    struct lm_options o = options_for(device);
    o.precision = precision;
    struct lm *m = open_with(name, &o);
    const struct lm_generate_options go = {.max_new = MAX_NEW};
    struct lm_pack p = make_prompts(0);
    struct made x = generate(m, &p, &go);
    int64_t n_near = 0, n_kinds = 0;
    bool is_seen[V] = {false};
    snprintf(what, sizeof what, "%s on %s", name, device);
    for (int i = 0; i < N_PROMPTS; i++) {
        assert_int_equal(x.g[i].n, MAX_NEW);
        n_near += check_prompt(what, m, &p, i, &x.g[i], tol);
        for (int t = 0; t < MAX_NEW; t++) {
            n_kinds += !is_seen[x.g[i].ids[t]];
            is_seen[x.g[i].ids[t]] = true;
        }
    }
    assert_true(n_kinds > 9); /* else nearly anything would pass */
    assert_true(tol > 1e-4f || n_near == 0);
    made_free(&x);
    lm_pack_free(&p);
    lm_close(m);
}

static void tokens_are_those_of_scoring(void **state)
{
    (void)state;
    for (int i = 0; i < N_FAMILIES; i++) {
        check_family(families[i], "cpu", LM_PRECISION_FP32, 1e-5f);
        check_family(families[i], "ref", LM_PRECISION_FP32, 1e-5f);
    }
}

/* Scoring rounds softmax's weights where a step does not, and a value that is rounded otherwise
 * is off by 2^-8 of itself; so are logits, which are of size 2 to 4, after a few layers of
 * that. The simulated device is slow: two families, of q/k norms and of tied heads. */
static void in_bf16_they_are_so_within_rounding(void **state)
{
    (void)state;
    struct lm_dev *bf16 = lm_dev_open_cpu(LM_BF16, NULL);
    for (int i = 0; bf16 && i < N_FAMILIES; i++)
        check_family(families[i], "cpu", LM_PRECISION_BF16, 0.05f);
    check_family("qwen3", "cuda", LM_PRECISION_AUTO, 0.05f);
    lm_dev_close(bf16);
}

/* ---- what tokens do not depend on ---- */

static struct made with(const char *name, int64_t n_slots, int64_t micro_tokens, int n_threads,
                        int64_t n_same, int64_t n_shared)
{
    struct lm_options o = options_for("cpu");
    o.n_slots = n_slots;
    o.micro_tokens = micro_tokens;
    struct lm *m = open_with(name, &o);
    struct lm_pack p = make_prompts(n_same);
    const struct lm_generate_options go = {.max_new = MAX_NEW, .n_shared = n_shared};
    omp_set_num_threads(n_threads);
    struct made x = generate(m, &p, &go);
    omp_set_num_threads(2);
    lm_pack_free(&p);
    lm_close(m);
    return x;
}

static void tokens_do_not_depend_on_the_batch(void **state)
{
    static const struct {
        int64_t n_slots, micro_tokens;
        int n_threads;
    } ways[] = {{1, 1024, 1}, {2, 1024, 2}, {3, 1, 1}, {0, 25, 2}, {100, 9, 1}};
    (void)state;
    for (int i = 2; i < N_FAMILIES; i += 3) { /* without GQA, and with q/k norms */
        struct made want = with(families[i], 0, 0, 2, 3, 0);
        for (size_t k = 0; k < sizeof ways / sizeof *ways; k++)
            for (int64_t n_shared = 0; n_shared <= 3; n_shared += 3) {
                struct made got = with(families[i], ways[k].n_slots, ways[k].micro_tokens,
                                       ways[k].n_threads, 3, n_shared);
                check_same(families[i], &got, &want);
                made_free(&got);
            }
        made_free(&want);
    }
}

/* The adapter is used as it stands: forked and swapped, and none. */
static void adapters_take_part(void **state)
{
    (void)state;
    struct lm_options o = options_for("cpu");
    struct lm *m = open_with("llama", &o);
    char *path = fixture("llama");
    struct lm *bare = lm_open(path, &o, NULL);
    assert_non_null(bare);
    const struct lm_generate_options go = {.max_new = MAX_NEW};
    struct lm_pack p = make_prompts(0);
    struct made with_it = generate(m, &p, &go), without = generate(bare, &p, &go);
    bool is_other = false;
    for (int i = 0; i < N_PROMPTS; i++)
        is_other |= memcmp(with_it.g[i].ids, without.g[i].ids, MAX_NEW * 4) != 0;
    assert_true(is_other);
    assert_int_equal(lm_adapter_fork(m, NULL), 0);
    lm_adapter_swap(m);
    struct made again = generate(m, &p, &go);
    check_same("after a swap", &again, &with_it);
    made_free(&again);
    made_free(&without);
    made_free(&with_it);
    lm_pack_free(&p);
    lm_close(bare);
    lm_close(m);
    free(path);
}

/* ---- how sequences end ---- */

struct seen {
    int64_t n_calls;
    double n_tokens;
};

static bool over_after_three(void *arg, int64_t seq, const int32_t *ids, int64_t n)
{
    struct seen *s = arg;
    s->n_calls++;
    assert_true(ids[n - 1] >= 0 && ids[n - 1] < V);
    return seq == 4 && n == 3;
}

static void count(void *arg, double n_tokens)
{
    struct seen *s = arg;
    s->n_tokens += n_tokens;
}

/* The tokens up to a prompt's end are those that it has without one; others go on. */
static void sequences_end_by_themselves(void **state)
{
    (void)state;
    for (int64_t n_slots = 1; n_slots <= 4; n_slots += 3) {
        struct lm_options o = options_for("cpu");
        o.n_slots = n_slots;
        struct lm *m = open_with("llama", &o);
        struct lm_pack p = make_prompts(0);
        struct lm_generate_options go = {.max_new = MAX_NEW};
        struct made all = generate(m, &p, &go);
        int32_t stop[2] = {V + 7, all.g[2].ids[4]};
        struct seen seen = {0};
        go = (struct lm_generate_options){.max_new = MAX_NEW,
                                          .stop_ids = stop,
                                          .n_stop_ids = 2,
                                          .is_over = over_after_three,
                                          .arg = &seen};
        lm_on_work(m, count, &seen);
        struct made some = generate(m, &p, &go);
        int64_t n_tokens = p.n_tokens;
        for (int i = 0; i < N_PROMPTS; i++) {
            const struct lm_generated *g = &some.g[i], *w = &all.g[i];
            int64_t n = 0;
            while (n < MAX_NEW && w->ids[n] != stop[1])
                n++;
            bool is_stopped = n < MAX_NEW;
            n = is_stopped ? n + 1 : MAX_NEW;
            bool is_third = i == 4 && n > 3;
            assert_int_equal(g->n, is_third ? 3 : n);
            assert_int_equal(g->end, is_third     ? LM_END_CALLER
                                     : is_stopped ? LM_END_TOKEN
                                                  : LM_END_LENGTH);
            assert_memory_equal(g->ids, w->ids, (size_t)g->n * sizeof *g->ids);
            n_tokens += g->n - 1;
        }
        assert_int_equal(some.g[2].end, LM_END_TOKEN);
        assert_int_equal(some.g[4].n, 3);
        assert_true(seen.n_tokens == (double)n_tokens);
        made_free(&some);
        made_free(&all);
        lm_pack_free(&p);
        lm_close(m);
    }
}

/* ---- what is refused ---- */

static void check_refused(const struct lm_pack *p, const struct lm_generate_options *go,
                          int code, const char *words)
{
    struct err e = ERR_INIT;
    struct lm_options o = options_for("cpu");
    struct lm *m = open_with("mistral", &o);
    struct lm_batch b = lm_pack_batch(p);
    struct lm_generated *g = mem_alloc((size_t)b.n_seqs, sizeof *g);
    int got = lm_generate(m, &b, go, g, &e);
    if (got != code || !strstr(e.msg, words))
        fail_msg("%d, \"%s\", want %d, \"%s\"", got, e.msg, code, words);
    lm_generated_free(g, b.n_seqs);
    free(g);
    lm_close(m);
}

static void what_cannot_be_done_is_named(void **state)
{
    (void)state;
    struct lm_pack p = make_prompts(2), q = make_prompts(0);
    struct lm_generate_options go = {.max_new = 4};
    go.max_new = 0;
    check_refused(&p, &go, ERR_RANGE, "0 new tokens");
    go.max_new = 1 << 20;
    check_refused(&p, &go, ERR_RANGE, "prompt 0 of 3 tokens and 1048576 more: 1048579 tokens");
    go = (struct lm_generate_options){.max_new = 4, .n_shared = 3};
    check_refused(&p, &go, ERR_RANGE, "prompt 0: does not go on from 3 shared tokens");
    go.n_shared = 1;
    q.ids[q.offsets[3]]++;
    check_refused(&q, &go, ERR_RANGE, "prompt 0: does not go on");
    p.ids[p.offsets[3]]++;
    check_refused(&p, &go, ERR_RANGE, "prompt 3: does not go on from 1 shared tokens");
    go.n_shared = 0;
    p.ids[p.offsets[3]] = V;
    check_refused(&p, &go, ERR_RANGE, "prompt 3: token 0 is 83, outside the vocabulary");
    p.offsets[3] = p.offsets[2];
    check_refused(&p, &go, ERR_EMPTY, "prompt 2: no tokens");
    lm_pack_free(&p);
    lm_pack_free(&q);
}

static void a_nan_is_found(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct lm_options o = options_for("cpu");
    o.tuning = LM_TUNE_LORA;
    o.lora_rank = 2;
    char *path = fixture("llama");
    struct lm *m = lm_open(path, &o, NULL);
    assert_non_null(m);
    float bad[4096];
    for (int i = 0; i < 4096; i++)
        bad[i] = NAN;
    assert_true(lm_param_at(m, 0)->shape[0] * lm_param_at(m, 0)->shape[1] <= 4096);
    lm_param_set(m, 0, bad);
    struct lm_pack p = make_prompts(0);
    struct lm_batch b = lm_pack_batch(&p);
    struct lm_generated g[N_PROMPTS];
    const struct lm_generate_options go = {.max_new = 2};
    assert_int_equal(lm_generate(m, &b, &go, g, &e), ERR_NONFINITE);
    assert_string_equal(e.msg, "prompt 0: a logit is not a number");
    lm_generated_free(g, N_PROMPTS);
    lm_pack_free(&p);
    lm_close(m);
    free(path);
}

/* ---- memory ---- */

static void the_plan_counts_the_cache(void **state)
{
    (void)state;
    struct lm_options o = options_for("cpu");
    struct lm_memory none, some, many;
    char *path = fixture("llama");
    o.longest = 50;
    assert_int_equal(lm_plan(path, &o, &none, NULL), 0);
    o.n_slots = 3;
    assert_int_equal(lm_plan(path, &o, &some, NULL), 0);
    struct lm *m = lm_open(path, &o, NULL);
    const struct lm_config *c = lm_get_config(m);
    assert_int_equal(none.cache, 0);
    assert_int_equal(some.cache, 3 * 50 * 2 * 4 * c->n_layers * c->n_kv_heads * c->d_head);
    assert_int_equal(some.total - none.total, some.cache);
    char *text = lm_memory_text(&some);
    assert_non_null(strstr(text, "cache "));
    free(text);
    o.n_slots = (int64_t)1 << 40;
    assert_int_equal(lm_plan(path, &o, &many, NULL), 0);
    assert_true(!many.available || many.total <= many.available);
    assert_true(many.n_slots > 3 && 2 * many.n_slots > many.available / (some.cache / 3 * 2));
    lm_close(m);
    free(path);
}

/* ---- stop strings ---- */

static void check_cut(const struct tok *t, const char *text, const char *const *stops,
                      int64_t n, const char *want, bool is_cut)
{
    struct tok_ids x = {0};
    struct buf out = {0};
    const struct lm_stops s = {t, stops, n};
    assert_int_equal(tok_encode(t, text, strlen(text), TOK_SPECIAL, &x, NULL), 0);
    assert_int_equal(lm_stops_cut(&s, x.ids, (int64_t)x.n, &out), is_cut);
    assert_string_equal(buf_str(&out), want);
    assert_int_equal(lm_stops_cut(&s, x.ids, (int64_t)x.n, NULL), is_cut);
    buf_free(&out);
    free(x.ids);
}

static void text_is_cut_at_stop_strings(void **state)
{
    (void)state;
    const char *tests = getenv("RAISE_TESTS");
    char *path = mem_printf("%s/fixtures/tok/bytes.json", tests ? tests : "tests");
    struct tok *t = tok_load_json(path, NULL);
    assert_non_null(t);
    static const char *const stops[] = {"Question:", "", "\n\n", "on: b"};
    check_cut(t, "a b", stops, 4, "a b", false);
    check_cut(t, "", stops, 4, "", false);
    check_cut(t, "a\n\nb Question: b", stops, 4, "a", true);
    check_cut(t, "a b Question: b\n\n", stops, 1, "a b ", true);
    check_cut(t, "a b Question: b", stops + 3, 1, "a b Questi", true);
    check_cut(t, "a b Question: b", stops, 4, "a b ", true); /* in their order */
    check_cut(t, "a b Question", stops, 1, "a b Question", false);
    const int32_t bad[] = {(int32_t)tok_n_vocab(t) + 3};
    const struct lm_stops s = {t, stops, 1};
    assert_false(lm_stops_cut(&s, bad, 1, NULL));
    tok_free(t);
    free(path);
}

/* Without RAISE_CUDA_PLUGIN: the kernels as the host runs them. */
static void choose_cuda_plugin(void)
{
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 64);
    path[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(path, '/');
    strcpy(slash ? slash + 1 : path, "host-cuda.so");
    setenv("RAISE_CUDA_PLUGIN", path, 0);
}

int main(void)
{
    choose_cuda_plugin();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_are_those_of_scoring),
        cmocka_unit_test(in_bf16_they_are_so_within_rounding),
        cmocka_unit_test(tokens_do_not_depend_on_the_batch),
        cmocka_unit_test(adapters_take_part),
        cmocka_unit_test(sequences_end_by_themselves),
        cmocka_unit_test(what_cannot_be_done_is_named),
        cmocka_unit_test(a_nan_is_found),
        cmocka_unit_test(the_plan_counts_the_cache),
        cmocka_unit_test(text_is_cut_at_stop_strings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
