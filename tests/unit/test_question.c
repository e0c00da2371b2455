/* SPDX-License-Identifier: MIT
 * eval/question and eval/shots: benchmarks' layouts, what is wrong with them, and the prompts.
 */
#include "eval/shots.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[] = "/tmp/test-question-XXXXXX";

/* The text as a file of that name in the scratch folder; borrowed until the next call. */
static const char *file_of(const char *name, const char *text)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w"); /* without the syncs of file.h: there are many */
    assert_true(f && fputs(text, f) >= 0 && fclose(f) == 0);
    return path;
}

static const struct data_options all = {.on_error = DATA_FAIL};

/* One record of each layout, and both of its prompts after a bar. */
static const struct {
    const char *name, *text, *style, *letters, *texts;
    int n_choices, answer;
} layouts[] = {
    {"high_school_physics_test.csv", " Why?\t,0,\"a, b\",4.50,x,B\n", "mmlu",
     "The following are multiple choice questions (with answers) about high school physics.\n\n"
     "|Why?\nA. 0\nB. a, b\nC. 4.50\nD. x\nAnswer:|B",
     "The following are questions (with answers) about high school physics.\n\n"
     "|Question: Why?\nAnswer:|a, b",
     4, 1},
    {"rows.jsonl",
     "{\"question\": \"Why?\", \"subject\": \"high_school_physics\", \"choices\": [\"0\", "
     "1.50], "
     "\"answer\": 1}",
     "mmlu",
     "The following are multiple choice questions (with answers) about high school physics.\n\n"
     "|Why?\nA. 0\nB. 1.50\nAnswer:|B",
     "The following are questions (with answers) about high school physics.\n\n"
     "|Question: Why?\nAnswer:|1.50",
     2, 1},
    {"arc.jsonl",
     "{\"id\":\"M_1\",\"question\":{\"stem\":\"Why? \",\"choices\":[{\"text\":\"p\",\"label\":"
     "\"1\"},{\"text\":\"q\",\"label\":\"2\"},{\"text\":\"r\",\"label\":\"3\"}]},"
     "\"answerKey\":\"3\"}",
     "arc", "|Question: Why? \nA. p\nB. q\nC. r\nAnswer:|C", "|Question: Why? \nAnswer:|r", 3,
     2},
    {"arc-rows.json",
     "[{\"question\": \"Why?\", \"choices\": {\"text\": [\"p\", \"q\"], \"label\": [\"A\", "
     "\"B\"]}, \"answerKey\": \" A \"}]",
     "arc", "|Question: Why?\nA. p\nB. q\nAnswer:|A", "|Question: Why?\nAnswer:|p", 2, 0},
    {"csqa.jsonl",
     "{\"answerKey\":\"B\",\"question\":{\"question_concept\":\"c\",\"choices\":[{\"label\":"
     "\"A\",\"text\":\"p\"},{\"label\":\"B\",\"text\":\"q\"}],\"stem\":\" Why?\"}}",
     "commonsenseqa", "|Question: Why?\nA. p\nB. q\nAnswer:|B", "|Question: Why?\nAnswer:|q", 2,
     1},
    {"csqa-rows.jsonl",
     "{\"question\": \"Why?\", \"question_concept\": \"c\", \"choices\": {\"label\": [\"A\", "
     "\"B\"], \"text\": [\"p\", \"q\"]}, \"answerKey\": \"B\"}",
     "commonsenseqa", "|Question: Why?\nA. p\nB. q\nAnswer:|B", "|Question: Why?\nAnswer:|q", 2,
     1},
    {"obqa.jsonl",
     "{\"question_stem\": \"A spider has\", \"choices\": {\"text\": [\"p\", \"q\"], \"label\": "
     "[\"A\", \"B\"]}, \"answerKey\": \"B\"}",
     "openbookqa", "|Question: A spider has\nA. p\nB. q\nAnswer:|B", "|A spider has|q", 2, 1},
    {"mathqa.json",
     "[{\"Problem\": \"Why?\", \"Rationale\": \"\", \"options\": \"a ) 38 , b ) 1 , 200 , c ) "
     "rs . 5 , d ) none , e ) none of these\", \"correct\": \"b\", \"category\": \"gain\"}]",
     "mathqa",
     "|Question: Why?\nA. 38\nB. 1 , 200\nC. rs . 5\nD. none\nE. none of these\nAnswer:|B",
     "|Question: Why?\nAnswer:|1 , 200", 5, 1},
    {"mathqa-list.json",
     "[{\"Problem\": \"Why?\", \"options\": \"['a ) 24', 'b ) 120', 'c ) x']\", \"correct\": "
     "\"c\"}]",
     "mathqa", "|Question: Why?\nA. 24\nB. 120\nC. x\nAnswer:|C", "|Question: Why?\nAnswer:|x",
     3, 2},
};

static char *asked_of(const struct question *q, enum question_by by)
{
    struct buf b = {0};
    question_put_about(&b, q, by);
    buf_putc(&b, '|');
    question_put(&b, q, by);
    buf_putc(&b, '|');
    question_put_choice(&b, q, q->answer, by);
    return buf_str(&b);
}

