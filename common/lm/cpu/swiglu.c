/* SPDX-License-Identifier: MIT
 * SwiGLU: silu(z) = z s(z), silu'(z) = s(z) (1 + z (1 - s(z))), s the logistic function. */
#include "lm/cpu/cpu.h"

static inline float logistic(float z)
{
    return 1 / (1 + cpu_exp(-z));
}

void CPU_OP(swiglu_fwd)(struct lm_dev *d, void *h_act, const void *gate_up, int64_t T,
                        int64_t F)
{
    (void)d;
#pragma omp parallel for schedule(static) if (T * F > CPU_SERIAL)
    for (int64_t t = 0; t < T; t++) {
        const act *gate = (const act *)gate_up + t * 2 * F, *up = gate + F;
        act *h = (act *)h_act + t * F;
#pragma omp simd
        for (int64_t i = 0; i < F; i++) {
            float z = act_get(gate[i]);
            h[i] = act_put(z * logistic(z) * act_get(up[i]));
        }
    }
}

static void bwd_row(act *dgate, act *dup, const act *dh, const act *gate, const act *up,
                    int64_t F)
{
#pragma omp simd
    for (int64_t i = 0; i < F; i++) {
        float z = act_get(gate[i]), u = act_get(up[i]), g = act_get(dh[i]), s = logistic(z);
        dgate[i] = act_put(g * u * s * (1 + z * (1 - s)));
        dup[i] = act_put(g * z * s);
    }
}

static void bwd_row_and_h(act *dgate, act *dup, act *h, const act *dh, const act *gate,
                          const act *up, int64_t F)
{
#pragma omp simd
    for (int64_t i = 0; i < F; i++) {
        float z = act_get(gate[i]), u = act_get(up[i]), g = act_get(dh[i]), s = logistic(z);
        dgate[i] = act_put(g * u * s * (1 + z * (1 - s)));
        dup[i] = act_put(g * z * s);
        h[i] = act_put(z * s * u);
    }
}

void CPU_OP(swiglu_bwd)(struct lm_dev *d, void *dgate_up, void *h_act, const void *dh_act,
                        const void *gate_up, int64_t T, int64_t F)
{
    (void)d;
#pragma omp parallel for schedule(static) if (T * F > CPU_SERIAL)
    for (int64_t t = 0; t < T; t++) {
        const act *gate = (const act *)gate_up + t * 2 * F, *dh = (const act *)dh_act + t * F;
        act *dgate = (act *)dgate_up + t * 2 * F;
        if (h_act)
            bwd_row_and_h(dgate, dgate + F, (act *)h_act + t * F, dh, gate, gate + F, F);
        else
            bwd_row(dgate, dgate + F, dh, gate, gate + F, F);
    }
}
