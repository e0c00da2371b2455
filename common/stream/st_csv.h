/* SPDX-License-Identifier: MIT
 *
 * st_csv: tensors as a table, one line a row, shard by shard.
 *
 * Columns are tensors with the same number of rows, in the order of the file: by default the
 * largest table, which is the number of rows that most tensors share (the larger number on a
 * tie), without whole tensors; or the tensors asked for. A tensor of more dimensions becomes
 * several columns, embedding_0 to embedding_31 (w_0_0, w_0_1, ...); if it is [N, K] and the
 * metadata raise.NAME are K names parted by commas, these are its columns'. Floats are printed
 * with the fewest digits that give the same value back, "nan", "inf" and "-inf" as such; names
 * are quoted as RFC 4180 says. Lines end with a newline only.
 */
#ifndef RAISE_STREAM_ST_CSV_H
#define RAISE_STREAM_ST_CSV_H

#include "base/file.h"
#include "stream/st.h"

struct st_csv; /* owned; st_csv_free */
/* `names`: comma-separated tensors, or NULL for the largest table. Both borrowed until free. */
struct st_csv *st_csv_new(struct outfile *out, const char *names);
/* Writes the rows of a shard, before the first the line of names. The shard must fit the first
 * (st_msg_check_shard). ERR_RANGE: a tensor asked for is not there; ERR_MISMATCH: the tensors
 * have not the same number of rows. */
int st_csv_put(struct st_csv *c, const struct st_msg *shard, struct err *e) RAISE_MUST_CHECK;
void st_csv_free(struct st_csv *c); /* NULL-safe */

#endif
