/* SPDX-License-Identifier: MIT
 *
 * rng: random numbers that do not depend on the number of threads.
 *
 * Two forms. `struct rng` is a sequential generator (xoshiro256++, Blackman and Vigna 2019)
 * whose whole state is the struct. rng_hash() is stateless: a 64-bit value that depends only on
 * the seed and three counters (say episode, step, instruction), so that any thread may draw
 * any item's number in any order.
 */
#ifndef RAISE_BASE_RNG_H
#define RAISE_BASE_RNG_H

#include <stdint.h>

struct rng {
    uint64_t s[4];
};

/* Seeds from (seed, stream) by splitmix64: different streams are independent. */
void rng_init(struct rng *r, uint64_t seed, uint64_t stream);
uint64_t rng_u64(struct rng *r);
double rng_unit(struct rng *r);                /* uniform in [0, 1), 53 bits */
double rng_normal(struct rng *r);              /* N(0, 1), polar method */
uint64_t rng_below(struct rng *r, uint64_t n); /* uniform in [0, n), unbiased; n > 0 */
/* Fisher-Yates over n indices. */
void rng_shuffle(struct rng *r, int64_t *idx, int64_t n);

uint64_t rng_hash(uint64_t seed, uint64_t a, uint64_t b, uint64_t c);
double rng_hash_unit(uint64_t seed, uint64_t a, uint64_t b, uint64_t c); /* [0, 1) */

#endif
