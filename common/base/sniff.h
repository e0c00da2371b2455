/* SPDX-License-Identifier: MIT
 *
 * sniff: what a file is that is not what was expected, told by its first bytes, so that an
 * error can say "an HTML page" instead of "a header of 2336927755350992246 bytes". Only for
 * messages: what a file is read as depends on its own format's reader.
 *
 *     if (!sniff(head, n)) ...                       // nothing that we know
 *     err_set(e, ERR_FORMAT, "%s: %s", path, sniff(head, n));
 */
#ifndef RAISE_BASE_SNIFF_H
#define RAISE_BASE_SNIFF_H

#include <stddef.h>

enum { SNIFF_BYTES = 512 }; /* as much of the file as is looked at */

/* "a git-lfs pointer, not the file: git lfs pull", "an HTML page", "a gzip file" and so on, a
 * noun phrase; NULL when it is none of those. */
const char *sniff(const void *head, size_t len);
/* The same of a file; NULL, too, when it cannot be read. */
const char *sniff_file(const char *path);

#endif
