/* SPDX-License-Identifier: MIT
 *
 * question: multiple-choice questions in the layouts in which benchmarks are published, and how
 * they are put to a model.
 *
 * The layout is found per record from its fields:
 *   mmlu           a CSV without a line of names: question, A, B, C, D, answer (a letter); or
 *                  rows question, choices (a list), answer (its index), optional subject
 *   arc            question (text), choices {text: [], label: []}, answerKey (a label); or as
 * it was first published: question {stem, choices: [{text, label}]}, answerKey commonsenseqa
 * the same with question_concept openbookqa     question_stem, choices {text, label},
 * answerKey; its first publication has ARC's fields, and is told apart by --prompt openbookqa
 * only mathqa         Problem, options ("a ) 38 , b ) 27.675 , ..."), correct (a letter)
 *
 * A CSV's subject is its name without _test, _val or _dev. The prompts are those of
 * EleutherAI's lm-evaluation-harness, text for text: a description, which MMLU alone has, then
 * k answered questions, then the question, parted by empty lines.
 *
 *     by letter                                     by text
 *     [Question: ]How many legs has a spider?       [Question: ]How many legs has a spider?
 *     A. six                                        Answer:
 *     B. eight
 *     Answer:
 *     -> " A", " B"                                 -> " six", " eight"
 */
#ifndef RAISE_EVAL_QUESTION_H
#define RAISE_EVAL_QUESTION_H

#include "base/arena.h"
#include "base/mem.h"
#include "data/dataset.h"

enum question_by { QUESTION_BY_DEFAULT, QUESTION_BY_LETTER, QUESTION_BY_TEXT };
enum { QUESTION_MAX_CHOICES = 26 };

/* How a layout's questions are asked. */
struct question_style {
    const char *name;
    enum question_by by;
    const char *before[2]; /* the question: by letter, by text */
    const char *after;     /* it, by text */
    bool is_stripped;      /* white space around the question is removed */
    const char *about[2];  /* the description, up to the subject; NULL: none */
};
extern const struct question_style question_styles[]; /* up to one without a name */
extern const char *const question_style_names[];      /* "auto", theirs, NULL: for options */
const struct question_style *question_style_find(const char *name); /* NULL: no such */

struct question {
    int64_t record, line; /* number from 0, line from 1 */
    const struct question_style *style;
    const char *text, *subject; /* subject "": none */
    const char **choices;
    int n_choices, answer;
};

struct question_file {
    char *name; /* for messages */
    struct question *questions;
    int64_t n, n_problems;
    struct data_problem *problems; /* with DATA_SKIP */
    struct arena text;
};

/* Reads a file of any of the layouts; `style`: instead of each layout's own, NULL: that. Of the
 * options on_error, limit, is_sampled and seed. Errors as of dataset_read; a question without
 * an answer among its choices, or with fewer than two, is a bad record. Owned by the caller. */
int question_file_read(struct question_file *f, const char *path,
                       const struct question_style *style, const struct data_options *opt,
                       struct err *e) RAISE_MUST_CHECK;
void question_file_free(struct question_file *f); /* leaves it empty */

/* ---- asking ---- */

static inline enum question_by question_way(const struct question *q, enum question_by by)
{
    return by == QUESTION_BY_DEFAULT ? q->style->by : by;
}
/* What stands before all, with its empty line: "The following are multiple choice questions
 * (with answers) about anatomy.\n\n"; nothing where the style has no description. */
void question_put_about(struct buf *b, const struct question *q, enum question_by by);
/* The question up to where the answer goes. */
void question_put(struct buf *b, const struct question *q, enum question_by by);
/* Choice i as the answer, without the blank before it. */
void question_put_choice(struct buf *b, const struct question *q, int i, enum question_by by);

#endif
