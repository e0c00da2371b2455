/* SPDX-License-Identifier: MIT
 * features/embed and lm/batch: rows against the model's own logits; pooling; packing. */
#include "base/mem.h"
#include "features/embed.h"
#include "features/embed_part.h"
#include "lm/batch.h"
#include "record_of.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { N_RECORDS = 23, DIM = 12 };

static struct lm *model;
static struct tok *tok;
static struct tmpl *tmpl;
static struct dataset data;

static int set_up(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct lm_options lo = LM_OPTIONS_DEFAULTS;
    const char *tests = getenv("RAISE_TESTS");
    char *dir = mem_printf("%s/fixtures/tiny-llama", tests ? tests : "tests");
    char path[] = "/tmp/raise-embed-XXXXXX";
    int fd = mkstemp(path);
    FILE *f = fdopen(fd, "w");
    for (int i = 0; i < N_RECORDS; i++)
        fprintf(f, "{\"prompt\":\"p%.*s\",\"completion\":\"%d%.*s\"}\n", 3 * i % 17,
                "qwertyuiopasdfghjkl", i, 5 * i % 13, "zxcvbnmlkjhgf");
    fclose(f);
    struct data_options want = {0};
    lo.precision = LM_PRECISION_FP32;
    model = lm_open(dir, &lo, &e);
    tok = tok_load(dir, &e);
    tmpl = tmpl_load("plain", &e);
    int rc = dataset_read(&data, path, &want, &e);
    unlink(path);
    free(dir);
    if (!model || !tok || !tmpl || rc)
        fprintf(stderr, "%s\n", e.msg);
    return model && tok && tmpl ? rc : -1;
}

static int tear_down(void **state)
{
    (void)state;
    lm_close(model);
    tok_free(tok);
    tmpl_free(tmpl);
    dataset_free(&data);
    return 0;
}

static struct embed_options options(int64_t batch_tokens)
{
    return (struct embed_options){.tok = tok,
                                  .tmpl = tmpl,
                                  .max_len = 512,
                                  .overlong = EXAMPLE_DROP,
                                  .batch_tokens = batch_tokens,
                                  .dim = DIM};
}

static struct embed_rows rows_of(const struct embed_options *o)
{
    struct err e = ERR_INIT;
    struct embed_rows r = {.dim = o->dim};
    struct embed_drops d = {0};
    assert_int_equal(embed_window(model, o, &data, 0, data.n_records, &r, &d, &e), 0);
    assert_int_equal(d.n, 0);
    return r;
}

/* Sum of log p of ids[from..n) after what stands before them, from the logits. */
static double logp_of(const int32_t *ids, int64_t n, int64_t from)
{
    struct err e = ERR_INIT;
    int64_t V = lm_get_config(model)->n_vocab, offsets[] = {0, n};
    float *logits = mem_alloc((size_t)(n * V), sizeof *logits);
    struct lm_batch b = {ids, NULL, offsets, 1, n};
    double sum = 0;
    assert_int_equal(lm_logits(model, &b, logits, &e), 0);
    for (int64_t t = from; t < n; t++) {
        const float *row = logits + (t - 1) * V;
        double most = -(double)INFINITY, z = 0;
        for (int64_t v = 0; v < V; v++)
            most = fmax(most, (double)row[v]);
        for (int64_t v = 0; v < V; v++)
            z += exp((double)row[v] - most);
        sum += (double)row[ids[t]] - most - log(z);
    }
    free(logits);
    return sum;
}

