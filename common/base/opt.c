/* SPDX-License-Identifier: MIT
 * opt: command lines from one table a program; see opt.h. */
#include "base/opt.h"

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/opt_impl.h"
#include "base/place.h"
#include "base/version.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_THREADS = 4096 }; /* more cannot be started everywhere */

#define AT(base, off, type) ((type *)(void *)((char *)(base) + (off)))
#define COMMON(field) offsetof(struct opt_common, field)

static const char *const shells[] = {"bash", "zsh", "fish", NULL};
static const struct opt common_table[] = {
    {'o', "output", OPT_PLACE, COMMON(out), "FILE", "write to FILE, not standard output", 0, 0,
     NULL},
    {'t', "threads", OPT_INT, COMMON(n_threads), "N", "threads in total; 0: all cores", 0,
     MAX_THREADS, NULL},
    {'u', "uncompressed", OPT_FLAG, COMMON(is_uncompressed), NULL,
     "write one plain .safetensors file", 0, 0, NULL},
    {'s', "seed", OPT_UINT64, COMMON(seed), "SEED", "seed of every random choice", 0, 0, NULL},
    {'p', "no-provenance", OPT_FLAG, COMMON(no_provenance), NULL,
     "leave the history out of the output", 0, 0, NULL},
    {'q', "quiet", OPT_FLAG, COMMON(is_quiet), NULL, "errors only", 0, 0, NULL},
    {'v', "verbose", OPT_COUNT, COMMON(verbose), NULL, "say more; may be repeated", 0, 0, NULL},
    {0, "completions", OPT_STRING, COMMON(shell), "SHELL",
     "print what completes these options in bash, zsh or fish", 0, 0, shells},
    {0, NULL, OPT_END, 0, NULL, NULL, 0, 0, NULL},
};

enum { ID_HELP = 1000, ID_VERSION, ID_FIRST };

static void merge(struct opt_merged *m, const struct opt_spec *spec)
{
    m->n = 0;
    for (const struct opt *o = spec->table; o && o->type != OPT_END && m->n < OPT_MAX_ROWS; o++)
        m->row[m->n++] = *o;
    for (const struct opt *o = common_table; o->type != OPT_END && m->n < OPT_MAX_ROWS; o++) {
        if (o->letter && !strchr("qv", o->letter) && !strchr(spec->common, o->letter))
            continue;
        m->row[m->n] = *o;
        m->row[m->n].offset += spec->common_offset;
        if (o->letter == 'p')
            m->row[m->n].letter = 0; /* --no-provenance has no short form */
        m->n++;
    }
}

int opt_parse_int(const char *s, int64_t min, int64_t max, int64_t *out, struct err *e)
{
    char *end;
    errno = 0;
    long long v = strtoll(s, &end, 10);
    if (end == s || errno == ERANGE)
        return err_set(e, ERR_FORMAT, "'%s' is not a whole number", s);
    int shift = 0; /* a letter is a power of 1024 */
    if (*end && !end[1])
        shift = *end == 'K' || *end == 'k' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : -1;
    int64_t scaled;
    if ((*end && shift <= 0) ||
        __builtin_mul_overflow((int64_t)v, (int64_t)1 << (shift > 0 ? shift : 0), &scaled))
        return err_set(e, ERR_FORMAT, "'%s' is not a whole number", s);
    if ((min || max) && (scaled < min || scaled > max))
        return err_set(e, ERR_RANGE, "%s is not between %lld and %lld", s, (long long)min,
                       (long long)max);
    *out = scaled;
    return 0;
}

int opt_parse_real(const char *s, double min, double max, double *out, struct err *e)
{
    char *end;
    errno = 0;
    double v = strtod(s, &end);
    if (end == s || *end || !isfinite(v))
        return err_set(e, ERR_FORMAT, "'%s' is not a number", s);
    if ((min != 0 || max != 0) && (v < min || v > max))
        return err_set(e, ERR_RANGE, "%s is not between %g and %g", s, min, max);
    *out = v;
    return 0;
}

