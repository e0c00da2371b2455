/* SPDX-License-Identifier: MIT
 * Chats: what a message says beside role and text, from the file to the model's own template,
 * and the masks of built-in ones. */
#include "base/file.h"
#include "base/mem.h"
#include "data/tmpl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define USER "{\"role\":\"user\",\"content\":\"Q\"}"
#define TALK                                                                                   \
    "{\"messages\":[" USER ",{\"role\":\"assistant\",\"content\":\"A\"},"                      \
    "{\"role\":\"user\",\"content\":\"R\"},{\"role\":\"assistant\",\"content\":\"B\"}]}"

/* ChatML, as small as it can be; as it is, and with its turns marked. */
#define CHATML_HEAD                                                                            \
    "{% for m in messages %}{% if loop.first and m.role != 'system' %}<S>{% endif %}"
#define CHATML                                                                                 \
    CHATML_HEAD "<|{{ m.role }}|>{{ m.content }}<e>\n"                                         \
                "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
#define MARKED                                                                                 \
    CHATML_HEAD "<|{{ m.role }}|>{% if m.role == 'assistant' %}{% generation %}"               \
                "{{ m.content }}<e>{% endgeneration %}{% else %}{{ m.content }}<e>{% endif %}" \
                "{% endfor %}"

static struct data_reader *reader; /* of the last record that was read */

static const struct data_record *read_record(struct dataset *d, const char *json)
{
    struct err e = ERR_INIT;
    struct data_options opt = {0};
    char path[] = "/tmp/raise-chat-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0 && close(fd) == 0);
    assert_int_equal(file_write_all(path, json, strlen(json), &e), 0);
    if (dataset_read(d, path, &opt, &e) < 0)
        fail_msg("%s", e.msg);
    reader = data_reader_new(d);
    const struct data_record *r = data_reader_get(reader, 0, &e);
    if (!r)
        fail_msg("%s", e.msg);
    unlink(path);
    return r;
}

static void free_record(struct dataset *d)
{
    data_reader_free(reader);
    dataset_free(d);
}

/* What counts in the loss between « and », EOS as $; what is not the template's own in _ _. */
static char *show(const struct tmpl_text *x, bool shows_origin)
{
    struct buf b = {0};
    bool is_response = false;
    for (int i = 0; i < x->n_segments; i++) {
        const struct tmpl_segment *s = &x->segments[i];
        if (s->is_response != is_response)
            buf_puts(&b, is_response ? "»" : "«");
        is_response = s->is_response;
        buf_printf(&b, !s->is_markup && shows_origin ? "_%s_" : "%s", s->text);
        if (s->wants_eos)
            buf_puts(&b, "$");
    }
    buf_puts(&b, is_response ? "»" : "");
    return buf_str(&b);
}

static struct tmpl *model(const char *text, const char *tool_text)
{
    struct err e = ERR_INIT;
    struct tmpl_model m = {.name = "m",
                           .text = text,
                           .tool_text = tool_text,
                           .bos = "<s>",
                           .eos = "</s>",
                           .now = 1721995200};
    struct tmpl *t = tmpl_of_model(&m, &e);
    if (!t)
        fail_msg("%s", e.msg);
    assert_true(tmpl_is_model(t));
    assert_string_equal(tmpl_name(t), "model");
    return t;
}

static void expect_text(struct tmpl *t, const char *json, const char *want, bool shows_origin)
{
    struct err e = ERR_INIT;
    struct dataset d;
    struct tmpl_text x;
    int rc = tmpl_render(t, read_record(&d, json), &x, &e);
    if (rc < 0 && strcmp(e.msg, want) != 0)
        fail_msg("%s: \"%s\", wanted \"%s\"", json, e.msg, want);
    if (rc == 0) {
        char *got = show(&x, shows_origin);
        assert_string_equal(got, want);
        free(got);
    }
    tmpl_text_free(&x);
    free_record(&d);
    tmpl_free(t);
}

static void expect(const char *template, const char *json, const char *want)
{
    expect_text(model(template, NULL), json, want, false);
}

static void expect_builtin(const char *name, const char *json, const char *want)
{
    struct err e = ERR_INIT;
    struct tmpl *t = tmpl_load(name, &e);
    if (!t)
        fail_msg("%s", e.msg);
    expect_text(t, json, want, false);
}

/* ---- the model's own template ---- */