static void each_layout_is_read_and_asked(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
        struct question_file f;
        struct err e = ERR_INIT;
        const char *path = file_of(layouts[i].name, layouts[i].text);
        if (question_file_read(&f, path, NULL, &all, &e) < 0)
            fail_msg("%s", e.msg);
        const struct question *q = &f.questions[0];
        assert_int_equal(f.n, 1);
        assert_string_equal(q->style->name, layouts[i].style);
        assert_int_equal(q->n_choices, layouts[i].n_choices);
        assert_int_equal(q->answer, layouts[i].answer);
        char *letters = asked_of(q, QUESTION_BY_LETTER), *texts = asked_of(q, QUESTION_BY_TEXT);
        assert_string_equal(letters, layouts[i].letters);
        assert_string_equal(texts, layouts[i].texts);
        free(letters);
        free(texts);
        question_file_free(&f);
    }
}

static void a_style_may_be_named(void **state)
{
    (void)state;
    struct question_file f;
    const char *path = file_of("arc.jsonl", layouts[2].text);
    assert_int_equal(
        question_file_read(&f, path, question_style_find("openbookqa"), &all, NULL), 0);
    char *s = asked_of(&f.questions[0], QUESTION_BY_DEFAULT);
    assert_string_equal(s, "|Why? |r");
    free(s);
    question_file_free(&f);
    assert_null(question_style_find("winogrande"));
    for (int i = 0; question_styles[i].name; i++)
        assert_string_equal(question_style_names[i + 1], question_styles[i].name);
}

static void wrong_questions_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *name, *text, *why;
    } bad[] = {
        {"x_test.csv", "q,1,2,3,4,A\nq,1,2,3,4\n", ":2: record 1: 5 columns, expected 6"},
        {"x_test.csv", "q,1,2,3,4,A,B\n", ":1: record 0: 7 columns, expected 6"},
        {"x_test.csv", "q,1,2,3,4,E\n",
         ":1: record 0: the answer \"E\" is not among the choices: A, B, C, D"},
        {"x_test.csv", "q,1,2,3,4,\n",
         ":1: record 0: \"answer\" is empty: a question without an answer"},
        {"x.jsonl", "\n{\"question\": \"q\", \"choices\": [\"1\", \"2\"]}",
         ":2: record 0: \"answer\" is missing"},
        {"x.jsonl", "{\"question\": \"q\", \"choices\": [\"1\", \"2\"], \"answer\": 2}",
         "the answer \"2\" is not among the choices: 0, 1"},
        {"x.jsonl", "{\"question\": \"q\", \"choices\": [\"1\"], \"answer\": 0}",
         "1 choices: at least two are needed"},
        {"x.jsonl", "{\"question\": \"q\", \"choices\": [\"1\", null], \"answer\": 0}",
         "choice 2: no text"},
        {"x.jsonl",
         "{\"question\": \"q\", \"choices\": {\"text\": [\"1\"], \"label\": []}, "
         "\"answerKey\": "
         "\"A\"}",
         "1 texts of choices, and 0 labels"},
        {"x.jsonl",
         "{\"question\": \"q\", \"choices\": {\"text\": [\"1\", \"2\"], \"label\": [\"A\", "
         "\"B\"]}, \"answerKey\": \"\"}",
         "\"answerKey\" is empty: a question without an answer"},
        {"x.jsonl", "{\"Problem\": \"q\", \"options\": \"38 , 39\", \"correct\": \"a\"}",
         "0 choices: at least two are needed"},
        {"x.jsonl", "{\"question\": \"q\", \"answer\": \"#### 3\"}",
         "no layout of multiple choice that is known"},
        {"x.jsonl", "{\"question\": 3", "not valid JSON"},
        {"x.jsonl", "[]", "no questions"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct question_file f;
        struct err e = ERR_INIT;
        const char *path = file_of(bad[i].name, bad[i].text);
        assert_true(question_file_read(&f, path, NULL, &all, &e) < 0);
        if (!strstr(e.msg, bad[i].why) || strncmp(e.msg, path, strlen(path)) != 0)
            fail_msg("\"%s\" is not in: %s", bad[i].why, e.msg);
    }
}

/* Cut anywhere, a file is an error that names it, or a question less. */
static void cut_files_are_errors(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
        char *text = mem_strdup(layouts[i].text);
        for (size_t n = strlen(text); n > 0; n--) {
            struct question_file f;
            struct err e = ERR_INIT;
            text[n - 1] = '\0';
            const char *path = file_of(layouts[i].name, text);
            int rc = question_file_read(&f, path, NULL, &all, &e);
            if (rc < 0)
                assert_true(strncmp(e.msg, path, strlen(path)) == 0);
            else
                assert_int_equal(f.n, 1);
            question_file_free(&f);
        }
        free(text);
    }
}

