/* SPDX-License-Identifier: MIT
 *
 * features: what is known of every instruction before training, one row each.
 *
 * File kind "features" (raise-stream(5)); N rows, embedding width D, C classes. One shard holds
 * some of the rows; a row that could not be scored is left out by raise-embed.
 */
#ifndef RAISE_FEATURES_FEATURES_H
#define RAISE_FEATURES_FEATURES_H

#include "stream/st_table.h"

/* The columns, in the file's order: X(name, C type, dtype, shape, flags of st_table.h). They
 * are pointers to const in struct features, which shows a file, and owned in struct embed_rows,
 * which grows one.
 *     len_x      prompt tokens
 *     len_y      response tokens
 *     logp_yx    log P(y | x), sum over response tokens, nats
 *     logp_y     log P(y) without the prompt, sum, nats
 *     embedding  pooled and reduced last hidden state
 *     hash       identity of the record's content (dataset.h)
 *     source     number of the record in its dataset file, from 0
 *     gain_sum   log P(y | x) after some steps on the target's records, less logp_yx (gain.h)
 *     record     columns of the record itself (record.h), named by record_names
 */
#define FEATURES_COLUMNS(X)                                                                    \
    X(len_x, int32_t, ST_I32, "[N]", 0)                                                        \
    X(len_y, int32_t, ST_I32, "[N]", 0)                                                        \
    X(logp_yx, float, ST_F32, "[N]", 0)                                                        \
    X(logp_y, float, ST_F32, "[N]", 0)                                                         \
    X(embedding, float, ST_F32, "[N, D]", 0)                                                   \
    X(hash, uint64_t, ST_U64, "[N]", 0)                                                        \
    X(source, int64_t, ST_I64, "[N]", 0)                                                       \
    X(gain_sum, float, ST_F32, "[N]", ST_OPTIONAL | ST_FINITE)                                 \
    X(influence, float, ST_F32, "[N]", ST_OPTIONAL | ST_FINITE)                                \
    X(record, float, ST_F32, "[N, K]", ST_OPTIONAL | ST_FINITE)                                \
    X(given, float, ST_F32, "[N, G]", ST_OPTIONAL | ST_FINITE)

#define FEATURES_FIELD(name, type, dtype, shape, flags) const type *name;
struct features {
    int64_t n;           /* N */
    int64_t dim;         /* D */
    int64_t n_classes;   /* C; 1 and all zero when the file has no `class` */
    int64_t n_record;    /* K; 0 when the file has no `record` */
    char **record_names; /* [K], NULL at the end, owned; NULL: none */
    int64_t n_given;     /* G; 0: none */
    FEATURES_COLUMNS(FEATURES_FIELD)
    const int32_t *class_of; /* [N] 0..C-1 */
    const float *centroids;  /* [C, D]; NULL without classes */
    bool has_classes;
    const float *consistency, *near; /* [N], see relate.h; NULL: not there */
    int64_t n_targets;               /* M; 0: none */
    const float *target_embedding;   /* [M, D] of the target's records; NULL: not there */
    uint64_t id;                     /* st_msg_hash: what trajectories and policies refer to */
    /* Metadata; 0, "" and -1 when absent. */
    uint64_t dataset, model, adapter; /* identities; adapter 0: none */
    uint64_t target, probe;           /* of gain_sum: the target's file, the tuned adapter */
    char **given_names;               /* [G], ends with NULL; owned; NULL: none */
    uint64_t warmup;                  /* of influence: the states and directions used */
    double target_loss[2];            /* nats a token, before and after the probe's steps */
    char template[256], reduce[16];
    uint64_t template_hash; /* of the template's text; 0: unknown */
    int64_t max_length;
    int64_t n_total, first_row, n_covered; /* records: of the dataset; of this file or shard */
    struct st_msg *msg;                    /* owner of the columns */
    int32_t *zeros;                        /* owned: class_of when there are none */
};

/* Tables of struct features: kind and metadata; the columns; what is of the target; what
 * raise-cluster adds. */
extern const struct st_table features_head_table, features_row_table, features_target_table,
    features_cluster_table;

/* Reads and checks a features file. A row whose logp or embedding is not finite is an error
 * that names it (raise-embed leaves such rows out). features_free is NULL-safe. */
int features_read(struct features *f, const char *path, struct err *e) RAISE_MUST_CHECK;
void features_free(struct features *f);

/* Where column `name` stands in a row of `record`; -1: not there. */
int64_t features_record_at(const struct features *f, const char *name);

/* The gain of row i beside the record's own pull: gain_sum / sqrt(len_y), and gain_sum / loss,
 * loss = -logp_yx (a response that costs nothing: next to nothing). gain_sum must be there. */
double features_gain_length(const struct features *f, int64_t i);
double features_gain_loss(const struct features *f, int64_t i);

#endif
