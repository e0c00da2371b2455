/* SPDX-License-Identifier: MIT
 *
 * gguf_quant: ggml's tensor types, and their blocks back to floats. For gguf.c, and for the
 * engine, which keeps frozen weights as they are in the file.
 *
 * A tensor is a row of blocks; every block holds `n_values` values in `n_bytes` bytes and
 * decodes by itself, so that blocks may be decoded in any order by any thread.
 */
#ifndef RAISE_STREAM_GGUF_QUANT_H
#define RAISE_STREAM_GGUF_QUANT_H

#include <stdint.h>

struct gguf_type {
    const char *name; /* NULL: no such type */
    int64_t n_values; /* in one block */
    int64_t n_bytes;  /* of one block */
    /* Decodes n_blocks blocks at x (no alignment needed) to y; NULL: not supported. */
    void (*decode)(float *restrict y, const uint8_t *restrict x, int64_t n_blocks);
};

/* Row of a ggml type number; NULL when there is no such type. */
const struct gguf_type *gguf_type_find(int64_t type);

/* IEEE half precision to single: exact, subnormals included; a NaN keeps its payload and
 * becomes quiet, as it does in hardware. */
float gguf_half(uint16_t h);

#endif
