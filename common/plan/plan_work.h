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
    int64_t n_wanted; /* rows that the plan shall draw from */
    int64_t n_enough; /* a method may stop after ranking so many */
    int64_t n_picks;  /* of the plan; with epochs known when all is ranked */
    struct plan_report *report;
    size_t left_out_cap;
};

/* Leaves a row out of the ranking. */
void plan_leave_out(struct plan_work *w, int64_t row, const char *why, double value);

/* Ranks the rows whose score is not NaN, by the request's preference. */
int plan_rank_by_score(struct plan_work *w, struct err *e);

/* Embeddings of length 1, padded with zeros to whole vectors of 8; one that is zero stays zero.
 * With is_centred the pool's mean is taken off first. x is the caller's to free. */
struct unit_rows {
    float *x; /* [n, stride] */
    int64_t n, stride;
};
struct unit_rows plan_unit_rows(const struct features *f, bool is_centred);
/* Sums in fixed partial sums: the same whatever the compiler makes of it. */
float plan_dot(const float *a, const float *b, int64_t stride);

/* Keeps of the ranking, in its order, what is no more alike than q->max_cosine to what was kept
 * before, until n_wanted are kept; the others up to there are left out. */
void plan_keep_diverse(struct plan_work *w);

int plan_rank_rds(struct plan_work *w, struct err *e);
int plan_rank_near(struct plan_work *w, struct err *e);
int plan_rank_gain(struct plan_work *w, struct err *e);
int plan_rank_less(struct plan_work *w, struct err *e);
int plan_rank_prior(struct plan_work *w, struct err *e);
int plan_rank_self_paced(struct plan_work *w, struct err *e);
int plan_rank_field(struct plan_work *w, struct err *e);
int plan_rank_product(struct plan_work *w, struct err *e);
int plan_rank_rating(struct plan_work *w, struct err *e);
int plan_rank_list(struct plan_work *w, struct err *e);

#endif
