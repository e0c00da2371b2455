/* SPDX-License-Identifier: MIT
 * opt_help: -h and the short usage, from the same tables that are parsed; see opt.h. */
#include "base/mem.h"
#include "base/opt_impl.h"

#include <stdio.h>
#include <string.h>

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
    case OPT_STRING:
    case OPT_PATHS:
    case OPT_PLACE: {
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

static void print_examples(const struct opt_spec *spec)
{
    if (!spec->examples)
        return;
    printf("\nExamples:\n");
    for (const char *p = spec->examples; *p;) {
        int n = (int)strcspn(p, "\n");
        printf("  %.*s\n", n, p);
        p += n + (p[n] == '\n');
    }
}

void opt_print_short(const struct opt_spec *spec)
{
    printf("Usage: %s %s\n", spec->program, spec->usage);
    print_wrapped(spec->summary, 0, 0);
    putchar('\n');
    print_wrapped(spec->input, 0, 0);
    print_examples(spec);
    printf("\n%s -h lists the options; man %s has more.\n", spec->program, spec->program);
}

void opt_print_help(const struct opt_spec *spec, const struct opt_merged *m,
                    const void *options)
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
        if (!o->help)
            continue; /* an alias */
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
    print_examples(spec);
}
