/* SPDX-License-Identifier: MIT
 * opt: command lines from one table a program; see opt.h. */
#include "base/opt.h"

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
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

#define AT(base, off, type) ((type *)(void *)((char *)(base) + (off)))
#define COMMON(field) offsetof(struct opt_common, field)

static const struct opt common_table[] = {
    {'o', "output", OPT_STRING, COMMON(out), "FILE", "write to FILE, not standard output", 0, 0,
     NULL},
    {'t', "threads", OPT_INT, COMMON(n_threads), "N", "threads in total; 0: all cores", 0, 4096,
     NULL},
    {'u', "uncompressed", OPT_FLAG, COMMON(is_uncompressed), NULL,
     "write one plain .safetensors file", 0, 0, NULL},
    {'s', "seed", OPT_UINT64, COMMON(seed), "SEED", "seed of every random choice", 0, 0, NULL},
    {'p', "no-provenance", OPT_FLAG, COMMON(no_provenance), NULL,
     "leave the history out of the output", 0, 0, NULL},
    {'q', "quiet", OPT_FLAG, COMMON(is_quiet), NULL, "errors only", 0, 0, NULL},
    {'v', "verbose", OPT_COUNT, COMMON(verbose), NULL, "say more; may be repeated", 0, 0, NULL},
    {0, NULL, OPT_END, 0, NULL, NULL, 0, 0, NULL},
};

enum { N_MAX_OPTS = 96, ID_HELP = 1000, ID_VERSION, ID_FIRST };

/* The program's table and the common options it takes, side by side for parser and help. */
struct merged {
    struct opt row[N_MAX_OPTS];
    int n;
};

static void merge(struct merged *m, const struct opt_spec *spec)
{
    m->n = 0;
    for (const struct opt *o = spec->table; o && o->type != OPT_END && m->n < N_MAX_OPTS; o++)
        m->row[m->n++] = *o;
    for (const struct opt *o = common_table; o->type != OPT_END && m->n < N_MAX_OPTS; o++) {
        if (o->letter != 'q' && o->letter != 'v' && !strchr(spec->common, o->letter))
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
        *AT(options, o->offset, const char *) = arg;
        return 0;
    case OPT_CHOICE:
        return parse_choice(arg, o, AT(options, o->offset, int), e);
    case OPT_HEADING:
    case OPT_END:
        break;
    }
    return err_set(e, ERR_UNSUPPORTED, "internal: option type %d", (int)o->type);
}

/* Text from column `at` on, in lines of at most 80 columns that begin at `indent`; broken at
 * blanks and after '|' and ','. */
static void print_wrapped(const char *text, int at, int indent)
{
    int n_blanks = 0;
    while (*text) {
        int n = (int)strcspn(text, " |,\n");
        n += text[n] == '|' || text[n] == ',';
        if (*text == '\n' || (n && at > indent && at + n_blanks + n > 80)) {
            printf("\n%*s", indent, "");
            at = indent;
            n_blanks = 0;
        }
        if (n)
            at += printf("%*s%.*s", n_blanks, "", n, text);
        n_blanks = *text == ' ' ? n_blanks + 1 : 0;
        text += n ? n : 1;
    }
    putchar('\n');
}

static void add_default(struct buf *b, const struct opt *o, const void *options)
{
    const char *base = options;
    switch (o->type) {
    case OPT_INT:
        buf_printf(b, " [%lld]", (long long)*(const int64_t *)(const void *)(base + o->offset));
        break;
    case OPT_UINT64:
        buf_printf(b, " [%llu]",
                   (unsigned long long)*(const uint64_t *)(const void *)(base + o->offset));
        break;
    case OPT_REAL:
        buf_printf(b, " [%g]", *(const double *)(const void *)(base + o->offset));
        break;
    case OPT_STRING: {
        const char *s = *(const char *const *)(const void *)(base + o->offset);
        if (s)
            buf_printf(b, " [%s]", s);
        break;
    }
    case OPT_CHOICE:
        buf_printf(b, " [%s]", o->choices[*(const int *)(const void *)(base + o->offset)]);
        break;
    case OPT_FLAG:
    case OPT_COUNT:
    case OPT_HEADING:
    case OPT_END:
        break;
    }
}

