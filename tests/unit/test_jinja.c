/* SPDX-License-Identifier: MIT
 * jinja: each construct as transformers renders it (tests/fixtures/jinja/make.py), where bytes
 * come from, what is refused and with which line, and hostile templates. */
#include "base/mem.h"
#include "jinja/jinja.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Renders; NULL and the error on failure. Where bytes come from: in *x. */
static int render(const char *template, json_t *messages, struct jinja_text *x, struct err *e)
{
    struct jinja *t = jinja_parse("t", template, strlen(template), e);
    json_t *bos = json_string("<s>");
    struct jinja_var vars[] = {{"messages", messages, JINJA_PER_ITEM},
                               {"bos_token", bos, JINJA_TRUSTED}};
    *x = (struct jinja_text){0};
    int rc = t ? jinja_render(t, vars, 2, 1721995200, x, e) : e->code;
    json_decref(bos);
    jinja_free(t);
    return rc;
}

static json_t *load(const char *text)
{
    json_error_t why;
    json_t *v = json_loads(text, JSON_DECODE_ANY, &why);
    if (!v)
        fail_msg("%s: %s", text, why.text);
    return v;
}

static void check_spans(const json_t *c, const struct jinja_text *x, const char *template)
{
    size_t at = 0, span = 0;
    const json_t *spans = json_object_get(c, "spans");
    for (size_t i = 0; i < x->len; i++) {
        const json_t *s = json_array_get(spans, span);
        if (s && (json_int_t)at >= json_integer_value(json_array_get(s, 1)))
            s = json_array_get(spans, ++span);
        bool is_in = s && (json_int_t)at >= json_integer_value(json_array_get(s, 0));
        if (!(x->from[i] & JINJA_GENERATED) != !is_in)
            fail_msg("%s: byte %zu is %sgenerated", template, i, is_in ? "" : "not ");
        at += i + 1 < x->len && ((unsigned char)x->s[i + 1] & 0xc0) != 0x80;
    }
}

static void test_constructs(void **state)
{
    (void)state;
    char path[512];
    json_error_t why;
    snprintf(path, sizeof path, "%s/fixtures/jinja/cases.json", getenv("RAISE_TESTS"));
    json_t *all = json_load_file(path, 0, &why), *c, *cases = json_object_get(all, "cases");
    size_t i;
    assert_true(json_array_size(cases) > 40);
    json_array_foreach(cases, i, c)
    {
        struct err e = ERR_INIT;
        struct jinja_text x;
        const char *template = json_string_value(json_object_get(c, "template"));
        const json_t *text = json_object_get(c, "text");
        int rc = render(template, json_object_get(all, "messages"), &x, &e);
        if (text && rc < 0)
            fail_msg("%s: %s", template, e.msg);
        if (!text && rc == 0)
            fail_msg("%s: gives \"%s\", transformers raises %s", template, x.s,
                     json_string_value(json_object_get(c, "raises")));
        if (text) {
            assert_string_equal(x.s, json_string_value(text));
            assert_int_equal(x.len, json_string_length(text));
            check_spans(c, &x, template);
        }
        jinja_text_free(&x);
    }
    json_decref(all);
}

/* The origins of a rendering, a letter a byte: . of the template, a digit of that message. */
static void expect_origins(const char *template, const char *messages, const char *want)
{
    struct err e = ERR_INIT;
    struct jinja_text x;
    struct buf b = {0};
    json_t *m = load(messages);
    if (render(template, m, &x, &e) < 0)
        fail_msg("%s: %s", template, e.msg);
    for (size_t i = 0; i < x.len; i++) {
        int who = x.from[i] & JINJA_WHO;
        buf_putc(&b, who ? (char)('0' + who) : '.');
    }
    assert_string_equal(buf_str(&b), want);
    buf_free(&b);
    jinja_text_free(&x);
    json_decref(m);
}