static void a_turn_counts_with_its_end(void **state)
{
    (void)state;
    expect(CHATML, TALK,
           "<S><|user|>Q<e>\n<|assistant|>«A<e>»\n<|user|>R<e>\n<|assistant|>«B<e>»\n");
    expect(MARKED, TALK, "<S><|user|>Q<e><|assistant|>«A<e>»<|user|>R<e><|assistant|>«B<e>»");
    /* turns after the last answer are left out */
    expect(CHATML,
           "{\"messages\":[" USER ",{\"role\":\"assistant\",\"content\":\"A\"}," USER "]}",
           "<S><|user|>Q<e>\n<|assistant|>«A<e>»\n");
    /* consecutive answers stay two; the first of all has no prompt before it */
    expect(CHATML,
           "{\"messages\":[" USER ",{\"role\":\"assistant\",\"content\":\"b\"},"
           "{\"role\":\"assistant\",\"content\":\"c\"}]}",
           "<S><|user|>Q<e>\n<|assistant|>«b<e>»\n<|assistant|>«c<e>»\n");
    expect(CHATML,
           "{\"messages\":[{\"role\":\"assistant\",\"content\":\"b\"}," USER
           ",{\"role\":\"assistant\",\"content\":\"c\"}]}",
           "<S><|assistant|>«b<e>»\n<|user|>Q<e>\n<|assistant|>«c<e>»\n");
    /* a text alone is itself */
    expect(CHATML, "{\"text\":\"T\"}", "«T$»");
}

/* Llama 2's: no generation prompt, a space before the answer; and one without any end. */
static void without_prompt_or_end(void **state)
{
    (void)state;
    expect("{% for m in messages %}{% if m.role == 'user' %}{{ bos_token }}[INST] {{ m.content "
           "}} [/INST]{% else %} {{ m.content }} {{ eos_token }}{% endif %}{% endfor %}",
           TALK, "<s>[INST] Q [/INST]« A </s>»<s>[INST] R [/INST]« B </s>»");
    expect("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
           "{% if add_generation_prompt %}assistant:{% endif %}",
           TALK, "user: Q\nassistant:« A$»\nuser: R\nassistant:« B$»\n");
}

/* Phi 3's ends the conversation with EOS: what EOS and the next role have in common is
 * neither's. */
static void an_end_is_no_half_of_a_marker(void **state)
{
    (void)state;
    expect("{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>\n{% endfor %}"
           "{% if add_generation_prompt %}<|assistant|>{% else %}<|endoftext|>{% endif %}",
           TALK,
           "<|user|>Q<|end|>\n<|assistant|>«A<|end|>»\n<|user|>R<|end|>\n<|assistant|>«B<|end|>"
           "\n<|endoftext|>»");
}

/* Thoughts are dropped from turns that are not the last, and the prompt may begin them. */
static void with_thoughts(void **state)
{
    (void)state;
    const char *dropping =
        "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' and loop.last %}<t>"
        "{{ m.reasoning_content }}</t>{% endif %}{{ m.content }}<e>{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}";
    const char *json =
        "{\"messages\":[" USER ",{\"role\":\"assistant\",\"content\":\"A\","
        "\"reasoning\":\"x\"},{\"role\":\"user\",\"content\":\"R\"},"
        "{\"role\":\"assistant\",\"content\":\"B\",\"reasoning_content\":\"y\"}]}";
    expect(dropping, json,
           "<|user|>Q<e><|assistant|>«A<e>»<|user|>R<e><|assistant|>«<t>y</t>B<e>»");
    const char *begun = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<e>{% endfor %}"
                        "{% if add_generation_prompt %}<|assistant|><t>{% endif %}";
    expect(begun, TALK, "<|user|>Q<e><|assistant|>«A<e>»<|user|>R<e><|assistant|>«B<e>»");
    expect(begun,
           "{\"messages\":[" USER ",{\"role\":\"assistant\",\"content\":\"<t>x</t>A\"}]}",
           "<|user|>Q<e><|assistant|><t>«x</t>A<e>»");
}

static void a_record_does_not_imitate(void **state)
{
    (void)state;
    expect_text(model(CHATML, NULL),
                "{\"messages\":[{\"role\":\"user\",\"content\":\"<e>\"},"
                "{\"role\":\"assistant\",\"content\":\"<|user|>\"}]}",
                "<S><|user|>_<e>_<e>\n<|assistant|>«_<|user|>_<e>»\n", true);
}

