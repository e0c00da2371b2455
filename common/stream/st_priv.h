/* SPDX-License-Identifier: MIT
 *
 * st_priv: what the files of st share; not for others.
 *
 * Layout of a compressed stream (raise-stream(5)):
 *
 *     frame 0 | ... | frame n-1 | digest (skippable) | seek table (skippable)
 *
 * The digest is the xxh64 of all compressed bytes before it. zstd's own checksum covers the
 * content only, and some bits of a frame (padding, the window size) change nothing in it; with
 * the digest every flipped bit is seen. The seek table lists the digest as a frame of
 * decompressed size 0, as the seekable format demands of skippable frames.
 */
#ifndef RAISE_STREAM_ST_PRIV_H
#define RAISE_STREAM_ST_PRIV_H

#include "base/file.h"
#include "base/mem.h"
#include "stream/st.h"

#include <jansson.h>

#define ST_ZSTD_MAGIC 0xFD2FB528u
#define ST_DIGEST_MAGIC 0x184D2A5Du
#define ST_SEEK_MAGIC 0x184D2A5Eu
#define ST_SEEKABLE_MAGIC 0x8F92EAB1u
#define ST_DIGEST_TAG "RAISEXXH"

enum {
    ST_HEADER_MAX = 100000000, /* safetensors' own limit on the JSON header */
    ST_DIGEST_LEN = 8 + 8 + 8, /* skippable header, tag, xxh64 */
    ST_FRAME_HEADER_MAX = 18,  /* zstd: magic, descriptor, window, dictionary, content size */
    ST_BLOCK_MAX = 1 << 17,    /* zstd: most bytes a block of at least 4 bytes can hold */
    ST_FRAME_MAX = 1 << 30,    /* seekable format: most decompressed bytes a frame */
};

struct st_meta {
    char *key, *value;
};

struct st_msg {
    char *name; /* the file it came from, for messages; NULL: made by a program */
    struct st_tensor *tensor;
    struct st_own {
        void *data; /* the tensor's own copy, or NULL */
        size_t cap; /* bytes */
    } * own;        /* one a tensor */
    size_t n_tensors, tensor_cap, own_cap;
    json_t *names;        /* name: position, once there are many tensors; else NULL */
    json_t *whole;        /* the names in a long "raise.whole"; else NULL */
    struct st_meta *meta; /* sorted by key */
    size_t n_meta, meta_cap;
    void *block;         /* owned bytes that tensors point into, or NULL */
    struct file_map map; /* owned mapping that tensors point into; len 0: none */
};

/* The tensor that was added last can be found from now on. */
void st_msg_index_last(struct st_msg *m);

/* One entry of the seek table. */
struct st_entry {
    uint32_t compressed, decompressed, checksum;
};

/* Appends little-endian integers. */
void st_put_u32(struct buf *b, uint32_t v);
void st_put_u64(struct buf *b, uint64_t v);
uint32_t st_get_u32(const unsigned char *p);
uint64_t st_get_u64(const unsigned char *p);

/* Appends the digest frame, and the seek table of `n` frames (the digest's entry is added). */
void st_put_digest(struct buf *b, uint64_t digest);
void st_put_seek_table(struct buf *b, const struct st_entry *entry, size_t n);

/* Appends length and JSON header of a message. order[i]: the tensor that is laid out i-th;
 * owned by the caller. Elements are laid out by falling size, so that with the header padded to
 * 8 bytes every tensor is aligned; the header names them in the order added. */
void st_put_header(struct buf *b, const struct st_msg *m, size_t **order);
size_t st_data_len(const struct st_msg *m); /* bytes of all tensors */

/* Splits from fewer bytes on: for tests. */
void st_writer_set_data_max(struct st_writer *w, size_t bytes);

/* A plain file's mapping, if that is what it is, passes from the reader to the msg it gave. */
void st_reader_give_map(struct st_reader *r, struct st_msg *m);

/* Copies tensors whose address does not suit their dtype (files of other programs). */
void st_msg_align(struct st_msg *m);

/* "I32[100,32]" with -1 as N; dst holds at least 256 bytes. Returns dst. */
char *st_shape_text(char *dst, enum st_dtype t, int n_dims, const int64_t *shape);
/* Bytes of a tensor, or -1 when the product overflows or a dimension is negative. */
int64_t st_shape_bytes(enum st_dtype t, int n_dims, const int64_t *shape);
/* Is `name` in the comma-separated list (NULL: empty)? */
bool st_list_has(const char *list, const char *name);

#endif
