/* SPDX-License-Identifier: MIT
 *
 * backend: the operations that a training step is made of, one table a device and precision.
 *
 * A backend is `struct lm_dev` with a table of functions. Buffers are device pointers (plain
 * memory on the CPU). Two element types occur:
 *   float   parameters (masters), gradients of parameters, optimiser state, the residual
 *           stream x and its gradient dx, norms' statistics, logits, losses, every sum;
 *   act     activations that feed matrix products: float when dev->act == LM_F32, bfloat16 when
 *           LM_BF16. Written `void *` here.
 * The residual stream is a sum over layers, so it stays float in bf16 runs too.
 *
 * Tokens of all sequences lie end to end: T rows; `offsets` [n_seqs + 1] says where each
 * sequence begins. Rows have a stride (`ld...`, in elements) where an argument may be a column
 * block of a wider matrix. Each output says whether it is written or accumulated (+=). Outputs
 * never overlap inputs unless said so. Sizes may be any value >= 1; T may be 0 (no work).
 *
 * lm/ref defines each op naively with double sums (act = float only); lm/cpu and lm/cuda are
 * tested against it. Ops cannot fail, except for memory (see alloc).
 */
#ifndef RAISE_LM_BACKEND_H
#define RAISE_LM_BACKEND_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum lm_dtype { LM_F32, LM_BF16 };

struct gguf_type; /* stream/gguf_quant.h */
struct lm_dev;
struct lm_matrix; /* a weight [n_out, n_in], packed as the backend likes it */

struct lm_adamw {
    double lr, beta1, beta2, eps, weight_decay;
    int64_t step;      /* from 1: bias corrections 1 - beta^step */
    double grad_scale; /* gradients are multiplied by it first (clipping) */
};

/* Several products of one shape: c_i[M, N] = alpha op(a_i) op(b_i) + beta c_i as `gemm` has it,
 * a_i = a + i * step_a elements and so on. is_float: c is float, as weight_grad's. */
struct lm_gemms {
    int64_t n, M, N, K, lda, ldb, ldc, step_a, step_b, step_c;
    float alpha, beta;
    bool is_ta, is_tb, is_float;
};

/* Rows of a frozen matrix [n_rows, n_in] in the type that they have in their file; each row is
 * a whole number of blocks. */
struct lm_kept {
    const struct gguf_type *type; /* one that decodes */
    const void *data;             /* borrowed, of the device, no alignment needed */
    int64_t n_rows;
};

struct lm_ops {
    const char *name; /* "ref", "cpu-avx2", "cpu-avx512", "cpu-amx", "cuda" */

    /* ---- memory ---- */
    void *(*alloc)(struct lm_dev *d, size_t bytes, struct err *e); /* NULL: does not fit */
    void (*free)(struct lm_dev *d, void *p);
    void (*upload)(struct lm_dev *d, void *dst, const void *src, size_t bytes);
    void (*download)(struct lm_dev *d, void *dst, const void *src, size_t bytes);
    void (*zero)(struct lm_dev *d, void *p, size_t bytes);
    void (*copy)(struct lm_dev *d, void *dst, const void *src, size_t bytes);
    void (*sync)(struct lm_dev *d);
    void (*close)(struct lm_dev *d); /* frees d->priv; lm_dev_close calls it unless NULL */
    /* Bytes free now, and all there are, of memory that is not the host's. NULL: it is. */
    void (*memory_info)(struct lm_dev *d, size_t *n_free, size_t *n_total);
    /* Host memory that attention over sequences of up to `longest` tokens takes beside its
     * arguments, and the device keeps. NULL: none. */
    int64_t (*attention_bytes)(int64_t longest, int64_t K, bool is_training);
    /* The matrix as act [n_out, n_in], borrowed. NULL: it is packed otherwise. */
    const void *(*matrix_act)(const struct lm_matrix *m);
    /* A frozen matrix of n parts, one below the other, kept as it is and widened to float, a
     * panel at a time, where it is read: the same bytes as a matrix_new of the widened one.
     * matrix_update: the products read w from now on; NULL: the parts again.
     * kept_rows: x[T, n_in] float written, its rows ids[t]. kept_bytes: of the panels, which
     * the device keeps for the largest. NULL, all three: there is no such thing. */
    struct lm_matrix *(*matrix_keep)(struct lm_dev *d, const struct lm_kept *parts, int n,
                                     int64_t n_in);
    void (*kept_rows)(struct lm_dev *d, float *x, const struct lm_matrix *m, const int32_t *ids,
                      int64_t T);
    int64_t (*kept_bytes)(int64_t n_out, int64_t n_in);
    /* act <- float and float <- act, n values (written) */
    void (*to_act)(struct lm_dev *d, void *dst, const float *src, size_t n);
    void (*from_act)(struct lm_dev *d, float *dst, const void *src, size_t n);

