/* SPDX-License-Identifier: MIT
 *
 * plan_make: fixed plans by the methods that a learned choice is compared with.
 *
 * A method ranks the rows of the features, best first, and leaves out those that it cannot
 * rank, each with its reason. From the first `n_top` of the ranking a plan of T steps x B
 * records is filled: once through, in the ranking's order or shuffled, and again when repeats
 * are allowed. Where epochs are told instead of T, all of the ranking, or its first `n_top`, is
 * gone through so often, and the last step takes what is left.
 *
 * With `max_cosine`, DEITA's rule comes between (Liu et al. 2024, Repr Filter): in the order of
 * the ranking, a row whose embedding has a larger cosine than that to one kept before is left
 * out. Embeddings are centred on the pool first: a model's raw ones are all alike.
 *
 *     method   score of a row, higher first
 *     random   none: uniform without replacement
 *     full     the same, for the epochs that it needs: all records, shuffled in every pass
 *     ifd      instruction-following difficulty, perplexity(y | x) / perplexity(y) =
 *              exp((log P(y) - log P(y | x)) / len(y)); above 1 the prompt does not help, and
 *              the row is left out (Li et al. 2024, Cherry and Superfiltering)
 *     rds      cosine similarity of embeddings to the validation set's (Ivison et al. 2025,
 *              RDS+), see enum plan_match
 *     loss     mean loss a response token, -log P(y | x) / len(y)
 *     self-paced  mean log P(y | x) a response token; each pick of step t is a draw from the
 *              best t/T of that ranking (Kumar et al. 2010, SPL; plan_pace.c)
 *     length   len(y), response tokens
 *     near     largest cosine to the target's records (features/relate.h)
 *     gain     gain_sum / sqrt(len(y)) (features/gain.h); responses of less than 8 tokens are
 *              left out
 *     less     influence (features/influence.h; Xia et al. 2024, LESS)
 *     prior    normal scores of near, gain_sum, gain_sum / sqrt(len(y)), gain_sum / loss and
 *              consistency, summed
 *     scores   a number in a field of the user's records
 *     deita    the product of the numbers in two fields (Liu et al. 2024: complexity, quality)
 *     alpagasus  a rating in a field; below 4.5 a row is left out (Chen et al. 2024)
 *     only     a list of record numbers, in its order
 *     best-of  no ranking: what an episode was trained on (learn/best.h); plan_make refuses it
 *
 * Ties are broken by a hash of (seed, row), never by the order of rows. Scores that are all
 * equal are an error: there is nothing to choose by. Results do not depend on the number of
 * threads.
 */
#ifndef RAISE_PLAN_PLAN_MAKE_H
#define RAISE_PLAN_PLAN_MAKE_H

#include "data/dataset.h"
#include "features/features.h"
#include "plan/plan.h"

enum plan_need {
    PLAN_NEEDS_VAL = 1,
    PLAN_NEEDS_FIELD = 2,
    PLAN_NEEDS_LIST = 4,
    PLAN_NEEDS_EPOCHS = 8,
    PLAN_NEEDS_EPISODES = 16
};

struct plan_work; /* plan_work.h */
struct plan_method {
    const char *name, *help; /* help: a phrase */
    unsigned needs;          /* enum plan_need, or-ed */
    bool keeps_order;        /* PLAN_AUTO does not shuffle */
    int (*rank)(struct plan_work *w, struct err *e);
};
/* The table of methods, ending with a row without a name; and a row of it, or NULL. */
const struct plan_method *plan_methods(void);
const struct plan_method *plan_method_find(const char *name);

/* How `rds` combines the similarities to several validation rows. */
enum plan_match {
    PLAN_ROUND_ROBIN, /* the validation rows take turns, each takes the most similar row left */
    PLAN_MEAN,        /* by the mean similarity */
    PLAN_MAX          /* by the largest */
};
/* Shuffled, a plan's steps differ only by chance; ranked, the best records come first. */
enum plan_order { PLAN_AUTO, PLAN_BY_SCORE, PLAN_SHUFFLED };
enum plan_prefer { PLAN_HIGH, PLAN_LOW };

struct plan_request {
    const struct plan_method *method;
    const struct features *f;
    const struct features *val; /* PLAN_NEEDS_VAL */
    const struct dataset *data; /* PLAN_NEEDS_FIELD: whole, as raise-embed read it */
    const char *field;          /* the name of one; for deita two, with a comma between */
    const int64_t *list;        /* PLAN_NEEDS_LIST: record numbers (features.source) */
    int64_t n_list;
    int64_t n_steps, batch; /* T, B */
    int64_t n_top;          /* 0: T x B */
    bool has_repeats;       /* when T x B exceeds n_top, or what can be ranked */
    double epochs;          /* passes over the chosen rows instead of n_steps; 0: n_steps */
    double max_cosine;      /* 0: rows may be as alike as they are */
    enum plan_order order;
    enum plan_prefer prefer; /* which end of the scores */
    enum plan_match match;
    uint64_t seed;
};

struct plan_left_out {
    int64_t row;
    const char *why; /* static */
    double value;    /* NaN when there is none */
};
struct plan_report {
    int64_t n_ranked, n_used;       /* rows that could be ranked; different rows in the plan */
    double best, worst;             /* scores of those used; NaN without scores */
    struct plan_left_out *left_out; /* owned; by row */
    int64_t n_left_out;
};

/* Makes a plan; *p (on success) and *r (in every case: what was left out explains a failure)
 * are the caller's: plan_free, plan_report_free. ERR_RANGE: fewer records than asked for, a
 * constant score; ERR_MISMATCH: features, validation features and dataset do not belong
 * together, or share a record; ERR_EMPTY: nothing to rank.
 */
int plan_make(struct plan *p, struct plan_report *r, const struct plan_request *q,
              struct err *e) RAISE_MUST_CHECK;
void plan_report_free(struct plan_report *r); /* NULL-safe */

#endif
