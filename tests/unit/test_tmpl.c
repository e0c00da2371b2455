/* SPDX-License-Identifier: MIT
 * data/tmpl: the built-in templates' exact texts and masks, template files, messages. */
#include "base/file.h"
#include "base/mem.h"
#include "data/tmpl.h"
#include "record_of.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char one[] = "{\"instruction\":\"Add.\",\"output\":\"3\"}";
static const char with_input[] =
    "{\"instruction\":\"Add.\",\"input\":\"1 2\",\"output\":\"3\"}";
static const char with_system[] =
    "{\"system\":\"Be brief.\",\"question\":\"Q\",\"answer\":\"A\"}";
static const char talk[] =
    "{\"messages\":[{\"role\":\"system\",\"content\":\"S\"},{\"role\":\"user\",\"content\":\" "
    "Q1\"},"
    "{\"role\":\"assistant\",\"content\":\"A1 \"},{\"role\":\"user\",\"content\":\"Q2\"},"
    "{\"role\":\"assistant\",\"content\":\"A2\"},{\"role\":\"user\",\"content\":\"rest\"}]}";
static const char tool_use[] =
    "{\"messages\":[{\"role\":\"user\",\"content\":\"Q\"},{\"role\":\"assistant\",\"content\":"
    "\"call\"},"
    "{\"role\":\"tool\",\"content\":\"T\"},{\"role\":\"assistant\",\"content\":\"A\"}]}";

/* The rendering as one string, what counts in the loss between « and », EOS as $. */
static char *render(const struct tmpl *t, const char *json, struct err *e)
{
    struct dataset d;
    struct data_options opt = {0};
    struct tmpl_text x;
    struct buf b = {0};
    char path[] = "/tmp/raise-tmpl-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0 && close(fd) == 0);
    assert_int_equal(file_write_all(path, json, strlen(json), e), 0);
    int rc = dataset_read(&d, path, &opt, e);
    unlink(path);
    if (rc < 0)
        fail_msg("%s", e->msg);
    rc = tmpl_render(t, record_of(&d, 0), &x, e);
    dataset_free(&d);
    if (rc < 0)
        return NULL;
    if (x.wants_bos)
        buf_puts(&b, "^");
    bool is_response = false;
    for (int i = 0; i < x.n_segments; i++) {
        assert_int_equal(strlen(x.segments[i].text), x.segments[i].len);
        if (x.segments[i].is_response != is_response)
            buf_puts(&b, is_response ? "»" : "«");
        is_response = x.segments[i].is_response;
        buf_puts(&b, x.segments[i].text);
        if (x.segments[i].wants_eos) {
            buf_puts(&b, is_response ? "»$" : "$");
            is_response = false;
        }
    }
    buf_puts(&b, is_response ? "»" : "");
    tmpl_text_free(&x);
    return buf_str(&b);
}

static void expect(const char *name, const char *json, const char *want)
{
    struct err e = ERR_INIT;
    struct tmpl *t = tmpl_load(name, &e);
    if (!t)
        fail_msg("%s", e.msg);
    char *got = render(t, json, &e);
    assert_string_equal(got ? got : e.msg, want);
    free(got);
    tmpl_free(t);
}

#define STANFORD                                                                               \
    "Below is an instruction that describes a task. Write a response that appropriately "      \
    "completes the request.\n\n### Instruction:\n"
#define STANFORD_INPUT                                                                         \
    "Below is an instruction that describes a task, paired with an input that provides "       \
    "further context. Write a response that appropriately completes the request.\n\n"          \
    "### Instruction:\n"

static void alpaca_is_stanfords(void **state)
{
    (void)state;
    expect("alpaca", one, "^" STANFORD "Add.\n\n### Response:«3»$");
    expect("alpaca", with_input,
           "^" STANFORD_INPUT "Add.\n\n### Input:\n1 2\n\n### Response:«3»$");
    expect("alpaca", with_system, "^Be brief.\n\n" STANFORD "Q\n\n### Response:«A»$");
    expect("alpaca", talk,
           "^S\n\n" STANFORD " Q1\n\n### Response:«A1 »$\n\n### Instruction:\nQ2\n\n"
           "### Response:«A2»$");
}

