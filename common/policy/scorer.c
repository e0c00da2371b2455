/* SPDX-License-Identifier: MIT
 * scorer: the acquisition function over blocks of rows; see scorer.h.
 *
 * tanh is 1 - 2/(e^2x + 1) with e^x by range reduction and a polynomial of degree 7 (absolute
 * error below 3e-7). The same code is compiled for each level of x86-64 and chosen at load
 * time; results differ between levels only by fused multiply-adds. */
#include "policy/scorer.h"

#include "base/clones.h"
#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("fp-contract=fast") /* ISO mode would keep products and sums apart */
#endif
#pragma GCC diagnostic ignored "-Wpsabi" /* vectors never cross a file */
#define INLINE static inline __attribute__((always_inline))

enum { R = SCORER_ROWS, LANES = 16 };
typedef float vec __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias));

INLINE vec load(const float *p)
{
    return *(const vec *)p;
}

INLINE void store(float *p, vec v)
{
    *(vec *)p = v;
}

INLINE vec all(float x)
{
    return x - (vec){0};
}

/* e^x = 2^n e^f, |f| <= ln 2 / 2; adding and subtracting 1.5 * 2^23 rounds x / ln 2 to a whole
 * number, whose value stands in the low bits of the sum. x between -87 and 88. */
INLINE vec exp_vec(vec x)
{
    const float magic = 12582912.0F;
    vec sum = x * 1.44269504F + magic, n = sum - magic;
    vec f = x - n * 0.693359375F - n * -2.12194440e-4F;
    vec e =
        1.0F +
        f * (1.0F + f * (0.5F + f * (0.166666667F +
                                     f * (0.0416666667F +
                                          f * (0.00833333333F +
                                               f * (0.00138888889F + f * 0.000198412698F))))));
    ivec bits = (ivec)e + (((ivec)sum - (ivec)all(magic)) << 23);
    return (vec)bits;
}

INLINE vec pick(ivec mask, vec yes, vec no)
{
    return (vec)((mask & (ivec)yes) | (~mask & (ivec)no));
}

INLINE vec tanh_vec(vec x)
{
    const vec limit = all(9.0F);
    x = pick(x > limit, limit, pick(x < -limit, -limit, x));
    return 1.0F - 2.0F / (exp_vec(2.0F * x) + 1.0F);
}

/* exp of x <= 0; below -87 zero. */
INLINE vec exp_down(vec x)
{
    const vec least = all(-87.0F);
    ivec is_in = x > least;
    return (vec)((ivec)exp_vec(pick(is_in, x, least)) & is_in);
}

void scorer_init(struct scorer *s, const struct state *state, const float *net,
                 int64_t n_hidden)
{
    int64_t n_in = state_n_inputs(state), first = state_has_stage(state) ? 2 : 0;
    *s = (struct scorer){.n_static = state->n_static, .n_hidden = n_hidden, .n_in = n_in};
    s->Ws = net + first;
    s->Wu = state_has_stage(state) ? net : NULL;
    s->Wc = state_has_count(state) ? net + first + state->n_static : NULL;
    s->b = net + n_hidden * n_in;
    s->o = s->b + n_hidden;
}

/* ---- static part ---- */

/* Four hidden units by two vectors of rows at a time stay in registers. */
CLONES void scorer_static(const struct scorer *s, const float *phi, float *pre)
{
    int64_t n = s->n_static, j = 0;
    for (; j + 4 <= s->n_hidden; j += 4)
        for (int64_t r = 0; r < R; r += 2 * LANES) {
            vec acc[4][2] = {{{0}}};
            const float *w = s->Ws + j * s->n_in;
            for (int64_t k = 0; k < n; k++) {
                vec x0 = load(phi + k * R + r), x1 = load(phi + k * R + r + LANES);
                for (int i = 0; i < 4; i++) {
                    acc[i][0] += w[i * s->n_in + k] * x0;
                    acc[i][1] += w[i * s->n_in + k] * x1;
                }
            }
            for (int i = 0; i < 4; i++) {
                store(pre + (j + i) * R + r, acc[i][0]);
                store(pre + (j + i) * R + r + LANES, acc[i][1]);
            }
        }
    for (; j < s->n_hidden; j++)
        for (int64_t r = 0; r < R; r += LANES) {
            vec acc = {0};
            for (int64_t k = 0; k < n; k++)
                acc += s->Ws[j * s->n_in + k] * load(phi + k * R + r);
            store(pre + j * R + r, acc);
        }
}

INLINE float sum_vec(vec v)
{
    float sum = 0;
    for (int i = 0; i < LANES; i++)
        sum += v[i];
    return sum;
}

CLONES void scorer_static_grad(const struct scorer *s, const float *phi, const float *dpre,
                               double *dW)
{
    for (int64_t j = 0; j < s->n_hidden; j++)
        for (int64_t k = 0; k < s->n_static; k++) {
            vec acc[2] = {{0}};
            for (int64_t r = 0; r < R; r += 2 * LANES) {
                acc[0] += load(dpre + j * R + r) * load(phi + k * R + r);
                acc[1] += load(dpre + j * R + r + LANES) * load(phi + k * R + r + LANES);
            }
            dW[j * s->n_in + k] += (double)sum_vec(acc[0] + acc[1]);
        }
}

