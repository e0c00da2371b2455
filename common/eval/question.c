/* SPDX-License-Identifier: MIT
 * question: how a question is asked; see question.h. The texts are of lm_eval/tasks of
 * EleutherAI's lm-evaluation-harness 0.4.13: mmlu/default and mmlu/continuation, arc,
 * commonsense_qa, openbookqa, mathqa. What stands there for one way only is asked the other way
 * as its neighbours are. */
#include "eval/question.h"

#include <string.h>

const struct question_style question_styles[] = {
    {"mmlu",
     QUESTION_BY_LETTER,
     {"", "Question: "},
     "\nAnswer:",
     true,
     {"The following are multiple choice questions (with answers) about ",
      "The following are questions (with answers) about "}},
    {"arc", QUESTION_BY_TEXT, {"Question: ", "Question: "}, "\nAnswer:", false, {NULL, NULL}},
    {"commonsenseqa",
     QUESTION_BY_LETTER,
     {"Question: ", "Question: "},
     "\nAnswer:",
     true,
     {NULL, NULL}},
    {"openbookqa", QUESTION_BY_TEXT, {"Question: ", ""}, "", false, {NULL, NULL}},
    {"mathqa",
     QUESTION_BY_TEXT,
     {"Question: ", "Question: "},
     "\nAnswer:",
     false,
     {NULL, NULL}},
    {NULL, QUESTION_BY_DEFAULT, {NULL, NULL}, NULL, false, {NULL, NULL}},
};

const char *const question_style_names[] = {"auto",       "mmlu",   "arc", "commonsenseqa",
                                            "openbookqa", "mathqa", NULL};

const struct question_style *question_style_find(const char *name)
{
    for (const struct question_style *s = question_styles; s->name; s++)
        if (strcmp(s->name, name) == 0)
            return s;
    return NULL;
}

static int is_by_text(const struct question *q, enum question_by by)
{
    return question_way(q, by) == QUESTION_BY_TEXT;
}

void question_put_about(struct buf *b, const struct question *q, enum question_by by)
{
    const char *about = q->style->about[is_by_text(q, by)];
    if (about && *q->subject)
        buf_printf(b, "%s%s.\n\n", about, q->subject);
}

/* What Python's str.strip() removes, of ASCII. */
static void put_stripped(struct buf *b, const char *s)
{
    static const char blanks[] = " \t\n\r\v\f\x1c\x1d\x1e\x1f";
    s += strspn(s, blanks);
    size_t n = strlen(s);
    while (n > 0 && strchr(blanks, s[n - 1]))
        n--;
    buf_append(b, s, n);
}

void question_put(struct buf *b, const struct question *q, enum question_by by)
{
    int way = is_by_text(q, by);
    buf_puts(b, q->style->before[way]);
    if (q->style->is_stripped)
        put_stripped(b, q->text);
    else
        buf_puts(b, q->text);
    if (way) {
        buf_puts(b, q->style->after);
        return;
    }
    for (int i = 0; i < q->n_choices; i++)
        buf_printf(b, "\n%c. %s", 'A' + i, q->choices[i]);
    buf_puts(b, "\nAnswer:");
}

void question_put_choice(struct buf *b, const struct question *q, int i, enum question_by by)
{
    if (is_by_text(q, by))
        buf_puts(b, q->choices[i]);
    else
        buf_putc(b, (char)('A' + i));
}
