/* SPDX-License-Identifier: MIT
 * The reference's gradients against central differences.
 *
 * For a function f with inputs x and outputs y, and random u: d(u.y)/dx_i as backward gives it
 * for dy = u, against differences g(h) = u.y(x + h e_i) - u.y(x - h e_i), summed in double, of
 * fourth order: (8 g(h) - g(2h)) / 12h. Activations are float, so y has an error of 6e-8: with
 * h = 0.05 and sums of 60 terms the quotient's rounding error is near 3e-5, and its h^4 term,
 * for functions this smooth, less. Every backward of the table is here, and what is linear and
 * its own gradient's forward (products, biases, embedding, rows, rotation) with it. */
#include "base/mem.h"
#include "base/rng.h"
#include "lm/backend.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 512 };
static const double step = 0.05, tolerance = 2e-4;

/* An op seen as y = f(x), with its parameters inside. */
struct problem {
    struct lm_dev *dev;
    int64_t n_x, n_y;
    float x[MOST], u[MOST], dx[MOST]; /* dx: backward's answer for dy = u */
    float w[MOST];                    /* whatever else f needs */
    void (*f)(struct problem *p, const float *x, float *y);
};

static void fill(float *p, int64_t n, uint64_t stream)
{
    struct rng r;
    rng_init(&r, 11, stream);
    for (int64_t i = 0; i < n; i++)
        p[i] = (float)rng_normal(&r);
}

static void setup(struct problem *p, int64_t n_x, int64_t n_y)
{
    memset(p, 0, sizeof *p);
    p->dev = lm_dev_open_ref();
    p->n_x = n_x;
    p->n_y = n_y;
    fill(p->x, n_x, 1);
    fill(p->u, n_y, 2);
    fill(p->w, MOST, 3);
}

static double value(struct problem *p, int64_t i, double h)
{
    float x[MOST], y[MOST];
    double sum = 0;
    memcpy(x, p->x, sizeof x);
    x[i] = (float)((double)x[i] + h);
    p->f(p, x, y);
    for (int64_t k = 0; k < p->n_y; k++)
        sum += (double)p->u[k] * (double)y[k];
    return sum;
}

static void check(struct problem *p)
{
    for (int64_t i = 0; i < p->n_x; i++) {
        double near = value(p, i, step) - value(p, i, -step);
        double far = value(p, i, 2 * step) - value(p, i, -2 * step);
        double want = (8 * near - far) / (12 * step);
        if (!(fabs((double)p->dx[i] - want) <= tolerance * (1 + fabs(want))))
            fail_msg("dx[%lld] is %g, differences give %g", (long long)i, (double)p->dx[i],
                     want);
    }
    lm_dev_close(p->dev);
}

/* ---- norms ---- */

enum { NORM_T = 3, NORM_D = 7 };

static void rmsnorm(struct problem *p, const float *x, float *y)
{
    float in[NORM_T * NORM_D], rstd[NORM_T]; /* x, then w behind it */
    memcpy(in, x, sizeof in);
    p->dev->ops->rmsnorm_fwd(p->dev, y, rstd, in, in, NULL, x + NORM_T * NORM_D, NORM_T, NORM_D,
                             1e-5f);
}

static void rmsnorm_gradient(void **state)
{
    (void)state;
    struct problem p;
    float rstd[NORM_T], y[MOST];
    setup(&p, NORM_T * NORM_D + NORM_D, NORM_T * NORM_D);
    p.f = rmsnorm;
    float *w = p.x + NORM_T * NORM_D;
    p.dev->ops->rmsnorm_fwd(p.dev, y, rstd, p.x, p.x, NULL, w, NORM_T, NORM_D, 1e-5f);
    p.dev->ops->rmsnorm_bwd(p.dev, p.dx, NULL, p.dx + NORM_T * NORM_D, NULL, p.u, p.x, w, rstd,
                            NORM_T, NORM_D);
    check(&p);
}

/* With the residual: y = norm(x + delta), and x + delta goes on; a gradient comes back on both.
 */
static void residual_norm(struct problem *p, const float *x, float *y)
{
    enum { N = NORM_T * NORM_D };
    float rstd[NORM_T];
    p->dev->ops->rmsnorm_fwd(p->dev, y, rstd, y + N, x, x + N, p->w, NORM_T, NORM_D, 1e-5f);
}

