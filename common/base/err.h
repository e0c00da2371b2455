/* SPDX-License-Identifier: MIT
 *
 * err: error values.
 *
 * Library code never prints and never exits. A function that can fail returns 0 (or a count
 * >= 0) on success and one of the negative codes below on failure, and writes what happened
 * into the caller's `struct err`. Only the programs in tools/ print it, as one line:
 *
 *     raise-embed: data.jsonl:123: record 122: "output" is missing
 *
 *     struct err e = ERR_INIT;
 *     if (file_read_all(path, &buf, &len, &e) < 0)
 *         return err_prefix(&e, "vocabulary");      // returns e.code
 *
 * A message starts with the place (file, line or tensor), is lower case and has no newline.
 */
#ifndef RAISE_BASE_ERR_H
#define RAISE_BASE_ERR_H

#include <stdarg.h>

#if defined(__GNUC__)
#define RAISE_MUST_CHECK __attribute__((warn_unused_result))
#define RAISE_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define RAISE_NORETURN __attribute__((noreturn))
#else
#define RAISE_MUST_CHECK
#define RAISE_PRINTF(fmt, args)
#define RAISE_NORETURN
#endif

enum err_code {
    ERR_IO = -1,          /* the operating system refused: open, read, write, rename */
    ERR_FORMAT = -2,      /* the bytes are not what the format demands */
    ERR_TRUNCATED = -3,   /* the bytes end too early */
    ERR_MISMATCH = -4,    /* two inputs do not belong together (hash, count, shape) */
    ERR_RANGE = -5,       /* a value lies outside what is allowed */
    ERR_UNSUPPORTED = -6, /* well-formed, but not something this program can do */
    ERR_NONFINITE = -7,   /* a loss, score or gradient is NaN or infinite */
    ERR_EMPTY = -8,       /* nothing to work on */
    ERR_MEMORY = -9       /* does not fit into memory */
};

struct err {
    int code;       /* 0, or an enum err_code */
    char msg[1024]; /* NUL-terminated, no newline; cut with "..." when longer */
};

#define ERR_INIT                                                                               \
    {                                                                                          \
        0, ""                                                                                  \
    }

/* Sets code and message; returns `code`, so that `return err_set(...)` reads well. A message
 * already present is replaced. `e` may be NULL: then only the code is returned. */
int err_set(struct err *e, int code, const char *fmt, ...) RAISE_PRINTF(3, 4);

/* As err_set with ERR_IO, appending ": " and strerror(errno). */
int err_set_errno(struct err *e, const char *fmt, ...) RAISE_PRINTF(2, 3);

/* Puts "<prefix>: " before the message; returns e->code. */
int err_prefix(struct err *e, const char *fmt, ...) RAISE_PRINTF(2, 3);

#endif