static int parse_uint64(const char *s, uint64_t *out, struct err *e)
{
    char *end;
    errno = 0;
    unsigned long long v = strtoull(s, &end, 10);
    if (!isdigit((unsigned char)*s) || *end || errno == ERANGE)
        return err_set(e, ERR_FORMAT, "'%s' is not a whole number", s);
    *out = v;
    return 0;
}

static int parse_choice(const char *s, const struct opt *o, int *out, struct err *e)
{
    char all[256] = "";
    for (int i = 0; o->choices[i]; i++) {
        if (!strcmp(s, o->choices[i])) {
            *out = i;
            return 0;
        }
        size_t n = strlen(all);
        snprintf(all + n, sizeof all - n, "%s%s", i ? ", " : "", o->choices[i]);
    }
    return err_set(e, ERR_RANGE, "'%s' is not one of %s", s, all);
}

/* Two lines; it lasts as long as the program, as its arguments do. before NULL: arg alone. */
static const char *joined(const char *before, const char *arg)
{
    static char **all;
    static size_t n, cap;
    if (!before)
        return arg;
    MEM_GROW(all, cap, n + 1);
    return all[n++] = mem_printf("%s\n%s", before, arg);
}

int opt_set(const struct opt *o, void *options, const char *arg, struct err *e)
{
    switch (o->type) {
    case OPT_FLAG:
        *AT(options, o->offset, bool) = true;
        return 0;
    case OPT_COUNT:
        ++*AT(options, o->offset, int);
        return 0;
    case OPT_INT:
        return opt_parse_int(arg, (int64_t)o->min, (int64_t)o->max,
                             AT(options, o->offset, int64_t), e);
    case OPT_UINT64:
        return parse_uint64(arg, AT(options, o->offset, uint64_t), e);
    case OPT_REAL:
        return opt_parse_real(arg, o->min, o->max, AT(options, o->offset, double), e);
    case OPT_STRING:
    case OPT_PLACE:
        *AT(options, o->offset, const char *) = arg;
        return 0;
    case OPT_PATHS:
        *AT(options, o->offset, const char *) =
            joined(*AT(options, o->offset, const char *), arg);
        return 0;
    case OPT_CHOICE:
        return parse_choice(arg, o, AT(options, o->offset, int), e);
    case OPT_HEADING:
    case OPT_END:
        break;
    }
    return err_set(e, ERR_UNSUPPORTED, "internal: option type %d", (int)o->type);
}

static RAISE_NORETURN void leave_ok(void)
{
    struct err e = ERR_INIT;
    if (file_close_stdout(&e) < 0) {
        log_error("%s", e.msg);
        exit(1);
    }
    exit(0);
}

void opt_misuse(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    struct buf b = {0};
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    log_error("%s (try -h)", buf_str(&b));
    buf_free(&b);
    exit(2);
}

void opt_check_places(struct places *p)
{
    struct err e = ERR_INIT;
    if (places_distinct(p, &e) < 0)
        opt_misuse("%s", e.msg);
    if (places_writable(p, &e) < 0) {
        log_error("%s", e.msg);
        exit(1);
    }
    places_free(p);
}

/* getopt_long's tables; '_' in a long name typed by the user becomes '-' beforehand. */
struct getopt_tables {
    char letters[2 * OPT_MAX_ROWS + 8];
    struct option longs[OPT_MAX_ROWS + 4];
};

static void build_tables(struct getopt_tables *g, const struct opt_merged *m)
{
    char *p = g->letters;
    int n = 0;
    *p++ = ':';
    *p++ = 'h';
    *p++ = 'V';
    g->longs[n++] = (struct option){"help", no_argument, NULL, ID_HELP};
    g->longs[n++] = (struct option){"version", no_argument, NULL, ID_VERSION};
    for (int i = 0; i < m->n; i++) {
        const struct opt *o = &m->row[i];
        bool has_arg = o->type != OPT_FLAG && o->type != OPT_COUNT;
        if (o->type == OPT_HEADING)
            continue;
        if (o->letter) {
            *p++ = o->letter;
            if (has_arg)
                *p++ = ':';
        }
        if (o->name)
            g->longs[n++] = (struct option){o->name, has_arg, NULL, ID_FIRST + i};
    }
    *p = '\0';
    g->longs[n] = (struct option){0};
}

