/* SPDX-License-Identifier: MIT
 *
 * limit: what a file may ask for. A few bytes can unfold to all the memory that there is.
 *
 * What is read whole must fit into the memory that is available, asked before it is taken; and
 * compressed input that unfolds beyond all sense is refused as what it is, long before that.
 */
#ifndef RAISE_BASE_LIMIT_H
#define RAISE_BASE_LIMIT_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

/* The ratio of text, which zstd makes 3 to 20 times smaller, repeated records more; and of
 * tensors, which may be all zero. Less than LIMIT_UNFOLDED bytes are never refused. */
enum { LIMIT_TEXT_RATIO = 200, LIMIT_TENSOR_RATIO = 1000, LIMIT_UNFOLDED = 64 << 20 };

/* Has `name`, of whose bytes n_in are read, unfolded to too many? ERR_RANGE. */
int limit_unfold(int64_t n_in, int64_t n_out, int ratio, const char *name,
                 struct err *e) RAISE_MUST_CHECK;
/* Is there room for `bytes` more of `name`? ERR_RANGE; small amounts are never refused. */
int limit_room(size_t bytes, const char *name, struct err *e) RAISE_MUST_CHECK;

#endif