static void residual_norm_gradient(void **state)
{
    (void)state;
    enum { N = NORM_T * NORM_D };
    struct problem p;
    float rstd[NORM_T], y[N], sum[N], copy[N];
    setup(&p, 2 * N, 2 * N);
    p.f = residual_norm;
    p.dev->ops->rmsnorm_fwd(p.dev, y, rstd, sum, p.x, p.x + N, p.w, NORM_T, NORM_D, 1e-5f);
    memcpy(p.dx, p.u + N, sizeof sum); /* dx accumulates */
    p.dev->ops->rmsnorm_bwd(p.dev, p.dx, copy, NULL, NULL, p.u, sum, p.w, rstd, NORM_T, NORM_D);
    assert_memory_equal(copy, p.dx, sizeof copy);
    memcpy(p.dx + N, p.dx, sizeof sum); /* x and delta have the same gradient */
    check(&p);
}

static void headnorm(struct problem *p, const float *x, float *y)
{
    float rstd[NORM_T * 2];
    memcpy(y, x, NORM_T * 2 * NORM_D * sizeof *y);
    p->dev->ops->headnorm_fwd(p->dev, y, 2 * NORM_D, rstd, x + NORM_T * 2 * NORM_D, NORM_T, 2,
                              NORM_D, 1e-6f);
}

static void headnorm_gradient(void **state)
{
    (void)state;
    enum { N = NORM_T * 2 * NORM_D };
    struct problem p;
    float rstd[NORM_T * 2], y[MOST];
    setup(&p, N + NORM_D, N);
    p.f = headnorm;
    memcpy(y, p.x, N * sizeof *y);
    p.dev->ops->headnorm_fwd(p.dev, y, 2 * NORM_D, rstd, p.x + N, NORM_T, 2, NORM_D, 1e-6f);
    memcpy(p.dx, p.u, N * sizeof *y);
    p.dev->ops->headnorm_bwd(p.dev, p.dx, 2 * NORM_D, p.dx + N, p.x, 2 * NORM_D, p.x + N, rstd,
                             NORM_T, 2, NORM_D);
    check(&p);
}

/* ---- rotary positions ---- */

static const int32_t positions[] = {2, 0, 1};

static void rope(struct problem *p, const float *x, float *y)
{
    float table[3 * 4];
    for (int i = 0; i < 3 * 4; i++) /* cosines and sines of angles i / 2 */
        table[i] = (float)(i % 4 < 2 ? cos(0.5 * i) : sin(0.5 * (i - 2)));
    memcpy(y, x, 3 * 8 * sizeof *y);
    p->dev->ops->rope(p->dev, y, 8, positions, table, 3, 2, 4, p->w[0] < 0);
}

static void rope_gradient(void **state)
{
    (void)state;
    struct problem p;
    setup(&p, 24, 24);
    p.f = rope;
    p.w[0] = -1; /* inverse */
    rope(&p, p.u, p.dx);
    p.w[0] = 1;
    check(&p);
}

/* ---- attention ---- */

enum { T = 5, H = 4, G = 2, K = 3, QKV = (H + 2 * G) * K, OUT = H * K };
static const int32_t offsets[] = {0, 2, 2, 5};

static void attend(struct problem *p, const float *x, float *y, float *lse)
{
    p->dev->ops->attention_fwd(p->dev, y, OUT, lse, x, QKV, x + H * K, QKV, x + (H + G) * K,
                               QKV, offsets, 3, T, H, G, K, 0.6f);
}

static void attention(struct problem *p, const float *x, float *y)
{
    float lse[H * T];
    attend(p, x, y, lse);
}

static void attention_gradient(void **state)
{
    (void)state;
    struct problem p;
    float lse[H * T], delta[H * T], o[T * OUT];
    setup(&p, T * QKV, T * OUT);
    p.f = attention;
    attend(&p, p.x, o, lse);
    p.dev->ops->attention_bwd(p.dev, p.dx, p.dx + H * K, p.dx + (H + G) * K, delta, p.u, o, OUT,
                              lse, p.x, QKV, p.x + H * K, QKV, p.x + (H + G) * K, QKV, offsets,
                              3, T, H, G, K, 0.6f);
    check(&p);
}

/* What attention is, on a case to be done by hand: one key weighs e^(ln 3) = 3 times the other.
 */