static void rows_are_what_the_logits_say(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct embed_options o = options(4096);
    struct embed_rows r = rows_of(&o);
    assert_int_equal(r.n, N_RECORDS);
    for (int64_t i = 0; i < r.n; i++) {
        struct example x;
        assert_int_equal(
            example_make(tok, tmpl, record_of(&data, i), 512, EXAMPLE_DROP, &x, &e), 1);
        assert_int_equal(r.len_x[i], x.n_prompt);
        assert_int_equal(r.len_y[i], x.n_response);
        assert_true(r.hash[i] == data.records[i].hash && r.source[i] == i);
        double yx = logp_of(x.ids, x.n, x.n_prompt);
        int32_t *alone = mem_alloc((size_t)x.n_response + 1, sizeof *alone);
        alone[0] = tok_bos(tok);
        memcpy(alone + 1, x.ids + x.n_prompt, (size_t)x.n_response * sizeof *alone);
        double y = logp_of(alone, x.n_response + 1, 1);
        assert_true(fabs((double)r.logp_yx[i] - yx) <= 1e-5 * fabs(yx));
        assert_true(fabs((double)r.logp_y[i] - y) <= 1e-5 * fabs(y));
        free(alone);
        example_free(&x);
    }
    embed_rows_free(&r);
}

/* How records are put into batches changes rounding at most. */
static void batches_do_not_matter(void **state)
{
    (void)state;
    struct embed_options whole = options(100000), small = options(1);
    struct embed_rows a = rows_of(&whole), b = rows_of(&small);
    for (int64_t i = 0; i < a.n; i++)
        assert_true(fabsf(a.logp_yx[i] - b.logp_yx[i]) <= 1e-5F * fabsf(a.logp_yx[i]) &&
                    fabsf(a.logp_y[i] - b.logp_y[i]) <= 1e-5F * fabsf(a.logp_y[i]));
    for (int64_t i = 0; i < a.n * DIM; i++)
        assert_true(fabsf(a.embedding[i] - b.embedding[i]) <= 1e-5F);
    embed_rows_free(&a);
    embed_rows_free(&b);
}

static void long_records_drop_out_with_a_reason(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct embed_options o = options(4096);
    struct embed_rows r = {.dim = o.dim};
    struct embed_drops d = {0};
    struct embed_cost c = {0};
    o.max_len = 18;
    assert_int_equal(embed_measure(&o, &data, 0, data.n_records, &c, &d, &e), 0);
    assert_int_equal(c.n_rows + (int64_t)d.n, N_RECORDS);
    assert_in_range(d.n, 1, N_RECORDS - 1);
    assert_in_range(c.longest, 1, 18);
    assert_int_equal(d.drop[0].why, EMBED_OVERLONG);
    size_t n = d.n;
    assert_int_equal(embed_window(model, &o, &data, 0, data.n_records, &r, &d, &e), 0);
    assert_int_equal(r.n, c.n_rows);
    assert_int_equal(d.n, n); /* counted once */
    embed_rows_free(&r);
    embed_drops_free(&d);
}

static void rows_survive_a_message(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct embed_options o = options(4096);
    struct embed_rows r = rows_of(&o), copy = {.dim = DIM}, narrow = {.dim = DIM - 1};
    struct st_msg *m = st_msg_new();
    embed_rows_to_msg(&r, m);
    assert_int_equal(embed_rows_append(&copy, m, &e), 0);
    assert_int_equal(embed_rows_append(&copy, m, &e), 0);
    assert_int_equal(copy.n, 2 * r.n);
    assert_memory_equal(copy.embedding + r.n * DIM, r.embedding,
                        (size_t)(r.n * DIM) * sizeof *r.embedding);
    assert_memory_equal(copy.hash, r.hash, (size_t)r.n * sizeof *r.hash);
    assert_true(embed_rows_append(&narrow, m, &e) < 0);
    st_msg_free(m);
    embed_rows_free(&r);
    embed_rows_free(&copy);
    embed_rows_free(&narrow);
}

static void pooling_is_adaptive(void **state)
{
    (void)state;
    const float x[7] = {1, 2, 3, 4, 5, 6, 7};
    float y[7];
    embed_pool(y, 3, x, 7); /* torch: adaptive_avg_pool1d: [0,3) [2,5) [4,7) */
    assert_true(y[0] == 2.0F && y[1] == 4.0F && y[2] == 6.0F);
    embed_pool(y, 7, x, 7);
    assert_memory_equal(x, y, sizeof x);
    embed_pool(y, 1, x, 7);
    assert_true(y[0] == 4.0F);
}

