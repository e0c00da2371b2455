/* SPDX-License-Identifier: MIT
 *
 * answer: numbers that a text gives as its answer, as lm-evaluation-harness's task gsm8k
 * (version 3.0) finds and compares them.
 *
 *     strict    the first match of  #### (\-?[0-9\.\,]+)                 its number
 *     flexible  the last match of   (-?[$0-9.,]{2,})|(-?[0-9]+)
 *
 * Both sides are compared after commas, dollar signs, all up to the last "#### " and a full
 * stop at the end were taken out, in lower case.
 */
#ifndef RAISE_EVAL_ANSWER_H
#define RAISE_EVAL_ANSWER_H

#include <stdbool.h>
#include <stddef.h>

struct answer {
    const char
        *text; /* borrowed: within what was searched, or "[invalid]" where none was found */
    size_t len;
};
struct answer answer_strict(const char *text, size_t len);
struct answer answer_flexible(const char *text, size_t len);
/* Whether they are equal as above; b is a whole text, such as a record's answer. */
bool answer_is(struct answer a, const char *b, size_t len);

#endif
