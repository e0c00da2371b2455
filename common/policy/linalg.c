/* SPDX-License-Identifier: MIT
 * linalg: small dense systems; see linalg.h. */
#include "policy/linalg.h"

#include <math.h>

int linalg_cholesky(double *A, int64_t n)
{
    for (int64_t j = 0; j < n; j++) {
        double d = A[j * n + j];
        for (int64_t k = 0; k < j; k++)
            d -= A[j * n + k] * A[j * n + k];
        if (!(d > 0) || !isfinite(d))
            return -1;
        d = sqrt(d);
        A[j * n + j] = d;
        for (int64_t i = j + 1; i < n; i++) {
            double s = A[i * n + j];
            for (int64_t k = 0; k < j; k++)
                s -= A[i * n + k] * A[j * n + k];
            A[i * n + j] = s / d;
        }
        for (int64_t i = 0; i < j; i++)
            A[i * n + j] = 0;
    }
    return 0;
}

void linalg_solve(const double *L, int64_t n, double *b)
{
    for (int64_t i = 0; i < n; i++) {
        for (int64_t k = 0; k < i; k++)
            b[i] -= L[i * n + k] * b[k];
        b[i] /= L[i * n + i];
    }
    for (int64_t i = n - 1; i >= 0; i--) {
        for (int64_t k = i + 1; k < n; k++)
            b[i] -= L[k * n + i] * b[k];
        b[i] /= L[i * n + i];
    }
}

double linalg_logdet(const double *L, int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++)
        s += 2 * log(L[i * n + i]);
    return s;
}
