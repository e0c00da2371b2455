/* SPDX-License-Identifier: MIT
 * lm/: configurations read, written and refused by name; weights missing, left over, of another
 * shape or type. */
#include "base/file.h"
#include "base/mem.h"
#include "lm/config_check.h"
#include "lm/lm.h"
#include "stream/st.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/test_lm_config.XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    char *command = mem_printf("rm -rf '%s'", dir);
    int status = system(command);
    free(command);
    return status;
}

static void put_file(const char *name, const char *text)
{
    char *path = mem_printf("%s/%s", dir, name);
    assert_int_equal(file_write_all(path, text, strlen(text), NULL), 0);
    free(path);
}

/* ---- config.json ---- */

/* A small llama; `more` goes before its last fields, and may give the context's length. */
static void put_config(const char *type, const char *arch, const char *more)
{
    char *text =
        mem_printf("{\"architectures\": [\"%s\"], \"model_type\": \"%s\", %s\n"
                   "\"num_hidden_layers\": 1, \"hidden_size\": 8, \"num_attention_heads\": 2,\n"
                   "\"intermediate_size\": 12, \"vocab_size\": 11%s}\n",
                   arch, type, more,
                   strstr(more, "\"max_position") ? "" : ", \"max_position_embeddings\": 4096");
    put_file("config.json", text);
    free(text);
}

static void configurations_are_read(void **state)
{
    (void)state;
    struct lm_config c;
    struct err e = ERR_INIT;
    put_config("llama", "LlamaForCausalLM",
               "\"rope_theta\": 500000.0, \"num_key_value_heads\": 1, \"rms_norm_eps\": 1e-05,"
               "\"tie_word_embeddings\": true, \"rope_scaling\": {\"factor\": 8.0,"
               "\"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0,"
               "\"original_max_position_embeddings\": 8192, \"rope_type\": \"llama3\"},");
    assert_int_equal(lm_config_read_hf(&c, dir, &e), 0);
    assert_true(c.family == lm_family_find("llama", NULL) && c.is_tied && !c.has_qkv_bias &&
                !c.has_qk_norm);
    assert_true(c.d_head == 4 && c.n_kv_heads == 1 && c.rope_theta == 500000);
    assert_true(c.rope_scaling == LM_ROPE_LLAMA3 && c.rope_factor == 8);
    assert_true(c.rope_low_freq == 1 && c.rope_high_freq == 4);
    assert_true(c.rope_original_positions == 8192);
    put_config("qwen2", "Qwen2ForCausalLM",
               "\"head_dim\": null, \"use_sliding_window\": false, \"sliding_window\": 128,"
               "\"rope_parameters\": {\"rope_theta\": 1000000, \"rope_type\": \"default\"},");
    assert_int_equal(lm_config_read_hf(&c, dir, &e), 0);
    assert_true(c.has_qkv_bias && !c.has_o_bias && c.rope_theta == 1e6 && c.n_kv_heads == 2);
    put_config("mistral", "MistralForCausalLM",
               "\"sliding_window\": null, \"max_position_embeddings\": 32768,");
    assert_int_equal(lm_config_read_hf(&c, dir, &e), 0);
    put_config("qwen3", "Qwen3ForCausalLM", "\"num_key_value_heads\": 1,");
    assert_int_equal(lm_config_read_hf(&c, dir, &e), 0);
    assert_true(c.d_head == 128); /* Qwen3's default */
}