static void dashes_for_underscores(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--"); i++)
        if (!strncmp(argv[i], "--", 2))
            for (char *p = argv[i] + 2; *p && *p != '='; p++)
                if (*p == '_')
                    *p = '-';
}

/* ---- names that users bring along ---- */

static bool has_name(const struct opt_merged *m, const char *name)
{
    for (int i = 0; i < m->n; i++)
        if (m->row[i].name && !strcmp(m->row[i].name, name))
            return true;
    return !strcmp(name, "help") || !strcmp(name, "version");
}

/* How many options the name typed, n bytes of it, could be short for. */
static int n_meant(const struct opt_merged *m, const char *typed, size_t n)
{
    int k = !strncmp("help", typed, n) + !strncmp("version", typed, n);
    for (int i = 0; i < m->n; i++)
        k += m->row[i].name && !strncmp(m->row[i].name, typed, n);
    return k;
}

/* --model-name-or-path becomes --model, where the program has that and not the other. */
static void translate_habits(const struct opt_merged *m, int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--"); i++) {
        if (strncmp(argv[i], "--", 2) != 0)
            continue;
        const char *typed = argv[i] + 2;
        size_t n = strcspn(typed, "=");
        const struct opt_habit *h = n_meant(m, typed, n) ? NULL : opt_habit(typed, n);
        if (h && h->is_same && has_name(m, h->ours))
            argv[i] = mem_printf("--%s%s", h->ours, typed + n); /* as long as the program */
    }
}

static RAISE_NORETURN void refuse_unknown(const struct opt_spec *spec,
                                          const struct opt_merged *m, const char *typed)
{
    if (optopt && optopt < ID_HELP)
        opt_misuse("unknown option '-%c'", optopt);
    size_t n = strcspn(typed + 2, "=");
    struct buf all = {0};
    if (n_meant(m, typed + 2, n) > 1) {
        for (int i = 0; i < m->n; i++)
            if (m->row[i].name && m->row[i].help && !strncmp(m->row[i].name, typed + 2, n))
                buf_printf(&all, "%s--%s", all.len ? ", " : "", m->row[i].name);
        opt_misuse("option '%s' may be %s", typed, buf_str(&all));
    }
    const char *near = opt_near(m, typed + 2, n);
    if (near)
        opt_misuse("unknown option '%.*s': did you mean --%s?", (int)n + 2, typed, near);
    if (spec->max_args && opt_means_data(typed + 2, n))
        opt_misuse("unknown option '%.*s': the file stands without one: %s %s", (int)n + 2,
                   typed, spec->program, spec->usage);
    opt_misuse("unknown option '%.*s'", (int)n + 2, typed);
}

static RAISE_NORETURN void complete(const struct opt_spec *spec, const struct opt_merged *m,
                                    const char *shell)
{
    if (opt_print_completions(spec, m, shell) < 0)
        opt_misuse("--completions: '%s' is not one of bash, zsh, fish", shell);
    leave_ok();
}

static const struct opt *row_of(const struct opt_merged *m, int id)
{
    if (id >= ID_FIRST)
        return &m->row[id - ID_FIRST];
    for (int i = 0; i < m->n; i++)
        if (m->row[i].letter == id && m->row[i].type != OPT_HEADING)
            return &m->row[i];
    return NULL;
}

static void apply_common(const struct opt_spec *spec, void *options)
{
    struct opt_common *c = AT(options, spec->common_offset, struct opt_common);
    log_level = c->is_quiet ? 0 : 1 + c->verbose;
    if (c->n_threads > 0)
        omp_set_num_threads((int)c->n_threads);
}