static void test_origins(void **state)
{
    (void)state;
    const char *two = "[{\"role\":\"user\",\"content\":\" ab \"},{\"role\":\"x\",\"content\":"
                      "\"c,d\",\"k\":{\"q\":[\"z\",1]}}]";
    expect_origins("{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}", two,
                   "......1111...222");
    /* through filters, methods, joins, slices, captures, macros and JSON */
    expect_origins("{{ ('<' + messages[0].content.strip() + '>')[1:3] }}{{ '-' }}", two, "11.");
    expect_origins(
        "{% macro f(x) %}({{ x | upper }}){% endmacro %}{{ f(messages[1].content) }}", two,
        ".222.");
    expect_origins("{{ messages[1].content.split(',') | join('+') }}", two, "2.2");
    expect_origins(
        "{% set b %}{{ messages[0].content }}!{% endset %}{{ b | trim | replace('a', 'x') }}",
        two, ".11.");
    expect_origins("{{ messages[1].k | tojson }}", two, "..2.....2......");
    expect_origins("{{ bos_token }}{{ messages | map(attribute='content') | join }}", two,
                   "...1111222");
}

static void refuse(const char *template, int code, const char *words)
{
    struct err e = ERR_INIT;
    struct jinja_text x;
    json_t *m = load("[{\"role\":\"user\",\"content\":\"abc\"}]");
    int rc = render(template, m, &x, &e);
    if (rc != code || !strstr(e.msg, words))
        fail_msg("%s: %d, \"%s\"; wanted %d, \"%s\"", template, rc, e.msg, code, words);
    assert_null(x.s);
    json_decref(m);
}

static void test_refused(void **state)
{
    (void)state;
    refuse("a\nb\n{% include 'x' %}", ERR_UNSUPPORTED,
           "t:3: the statement \"include\" is not supported");
    refuse("{% extends 'x' %}", ERR_UNSUPPORTED, "extends");
    refuse("{% import 'x' as y %}", ERR_UNSUPPORTED, "import");
    refuse("{% call f() %}{% endcall %}", ERR_UNSUPPORTED, "call");
    refuse("{% for x in y recursive %}{% endfor %}", ERR_UNSUPPORTED, "recursive");
    refuse("\n{{ x | urlize }}", ERR_UNSUPPORTED, "t:2: the filter \"urlize\"");
    refuse("{{ x is filter }}", ERR_UNSUPPORTED, "the test \"filter\"");
    refuse("{{ f(**x) }}", ERR_UNSUPPORTED, "**");
    refuse("{{ 'x'.format(1) }}", ERR_UNSUPPORTED, "format of a str is not supported");
    refuse("{% if x %}", ERR_FORMAT, "t:1: the block that began in line 1 has no end");
    refuse("{% endif %}", ERR_UNSUPPORTED, "endif");
    refuse("{{ x", ERR_FORMAT, "a value without its }}");
    refuse("{% if", ERR_FORMAT, "a block without its %}");
    refuse("{# x", ERR_FORMAT, "comment");
    refuse("{% raw %} x", ERR_FORMAT, "raw");
    refuse("{{ 'x }}", ERR_FORMAT, "quote");
    refuse("{{ 1 + }}", ERR_FORMAT, "expected a value");
    refuse("{{ (1 }}", ERR_FORMAT, "");
    refuse("{{ ] }}", ERR_FORMAT, "closing bracket");
    refuse("{{ x $ y }}", ERR_FORMAT, "character");
    refuse("{% set 1 = 2 %}", ERR_FORMAT, "name");
    refuse("{% break %}", ERR_FORMAT, "outside of a loop");
    refuse("{% for x in y %}{% macro f() %}{% break %}{% endmacro %}{% endfor %}", ERR_FORMAT,
           "outside of a loop");
    refuse("a\n{{ raise_exception('not so') }}", ERR_FORMAT,
           "t:2: the template refuses this: not so");
    refuse("\n\n{{ messages[0].nope.deeper }}", ERR_FORMAT, "t:3: nope is undefined");
    refuse("{{ nothing() }}", ERR_FORMAT, "nothing is undefined");
    refuse("\xff", ERR_FORMAT, "UTF-8");
}