/* ---- one step ---- */

void scorer_bias(const struct scorer *s, const float u[2], float *bias)
{
    for (int64_t j = 0; j < s->n_hidden; j++) {
        bias[j] = s->b[j];
        if (s->Wu)
            bias[j] += u[0] * s->Wu[j * s->n_in] + u[1] * s->Wu[j * s->n_in + 1];
    }
}

INLINE float count_weight(const struct scorer *s, int64_t j)
{
    return s->Wc ? s->Wc[j * s->n_in] : 0;
}

CLONES void scorer_score(const struct scorer *s, const float *pre, const float *bias,
                         const float *count, float *out)
{
    for (int64_t r = 0; r < R; r += 2 * LANES) {
        vec sum[2] = {{0}}, times[2] = {{0}};
        if (count) {
            times[0] = load(count + r);
            times[1] = load(count + r + LANES);
        }
        for (int64_t j = 0; j < s->n_hidden; j++) {
            const float *x = pre + j * R + r;
            float c = count_weight(s, j);
            sum[0] += s->o[j] * tanh_vec(load(x) + bias[j] + c * times[0]);
            sum[1] += s->o[j] * tanh_vec(load(x + LANES) + bias[j] + c * times[1]);
        }
        store(out + r, sum[0]);
        store(out + r + LANES, sum[1]);
    }
}

CLONES void scorer_grad(const struct scorer *s, const float *pre, const float *bias,
                        const float *count, const float *d, float *dpre,
                        struct scorer_sums *sums)
{
    for (int64_t j = 0; j < s->n_hidden; j++) {
        vec sum_da = {0}, sum_count = {0}, sum_hidden = {0}, times = {0};
        float c = count_weight(s, j);
        for (int64_t r = 0; r < R; r += LANES) {
            if (count)
                times = load(count + r);
            vec h = tanh_vec(load(pre + j * R + r) + bias[j] + c * times);
            vec g = load(d + r), da = g * s->o[j] * (1.0F - h * h);
            store(dpre + j * R + r, load(dpre + j * R + r) + da);
            sum_da += da;
            sum_count += times * da;
            sum_hidden += g * h;
        }
        sums[j].da += (double)sum_vec(sum_da);
        sums[j].count_da += (double)sum_vec(sum_count);
        sums[j].d_hidden += (double)sum_vec(sum_hidden);
    }
}

/* ---- all rows ---- */

/* Counts of n rows as floats; NULL when all are zero. */
static const float *count_block(const uint16_t *counts, int64_t n, float *out)
{
    bool has_any = false;
    memset(out, 0, R * sizeof *out);
    for (int64_t r = 0; r < n; r++) {
        out[r] = counts[r];
        has_any = has_any || counts[r];
    }
    return has_any ? out : NULL;
}

void scorer_all(const struct scorer *s, const struct state *state, const struct features *f,
                const float u[2], const uint16_t *counts, float *scores)
{
    float *bias = mem_alloc((size_t)s->n_hidden, sizeof *bias);
    scorer_bias(s, u, bias);
#pragma omp parallel
    {
        float *phi = mem_aligned((size_t)(R * s->n_static) * sizeof *phi);
        float *pre = mem_aligned((size_t)(R * s->n_hidden) * sizeof *pre);
        float count[R], out[R];
#pragma omp for schedule(static)
        for (int64_t at = 0; at < f->n; at += R) {
            int64_t n = f->n - at < R ? f->n - at : R;
            state_block(state, f, NULL, at, n, phi);
            scorer_static(s, phi, pre);
            scorer_score(s, pre, bias, count_block(counts + at, n, count), out);
            memcpy(scores + at, out, (size_t)n * sizeof *out);
        }
        free(phi);
        free(pre);
    }
    free(bias);
}

/* ---- softmax ---- */

CLONES void scorer_exp_sums(const float *z, struct scorer_exp *x)
{
    float max = -INFINITY;
    for (int r = 0; r < R; r++)
        max = z[r] > max ? z[r] : max;
    *x = (struct scorer_exp){.max = max};
    if (isinf(max))
        return;
    vec sum = {0}, sum_z = {0};
    for (int64_t r = 0; r < R; r += LANES) {
        vec at = load(z + r), e = exp_down(at - max);
        sum += e;
        sum_z += e * pick(at > all(-INFINITY), at, all(0.0F));
    }
    x->sum = (double)sum_vec(sum);
    x->sum_z = (double)sum_vec(sum_z);
}

CLONES void scorer_exp_grad(const float *z, float a, float c, float D, float D0, float H,
                            float *d)
{
    for (int64_t r = 0; r < R; r += LANES) {
        vec at = load(z + r);
        ivec is_row = at > all(-INFINITY);
        vec e = exp_down(at - D), y = pick(is_row, at, all(0.0F)) - D0 + H;
        store(d + r, (vec)((ivec)(e * (a + c * y)) & is_row));
    }
}
