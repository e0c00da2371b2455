/* SPDX-License-Identifier: MIT
 * opt_complete: --completions, from the same tables that are parsed; see opt.h.
 *
 * What a shell may offer for an option is read off its row: a choice's words, the words that
 * the program tells (opt_spec's `words`), else files or folders by the name that its argument
 * has in -h. Nothing is offered for a number. The scripts need no library of the shell's:
 * bash's is autoloaded by bash-completion and falls back on readline's own file names, zsh's is
 * a function of compsys, fish's is a list of `complete`. */
#include "base/mem.h"
#include "base/opt_impl.h"

#include <stdio.h>
#include <string.h>

struct offer {
    struct buf words; /* each after a blank */
    bool is_list;     /* several of them, with commas between */
    bool has_files, has_folders;
};

static bool is_one_of(const char *s, const char *const *all)
{
    for (int i = 0; all[i]; i++)
        if (!strcmp(s, all[i]))
            return true;
    return false;
}

static bool takes_arg(const struct opt *o)
{
    return o->type != OPT_FLAG && o->type != OPT_COUNT;
}

static bool is_shown(const struct opt *o)
{
    return o->help && o->type != OPT_HEADING;
}

static struct offer offer_of(const struct opt_spec *spec, const struct opt *o)
{
    static const char *const files[] = {"FILE", "PATH", "MODEL", "POLICY", NULL},
                             *const lists[] = {"LIST", "NAMES", "PARTS", NULL};
    struct offer f = {0};
    if (o->type == OPT_CHOICE)
        for (int i = 0; o->choices[i]; i++)
            buf_printf(&f.words, " %s", o->choices[i]);
    if (o->type != OPT_STRING && o->type != OPT_PATHS && o->type != OPT_PLACE)
        return f;
    f.has_files = is_one_of(o->arg, files);
    f.has_folders = !strcmp(o->arg, "DIR");
    f.is_list = is_one_of(o->arg, lists);
    if (o->choices)
        for (int i = 0; o->choices[i]; i++)
            buf_printf(&f.words, " %s", o->choices[i]);
    else if (spec->words && o->name && spec->words(o->name, &f.words))
        f.has_files = true;
    return f;
}

/* What stands for the first argument, if words do; files are offered in any case. */
static struct offer offer_first(const struct opt_spec *spec)
{
    struct offer f = {.has_files = spec->max_args != 0};
    if (spec->words)
        spec->words(NULL, &f.words);
    return f;
}

static const char *words_of(struct offer *f)
{
    const char *s = buf_str(&f->words);
    return *s ? s + 1 : s;
}

/* The help's first clause, with what the shell's quoting would trip over marked or left out. */
static void put_help(const char *help, const char *marked)
{
    for (const char *p = help; *p && *p != ';' && strncmp(p, ": ", 2) != 0; p++) {
        if (*p == '\'')
            printf("\u2019");
        else if (strchr(marked, *p))
            printf("\\%c", *p);
        else
            putchar(*p);
    }
}

/* A name for functions: raise_embed. */
static const char *function_name(const struct opt_spec *spec, char name[64])
{
    snprintf(name, 64, "%s", spec->program);
    for (char *p = name; *p; p++)
        if (*p == '-')
            *p = '_';
    return name;
}

/* ---- bash ---- */

static void bash_pattern(const struct opt *o)
{
    if (o->letter)
        printf("-%c%s", o->letter, o->name ? "|" : "");
    if (o->name)
        printf("--%s", o->name);
}

