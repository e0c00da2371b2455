/* SPDX-License-Identifier: MIT
 *
 * gguf_priv: what the files of gguf share.
 */
#ifndef RAISE_STREAM_GGUF_PRIV_H
#define RAISE_STREAM_GGUF_PRIV_H

#include "base/file.h"
#include "stream/gguf.h"

struct string {
    char *text; /* NUL-terminated, owned through strings_block */
    size_t len;
};

struct value {
    char *key;
    uint32_t type; /* of the elements, for an array */
    bool is_array;
    int64_t n;               /* elements; 1 for a scalar */
    const unsigned char *at; /* in the map: numbers, packed */
    struct string *strings;  /* V_STRING: [n] */
    char *block;             /* the strings' bytes */
};

struct gguf {
    struct file_map map;
    char *path;
    struct value *values; /* sorted by key */
    int64_t n_values;
    struct gguf_tensor *tensors; /* in the file's order */
    int64_t n_tensors;
    const struct gguf_tensor **by_name;
    struct gguf **parts; /* that lend their bytes, see gguf_split.c */
    int64_t n_parts;
};

/* One file, whether it is the whole of a model or not. */
struct gguf *gguf_open_part(const char *path, struct err *e) RAISE_MUST_CHECK;
/* Fills g->by_name, which has room; ERR_FORMAT if two tensors have one name. */
int gguf_index(struct gguf *g, struct err *e) RAISE_MUST_CHECK;

#endif