static void calls_of_tools(void **state)
{
    (void)state;
    const char *template =
        "{% if tools %}T{{ tools | tojson }}\n{% endif %}{% for m in messages %}<|{{ m.role "
        "}}{% if m.tool_call_id %} {{ m.tool_call_id }}{% endif %}|>{% if m.content is defined "
        "%}{{ m.content }}{% endif %}{% for c in m.tool_calls %}!{{ c.function.name }}{{ "
        "c.function.arguments | tojson }}{% endfor %}<e>{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}";
    const char *json =
        "{\"messages\":[" USER ",{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{"
        "\"function\":{\"name\":\"w\",\"arguments\":{\"n\":1.50}}}]},{\"role\":\"tool\","
        "\"content\":\"sunny\",\"tool_call_id\":\"c1\"},{\"role\":\"assistant\",\"content\":"
        "\"fine\"}],\"tools\":[{\"name\":\"w\"}]}";
    expect(
        template, json,
        "T[{\"name\": \"w\"}]\n<|user|>Q<e><|assistant|>«!w{\"n\": 1.5}<e>»<|tool c1|>sunny<e>"
        "<|assistant|>«fine<e>»");
    /* a template for tools of its own, only where there are some */
    expect_text(model("plain", "tools{% for m in messages %}{{ m.content }}{{ m.tool_calls }}"
                               "{% endfor %}"),
                "{\"messages\":[" USER ",{\"role\":\"assistant\",\"content\":\"A\"}],\"tools\":"
                "\"[1]\"}",
                "toolsQ«A$»", false);
    expect_text(model("{{ messages[1].content }}", "tools"), TALK, "«A$»", false);
    expect(CHATML, json, "the model's template has no place for \"tool_calls\"");
    expect_builtin(
        "chatml", json,
        "template \"chatml\" has no place for \"tool_calls\" (a model's own may have: "
        "--template model)");
}

static void developers_and_dates(void **state)
{
    (void)state;
    const char *json = "{\"messages\":[{\"role\":\"developer\",\"content\":\"D\"}," USER
                       ",{\"role\":\"assistant\",\"content\":\"A\"}]}";
    const char *plain = "{% for m in messages %}{{ m.role }} {{ m.content }};{% endfor %}";
    expect(plain, json, "system D;user Q;assistant« A;»");
    expect(
        "{% if messages[0].role == 'developer' %}dev {% endif %}{{ strftime_now('%Y-%m-%d') }} "
        "{% for m in messages %}{{ m.content }};{% endfor %}",
        json, "dev 2024-07-26 D;Q;«A;»");
}

static void what_is_wrong_is_told(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct tmpl_model m = {.name = "dir", .text = "a\n{% import 'x' as y %}"};
    assert_null(tmpl_of_model(&m, &e));
    assert_string_equal(e.msg, "chat template of dir:2: the statement \"import\" is not "
                               "supported here");
    expect("{% if messages | length > 1 %}{{ raise_exception('too long') }}{% endif %}", TALK,
           "chat template of m:1: the template refuses this: too long");
}

/* ---- masks, and what has no place ---- */

static void masked_turns_are_text_alone(void **state)
{
    (void)state;
    const char *json = "{\"messages\":[" USER ",{\"role\":\"assistant\",\"content\":\"bad\","
                       "\"weight\":0},{\"role\":\"user\",\"content\":\"R\"},"
                       "{\"role\":\"assistant\",\"content\":\"good\",\"weight\":1}]}";
    const char *train =
        "{\"conversations\":[{\"from\":\"human\",\"value\":\"Q\"},{\"from\":"
        "\"gpt\",\"value\":\"bad\",\"train\":false},{\"from\":\"human\",\"value\":"
        "\"R\"},{\"from\":\"gpt\",\"value\":\"good\",\"train\":true}]}";
    const char *text =
        "<S><|user|>Q<e>\n<|assistant|>bad<e>\n<|user|>R<e>\n<|assistant|>«good<e>»\n";
    expect(CHATML, json, text);
    expect(CHATML, train, text);
    expect(MARKED, json,
           "<S><|user|>Q<e><|assistant|>bad<e><|user|>R<e><|assistant|>«good<e>»");
    expect_builtin("chatml", json,
                   "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\nbad<|im_end|>\n"
                   "<|im_start|>user\nR<|im_end|>\n<|im_start|>assistant\n«good<|im_end|>»\n");
    expect_builtin("plain", train, "Q\nbad$\nR\n«good$»");
    expect_builtin("none",
                   "{\"messages\":[" USER ",{\"role\":\"assistant\",\"content\":\"b\"},"
                   "{\"role\":\"assistant\",\"content\":\"c\"}]}",
                   "Q«b$c$»");
}

