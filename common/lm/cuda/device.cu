/* SPDX-License-Identifier: MIT
 * The CUDA device: opening it, its table, and memory. */
#include "lm/cuda/cuda.h"

#include <new>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern "C" {
#include "base/version.h"
extern const char raise_cuda_version[] = RAISE_VERSION;
struct lm_dev *raise_cuda_open(int index, struct err *e);
}

static const char *error_name(cudaError_t code)
{
#ifdef RAISE_CUDA_HOST
    return code ? "error" : "no error";
#else
    return cudaGetErrorString(code);
#endif
}

static void *fail(struct err *e, int code, const char *what, cudaError_t why)
{
    if (e) {
        e->code = code;
        snprintf(e->msg, sizeof e->msg, "cuda: %s: %s", what, error_name(why));
    }
    return NULL;
}

/* Tells it at once, as the op's caller cannot: the number that is not finite comes later. */
void cuda_note(struct cuda_state *s, cudaError_t code, const char *what)
{
    if (code == cudaSuccess || s->first_error != cudaSuccess)
        return;
    s->first_error = code;
    fprintf(stderr, "cuda: %s: %s\n", what, error_name(code));
}

/* ---- memory: the driver's calls, or the host's ---- */

#ifdef RAISE_CUDA_HOST
enum { MEM_COPY };
static cudaError_t mem_get(struct cuda_state *, void **p, size_t n)
{
    return (*p = malloc(n)) ? 0 : 1;
}
static void mem_release(void *p)
{
    free(p);
}
static cudaError_t mem_move(struct cuda_state *, void *dst, const void *src, size_t n)
{
    memmove(dst, src, n);
    return 0;
}
static cudaError_t mem_clear(struct cuda_state *, void *p, size_t n)
{
    memset(p, 0, n);
    return 0;
}
static cudaError_t wait(struct cuda_state *)
{
    return 0;
}
#else
static cudaError_t mem_get(struct cuda_state *s, void **p, size_t n)
{
    cudaError_t code = s->is_managed ? cudaMallocManaged(p, n) : cudaMalloc(p, n);
    if (code != cudaSuccess)
        (void)cudaGetLastError(); /* not sticky: the caller may ask for less */
    return code;
}
static void mem_release(void *p)
{
    (void)cudaFree(p);
}
static cudaError_t mem_move(struct cuda_state *s, void *dst, const void *src, size_t n)
{
    return cudaMemcpyAsync(dst, src, n, cudaMemcpyDefault, s->stream);
}
static cudaError_t mem_clear(struct cuda_state *s, void *p, size_t n)
{
    return cudaMemsetAsync(p, 0, n, s->stream);
}
static cudaError_t wait(struct cuda_state *s)
{
    return cudaStreamSynchronize(s->stream);
}
#endif

static void describe_shortage(struct err *e, size_t bytes)
{
    size_t unused = 0, total = 0;
#ifndef RAISE_CUDA_HOST
    (void)cudaMemGetInfo(&unused, &total);
#endif
    if (!e)
        return;
    e->code = ERR_IO;
    snprintf(e->msg, sizeof e->msg, "cuda: %zu bytes do not fit: %zu of %zu are free", bytes,
             unused, total);
}

void *cuda_alloc(struct lm_dev *d, size_t bytes, struct err *e)
{
    void *p = NULL;
    if (mem_get(state_of(d), &p, bytes ? bytes : 1) == cudaSuccess)
        return p;
    describe_shortage(e, bytes);
    return NULL;
}

void cuda_free(struct lm_dev *d, void *p)
{
    cuda_sync(d);
    if (p)
        mem_release(p);
}

void cuda_sync(struct lm_dev *d)
{
    cuda_note(state_of(d), wait(state_of(d)), "waiting for the device");
}

void cuda_upload(struct lm_dev *d, void *dst, const void *src, size_t bytes)
{
    if (bytes) {
        cuda_note(state_of(d), mem_move(state_of(d), dst, src, bytes), "upload");
        cuda_sync(d); /* src may be gone when we return */
    }
}

