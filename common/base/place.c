/* SPDX-License-Identifier: MIT
 * place: outputs and inputs, tried before work; see place.h. */
#include "base/place.h"

#include "base/file.h"
#include "base/mem.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void places_add(struct places *p, enum place_kind kind, const char *name, const char *path)
{
    if (!path)
        return;
    MEM_GROW(p->place, p->cap, p->n + 1);
    p->place[p->n++] = (struct place){kind, name, path, NULL};
}

void places_add_paths(struct places *p, const char *name, const char *paths)
{
    for (const char *line = paths; line;) {
        size_t n = file_exists(paths) ? strlen(line) : strcspn(line, "\n");
        MEM_GROW(p->place, p->cap, p->n + 1);
        char *own = mem_printf("%.*s", (int)n, line);
        p->place[p->n++] = (struct place){PLACE_INPUT, name, own, own};
        line = line[n] ? line + n + 1 : NULL;
    }
}

void places_free(struct places *p)
{
    for (size_t i = 0; i < p->n; i++)
        free(p->place[i].own);
    free(p->place);
    *p = (struct places){0};
}

/* ---- is it the same place? ---- */

static bool is_output(const struct place *p)
{
    return p->kind != PLACE_INPUT;
}

static bool look(const struct place *p, struct stat *st)
{
    if (file_is_std(p->path))
        return fstat(is_output(p) ? STDOUT_FILENO : STDIN_FILENO, st) == 0;
    return stat(p->path, st) == 0;
}

/* The deepest existing folder of the path, and what is left below it: both resolved by hand,
 * since the place itself need not be there yet. Owned by the caller. */
static char *existing_part(const char *path, const char **rest)
{
    char *head = mem_strdup(path);
    *rest = path + strlen(path);
    for (;;) {
        struct stat st;
        if (!stat(head, &st))
            return head;
        char *slash = strrchr(head, '/');
        if (!slash) {
            free(head);
            *rest = path;
            return mem_strdup(".");
        }
        *rest = path + (slash - head) + 1;
        slash[slash == head] = '\0';
        if (slash == head)
            return head;
    }
}

/* One spelling for a path that does not exist yet. Owned by the caller. */
static char *resolve(const char *path)
{
    const char *rest;
    char *head = existing_part(path, &rest), *real = realpath(head, NULL);
    struct buf b = {0};
    buf_puts(&b, real ? real : head);
    while (*rest) {
        size_t n = strcspn(rest, "/");
        if (n && !(n == 1 && rest[0] == '.'))
            buf_printf(&b, "/%.*s", (int)n, rest);
        rest += n + (rest[n] == '/');
    }
    free(real);
    free(head);
    return buf_str(&b);
}

static bool is_same(const struct place *a, const struct place *b)
{
    struct stat s, t;
    if (file_is_std(a->path) && file_is_std(b->path) && is_output(a) == is_output(b))
        return true;
    bool has_a = look(a, &s), has_b = look(b, &t);
    if (has_a && has_b) {
        /* A terminal or a socket may be standard input and output at once. */
        bool is_held = is_output(a) == is_output(b) ? !S_ISCHR(s.st_mode)
                                                    : S_ISREG(s.st_mode) || S_ISDIR(s.st_mode);
        return is_held && s.st_dev == t.st_dev && s.st_ino == t.st_ino;
    }
    if (has_a || has_b || file_is_std(a->path) || file_is_std(b->path))
        return false;
    char *p = resolve(a->path), *q = resolve(b->path);
    bool is_equal = !strcmp(p, q);
    free(p);
    free(q);
    return is_equal;
}

static int refuse(const struct place *a, const struct place *b, struct err *e)
{
    if (!is_output(a) && !is_output(b))
        return err_set(e, ERR_MISMATCH,
                       "%s and %s are both standard input, which can be read only once",
                       a->name, b->name);
    if (is_output(a) && is_output(b))
        return err_set(e, ERR_MISMATCH, "%s and %s go to one place: %s", a->name, b->name,
                       file_name_out(b->path));
    const struct place *out = is_output(a) ? a : b, *in = out == a ? b : a;
    return err_set(e, ERR_MISMATCH, "%s would overwrite %s: %s", out->name, in->name,
                   file_is_std(out->path) ? in->path : out->path);
}

int places_distinct(const struct places *p, struct err *e)
{
    for (size_t i = 0; i < p->n; i++)
        for (size_t j = 0; j < i; j++) {
            const struct place *a = &p->place[j], *b = &p->place[i];
            bool are_inputs = !is_output(a) && !is_output(b);
            /* The same file may well be read twice; what is piped in is there once. */
            if (are_inputs ? file_is_std(a->path) && file_is_std(b->path) : is_same(a, b))
                return refuse(a, b, e);
        }
    return 0;
}

/* ---- can it be written? ---- */

static int try_file(const char *path, struct err *e)
{
    struct stat st;
    if (file_is_std(path))
        return fstat(STDOUT_FILENO, &st) < 0 ? err_set_errno(e, "(standard output)") : 0;
    if (!stat(path, &st) && S_ISDIR(st.st_mode))
        return err_set(e, ERR_IO, "%s: is a folder", path);
    /* Opening a pipe would wait for its reader. */
    if (!stat(path, &st) && !S_ISREG(st.st_mode))
        return access(path, W_OK) < 0 ? err_set_errno(e, "%s", path) : 0;
    struct outfile *o = outfile_open(path, e);
    if (!o)
        return e->code;
    outfile_abort(o);
    return 0;
}

static int try_folder(const char *path, struct err *e)
{
    const char *rest;
    struct stat st;
    char *head = existing_part(path, &rest);
    int rc = 0;
    if (!stat(head, &st) && !S_ISDIR(st.st_mode)) {
        errno = ENOTDIR;
        rc = err_set_errno(e, "%s", path);
    } else {
        char *probe = mem_printf("%s/.raise", head);
        struct err why = ERR_INIT;
        if (try_file(probe, &why) < 0)
            rc =
                err_set(e, why.code, "%s: no folder can be made or written: %s", path, why.msg);
        free(probe);
    }
    free(head);
    return rc;
}

int places_writable(const struct places *p, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; !rc && i < p->n; i++) {
        if (p->place[i].kind == PLACE_FILE)
            rc = try_file(p->place[i].path, e);
        else if (p->place[i].kind == PLACE_FOLDER)
            rc = try_folder(p->place[i].path, e);
    }
    return rc;
}
