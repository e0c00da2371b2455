/* SPDX-License-Identifier: MIT
 *
 * matmul: for those that cut a product themselves.
 */
#ifndef RAISE_LM_CPU_MATMUL_H
#define RAISE_LM_CPU_MATMUL_H

#include "lm/cpu/cpu.h"

/* How much of K one call of the BLAS gets. */
int64_t CPU_SYM(cpu_cut)(int64_t K);

#endif
