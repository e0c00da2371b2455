/* SPDX-License-Identifier: MIT
 *
 * st: raise streams, zstd-compressed safetensors.
 *
 *     +---------+---------+-----+--------+------------+
 *     | frame 0 | frame 1 | ... | digest | seek table |      *.st.zst
 *     +---------+---------+-----+--------+------------+
 *       each frame: one whole safetensors message (a *shard* of rows), content size and
 *       checksum on. The digest (xxh64 of all compressed bytes before it) and the seek table
 *       (zstd's seekable format) are skippable frames, which other zstd readers ignore. The
 * seek table is also the end marker: a stream without it is truncated. With -u: one plain
 *       safetensors message.
 *
 * A `struct st_msg` is one such message: metadata (string to string) and named tensors, row
 * major, little-endian. Every kind of file is a msg or a sequence of msgs whose tensors of the
 * same name are row blocks of one long tensor (first dimension). raise-stream(5) fixes names,
 * dtypes and shapes of each kind.
 *
 * Writing:
 *     struct st_msg *m = st_msg_new();
 *     st_msg_set_meta(m, "raise.kind", "features");
 *     st_msg_add(m, "len_x", ST_I32, 1, (int64_t[]){n}, len_x);          // borrowed
 *     struct st_writer *w = st_writer_open(path, 0, &e);
 *     st_writer_put(w, m, &e);  st_writer_close(w, &e);
 * Reading everything (shards joined):
 *     struct st_msg *m = st_read(path, "features", &e);                  // checks raise.kind
 *     const struct st_tensor *t = st_msg_need(m, "len_x", ST_I32, 1, (int64_t[]){-1}, &e);
 *
 * A reader refuses: no seek table, bad checksum or digest, header over 100 MB, offsets that
 * overlap, leave a gap or pass the end, unknown dtype, duplicate name, a newer raise.version,
 * and names file and tensor. Sizes are bounded by the bytes present before anything is
 * allocated.
 */
#ifndef RAISE_STREAM_ST_H
#define RAISE_STREAM_ST_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ST_FORMAT_VERSION "1" /* raise.version */

enum st_dtype {
    ST_BOOL,
    ST_U8,
    ST_I8,
    ST_I16,
    ST_U16,
    ST_F16,
    ST_BF16,
    ST_I32,
    ST_U32,
    ST_F32,
    ST_F64,
    ST_I64,
    ST_U64,
    ST_N_DTYPES
};
enum { ST_MAX_DIMS = 8 };

size_t st_dtype_size(enum st_dtype t);
const char *st_dtype_name(enum st_dtype t); /* "F32" */

struct st_tensor {
    char *name;
    enum st_dtype dtype;
    int n_dims;
    int64_t shape[ST_MAX_DIMS];
    const void *data; /* borrowed from the msg (read) or from the caller (write) */
    size_t len;       /* bytes */
};

struct st_msg; /* owned; free with st_msg_free */
struct st_msg *st_msg_new(void);
struct st_msg *st_msg_copy(const struct st_msg *m); /* with its own copy of every tensor */
void st_msg_free(struct st_msg *m);                 /* NULL-safe */
/* Copies key and value; replaces an old value. */
void st_msg_set_meta(struct st_msg *m, const char *key, const char *value);
void st_msg_unset_meta(struct st_msg *m, const char *key);        /* no-op when absent */
const char *st_msg_meta(const struct st_msg *m, const char *key); /* NULL when absent */
/* The file it was read from, for errors; "(message)" when a program made it. */
const char *st_msg_name(const struct st_msg *m);
/* Metadata that is a decimal number >= 0; -1 when absent or anything else. */
int64_t st_msg_meta_int(const struct st_msg *m, const char *key);
int64_t st_msg_n_meta(const struct st_msg *m);
void st_msg_meta_at(const struct st_msg *m, int64_t i, const char **key, const char **value);
/* Adds a tensor; `data` is borrowed until the msg is written or freed. */
void st_msg_add(struct st_msg *m, const char *name, enum st_dtype t, int n_dims,
                const int64_t *shape, const void *data);
/* As st_msg_add, but the msg keeps its own copy. */
void st_msg_add_copy(struct st_msg *m, const char *name, enum st_dtype t, int n_dims,
                     const int64_t *shape, const void *data);
int64_t st_msg_n_tensors(const struct st_msg *m);
const struct st_tensor *st_msg_at(const struct st_msg *m, int64_t i);
const struct st_tensor *st_msg_find(const struct st_msg *m, const char *name);
/* Finds a tensor and checks dtype and shape (-1: any size); NULL and an error that names the
 * tensor, what was expected and what is there. */
const struct st_tensor *st_msg_need(const struct st_msg *m, const char *name, enum st_dtype t,
                                    int n_dims, const int64_t *shape, struct err *e);

