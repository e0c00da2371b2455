/* SPDX-License-Identifier: MIT
 *
 * config_check: what both readers of a configuration share. Internal to lm/.
 */
#ifndef RAISE_LM_CONFIG_CHECK_H
#define RAISE_LM_CONFIG_CHECK_H

#include "lm/config.h"

/* Bounds of every size and the relations between them; `place` begins the message. */
int lm_config_check(const struct lm_config *c, const char *place,
                    struct err *e) RAISE_MUST_CHECK;

/* Rotary frequencies, inv_freq [K/2], as transformers computes them (in float). */
void lm_rope_frequencies(const struct lm_config *c, float *inv_freq);

#endif
