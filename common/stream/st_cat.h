/* SPDX-License-Identifier: MIT
 *
 * st_cat: several streams as one, shard after shard.
 *
 * The files must belong together: same kind, version and tensors, equal whole tensors, and
 * equal metadata but for raise.history and the two that say which records a shard covers,
 * raise.first_row and raise.n_rows. Where shards have these, they must follow each other
 * without overlap from row 0 to raise.n_total. A shard without raise.n_rows may have left
 * records out: then a gap after it is counted, not refused.
 *
 * Everything is checked in a first pass before a byte is written; regular files are read
 * twice, a shard at a time, anything else (standard input, a pipe) is kept in memory.
 */
#ifndef RAISE_STREAM_ST_CAT_H
#define RAISE_STREAM_ST_CAT_H

#include "stream/prov.h"
#include "stream/st.h"

struct st_cat_count {
    int64_t n_shards, n_rows;
    int64_t n_left_out; /* records between shards that no shard covers */
};

/* Writes the shards of `n` files, in the order given, to `out` (flags as st_writer_open; plain:
 * joined in memory). `prov`, if not NULL, is added to the first file's history, with each file
 * as an input; NULL leaves histories out. One file alone may cover any rows. */
int st_cat(const char *const *paths, size_t n, const char *out, int flags, struct prov *prov,
           struct st_cat_count *count, struct err *e) RAISE_MUST_CHECK;

#endif
