/* SPDX-License-Identifier: MIT
 * eval/asked: where a continuation's tokens begin, BOS, cutting. */
#include "eval/asked.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct tok *load(const char *name)
{
    struct err e = ERR_INIT;
    const char *root = getenv("RAISE_TESTS");
    char *path = mem_printf("%s/fixtures/%s", root ? root : "tests", name);
    struct tok *t = tok_load_json(path, &e);
    if (!t)
        fail_msg("%s", e.msg);
    free(path);
    return t;
}

/* A token a byte: what is context, and what is not, can be read off. */
static void a_blank_at_the_end_belongs_to_the_answer(void **state)
{
    (void)state;
    const char *const after[] = {" b", " bc"};
    struct tok *t = load("tiny-llama/tokenizer.json");
    struct asked a;
    struct err e = ERR_INIT;
    assert_int_equal(asked_encode(&a, t, "ab \n", after, 2, &e), 0);
    assert_int_equal(a.n_context, 2);
    assert_true(a.context[0] == 'a' && a.context[1] == 'b');
    assert_true(a.n_after == 2 && a.after_len[0] == 4 && a.after_len[1] == 5);
    const int32_t want[] = {' ', '\n', ' ', 'b', 'c'};
    assert_memory_equal(a.after[1], want, sizeof want);
    assert_int_equal(a.longest, 7);
    assert_false(asked_is_one_token(&a));
    /* from the left, and at least one token of context stays */
    assert_true(asked_cut(&a, 7) && a.n_context == 2);
    assert_true(asked_cut(&a, 6));
    assert_true(a.n_context == 1 && a.context[0] == 'b' && a.longest == 6);
    assert_false(asked_cut(&a, 5));
    asked_free(&a);
    tok_free(t);
}

static void what_has_no_token_is_refused(void **state)
{
    (void)state;
    const char *const after[] = {"b", ""};
    struct tok *t = load("tiny-llama/tokenizer.json");
    struct asked a;
    struct err e = ERR_INIT;
    assert_int_equal(asked_encode(&a, t, "a", after, 2, &e), ERR_EMPTY);
    assert_string_equal(e.msg, "choice 2 has no token of its own");
    assert_int_equal(asked_encode(&a, t, " ", after, 1, &e), ERR_EMPTY);
    assert_string_equal(e.msg, "the question has no token");
    tok_free(t);
}

static void bos_comes_first_where_it_is_added(void **state)
{
    (void)state;
    const char *const after[] = {" b"};
    struct tok *t = load("tok/meta.json");
    struct asked a;
    assert_true(tok_adds_bos(t));
    assert_int_equal(asked_encode(&a, t, "a", after, 1, NULL), 0);
    struct tok_ids ids = {0};
    assert_int_equal(tok_encode(t, "a b", 3, 0, &ids, NULL), 0);
    assert_int_equal(a.longest, (int64_t)ids.n + 1);
    assert_int_equal(a.context[0], tok_bos(t));
    assert_int_equal(a.context[1], ids.ids[0]);
    free(ids.ids);
    asked_free(&a);
    tok_free(t);
}

static void a_template_makes_turns_of_it(void **state)
{
    (void)state;
    const char *const after[] = {" b", " bc"},
                      text[] = "[user]\n<{user}>\n[assistant]\n{assistant}.\n";
    struct tok *t = load("tiny-llama/tokenizer.json");
    struct tmpl *tm = tmpl_parse("x", text, sizeof text - 1, NULL);
    struct asked a;
    struct err e = ERR_INIT;
    if (asked_render(&a, t, tm, "q", after, 2, &e) < 0)
        fail_msg("%s", e.msg);
    const int32_t context[] = {'<', 'q', '>'}, last[] = {'b', 'c', '.'};
    int64_t from = a.n_context - 3; /* after what the tokenizer puts first */
    assert_memory_equal(a.context + from, context, sizeof context);
    assert_true(a.n_after == 2 && a.after_len[0] == 2 && a.after_len[1] == 3);
    assert_memory_equal(a.after[1], last, sizeof last);
    assert_int_equal(a.longest, a.n_context + 3);
    asked_free(&a);
    tmpl_free(tm);
    tok_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_blank_at_the_end_belongs_to_the_answer),
        cmocka_unit_test(what_has_no_token_is_refused),
        cmocka_unit_test(bos_comes_first_where_it_is_added),
        cmocka_unit_test(a_template_makes_turns_of_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
