/* SPDX-License-Identifier: MIT
 *
 * prov: provenance, the chain of programs that made a file.
 *
 * As SAM's @PG lines do: metadata key "raise.history" holds a JSON array, one object a
 * program, oldest first:
 *     {"program":"raise-cluster","version":"0.1.0","args":"raise-cluster -k 8 f.st.zst",
 *      "seed":42,"path":"cpu-avx512-fp32","inputs":[{"name":"f.st.zst","xxh64":"..16 hex.."}]}
 * "name" is the file's base name, so that moving a folder does not change bytes. A seed above
 * 2^53 is a string, since many readers of JSON would round the number; "seed" and "path" may be
 * absent. A record with "later":N left out N inputs that the newest of the same program names
 * (prov_older.h), so that a history grows with what was done, not with its square.
 */
#ifndef RAISE_STREAM_PROV_H
#define RAISE_STREAM_PROV_H

#include "stream/st.h"

struct prov; /* owned; prov_free */
struct prov *prov_new(const char *program, const char *args, uint64_t seed);
void prov_free(struct prov *p);        /* NULL-safe */
void prov_set_no_seed(struct prov *p); /* the program chooses nothing at random */
/* Which arithmetic made the numbers ("cpu-avx512-fp32-SkylakeX"); NULL-able. */
void prov_set_path(struct prov *p, const char *arith_path);
void prov_add_input(struct prov *p, const char *path, uint64_t hash);
/* Sets raise.history of `m` to the history in `previous` (a value of that key, may be NULL)
 * plus this record; with `p` NULL (--no-provenance) leaves the key out. */
void prov_write(const struct prov *p, struct st_msg *m, const char *previous);
/* Hash as 16 hex digits into dst[17]; returns dst. And back: false when malformed. */
char *prov_hex(char *dst, uint64_t hash);
bool prov_unhex(const char *s, uint64_t *hash);

#endif
