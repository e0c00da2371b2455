/* SPDX-License-Identifier: MIT
 *
 * adapter_pattern: PEFT's rank_pattern and alpha_pattern, by which some projections of an
 * adapter have another rank or alpha. Internal to lm/.
 *
 * A key is a regular expression that the end of a module's name matches, from its beginning or
 * from behind a dot; the first that does counts.
 */
#ifndef RAISE_LM_ADAPTER_PATTERN_H
#define RAISE_LM_ADAPTER_PATTERN_H

#include "base/err.h"

#include <stdint.h>

#include <jansson.h>

/* Of the module "model.layers.0.self_attn.q_proj": *rank and *alpha, which come with what the
 * others have. `config` is adapter_config.json; `place` begins the message. ERR_FORMAT: an
 * expression that is none, or a value that is no positive number. */
int lm_adapter_pattern(json_t *config, const char *place, const char *module, int64_t *rank,
                       double *alpha, struct err *e) RAISE_MUST_CHECK;

#endif