/* One case of `case $prev in`; nothing for what is completed to a file by readline. */
static void bash_case(const struct opt_spec *spec, const struct opt *o)
{
    struct offer f = offer_of(spec, o);
    printf("    ");
    bash_pattern(o);
    printf(")\n");
    if (f.is_list && f.words.len)
        printf("        compopt +o default -o nospace\n"
               "        COMPREPLY=($(compgen -P \"${cur%%\"${cur##*,}\"}\" -W '%s' -- "
               "\"${cur##*,}\"))\n",
               words_of(&f));
    else if (f.words.len)
        printf("        compopt %s\n        COMPREPLY=($(compgen %s-W '%s' -- \"$cur\"))\n",
               f.has_files ? "-o filenames" : "+o default", f.has_files ? "-f " : "",
               words_of(&f));
    else if (!f.has_files)
        printf("        compopt +o default%s\n", f.has_folders ? " -o dirnames" : "");
    printf("        return ;;\n");
    buf_free(&f.words);
}

static void print_bash(const struct opt_spec *spec, const struct opt_merged *m)
{
    char name[64];
    struct offer first = offer_first(spec);
    function_name(spec, name);
    printf("# bash completion for %s, made by %s --completions bash\n"
           "_%s()\n{\n"
           "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} i\n"
           "    local IFS=$' \\t\\n'\n"
           "    if [[ $cur == = ]]; then\n        cur=\n"
           "    elif [[ $prev == = ]]; then\n        prev=${COMP_WORDS[COMP_CWORD - 2]}\n"
           "    fi\n"
           "    case $prev in\n",
           spec->program, spec->program, name);
    for (int i = 0; i < m->n; i++)
        if (is_shown(&m->row[i]) && takes_arg(&m->row[i]))
            bash_case(spec, &m->row[i]);
    printf("    esac\n"
           "    if [[ $cur == -* ]]; then\n"
           "        COMPREPLY=($(compgen -W '--help --version");
    for (int i = 0; i < m->n; i++)
        if (is_shown(&m->row[i]) && m->row[i].name)
            printf(" --%s", m->row[i].name);
    printf("' -- \"$cur\"))\n        return\n    fi\n");
    if (first.words.len) {
        printf("    for ((i = 1; i < COMP_CWORD; i++)); do # is there an argument already?\n"
               "        case ${COMP_WORDS[i]} in\n        ");
        for (int i = 0, n = 0; i < m->n; i++)
            if (is_shown(&m->row[i]) && takes_arg(&m->row[i])) {
                printf("%s", n++ ? "|" : "");
                bash_pattern(&m->row[i]);
            }
        printf(") [[ ${COMP_WORDS[i + 1]} != = ]] || i=$((i + 1)); i=$((i + 1)) ;;\n"
               "        -*) ;;\n"
               "        *) return ;;\n        esac\n    done\n"
               "    compopt +o default\n"
               "    COMPREPLY=($(compgen -W '%s' -- \"$cur\"))\n",
               words_of(&first));
    } else if (!first.has_files) {
        printf("    compopt +o default\n");
    }
    printf("}\ncomplete -o default -F _%s %s\n", name, spec->program);
    buf_free(&first.words);
}

/* ---- zsh ---- */

/* ":ARG:action" */
static void zsh_action(const char *function, const struct opt *o, struct offer *f)
{
    printf(":%s:", o->arg);
    if (f->is_list && f->words.len)
        printf("_values -s , %s %s", o->arg, words_of(f));
    else if (f->words.len && f->has_files)
        printf("_%s_%s", function, o->name);
    else if (f->words.len)
        printf("(%s)", words_of(f));
    else if (f->has_folders)
        printf("_files -/");
    else if (f->has_files)
        printf("_files");
}

static void zsh_option(const struct opt_spec *spec, const char *function, const struct opt *o)
{
    static const char marked[] = "\\[]:";
    struct offer f = offer_of(spec, o);
    const char *after = takes_arg(o) ? "=" : "";
    if (o->type == OPT_COUNT || o->type == OPT_PATHS)
        printf("  '*'");
    else if (o->letter && o->name)
        printf("  '(-%c --%s)'", o->letter, o->name);
    else
        printf("  ");
    if (o->letter && o->name)
        printf("{-%c%s,--%s%s}", o->letter, takes_arg(o) ? "+" : "", o->name, after);
    else if (o->name)
        printf("--%s%s", o->name, after);
    else
        printf("-%c%s", o->letter, takes_arg(o) ? "+" : "");
    printf("'[");
    put_help(o->help, marked);
    putchar(']');
    if (takes_arg(o))
        zsh_action(function, o, &f);
    printf("' \\\n");
    buf_free(&f.words);
}

