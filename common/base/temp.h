/* SPDX-License-Identifier: MIT
 *
 * temp: temporary files that become their target or vanish, whatever ends the process.
 *
 * A temporary stands beside its target as TARGET.tmp-raise.PID (a further "-1", "-2" where that
 * is taken), is created anew (O_EXCL, O_NOFOLLOW) and holds a lock (flock) as long as its
 * process lives. It is removed
 *   - by temp_remove() and at exit(), also out of memory's;
 *   - on a signal that ends the process and can be caught, which is then raised again (a signal
 *     that was ignored stays so; SIGXFSZ at a write becomes that write's error, EFBIG);
 *   - after SIGKILL or a crash of the machine, by the next temp_open() for the same target:
 *     a temporary whose lock nobody holds.
 *
 * Any thread may be interrupted anywhere. So each temporary has a slot that is never freed, and
 * whose state alone tells what the handler may do:
 *
 *     FREE -> BUSY -> LIVE -> BUSY -> FREE       temp_open, temp_keep or temp_remove
 *                     LIVE -> BUSY -> GONE       the handler
 *
 * Who made a slot BUSY has signals blocked, so that it is never the handler's own thread, and
 * the handler waits for it: a rename is never torn. Once a handler is at work, BUSY is not
 * entered again by others: they wait for the end.
 */
#ifndef RAISE_BASE_TEMP_H
#define RAISE_BASE_TEMP_H

#include "base/err.h"

struct stat;
struct temp;

/* Creates one beside `target` (no symbolic link: a caller resolves it). `like`: the file that
 * it will replace, whose mode and, where allowed, owner it takes; NULL: none, mode 0666 less
 * the umask. *fd is the caller's to close, after temp_keep or temp_remove. NULL with errno set
 * on failure.
 */
struct temp *temp_open(const char *target, const struct stat *like, int *fd) RAISE_MUST_CHECK;
/* Renames it to its target and forgets it; -1 with errno set on failure: then it is removed. */
int temp_keep(struct temp *t, const char *target) RAISE_MUST_CHECK;
void temp_remove(struct temp *t);

/* Handlers from now on, before the first temporary, too: a fault in a file that is mapped
 * (guard.h) then ends the process with the file's name and status 1. */
void temp_catch_signals(void);

/* A copy of `text`, at most TEMP_WORDS bytes, is written to standard error when a user or the
 * system ends the process by a signal (SIGINT, SIGTERM, SIGHUP, SIGXCPU); it replaces the one
 * before. NULL: nothing is written. By one thread only. */
enum { TEMP_WORDS = 512 };
void temp_last_words(const char *text);

#endif
