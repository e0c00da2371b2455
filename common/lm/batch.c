/* SPDX-License-Identifier: MIT
 * batch: sequences laid end to end; see batch.h. */
#include "lm/batch.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

void lm_pack_add(struct lm_pack *p, const int32_t *ids, const uint8_t *is_loss, int64_t n)
{
    int64_t end = p->n_tokens + n;
    MEM_GROW(p->ids, p->ids_cap, end);
    MEM_GROW(p->is_loss, p->is_loss_cap, end);
    MEM_GROW(p->offsets, p->offsets_cap, p->n_seqs + 2);
    memcpy(p->ids + p->n_tokens, ids, (size_t)n * sizeof *ids);
    memcpy(p->is_loss + p->n_tokens, is_loss, (size_t)n);
    p->offsets[p->n_seqs++] = p->n_tokens;
    p->offsets[p->n_seqs] = end;
    p->n_tokens = end;
}

struct lm_batch lm_pack_batch(const struct lm_pack *p)
{
    return (struct lm_batch){p->ids, p->is_loss, p->offsets, p->n_seqs, p->n_tokens};
}

void lm_pack_clear(struct lm_pack *p)
{
    p->n_seqs = p->n_tokens = 0;
}

void lm_pack_free(struct lm_pack *p)
{
    free(p->ids);
    free(p->is_loss);
    free(p->offsets);
    *p = (struct lm_pack){0};
}
