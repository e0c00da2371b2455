/* SPDX-License-Identifier: MIT
 * random_values: n of N(0, 1), owned by the caller. */
#ifndef RAISE_TESTS_RANDOM_VALUES_H
#define RAISE_TESTS_RANDOM_VALUES_H

#include "base/mem.h"
#include "base/rng.h"

static inline float *random_values(uint64_t seed, int64_t n)
{
    float *x = mem_alloc((size_t)n, sizeof *x);
    struct rng rng;
    rng_init(&rng, seed, 1);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)rng_normal(&rng);
    return x;
}

#endif
