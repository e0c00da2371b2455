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
extern const int64_t raise_cuda_abi = LM_ABI;
struct lm_dev *raise_cuda_open(int index, struct err *e);
void raise_cuda_counts(struct lm_dev *d, int64_t *n_launches, int64_t *n_plain);
}

static const char *error_name(cudaError_t code)
{
#ifdef RAISE_CUDA_HOST
    return code ? "error" : "no error";
#else
    return cudaGetErrorString(code);
#endif
}

static int fail(struct err *e, int code, const char *what, const char *why)
{
    if (e) {
        e->code = code;
        snprintf(e->msg, sizeof e->msg, "cuda: %s: %s", what, why);
    }
    return code;
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
static size_t sim_bytes(const char *name, size_t otherwise)
{
    const char *set = getenv(name);
    return set && *set ? (size_t)strtoull(set, NULL, 10) : otherwise;
}
/* RAISE_SIM_MEMORY: bytes that the simulated device has. */
static size_t sim_total(void)
{
    return sim_bytes("RAISE_SIM_MEMORY", (size_t)64 << 30);
}
/* RAISE_SIM_TAKEN: bytes that seem free, and are another program's when they are asked for. */
static size_t sim_taken(void)
{
    return sim_bytes("RAISE_SIM_TAKEN", 0);
}
static size_t sim_used;

static cudaError_t mem_get(struct cuda_state *, void **p, size_t n)
{
    size_t *block = n + sim_used + sim_taken() <= sim_total()
                        ? (size_t *)aligned_alloc(64, n / 64 * 64 + 128)
                        : NULL;
    if (!block)
        return 1;
    *block = n;
    sim_used += n;
    *p = memset(block + 8, 0xff, n); /* NaN: what was never written shows */
    return 0;
}
static void mem_release(void *p)
{
    if (p) {
        sim_used -= ((size_t *)p)[-8];
        free((size_t *)p - 8);
    }
}
static void mem_free_bytes(size_t *n_free, size_t *n_total)
{
    *n_total = sim_total();
    *n_free = *n_total > sim_used ? *n_total - sim_used : 0;
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
static bool stage_open(struct cuda_state *)
{
    return true;
}
static void stage_close(struct cuda_state *)
{
}
static bool move_staged(struct cuda_state *, void *, const void *, size_t)
{
    return false;
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
static void mem_free_bytes(size_t *n_free, size_t *n_total)
{
    if (cudaMemGetInfo(n_free, n_total) != cudaSuccess)
        *n_free = *n_total = 0;
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
static bool stage_open(struct cuda_state *s)
{
    for (int i = 0; i < N_STAGES; i++)
        if (cudaMallocHost((void **)&s->stage[i], STAGE) != cudaSuccess ||
            cudaEventCreateWithFlags(&s->stage_is_free[i], cudaEventDisableTiming) !=
                cudaSuccess)
            return false;
    return true;
}
static void stage_close(struct cuda_state *s)
{
    for (int i = 0; i < N_STAGES; i++) {
        if (s->stage_is_free[i])
            (void)cudaEventDestroy(s->stage_is_free[i]);
        if (s->stage[i])
            (void)cudaFreeHost(s->stage[i]);
    }
}
/* A copy that nobody waits for, unless all stages are still on their way. */
static bool move_staged(struct cuda_state *s, void *dst, const void *src, size_t n)
{
    int i = s->next_stage;
    if (n > STAGE || s->is_managed)
        return false;
    s->next_stage = (i + 1) % N_STAGES;
    cuda_note(s, cudaEventSynchronize(s->stage_is_free[i]), "upload");
    memcpy(s->stage[i], src, n);
    cuda_note(s, mem_move(s, dst, s->stage[i], n), "upload");
    cuda_note(s, cudaEventRecord(s->stage_is_free[i], s->stream), "upload");
    return true;
}
#endif

static void describe_shortage(struct err *e, size_t bytes)
{
    size_t n_free = 0, n_total = 0;
    mem_free_bytes(&n_free, &n_total);
    if (!e)
        return;
    e->code = ERR_MEMORY;
    snprintf(e->msg, sizeof e->msg, "cuda: %zu bytes do not fit: %zu of %zu are free", bytes,
             n_free, n_total);
}

static void memory_info(struct lm_dev *, size_t *n_free, size_t *n_total)
{
    mem_free_bytes(n_free, n_total);
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
    if (!bytes || move_staged(state_of(d), dst, src, bytes))
        return;
    cuda_note(state_of(d), mem_move(state_of(d), dst, src, bytes), "upload");
    cuda_sync(d); /* src may be gone when we return */
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

template <class To, class From>
__global__ static void convert8_kernel(To *dst, const From *src, int64_t n)
{
    for (int64_t i = 8 * first(); i < n; i += 8 * stride()) {
        float v[8];
        load8(v, src + i);
        store8(dst + i, v);
    }
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
    int64_t k = (int64_t)n;
    act_t *to = (act_t *)dst;
    if (n && is_by8(k, dst, src))
        RUN(state_of(d), (convert8_kernel<act_t, float>), (blocks(k / 8, BLOCK)), BLOCK, to,
            src, k);
    else if (n)
        RUN(state_of(d), to_act_kernel, (blocks(k, BLOCK)), BLOCK, to, src, k);
}

void cuda_from_act(struct lm_dev *d, float *dst, const void *src, size_t n)
{
    int64_t k = (int64_t)n;
    const act_t *from = (const act_t *)src;
    if (n && is_by8(k, dst, src))
        RUN(state_of(d), (convert8_kernel<float, act_t>), (blocks(k / 8, BLOCK)), BLOCK, dst,
            from, k);
    else if (n)
        RUN(state_of(d), from_act_kernel, (blocks(k, BLOCK)), BLOCK, dst, from, k);
}

/* ---- opening ---- */

static void close_device(struct lm_dev *d)
{
    struct cuda_state *s = state_of(d);
    if (s->workspace) { /* else there is no device: it could not be opened */
        cuda_sync(d);
        gemm_close(s);
        stage_close(s);
        mem_release(s->workspace);
        mem_release(s->sum);
    }
#ifndef RAISE_CUDA_HOST
    if (s->stream)
        (void)cudaStreamDestroy(s->stream);
#endif
    free(s);
    d->priv = NULL;
}

#ifdef RAISE_CUDA_HOST
/* RAISE_SIM_DEVICES: how many the simulated machine has (1). */
static int find_device(struct cuda_state *s, const char *what, struct err *e)
{
    const char *set = getenv("RAISE_SIM_DEVICES");
    strcpy(s->model, "simulated");
    return s->index < (set ? atoi(set) : 1)
               ? 0
               : fail(e, ERR_UNSUPPORTED, what, "there is no such device");
}
#else
/* The driver answers, has this device, and it has bf16 tensor cores. */
static int find_device(struct cuda_state *s, const char *what, struct err *e)
{
    char why[200];
    int n = 0, driver = 0, runtime = 0;
    struct cudaDeviceProp p;
    cudaError_t code = cudaGetDeviceCount(&n);
    (void)cudaDriverGetVersion(&driver);
    (void)cudaRuntimeGetVersion(&runtime);
    if (code != cudaSuccess) {
        snprintf(why, sizeof why, "%s (driver for CUDA %d.%d, plugin built with CUDA %d.%d)",
                 error_name(code), driver / 1000, driver % 100 / 10, runtime / 1000,
                 runtime % 100 / 10);
        return fail(e, ERR_UNSUPPORTED, what, why);
    }
    if (s->index >= n) {
        snprintf(why, sizeof why, "there is no such device; the machine has %d", n);
        return fail(e, ERR_UNSUPPORTED, what, why);
    }
    code = cudaGetDeviceProperties(&p, s->index);
    if (code != cudaSuccess)
        return fail(e, ERR_UNSUPPORTED, what, error_name(code));
    if (p.major < 8) {
        snprintf(why, sizeof why, "%.100s has compute capability %d.%d; 8.0 is needed", p.name,
                 p.major, p.minor);
        return fail(e, ERR_UNSUPPORTED, what, why);
    }
    snprintf(s->model, sizeof s->model, "%.60s-sm%d%d", p.name, p.major, p.minor);
    for (char *c = s->model; *c; c++)
        if (*c == ' ')
            *c = '-';
    code = cudaSetDevice(s->index);
    if (code == cudaSuccess)
        code = cudaStreamCreateWithFlags(&s->stream, cudaStreamNonBlocking);
    return code == cudaSuccess ? 0 : fail(e, ERR_UNSUPPORTED, what, error_name(code));
}
#endif

static int open_parts(struct cuda_state *s, struct err *e)
{
    char what[32];
    snprintf(what, sizeof what, "device %d", s->index);
    int rc = find_device(s, what, e);
    if (rc < 0)
        return rc;
    cudaError_t code = mem_get(s, &s->workspace, WORKSPACE);
    if (code == cudaSuccess)
        code = mem_get(s, (void **)&s->sum, SUM_BLOCKS * sizeof *s->sum);
    if (code != cudaSuccess)
        return fail(e, ERR_MEMORY, what, error_name(code));
    if (!stage_open(s))
        return fail(e, ERR_MEMORY, what, "no page-locked memory");
    return gemm_open(s, e);
}

static const struct lm_ops *table(void)
{
    static struct lm_ops ops;
#define CUDA_ROW(op) ops.op = cuda_##op;
    LM_OPS_EACH(CUDA_ROW)
    ops.name = "cuda";
    ops.close = close_device;
    ops.memory_info = memory_info;
    ops.matrix_act = cuda_matrix_act;
    ops.gemms = cuda_gemms;
    return &ops;
}

struct lm_dev *raise_cuda_open(int index, struct err *e)
{
    struct lm_dev *d = (struct lm_dev *)calloc(1, sizeof *d);
    struct cuda_state *s = (struct cuda_state *)calloc(1, sizeof *s);
    if (!d || !s) {
        free(d);
        free(s);
        fail(e, ERR_MEMORY, "opening", "no memory");
        return NULL;
    }
    d->ops = table();
    d->act = LM_BF16;
    d->priv = s;
    d->chunk_bytes = (int64_t)1 << 30;
    d->workspace_bytes = WORKSPACE;
    d->model = s->model;
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

/* Since the device was opened: kernels and products launched, attention's left out; and
 * products that cuBLASLt had no kernel for. For tests. */
void raise_cuda_counts(struct lm_dev *d, int64_t *n_launches, int64_t *n_plain)
{
    *n_launches = state_of(d)->n_launches;
    *n_plain = state_of(d)->n_plain;
}
