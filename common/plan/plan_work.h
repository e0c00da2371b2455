/* SPDX-License-Identifier: MIT
 * plan_work: what a method of plan_make.h works on. For the files of plan/ only. */
#ifndef RAISE_PLAN_PLAN_WORK_H
#define RAISE_PLAN_PLAN_WORK_H

#include "plan/plan_make.h"

struct plan_work {
    const struct plan_request *q;
    double *score;   /* [n] higher first; NaN: not ranked, or without a score */
    int64_t *ranked; /* [n] rows, best first */
    int64_t n_ranked;
    int64_t n_wanted; /* a method may stop after so many */
    struct plan_report *report;
    size_t left_out_cap;
};

/* Leaves a row out of the ranking. */
void plan_leave_out(struct plan_work *w, int64_t row, const char *why, double value);

/* Ranks the rows whose score is not NaN, by the request's preference. */
int plan_rank_by_score(struct plan_work *w, struct err *e);

int plan_rank_rds(struct plan_work *w, struct err *e);
int plan_rank_near(struct plan_work *w, struct err *e);
int plan_rank_gain(struct plan_work *w, struct err *e);
int plan_rank_less(struct plan_work *w, struct err *e);
int plan_rank_prior(struct plan_work *w, struct err *e);
int plan_rank_field(struct plan_work *w, struct err *e);
int plan_rank_list(struct plan_work *w, struct err *e);

#endif