static void attention_weighs_by_the_exponential(void **state)
{
    (void)state;
    struct lm_dev *d = lm_dev_open_ref();
    const int32_t ends[] = {0, 2};
    const float q[] = {1, 2}, k[] = {1, 1 + (float)(log(3) / 2 / 0.5)}, v[] = {8, 16};
    float o[2], lse[2];
    d->ops->attention_fwd(d, o, 1, lse, q, 1, k, 1, v, 1, ends, 1, 2, 1, 1, 1, 0.5f);
    assert_true(fabs((double)o[0] - 8) < 1e-6 && fabs((double)o[1] - 14) < 1e-5);
    assert_true(fabs((double)lse[1] - log(exp(1.0) + 3 * exp(1.0))) < 1e-6);
    lm_dev_close(d);
}

/* ---- activation and loss ---- */

enum { ROWS = 3, F = 5, V = 6 };

static void swiglu(struct problem *p, const float *x, float *y)
{
    p->dev->ops->swiglu_fwd(p->dev, y, x, ROWS, F);
}

static void swiglu_gradient(void **state)
{
    (void)state;
    struct problem p;
    float h[ROWS * F], again[ROWS * F];
    setup(&p, ROWS * 2 * F, ROWS * F);
    p.f = swiglu;
    swiglu(&p, p.x, h);
    p.dev->ops->swiglu_bwd(p.dev, p.dx, again, p.u, p.x, ROWS, F);
    assert_memory_equal(h, again, sizeof h);
    check(&p);
}

static const int32_t targets[] = {5, 0, 2};

static void xent(struct problem *p, const float *x, float *y)
{
    p->dev->ops->xent(p->dev, y, NULL, x, targets, ROWS, V, 1);
}

static void xent_gradient(void **state)
{
    (void)state;
    struct problem p;
    float loss[ROWS];
    setup(&p, ROWS * V, ROWS);
    p.f = xent;
    for (int i = 0; i < ROWS; i++)
        p.u[i] = 0.5f;
    p.dev->ops->xent(p.dev, loss, p.dx, p.x, targets, ROWS, V, 0.5f);
    check(&p);
}

/* ---- linear maps: products, biases, rows ---- */

static void linear(struct problem *p, const float *x, float *y)
{
    struct lm_matrix *m = p->dev->ops->matrix_new(p->dev, x + 4 * 5, 3, 5, NULL);
    p->dev->ops->linear_fwd(p->dev, y, 3, x, 5, m, 4, false);
    p->dev->ops->bias_fwd(p->dev, y, 3, x + 4 * 5 + 3 * 5, 4, 3);
    p->dev->ops->matrix_free(p->dev, m);
}

static void linear_gradient(void **state)
{
    (void)state;
    struct problem p;
    setup(&p, 4 * 5 + 3 * 5 + 3, 4 * 3); /* x, w, bias */
    p.f = linear;
    struct lm_matrix *m = p.dev->ops->matrix_new(p.dev, p.x + 4 * 5, 3, 5, NULL);
    p.dev->ops->linear_bwd(p.dev, p.dx, 5, p.u, 3, m, 4, false);
    p.dev->ops->weight_grad(p.dev, p.dx + 4 * 5, p.u, 3, p.x, 5, 4, 3, 5);
    p.dev->ops->bias_bwd(p.dev, p.dx + 4 * 5 + 3 * 5, p.u, 3, 4, 3);
    p.dev->ops->matrix_free(p.dev, m);
    check(&p);
}

static const int32_t ids[] = {2, 0, 2, 1}, order[] = {1, 3, 0, 2};

static void embed(struct problem *p, const float *x, float *y)
{
    p->dev->ops->embed_fwd(p->dev, y, x, false, ids, 4, 5);
}

/* LoRA's form: y = alpha x a^T b^T, onto what is there. */
enum { LT = 4, LI = 5, LR = 2, LO = 3 };
static void lora(struct problem *p, const float *x, float *y)
{
    const struct lm_ops *f = p->dev->ops;
    const float *a = x + LT * LI, *b = a + LR * LI, *base = b + LO * LR;
    float xa[LT * LR];
    memcpy(y, base, LT * LO * sizeof *y);
    f->gemm(p->dev, false, true, LT, LR, LI, 1.5f, x, LI, a, LI, 0, xa, LR);
    f->gemm(p->dev, false, true, LT, LO, LR, 1, xa, LR, b, LR, 1, y, LO);
}