void cuda_download(struct lm_dev *d, void *dst, const void *src, size_t bytes)
{
    if (!bytes)
        return;
    cuda_note(state_of(d), mem_move(state_of(d), dst, src, bytes), "download");
    cuda_sync(d);
    if (state_of(d)->first_error != cudaSuccess)
        memset(dst, 0xff, bytes); /* NaN: the caller's checks of finiteness stop the run */
}

void cuda_copy(struct lm_dev *d, void *dst, const void *src, size_t bytes)
{
    if (bytes)
        cuda_note(state_of(d), mem_move(state_of(d), dst, src, bytes), "copy");
}

void cuda_zero(struct lm_dev *d, void *p, size_t bytes)
{
    if (bytes)
        cuda_note(state_of(d), mem_clear(state_of(d), p, bytes), "zero");
}

__global__ static void to_act_kernel(act_t *dst, const float *src, int64_t n)
{
    for (int64_t i = first(); i < n; i += stride())
        dst[i] = float_to_act(src[i]);
}

__global__ static void from_act_kernel(float *dst, const act_t *src, int64_t n)
{
    for (int64_t i = first(); i < n; i += stride())
        dst[i] = act_to_float(src[i]);
}

void cuda_to_act(struct lm_dev *d, void *dst, const float *src, size_t n)
{
    if (n)
        LAUNCH(state_of(d), to_act_kernel, (blocks((int64_t)n, BLOCK)), BLOCK, (act_t *)dst,
               src, (int64_t)n);
}

void cuda_from_act(struct lm_dev *d, float *dst, const void *src, size_t n)
{
    if (n)
        LAUNCH(state_of(d), from_act_kernel, (blocks((int64_t)n, BLOCK)), BLOCK, dst,
               (const act_t *)src, (int64_t)n);
}

/* ---- opening ---- */

static void close_device(struct lm_dev *d)
{
    struct cuda_state *s = state_of(d);
    cuda_sync(d);
    gemm_close(s);
    mem_release(s->workspace);
    mem_release(s->sum);
#ifndef RAISE_CUDA_HOST
    if (s->stream)
        (void)cudaStreamDestroy(s->stream);
#endif
    free(s);
    d->priv = NULL;
}

static cudaError_t take_device(struct cuda_state *s)
{
#ifdef RAISE_CUDA_HOST
    return s->index > 0; /* the simulated machine has one device */
#else
    cudaError_t code = cudaSetDevice(s->index);
    if (code == cudaSuccess)
        code = cudaStreamCreateWithFlags(&s->stream, cudaStreamNonBlocking);
    return code;
#endif
}

static int open_parts(struct cuda_state *s, struct err *e)
{
    cudaError_t code = take_device(s);
    if (code == cudaSuccess)
        code = mem_get(s, &s->workspace, WORKSPACE);
    if (code == cudaSuccess)
        code = mem_get(s, (void **)&s->sum, BLOCK * sizeof *s->sum);
    if (code == cudaSuccess)
        return gemm_open(s, e);
    char what[32];
    snprintf(what, sizeof what, "device %d", s->index);
    fail(e, ERR_UNSUPPORTED, what, code);
    return ERR_UNSUPPORTED;
}

struct lm_dev *raise_cuda_open(int index, struct err *e)
{
    static struct lm_ops ops;
#define CUDA_ROW(op) ops.op = cuda_##op;
    LM_OPS_EACH(CUDA_ROW)
    ops.name = "cuda";
    ops.close = close_device;
    struct lm_dev *d = (struct lm_dev *)calloc(1, sizeof *d);
    struct cuda_state *s = (struct cuda_state *)calloc(1, sizeof *s);
    if (!d || !s) {
        free(d);
        free(s);
        return (struct lm_dev *)fail(e, ERR_IO, "no memory", cudaSuccess);
    }
    d->ops = &ops;
    d->act = LM_BF16;
    d->priv = s;
    s->index = index;
    const char *managed = getenv("RAISE_CUDA_MANAGED");
    s->is_managed = managed && *managed == '1';
    if (open_parts(s, e) < 0) {
        close_device(d);
        free(d);
        return NULL;
    }
    return d;
}
