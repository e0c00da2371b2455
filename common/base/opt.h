/* SPDX-License-Identifier: MIT
 *
 * opt: command lines, from one table a program.
 *
 * The table is read by the parser and by -h alike, so help cannot drift. Every value lives in
 * the program's own options struct (no globals), found by offset; help prints what the struct
 * holds before parsing, as the default. Long names take '-' and '_' alike, and may be those of
 * other programs (--learning_rate, see opt_near.c); what is unknown is told with what is
 * nearest to it. A letter means the same in all programs (raise(7) has the table). Numbers are
 * strict: junk, overflow or a value out of range is an error; sizes take K, M and G (powers of
 * 1024).
 *
 *     struct options { struct opt_common common; int64_t n_steps; const char *model; };
 *     static const struct opt table[] = {
 *         {'T', "steps", OPT_INT, offsetof(struct options, n_steps), "N", "steps an episode",
 *          .min = 1, .max = 1e6},
 *         {0}
 *     };
 *     struct options o = {.n_steps = 10};
 *     int first = opt_parse(&spec, &o, argc, argv);     // exits for -h, -V and misuse
 *
 * Exit status: -h, -V and --completions print to standard output and exit 0; misuse prints one
 * line and "try -h" and exits 2.
 */
#ifndef RAISE_BASE_OPT_H
#define RAISE_BASE_OPT_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum opt_type {
    OPT_END = 0,
    OPT_FLAG,   /* bool: set true */
    OPT_COUNT,  /* int: one more each time */
    OPT_INT,    /* int64_t in [min, max], K/M/G allowed */
    OPT_UINT64, /* uint64_t: a seed */
    OPT_REAL,   /* double in [min, max] */
    OPT_STRING, /* const char *, borrowed from argv */
    OPT_PATHS,  /* the same: paths that are read, one a line: the option may stand again */
    OPT_PLACE,  /* as OPT_STRING: a file or folder that is written, so no part of a history */
    OPT_CHOICE, /* int: index into choices[] */
    OPT_HEADING /* no option: `help` is a heading in -h */
};

struct opt {
    char letter; /* 0: long name only */
    const char *name;
    enum opt_type type;
    size_t offset; /* of the value in the options struct */
    const char *arg;
    const char *help;           /* NULL: an alias of the row above with its offset; not in -h */
    double min, max;            /* OPT_INT, OPT_REAL; both 0: any */
    const char *const *choices; /* NULL-terminated: OPT_CHOICE; OPT_STRING: words that are
                                 * offered by --completions, others may be given */
};

struct buf; /* base/mem.h */

/* Options that mean the same in every program. A program names the letters that it takes. */
struct opt_common {
    const char *out;      /* -o, --output FILE; NULL: standard output */
    int64_t n_threads;    /* -t, --threads: in total; 0: all cores */
    bool is_uncompressed; /* -u, --uncompressed */
    uint64_t seed;        /* -s, --seed [42] */
    bool is_quiet;        /* -q, --quiet */
    int verbose;          /* -v, --verbose: may be repeated */
    bool no_provenance;   /* --no-provenance */
    const char *shell;    /* --completions SHELL: opt_parse prints them and exits */
};
#define OPT_COMMON_DEFAULTS                                                                    \
    {                                                                                          \
        .seed = 42                                                                             \
    }

struct opt_spec {
    const char *program; /* "raise-embed" */
    const char *usage;   /* "[options] [dataset]", several lines allowed */
    const char *summary; /* one sentence */
    const char *common;  /* letters out of "otuspqv"; 'p' is --no-provenance; q, v always */
    size_t common_offset;
    const struct opt *table; /* ends with OPT_END */
    int min_args, max_args;  /* positional; max -1: any number */
    const char *input; /* what it reads, in a few lines: shown, with the examples, where it is
                        * started on a terminal without a word; NULL: parsed like any other */
    const char *examples; /* of -h: two or so commands, a line each */
    /* For --completions: appends " word" for each that the program knows as a value of this
     * option of type OPT_STRING, or, where option is NULL, as the first argument. Returns
     * whether a file may stand in their place. NULL: it knows none. */
    bool (*words)(const char *option, struct buf *b);
};

/* Parses; returns the index of the first positional argument in argv (which is permuted so
 * that options come first). Sets log_program, log_level and the number of OpenMP threads. */
int opt_parse(const struct opt_spec *spec, void *options, int argc, char **argv);

/* Sets one row's value as its argument on the command line would; a flag's arg is NULL. */
int opt_set(const struct opt *row, void *options, const char *arg, struct err *e);

/* The command line as one shell-quoted string, for provenance: options by their long names,
 * then arguments. Left out is what cannot change the result: where outputs go (OPT_PLACE), -t,
 * -q, -v,
 * --resume. To be called after opt_parse, with its argv. Owned by the caller. */
char *opt_command_line(const struct opt_spec *spec, int argc, char **argv);

/* The places that a program reads and writes (base/place.h): misuse when two are one, and exit
 * status 1 when one cannot be written. Frees *p. */
struct places;
void opt_check_places(struct places *p);

/* Strict numbers: the whole string or ERR_RANGE/ERR_FORMAT. */
int opt_parse_int(const char *s, int64_t min, int64_t max, int64_t *out, struct err *e);
int opt_parse_real(const char *s, double min, double max, double *out, struct err *e);

/* One line to stderr with "try -h", exit status 2: misuse found after parsing. */
RAISE_NORETURN void opt_misuse(const char *fmt, ...) RAISE_PRINTF(1, 2);

#endif
