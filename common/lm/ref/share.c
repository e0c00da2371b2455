/* SPDX-License-Identifier: MIT
 * Rows of a prefix that sequences share: copied out, and summed up again: the definition. */
#include "lm/ref/ref.h"

void ref_sum_rows(struct lm_dev *d, void *dst, int64_t ldd, const void *src, int64_t lds,
                  const int32_t *starts, const int32_t *rows, int64_t n, int64_t N)
{
    (void)d;
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = 0; c < N; c++) {
            int64_t from = starts ? starts[i] : i, to = starts ? starts[i + 1] : i + 1;
            double sum = 0;
            for (int64_t k = from; k < to; k++)
                sum += (double)((const float *)src)[rows[k] * lds + c];
            ((float *)dst)[i * ldd + c] = (float)sum;
        }
}