/* Present and not usable is absent; the architecture's name has had others. */
static void what_says_nothing_is_absent(void **state)
{
    (void)state;
    static const struct {
        const char *type, *arch, *more;
    } rows[] = {
        {"llama", "LlamaModel", ""},
        {"llama", "LLaMAForCausalLM", ""},
        {"qwen2", "Qwen2Model", "\"rope_scaling\": null, \"rope_parameters\": null,"},
        {"llama", "LlamaForCausalLM", "\"rope_scaling\": {},"},
        {"llama", "LlamaForCausalLM", "\"rope_scaling\": {\"rope_type\": null},"},
        {"llama", "LlamaForCausalLM", "\"quantization_config\": null, \"num_experts\": null,"},
        {"llama", "LlamaForCausalLM", "\"num_key_value_heads\": null, \"head_dim\": null,"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct lm_config c;
        struct err e = ERR_INIT;
        put_config(rows[i].type, rows[i].arch, rows[i].more);
        if (lm_config_read_hf(&c, dir, &e) < 0)
            fail_msg("row %zu: %s", i, e.msg);
        assert_true(c.rope_scaling == LM_ROPE_NONE && c.rope_theta == 10000);
        assert_true(c.n_kv_heads == 2 && c.d_head == 4);
    }
}

/* What transformers 5.24 has for them (_compute_yarn_parameters), heads of 16, theta 10000. */
static void yarn_is_transformers_yarn(void **state)
{
    (void)state;
    static const struct {
        const char *more;
        float times, freq[8];
    } rows[] = {
        {"",
         1.13862944f,
         {1.0f, 0.316227764f, 0.100000001f, 0.025693506f, 0.00624999963f, 0.00138349656f,
          0.000250000012f, 7.90569466e-05f}},
        {", \"original_max_position_embeddings\": 1024",
         1.13862944f,
         {1.0f, 0.316227764f, 0.0812500045f, 0.0197642371f, 0.00437500002f, 0.000790569466f,
          0.000250000012f, 7.90569466e-05f}},
        {", \"original_max_position_embeddings\": 1024, \"beta_fast\": 24, \"beta_slow\": 2, "
         "\"truncate\": false",
         1.13862944f,
         {1.0f, 0.316227764f, 0.0883181393f, 0.0169401877f, 0.00249999994f, 0.000790569466f,
          0.000250000012f, 7.90569466e-05f}},
        {", \"attention_factor\": 1.5, \"original_max_position_embeddings\": 64",
         1.5f,
         {1.0f, 0.237170815f, 0.049999997f, 0.00790569466f, 0.00249999994f, 0.000790569466f,
          0.000250000012f, 7.90569466e-05f}},
        {", \"mscale\": 0.7, \"mscale_all_dim\": 0.5",
         1.02592865f,
         {1.0f, 0.316227764f, 0.100000001f, 0.025693506f, 0.00624999963f, 0.00138349656f,
          0.000250000012f, 7.90569466e-05f}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct lm_config c;
        struct err e = ERR_INIT;
        float freq[8];
        char *more = mem_printf("\"head_dim\": 16, \"rope_scaling\": {\"rope_type\": \"yarn\", "
                                "\"factor\": 4.0%s},",
                                rows[i].more);
        put_config("llama", "LlamaForCausalLM", more);
        if (lm_config_read_hf(&c, dir, &e) < 0)
            fail_msg("row %zu: %s", i, e.msg);
        float times = lm_rope_frequencies(&c, freq);
        if (fabsf(times - rows[i].times) > 1e-6f)
            fail_msg("row %zu: times %.8g, not %.8g", i, (double)times, (double)rows[i].times);
        for (int k = 0; k < 8; k++)
            if (fabsf(freq[k] - rows[i].freq[k]) > 2e-6f * rows[i].freq[k])
                fail_msg("row %zu: frequency %d is %.8g, not %.8g", i, k, (double)freq[k],
                         (double)rows[i].freq[k]);
        free(more);
    }
}

static void a_written_configuration_reads_the_same(void **state)
{
    (void)state;
    static const char *const rope[] = {
        "", "\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2.5},",
        ("\"rope_scaling\": {\"factor\": 32, \"low_freq_factor\": 1, \"high_freq_factor\": 4,"
         "\"original_max_position_embeddings\": 8192, \"rope_type\": \"llama3\"},"),
        "\"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 2.0},",
        ("\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 4, \"beta_fast\": 24,"
         "\"attention_factor\": 1.25, \"truncate\": false,"
         "\"original_max_position_embeddings\": 1024},")};
    static const char *const window[] = {
        "", "\"use_sliding_window\": true, \"sliding_window\": 64,"};
    const struct lm_family *f;
    for (size_t i = 0; (f = lm_family_at(i / 10)); i++) {
        struct lm_config a, b;
        memset(&a, 0, sizeof a);
        memset(&b, 0, sizeof b);
        bool has_window = i / 5 % 2 && f->window != LM_WINDOW_NO_KEY;
        char *more = mem_printf("%s \"rms_norm_eps\": 1e-5, \"head_dim\": 6,%s%s", rope[i % 5],
                                i % 2 ? "\"attention_bias\": true," : "", window[has_window]);
        put_config(f->model_type, f->architecture, more);
        assert_int_equal(lm_config_read_hf(&a, dir, NULL), 0);
        assert_true(a.family == f && a.n_window == (has_window ? 64 : 0));
        assert_true(a.has_qkv_bias ==
                    (f->bias == LM_BIAS_QKV || (f->bias == LM_BIAS_BY_KEY && i % 2)));
        char *text = lm_config_write_hf(&a);
        put_file("config.json", text);
        assert_int_equal(lm_config_read_hf(&b, dir, NULL), 0);
        assert_memory_equal(&a, &b, sizeof a);
        free(text);
        free(more);
    }
}

static void others_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *type, *arch, *more;
        int code;
        const char *said;
    } bad[] = {
        {"gemma2", "Gemma2ForCausalLM", "", ERR_UNSUPPORTED, "Gemma2ForCausalLM"},
        {"llama", "LlamaForSequenceClassification", "", ERR_UNSUPPORTED, "Classification"},
        {"llama", "LlamaForCausalLM",
         "\"rope_parameters\": {\"rope_type\": \"default\", \"partial_rotary_factor\": 0.5},",
         ERR_UNSUPPORTED, "partial_rotary_factor is 0.5"},
        {"qwen3", "Qwen3ForCausalLM", "\"layer_types\": [\"chunked_attention\"],",
         ERR_UNSUPPORTED, "chunked_attention"},
        {"mistral", "MistralForCausalLM", "\"sliding_window\": 0,", ERR_RANGE,
         "sliding window of 0"},
        {"llama", "LlamaForCausalLM",
         "\"rope_scaling\": {\"rope_type\": \"dynamic\", \"factor\": 2,"
         "\"original_max_position_embeddings\": 0},",
         ERR_RANGE, "dynamic rope"},
        {"qwen3", "Qwen3ForCausalLM", "\"num_experts\": 8,", ERR_UNSUPPORTED, "num_experts"},
        {"llama", "LlamaForCausalLM", "\"hidden_act\": \"gelu\",", ERR_UNSUPPORTED, "gelu"},
        {"llama", "LlamaForCausalLM", "\"mlp_bias\": true,", ERR_UNSUPPORTED, "mlp_bias"},
        {"llama", "LlamaForCausalLM",
         "\"rope_scaling\": {\"rope_type\": \"longrope\", \"factor\": 4},", ERR_UNSUPPORTED,
         "rope type \"longrope\" is not default, linear, llama3, dynamic or yarn"},
        {"llama", "LlamaForCausalLM", "\"rope_scaling\": {\"rope_type\": \"yarn\"},",
         ERR_FORMAT, "\"factor\" is missing"},
        {"llama", "LlamaForCausalLM",
         "\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 4, \"beta_fast\": -1},", ERR_RANGE,
         "yarn's betas -1"},
        {"llama", "LlamaForCausalLM", "\"rope_scaling\": {\"type\": 3},", ERR_FORMAT,
         "\"type\" of the rotation is not a name"},
        {"llama", "LlamaForCausalLM", "\"rope_scaling\": \"yarn\",", ERR_FORMAT,
         "\"rope_scaling\" is not an object"},
        {"qwen3", "Qwen3ForCausalLM",
         "\"rope_parameters\": {\"full_attention\": {\"rope_type\": \"default\"}},",
         ERR_UNSUPPORTED, "by types of layers (full_attention)"},
        {"llama", "MistralModel", "", ERR_UNSUPPORTED, "MistralModel"},
        {"llama", "LlamaForCausalLM", "\"quantization_config\": {\"load_in_4bit\": true},",
         ERR_UNSUPPORTED, "quantization_config"},
        {"llama", "LlamaForCausalLM",
         "\"quantization_config\": {\"quant_method\": \"bitsandbytes\"},", ERR_UNSUPPORTED,
         "bitsandbytes"},
        {"llama", "LlamaForCausalLM", "\"quantization_config\": {\"quant_method\": \"gptq\"},",
         ERR_UNSUPPORTED, "gptq"},
        {"llama", "LlamaForCausalLM", "\"rope_scaling\": {\"rope_type\": \"linear\"},",
         ERR_FORMAT, "\"factor\" is missing"},
        {"llama", "LlamaForCausalLM", "\"quantization_config\": {\"quant_method\": \"awq\"},",
         ERR_UNSUPPORTED, "awq"},
        {"llama", "LlamaForCausalLM", "\"num_key_value_heads\": 3,", ERR_RANGE, "multiple"},
        {"llama", "LlamaForCausalLM", "\"head_dim\": 5,", ERR_RANGE, "odd"},
        {"llama", "LlamaForCausalLM", "\"head_dim\": 1e99,", ERR_FORMAT, "head_dim"},
        {"llama", "LlamaForCausalLM", "\"head_dim\": \"8\",", ERR_FORMAT, "head_dim"},
        {"llama", "LlamaForCausalLM", "\"head_dim\": -2,", ERR_RANGE, "head width"},
        {"llama", "LlamaForCausalLM", "\"rms_norm_eps\": 0,", ERR_RANGE, "epsilon"},
        {"llama", "LlamaForCausalLM", "\"vocab_size\": 3,", ERR_FORMAT, "config.json:"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct lm_config c;
        struct err e = ERR_INIT;
        put_config(bad[i].type, bad[i].arch, bad[i].more);
        int code = lm_config_read_hf(&c, dir, &e);
        if (code != bad[i].code || !strstr(e.msg, bad[i].said))
            fail_msg("row %zu: %d, \"%s\"", i, code, e.msg);
    }
}

/* What only longer sequences need is no reason to refuse a model, but such a sequence is. */
static void lengths_are_held_against_the_model(void **state)
{
    (void)state;
    static const struct {
        const char *type, *more;
        int64_t most;
        int code;
        const char *said;
    } rows[] = {
        {"llama", "", 4096, ERR_RANGE, "4097 tokens, more than the model's context of 4096"},
        {"mistral", "\"sliding_window\": 1024,", 1024, ERR_UNSUPPORTED, "window of 1024"},
        {"mistral", "\"sliding_window\": 8192,", 4096, ERR_RANGE, "context of 4096"},
        {"mistral", "\"max_position_embeddings\": 8192,", 4096, ERR_UNSUPPORTED,
         "window of 4096"}, /* not named: the default */
        {"mistral", "\"max_position_embeddings\": 8192, \"sliding_window\": null,", 8192,
         ERR_RANGE, "context of 8192"},
        {"qwen2", "\"use_sliding_window\": true, \"sliding_window\": 64,", 64, ERR_UNSUPPORTED,
         "window of 64"},
        {"qwen2", "\"use_sliding_window\": false, \"sliding_window\": 64,", 4096, ERR_RANGE,
         "context"},
        {"qwen2", "\"use_sliding_window\": true, \"max_position_embeddings\": 8192,", 4096,
         ERR_UNSUPPORTED, "window of 4096"},
        {"qwen3", "\"layer_types\": [\"sliding_attention\"], \"sliding_window\": 64,", 64,
         ERR_UNSUPPORTED, "window of 64"},
        {"qwen3", "\"layer_types\": [\"full_attention\"], \"sliding_window\": 64,", 4096,
         ERR_RANGE, "context"},
        {"llama", "\"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 2.0},", 4096,
         ERR_RANGE, "context"},
        {"llama",
         "\"rope_scaling\": {\"rope_type\": \"dynamic\", \"factor\": 2.0,"
         "\"original_max_position_embeddings\": 2048},",
         2048, ERR_UNSUPPORTED, "dynamic"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct lm_config c;
        struct err e = ERR_INIT;
        put_config(rows[i].type, lm_family_find(rows[i].type, NULL)->architecture,
                   rows[i].more);
        if (lm_config_read(&c, dir, &e) || lm_config_check_length(&c, rows[i].most, &e))
            fail_msg("row %zu: %s", i, e.msg);
        int code = lm_config_check_length(&c, rows[i].most + 1, &e);
        if (code != rows[i].code || !strstr(e.msg, rows[i].said))
            fail_msg("row %zu: %d, \"%s\"", i, code, e.msg);
    }
}

/* ---- weights ---- */

static float zeros[11 * 8];

struct shape {
    const char *name;
    int n_dims;
    int64_t dims[2];
};
static const struct shape shapes[] = {
    {"model.embed_tokens.weight", 2, {11, 8}},
    {"model.norm.weight", 1, {8, 0}},
    {"lm_head.weight", 2, {11, 8}},
    {"model.layers.0.input_layernorm.weight", 1, {8, 0}},
    {"model.layers.0.post_attention_layernorm.weight", 1, {8, 0}},
    {"model.layers.0.self_attn.q_proj.weight", 2, {8, 8}},
    {"model.layers.0.self_attn.k_proj.weight", 2, {8, 8}},
    {"model.layers.0.self_attn.v_proj.weight", 2, {8, 8}},
    {"model.layers.0.self_attn.o_proj.weight", 2, {8, 8}},
    {"model.layers.0.mlp.gate_proj.weight", 2, {12, 8}},
    {"model.layers.0.mlp.up_proj.weight", 2, {12, 8}},
    {"model.layers.0.mlp.down_proj.weight", 2, {8, 12}},
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

/* A whole model but for tensor `skip`, with `extra` on top; `bad` has another shape or dtype.
 */
static struct st_msg *make_weights(int skip, int bad, enum st_dtype dtype, const char *extra)
{
    static const float more[12 * 8];
    struct st_msg *m = st_msg_new();
    for (int i = 0; i < N_SHAPES; i++) {
        int64_t dims[2] = {shapes[i].dims[0], shapes[i].dims[1]};
        if (i == skip)
            continue;
        if (i == bad && dtype == ST_F32)
            dims[0]--;
        st_msg_add(m, shapes[i].name, i == bad ? dtype : ST_F32, shapes[i].n_dims, dims, more);
    }
    if (extra)
        st_msg_add(m, extra, ST_F32, 1, (int64_t[]){8}, zeros);
    return m;
}

static int open_weights(struct st_msg *m, struct err *e)
{
    struct lm_options o = LM_OPTIONS_DEFAULTS;
    char *path = mem_printf("%s/model.safetensors", dir);
    o.precision = LM_PRECISION_FP32;
    assert_int_equal(st_write(path, ST_PLAIN, m, e), 0);
    put_config("llama", "LlamaForCausalLM", "");
    struct lm *lm = lm_open(dir, &o, e);
    int code = lm ? 0 : e->code;
    lm_close(lm);
    st_msg_free(m);
    free(path);
    return code;
}

static void weights_must_fit_exactly(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    assert_int_equal(open_weights(make_weights(-1, -1, ST_F32, NULL), &e), 0);
    for (int i = 0; i < N_SHAPES; i++) {
        assert_int_equal(open_weights(make_weights(i, -1, ST_F32, NULL), &e), ERR_FORMAT);
        assert_non_null(strstr(e.msg, shapes[i].name));
        assert_int_equal(open_weights(make_weights(-1, i, ST_F32, NULL), &e), ERR_MISMATCH);
        assert_non_null(strstr(e.msg, shapes[i].name));
        assert_int_equal(open_weights(make_weights(-1, i, ST_I8, NULL), &e), ERR_UNSUPPORTED);
        assert_non_null(strstr(e.msg, "I8"));
    }
    const char *extra = "model.layers.0.self_attn.q_proj.bias";
    assert_int_equal(open_weights(make_weights(-1, -1, ST_F32, extra), &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, extra));
    extra =
        "model.layers.0.self_attn.q_proj.weight.absmax"; /* bitsandbytes', no config says so */
    assert_int_equal(open_weights(make_weights(-1, -1, ST_F32, extra), &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "weights are quantised"));
    extra = "model.layers.0.self_attn.q_proj.qweight"; /* GPTQ's, in the weight's place */
    assert_int_equal(open_weights(make_weights(5, -1, ST_F32, extra), &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "weights are quantised"));
    extra = "_orig_mod.model.norm.weight";
    assert_int_equal(open_weights(make_weights(1, -1, ST_F32, extra), &e), ERR_FORMAT);
    assert_non_null(strstr(e.msg, "but there is _orig_mod.model.norm.weight"));
    extra = "model.layers.0.self_attn.rotary_emb.inv_freq"; /* older Llama files have these */
    assert_int_equal(open_weights(make_weights(-1, -1, ST_F32, extra), &e), 0);
}

/* A plan already knows what the longest sequence needs, and a batch is held against it. */
static void a_window_is_no_obstacle_until_it_is_passed(void **state)
{
    (void)state;
    static const int32_t ids[5] = {1, 2, 3, 4, 5};
    static const int64_t offsets[] = {0, 4}, longer[] = {0, 5};
    struct err e = ERR_INIT;
    struct lm_options o = LM_OPTIONS_DEFAULTS;
    struct lm_memory plan;
    double nll;
    assert_int_equal(open_weights(make_weights(-1, -1, ST_F32, NULL), &e), 0);
    put_config("mistral", "MistralForCausalLM", "\"sliding_window\": 4,");
    o.longest = 5;
    assert_int_equal(lm_plan(dir, &o, &plan, &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "the longest sequence: 5 tokens"));
    o.longest = 4;
    assert_int_equal(lm_plan(dir, &o, &plan, &e), 0);
    struct lm *m = lm_open(dir, &o, &e);
    assert_non_null(m);
    const struct lm_batch fits = {ids, NULL, offsets, 1, 4},
                          does_not = {ids, NULL, longer, 1, 5};
    assert_int_equal(lm_nll(m, &fits, &nll, NULL, &e), 0);
    assert_int_equal(lm_nll(m, &does_not, &nll, NULL, &e), ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "sequence 0 of the batch: 5 tokens"));
    lm_close(m);
}

/* Below its context a dynamic scaling is none. */
static void dynamic_positions_are_plain_ones_at_first(void **state)
{
    (void)state;
    static const int32_t ids[] = {3, 14, 15, 9, 26, 5};
    static const uint8_t is_loss[] = {0, 1, 1, 1, 1, 1};
    static const int64_t offsets[] = {0, 6};
    const struct lm_batch b = {ids, is_loss, offsets, 1, 6};
    const char *tests = getenv("RAISE_TESTS");
    struct err e = ERR_INIT;
    struct lm_options o = LM_OPTIONS_DEFAULTS;
    struct lm_config c;
    o.precision = LM_PRECISION_FP32;
    char *like = mem_printf("%s/fixtures/lm/llama", tests ? tests : "tests");
    char *copy = mem_printf("cp '%s/model.safetensors' '%s'", like, dir);
    assert_int_equal(system(copy), 0);
    assert_int_equal(lm_config_read(&c, like, &e), 0);
    double nll[2];
    for (int i = 0; i < 2; i++) {
        c.rope_scaling = i ? LM_ROPE_DYNAMIC : LM_ROPE_NONE;
        c.rope_factor = 4;
        c.rope_original_positions = 6;
        char *text = lm_config_write_hf(&c);
        put_file("config.json", text);
        struct lm *m = lm_open(dir, &o, &e);
        if (!m)
            fail_msg("%s", e.msg);
        assert_int_equal(lm_nll(m, &b, &nll[i], NULL, &e), 0);
        lm_close(m);
        free(text);
    }
    assert_true(nll[0] > 0 && nll[0] == nll[1]);
    free(like);
    free(copy);
}

static void pickles_are_refused(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct lm_options o = LM_OPTIONS_DEFAULTS;
    char *weights = mem_printf("%s/model.safetensors", dir);
    char *pickle = mem_printf("%s/pytorch_model.bin", dir);
    put_config("llama", "LlamaForCausalLM", "");
    unlink(weights);
    put_file("pytorch_model.bin", "pickle");
    assert_null(lm_open(dir, &o, &e));
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "pytorch_model.bin"));
    unlink(pickle);
    assert_null(lm_open(dir, &o, &e));
    assert_non_null(strstr(e.msg, "model.safetensors: No such file"));
    free(weights);
    free(pickle);
}