static void bad_ones_may_be_skipped(void **state)
{
    (void)state;
    const struct data_options skip = {.on_error = DATA_SKIP};
    struct question_file f;
    struct err e = ERR_INIT;
    const char *path =
        file_of("x_test.csv", "question,A,B,C,D,answer\nq,1,2,3,4,A\nq,1\nr,1,2,3,4,D\n");
    assert_int_equal(question_file_read(&f, path, NULL, &skip, NULL), 0);
    assert_int_equal(f.n, 2);
    assert_int_equal(f.questions[1].record, 2); /* the line of names is none */
    assert_int_equal(f.questions[1].line, 4);
    assert_int_equal(f.n_problems, 1);
    assert_int_equal(f.problems[0].source, 1);
    assert_string_equal(f.problems[0].why, "2 columns, expected 6");
    question_file_free(&f);
    path = file_of("x_test.csv", "q,1\n");
    assert_int_equal(question_file_read(&f, path, NULL, &skip, &e), ERR_EMPTY);
    assert_non_null(strstr(e.msg, "no usable question among 1; the first: line 1: 2 columns"));
}

static void some_may_be_drawn(void **state)
{
    (void)state;
    struct data_options o = {.limit = 5};
    struct question_file f;
    struct buf text = {0};
    for (int i = 0; i < 40; i++)
        buf_printf(&text, "q %d,1,2,3,4,A\n", i);
    const char *path = file_of("x_test.csv", buf_str(&text));
    assert_int_equal(question_file_read(&f, path, NULL, &o, NULL), 0);
    assert_true(f.n == 5 && f.questions[4].record == 4);
    question_file_free(&f);
    o.is_sampled = true;
    assert_int_equal(question_file_read(&f, path, NULL, &o, NULL), 0);
    assert_true(f.n == 5 && f.questions[4].record > 4);
    for (int i = 1; i < 5; i++)
        assert_true(f.questions[i].record > f.questions[i - 1].record);
    question_file_free(&f);
    buf_free(&text);
}

/* ---- shots ---- */

static void shots_stand_before(void **state)
{
    (void)state;
    struct question_file f;
    struct err e = ERR_INIT;
    struct shots s = {.path = dir, .k = 2};
    file_of("a_b_dev.csv", "p,1,2,3,4,A\nr,5,6,7,8,D\ns,1,2,3,4,B\n");
    const char *path = file_of("a_b_test.csv", "q,1,2,3,4,C\ns,1,2,3,4,B\nr,5,6,7,8,D\n");
    assert_int_equal(question_file_read(&f, path, NULL, &all, NULL), 0);
    const char *want =
        "The following are multiple choice questions (with answers) about a b.\n\n"
        "p\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer: A\n\n"
        "r\nA. 5\nB. 6\nC. 7\nD. 8\nAnswer: D\n\n";
    assert_string_equal(shots_before(&s, path, &f.questions[0], &e), want);
    /* a question of the file that is no shot of two; and one that is */
    assert_string_equal(shots_before(&s, path, &f.questions[1], &e), want);
    assert_null(shots_before(&s, path, &f.questions[2], &e));
    assert_non_null(strstr(e.msg, "a_b_dev.csv:2: record 1"));
    shots_free(&s);
    s = (struct shots){.path = dir, .k = 4};
    assert_null(shots_before(&s, path, &f.questions[0], &e));
    assert_non_null(strstr(e.msg, "a_b_dev.csv: 3 questions about a b, fewer than 4 shots"));
    shots_free(&s);
    question_file_free(&f);
}

static void shots_are_of_the_subject(void **state)
{
    (void)state;
    struct question_file f;
    struct err e = ERR_INIT;
    char *from = mem_strdup(file_of(
        "dev.jsonl",
        "{\"question\": \"p\", \"subject\": \"x\", \"choices\": [1, 2], \"answer\": 0}\n"
        "{\"question\": \"q\", \"subject\": \"y\", \"choices\": [1, 2], \"answer\": 1}\n"));
    const char *path = file_of(
        "test.jsonl",
        "{\"question\": \"r\", \"subject\": \"y\", \"choices\": [1, 2], \"answer\": 0}\n"
        "{\"question\": \"s\", \"subject\": \"x\", \"choices\": [1, 2], \"answer\": 0}\n");
    struct shots s = {.path = from, .k = 1, .by = QUESTION_BY_TEXT};
    assert_int_equal(question_file_read(&f, path, NULL, &all, NULL), 0);
    assert_string_equal(shots_before(&s, path, &f.questions[0], &e),
                        "The following are questions (with answers) about y.\n\n"
                        "Question: q\nAnswer: 2\n\n");
    assert_string_equal(shots_before(&s, path, &f.questions[1], &e),
                        "The following are questions (with answers) about x.\n\n"
                        "Question: p\nAnswer: 1\n\n");
    s.k = 0;
    shots_free(&s);
    question_file_free(&f);
    free(from);
}

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    char *command = mem_printf("rm -rf '%s'", dir);
    int rc = system(command);
    free(command);
    return rc;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_layout_is_read_and_asked),
        cmocka_unit_test(a_style_may_be_named),
        cmocka_unit_test(wrong_questions_are_named),
        cmocka_unit_test(cut_files_are_errors),
        cmocka_unit_test(bad_ones_may_be_skipped),
        cmocka_unit_test(some_may_be_drawn),
        cmocka_unit_test(shots_stand_before),
        cmocka_unit_test(shots_are_of_the_subject),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
