/* SPDX-License-Identifier: MIT
 *
 * guard: files that are mapped while a program works, and whether they are still what they
 * were.
 *
 * A mapped file is read when its bytes are needed, perhaps hours after it was opened. Cut short
 * in between, the read is a SIGBUS; written to or replaced, the results are of no file that
 * ever was. So who maps a file has it guarded: the handler of SIGBUS (temp.h) finds the file's
 * name here, and nothing is committed (file.h) once size, time or identity are others than at
 * first.
 *
 *     guard_add(data, len, path, &st);      // file_map_open()
 *     guard_remove(data);                   // before munmap(); looks at the file a last time
 *     if (guard_check(e) < 0) ...           // outfile_commit(), file_close_stdout()
 *
 * Any thread may call these.
 */
#ifndef RAISE_BASE_GUARD_H
#define RAISE_BASE_GUARD_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

struct stat;

/* `data`, `len` bytes, is a mapping of `path`, of which fstat() said `st`. */
void guard_add(const void *data, size_t len, const char *path, const struct stat *st);
void guard_remove(const void *data);
/* ERR_IO names a file that changed, vanished or was replaced while it was mapped. */
int guard_check(struct err *e) RAISE_MUST_CHECK;
/* Is a file, of which fstat() said `was` and `is`, the same, unchanged? */
bool guard_is_same(const struct stat *was, const struct stat *is);
/* The file mapped at an address, or NULL. For signal handlers. */
const char *guard_name_at(const void *address);

#endif
