/* SPDX-License-Identifier: MIT
 *
 * compare: two results on the same records, record by record.
 *
 * What two models answer to the same question is alike, so a difference has a far smaller error
 * than two means would have that know nothing of each other. With d_i = b_i - a_i and the
 * weights of the metric,
 *
 *     D = sum d / sum w,   se as result.h has it, of (d, w),
 *
 * which for weights of 1 is that of the paired t-test. The sign test asks only which was more:
 * under no difference each of the n_more + n_less records that are not level is either with
 * probability 1/2, and p is twice the binomial tail, at most 1 (Conover, Practical
 * Nonparametric Statistics, 3rd ed., 1999, ch. 3.4).
 */
#ifndef RAISE_EVAL_COMPARE_H
#define RAISE_EVAL_COMPARE_H

#include "eval/result.h"

struct eval_difference {
    struct eval_estimate of; /* b - a */
    double a, b;             /* the means of each */
    int64_t n_more, n_less;  /* records where b is more, or less */
    double p;                /* of the sign test, two-sided; 1 where all are level */
};

/* Whether both are of one task and asked the same of the same records, in the same order, with
 * the same weights: ERR_MISMATCH names the first that differs. */
int eval_check_pair(const struct eval_result *a, const char *name_a,
                    const struct eval_result *b, const char *name_b,
                    struct err *e) RAISE_MUST_CHECK;
/* After eval_check_pair. Group NULL: all. Records that one of them has no value of count in
 * neither. */
struct eval_difference eval_compare(const struct eval_result *a, const struct eval_result *b,
                                    const struct eval_metric *m, const char *group);
double eval_sign_test(int64_t n_more, int64_t n_less);

/* CSV: task, group, metric, n, a, b, difference, stderr, more, less, p_sign; all first, then a
 * group after the other. */
void eval_put_comparison(struct buf *out, const struct eval_result *a,
                         const struct eval_result *b);

#endif
