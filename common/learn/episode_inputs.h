/* SPDX-License-Identifier: MIT
 *
 * episode_inputs: the files that an episode needs, read, and refused where they do not belong
 * together. All of it comes before a model is loaded.
 *
 *     struct episode_inputs in = {0};
 *     rc = episode_read_choice(&in, features, policy, NULL, &e);    // what chooses, from what
 *     rc = episode_read_pool(&in, dataset, &how, &e);                 // the records behind it
 *     rc = episode_read_sets(&in, &want, validation, test, &e);     // what is measured
 *     rc = episode_make_sets(&in, &how, &e);                        // the same, tokenised
 *     ... in.features, in.record_of, in.validation ...
 *     episode_inputs_free(&in);                                     // in any case
 *
 * The pool may be read, and the sets held against it, without features: then only what the
 * data files say is checked. Nothing is printed: records that were skipped, cut or left out are
 * in val_data.problems, validation.n_cut, validation.dropped and so on.
 */
#ifndef RAISE_LEARN_EPISODE_INPUTS_H
#define RAISE_LEARN_EPISODE_INPUTS_H

#include "learn/episode.h"

struct episode_inputs {
    struct features features;  /* msg NULL: not read */
    const char *features_name; /* for messages; borrowed */
    struct policy *policy;     /* one of the two */
    struct plan plan;
    struct dataset pool, val_data, test_data;
    int64_t *record_of; /* [features.n] episode_map_rows() */
    struct episode_set validation, test;
};
void episode_inputs_free(struct episode_inputs *in);

/* Features, and either a policy or a plan (the other path is NULL) made for these very
 * features: ERR_MISMATCH otherwise, ERR_RANGE for a pick outside them. */
int episode_read_choice(struct episode_inputs *in, const char *features, const char *policy,
                        const char *plan, struct err *e) RAISE_MUST_CHECK;

/* The dataset; with features, the one that they were made from. Of the options, max_record and
 * progress count: bad records are skipped, for the rows say which ones there are. */
int episode_read_pool(struct episode_inputs *in, const char *path,
                      const struct data_options *how, struct err *e) RAISE_MUST_CHECK;

struct episode_sets_options {
    enum data_on_error on_error;
    int64_t max_record;            /* as in data_options */
    int64_t val_limit, test_limit; /* 0: all; of the validation set a sample, of the test set
                                    * the first */
    uint64_t seed;                 /* of the sample */
};
/* Validation and test set (NULL: none). ERR_MISMATCH names the record that one shares with the
 * pool or the other. */
int episode_read_sets(struct episode_inputs *in, const struct episode_sets_options *o,
                      const char *validation, const char *test, struct err *e) RAISE_MUST_CHECK;

struct episode_encoding {
    const struct tok *tok;
    const struct tmpl *tmpl;
    int64_t max_len;
    bool is_cut;                    /* longer records are cut, else an error */
    const struct lm_config *config; /* what the model takes; NULL: anything */
};
/* Also holds every sequence to come against the model: a record with a token that it has not,
 * or longer than it takes (rows of the features by their lengths), is an error that names it.
 */
int episode_make_sets(struct episode_inputs *in, const struct episode_encoding *how,
                      struct err *e) RAISE_MUST_CHECK;

/* Tokens of the longest sequence to come, at most max_len. */
int64_t episode_longest(const struct episode_inputs *in, int64_t max_len);

/* Why the features describe other texts than those trained on: another template, or a
 * max_length at which rows are, or may have been, cut. Owned by the caller; NULL: they do not.
 */
char *episode_encoding_differs(const struct episode_inputs *in, const struct tmpl *t,
                               int64_t max_len);

#endif
