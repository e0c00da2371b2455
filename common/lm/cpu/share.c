/* SPDX-License-Identifier: MIT
 * Rows of a prefix that sequences share: copied out, and summed up again, in their order. */
#include "lm/cpu/simd.h"

static void sum_row(act *dst, const act *src, int64_t lds, const int32_t *rows, int64_t n,
                    int64_t N)
{
    VF_EACH(c, m, N, {
        vf sum = {0};
        for (int64_t k = 0; k < n; k++)
            sum += act_load_m(src + rows[k] * lds + c, m);
        act_store_m(dst + c, sum, m);
    });
}

void CPU_OP(sum_rows)(struct lm_dev *d, void *dst, int64_t ldd, const void *src, int64_t lds,
                      const int32_t *starts, const int32_t *rows, int64_t n, int64_t N)
{
    (void)d;
#pragma omp parallel for schedule(static) if (n * N > CPU_SERIAL)
    for (int64_t i = 0; i < n; i++) {
        int64_t from = starts ? starts[i] : i, to = starts ? starts[i + 1] : i + 1;
        act *out = (act *)dst + i * ldd;
        if (to - from == 1)
            memcpy(out, (const act *)src + rows[from] * lds, (size_t)N * sizeof(act));
        else
            sum_row(out, src, lds, rows + from, to - from, N);
    }
}
