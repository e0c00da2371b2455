/* SPDX-License-Identifier: MIT
 *
 * cuda: what the files of the CUDA plugin share.
 *
 * Values are shared out in strides of blockDim.x, and sums over a block go through the helpers
 * below. host.h runs the same kernels on the CPU, thread by thread, which is how they are
 * tested without a GPU.
 *
 * Sums have a fixed order, and nothing is added by atomic operations: the same GPU gives the
 * same bytes. There are no CUDA graphs: each batch has another number of tokens, so a graph
 * would be captured for every step, which costs more than the few launches it has. */
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

#ifdef __CUDACC__
#define UNROLL _Pragma("unroll")
#else
#define UNROLL
#endif

#include <math.h>
#include <stdint.h>

typedef uint16_t act_t; /* bfloat16 */

/* As LAUNCH, counted. */
#define RUN(state, kernel, grid, block, ...)                                                   \
    do {                                                                                       \
        (state)->n_launches++;                                                                 \
        LAUNCH(state, kernel, grid, block, __VA_ARGS__);                                       \
    } while (0)

enum { BLOCK = 256, WARP = 32 };
static constexpr int64_t MAX_SLABS = 64;
enum : size_t { WORKSPACE = 32 << 20, STAGE = 1 << 20 };
enum { N_STAGES = 4, SUM_BLOCKS = 512 };

struct gemm_cache;
struct cuda_state {
    int index;
    cudaStream_t stream;
    void *workspace; /* of cuBLASLt's products and of column sums; one stream, so shared */
    double *sum;     /* [SUM_BLOCKS] partial sums of sumsq */
    bool is_managed; /* buffers that the host may touch too: for tests */
    cudaError_t first_error;
    struct gemm_cache *gemm;
    int64_t n_launches, n_plain; /* so far; see raise_cuda_counts */
    char model[80];
    /* Small uploads go through page-locked memory, so that nobody waits for them. */
    char *stage[N_STAGES];
    int next_stage;
#ifndef RAISE_CUDA_HOST
    cudaEvent_t stage_is_free[N_STAGES];
#endif
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
void cuda_gemms(struct lm_dev *d, const struct lm_gemms *g, const void *a, const void *b,
                void *c);
const void *cuda_matrix_act(const struct lm_matrix *m);
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

/* 16 bytes: what one thread reads or writes best at once. */
struct alignas(16) quad {
    uint32_t u[4];
};

__device__ static inline float bits_to_float(uint32_t u)
{
#ifdef __CUDA_ARCH__
    return __uint_as_float(u);
#else
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
#endif
}

__device__ static inline uint32_t float_to_bits(float x)
{
#ifdef __CUDA_ARCH__
    return __float_as_uint(x);
#else
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
#endif
}

/* Eight values at p, which is aligned to 16 bytes. */
__device__ static inline void load8(float *v, const act_t *p)
{
    const quad q = *(const quad *)p;
    UNROLL
    for (int i = 0; i < 4; i++) {
        v[2 * i] = bits_to_float(q.u[i] << 16);
        v[2 * i + 1] = bits_to_float(q.u[i] & 0xffff0000u);
    }
}

__device__ static inline void load8(float *v, const float *p)
{
    const quad a = *(const quad *)p, b = *(const quad *)(p + 4);
    UNROLL
    for (int i = 0; i < 4; i++) {
        v[i] = bits_to_float(a.u[i]);
        v[4 + i] = bits_to_float(b.u[i]);
    }
}

__device__ static inline void store8(act_t *p, const float *v)
{
    quad q;
    UNROLL
    for (int i = 0; i < 4; i++)
        q.u[i] = float_to_act(v[2 * i]) | (uint32_t)float_to_act(v[2 * i + 1]) << 16;
    *(quad *)p = q;
}

__device__ static inline void store8(float *p, const float *v)
{
    quad a, b;
    UNROLL
    for (int i = 0; i < 4; i++) {
        a.u[i] = float_to_bits(v[i]);
        b.u[i] = float_to_bits(v[4 + i]);
    }
    *(quad *)p = a;
    *(quad *)(p + 4) = b;
}

/* Rows of n values that start at these addresses can be walked eight values at a time. */
template <class... P> static inline bool is_by8(int64_t n, P... p)
{
    return n % 8 == 0 && ((... | (uintptr_t)p) & 15) == 0;
}

/* Threads for n pieces of work that one block shares: whole warps, at most BLOCK. */
static inline unsigned threads(int64_t n)
{
    int64_t t = (n + WARP - 1) / WARP * WARP, most = BLOCK, least = WARP;
    return (unsigned)(t < least ? least : t > most ? most : t);
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

/* As block_sum, of a warp. */
__device__ static inline float warp_sum(float x)
{
    for (int k = WARP / 2; k > 0; k /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, k);
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
