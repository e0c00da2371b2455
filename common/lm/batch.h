/* SPDX-License-Identifier: MIT
 *
 * batch: sequences laid end to end, as lm_nll, lm_embed and lm_step take them.
 *
 *     struct lm_pack p = {0};
 *     lm_pack_add(&p, x.ids, x.is_loss, x.n);              // copies
 *     struct lm_batch b = lm_pack_batch(&p);               // borrows until the next change
 *     lm_nll(m, &b, nll, count, &e);
 *     lm_pack_clear(&p);                                   // keeps the memory
 *     lm_pack_free(&p);
 */
#ifndef RAISE_LM_BATCH_H
#define RAISE_LM_BATCH_H

#include "lm/lm.h"

struct lm_pack {
    int32_t *ids;     /* [n_tokens] */
    uint8_t *is_loss; /* [n_tokens] */
    int64_t *offsets; /* [n_seqs + 1] */
    int64_t n_seqs, n_tokens;
    size_t ids_cap, is_loss_cap, offsets_cap;
};

/* Appends a sequence of n >= 1 tokens. */
void lm_pack_add(struct lm_pack *p, const int32_t *ids, const uint8_t *is_loss, int64_t n);
struct lm_batch lm_pack_batch(const struct lm_pack *p);
void lm_pack_clear(struct lm_pack *p);
void lm_pack_free(struct lm_pack *p); /* leaves an empty, usable pack */

#endif