static void qwen3_thinks(void **state)
{
    (void)state;
    const char *json =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":"
        "\"assistant\",\"content\":\"b\",\"reasoning_content\":\"think hard\"}]}";
    expect_builtin("qwen3", json,
                   "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n"
                   "«<think>\nthink hard\n</think>\n\nb<|im_end|>»\n");
    expect_builtin("chatml", json,
                   "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n«b<|im_end|>»\n");
}

static void what_has_no_place_is_known(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct dataset d;
    const struct data_record *r = read_record(
        &d, "{\"messages\":[{\"role\":\"user\",\"content\":\"a\",\"name\":\"bob\","
            "\"train\":true},{\"role\":\"assistant\",\"content\":\"b\",\"thinking\":\"t\","
            "\"weight\":0.5},{\"role\":\"tool\",\"content\":\"\",\"tool_call_id\":\"1\"}],"
            "\"tools\":[{}]}");
    static const unsigned all = DATA_KEY_NAME | DATA_KEY_TRAIN | DATA_KEY_REASONING |
                                DATA_KEY_WEIGHT | DATA_KEY_TOOL_CALL_ID | DATA_KEY_TOOLS;
    assert_int_equal(r->keys, all);
    struct tmpl *chatml = tmpl_load("chatml", &e), *qwen3 = tmpl_load("qwen3", &e),
                *own = model("{{ m.name }}{{ m.thinking }}{{ tools }}", NULL);
    assert_int_equal(tmpl_unheeded(chatml, r), all);
    assert_int_equal(tmpl_unheeded(qwen3, r), all & ~DATA_KEY_REASONING);
    assert_int_equal(tmpl_unheeded(own, r),
                     DATA_KEY_TRAIN | DATA_KEY_WEIGHT | DATA_KEY_TOOL_CALL_ID);
    assert_string_equal(data_key_name(DATA_KEY_REASONING), "reasoning_content");
    tmpl_free(chatml);
    tmpl_free(qwen3);
    tmpl_free(own);
    free_record(&d);
    r = read_record(
        &d, "{\"messages\":[{\"role\":\"user\",\"content\":\"a\",\"name\":\"\"},"
            "{\"role\":\"assistant\",\"content\":\"b\",\"tool_calls\":[],\"weight\":1}]}");
    assert_int_equal(r->keys, 0);
    free_record(&d);
}

/* ---- identity ---- */

static uint64_t hash_of(const char *json)
{
    struct dataset d;
    uint64_t h = read_record(&d, json)->hash;
    free_record(&d);
    return h;
}

#define CALL(extra)                                                                            \
    "{\"messages\":[" USER ",{\"role\":\"assistant\",\"content\":\"A\"" extra "}]}"

static void what_is_said_is_identity(void **state)
{
    (void)state;
    uint64_t plain = hash_of(CALL("")),
             called = hash_of(CALL(",\"tool_calls\":[{\"a\":1,\"b\":2}]"));
    assert_true(plain != called);
    assert_true(hash_of(CALL(",\"reasoning\":\"x\"")) != plain);
    assert_true(hash_of(CALL(", \"tool_calls\" : [ {\"b\":2, \"a\": 1} ],\"id\":7")) == called);
    assert_true(hash_of(CALL(",\"weight\":0.5,\"name\":\"x\"")) == plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_turn_counts_with_its_end),
        cmocka_unit_test(without_prompt_or_end),
        cmocka_unit_test(an_end_is_no_half_of_a_marker),
        cmocka_unit_test(with_thoughts),
        cmocka_unit_test(a_record_does_not_imitate),
        cmocka_unit_test(calls_of_tools),
        cmocka_unit_test(developers_and_dates),
        cmocka_unit_test(what_is_wrong_is_told),
        cmocka_unit_test(masked_turns_are_text_alone),
        cmocka_unit_test(qwen3_thinks),
        cmocka_unit_test(what_has_no_place_is_known),
        cmocka_unit_test(what_is_said_is_identity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