static void chat_templates_are_their_models(void **state)
{
    (void)state;
    expect("chatml", with_input,
           "^<|im_start|>user\nAdd.\n1 2<|im_end|>\n<|im_start|>assistant\n«3<|im_end|>»\n");
    expect("chatml", talk,
           "^<|im_start|>system\nS<|im_end|>\n<|im_start|>user\n Q1<|im_end|>\n"
           "<|im_start|>assistant\n«A1 <|im_end|>»\n<|im_start|>user\nQ2<|im_end|>\n"
           "<|im_start|>assistant\n«A2<|im_end|>»\n");
    expect(
        "smollm2", one,
        "^<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
        "Face<|im_end|>\n<|im_start|>user\nAdd.<|im_end|>\n<|im_start|>assistant\n"
        "«3<|im_end|>»\n");
    expect(
        "qwen", tool_use,
        "^<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful "
        "assistant.<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n"
        "«call<|im_end|>»\n<|im_start|>user\n<tool_response>\nT\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\n«A<|im_end|>»\n");
    expect("qwen3", talk,
           "^<|im_start|>system\nS<|im_end|>\n<|im_start|>user\n Q1<|im_end|>\n"
           "<|im_start|>assistant\n«A1 <|im_end|>»\n<|im_start|>user\nQ2<|im_end|>\n"
           "<|im_start|>assistant\n<think>\n\n</think>\n\n«A2<|im_end|>»\n");
    expect("qwen3", "{\"question\":\"Q\",\"answer\":\"<think>\\nhm\\n</think>\\n\\nA\"}",
           "^<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n"
           "«<think>\nhm\n</think>\n\nA<|im_end|>»\n");
    expect("llama3", talk,
           "^<|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|>"
           "<|start_header_id|>user<|end_header_id|>\n\nQ1<|eot_id|>"
           "<|start_header_id|>assistant<|end_header_id|>\n\n«A1<|eot_id|>»"
           "<|start_header_id|>user<|end_header_id|>\n\nQ2<|eot_id|>"
           "<|start_header_id|>assistant<|end_header_id|>\n\n«A2<|eot_id|>»");
    expect(
        "llama31", one,
        "^<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
        "Today Date: 26 Jul 2024\n\n<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nAdd.<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n«3<|eot_id|>»");
    expect("llama2", talk,
           "^<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nQ1 [/INST]« A1 </s>»<s>[INST] Q2 [/INST]« A2 "
           "</s>»");
    expect("mistral", one, "^[INST] Add.[/INST]« 3</s>»");
}

static void plain_templates_add_little(void **state)
{
    (void)state;
    expect("plain", one, "^Add.\n«3»$");
    expect("plain", talk, "^S\n Q1\n«A1 »$\nQ2\n«A2»$");
    expect("none", talk, "^S Q1«A1 »$Q2«A2»$");
    expect("alpaca", "{\"text\":\"alone\"}", "^«alone»$");
    expect("chatml", "{\"text\":\"alone\"}", "^«alone»$");
}

