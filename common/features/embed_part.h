/* SPDX-License-Identifier: MIT
 *
 * embed_part: a scored window as bytes, which is what OUT.part has an entry of (part.h): a
 * plain safetensors message of the rows' columns and, where records dropped out, "drops" I64[K,
 * 3], of each the record's number, its line and enum embed_why.
 */
#ifndef RAISE_FEATURES_EMBED_PART_H
#define RAISE_FEATURES_EMBED_PART_H

#include "features/embed.h"

/* *data is owned by the caller. */
void embed_part_pack(const struct embed_rows *r, const struct embed_drop *drop, size_t n,
                     char **data, size_t *len);
/* Appends the rows to *r, and what dropped out to *d; either may be NULL: not asked for. `name`
 * is for errors. */
int embed_part_unpack(struct embed_rows *r, struct embed_drops *d, const char *data, size_t len,
                      const char *name, struct err *e) RAISE_MUST_CHECK;

#endif
