/* SPDX-License-Identifier: MIT
 *
 * host: a simulated device, so that tests run the kernels as they are, without a GPU.
 *
 * Blocks run one after another; each thread of a block is a fiber. Barriers, shuffles and the
 * tensor cores' operations (mma.h) are where fibers meet. Between two barriers the warps run
 * one after another, each as far as it gets, in the order that RAISE_SIM_ORDER names: forward
 * (default), reverse, or a number that seeds a random one. A result that depends on the order
 * is a race. Shared memory holds NaN when a block starts. What would hang, or is undefined, on
 * a GPU (threads at different barriers, one that has ended, a bad address) aborts, and says
 * which kernel, block and thread. Grids have two dimensions, blocks one. */
#ifndef RAISE_LM_CUDA_HOST_H
#define RAISE_LM_CUDA_HOST_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static thread_local /* so they lie together, and host.cpp finds them */
#define __align__(n) __attribute__((aligned(n)))
#define __restrict__
#define __launch_bounds__(...)

struct sim_dim3 {
    unsigned x, y, z;
    sim_dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c)
    {
    }
};
extern struct sim_dim3 threadIdx, blockIdx, blockDim, gridDim;

enum { SIM_WARP = 32, SIM_SHARED_MAX = 227 << 10, SIM_COPIES = 256 };

/* ---- launches ---- */

typedef void sim_body(void *arg); /* one thread of the kernel */
void sim_launch(const char *kernel, struct sim_dim3 grid, unsigned block, size_t shared_bytes,
                sim_body *body, void *arg);

template <class F>
static void sim_run(const char *kernel, struct sim_dim3 grid, unsigned block, size_t bytes, F f)
{
    sim_launch(
        kernel, grid, block, bytes, [](void *arg) { (*(F *)arg)(); }, &f);
}

#define LAUNCH_SHARED(state, kernel, grid, block, bytes, ...)                                  \
    ((void)(state), sim_run(#kernel, sim_dim3 grid, (unsigned)(block), (size_t)(bytes),        \
                            [&] { (kernel)(__VA_ARGS__); }))
#define LAUNCH(state, kernel, grid, block, ...)                                                \
    LAUNCH_SHARED(state, kernel, grid, block, 0, __VA_ARGS__)

typedef int cudaError_t;
typedef void *cudaStream_t;
enum { cudaSuccess = 0 };

/* ---- where threads meet; `line` tells one place from another ---- */

/* Ends the program with a message about the running thread. */
[[noreturn]] void sim_die(const char *what);
/* Waits for the whole block; the sum of all threads' x. */
int sim_barrier(int x, const char *name, int line);
/* Waits for the warp's lanes in `mask`; then `meet` is called once with all their `arg` (NULL
 * for those not in mask), and all go on. */
typedef void sim_meet(void **lanes);
void sim_warp(const char *name, int line, uint32_t mask, sim_meet *meet, void *arg);
/* That [p, p + bytes) lies in shared memory, aligned to `bytes`. */
void sim_check_shared(const void *p, size_t bytes, const char *name);
char *sim_dynamic_shared(void);

static inline void __syncthreads(int line = __builtin_LINE())
{
    (void)sim_barrier(0, "__syncthreads", line);
}

static inline int __syncthreads_or(int x, int line = __builtin_LINE())
{
    return sim_barrier(x != 0, "__syncthreads_or", line) != 0;
}

static inline int __syncthreads_and(int x, int line = __builtin_LINE())
{
    return sim_barrier(x == 0, "__syncthreads_and", line) == 0;
}

static inline int __syncthreads_count(int x, int line = __builtin_LINE())
{
    return sim_barrier(x != 0, "__syncthreads_count", line);
}

static inline void __syncwarp(uint32_t mask = 0xffffffffu, int line = __builtin_LINE())
{
    sim_warp(
        "__syncwarp", line, mask, [](void **) {}, &mask);
}