/* Identity of the tensors (not of metadata, compression or sharding): xxh64 over the tensors
 * sorted by name, each as name, dtype, shape and its bytes' xxh64 (raise-stream(5)). */
uint64_t st_msg_hash(const struct st_msg *m);
/* The same of a stream, shard by shard. All shards must be alike (st_msg_check_shard). */
struct st_hash; /* owned; st_hash_end or st_hash_free */
struct st_hash *st_hash_new(void);
void st_hash_add(struct st_hash *h, const struct st_msg *shard);
uint64_t st_hash_end(struct st_hash *h); /* the identity; frees h */
void st_hash_free(struct st_hash *h);    /* NULL-safe */

/* Can `shard` follow `first` in a stream? Same names, dtypes and trailing dimensions, equal
 * whole tensors; else ERR_MISMATCH with the tensor. */
int st_msg_check_shard(const struct st_msg *first, const struct st_msg *shard,
                       struct err *e) RAISE_MUST_CHECK;
/* Appends the rows of `shard`, which is checked as above and not kept, to `m`. */
int st_msg_append(struct st_msg *m, const struct st_msg *shard, struct err *e) RAISE_MUST_CHECK;
/* Makes m's raise.n_rows (how many records it covers from raise.first_row on) cover those of
 * `shard` too. st_msg_append does this. */
void st_msg_merge_meta(struct st_msg *m, const struct st_msg *shard);
/* Is the tensor kept once for the whole stream (listed in raise.whole)? */
bool st_msg_is_whole(const struct st_msg *m, const char *name);

/* ---- streams ---- */
enum { ST_PLAIN = 1 }; /* st_writer_open flag: one plain .safetensors, exactly one put */

struct st_writer;
struct st_writer *st_writer_open(const char *path, int flags, struct err *e) RAISE_MUST_CHECK;
/* One shard. More than about 900 MB (a frame's limit) goes out as several shards of rows, if
 * all tensors that are not whole have the same number of rows; else ERR_RANGE. */
int st_writer_put(struct st_writer *w, const struct st_msg *m, struct err *e) RAISE_MUST_CHECK;
/* Digest and seek table, then commit (see file.h). Frees w in every case. ERR_EMPTY when
 * nothing was put. */
int st_writer_close(struct st_writer *w, struct err *e) RAISE_MUST_CHECK;
void st_writer_abort(struct st_writer *w); /* nothing is left behind; NULL-safe */
/* One message as one file. */
int st_write(const char *path, int flags, const struct st_msg *m,
             struct err *e) RAISE_MUST_CHECK;

struct st_reader;
/* Opens .st.zst or plain .safetensors (told apart by content), file or standard input. Plain
 * files are mapped, not read. */
struct st_reader *st_reader_open(const char *path, struct err *e) RAISE_MUST_CHECK;
/* The next shard into *m (owned by the caller; tensors stay valid until st_msg_free and, for a
 * mapped file, st_reader_close). 1: a shard; 0: the end, seek table seen and agreeing; < 0. */
int st_reader_next(struct st_reader *r, struct st_msg **m, struct err *e) RAISE_MUST_CHECK;
bool st_reader_is_compressed(const struct st_reader *r);
void st_reader_close(struct st_reader *r); /* NULL-safe */

/* Reads a whole stream and joins its shards by rows: every shard must have the same tensors,
 * dtypes and trailing dimensions. Tensors whose name ends in "!" in the man page ("whole"
 * tensors: listed in metadata "raise.whole", comma-separated) must be equal in every shard and
 * are kept once. `kind` NULL: any. Checks raise.kind and raise.version. NULL on error. Result
 * metadata is the first shard's; raise.n_rows covers all shards. */
struct st_msg *st_read(const char *path, const char *kind, struct err *e) RAISE_MUST_CHECK;

/* A plain safetensors message in memory (model files too). The msg borrows `data`. Tensors of
 * other programs' files may be unaligned here (st_to_f32 copes); a reader's never are. */
struct st_msg *st_msg_parse(const void *data, size_t len, const char *name,
                            struct err *e) RAISE_MUST_CHECK;
/* Serialises to plain safetensors; *data owned by the caller. The header names tensors in the
 * order added and is padded with spaces to a multiple of 8; their bytes are laid out by falling
 * element size, so that every tensor of a mapped file is aligned. */
void st_msg_serialize(const struct st_msg *m, char **data, size_t *len);

/* ---- conversions ---- */
/* n values of F32, F16, BF16 or F64 to float. ERR_UNSUPPORTED for another dtype. */
int st_to_f32(float *dst, const void *src, enum st_dtype t, size_t n, struct err *e);

#endif