static void zsh_function(const char *function, const char *what, struct offer *f)
{
    printf("_%s_%s() { _alternative 'words:%s:(%s)' 'files:file:_files' }\n", function, what,
           what, words_of(f));
}

static void print_zsh(const struct opt_spec *spec, const struct opt_merged *m)
{
    char name[64];
    struct offer first = offer_first(spec);
    function_name(spec, name);
    printf("#compdef %s\n# zsh completion for %s, made by %s --completions zsh\n",
           spec->program, spec->program, spec->program);
    for (int i = 0; i < m->n; i++) {
        const struct opt *o = &m->row[i];
        struct offer f = {0};
        if (is_shown(o))
            f = offer_of(spec, o);
        if (f.words.len && f.has_files)
            zsh_function(name, o->name, &f);
        buf_free(&f.words);
    }
    printf("_arguments -s -S \\\n");
    for (int i = 0; i < m->n; i++)
        if (is_shown(&m->row[i]))
            zsh_option(spec, name, &m->row[i]);
    printf("  '(-h --help)'{-h,--help}'[print help]' \\\n"
           "  '(-V --version)'{-V,--version}'[print the version]'");
    if (first.words.len)
        printf(" \\\n  '1: :(%s)'", words_of(&first));
    if (first.has_files)
        printf(" \\\n  '*: :_files'");
    putchar('\n');
    buf_free(&first.words);
}

/* ---- fish ---- */

static void fish_option(const struct opt_spec *spec, const struct opt *o)
{
    struct offer f = offer_of(spec, o);
    printf("complete -c %s", spec->program);
    if (o->letter)
        printf(" -s %c", o->letter);
    if (o->name)
        printf(" -l %s", o->name);
    if (takes_arg(o))
        printf(f.has_files ? " -r -F" : " -x");
    if (f.is_list && f.words.len)
        printf(" -a '(__fish_append , %s)'", words_of(&f));
    else if (f.words.len)
        printf(" -a '%s'", words_of(&f));
    else if (f.has_folders)
        printf(" -a '(__fish_complete_directories)'");
    printf(" -d '");
    put_help(o->help, "\\");
    printf("'\n");
    buf_free(&f.words);
}

static void print_fish(const struct opt_spec *spec, const struct opt_merged *m)
{
    struct offer first = offer_first(spec);
    printf("# fish completion for %s, made by %s --completions fish\n", spec->program,
           spec->program);
    for (int i = 0; i < m->n; i++)
        if (is_shown(&m->row[i]))
            fish_option(spec, &m->row[i]);
    printf("complete -c %s -s h -l help -d 'print help'\n"
           "complete -c %s -s V -l version -d 'print the version'\n",
           spec->program, spec->program);
    if (first.words.len)
        printf("complete -c %s -a '%s'\n", spec->program, words_of(&first));
    if (!first.has_files)
        printf("complete -c %s -f\n", spec->program);
    buf_free(&first.words);
}

int opt_print_completions(const struct opt_spec *spec, const struct opt_merged *m,
                          const char *shell)
{
    static const struct {
        const char *name;
        void (*print)(const struct opt_spec *spec, const struct opt_merged *m);
    } shells[] = {{"bash", print_bash}, {"zsh", print_zsh}, {"fish", print_fish}};
    for (size_t i = 0; i < sizeof shells / sizeof *shells; i++)
        if (!strcmp(shell, shells[i].name)) {
            shells[i].print(spec, m);
            return 0;
        }
    return ERR_RANGE;
}