    /* ---- matrix products ---- */
    /* Packs w [n_out, n_in] float (device). The matrix may keep a borrowed pointer to `w` (fp32
     * CPU does, and packs nothing): w must outlive it. After w changed: matrix_update. */
    struct lm_matrix *(*matrix_new)(struct lm_dev *d, const float *w, int64_t n_out,
                                    int64_t n_in, struct err *e);
    void (*matrix_update)(struct lm_dev *d, struct lm_matrix *m, const float *w);
    void (*matrix_free)(struct lm_dev *d, struct lm_matrix *m);
    /* y[T, n_out] = x[T, n_in] m^T + (is_accumulated ? y : 0); act in, act out */
    void (*linear_fwd)(struct lm_dev *d, void *y, int64_t ldy, const void *x, int64_t ldx,
                       const struct lm_matrix *m, int64_t T, bool is_accumulated);
    /* dx[T, n_in] = dy[T, n_out] m + (is_accumulated ? dx : 0); act in, act out */
    void (*linear_bwd)(struct lm_dev *d, void *dx, int64_t lddx, const void *dy, int64_t lddy,
                       const struct lm_matrix *m, int64_t T, bool is_accumulated);
    /* logits [T, n_out] float, written: the classifier */
    void (*linear_fwd_f32)(struct lm_dev *d, float *y, int64_t ldy, const void *x, int64_t ldx,
                           const struct lm_matrix *m, int64_t T);
    /* dw [n_out, n_in] float += dy[T, n_out]^T x[T, n_in]: both act. For full tuning and LoRA.
     */
    void (*weight_grad)(struct lm_dev *d, float *dw, const void *dy, int64_t lddy,
                        const void *x, int64_t ldx, int64_t T, int64_t n_out, int64_t n_in);
    /* Small products for LoRA, act operands: c[M, N] = alpha * op(a) op(b) + beta * c, row
     * major; is_ta: a is stored [K, M]; is_tb: b is stored [N, K]. */
    void (*gemm)(struct lm_dev *d, bool is_ta, bool is_tb, int64_t M, int64_t N, int64_t K,
                 float alpha, const void *a, int64_t lda, const void *b, int64_t ldb,
                 float beta, void *c, int64_t ldc);
    /* Several such products in one launch; NULL: one after the other is as good. */
    void (*gemms)(struct lm_dev *d, const struct lm_gemms *g, const void *a, const void *b,
                  void *c);
    /* y[T, N] += bias[N]; dbias[N] += column sums of dy */
    void (*bias_fwd)(struct lm_dev *d, void *y, int64_t ldy, const float *bias, int64_t T,
                     int64_t N);
    void (*bias_bwd)(struct lm_dev *d, float *dbias, const void *dy, int64_t lddy, int64_t T,
                     int64_t N);

    /* ---- embedding ---- */
    /* x[T, D] = table[ids[t]] (written; table float or act: is_act) */
    void (*embed_fwd)(struct lm_dev *d, float *x, const void *table, bool is_act,
                      const int32_t *ids, int64_t T, int64_t D);
    /* dtable[V, D] += ; the same for any thread count. order [T]: the numbers of the tokens by
     * id, and by place where ids are equal. */
    void (*embed_bwd)(struct lm_dev *d, float *dtable, const float *dx, const int32_t *ids,
                      const int32_t *order, int64_t T, int64_t D, int64_t V);

