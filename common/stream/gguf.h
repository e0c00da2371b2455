/* SPDX-License-Identifier: MIT
 *
 * gguf: GGUF containers (llama.cpp's model files, versions 2 and 3), read-only and mapped.
 *
 * Gives typed metadata and the table of tensors; dequantises F32, F16, BF16, Q4_0, Q4_1, Q5_0,
 * Q5_1, Q8_0, Q4_K, Q5_K and Q6_K to float, bit for bit as the `gguf` Python package does. All
 * counts, lengths and offsets are checked against the file's size before use.
 * GGUF writes dimensions innermost first; `shape` here is outermost first, as in safetensors.
 */
#ifndef RAISE_STREAM_GGUF_H
#define RAISE_STREAM_GGUF_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of a model in several files (NAME-00001-of-00005.gguf) the path is the first one's, and the
 * others must be beside it; to a caller it is as if they were one. */
struct gguf; /* owned; gguf_close */
struct gguf *gguf_open(const char *path, struct err *e) RAISE_MUST_CHECK;
void gguf_close(struct gguf *g); /* NULL-safe */

/* Metadata by key. Return false when the key is absent or of another type (integers of any
 * width convert). Strings are NUL-terminated, borrowed until gguf_close. */
bool gguf_get_int(const struct gguf *g, const char *key, int64_t *v);
bool gguf_get_real(const struct gguf *g, const char *key, double *v);
bool gguf_get_bool(const struct gguf *g, const char *key, bool *v);
const char *gguf_get_string(const struct gguf *g, const char *key);
/* Arrays: number of elements, or -1. */
int64_t gguf_array_len(const struct gguf *g, const char *key);
const char *gguf_array_string(const struct gguf *g, const char *key, int64_t i, size_t *len);
bool gguf_array_int(const struct gguf *g, const char *key, int64_t i, int64_t *v);
bool gguf_array_real(const struct gguf *g, const char *key, int64_t i, double *v);

struct gguf_tensor {
    const char *name;
    int type; /* ggml type number */
    int n_dims;
    int64_t shape[4]; /* outermost first */
    const void *data;
    size_t len; /* bytes */
    int64_t n_values;
};
int64_t gguf_n_tensors(const struct gguf *g);
const struct gguf_tensor *gguf_tensor_at(const struct gguf *g, int64_t i);
const struct gguf_tensor *gguf_find(const struct gguf *g, const char *name);
const char *gguf_type_name(int type); /* "Q4_1", or "type 17" */
/* n_values floats. ERR_UNSUPPORTED names tensor and type. */
int gguf_dequantize(float *dst, const struct gguf_tensor *t, struct err *e) RAISE_MUST_CHECK;

#endif
