/* SPDX-License-Identifier: MIT
 *
 * place: where a program reads and where it writes, tried before it works.
 *
 * Hours of work are not lost to a folder that is missing, nor a dataset to an output of the
 * same name. A program lists its places after parsing, and has them tried:
 *
 *     struct places p = {0};
 *     places_add(&p, PLACE_INPUT, "the dataset", path ? path : "-");
 *     places_add(&p, PLACE_FILE, "-o", o.common.out ? o.common.out : "-");
 *     places_add(&p, PLACE_FOLDER, "--save-adapter", o.adapter_dir);   // NULL: not asked for
 *     opt_check_places(&p);                                            // exits; frees
 *
 * Two outputs on one place, an output that is an input, and two inputs from standard input are
 * misuse. A place is the same under another name: by way of a link, of "./", of /dev/stdout, of
 * the shell's redirection. Devices do not count: many may write to /dev/null.
 */
#ifndef RAISE_BASE_PLACE_H
#define RAISE_BASE_PLACE_H

#include "base/err.h"

#include <stddef.h>

enum place_kind {
    PLACE_INPUT,
    PLACE_FILE,  /* an output file; written beside and renamed, or straight (file.h) */
    PLACE_FOLDER /* an output folder, made with its parents when it is written */
};

struct place {
    enum place_kind kind;
    const char *name; /* for messages: the option, or what it is; borrowed */
    const char *path; /* "-": standard input or output; borrowed, or own */
    char *own;
};
struct places {
    struct place *place;
    size_t n, cap;
};

/* path NULL: there is no such place, nothing is added. */
void places_add(struct places *p, enum place_kind kind, const char *name, const char *path);
/* The same for paths, a line each (OPT_PATHS); one that has lines and is there is a path. */
void places_add_paths(struct places *p, const char *name, const char *paths);
void places_free(struct places *p);

/* ERR_MISMATCH: two places are one, which is misuse. */
int places_distinct(const struct places *p, struct err *e) RAISE_MUST_CHECK;
/* ERR_IO: an output cannot be written there. Nothing is left behind: what is missing is not
 * made, and a file is tried by a temporary one beside it. */
int places_writable(const struct places *p, struct err *e) RAISE_MUST_CHECK;

#endif