    /* ---- norms: y = x * rstd * w, rstd = 1/sqrt(mean(x^2) + eps) per row ---- */
    /* With delta (act, [T, D]) first x = from + delta, the residual connection; without it x
     * is from, and is not written. from may be x. y act written, rstd [T] written (may be
     * NULL).
     */
    void (*rmsnorm_fwd)(struct lm_dev *d, void *y, float *rstd, float *x, const float *from,
                        const void *delta, const float *w, int64_t T, int64_t D, float eps);
    /* dx [T, D] float +=; dw [D] float += (NULL: not wanted). dx_act, if not NULL, gets a copy
     * of the finished dx as act (the gradient that flows into the block before); y, if not
     * NULL, what fwd wrote there, again. */
    void (*rmsnorm_bwd)(struct lm_dev *d, float *dx, void *dx_act, float *dw, void *y,
                        const void *dy, const float *x, const float *w, const float *rstd,
                        int64_t T, int64_t D);
    /* Per head, in place on act x [T, n_heads * K] with row stride ldx: Qwen3's q/k norm. rstd
     * [T, n_heads] written. bwd: dx in place holds dy on entry; x_in is the input of fwd. */
    void (*headnorm_fwd)(struct lm_dev *d, void *x, int64_t ldx, float *rstd, const float *w,
                         int64_t T, int64_t n_heads, int64_t K, float eps);
    void (*headnorm_bwd)(struct lm_dev *d, void *dx, int64_t lddx, float *dw, const void *x_in,
                         int64_t ldx, const float *w, const float *rstd, int64_t T,
                         int64_t n_heads, int64_t K);

    /* ---- rotary positions (rotate-half layout: pairs (i, i + K/2)) ---- */
    /* In place on x [T, n_heads * K], stride ldx. cos_sin [n_pos, K]: first K/2 cosines, then
     * K/2 sines. is_inverse: the gradient (rotation by the negative angle). */
    void (*rope)(struct lm_dev *d, void *x, int64_t ldx, const int32_t *positions,
                 const float *cos_sin, int64_t T, int64_t n_heads, int64_t K, bool is_inverse);

    /* ---- attention: causal within each sequence, block diagonal over sequences ---- */
    /* q [T, H*K], k, v [T, G*K] (strides ldq, ldk, ldv), o [T, H*K] written (stride ldo),
     * lse [H, T] float written: log sum exp of scale * q.k. H is a multiple of G. */
    void (*attention_fwd)(struct lm_dev *d, void *o, int64_t ldo, float *lse, const void *q,
                          int64_t ldq, const void *k, int64_t ldk, const void *v, int64_t ldv,
                          const int32_t *offsets, int64_t n_seqs, int64_t T, int64_t H,
                          int64_t G, int64_t K, float scale);
    /* dq, dk, dv written (strides as q, k, v). delta [H, T] float is scratch. */
    void (*attention_bwd)(struct lm_dev *d, void *dq, void *dk, void *dv, float *delta,
                          const void *dout, const void *o, int64_t ldo, const float *lse,
                          const void *q, int64_t ldq, const void *k, int64_t ldk, const void *v,
                          int64_t ldv, const int32_t *offsets, int64_t n_seqs, int64_t T,
                          int64_t H, int64_t G, int64_t K, float scale);

    /* ---- a prefix that sequences share (share.c) ---- */
    /* dst[i] = the sum of src[rows[k]] over starts[i] <= k < starts[i + 1], in that order and
     * in float; act, N values a row, strides ldd and lds. starts NULL: src[rows[i]]. */
    void (*sum_rows)(struct lm_dev *d, void *dst, int64_t ldd, const void *src, int64_t lds,
                     const int32_t *starts, const int32_t *rows, int64_t n, int64_t N);

    /* ---- a cache of keys and values: generation, token by token ---- */
    /* dst[rows[i]] = src[i], act, N values a row, strides ldd and lds (rows distinct) */
    void (*store_rows)(struct lm_dev *d, void *dst, int64_t ldd, const void *src, int64_t lds,
                       const int32_t *rows, int64_t n, int64_t N);
    /* Attention of single rows: row i of q [T, H*K] sees the rows first[i] to last[i] >=
     * first[i] of k and v [.., G*K] (stride ldc, both). o [T, H*K] written. */
    void (*attention_cached)(struct lm_dev *d, void *o, int64_t ldo, const void *q, int64_t ldq,
                             const void *k, const void *v, int64_t ldc, const int32_t *first,
                             const int32_t *last, int64_t T, int64_t H, int64_t G, int64_t K,
                             float scale);
    /* best[n] written: the place of a row's greatest logit [n, V], the first of equal ones; -1
     * where the row has a NaN. */
    void (*argmax)(struct lm_dev *d, int32_t *best, const float *logits, int64_t n, int64_t V);

