/* SPDX-License-Identifier: MIT
 * gguf_quant: ggml's block formats back to floats; see gguf_quant.h.
 *
 * Scales are IEEE halves. Each formula keeps the operations and their order that the `gguf`
 * Python package uses, in single precision without contraction, so that results are equal bit
 * for bit. Within a block of 32, the low nibbles hold values 0-15 and the high ones 16-31; the
 * K formats are eight such groups (Q6_K: sixteen of 16) with scales of their own. */
#include "stream/gguf_quant.h"

#include "base/clones.h"

#include <stddef.h>
#include <string.h>

enum { QK = 32, QK_K = 256, N_SCALE_BYTES = 12 };

static uint16_t load_u16(const uint8_t *x)
{
    return (uint16_t)(x[0] | x[1] << 8);
}

static float as_float(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static uint32_t as_bits(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

/* Without branches, so that loops over it become vectors; and without a subnormal operand, for
 * which processors take a hundred times as long. */
static inline float half(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, magnitude = (uint32_t)(h & 0x7fff) << 13;
    uint32_t normal = magnitude + (112u << 23); /* the exponent rebiased from 15 to 127 */
    /* Zero, subnormal: 2^-14 + fraction 2^-24 is exact, and so is the difference. */
    uint32_t tiny = as_bits(as_float(magnitude + (113u << 23)) - 0x1p-14f);
    /* Infinity, NaN: the exponent becomes all ones. */
    uint32_t other = 0x7f800000 | magnitude | (magnitude > 0x0f800000 ? 0x00400000 : 0);
    uint32_t finite = magnitude < 0x00800000 ? tiny : normal;
    return as_float(sign | (magnitude >= 0x0f800000 ? other : finite));
}

float gguf_half(uint16_t h)
{
    return half(h);
}

static float load_half(const uint8_t *x)
{
    return half(load_u16(x));
}

static void decode_f32(float *restrict y, const uint8_t *restrict x, int64_t n)
{
    memcpy(y, x, (size_t)n * sizeof *y);
}

CLONES static void decode_f16(float *restrict y, const uint8_t *restrict x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = load_half(x + 2 * i);
}

CLONES static void decode_bf16(float *restrict y, const uint8_t *restrict x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = as_float((uint32_t)load_u16(x + 2 * i) << 16);
}

/* d [2] | nibbles [16] */
CLONES static void decode_q4_0(float *restrict y, const uint8_t *restrict x, int64_t n)
{
    for (; n > 0; n--, x += 18, y += QK) {
        float d = load_half(x);
        for (int i = 0; i < QK / 2; i++)
            y[i] = d * (float)((x[2 + i] & 15) - 8);
        for (int i = 0; i < QK / 2; i++)
            y[i + QK / 2] = d * (float)((x[2 + i] >> 4) - 8);
    }
}

/* d [2] | minimum [2] | nibbles [16] */
CLONES static void decode_q4_1(float *restrict y, const uint8_t *restrict x, int64_t n)
{
    for (; n > 0; n--, x += 20, y += QK) {
        float d = load_half(x), m = load_half(x + 2);
        for (int i = 0; i < QK / 2; i++)
            y[i] = d * (float)(x[4 + i] & 15) + m;
        for (int i = 0; i < QK / 2; i++)
            y[i + QK / 2] = d * (float)(x[4 + i] >> 4) + m;
    }
}

/* The fifth bits of 32 values, one a bit. */
static uint32_t fifth_bits(const uint8_t *x)
{
    return (uint32_t)load_u16(x) | (uint32_t)load_u16(x + 2) << 16;
}

/* d [2] | fifth bits [4] | nibbles [16] */
CLONES static void decode_q5_0(float *restrict y, const uint8_t *restrict x, int64_t n)
{
    for (; n > 0; n--, x += 22, y += QK) {
        float d = load_half(x);
        uint32_t high = fifth_bits(x + 2);
        for (uint32_t i = 0; i < QK / 2; i++)
            y[i] = d * (float)((int)((x[6 + i] & 15u) | (high >> i & 1) << 4) - 16);
        for (uint32_t i = QK / 2; i < QK; i++)
            y[i] = d * (float)((int)(x[6 + i - QK / 2] >> 4 | (high >> i & 1) << 4) - 16);
    }
}

/* d [2] | minimum [2] | fifth bits [4] | nibbles [16] */
CLONES static void decode_q5_1(float *restrict y, const uint8_t *restrict x, int64_t n)
{
    for (; n > 0; n--, x += 24, y += QK) {
        float d = load_half(x), m = load_half(x + 2);
        uint32_t high = fifth_bits(x + 4);
        for (uint32_t i = 0; i < QK / 2; i++)
            y[i] = d * (float)(int)((x[8 + i] & 15u) | (high >> i & 1) << 4) + m;
        for (uint32_t i = QK / 2; i < QK; i++)
            y[i] = d * (float)(int)(x[8 + i - QK / 2] >> 4 | (high >> i & 1) << 4) + m;
    }
}

/* d [2] | signed bytes [32] */
CLONES static void decode_q8_0(float *restrict y, const uint8_t *restrict x, int64_t n)
{
    for (; n > 0; n--, x += 34, y += QK) {
        float d = load_half(x);
        for (int i = 0; i < QK; i++)
            y[i] = (float)(int8_t)x[2 + i] * d;
    }
}

/* Eight 6-bit scales and eight 6-bit minima in twelve bytes: bytes 0-3 and 4-7 hold the first
 * four of each and, in their top bits, the top bits of the last four; bytes 8-11 hold the low
 * nibbles of those, scale below minimum. */
static void unpack_scales(uint8_t *restrict scale, uint8_t *restrict min, const uint8_t *x)
{
    for (int i = 0; i < 4; i++) {
        scale[i] = x[i] & 63;
        min[i] = x[4 + i] & 63;
        scale[4 + i] = (uint8_t)((x[8 + i] & 15) | (x[i] >> 6) << 4);
        min[4 + i] = (uint8_t)(x[8 + i] >> 4 | (x[4 + i] >> 6) << 4);
    }
}

/* d [2] | dmin [2] | scales and minima [12] | nibbles [128] */
CLONES static void decode_q4_k(float *restrict y, const uint8_t *restrict x, int64_t n)
{
    uint8_t scale[8], min[8];
    for (; n > 0; n--, x += 144) {
        float d = load_half(x), dmin = load_half(x + 2);
        unpack_scales(scale, min, x + 4);
        const uint8_t *q = x + 4 + N_SCALE_BYTES;
        for (int g = 0; g < 8; g++, y += QK) {
            float dg = d * (float)scale[g], mg = dmin * (float)min[g];
            for (int i = 0; i < QK; i++)
                y[i] = dg * (float)(q[g / 2 * QK + i] >> (g % 2 * 4) & 15) - mg;
        }
    }
}

/* d [2] | dmin [2] | scales and minima [12] | fifth bits [32], group g in bit g | nibbles [128]
 */
CLONES static void decode_q5_k(float *restrict y, const uint8_t *restrict x, int64_t n)
{
    uint8_t scale[8], min[8];
    for (; n > 0; n--, x += 176) {
        float d = load_half(x), dmin = load_half(x + 2);
        unpack_scales(scale, min, x + 4);
        const uint8_t *high = x + 4 + N_SCALE_BYTES, *q = high + QK;
        for (int g = 0; g < 8; g++, y += QK) {
            float dg = d * (float)scale[g], mg = dmin * (float)min[g];
            for (int i = 0; i < QK; i++) {
                int v = (q[g / 2 * QK + i] >> (g % 2 * 4) & 15) | (high[i] >> g & 1) << 4;
                y[i] = dg * (float)v - mg;
            }
        }
    }
}

/* nibbles [128] | top two bits [64] | signed scales [16] | d [2]; two halves of four groups of
 * 32: groups 0, 1 in the low nibbles of 64 bytes, 2, 3 in the high ones. */
CLONES static void decode_q6_k(float *restrict y, const uint8_t *restrict x, int64_t n)
{
    for (; n > 0; n--, x += 210) {
        const uint8_t *scale = x + 192;
        float d = load_half(x + 208);
        for (int g = 0; g < 8; g++, y += QK) {
            const uint8_t *low = x + g / 4 * 64 + g % 2 * QK;
            const uint8_t *high = x + 128 + g / 4 * QK;
            int low_shift = g % 4 / 2 * 4, high_shift = g % 4 * 2;
            float d0 = d * (float)(int8_t)scale[2 * g],
                  d1 = d * (float)(int8_t)scale[2 * g + 1];
            for (int i = 0; i < QK; i++) {
                int v = (low[i] >> low_shift & 15) | (high[i] >> high_shift & 3) << 4;
                y[i] = (i < QK / 2 ? d0 : d1) * (float)(v - 32);
            }
        }
    }
}

/* By ggml's numbers. The types without `decode` are known, so that their tensors' sizes can be
 * checked and their names told. */
static const struct gguf_type types[] = {
    [0] = {"F32", 1, 4, decode_f32},
    [1] = {"F16", 1, 2, decode_f16},
    [2] = {"Q4_0", QK, 18, decode_q4_0},
    [3] = {"Q4_1", QK, 20, decode_q4_1},
    [6] = {"Q5_0", QK, 22, decode_q5_0},
    [7] = {"Q5_1", QK, 24, decode_q5_1},
    [8] = {"Q8_0", QK, 34, decode_q8_0},
    [9] = {"Q8_1", QK, 40, NULL},
    [10] = {"Q2_K", QK_K, 84, NULL},
    [11] = {"Q3_K", QK_K, 110, NULL},
    [12] = {"Q4_K", QK_K, 144, decode_q4_k},
    [13] = {"Q5_K", QK_K, 176, decode_q5_k},
    [14] = {"Q6_K", QK_K, 210, decode_q6_k},
    [15] = {"Q8_K", QK_K, 292, NULL},
    [16] = {"IQ2_XXS", QK_K, 66, NULL},
    [17] = {"IQ2_XS", QK_K, 74, NULL},
    [18] = {"IQ3_XXS", QK_K, 98, NULL},
    [19] = {"IQ1_S", QK_K, 50, NULL},
    [20] = {"IQ4_NL", QK, 18, NULL},
    [21] = {"IQ3_S", QK_K, 110, NULL},
    [22] = {"IQ2_S", QK_K, 82, NULL},
    [23] = {"IQ4_XS", QK_K, 136, NULL},
    [24] = {"I8", 1, 1, NULL},
    [25] = {"I16", 1, 2, NULL},
    [26] = {"I32", 1, 4, NULL},
    [27] = {"I64", 1, 8, NULL},
    [28] = {"F64", 1, 8, NULL},
    [29] = {"IQ1_M", QK_K, 56, NULL},
    [30] = {"BF16", 1, 2, decode_bf16},
    [34] = {"TQ1_0", QK_K, 54, NULL},
    [35] = {"TQ2_0", QK_K, 66, NULL},
    [39] = {"MXFP4", QK, 17, NULL},
};

const struct gguf_type *gguf_type_find(int64_t type)
{
    if (type < 0 || type >= (int64_t)(sizeof types / sizeof *types) || !types[type].name)
        return NULL;
    return &types[type];
}
