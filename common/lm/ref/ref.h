/* SPDX-License-Identifier: MIT
 *
 * ref: every op of backend.h as its definition reads, with sums in double and no thought of
 * speed. Activations are float. The other backends are tested against it.
 */
#ifndef RAISE_LM_REF_REF_H
#define RAISE_LM_REF_REF_H

#include "lm/ops_table.h"

#define REF_DECLARE(op) LM_OP_TYPE(op) ref_##op;
LM_OPS_EACH(REF_DECLARE)

#endif