template <class F> struct sim_shuffle {
    F x;
    unsigned from; /* lane */
    F got;
};

template <class F>
static F sim_shuffle_from(const char *name, int line, uint32_t mask, F x, unsigned from)
{
    struct sim_shuffle<F> s = {
        x, from, x
    };
    sim_warp(
        name, line, mask,
        [](void **lanes) {
            for (int i = 0; i < SIM_WARP; i++) {
                struct sim_shuffle<F> *to = (struct sim_shuffle<F> *)lanes[i];
                if (to && !lanes[to->from])
                    sim_die("a shuffle from a lane that is not in its mask");
                if (to)
                    to->got = ((struct sim_shuffle<F> *)lanes[to->from])->x;
            }
        },
        &s);
    return s.got;
}

static inline unsigned sim_lane(void)
{
    return threadIdx.x % SIM_WARP;
}

template <class F>
static F __shfl_xor_sync(uint32_t mask, F x, int k, int line = __builtin_LINE())
{
    return sim_shuffle_from("__shfl_xor_sync", line, mask, x, sim_lane() ^ (unsigned)k);
}

template <class F>
static F __shfl_down_sync(uint32_t mask, F x, unsigned k, int line = __builtin_LINE())
{
    unsigned from = sim_lane() + k < SIM_WARP ? sim_lane() + k : sim_lane();
    return sim_shuffle_from("__shfl_down_sync", line, mask, x, from);
}

template <class F>
static F __shfl_up_sync(uint32_t mask, F x, unsigned k, int line = __builtin_LINE())
{
    unsigned from = sim_lane() >= k ? sim_lane() - k : sim_lane();
    return sim_shuffle_from("__shfl_up_sync", line, mask, x, from);
}

template <class F>
static F __shfl_sync(uint32_t mask, F x, int lane, int line = __builtin_LINE())
{
    return sim_shuffle_from("__shfl_sync", line, mask, x, (unsigned)lane % SIM_WARP);
}

static inline int min(int a, int b)
{
    return a < b ? a : b;
}

static inline int max(int a, int b)
{
    return a > b ? a : b;
}

static inline int __popc(unsigned x)
{
    return __builtin_popcount(x);
}

struct sim_vote {
    int x;
    uint32_t got;
};

static inline uint32_t __ballot_sync(uint32_t mask, int x, int line = __builtin_LINE())
{
    struct sim_vote v = {x, 0};
    sim_warp(
        "__ballot_sync", line, mask,
        [](void **lanes) {
            uint32_t all = 0;
            for (int i = 0; i < SIM_WARP; i++)
                all |= lanes[i] && ((struct sim_vote *)lanes[i])->x ? 1u << i : 0;
            for (int i = 0; i < SIM_WARP; i++)
                if (lanes[i])
                    ((struct sim_vote *)lanes[i])->got = all;
        },
        &v);
    return v.got;
}

static inline int __any_sync(uint32_t mask, int x, int line = __builtin_LINE())
{
    return __ballot_sync(mask, x, line) != 0;
}

static inline int __all_sync(uint32_t mask, int x, int line = __builtin_LINE())
{
    return __ballot_sync(mask, x, line) == mask;
}

/* ---- what mma.h's functions do here ---- */

/* As ldmatrix.x4: `row` [8] values of this lane's row, 16-byte aligned. Rows that share banks
 * abort: no kernel of ours means to have them. */
void sim_ldmatrix(uint32_t *r, const void *row, bool is_trans, int line);
/* As mma.m16n8k16, bf16 operands: c[4] += a[4] b[2] */
void sim_mma(float *c, const uint32_t *a, const uint32_t *b, int line);
/* As cp.async: `to` holds NaN until the thread has waited for the copy's group. */
void sim_copy_async(void *to, const void *from, size_t bytes, bool is_there);
void sim_copy_commit(void);
void sim_copy_wait(int n_left); /* groups that may still be under way */

#endif
