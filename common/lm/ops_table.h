/* SPDX-License-Identifier: MIT
 *
 * ops_table: every member of struct lm_ops after `name`, for the backends' own use.
 *
 * A backend declares its functions and fills its table from this one list, so that a missing op
 * is a link error that names it, and a wrong signature a compile error:
 *
 *     #define REF_DECLARE(op) LM_OP_TYPE(op) ref_##op;
 *     LM_OPS_EACH(REF_DECLARE)
 */
#ifndef RAISE_LM_OPS_TABLE_H
#define RAISE_LM_OPS_TABLE_H

#include "lm/backend.h"

/* clang-format off */
#define LM_OPS_EACH(X) \
    X(alloc) X(free) X(upload) X(download) X(zero) X(copy) X(sync) X(to_act) X(from_act) \
    X(matrix_new) X(matrix_update) X(matrix_free) X(linear_fwd) X(linear_bwd) \
    X(linear_fwd_f32) X(weight_grad) X(gemm) X(bias_fwd) X(bias_bwd) X(embed_fwd) \
    X(embed_bwd) X(rmsnorm_fwd) X(rmsnorm_bwd) X(headnorm_fwd) X(headnorm_bwd) X(rope) \
    X(attention_fwd) X(attention_bwd) X(sum_rows) X(store_rows) X(attention_cached) X(argmax) \
    X(swiglu_fwd) X(swiglu_bwd) X(gather_rows) X(scatter_rows) X(segment_mean) X(xent) \
    X(adamw) X(sumsq)
/* clang-format on */

/* The function type of an op. */
#define LM_OP_TYPE(op) __typeof__(*((struct lm_ops *)0)->op)

#endif
