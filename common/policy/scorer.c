/* SPDX-License-Identifier: MIT
 * scorer: the acquisition function over blocks of rows; see scorer.h.
 *
 * tanh is 1 - 2/(e^2x + 1) with e^x by range reduction and a polynomial of degree 7 (absolute
 * error below 3e-7). The same code is compiled for each level of x86-64 and chosen at load
 * time; results differ between levels only by fused multiply-adds. */
#include "policy/scorer.h"

#include <math.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#pragma GCC optimize("fp-contract=fast") /* ISO mode would keep products and sums apart */
#else
#define CLONES
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

void scorer_init(struct scorer *s, const struct policy *p)
{
    int64_t first = p->parts & PART_STAGE ? 2 : 0;
    const float *W = policy_W(p);
    *s = (struct scorer){.n_static = p->n_static, .n_hidden = p->n_hidden, .n_in = p->n_in};
    s->Ws = W + first;
    s->Wu = p->parts & PART_STAGE ? W : NULL;
    s->Wc = p->parts & PART_COUNT ? W + first + p->n_static : NULL;
    s->b = policy_b(p);
    s->o = policy_o(p);
}

/* ---- static part ---- */

CLONES static void phi_semantic(const float *const *x, int64_t n, int64_t dim,
                                const double *center, float scale, float *phi)
{
    for (int64_t r = 0; r < n; r++)
        for (int64_t k = 0; k < dim; k++)
            phi[k * R + r] = (x[r][k] - (float)center[k]) * scale;
}

static void phi_difficulty(const struct policy *p, const struct features *f, int64_t row,
                           float *phi)
{
    const double raw[N_DIFFICULTY] = {f->len_x[row], f->len_y[row],
                                      (double)f->logp_yx[row] / f->len_y[row],
                                      (double)f->logp_y[row] / f->len_y[row]};
    for (int64_t k = 0; k < N_DIFFICULTY; k++)
        phi[k * R] = (float)((raw[k] - p->norm_center[k]) / p->norm_scale[k]);
}

void scorer_phi(const struct policy *p, const struct features *f, const int32_t *rows,
                int64_t at, int64_t n, float *phi)
{
    const float *x[R];
    if (n < R)
        memset(phi, 0, (size_t)(p->n_static * R) * sizeof *phi);
    for (int64_t r = 0; r < n; r++)
        x[r] = f->embedding + (rows ? rows[r] : at + r) * f->dim;
    if (p->parts & PART_DIFFICULTY) {
        for (int64_t r = 0; r < n; r++)
            phi_difficulty(p, f, rows ? rows[r] : at + r, phi + r);
        phi += N_DIFFICULTY * R;
    }
    if (p->parts & PART_SEMANTIC)
        phi_semantic(x, n, p->dim, p->norm_center + N_DIFFICULTY,
                     (float)(1 / p->norm_scale[N_DIFFICULTY]), phi);
}

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
