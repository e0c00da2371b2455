/* SPDX-License-Identifier: MIT
 * eval/answer: what is found in texts, and what is equal, beside Python's re.findall and re.sub
 * with the expressions of the header, whose results stand here. */
#include "eval/answer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct {
    const char *text, *strict, *flexible;
} found[] = {
    {"", "[invalid]", "[invalid]"},
    {"#### 72", "72", "72"},
    {"#### -5.", "-5.", "-5."},
    {"#### -", "[invalid]", "[invalid]"},
    {"#### $5 ", "[invalid]", "$5"},
    {"a #### 1,234.\n#### 7", "1,234.", "7"},
    {"####72", "[invalid]", "72"},
    {"#### #### 3", "3", "3"},
    {"it is 5", "[invalid]", "5"},
    {"it is 5.", "[invalid]", "5."},
    {"costs $5", "[invalid]", "$5"},
    {"7-12", "[invalid]", "-12"},
    {"--3", "[invalid]", "-3"},
    {"-", "[invalid]", "[invalid]"},
    {"-.", "[invalid]", "[invalid]"},
    {"-$", "[invalid]", "[invalid]"},
    {"9,", "[invalid]", "9,"},
    {"x-1y22-", "[invalid]", "22"},
    {"$", "[invalid]", "[invalid]"},
    {"1 2 3", "[invalid]", "3"},
    {"so 1,000,000 dollars...", "[invalid]", "..."},
    {"1.5.2 and -0", "[invalid]", "-0"},
    {"####  4", "[invalid]", "4"},
    {"ab 12\n", "[invalid]", "12"},
    {"-5-", "[invalid]", "-5"},
    {"#### .", ".", "[invalid]"},
    {"3 ####", "[invalid]", "3"},
    {"#### 10 #### -11", "10", "-11"},
    {"\xc3\xa9"
     "5",
     "[invalid]", "5"},
    {"5\xc3\xa9", "[invalid]", "5"},
};

static void check(const char *text, const char *what, struct answer got, const char *want)
{
    if (got.len != strlen(want) || memcmp(got.text, want, got.len) != 0)
        fail_msg("\"%s\": %s is \"%.*s\", want \"%s\"", text, what, (int)got.len, got.text,
                 want);
}

static void numbers_are_found_as_the_expressions_find_them(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof found / sizeof *found; i++) {
        const char *text = found[i].text;
        check(text, "strict", answer_strict(text, strlen(text)), found[i].strict);
        check(text, "flexible", answer_flexible(text, strlen(text)), found[i].flexible);
    }
    check("#### 12", "strict of a part", answer_strict("#### 12", 6), "1");
    check("12", "flexible of a part", answer_flexible("12", 1), "1");
}

static const char *const given[] = {"3",    "1000",      "$1,000", "-2.50", "2.50", "7",
                                    "none", "[invalid]", "NONE",   "5.",    "5",    "",
                                    ".",    "3.",        "a.b",    "5\n"};
static const struct {
    const char *gold, *right; /* a digit for each that is given */
} golds[] = {
    {"x <<1+2=3>>3\n#### 3", "1000000000000100"},
    {"#### 1,000", "0110000000000000"},
    {"a #### b #### -2.50", "0001000000000000"},
    {"#### $7.", "0000010000000000"},
    {"None", "0000001010000000"},
    {"#### 5.\n", "0000000000000001"},
    {"", "0000000000011000"},
    {"#### ", "0000000000011000"},
    {"A.B.", "0000000000000010"},
};

static void numbers_are_compared_without_signs_of_money(void **state)
{
    (void)state;
    for (size_t g = 0; g < sizeof golds / sizeof *golds; g++)
        for (size_t i = 0; i < sizeof given / sizeof *given; i++) {
            struct answer a = {given[i], strlen(given[i])};
            bool want = golds[g].right[i] == '1';
            if (answer_is(a, golds[g].gold, strlen(golds[g].gold)) != want)
                fail_msg("\"%s\" is%s \"%s\"", given[i], want ? " not" : "", golds[g].gold);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_found_as_the_expressions_find_them),
        cmocka_unit_test(numbers_are_compared_without_signs_of_money),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
