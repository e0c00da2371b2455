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

/* rope_type of config.json. */
enum { LM_N_ROPE_SCALINGS = LM_ROPE_YARN + 1 };
extern const char *const lm_rope_names[LM_N_ROPE_SCALINGS];

/* Rotary frequencies, inv_freq [K/2], as transformers computes them (in float). Returns what
 * sine and cosine are multiplied by: 1 but for yarn. */
float lm_rope_frequencies(const struct lm_config *c, float *inv_freq);
/* Yarn's attention_factor where a file does not say one. */
double lm_rope_attention(double factor);

#endif
