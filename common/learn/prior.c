/* SPDX-License-Identifier: MIT
 * prior: what is believed before any reward; see prior.h. */
#include "learn/prior.h"

#include "features/relate.h"

/* Parts that are not named here have no prior, and the share of difficulty and semantic. */
const struct prior_part *prior_part_of(unsigned part)
{
    static const struct prior_part known[] = {{PART_TARGET, 1, 1},
                                              {PART_CONSISTENCY, RELATE_PRIOR, 1},
                                              {PART_INFLUENCE, 1, 1},
                                              {0, 0, 0.5}};
    const struct prior_part *row = known;
    while (row->part && row->part != part)
        row++;
    return row;
}

bool prior_weights(const struct state *s, double scale, double *w)
{
    bool has = false;
    for (int64_t i = 0; i < s->n_cols; i++) {
        const struct state_col *c = &s->cols[i];
        double x = scale * prior_part_of(c->row->part)->w0;
        for (int64_t k = c->phi_at; k < c->phi_at + c->width && c->phi_at >= 0; k++) {
            w[k] = x;
            has = has || x != 0;
        }
    }
    return has;
}
