/* SPDX-License-Identifier: MIT
 *
 * mma: the tensor cores' operations and asynchronous copies as functions: PTX (sm_80 and newer)
 * on a GPU, the simulated device's emulation in tests. And tiles in shared memory.
 *
 * Every operation is the whole warp's. Fragments of mma.m16n8k16, with g = lane / 4 and
 * t = lane % 4; each register of a and b is a pair of bf16, the lower column or row first:
 *     a[0..3]  rows g, g + 8, g, g + 8; columns 2t, 2t + 1, the last two registers 8 further on
 *     b[0..1]  rows 2t, 2t + 1, the second register 8 further on; column g
 *     c[0..3]  float: (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1)
 * So the c of two neighbouring products (16 columns), rounded and paired, is an a: a product's
 * result goes into the next one without leaving the registers. */
#ifndef RAISE_LM_CUDA_MMA_H
#define RAISE_LM_CUDA_MMA_H

#include "lm/cuda/cuda.h"

#ifdef RAISE_CUDA_HOST
#define MMA_LINE , int line = __builtin_LINE()
#define UNROLL
#define UNROLL_4
#define NO_UNROLL
typedef uintptr_t place_t; /* an address in shared memory */
#else
#define MMA_LINE
#define UNROLL _Pragma("unroll")
#define UNROLL_4 _Pragma("unroll 4")
#define NO_UNROLL _Pragma("unroll 1")
typedef uint32_t place_t;
#endif

__device__ static inline place_t place_of(const void *p)
{
#ifdef RAISE_CUDA_HOST
    return (place_t)p;
#else
    return (place_t)__cvta_generic_to_shared(p);
#endif
}

/* The block's dynamic shared memory, aligned to 1024 bytes. */
__device__ static inline act_t *dynamic_shared(void)
{
#ifdef RAISE_CUDA_HOST
    return (act_t *)(void *)sim_dynamic_shared();
#else
    extern __shared__ __align__(1024) act_t dynamic_shared_memory[];
    return dynamic_shared_memory;
#endif
}

/* Four 8 x 8 matrices; lane i gives row i % 8 of matrix i / 8. r[m] of matrix m: row g, columns
 * 2t and 2t + 1; of its transpose, if is_trans. */
template <bool IS_TRANS>
__device__ static inline void ldmatrix(uint32_t r[4], place_t row MMA_LINE)
{
#ifdef RAISE_CUDA_HOST
    sim_ldmatrix(r, (const void *)row, IS_TRANS, line);
#else
    if constexpr (IS_TRANS)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                     : "r"(row)
                     : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                     : "r"(row)
                     : "memory");
#endif
}

/* c += a b */
__device__ static inline void mma(float c[4], const uint32_t a[4], const uint32_t b[2] MMA_LINE)
{
#ifdef RAISE_CUDA_HOST
    sim_mma(c, a, b, line);
#else
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

/* to (shared) gets BYTES from `from` (global), or zeros; both aligned to BYTES, 4 or 16. The
 * values are there for the thread that waited, and for others after a barrier. */
template <int BYTES>
__device__ static inline void copy_async(place_t to, const void *from, bool is_there)
{
    static_assert(BYTES == 4 || BYTES == 16);
#ifdef RAISE_CUDA_HOST
    sim_copy_async((void *)to, from, BYTES, is_there);
#else
    int n = is_there ? BYTES : 0;
    if constexpr (BYTES == 16) /* .cg: not through the first level's cache */
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
                     "r"(n)
                     : "memory");
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from), "r"(n)
                     : "memory");
#endif
}