static void an_index_must_be_true(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct lm_options o = LM_OPTIONS_DEFAULTS;
    char *whole = mem_printf("%s/model.safetensors", dir), *a = mem_printf("%s/a.st", dir);
    assert_int_equal(open_weights(make_weights(-1, -1, ST_F32, NULL), &e), 0);
    assert_int_equal(rename(whole, a), 0);
    put_file("model.safetensors.index.json",
             "{\"weight_map\": {\"lm_head.weight\": \"a.st\"}}");
    struct lm *m = lm_open(dir, &o, &e);
    assert_non_null(m);
    lm_close(m);
    put_file("model.safetensors.index.json", "{\"weight_map\": {\"nothing\": \"a.st\"}}");
    assert_null(lm_open(dir, &o, &e));
    assert_non_null(strstr(e.msg, "nothing"));
    put_file(
        "model.safetensors.index.json",
        "{\"metadata\": {\"total_size\": -1}, \"weight_map\": {\"lm_head.weight\": \"b.st\"}}");
    assert_null(lm_open(dir, &o, &e));
    assert_non_null(strstr(e.msg, "/b.st: No such file"));
    char *b = mem_printf("%s/b.st", dir);
    struct st_msg *twice = st_msg_new();
    st_msg_add(twice, "model.norm.weight", ST_F32, 1, (int64_t[]){8}, zeros);
    assert_int_equal(st_write(b, ST_PLAIN, twice, &e), 0);
    put_file(
        "model.safetensors.index.json",
        "{\"metadata\": {\"total_size\": 1}, \"weight_map\": {\"lm_head.weight\": \"a.st\","
        "\"model.norm.weight\": \"b.st\"}}");
    assert_null(lm_open(dir, &o, &e));
    assert_non_null(strstr(e.msg, "tensor model.norm.weight stands in"));
    st_msg_free(twice);
    put_file("b.st", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n");
    assert_null(lm_open(dir, &o, &e));
    assert_non_null(strstr(e.msg, "/b.st: not a safetensors file, but a git-lfs pointer"));
    free(b);
    put_file("model.safetensors.index.json", "{\"weight_map\": {\"x\": \"../a.st\"}}");
    assert_null(lm_open(dir, &o, &e));
    assert_non_null(strstr(e.msg, "file name"));
    put_file("model.safetensors.index.json", "{}");
    assert_null(lm_open(dir, &o, &e));
    assert_non_null(strstr(e.msg, "weight_map"));
    free(whole);
    free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(configurations_are_read),
        cmocka_unit_test(what_says_nothing_is_absent),
        cmocka_unit_test(yarn_is_transformers_yarn),
        cmocka_unit_test(a_written_configuration_reads_the_same),
        cmocka_unit_test(others_are_refused_by_name),
        cmocka_unit_test(lengths_are_held_against_the_model),
        cmocka_unit_test(weights_must_fit_exactly),
        cmocka_unit_test(a_window_is_no_obstacle_until_it_is_passed),
        cmocka_unit_test(dynamic_positions_are_plain_ones_at_first),
        cmocka_unit_test(pickles_are_refused),
        cmocka_unit_test(an_index_must_be_true),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
