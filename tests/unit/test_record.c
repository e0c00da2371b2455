/* SPDX-License-Identifier: MIT
 * features/record: the value of every column, and how columns are chosen. */
#include "features/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct data_turn turns[] = {
    {.role = DATA_SYSTEM, .text = "Sei kurz.", .len = 9},
    {.role = DATA_USER, .text = "Gru\303\237?", .len = 6},
    {.role = DATA_ASSISTANT,
     .text = "Gr\303\274\303\237e,\nWelt \360\237\214\215\n",
     .len = 19},
    {.role = DATA_USER, .text = "Mehr.", .len = 5},
    {.role = DATA_ASSISTANT, .text = "Nein.", .len = 5},
};

/* A column without a row here fails. */
static const struct {
    const char *name;
    double value;
} expected[] = {{"n_turns", 5}, {"chars_y", 14 + 5}};

static void columns_have_their_values(void **state)
{
    (void)state;
    const struct data_record r = {.n_turns = sizeof turns / sizeof *turns, .turns = turns};
    const struct example x = {.n = 9, .n_prompt = 4, .n_response = 5};
    for (const struct record_column *c = record_columns(); c->name; c++) {
        size_t k = 0;
        while (k < sizeof expected / sizeof *expected && strcmp(expected[k].name, c->name) != 0)
            k++;
        if (k == sizeof expected / sizeof *expected)
            fail_msg("no value is expected of %s", c->name);
        if (!(c->value(&r, &x) == expected[k].value))
            fail_msg("%s is %g, not %g", c->name, c->value(&r, &x), expected[k].value);
    }
}

static void columns_are_chosen_by_name(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct record_choice c;
    assert_int_equal(record_choose(&c, NULL, &e), 0);
    assert_true(c.n == 0 && !c.names);
    assert_int_equal(record_choose(&c, "chars_y,n_turns", &e), 0);
    assert_int_equal(c.n, 2);
    assert_string_equal(c.column[0]->name, "chars_y");
    assert_string_equal(c.names[1], "n_turns");
    assert_null(c.names[2]);
    record_choice_free(&c);
    assert_int_equal(record_choose(&c, "all", &e), 0);
    assert_int_equal(c.n, sizeof expected / sizeof *expected);
    assert_ptr_equal(c.column[c.n - 1], &record_columns()[c.n - 1]);
    record_choice_free(&c);
    assert_int_equal(record_choose(&c, "n_turns,chars", &e), ERR_RANGE);
    assert_ptr_equal(strstr(e.msg, "'chars' is not one of n_turns, chars_y, "), e.msg);
    record_choice_free(&c);
    assert_int_equal(record_choose(&c, "n_turns,,chars_y", &e), ERR_RANGE);
    record_choice_free(&c);
    assert_int_equal(record_choose(&c, "n_turns,chars_y,n_turns", &e), ERR_RANGE);
    assert_string_equal(e.msg, "n_turns twice");
    record_choice_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_have_their_values),
        cmocka_unit_test(columns_are_chosen_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