/* Each would run for ever, or take all memory, or the stack. */
static void test_hostile(void **state)
{
    (void)state;
    refuse("{% set r = range(99999) %}{% for a in r %}{% for b in r %}{% endfor %}{% endfor %}",
           ERR_RANGE, "steps");
    refuse("{% set ns = namespace(s='xx') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s "
           "%}{% endfor %}",
           ERR_RANGE, "MiB");
    refuse("{% set s = 'x' * 99999 %}{% for i in range(9999) %}{{ s }}{% endfor %}", ERR_RANGE,
           "MiB");
    refuse("{{ 'x' * 99999999999 }}", ERR_RANGE, "steps");
    refuse("{{ [1] * 99999999999 }}", ERR_RANGE, "");
    refuse("{{ range(99999999999) }}", ERR_RANGE, "range");
    refuse("{{ 9223372036854775807 + 1 }}", ERR_RANGE, "64 bits");
    refuse("{{ 9999999999999999999 }}", ERR_UNSUPPORTED, "too large");
    refuse("{{ 3 ** 999999999999 }}", ERR_RANGE, "64 bits");
    refuse("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", ERR_RANGE, "deep");
    refuse("{% set ns = namespace(l=[]) %}{% for i in range(9999) %}{% set ns.l = [ns.l] %}{% "
           "endfor %}{{ ns.l }}",
           ERR_RANGE, "deep");
    refuse("{% set ns = namespace(l=[], m=[]) %}{% for i in range(9999) %}{% set ns.l = [ns.l] "
           "%}{% set ns.m = [ns.m] %}{% endfor %}{{ ns.l == ns.m }}{{ ns.l | tojson }}",
           ERR_RANGE, "deep");
    refuse("{{ 'ab' | indent(999999999999) }}", ERR_RANGE, "steps");
    refuse("{{ {'a': [[1]]} | tojson(indent=999999999999) }}", ERR_RANGE, "steps");
    struct buf b = {0};
    for (int i = 0; i < 100000; i++)
        buf_puts(&b, "(");
    buf_puts(&b, "1");
    for (int i = 0; i < 100000; i++)
        buf_puts(&b, ")");
    char *deep = mem_printf("{{ %s }}", buf_str(&b));
    refuse(deep, ERR_RANGE, "nested more than");
    free(deep);
    b.len = 0;
    for (int i = 0; i < 100000; i++)
        buf_puts(&b, "{% if x %}");
    refuse(buf_str(&b), ERR_RANGE, "nested more than");
    b.len = 0;
    for (int i = 0; i < 100000; i++)
        buf_puts(&b, "1 + ");
    deep = mem_printf("{{ %s1 }}", buf_str(&b));
    refuse(deep, ERR_RANGE, "deep");
    free(deep);
    buf_free(&b);
}

/* Cut anywhere, a template is an error or another template, never a crash. */
static void test_cut(void **state)
{
    (void)state;
    static const char text[] =
        "{%- macro f(a, b=[1, {'k': 2}]) -%}{{ a ~ b[0:1] | tojson }}{%- endmacro %}\n"
        "{% for m in messages if m.role is string and not m.x %}{% set ns = namespace(q='\\n') "
        "%}"
        "{{ f(m['content'], b=(1, 2))[::-1] | default('x', true) }}{# c #}{% else %}{% endfor "
        "%}";
    json_t *m = load("[{\"role\":\"user\",\"content\":\"abc\"}]");
    for (size_t n = 0; n <= sizeof text - 1; n++) {
        char *cut = mem_strndup(text, n);
        struct err e = ERR_INIT;
        struct jinja_text x;
        int rc = render(cut, m, &x, &e);
        assert_true(rc <= 0 && (rc == 0) == (e.code == 0));
        jinja_text_free(&x);
        free(cut);
    }
    json_decref(m);
}

static void test_mentions(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    const char *text =
        "{% generation %}{{ m.tool_calls or m['name'] }}{% endgeneration %} train";
    struct jinja *t = jinja_parse("t", text, strlen(text), &e);
    assert_non_null(t);
    assert_true(jinja_has_generation(t));
    assert_true(jinja_mentions(t, "tool_calls") && jinja_mentions(t, "name"));
    assert_false(jinja_mentions(t, "train") || jinja_mentions(t, "tool_call_id"));
    jinja_free(t);
}

int main(void)
{
    json_object_seed(1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_constructs), cmocka_unit_test(test_origins),
        cmocka_unit_test(test_refused),    cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_cut),        cmocka_unit_test(test_mentions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
