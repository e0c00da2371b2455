/* SPDX-License-Identifier: MIT
 * A cache of keys and values: rows stored, and attention of single rows over it.
 *
 * A task is one row and one key head, with all the query heads that share it: their keys and
 * values then come from the cache once. A row's scores are sums over the width of a head, in
 * vectors; its output a sum over keys in their order. So a row's bytes depend on the row and
 * its keys alone, not on where they lie or what else is computed. */
#include "lm/cpu/simd.h"

#include <omp.h>

void CPU_OP(store_rows)(struct lm_dev *d, void *dst, int64_t ldd, const void *src, int64_t lds,
                        const int32_t *rows, int64_t n, int64_t N)
{
    (void)d;
#pragma omp parallel for schedule(static) if (n * N > CPU_SERIAL)
    for (int64_t i = 0; i < n; i++)
        memcpy((act *)dst + rows[i] * ldd, (const act *)src + i * lds, (size_t)N * sizeof(act));
}

static inline float dot(const act *a, const act *b, int64_t K)
{
    vf sum = {0};
    VF_EACH(c, m, K, { sum = vf_fma(act_load_m(a + c, m), act_load_m(b + c, m), sum); });
    return vf_sum(sum);
}

/* z [n] becomes softmax's numerators, from n to a whole vector zeros. Returns 1 / their sum. */
static float softmax(float *z, int64_t n, float scale)
{
    vf largest = vf_all(-INFINITY), sum = {0};
    VF_EACH(j, m, n, { largest = vf_max(vf_load_m(z + j, m, -INFINITY), largest); });
    vf max = vf_all(vf_largest(largest) * scale);
    VF_EACH(j, m, n, {
        vf e = vf_exp(vf_fma(vf_load_m(z + j, m, -INFINITY), vf_all(scale), -max));
        vf_store(z + j, e);
        sum += e;
    });
    return 1 / vf_sum(sum);
}

/* o [nv vectors, the last of m values] = factor * sum_j p_j v_j; nv is a constant. */
enum { COLUMNS = 4 };
static inline __attribute__((always_inline)) void weigh_columns(act *o, const float *p,
                                                                const act *v, int64_t ldc,
                                                                int64_t n, float factor,
                                                                const int nv, int m)
{
    vf sum[COLUMNS] = {{0}};
    for (int64_t j = 0; j < n; j++) {
        vf x = vf_all(p[j]);
#pragma GCC unroll 4
        for (int c = 0; c < nv; c++)
            sum[c] = vf_fma(x, act_load_m(v + j * ldc + c * VL, c + 1 < nv ? VL : m), sum[c]);
    }
    for (int c = 0; c < nv; c++)
        act_store_m(o + c * VL, sum[c] * vf_all(factor), c + 1 < nv ? VL : m);
}

static void weigh(act *o, const float *p, const act *v, int64_t ldc, int64_t n, int64_t K,
                  float factor)
{
    int64_t c = 0;
    for (; c + COLUMNS * VL <= K; c += COLUMNS * VL)
        weigh_columns(o + c, p, v + c, ldc, n, factor, COLUMNS, VL);
    for (; c + VL <= K; c += VL)
        weigh_columns(o + c, p, v + c, ldc, n, factor, 1, VL);
    if (c < K)
        weigh_columns(o + c, p, v + c, ldc, n, factor, 1, (int)(K - c));
}

/* The heads of one row that share a key head: q, o [n_heads, K]; z [n_heads, n_pad] scratch. */
static void group(act *o, const act *q, const act *k, const act *v, int64_t ldc, int64_t n,
                  int64_t n_heads, int64_t K, float scale, float *z, int64_t n_pad)
{
    for (int64_t j = 0; j < n; j++)
        for (int64_t h = 0; h < n_heads; h++)
            z[h * n_pad + j] = dot(q + h * K, k + j * ldc, K);
    for (int64_t h = 0; h < n_heads; h++) {
        float factor = softmax(z + h * n_pad, n, scale);
        weigh(o + h * K, z + h * n_pad, v, ldc, n, K, factor);
    }
}

void CPU_OP(attention_cached)(struct lm_dev *d, void *o, int64_t ldo, const void *q,
                              int64_t ldq, const void *k, const void *v, int64_t ldc,
                              const int32_t *first, const int32_t *last, int64_t T, int64_t H,
                              int64_t G, int64_t K, float scale)
{
    int64_t longest = 0, n_heads = H / G;
    for (int64_t i = 0; i < T; i++)
        longest = last[i] - first[i] + 1 > longest ? last[i] - first[i] + 1 : longest;
    int64_t n_pad = (longest + VL - 1) / VL * VL, each = n_heads * n_pad;
    float *scratch = CPU_SYM(cpu_scratch)(d, (size_t)(each * omp_get_max_threads()));
#pragma omp parallel for schedule(dynamic) if (T * G > 1)
    for (int64_t t = 0; t < T * G; t++) {
        int64_t i = t / G, g = t % G, at = first[i] * ldc + g * K, col = g * n_heads * K;
        group((act *)o + i * ldo + col, (const act *)q + i * ldq + col, (const act *)k + at,
              (const act *)v + at, ldc, last[i] - first[i] + 1, n_heads, K, scale,
              scratch + each * omp_get_thread_num(), n_pad);
    }
}
