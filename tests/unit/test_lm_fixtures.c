/* SPDX-License-Identifier: MIT
 * The engine against what transformers and peft computed (tests/parity/reference.py).
 *
 *     test_lm_fixtures                 every folder of tests/fixtures/lm, on both CPU backends
 *     test_lm_fixtures DEVICE DIR...   the same checks of these folders as CSV rows
 *     test_lm_fixtures --write DIR OUT saves DIR's adapted model as OUT/adapter and OUT/model
 *
 * Errors are relative to the largest value of the tensor that is compared; losses to the loss.
 */
#include "base/cpu.h"
#include "base/file.h"
#include "base/mem.h"
#include "lm/lm.h"
#include "stream/st.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const cases[] = {"llama",      "llama-tied-llama3", "llama-mha-linear",
                                    "llama-bias", "mistral",           "qwen2",
                                    "qwen3"};
enum { N_CASES = sizeof cases / sizeof *cases };

static int n_failed, n_checks;

static void verdict(const char *dir, const char *check, double worst, double bound)
{
    const char *name = strrchr(dir, '/') ? strrchr(dir, '/') + 1 : dir;
    bool is_ok = worst <= bound; /* false for NaN */
    n_checks++;
    n_failed += !is_ok;
    printf("%s %s,%.3g,%.2g,%s\n", name, check, worst, bound, is_ok ? "ok" : "FAIL");
}

static void die(const char *what, const struct err *e)
{
    printf("%s: %s\n", what, e->msg);
    exit(1);
}

/* ---- what the reference wrote ---- */

struct fixture {
    const char *dir;
    char *model;
    struct file_map map;
    struct st_msg *msg;
};

static struct fixture open_fixture(const char *dir)
{
    struct err e = ERR_INIT;
    struct fixture x = {.dir = dir};
    char *path = mem_printf("%s/expect.safetensors", dir), *text;
    size_t len;
    if (file_map_open(&x.map, path, &e) < 0)
        die(path, &e);
    x.msg = st_msg_parse(x.map.data, x.map.len, path, &e);
    if (!x.msg)
        die(path, &e);
    free(path);
    path = mem_printf("%s/model", dir); /* a file with the model's path, or the folder itself */
    if (file_exists(path) && file_read_all(path, &text, &len, &e) == 0) {
        text[strcspn(text, "\n")] = 0;
        x.model = text;
    } else {
        x.model = mem_strdup(dir);
    }
    free(path);
    return x;
}

static void close_fixture(struct fixture *x)
{
    st_msg_free(x->msg);
    file_map_close(&x->map);
    free(x->model);
}

static const struct st_tensor *find(const struct fixture *x, const char *a, const char *b)
{
    char *name = mem_printf("%s%s", a, b);
    const struct st_tensor *t = st_msg_find(x->msg, name);
    free(name);
    return t;
}

static const struct st_tensor *need(const struct fixture *x, const char *a, const char *b)
{
    const struct st_tensor *t = find(x, a, b);
    if (!t) {
        printf("%s: no tensor %s%s\n", x->dir, a, b);
        exit(1);
    }
    return t;
}

static struct lm_batch batch_at(const struct fixture *x, const char *name, int i)
{
    char stem[64];
    snprintf(stem, sizeof stem, i < 0 ? "%s" : "%s%d", name, i);
    const struct st_tensor *ids = need(x, stem, ".ids"), *offsets = need(x, stem, ".offsets");
    return (struct lm_batch){.ids = ids->data,
                             .is_loss = need(x, stem, ".is_loss")->data,
                             .offsets = offsets->data,
                             .n_seqs = offsets->shape[0] - 1,
                             .n_tokens = ids->shape[0]};
}

/* fmax that does not pass over a NaN. */
static double larger(double a, double b)
{
    return b > a || isnan(b) ? b : a;
}

/* Largest difference beside the largest value expected. */
static double distance(const float *have, const float *want, int64_t n)
{
    double worst = 0, scale = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = fabs((double)have[i] - (double)want[i]);
        worst = d > worst || isnan(d) ? d : worst;
        scale = fmax(scale, fabs((double)want[i]));
        if (isnan(worst))
            return worst;
    }
    return scale > 0 ? worst / scale : worst;
}

/* ---- checks ---- */

static void check_logits(struct lm *m, const struct fixture *x, const char *tag,
                         struct lm_batch b)
{
    struct err e = ERR_INIT;
    const struct st_tensor *want = need(x, tag, ".logits");
    int64_t V = lm_get_config(m)->n_vocab, T = want->shape[0];
    while (b.offsets[b.n_seqs] > T) /* the reference may hold the first sequences' only */
        b.n_seqs--;
    b.n_tokens = T;
    float *have = mem_alloc((size_t)(T * V), sizeof *have);
    if (lm_logits(m, &b, have, &e) < 0)
        die("logits", &e);
    char *name = mem_printf("%s logits", tag);
    verdict(x->dir, name, distance(have, want->data, T * V), 1e-5);
    free(name);
    free(have);
}

