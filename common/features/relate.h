/* SPDX-License-Identifier: MIT
 *
 * relate: what a record is beside others: how near to the target, how consistent.
 *
 *     near         the largest cosine between the record's embedding and one of the target
 *                  records', both less the mean of the pool's embeddings. The largest, so that
 *                  a target of several kinds keeps them all. A row without direction has 0.
 *     consistency  does the prompt explain this response as much as it does those of similar
 *                  records? With u = (log P(y|x) - log P(y)) / len_y, a token's worth of it,
 *                      q = (u - m) / (s + 0.05) clipped to [-1, 1],
 *                      consistency = q m / (s + 0.05), the last factor held within [0, 1],
 *                  m and s: mean and deviation (root of the mean square) of u over the k
 * nearest rows. A record with another one's answer stands below its neighbours; how far, or how
 * far above them, says no more. Where prompts explain nothing of similar responses (m is 0, or
 * lost in s: to this model they are noise), that one is below them says nothing either.
 * Neighbours are found by cosine over [embedding less the pool's mean, z(len_x), z(len_y)], z a
 *                  column less its mean, divided by its deviation (0 where that is 0). A row
 *                  without neighbours (the only one) has 0.
 *
 * Columns of one pool, computed over all its rows; linear memory, the same bytes for any number
 * of threads (cluster/neighbours.h).
 */
#ifndef RAISE_FEATURES_RELATE_H
#define RAISE_FEATURES_RELATE_H

#include "cluster/neighbours.h"

#define RELATE_SOFTENING 0.05
/* Beside the normal scores of near and of the gains, each of weight 1: what consistency is
 * weighed by before any reward (raise-plan prior, learn/prior.h). */
#define RELATE_PRIOR 3.0

struct relate_pool { /* columns as in features.h, borrowed; finite */
    int64_t n, dim;
    const float *embedding; /* [n, dim] */
    const int32_t *len_x, *len_y;
    const float *logp_yx, *logp_y;
};

/* near [n]. target [n_target, dim]: the embeddings of the target's records, as the pool's. */
int relate_near(float *near, const struct relate_pool *p, const float *target, int64_t n_target,
                struct err *e) RAISE_MUST_CHECK;

/* consistency [n]. */
int relate_consistency(float *consistency, const struct relate_pool *p,
                       const struct neighbours_options *o, struct err *e) RAISE_MUST_CHECK;

#endif
