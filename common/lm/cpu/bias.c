/* SPDX-License-Identifier: MIT
 * Biases. The gradient is split by columns, so that each sum has one order. */
#include "lm/cpu/cpu.h"

void CPU_OP(bias_fwd)(struct lm_dev *d, void *y_act, int64_t ldy, const float *bias, int64_t T,
                      int64_t N)
{
    (void)d;
#pragma omp parallel for schedule(static) if (T * N > CPU_SERIAL)
    for (int64_t t = 0; t < T; t++) {
        act *y = (act *)y_act + t * ldy;
#pragma omp simd
        for (int64_t i = 0; i < N; i++)
            y[i] = act_put(act_get(y[i]) + bias[i]);
    }
}

void CPU_OP(bias_bwd)(struct lm_dev *d, float *dbias, const void *dy_act, int64_t lddy,
                      int64_t T, int64_t N)
{
    (void)d;
    enum { COLUMNS = 64 };
#pragma omp parallel for schedule(static) if (T * N > CPU_SERIAL)
    for (int64_t first = 0; first < N; first += COLUMNS) {
        int64_t n = cpu_min(COLUMNS, N - first);
        float sum[COLUMNS] = {0};
        for (int64_t t = 0; t < T; t++) {
            const act *dy = (const act *)dy_act + t * lddy + first;
#pragma omp simd
            for (int64_t i = 0; i < n; i++)
                sum[i] += act_get(dy[i]);
        }
        for (int64_t i = 0; i < n; i++)
            dbias[first + i] += sum[i];
    }
}