/* What lm_nll says of the sequences that the reference holds. */
struct scores {
    double *nll;
    int64_t *count, n_seqs, n_targets;
};

static struct scores score(struct lm *m, struct lm_batch b, int64_t n_seqs)
{
    struct err e = ERR_INIT;
    struct scores s = {mem_alloc((size_t)n_seqs, sizeof *s.nll),
                       mem_alloc((size_t)n_seqs, sizeof *s.count), n_seqs, 0};
    b.n_seqs = n_seqs;
    b.n_tokens = b.offsets[n_seqs];
    if (lm_nll(m, &b, s.nll, s.count, &e) < 0)
        die("nll", &e);
    for (int64_t i = 0; i < n_seqs; i++)
        s.n_targets += s.count[i];
    return s;
}

static void free_scores(struct scores *s)
{
    free(s->nll);
    free(s->count);
}

static void check_nll(const struct scores *s, const struct fixture *x, const char *tag,
                      double bound)
{
    const float *want = need(x, tag, ".nll")->data;
    double worst = 0;
    for (int64_t i = 0; i < s->n_seqs; i++)
        worst = larger(worst, fabs(s->nll[i] - (double)want[i]) / fmax(1, (double)want[i]));
    char *name = mem_printf("%s log P(y|x)", tag);
    verdict(x->dir, name, worst, bound);
    free(name);
}

/* Errors of float32 on a real model (SmolLM2-135M-Instruct, 40 records, 3,200 response tokens).
 *
 * A token's log P differs from float64's by a random amount: mean 2e-8 nats with a standard
 * error of 8e-8, so without bias; standard deviation 4.4e-6 with OpenBLAS' Cooperlake kernel,
 * 4.2e-6 with its Haswell kernel, 3.6e-6 in transformers. It comes from the products' sums of
 * hundreds of terms in float: with every other op computed in double it stays 4.3e-6; with
 * products summed in double, 6.7e-7. A record of n tokens is then off by S sqrt(n), S = 5e-6,
 * the worst of 200 by some 4 of that. Beside a float32 reference S is 5e-6 * sqrt(2). */
static const double token_error = 5e-6, many = 5;

static void check_rounding(const struct scores *s, const struct fixture *x, const char *tag,
                           double S)
{
    const float *want = need(x, tag, ".nll")->data;
    double worst = 0, sum = 0, total = 0;
    for (int64_t i = 0; i < s->n_seqs; i++) {
        double d = s->nll[i] - (double)want[i];
        worst = larger(worst, fabs(d) / sqrt(fmax(1, (double)s->count[i])));
        sum += d;
        total += (double)want[i];
    }
    char *name = mem_printf("%s log P(y|x) error / sqrt(tokens)", tag);
    verdict(x->dir, name, worst, many * S);
    free(name);
    name = mem_printf("%s mean loss", tag);
    verdict(x->dir, name, fabs(sum) / total, 1e-6);
    free(name);
}

/* A record's sum of a few losses, each rounded to float by the reference, too. */
static void check_tiny_nll(struct lm *m, const struct fixture *x, const char *tag,
                           struct lm_batch b)
{
    struct scores s = score(m, b, b.n_seqs);
    check_nll(&s, x, tag, 2e-6);
    free_scores(&s);
}

static void check_gradients(struct lm *m, const struct fixture *x, const char *tag,
                            const struct lm_batch *b)
{
    struct err e = ERR_INIT;
    struct lm_step_stats s;
    char *prefix = mem_printf("%s.grad.", tag), *name = mem_printf("%s gradients", tag);
    double worst = 0;
    if (lm_gradient(m, b, &s, &e) < 0)
        die("gradient", &e);
    for (int64_t i = 0; i < lm_n_params(m); i++) {
        const struct lm_param *p = lm_param_at(m, i);
        const struct st_tensor *want = need(x, prefix, p->name);
        int64_t n = p->shape[0] * (p->n_dims > 1 ? p->shape[1] : 1);
        float *have = mem_alloc((size_t)n, sizeof *have);
        lm_param_grad(m, i, have);
        double d = distance(have, want->data, n);
        if (!(d <= 1e-4))
            printf("# %s: gradient of %s differs by %g\n", x->dir, p->name, d);
        worst = d > worst || isnan(d) ? d : worst;
        free(have);
    }
    verdict(x->dir, name, worst, 1e-4);
    free(prefix);
    free(name);
}