/* A model learns where to stop in each of its turns, and two of them stay two. */
static void every_turn_ends(void **state)
{
    (void)state;
    static const char history[] =
        "{\"instruction\":\"Q\",\"output\":\"A\",\"history\":[[\"3\",\"4\"],[\"5\",\"6\"]]}";
    static const char two[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\","
        "\"content\":\"b\"},{\"role\":\"assistant\",\"content\":\"c\"}]}";
    expect("none", history, "^3«4»$5«6»$Q«A»$");
    expect("plain", history, "^3\n«4»$\n5\n«6»$\nQ\n«A»$");
    expect("none", two, "^a«b»$«c»$");
    expect("plain", two, "^a\n«b»$«c»$");
    expect("alpaca", two, "^" STANFORD "a\n\n### Response:«b»$«c»$");
    expect("chatml", two,
           "^<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n«b<|im_end|>»\n"
           "<|im_start|>assistant\n«c<|im_end|>»\n");
}

static void a_turn_without_a_section_is_an_error(void **state)
{
    (void)state;
    expect("alpaca", tool_use, "template \"alpaca\" has no [tool] for a tool turn");
    expect(
        "mistral",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"Q\"},{\"role\":\"system\",\"content\":"
        "\"S\"},{\"role\":\"assistant\",\"content\":\"A\"}]}",
        "template \"mistral\" has no [system] for a system turn");
}

static char *from_text(const char *text, const char *json)
{
    struct err e = ERR_INIT;
    struct tmpl *t = tmpl_parse("my.tmpl", text, strlen(text), &e);
    char *got = t ? render(t, json, &e) : NULL;
    tmpl_free(t);
    return got ? got : mem_strdup(e.msg);
}

static const struct {
    const char *text, *json, *want;
} files[] = {
    {"# mine\n\n[user]\nQ: {user}\n[assistant]\n\\nA: {assistant}\n", with_input,
     "^Q: Add.\n1 2\nA:« 3»$"},
    {"[user]\r\n{instruction}|{input}\r\n[assistant]\r\n>{assistant}\\t\r\n", with_input,
     "^Add.|1 2>«3\t»$"},
    {"[user]\n{instruction}|{input}\n[assistant]\n>{assistant}", one, "^Add.|>«3»$"},
    {"[user]\n{instruction}\n[assistant]\n>{assistant}\n", with_input, "^Add.\n1 2>«3»$"},
    {"[user]\n{instruction}\n[user-input]\n{instruction}+{input}\n[assistant]\n\n{assistant}\n",
     with_input, "^Add.+1 2\n«3»$"},
    {"[user]\n\\{user} \\[x] { {} "
     "{user}\n[INST]\n[assistant]\n=>{assistant}<end>\\n\n\n[options]\n"
     "# none\nbos = no\neos = yes\n",
     one, "{user} [x] { {} Add.\n[INST]=>«3<end>»$\n\n"},
    {"[user]\n{user}\n[assistant]\n{assistant}\n[system]\n({system})\n[options]\n"
     "default_system = \\tD\\n\neos=no\ntrim=yes\n",
     "{\"question\":\" \\n\\u00a0Q \\u3000\\t\",\"answer\":\"\\u2003A\"}", "^(D)Q«A»"},
    {"", one, "my.tmpl: there is no [user] section"},
    {"[user]\n{user}\n", one, "my.tmpl: there is no [assistant] section"},
    {"hello\n[user]\n{user}\n", one, "my.tmpl:1: text before the first [section]: hello"},
    {"[user]\n{user}\n[usr]\n", one, "my.tmpl:3: unknown section [usr]"},
    {"[user]\n{user}\n[user]\n", one, "my.tmpl:3: a second section [user]"},
    {"[user]\n\n{usr}\n", one, "my.tmpl:3: unknown placeholder (write \\{ for a brace): {usr}"},
    {"[user]\n{user}\\q\n", one, "my.tmpl:2: unknown escape \\q"},
    {"[user]\nhello\n[assistant]\n{assistant}\n", one,
     "my.tmpl: [user] must hold {user} or {instruction}"},
    {"[user]\n{user}{system}\n[assistant]\n{assistant}\n", one,
     "my.tmpl: [user] cannot hold {system}"},
    {"[user]\n{user}\n[assistant]\n{assistant}{assistant}\n", one,
     "my.tmpl: [assistant] must hold {assistant} once"},
    {"[options]\nbos\n", one, "my.tmpl:2: expected \"name = value\", found bos"},
    {"[options]\n\nbos = maybe\n", one, "my.tmpl:3: expected yes or no, found maybe"},
    {"[options]\nbot = no\n", one,
     "my.tmpl:2: unknown option (known: bos, eos, trim, reasoning, default_system): bot"},
    {"[user]\n{user}\xff\n", one, "my.tmpl: invalid UTF-8 at byte 14"},
};

static void template_files_do_what_they_say(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *got = from_text(files[i].text, files[i].json);
        assert_string_equal(got, files[i].want);
        free(got);
    }
}

static void names_are_known_or_listed(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    for (const char *const *n = tmpl_names(); *n; n++) {
        struct tmpl *t = tmpl_load(*n, &e);
        if (!t)
            fail_msg("%s", e.msg);
        assert_string_equal(tmpl_name(t), *n);
        assert_non_null(tmpl_markup(t, 0) || strcmp(*n, "none") == 0 ? "" : NULL);
        tmpl_free(t);
    }
    assert_null(tmpl_load("alpaka", &e));
    assert_string_equal(
        e.msg, "unknown template \"alpaka\"; known: alpaca, chatml, smollm2, qwen, qwen3, "
               "llama2, llama3, llama31, mistral, plain, none; or a file, with '/' or "
               "'.' in its name");
    assert_null(tmpl_load("./absent", &e));
    assert_int_equal(e.code, ERR_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alpaca_is_stanfords),
        cmocka_unit_test(chat_templates_are_their_models),
        cmocka_unit_test(plain_templates_add_little),
        cmocka_unit_test(every_turn_ends),
        cmocka_unit_test(a_turn_without_a_section_is_an_error),
        cmocka_unit_test(template_files_do_what_they_say),
        cmocka_unit_test(names_are_known_or_listed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
