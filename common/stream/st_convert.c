/* SPDX-License-Identifier: MIT
 * st_convert: floats of any width to float; see st.h. `src` may be unaligned (files of other
 * programs), so values are copied out. */
#include "stream/st_priv.h"

#include <string.h>

/* IEEE half: sign 1, exponent 5, fraction 10. Exact; NaN keeps its payload. */
static float f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, fraction = h & 1023;
    uint32_t bits;
    float f;
    if (exponent == 31) {
        bits = sign | 0x7F800000u | fraction << 13;
    } else if (exponent) {
        bits = sign | (exponent + 112) << 23 | fraction << 13;
    } else { /* subnormal: fraction * 2^-24 */
        f = (float)fraction * 0x1p-24f;
        return sign ? -f : f;
    }
    memcpy(&f, &bits, 4);
    return f;
}

int st_to_f32(float *dst, const void *src, enum st_dtype t, size_t n, struct err *e)
{
    const char *p = src;
    if (t == ST_F32) {
        if (n)
            memcpy(dst, src, 4 * n);
    } else if (t == ST_F64) {
        for (size_t i = 0; i < n; i++) {
            double d;
            memcpy(&d, p + 8 * i, 8);
            dst[i] = (float)d;
        }
    } else if (t == ST_BF16) {
        for (size_t i = 0; i < n; i++) {
            uint16_t h;
            memcpy(&h, p + 2 * i, 2);
            uint32_t bits = (uint32_t)h << 16;
            memcpy(&dst[i], &bits, 4);
        }
    } else if (t == ST_F16) {
        for (size_t i = 0; i < n; i++) {
            uint16_t h;
            memcpy(&h, p + 2 * i, 2);
            dst[i] = f16_to_f32(h);
        }
    } else {
        return err_set(e, ERR_UNSUPPORTED, "%s values are no floats", st_dtype_name(t));
    }
    return 0;
}