static void check_curve(struct lm *m, const struct fixture *x, const char *tag,
                        const char *batches, int n_batches, double lr)
{
    struct err e = ERR_INIT;
    struct lm_step_stats s;
    const struct st_tensor *curve = need(x, tag, ".curve"), *norms = find(x, tag, ".norms");
    double worst = 0, worst_norm = 0;
    for (int64_t t = 0; t < curve->shape[0]; t++) {
        const struct lm_batch b = batch_at(x, batches, (int)(t % n_batches));
        double want = (double)((const float *)curve->data)[t];
        if (lm_step(m, &b, lr, &s, &e) < 0)
            die("step", &e);
        char *name = mem_printf("%s loss", tag);
        double d = fabs(s.loss - want) / want;
        if (t == 0)
            verdict(x->dir, name, d, 1e-6);
        free(name);
        worst = larger(worst, d);
        if (norms) {
            double n = (double)((const float *)norms->data)[t];
            worst_norm = larger(worst_norm, fabs(s.grad_norm - n) / n);
        }
    }
    char *name = mem_printf("%s curve of %lld steps", tag, (long long)curve->shape[0]);
    verdict(x->dir, name, worst, 1e-4);
    free(name);
    if (norms)
        verdict(x->dir, "gradient norm along the curve", worst_norm, 1e-3);
}

static struct lm_options options_of(const char *device, enum lm_tuning tuning)
{
    struct lm_options o = LM_OPTIONS_DEFAULTS;
    o.precision = LM_PRECISION_FP32;
    o.device = device;
    o.tuning = tuning;
    o.beta2 = 0.95;
    o.weight_decay = 0.1;
    o.micro_tokens = 16; /* the tiny batches are worked off in pieces */
    return o;
}

static struct lm *open_model(const struct fixture *x, const struct lm_options *o)
{
    struct err e = ERR_INIT;
    struct lm *m = lm_open(x->model, o, &e);
    if (!m)
        die(x->model, &e);
    return m;
}

/* The adapter's shape is the file's: a model without tuning takes any. */
static void read_adapter_shape(const struct fixture *x, struct lm_options *o)
{
    struct err e = ERR_INIT;
    char *path = mem_printf("%s/adapter/adapter_config.json", x->dir), *text;
    static const char *const names[] = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                        "gate_proj", "up_proj", "down_proj"};
    size_t len;
    if (file_read_all(path, &text, &len, &e) < 0)
        die(path, &e);
    o->lora_targets = 0;
    for (unsigned i = 0; i < 7; i++)
        if (strstr(text, names[i]))
            o->lora_targets |= 1U << i;
    o->lora_rank = 4;
    o->lora_alpha = strstr(text, "\"use_rslora\": true") ? 6 * sqrt(4) : 6;
    free(text);
    free(path);
}

static struct lm *open_lora(const struct fixture *x, struct lm_options *o)
{
    struct err e = ERR_INIT;
    char *dir = mem_printf("%s/adapter", x->dir);
    read_adapter_shape(x, o);
    struct lm *m = open_model(x, o);
    if (lm_load_adapter(m, dir, &e) < 0)
        die(dir, &e);
    free(dir);
    return m;
}

static void check_lora(const struct fixture *x, const char *device)
{
    struct lm_options o = options_of(device, LM_TUNE_LORA);
    struct lm *m = open_lora(x, &o);
    const struct lm_batch b = batch_at(x, "batch", 0);
    check_logits(m, x, "lora", b);
    check_tiny_nll(m, x, "lora", b);
    check_gradients(m, x, "lora", &b);
    check_curve(m, x, "lora", "batch", 3, 3e-3);
    lm_close(m);
}

/* What peft and transformers are to load, and the logits that they should then give. */
static void write_model(const char *dir, const char *out)
{
    struct err e = ERR_INIT;
    struct lm_options o = options_of("cpu", LM_TUNE_LORA);
    struct fixture x = open_fixture(dir);
    struct lm *m = open_lora(&x, &o);
    const struct lm_batch b = batch_at(&x, "batch", 0);
    int64_t shape[2] = {b.n_tokens, lm_get_config(m)->n_vocab};
    float *logits = mem_alloc((size_t)(shape[0] * shape[1]), sizeof *logits);
    char *adapter = mem_printf("%s/adapter", out), *model = mem_printf("%s/model", out);
    char *path = mem_printf("%s/logits.safetensors", out);
    struct st_msg *msg = st_msg_new();
    if (lm_logits(m, &b, logits, &e) < 0 || lm_save_adapter(m, adapter, "base", &e) < 0 ||
        lm_save_model(m, model, NULL, &e) < 0)
        die(out, &e);
    st_msg_add(msg, "logits", ST_F32, 2, shape, logits);
    if (st_write(path, ST_PLAIN, msg, &e) < 0)
        die(path, &e);
    st_msg_free(msg);
    lm_close(m);
    close_fixture(&x);
    free(logits);
    free(adapter);
    free(model);
    free(path);
}