static void print_help(const struct opt_spec *spec, const struct merged *m, const void *options)
{
    enum { INDENT = 31 };
    printf("Usage: %s %s\n", spec->program, spec->usage);
    print_wrapped(spec->summary, 0, 0);
    printf("\nOptions:\n");
    for (int i = 0; i < m->n; i++) {
        const struct opt *o = &m->row[i];
        if (o->type == OPT_HEADING) {
            printf("%s:\n", o->help);
            continue;
        }
        char left[128];
        char letter[8] = "    ";
        if (o->letter)
            snprintf(letter, sizeof letter, "-%c%s", o->letter, o->name ? ", " : "  ");
        snprintf(left, sizeof left, "  %s%s%s%s%s", letter, o->name ? "--" : "",
                 o->name ? o->name : "", o->arg ? " " : "", o->arg ? o->arg : "");
        struct buf text = {0};
        buf_puts(&text, o->help);
        for (int c = 0; o->type == OPT_CHOICE && o->choices[c]; c++)
            buf_printf(&text, "%s%s", c ? "|" : ": ", o->choices[c]);
        add_default(&text, o, options);
        printf("%-30s %s", left,
               strlen(left) > INDENT - 1 ? "\n                               " : "");
        print_wrapped(buf_str(&text), INDENT, INDENT);
        buf_free(&text);
    }
    printf("  -h, --help                   print this help\n"
           "  -V, --version                print version, compiler and libraries\n");
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
    char letters[2 * N_MAX_OPTS + 8];
    struct option longs[N_MAX_OPTS + 4];
};

static void build_tables(struct getopt_tables *g, const struct merged *m)
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

static const struct opt *row_of(const struct merged *m, int id)
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
    struct merged m;
    struct getopt_tables g = {0};
    struct err e = ERR_INIT;
    log_program = spec->program;
    file_open_std();
    merge(&m, spec);
    build_tables(&g, &m);
    dashes_for_underscores(argc, argv);
    for (;;) {
        int at = optind;
        int id = getopt_long(argc, argv, g.letters, g.longs, NULL);
        if (id < 0)
            break;
        if (id == 'h' || id == ID_HELP) {
            print_help(spec, &m, options);
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
            opt_misuse("unknown option '%s'", argv[at]);
        if (opt_set(o, options, optarg, &e) < 0) {
            if (o->name)
                opt_misuse("--%s: %s", o->name, e.msg);
            opt_misuse("-%c: %s", o->letter, e.msg);
        }
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

/* 0: argument i matters; else how many from i on only say where bytes and words go, how many
 * threads work, or that a killed run is continued: nothing that changes the result. */
static int is_immaterial(int argc, char **argv, int i)
{
    static const char *const with_value[] = {"--output", "--threads"};
    static const char *const flags[] = {"--quiet", "--verbose", "--resume", "--no-resume"};
    const char *a = argv[i];
    if (a[0] == '-' && (a[1] == 'o' || a[1] == 't'))
        return a[2] || i + 1 == argc ? 1 : 2;
    if (a[0] == '-' && strspn(a + 1, "qv") > 0 && !a[1 + strspn(a + 1, "qv")])
        return 1;
    size_t n = strcspn(a, "=");
    for (size_t k = 0; n >= 5 && k < sizeof with_value / sizeof *with_value; k++)
        if (!strncmp(a, with_value[k], n))
            return a[n] || i + 1 == argc ? 1 : 2;
    for (size_t k = 0; n >= 5 && k < sizeof flags / sizeof *flags; k++)
        if (!strncmp(a, flags[k], n))
            return 1;
    return 0;
}

char *opt_command_line(int argc, char **argv)
{
    struct buf b = {0};
    bool is_over = false; /* "--" came */
    for (int i = 0; i < argc; i++) {
        int n_skipped = i && !is_over ? is_immaterial(argc, argv, i) : 0;
        if (n_skipped) {
            i += n_skipped - 1;
            continue;
        }
        const char *a = argv[i];
        is_over = is_over || !strcmp(a, "--");
        const char *slash = strrchr(a, '/');
        if (!i && slash)
            a = slash + 1; /* where the program was installed is no part of the result */
        if (i)
            buf_putc(&b, ' ');
        bool is_plain = *a != '\0';
        for (const char *p = a; *p; p++)
            is_plain = is_plain && (isalnum((unsigned char)*p) || strchr("-_./=,:+@%", *p));
        if (is_plain) {
            buf_puts(&b, a);
            continue;
        }
        buf_putc(&b, '\'');
        for (const char *p = a; *p; p++) {
            if (*p == '\'')
                buf_puts(&b, "'\\''");
            else
                buf_putc(&b, *p);
        }
        buf_putc(&b, '\'');
    }
    return buf_str(&b);
}
