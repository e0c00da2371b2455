/* SPDX-License-Identifier: MIT
 *
 * cuda: what the files of the CUDA plugin share.
 *
 * Values are shared out in strides of blockDim.x, and sums over a block go through the helpers
 * below. host.h runs the same kernels on the CPU, thread by thread, which is how they are tested
 * without a GPU.
 *
 * Sums have a fixed order, and nothing is added by atomic operations: the same GPU gives the
 * same bytes. */
#ifndef RAISE_LM_CUDA_H
#define RAISE_LM_CUDA_H

extern "C" {
#include "lm/ops_table.h"
}

#ifdef RAISE_CUDA_HOST
#include "lm/cuda/host.h"
#else
#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>
/* `bytes` of dynamic shared memory: above 48 KB a kernel must be allowed to have it. */
#define LAUNCH_SHARED(state, kernel, grid, block, bytes, ...)                                  \
    do {                                                                                       \
        if ((bytes) > 48 << 10)                                                                \
            cuda_note((state),                                                                 \
                      cudaFuncSetAttribute(                                                    \
                          kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)(bytes)),  \
                      #kernel);                                                                \
        kernel<<<dim3 grid, (unsigned)(block), (bytes), (state)->stream>>>(__VA_ARGS__);       \
        cuda_note((state), cudaGetLastError(), #kernel);                                       \
    } while (0)
#define LAUNCH(state, kernel, grid, block, ...)                                                \
    LAUNCH_SHARED(state, kernel, grid, block, 0, __VA_ARGS__)
#endif

#include <math.h>
#include <stdint.h>

typedef uint16_t act_t; /* bfloat16 */

enum { BLOCK = 256, WARP = 32 };
static constexpr int64_t MAX_SLABS = 64;
enum : size_t { WORKSPACE = 32 << 20 };

struct gemm_cache;
struct cuda_state {
    int index;
    cudaStream_t stream;
    void *workspace; /* of cuBLASLt's products and of column sums; one stream, so shared */
    double *sum;     /* [BLOCK] partial sums of sumsq */
    bool is_managed; /* buffers that the host may touch too: for tests */
    cudaError_t first_error;
    struct gemm_cache *gemm;
};

static inline struct cuda_state *state_of(struct lm_dev *d)
{
    return (struct cuda_state *)d->priv;
}

/* Ops cannot fail: the first error is kept, and what is downloaded after it is NaN. */
void cuda_note(struct cuda_state *s, cudaError_t code, const char *what);
int gemm_open(struct cuda_state *s, struct err *e);
void gemm_close(struct cuda_state *s);

extern "C" {
#define CUDA_DECLARE(op) LM_OP_TYPE(op) cuda_##op;
LM_OPS_EACH(CUDA_DECLARE)
#undef CUDA_DECLARE
}

static inline unsigned blocks(int64_t n, int64_t size)
{
    int64_t b = (n + size - 1) / size;
    return (unsigned)(b < 1 ? 1 : b > 1 << 20 ? 1 << 20 : b);
}

/* ---- for kernels ---- */

__device__ static inline float act_to_float(act_t h)
{
#ifdef __CUDA_ARCH__
    return __bfloat162float(__ushort_as_bfloat16(h));
#else
    uint32_t u = (uint32_t)h << 16;
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
#endif
}

__device__ static inline act_t float_to_act(float x)
{
#ifdef __CUDA_ARCH__
    return __bfloat16_as_ushort(__float2bfloat16_rn(x));
#else
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return (act_t)(x != x ? 0x7fc0 : (u + 0x7fff + (u >> 16 & 1)) >> 16);
#endif
}

/* The grid's threads share out n values: for (i = first(); i < n; i += stride()). */
__device__ static inline int64_t first(void)
{
    return (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
}

__device__ static inline int64_t stride(void)
{
    return (int64_t)gridDim.x * blockDim.x;
}

/* NaN wins, so that it reaches the loss. */
__device__ static inline float max_or_nan(float a, float b)
{
    return b > a || b != b ? b : a;
}

struct op_add {
    template <class F> __device__ F operator()(F a, F b) const
    {
        return a + b;
    }
};
struct op_max {
    __device__ float operator()(float a, float b) const
    {
        return a != a ? a : max_or_nan(a, b);
    }
};

/* `x` of every thread of the block combined in a fixed order; every thread gets the result.
 * `zero` is neutral. Blocks are whole warps. */
template <class F, class Op> __device__ static F block_reduce(F x, F zero, Op op)
{
    __shared__ F part[WARP];
    int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    for (int k = WARP / 2; k > 0; k /= 2)
        x = op(x, __shfl_xor_sync(0xffffffffu, x, k));
    __syncthreads(); /* the last call's readers are done */
    if (lane == 0)
        part[warp] = x;
    __syncthreads();
    x = lane < (int)blockDim.x / WARP ? part[lane] : zero;
    for (int k = WARP / 2; k > 0; k /= 2)
        x = op(x, __shfl_xor_sync(0xffffffffu, x, k));
    return x;
}

template <class F> __device__ static F block_sum(F x)
{
    return block_reduce(x, (F)0, op_add());
}

__device__ static inline float block_max(float x)
{
    return block_reduce(x, -INFINITY, op_max());
}

#endif