static void check_full(const struct fixture *x, const char *device)
{
    const struct lm_options o = options_of(device, LM_TUNE_FULL);
    struct lm *m = open_model(x, &o);
    const struct lm_batch b = batch_at(x, "batch", 0);
    check_logits(m, x, "full", b);
    check_tiny_nll(m, x, "full", b);
    check_gradients(m, x, "full", &b);
    check_curve(m, x, "full", "batch", 3, 3e-3);
    lm_close(m);
}

/* The reference backend sums in double: what is left is rounding of activations to float, and a
 * bound that no formula in error would meet. Its products are slow: a few records. */
static void check_double_sums(const struct fixture *x)
{
    struct lm_options o = options_of("ref", LM_TUNE_NONE);
    o.micro_tokens = 2048;
    struct lm *m = open_model(x, &o);
    struct scores s = score(m, batch_at(x, "batch", 0), 4);
    const float *want = need(x, "scored64", ".nll")->data;
    double worst = 0;
    for (int64_t i = 0; i < s.n_seqs; i++)
        worst = larger(worst, fabs(s.nll[i] - (double)want[i]) / (double)want[i]);
    verdict(x->dir, "scored64 log P(y|x) with sums in double", worst, 1e-6);
    free_scores(&s);
    lm_close(m);
}

/* A real model: scores of many records, logits of some, gradients, a short LoRA run, against
 * transformers in float32 and in float64. Relative to max(1, nll), a record of 8 tokens and 2
 * nats, as there are, may be off by 5 S sqrt(8) / 2. */
static void check_real(const struct fixture *x, const char *device)
{
    struct err e = ERR_INIT;
    struct lm_step_stats s;
    struct lm_options o = options_of(device, LM_TUNE_NONE);
    o.micro_tokens = 2048;
    struct lm *m = open_model(x, &o);
    struct lm_batch b = batch_at(x, "batch", 0);
    struct scores scored = score(m, b, b.n_seqs);
    check_logits(m, x, "scored", b);
    check_logits(m, x, "scored64", b);
    check_nll(&scored, x, "scored", many * token_error * sqrt(2) * sqrt(8) / 2);
    check_nll(&scored, x, "scored64", many * token_error * sqrt(8) / 2);
    check_rounding(&scored, x, "scored", token_error * sqrt(2));
    check_rounding(&scored, x, "scored64", token_error);
    free_scores(&scored);
    check_double_sums(x);
    lm_close(m);
    o.tuning = LM_TUNE_LORA;
    m = open_lora(x, &o);
    b = batch_at(x, "step", 0);
    check_gradients(m, x, "step64", &b);
    if (lm_gradient(m, &b, &s, &e) < 0)
        die("gradient", &e);
    double want = (double)*(const float *)need(x, "step64", ".loss")->data;
    verdict(x->dir, "step64 loss", fabs(s.loss - want) / want, 1e-6);
    check_curve(m, x, "step", "step", 4, 3e-4);
    lm_close(m);
}

static void check_dir(const char *dir, const char *device)
{
    struct fixture x = open_fixture(dir);
    if (find(&x, "scored", ".nll"))
        check_real(&x, device);
    else if (find(&x, "full", ".nll"))
        check_full(&x, device);
    if (find(&x, "lora", ".nll"))
        check_lora(&x, device);
    close_fixture(&x);
}

static void check_all(const char *device)
{
    const char *tests = getenv("RAISE_TESTS");
    n_failed = 0;
    n_checks = 0;
    for (int i = 0; i < N_CASES; i++) {
        char *dir = mem_printf("%s/fixtures/lm/%s", tests ? tests : "tests", cases[i]);
        check_dir(dir, device);
        free(dir);
    }
    assert_int_equal(n_failed, 0);
    assert_true(n_checks > 0);
}

static void the_reference_backend_agrees(void **state)
{
    (void)state;
    check_all("ref");
}

static void the_cpu_backend_agrees(void **state)
{
    (void)state;
    check_all("cpu");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reference_backend_agrees),
        cmocka_unit_test(the_cpu_backend_agrees),
    };
    cpu_fix_blas(argv);
    if (argc == 4 && !strcmp(argv[1], "--write")) {
        write_model(argv[2], argv[3]);
        return 0;
    }
    for (int i = 2; i < argc; i++)
        check_dir(argv[i], argv[1]);
    if (argc > 2)
        return n_failed > 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
