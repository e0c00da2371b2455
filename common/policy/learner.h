/* SPDX-License-Identifier: MIT
 *
 * learner: a way to learn what to choose, as a row of a table. What all policies share (the
 * state, its normalisation, which features, which iteration) is the policy's (policy.h); what a
 * learner needs besides is its own, behind `self`, and no other file looks into it.
 *
 * To add a learner:
 *     1. a file learn/learn_NAME.c with its own state (a struct), the table of what of it
 * stands in a policy file (st_table.h), the struct and the table of its options, and the
 *        functions below, all gathered in one `const struct learner learner_NAME`
 *     2. its line in learn/learners.c
 *     3. the page, raise-ppo(1) and the table of kind policy in raise-stream(5); its tests in
 *        tests/unit/test_learn.c and test_learning.c
 * raise-ppo shows its options under -h and its metrics in the CSV; files, checks, and choice of
 * what it learns from follow from the row.
 *
 * This floor knows the row's type; the rows stand one floor up, in learn/, since an update
 * reads trajectories.
 */
#ifndef RAISE_POLICY_LEARNER_H
#define RAISE_POLICY_LEARNER_H

#include "base/opt.h"
#include "policy/state.h"
#include "stream/st_table.h"

struct policy;
struct episodes;     /* learn/learn_priv.h */
struct learn_report; /* learn/learn.h */

/* What stands in for an option's default under --paper: its name and its value, as typed. */
struct learner_setting {
    const char *option, *value;
};

struct learner {
    const char *name; /* --learner NAME, raise.learner */
    const char *help; /* a phrase */

    /* Options: offsets into a struct of options_size bytes, which `defaults` is one of. Rows as
     * opt.h has them, ending with OPT_END. */
    const struct opt *options;
    const void *defaults;
    size_t options_size;
    const struct learner_setting *paper; /* ends with a row of zeros; NULL: none */

    /* Learns only from episodes that were drawn, by chance, from the policy that it improves;
     * others may serve it otherwise. False: it learns from any choice of batches. */
    bool needs_own_episodes;
    bool needs_columns; /* has nothing to score by without a static column */
    /* Learns while an episode runs, from the losses of what it trains on (policy_stage.past),
     * and nothing from one episode for the next: deployed or not, a batch is the best B rows by
     * score, of whatever class, and it is the score that says how often a row may come. */
    bool is_within;

    const struct st_table *table; /* over self: sizes, tensors, metadata */
    size_t self_size;
    const char *const *metrics; /* columns of the metrics CSV, ending with NULL */

    /* Fills in the sizes of self: with options those of a new policy, without (NULL) those that
     * follow from p->state, the others -1, and the file tells. */
    void (*size)(struct policy *p, const void *options);
    /* Memory that the table calls placed, once sizes are known, and its end; may be NULL.
     * ERR_RANGE: sizes that cannot be. */
    int (*place)(struct policy *p, struct err *e);
    void (*unplace)(struct policy *p);
    /* A new policy's values; memory is there and zero, p->state is f's. */
    int (*init)(struct policy *p, const struct features *f, const void *options, uint64_t seed,
                struct err *e);

    /* policy_score(), whose checks are done. */
    int (*score)(const struct policy *p, const struct features *f, const struct policy_stage *s,
                 const uint16_t *counts, bool is_deployed, uint64_t seed, float *scores,
                 struct err *e);
    /* Not deployed: are the best rows by score to be taken, chance being in the scores already?
     * NULL: batches are drawn. */
    bool (*picks_best)(const struct policy *p);
    /* Improves p from episodes (at least one), adding rows to the report's metrics. 0 or < 0.
     * NULL if is_within. */
    int (*update)(struct policy *p, const struct features *f, const struct episodes *eps,
                  const void *options, struct learn_report *report, struct err *e);

    /* What the policy, deployed, weighs each number of phi by, [n_static], with standard errors
     * and what it believed before any reward (NULL: not asked; all written); returns the
     * standard deviation of the scores. NULL: it has no weights. */
    double (*weights)(const struct policy *p, double *mean, double *standard_error,
                      double *prior);
    /* A line for people: what more episodes can tell; r: of the update that made p, NULL: of a
     * new policy. Owned by the caller. NULL: it says nothing. */
    char *(*outlook)(const struct policy *p, const struct learn_report *r);
    /* Makes a new policy score as weights w [n_static] do, scores of standard deviation
     * `spread`. NULL: it cannot begin so. */
    void (*start)(struct policy *p, const struct features *f, const double *w, double spread);
};

#endif