/* Ends a group of this thread's copies. */
__device__ static inline void copy_commit(void)
{
#ifdef RAISE_CUDA_HOST
    sim_copy_commit();
#else
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

/* Waits until at most N_LEFT groups of this thread's are under way. */
template <int N_LEFT> __device__ static inline void copy_wait(void)
{
#ifdef RAISE_CUDA_HOST
    sim_copy_wait(N_LEFT);
#else
    asm volatile("cp.async.wait_group %0;" ::"n"(N_LEFT) : "memory");
#endif
}

/* Two floats as a pair of bf16, `low` in the lower half. */
__device__ static inline uint32_t pair(float low, float high)
{
#ifdef RAISE_CUDA_HOST
    return float_to_act(low) | (uint32_t)float_to_act(high) << 16;
#else
    uint32_t r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
#endif
}

/* 2^x: off by two units of the last place; results below 2^-126 are 0. */
__device__ static inline float exp2_quick(float x)
{
#ifdef RAISE_CUDA_HOST
    float y = exp2f(x);
    return y < 0x1p-126f ? 0 : y;
#else
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#endif
}

/* The a of columns 0 to 15 from the c of columns 0 to 7 and of 8 to 15. */
__device__ static inline void to_operand(uint32_t a[4], const float c0[4], const float c1[4])
{
    a[0] = pair(c0[0], c0[1]);
    a[1] = pair(c0[2], c0[3]);
    a[2] = pair(c1[0], c1[1]);
    a[3] = pair(c1[2], c1[3]);
}

/* The sum, or the greatest, of the four lanes that share a row of c. */
__device__ static inline float quad_sum(float x)
{
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

__device__ static inline float quad_max(float x)
{
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
    return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

/* ---- tiles: rows of K bf16 values, in chunks of 8 (16 bytes) ---- */

/* Where a chunk lies. Chunks of a row are permuted by its number, so that the same chunk of 8
 * neighbouring rows, which is what ldmatrix reads, is in 8 different groups of banks. */
template <int K> __device__ static inline int chunk_at(int row, int chunk)
{
    constexpr int N = K / 8;
    static_assert(K % 16 == 0);
    int x = N % 8 == 0 ? row & 7 : N % 4 == 0 ? row >> 1 & 3 : row >> 2 & 1;
    return (row * N + (chunk ^ x)) * 8;
}

/* Where this lane reads the operand whose rows are rows of the tile: a, or b transposed. */
template <int K> __device__ static inline place_t rows_at(place_t tile)
{
    int lane = (int)threadIdx.x % WARP;
    return tile + (place_t)chunk_at<K>(lane % 16, lane / 16) * 2;
}

/* The same for a b whose columns are rows of the tile, so that k runs along a row. */
template <int K> __device__ static inline place_t columns_at(place_t tile)
{
    int lane = (int)threadIdx.x % WARP;
    return tile + (place_t)chunk_at<K>(lane / 16 * 8 + lane % 8, lane / 8 % 2) * 2;
}

/* The 16 x 16 values from row `row` (of 16) and chunk `chunk` (even) on: an a, or two b of 8
 * columns each in r[0..1] and r[2..3]. The permutation makes of the chunk's number one bitwise
 * operation on the address, as tiles are aligned to their rows. */
template <int K, bool IS_TRANS>
__device__ static inline void load(uint32_t r[4], place_t lane_at, int row, int chunk)
{
    static_assert(K == 64 || K == 128);
    ldmatrix<IS_TRANS>(r, (lane_at ^ (place_t)(chunk * 16)) + (place_t)(row * K * 2));
}

/* Starts copying ROWS rows, stride ld; those from n_rows on are zeros. THREADS threads share.
 * A loop that is not unrolled: the addresses would fill the registers. */
template <int K, int ROWS, int THREADS>
__device__ static inline void copy_tile(place_t tile, const act_t *from, int64_t ld, int n_rows)
{
    constexpr int N = K / 8, STEP = THREADS / N;
    static_assert(THREADS % N == 0 && ROWS % STEP == 0 && STEP % 8 == 0);
    int row = (int)threadIdx.x / N, chunk = (int)threadIdx.x % N;
    const act_t *p = from + row * ld + chunk * 8;
    place_t to = tile + (place_t)chunk_at<K>(row, chunk) * 2;
    NO_UNROLL
    for (; row < ROWS; row += STEP) {
        copy_async<16>(to, row < n_rows ? p : from, row < n_rows);
        p += STEP * ld;
        to += STEP * K * 2;
    }
}

struct alignas(16) chunk {
    uint32_t w[4];
};

/* Writes a warp's MT * 16 rows of c, times scale[m][0] (rows g) and scale[m][1] (rows g + 8),
 * to the first n_rows rows of `to`. `tile` is room for all the rows that no other warp uses. */
template <int K, int MT>
__device__ static inline void store_rows(act_t *to, int64_t ld, int n_rows, act_t *tile,
                                         const float (&c)[MT][K / 8][4],
                                         const float (&scale)[MT][2])
{
    constexpr int N = K / 8;
    int lane = (int)threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    UNROLL
    for (int m = 0; m < MT; m++) {
        UNROLL
        for (int n = 0; n < N; n++) {
            UNROLL
            for (int r = 0; r < 2; r++)
                *(uint32_t *)(void *)(tile + chunk_at<K>(m * 16 + g + r * 8, n) + 2 * t) =
                    pair(c[m][n][2 * r] * scale[m][r], c[m][n][2 * r + 1] * scale[m][r]);
        }
    }
    __syncwarp();
    UNROLL
    for (int i = 0; i < MT * 16 * N / WARP; i++) {
        int at = i * WARP + lane, row = at / N;
        if (row < n_rows)
            *(struct chunk *)(void *)(to + row * ld + at % N * 8) =
                *(const struct chunk *)(const void *)(tile + chunk_at<K>(row, at % N));
    }
}

#endif
