/* SPDX-License-Identifier: MIT
 *
 * features: what is known of every instruction before training, one row each.
 *
 * File kind "features" (raise-stream(5)); N rows, embedding width d:
 *     len_x      I32 [N]     prompt tokens
 *     len_y      I32 [N]     response tokens
 *     logp_yx    F32 [N]     log P(y | x), sum over response tokens, nats; NaN: could not score
 *     logp_y     F32 [N]     log P(y) without the prompt, sum, nats
 *     embedding  F32 [N, d]  pooled and reduced last hidden state
 *     hash       U64 [N]     identity of the record's content (dataset.h)
 *     source     I64 [N]     number of the record in its dataset file, from 0
 *     class      I32 [N]     0..C-1, after raise-cluster
 *     centroids  F32 [C, d]  whole tensor, after raise-cluster
 * Metadata: raise.dataset and raise.model (16 hex digits each), raise.template,
 * raise.max_length, raise.n_total, raise.first_row; raise.reduce (pool or pca).
 */
#ifndef RAISE_FEATURES_FEATURES_H
#define RAISE_FEATURES_FEATURES_H

#include "stream/st.h"

struct features {
    int64_t n;         /* N */
    int64_t dim;       /* d */
    int64_t n_classes; /* C; 1 and all zero when the file has no `class` */
    const int32_t *len_x, *len_y;
    const float *logp_yx, *logp_y;
    const float *embedding; /* [n, dim] */
    const uint64_t *hash;
    const int64_t *source;
    const int32_t *class_of; /* [n] */
    bool has_classes;
    uint64_t id;      /* st_msg_hash: what trajectories and policies refer to */
    uint64_t dataset; /* raise.dataset; 0 when absent */
    uint64_t model;
    struct st_msg *msg; /* owner of all the above */
    int32_t *zeros;     /* owned: class_of when there are none */
};

/* Reads and checks a features file. A row whose logp or embedding is not finite is an error
 * that names it (raise-embed leaves such rows out). features_free is NULL-safe. */
int features_read(struct features *f, const char *path, struct err *e) RAISE_MUST_CHECK;
void features_free(struct features *f);

#endif
