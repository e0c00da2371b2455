/* SPDX-License-Identifier: MIT
 *
 * given: numbers that records carry in fields of their own, a judge's marks say, as columns. A
 * record without a number in a field has the mean of those that have one, over the whole
 * dataset, so that it stands out by nothing; how many there are is told.
 */
#ifndef RAISE_FEATURES_GIVEN_H
#define RAISE_FEATURES_GIVEN_H

#include "data/dataset.h"

enum { GIVEN_MAX = 8 }; /* fields; as many as the state has columns for them */

struct given {
    int64_t n;
    char *names[GIVEN_MAX + 1]; /* owned; ends with NULL */
    double mean[GIVEN_MAX];
    int64_t n_missing[GIVEN_MAX];
    int64_t first_missing[GIVEN_MAX]; /* index of a record; -1: none */
};

/* Names from "quality,complexity". ERR_RANGE: none, one twice, or more than GIVEN_MAX. */
int given_parse(struct given *g, const char *list, struct err *e) RAISE_MUST_CHECK;
/* Means over d. ERR_EMPTY: a field in which no record has a number; ERR_RANGE: all the same. */
int given_measure(struct given *g, const struct dataset *d, struct err *e) RAISE_MUST_CHECK;
/* out [n] (written): the numbers of one record. */
void given_of(const struct given *g, const struct data_record *r, float *out);
void given_free(struct given *g);

#endif