    /* ---- SwiGLU: h = silu(gate) * up; gate_up [T, 2F] holds gate then up in each row ---- */
    void (*swiglu_fwd)(struct lm_dev *d, void *h, const void *gate_up, int64_t T, int64_t F);
    /* dgate_up [T, 2F] written; may be the same buffer as gate_up. h, if not NULL, is written
     * again (recomputed for the weight gradient of down). */
    void (*swiglu_bwd)(struct lm_dev *d, void *dgate_up, void *h, const void *dh,
                       const void *gate_up, int64_t T, int64_t F);

    /* ---- rows ---- */
    /* dst[i] = src[rows[i]], float [n, D]; and dst[rows[i]] += src[i] (rows distinct) */
    void (*gather_rows)(struct lm_dev *d, float *dst, const float *src, const int32_t *rows,
                        int64_t n, int64_t D);
    void (*scatter_rows)(struct lm_dev *d, float *dst, const float *src, const int32_t *rows,
                         int64_t n, int64_t D);
    /* out [n_seqs, D] written: mean over each sequence's rows of act x */
    void (*segment_mean)(struct lm_dev *d, float *out, const void *x, const int32_t *offsets,
                         int64_t n_seqs, int64_t D);

    /* ---- loss: softmax cross-entropy over rows ---- */
    /* loss[n] written: lse - logit[target]. dlogits [n, V] act written unless NULL: scale *
     * (softmax - onehot); may be the same buffer as logits when act is float. Columns
     * V_real <= v < V (padding of the vocabulary) take part as the model has them. */
    void (*xent)(struct lm_dev *d, float *loss, void *dlogits, const float *logits,
                 const int32_t *targets, int64_t n, int64_t V, float scale);

    /* ---- optimiser (float) ---- */
    /* p -= lr * (mhat / (sqrt(vhat) + eps) + weight_decay * p): decoupled, as torch's AdamW */
    void (*adamw)(struct lm_dev *d, float *p, float *m, float *v, const float *g, int64_t n,
                  const struct lm_adamw *h);
    /* Sum of squares, in double, the same for any thread count. */
    double (*sumsq)(struct lm_dev *d, const float *x, int64_t n);
};

struct lm_dev {
    const struct lm_ops *ops;
    enum lm_dtype act;
    void *priv;
    /* While it is set, linear_fwd, linear_fwd_f32 and gemm with is_tb alone give each row of
     * their result the same bytes whatever the other rows are and how many: what is generated
     * does not depend on what is generated beside it. ref is always so, the CPU in fp32 when
     * asked, at a lower speed (cpu/matmul_rows.c); bf16 and GPUs take no notice. */
    bool is_rowwise;
    /* Zero: as suits a CPU. */
    int64_t chunk_bytes;     /* of logits worked on at once */
    int64_t workspace_bytes; /* taken when the device was opened */
    const char *model;       /* "NVIDIA-H100-80GB-HBM3-sm90"; owned by priv */
};

/* What a plugin and the programs must have in common beside the version: raise the first number
 * when an op or a structure above changes its meaning. */
#define LM_ABI ((int64_t)3 << 32 | sizeof(struct lm_ops) << 16 | sizeof(struct lm_dev))

/* A device with memory of its own. */
static inline bool lm_dev_is_gpu(const struct lm_dev *d)
{
    return d->ops->memory_info != NULL;
}

static inline size_t lm_act_size(const struct lm_dev *d)
{
    return d->act == LM_BF16 ? 2 : 4;
}

/* Devices. NULL on error; lm_dev_close is NULL-safe. "ref" is for tests. */
struct lm_dev *lm_dev_open_ref(void);
struct lm_dev *lm_dev_open_cpu(enum lm_dtype act, struct err *e) RAISE_MUST_CHECK;
/* GPU number `index` through the plugin raise-cuda.so (bf16 activations); see cuda_dispatch.c.
 */
struct lm_dev *lm_dev_open_cuda(int index, struct err *e) RAISE_MUST_CHECK;
void lm_dev_close(struct lm_dev *d);
/* Whether `auto` precision takes bf16 on this CPU: it has AMX, or is an AMD with AVX512-BF16.
 * The same answer on every call. */
bool lm_cpu_prefers_bf16(void);

#endif
