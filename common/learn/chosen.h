/* SPDX-License-Identifier: MIT
 *
 * chosen: what a trajectory or a plan chose, one row a pick in training order, with what is
 * known of each pick; for programs that bring it together with the records again.
 *
 *     struct chosen c;
 *     chosen_read(&c, "final.st.zst", &e);
 *     dataset_read(&d, "alpaca.json", &how, &e);
 *     int64_t *rows = mem_alloc(c.n, sizeof *rows);
 *     chosen_find(&c, &d, false, rows, &e);              // c's picks are d.records[rows[i]]
 *     c.n = chosen_drop_repeats(&c, rows, d.n_records);  // each record once
 *     export_write(out, EXPORT_JSON, &d, rows, c.n, &extra, 1, &e);
 *
 * A field is a row of chosen_fields and a value a pick; the export puts "raise_" before its
 * name.
 */
#ifndef RAISE_LEARN_CHOSEN_H
#define RAISE_LEARN_CHOSEN_H

#include "data/export.h"

enum {
    CHOSEN_STEP,  /* from 1 */
    CHOSEN_CLASS, /* none in a plan */
    CHOSEN_SCORE,
    CHOSEN_SOURCE, /* record number; known once the records are found */
    CHOSEN_REWARD, /* of its step, in nats a token; none in a plan */
    CHOSEN_OF_FEATURES,
    CHOSEN_NEAR = CHOSEN_OF_FEATURES,
    CHOSEN_GAIN,
    CHOSEN_CONSISTENCY,
    CHOSEN_INFLUENCE,
    CHOSEN_N_FIELDS
};
extern const struct chosen_field {
    const char *name; /* as exported: "raise_step" */
    enum { CHOSEN_INTEGER, CHOSEN_FLOAT, CHOSEN_DOUBLE } type;
    size_t feature; /* from CHOSEN_OF_FEATURES on: offset of the column in struct features */
} chosen_fields[CHOSEN_N_FIELDS];

struct chosen {
    const char *name; /* of the file; borrowed from the path */
    int64_t n, n_steps;
    int64_t *row, *source;           /* [n] of the features; of the dataset */
    uint64_t *record_hash;           /* [n] */
    uint64_t dataset, features;      /* identities; 0: not told */
    double *values[CHOSEN_N_FIELDS]; /* [n] each, NaN where there is none; NULL: not taken */
    double loss;                     /* final validation loss; NaN: a plan, or no good end */
    bool is_plan;
    char *status; /* owned; how the episode ended, if not well; else NULL */
};

/* Whether a file is a message at all (st.h), as no dataset is. */
bool chosen_is_choice(const char *path);
/* ERR_MISMATCH: the file is of another kind. On failure *c is empty; else chosen_free. */
int chosen_read(struct chosen *c, const char *path, struct err *e) RAISE_MUST_CHECK;
void chosen_free(struct chosen *c); /* of an empty one, too */
/* Records of a dataset by their indices into d->records, rows [n] (NULL: 0, 1, 2 ...): a choice
 * without a trajectory.
 */
void chosen_rows(struct chosen *c, const struct dataset *d, const int64_t *rows, int64_t n);

/* Values from the features that it was chosen by. ERR_MISMATCH: those are others. */
int chosen_take_features(struct chosen *c, const char *path, struct err *e) RAISE_MUST_CHECK;
/* rows [n]: the index into d->records of each pick. By its number in the very file that was
 * chosen from, or by content in any (dataset_join). */
int chosen_find(struct chosen *c, const struct dataset *d, bool is_by_content, int64_t *rows,
                struct err *e) RAISE_MUST_CHECK;
/* How many of the picks are of a record that came before. */
int64_t chosen_count_repeats(const struct chosen *c, const int64_t *rows, int64_t n_records);
/* Moves the first pick of each record, its row and its values to the front; how many. */
int64_t chosen_drop_repeats(struct chosen *c, int64_t *rows, int64_t n_records);

/* Field k as an export puts it beside the records; borrows c's values. */
struct export_extra chosen_extra(const struct chosen *c, int k);

#endif
