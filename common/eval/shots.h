/* SPDX-License-Identifier: MIT
 *
 * shots: answered questions to put before a question.
 *
 * They are the first k of their file with the subject of the question (of any subject where
 * either names none), in its order: no draw, so that a prompt is the same in every run. From a
 * folder, a file NAME_test.csv takes them from NAME_dev.csv there, as MMLU is laid out.
 */
#ifndef RAISE_EVAL_SHOTS_H
#define RAISE_EVAL_SHOTS_H

#include "eval/question.h"

struct shots {
    const char *path; /* a file or a folder; borrowed */
    int64_t k;
    enum question_by by;
    struct question_file file;
    char *read;          /* the path that `file` is of */
    struct question key; /* what `text` is for */
    struct buf text;
};

/* What stands before question q of the benchmark file `path`: the style's description and the
 * shots, each followed by an empty line. Borrowed until the next call. NULL on failure:
 * ERR_EMPTY, fewer than k; ERR_MISMATCH, one of them is q itself. */
const char *shots_before(struct shots *s, const char *path, const struct question *q,
                         struct err *e) RAISE_MUST_CHECK;
void shots_free(struct shots *s);

#endif
