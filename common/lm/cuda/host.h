/* SPDX-License-Identifier: MIT
 *
 * host: runs the kernels on the CPU, block after block with one thread each: for tests. */
#ifndef RAISE_LM_CUDA_HOST_H
#define RAISE_LM_CUDA_HOST_H

#include <stdlib.h>
#include <string.h>

#define __global__
#define __device__
#define __shared__ static
#define __restrict__
#define __launch_bounds__(...)
#define __syncthreads() ((void)0)
#define __syncthreads_or(x) (x)

struct host_dim3 {
    unsigned x, y, z;
    host_dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c)
    {
    }
};
static const host_dim3 threadIdx(0, 0, 0), blockDim(1, 1, 1);
static host_dim3 blockIdx(0, 0, 0), gridDim;

#define LAUNCH(state, kernel, grid, block, ...)                                                \
    do {                                                                                       \
        (void)(state), (void)(block);                                                          \
        gridDim = host_dim3 grid;                                                              \
        for (blockIdx.y = 0; blockIdx.y < gridDim.y; blockIdx.y++)                             \
            for (blockIdx.x = 0; blockIdx.x < gridDim.x; blockIdx.x++)                         \
                kernel(__VA_ARGS__);                                                           \
    } while (0)

typedef int cudaError_t;
typedef void *cudaStream_t;
enum { cudaSuccess = 0 };

#endif
