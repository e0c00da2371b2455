/* SPDX-License-Identifier: MIT
 *
 * picks: what a plan and a trajectory have in common, records in training order, parted into
 * lists by a tensor of offsets.
 */
#ifndef RAISE_PLAN_PICKS_H
#define RAISE_PLAN_PICKS_H

#include "stream/st_table.h"

/* Rows of struct T's table: its fields pick, pick_score, source, record_hash, [n] each. */
#define PICKS_ROWS(T)                                                                          \
    {"pick", ST_FIELD(T, ST_I64, pick), "[n]", 0},                                             \
    {                                                                                          \
        "pick_score", ST_FIELD(T, ST_F32, pick_score), "[n]", 0                                \
    }
#define PICKS_RECORDS(T)                                                                       \
    {"source", ST_FIELD(T, ST_I64, source), "[n]", 0},                                         \
    {                                                                                          \
        "record_hash", ST_FIELD(T, ST_U64, record_hash), "[n]", 0                              \
    }

/* Offsets [n_lists + 1] of tensor `name` ascend from 0 to n; else ERR_FORMAT. `file` names the
 * file in errors, here and below. */
int picks_check_offsets(const char *file, const char *name, const int64_t *offset,
                        int64_t n_lists, int64_t n, struct err *e) RAISE_MUST_CHECK;
/* Rows of the features and numbers of records are not negative; else ERR_RANGE. */
int picks_check_rows(const char *file, const int64_t *pick, const int64_t *source, int64_t n,
                     struct err *e) RAISE_MUST_CHECK;

#endif