static void lora_gradient(void **state)
{
    (void)state;
    struct problem p;
    float xa[LT * LR], dxa[LT * LR];
    setup(&p, LT * LI + LR * LI + LO * LR + LT * LO, LT * LO);
    p.f = lora;
    const struct lm_ops *f = p.dev->ops;
    const float *a = p.x + LT * LI, *b = a + LR * LI;
    float *da = p.dx + LT * LI, *db = da + LR * LI;
    f->gemm(p.dev, false, true, LT, LR, LI, 1.5f, p.x, LI, a, LI, 0, xa, LR);
    f->weight_grad(p.dev, db, p.u, LO, xa, LR, LT, LO, LR);
    f->gemm(p.dev, false, false, LT, LR, LO, 1.5f, p.u, LO, b, LR, 0, dxa, LR);
    f->weight_grad(p.dev, da, dxa, LR, p.x, LI, LT, LR, LI);
    f->gemm(p.dev, false, false, LT, LI, LR, 1, dxa, LR, a, LI, 0, p.dx, LI);
    memcpy(db + LO * LR, p.u, LT * LO * sizeof *db);
    check(&p);
}

/* Two products into one y, and their gradients into one dx, as q, k and v share their input. */
static void sum_of_products(struct problem *p, const float *x, float *y)
{
    const struct lm_ops *f = p->dev->ops;
    for (int i = 0; i < 2; i++) {
        struct lm_matrix *m = f->matrix_new(p->dev, p->w + i * LO * LI, LO, LI, NULL);
        f->linear_fwd(p->dev, y, LO, x, LI, m, LT, i > 0);
        f->matrix_free(p->dev, m);
    }
}

static void sum_of_products_gradient(void **state)
{
    (void)state;
    struct problem p;
    setup(&p, LT * LI, LT * LO);
    p.f = sum_of_products;
    for (int i = 0; i < 2; i++) {
        struct lm_matrix *m = p.dev->ops->matrix_new(p.dev, p.w + i * LO * LI, LO, LI, NULL);
        p.dev->ops->linear_bwd(p.dev, p.dx, LI, p.u, LO, m, LT, i > 0);
        p.dev->ops->matrix_free(p.dev, m);
    }
    check(&p);
}

static const int32_t rows[] = {3, 0};

static void gather(struct problem *p, const float *x, float *y)
{
    p->dev->ops->gather_rows(p->dev, y, x, rows, 2, 5);
}

static void gather_gradient(void **state)
{
    (void)state;
    struct problem p;
    setup(&p, 4 * 5, 2 * 5);
    p.f = gather;
    p.dev->ops->scatter_rows(p.dev, p.dx, p.u, rows, 2, 5);
    check(&p);
}

static void embed_gradient(void **state)
{
    (void)state;
    struct problem p;
    setup(&p, 3 * 5, 4 * 5);
    p.f = embed;
    p.dev->ops->embed_bwd(p.dev, p.dx, p.u, ids, order, 4, 5, 3);
    check(&p);
}

/* ---- the optimiser: torch.optim.AdamW's numbers ---- */

static void adamw_is_torchs(void **state)
{
    (void)state;
    /* torch.optim.AdamW(lr=0.1, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01) from p = 1
     * with gradients 0.5 and then -0.25 */
    struct lm_dev *d = lm_dev_open_ref();
    struct lm_adamw h = {0.1, 0.9, 0.999, 1e-8, 0.01, 1, 0.5};
    float p = 1, m = 0, v = 0, g = 1;
    d->ops->adamw(d, &p, &m, &v, &g, 1, &h);
    assert_true(fabs((double)p - 0.899000002) < 1e-7);
    h.step = 2;
    g = -0.5f;
    d->ops->adamw(d, &p, &m, &v, &g, 1, &h);
    assert_true(fabs((double)p - 0.871467299) < 1e-7);
    lm_dev_close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rmsnorm_gradient),
        cmocka_unit_test(residual_norm_gradient),
        cmocka_unit_test(headnorm_gradient),
        cmocka_unit_test(rope_gradient),
        cmocka_unit_test(attention_gradient),
        cmocka_unit_test(attention_weighs_by_the_exponential),
        cmocka_unit_test(swiglu_gradient),
        cmocka_unit_test(xent_gradient),
        cmocka_unit_test(linear_gradient),
        cmocka_unit_test(lora_gradient),
        cmocka_unit_test(sum_of_products_gradient),
        cmocka_unit_test(embed_gradient),
        cmocka_unit_test(gather_gradient),
        cmocka_unit_test(adamw_is_torchs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
