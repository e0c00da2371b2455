/* SPDX-License-Identifier: MIT
 * normal: normal scores; see normal.h. */
#include "base/normal.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>

/* The z below which a standard normal number lies with probability p: Acklam's rational
 * approximation (relative error 1.2e-9) and a step of Halley's method on erfc. */
static double normal_quantile(double p)
{
    static const double a[] = {-3.969683028665376e+01, 2.209460984245205e+02,
                               -2.759285104469687e+02, 1.383577518672690e+02,
                               -3.066479806614716e+01, 2.506628277459239e+00};
    static const double b[] = {-5.447609879822406e+01, 1.615858368580409e+02,
                               -1.556989798598866e+02, 6.680131188771972e+01,
                               -1.328068155288572e+01, 1};
    static const double c[] = {-7.784894002430293e-03, -3.223964580411365e-01,
                               -2.400758277161838e+00, -2.549732539343734e+00,
                               4.374664141464968e+00,  2.938163982698783e+00};
    static const double d[] = {7.784695709041462e-03, 3.224671290700398e-01,
                               2.445134137142996e+00, 3.754408661907416e+00, 1};
    const double tail = 0.02425;
    double num = 0, den = 0, z;
    if (p < tail || p > 1 - tail) {
        double q = sqrt(-2 * log(p < tail ? p : 1 - p));
        for (int k = 0; k < 6; k++)
            num = num * q + c[k];
        for (int k = 0; k < 5; k++)
            den = den * q + d[k];
        z = p < tail ? num / den : -num / den;
    } else {
        double q = p - 0.5;
        for (int k = 0; k < 6; k++) {
            num = num * q * q + a[k];
            den = den * q * q + b[k];
        }
        z = num * q / den;
    }
    double error = 0.5 * erfc(-z / sqrt(2)) - p, u = error * sqrt(2 * M_PI) * exp(z * z / 2);
    return z - u / (1 + z * u / 2);
}

struct place {
    double x;
    int64_t row;
};

static int by_value(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    return (x->x > y->x) - (x->x < y->x);
}

void normal_scores(const double *x, int64_t n, float *z)
{
    struct place *at = mem_alloc((size_t)n, sizeof *at);
    for (int64_t i = 0; i < n; i++)
        at[i] = (struct place){x[i], i};
    qsort(at, (size_t)n, sizeof *at, by_value);
    for (int64_t from = 0, to; from < n; from = to) {
        for (to = from + 1; to < n && at[to].x == at[from].x;)
            to++;
        /* ranks from + 1 .. to; their mean less a half */
        double score = normal_quantile(0.5 * (double)(from + to) / (double)n);
        for (int64_t k = from; k < to; k++)
            z[at[k].row] = (float)score;
    }
    free(at);
}
