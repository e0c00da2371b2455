/* SPDX-License-Identifier: MIT
 *
 * learn_reward: the learner "reward-model", a Bayesian regression of rewards on what was in the
 * batches. For learn_reward.c, reward_*.c and tests.
 *
 * It has a prior: what a record does for the target, and that its answer agrees with those of
 * its neighbours, are worth having (w0: `prior` times prior.h's), and the rewards say how far
 * that holds. The regression is in
 * reward_fit.h; here is what follows from its posterior, N(mean, cov) over w.
 *
 * Columns are scaled within the shortlist J, the best `shortlist` T B rows (2) by what is
 * believed so far:
 *     phi'_ij = (phi_ij - center_j) / unit_j
 * center, unit: mean and deviation over J; a block of columns (the embedding) has one unit.
 * An update makes the units over the J that its last episode was drawn from, and then moves J:
 * the best rows by the new posterior, of which at most half were not in J. What rewards say
 * holds near what was tried, so J walks, and never jumps.
 *
 * Deployed, a row's score is mean . phi' - caution sqrt(phi' . cov phi'), and only rows that
 * were in a J are deployed. A row far from J is many deviations away, and a slope of which few
 * rewards know little would be extrapolated there; without caution, and with a J that jumps,
 * whole episodes went to such rows.
 *
 * Exploring by pairs: for each pair of steps a direction d ~ N(0, diag(share)), the prior's
 * shape; the one step takes the best of z_J(mean . phi') + rho z_J(d . phi') in J, the other of
 * mean minus d (z_J: z-score over J). The best are taken, without noise: chance is in d. The
 * posterior's shape would explore least what is believed least, and end exploring.
 * Exploring by Thompson's draws (1933): a w from the posterior at every step, scores
 * kappa (phi . w) / sd(phi . w), a batch drawn by them from the whole pool.
 */
#ifndef RAISE_LEARN_LEARN_REWARD_H
#define RAISE_LEARN_LEARN_REWARD_H

#include "learn/learn_priv.h"

enum reward_explore { EXPLORE_AUTO, EXPLORE_PAIRS, EXPLORE_THOMPSON };

struct reward_options {
    double kappa;  /* of a new policy, as all but memory */
    double memory; /* e */
    double prior;  /* times w0 */
    double rho, shortlist, caution;
    int explore; /* auto: pairs where there is a prior */
};
#define REWARD_OPTIONS_DEFAULTS                                                                \
    {                                                                                          \
        .kappa = 3, .memory = 0.5, .prior = 1, .rho = 2, .shortlist = 2, .caution = 1          \
    }

/* A policy's own state. */
struct reward_model {
    int64_t n; /* n_static */
    int64_t n_tried;
    int32_t *listed;    /* [n_tried] is it in J now? NULL: before the first update */
    int64_t *tried;     /* [n_tried] rows that are or were in a J, ascending; NULL likewise */
    double *mu, *sigma; /* [n], [n, n]: posterior of w, a unit of phi */
    double *beta;       /* [6]: of files from before there was a prior; NULL */
    /* NULL in such files, which score mu . phi and explore by Thompson's draws */
    double *prior;    /* [n] w0 */
    double *share;    /* [n] the prior's variance of a weight of phi', by part */
    double *center;   /* [n] of phi' when the posterior was made */
    char explore[16]; /* "pairs", "thompson" */
    double kappa, memory, rho, shortlist, caution;
    double s2, v;    /* noise in units of stage_sd^2; v: NaN but in old files */
    double stage_sd; /* nats: deviation of a reward that the step does not explain */
    int64_t n_rows;  /* that the posterior knows; 0: it is the prior */
};
static inline struct reward_model *reward_model_of(const struct policy *p)
{
    return p->self;
}

/* ---- reward_choose.c ---- */

/* Scores of all rows, [N] (written): mean . phi' - caution deviation, but for a constant. */
void reward_rank(const struct policy *p, const struct features *f, const double *w,
                 double caution, double *score);
/* The best n rows by score, best first, ties by (seed, row); rows [n] (written). */
void reward_best(const double *score, int64_t n_all, int64_t n, uint64_t seed, int64_t *rows);
/* Scores of rows outside a list, in the order of `score` and far below all that are in one. */
double reward_below(double z);
/* center and unit over rows, [n_static] each (written). */
void reward_scale(const struct policy *p, const struct features *f, const int64_t *rows,
                  int64_t n, double *center, double *unit);
/* What is believed of every row, [N] (written): reward_rank with the policy's caution, which
 * waits for rewards: without them the posterior is the prior, of which no row is far away. */
void reward_believe(const struct policy *p, const struct features *f, double *score);
/* A policy from a file without a prior. */
bool reward_is_old(const struct reward_model *x);
/* Is exploring by pairs? */
bool reward_is_pairs(const struct reward_model *x);

/* ---- reward_list.c ---- */

/* J, owned by the caller; *n of them. All rows where nothing is believed yet, where the policy
 * draws from the whole pool, or where n_picks, T B, is 0. */
int64_t *reward_shortlist(const struct policy *p, const struct features *f, int64_t n_picks,
                          int64_t *n);
/* After an update: J, rows [n], becomes the best n by what is now believed, at most half of
 * them newcomers; both are kept in the policy as tried. Nothing where J is the whole pool. */
void reward_move(struct policy *p, const struct features *f, const int64_t *rows, int64_t n);
/* ERR_MISMATCH: rows that f does not have. */
int reward_check_lists(const struct policy *p, const struct features *f, struct err *e);

/* ---- reward_pairs.c ---- */

/* Scores of one step of a pair: within J as above, all others far below. */
void reward_score_pairs(const struct policy *p, const struct features *f,
                        const struct policy_stage *s, uint64_t seed, float *scores);

#endif
