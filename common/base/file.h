/* SPDX-License-Identifier: MIT
 *
 * file: whole files, mapped files, and output that appears complete or not at all.
 *
 * An output file is written under a temporary name beside its target, synced, and renamed when
 * outfile_commit() is called; until then the target is untouched. The temporary file is
 * removed on outfile_abort(), at exit() and on every signal that can be caught; what SIGKILL
 * leaves, the next outfile_open() of the same target removes (temp.h). A target that exists
 * keeps its mode and, for root, its owner; a symbolic link is followed, and stays one. NULL or
 * "-" means standard output, which is written straight through, as are devices and named pipes:
 * -o /dev/null does what it says.
 *
 *     struct outfile *o = outfile_open(path, &e);
 *     if (!o || outfile_write(o, p, n, &e) < 0) { outfile_abort(o); return e.code; }
 *     return outfile_commit(o, &e);
 */
#ifndef RAISE_BASE_FILE_H
#define RAISE_BASE_FILE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool file_is_std(const char *path); /* NULL or "-" */
/* Name for messages: "(standard input)", "(standard output)" or the path. */
const char *file_name_in(const char *path);
const char *file_name_out(const char *path);
bool file_exists(const char *path);
/* ERR_IO where it is a folder, a pipe (which would be waited for) or a device. */
int file_check_regular(const char *path, struct err *e) RAISE_MUST_CHECK;

/* Reads a whole file, or standard input, into *data (owned by the caller, free(); one NUL byte
 * is put after the last, not counted in *len). ERR_RANGE: more than there is memory for. */
int file_read_all(const char *path, char **data, size_t *len, struct err *e) RAISE_MUST_CHECK;

/* A file mapped read-only, which is held to stay what it is (guard.h). Borrowed until
 * file_map_close. An empty file has data != NULL, len 0. */
struct file_map {
    const unsigned char *data;
    size_t len;
};
int file_map_open(struct file_map *m, const char *path, struct err *e) RAISE_MUST_CHECK;
void file_map_close(struct file_map *m);
/* Bytes of a mapped file that are done with: their pages need not be memory any more. They can
 * still be read, from the file again. */
void file_map_release(const void *data, size_t len);

/* Binary data must not go to a terminal: ERR_IO when path is standard output and that is one.
 */
int file_refuse_tty(const char *path, struct err *e) RAISE_MUST_CHECK;

struct outfile;
struct outfile *outfile_open(const char *path, struct err *e) RAISE_MUST_CHECK;
/* The same, written in place as it grows, so that others can follow it: for what tells how a
 * work goes, not for its result. What was there is gone, and what was written stays, whatever
 * comes. */
struct outfile *outfile_open_growing(const char *path, struct err *e) RAISE_MUST_CHECK;
int outfile_write(struct outfile *o, const void *p, size_t len, struct err *e) RAISE_MUST_CHECK;
int64_t outfile_tell(const struct outfile *o); /* bytes written so far */
/* Flush, fsync, rename, fsync the folder. Frees o in every case; on failure nothing is left.
 * Fails where an input changed while it was mapped. */
int outfile_commit(struct outfile *o, struct err *e) RAISE_MUST_CHECK;
void outfile_abort(struct outfile *o); /* NULL-safe */
/* Writes a whole file in one call. */
int file_write_all(const char *path, const void *p, size_t len, struct err *e) RAISE_MUST_CHECK;

/* Makes a folder and its parents; an existing one is no error. */
int file_mkdirs(const char *path, struct err *e) RAISE_MUST_CHECK;

/* First act of a program (opt_parse does it): descriptors 0 to 2, where they are closed, are
 * opened so that nothing else takes their numbers; to use one still fails with EBADF. */
void file_open_std(void);
/* Last act of a program: flushes standard output and reports a write that failed earlier, or an
 * input that changed while it was mapped. */
int file_close_stdout(struct err *e) RAISE_MUST_CHECK;

/* xxh64 of a file's bytes, seed 0. */
int file_hash(const char *path, uint64_t *hash, struct err *e) RAISE_MUST_CHECK;

#endif