static void projections_have_names(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    unsigned t = 0;
    assert_int_equal(lm_projections_parse("q,v_proj", &t, &e), 0);
    assert_int_equal(t, LM_Q | LM_V);
    assert_int_equal(lm_projections_parse("all", &t, &e), 0);
    assert_int_equal(t, LM_ALL_PROJECTIONS);
    assert_int_equal(lm_projections_parse("q,x", &t, &e), ERR_RANGE);
    assert_non_null(strstr(e.msg, "'x'"));
    assert_int_equal(lm_projections_parse("", &t, &e), ERR_RANGE);
    assert_int_equal(lm_projections_parse("q,,v", &t, &e), ERR_RANGE);
}

static void a_mean_is_over_tokens(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct lm_pack p = {0};
    const int32_t ids[] = {65, 66, 67, 68, 69, 70};
    const uint8_t one[] = {0, 1}, three[] = {0, 0, 0, 1, 1, 1}, none[] = {0, 0};
    double mean = 0, nll[2];
    int64_t count[2];
    lm_pack_add(&p, ids, one, 2);
    lm_pack_add(&p, ids, three, 6);
    struct lm_batch b = lm_pack_batch(&p);
    assert_int_equal(lm_nll(model, &b, nll, count, &e), 0);
    assert_int_equal(lm_mean_nll(model, &b, &mean, NULL, &e), 0);
    assert_true(fabs(mean - (nll[0] + nll[1]) / 4) < 1e-12);
    lm_pack_clear(&p);
    lm_pack_add(&p, ids, none, 2);
    b = lm_pack_batch(&p);
    assert_int_equal(lm_mean_nll(model, &b, &mean, NULL, &e), ERR_EMPTY);
    lm_pack_free(&p);
}

/* A part comes from disk: what its tensors are not is told, not read. */
static void a_forged_part_is_told(void **state)
{
    (void)state;
    static const struct {
        enum st_dtype dtype;
        int n_dims;
        int64_t shape[2];
        int64_t why;
        int code;
    } forged[] = {
        {ST_I64, 2, {2, 3}, EMBED_GRADIENT, 0}, {ST_I64, 2, {2, 3}, EMBED_N_WHYS, ERR_RANGE},
        {ST_I64, 2, {2, 3}, -1, ERR_RANGE},     {ST_I64, 2, {2, 2}, 0, ERR_MISMATCH},
        {ST_I64, 1, {6, 0}, 0, ERR_MISMATCH},   {ST_U8, 2, {2, 3}, 0, ERR_MISMATCH},
        {ST_I64, 0, {0, 0}, 0, ERR_MISMATCH},
    };
    struct embed_options o = {.dim = 4};
    struct embed_rows r;
    for (size_t i = 0; i < sizeof forged / sizeof *forged; i++) {
        struct err e = ERR_INIT;
        struct embed_drops d = {0};
        struct st_msg *m = st_msg_new();
        int64_t drop[6] = {7, 8, 0, 9, 10, forged[i].why};
        char *bytes;
        size_t len;
        embed_rows_start(&r, &o);
        embed_rows_to_msg(&r, m);
        st_msg_add(m, "drops", forged[i].dtype, forged[i].n_dims, forged[i].shape, drop);
        st_msg_serialize(m, &bytes, &len);
        assert_int_equal(embed_part_unpack(&r, &d, bytes, len, "f.part", &e), forged[i].code);
        if (!forged[i].code) {
            assert_int_equal(d.n, 2);
            assert_int_equal(d.drop[1].line, 10);
            assert_int_equal(d.drop[1].why, EMBED_GRADIENT);
        } else {
            assert_non_null(strstr(e.msg, "f.part"));
        }
        free(bytes);
        st_msg_free(m);
        embed_drops_free(&d);
        embed_rows_free(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_what_the_logits_say),
        cmocka_unit_test(batches_do_not_matter),
        cmocka_unit_test(long_records_drop_out_with_a_reason),
        cmocka_unit_test(rows_survive_a_message),
        cmocka_unit_test(pooling_is_adaptive),
        cmocka_unit_test(projections_have_names),
        cmocka_unit_test(a_mean_is_over_tokens),
        cmocka_unit_test(a_forged_part_is_told),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