int opt_parse(const struct opt_spec *spec, void *options, int argc, char **argv)
{
    struct opt_merged m;
    struct getopt_tables g = {0};
    struct err e = ERR_INIT;
    const char **shell = &AT(options, spec->common_offset, struct opt_common)->shell;
    log_program = spec->program;
    file_open_std();
    if (omp_get_max_threads() > MAX_THREADS)
        opt_misuse("OMP_NUM_THREADS: at most %d", (int)MAX_THREADS);
    merge(&m, spec);
    build_tables(&g, &m);
    dashes_for_underscores(argc, argv);
    translate_habits(&m, argc, argv);
    if (argc == 1 && spec->input && isatty(STDIN_FILENO)) {
        opt_print_short(spec);
        leave_ok();
    }
    for (;;) {
        int id = getopt_long(argc, argv, g.letters, g.longs, NULL);
        if (id < 0)
            break;
        if (id == 'h' || id == ID_HELP) {
            opt_print_help(spec, &m, options);
            leave_ok();
        }
        if (id == 'V' || id == ID_VERSION) {
            version_print(stdout, spec->program);
            leave_ok();
        }
        if (id == ':')
            opt_misuse("option '%s' needs an argument", argv[optind - 1]);
        const struct opt *o = id == '?' ? NULL : row_of(&m, id);
        if (!o)
            refuse_unknown(spec, &m, argv[optind - 1]);
        if (opt_set(o, options, optarg, &e) < 0) {
            if (o->name)
                opt_misuse("--%s: %s", o->name, e.msg);
            opt_misuse("-%c: %s", o->letter, e.msg);
        }
        if (*shell)
            complete(spec, &m, *shell);
    }
    int n_args = argc - optind;
    if (n_args < spec->min_args)
        opt_misuse("%d argument%s missing", spec->min_args - n_args,
                   spec->min_args - n_args > 1 ? "s" : "");
    if (spec->max_args >= 0 && n_args > spec->max_args)
        opt_misuse("unexpected argument '%s'", argv[optind + spec->max_args]);
    apply_common(spec, options);
    return optind;
}

/* ---- the command line, for histories ---- */

/* Says only where bytes and words go, how many threads work, or that a killed run is continued:
 * nothing that changes the result. */
static bool is_immaterial(const struct opt *o)
{
    static const char *const names[] = {"threads", "quiet",     "verbose",
                                        "resume",  "no-resume", "checkpoint"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (o->name && !strcmp(o->name, names[i]))
            return true;
    return o->type == OPT_PLACE;
}

static void put_word(struct buf *b, const char *word)
{
    bool is_plain = *word != '\0';
    for (const char *p = word; *p; p++)
        is_plain = is_plain && (isalnum((unsigned char)*p) || strchr("-_./=,:+@%", *p));
    if (is_plain) {
        buf_puts(b, word);
        return;
    }
    buf_putc(b, '\'');
    for (const char *p = word; *p; p++) {
        if (*p == '\'')
            buf_puts(b, "'\\''");
        else
            buf_putc(b, *p);
    }
    buf_putc(b, '\'');
}

/* The row that an alias stands for: the first of its offset. */
static const struct opt *main_row(const struct opt_merged *m, const struct opt *o)
{
    for (int i = 0; i < m->n; i++)
        if (m->row[i].offset == o->offset && m->row[i].type == o->type)
            return &m->row[i];
    return o;
}

static void put_option(struct buf *b, const struct opt *o, const char *arg)
{
    if (o->name)
        buf_printf(b, " --%s", o->name);
    else
        buf_printf(b, " -%c", o->letter);
    if (arg) {
        buf_putc(b, ' ');
        put_word(b, arg);
    }
}

char *opt_command_line(const struct opt_spec *spec, int argc, char **argv)
{
    struct opt_merged m;
    struct getopt_tables g = {0};
    struct buf b = {0};
    int was = optind, id;
    merge(&m, spec);
    build_tables(&g, &m);
    buf_puts(&b, spec->program);
    optind = 0; /* from the start; what opt_parse took is well-formed */
    while ((id = getopt_long(argc, argv, g.letters, g.longs, NULL)) >= 0) {
        const struct opt *o = row_of(&m, id);
        if (o && !is_immaterial(o))
            put_option(&b, main_row(&m, o), optarg);
    }
    for (int i = was; i < argc; i++) {
        buf_puts(&b, i == was && argv[i][0] == '-' && argv[i][1] ? " -- " : " ");
        put_word(&b, argv[i]);
    }
    optind = was;
    return buf_str(&b);
}
