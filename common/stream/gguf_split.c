/* SPDX-License-Identifier: MIT
 * gguf_split: a model in several files, as llama.cpp's gguf-split makes them; see gguf_priv.h.
 *
 * NAME-00001-of-00005.gguf has all metadata; every part says which it is (split.no, from 0) of
 * how many (split.count), and how many tensors all have together (split.tensors.count). */
#include "base/mem.h"
#include "stream/gguf_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_PARTS = 99999 }; /* of five digits */

/* The path of part i of n (from 0) beside `path`, which is part `own`; NULL if that is not
 * named as parts are. Owned by the caller. */
static char *path_of_part(const char *path, int64_t own, int64_t i, int64_t n)
{
    char tail[48];
    snprintf(tail, sizeof tail, "-%05d-of-%05d.gguf", (int)own + 1, (int)n);
    size_t len = strlen(path), k = strlen(tail);
    if (len < k || strcmp(path + len - k, tail) != 0)
        return NULL;
    return mem_printf("%.*s-%05d-of-%05d.gguf", (int)(len - k), path, (int)i + 1, (int)n);
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static int refuse_missing(const struct gguf *g, int64_t n, const char *missing, struct err *e)
{
    if (!missing)
        return err_set(e, ERR_FORMAT,
                       "%s: part 1 of %" PRId64
                       ", but not named NAME-00001-of-%05d.gguf, so that "
                       "the others could be found",
                       g->path, n, (int)n);
    return err_set(e, ERR_FORMAT, "%s: part 1 of %" PRId64 ", and %s is not beside it", g->path,
                   n, base_name(missing));
}

/* Moves the tensors of a part to g, which keeps the part for their bytes. */
static void take_part(struct gguf *g, struct gguf *part)
{
    int64_t n = g->n_tensors + part->n_tensors;
    struct gguf_tensor *all = mem_alloc((size_t)n, sizeof *all);
    if (g->n_tensors)
        memcpy(all, g->tensors, (size_t)g->n_tensors * sizeof *all);
    if (part->n_tensors)
        memcpy(all + g->n_tensors, part->tensors, (size_t)part->n_tensors * sizeof *all);
    free(g->tensors);
    g->tensors = all;
    g->n_tensors = n;
    part->n_tensors = 0;
    g->parts[g->n_parts++] = part;
}

static int open_next(struct gguf *g, int64_t i, int64_t n, struct err *e)
{
    int64_t no = -1, count = -1;
    char *path = path_of_part(g->path, 0, i, n);
    if (!path || !file_exists(path)) {
        int code = refuse_missing(g, n, path, e);
        free(path);
        return code;
    }
    struct gguf *part = gguf_open_part(path, e);
    if (part && (!gguf_get_int(part, "split.no", &no) ||
                 !gguf_get_int(part, "split.count", &count) || no != i || count != n)) {
        err_set(e, ERR_FORMAT, "%s: is not part %" PRId64 " of %" PRId64, path, i + 1, n);
        gguf_close(part);
        part = NULL;
    }
    free(path);
    if (!part)
        return e->code;
    take_part(g, part);
    return 0;
}

static int check_whole(struct gguf *g, struct err *e)
{
    int64_t n;
    if (gguf_get_int(g, "split.tensors.count", &n) && n != g->n_tensors)
        return err_set(e, ERR_FORMAT,
                       "%s: its parts have %" PRId64
                       " tensors together, and should have %" PRId64,
                       g->path, g->n_tensors, n);
    free(g->by_name);
    g->by_name = mem_zalloc((size_t)g->n_tensors, sizeof *g->by_name);
    return gguf_index(g, e);
}

/* Where g says that it is the first of several parts, opens the others beside it and takes
 * their tensors. */
static int join(struct gguf *g, struct err *e)
{
    int64_t no = 0, n = 1;
    if (!gguf_get_int(g, "split.count", &n) || n == 1)
        return 0;
    if (!gguf_get_int(g, "split.no", &no) || n < 1 || n > MOST_PARTS || no < 0 || no >= n)
        return err_set(e, ERR_FORMAT, "%s: part %" PRId64 " of %" PRId64, g->path, no + 1, n);
    if (no > 0) {
        char *first = path_of_part(g->path, no, 0, n);
        err_set(e, ERR_FORMAT,
                "%s: part %" PRId64 " of %" PRId64 ": the first is the model's name%s%s",
                g->path, no + 1, n, first ? ", " : "", first ? base_name(first) : "");
        free(first);
        return e->code;
    }
    g->parts = mem_zalloc((size_t)n, sizeof *g->parts);
    for (int64_t i = 1; i < n; i++)
        if (open_next(g, i, n, e) < 0)
            return e->code;
    return check_whole(g, e);
}

struct gguf *gguf_open(const char *path, struct err *e)
{
    struct err local = ERR_INIT;
    e = e ? e : &local;
    struct gguf *g = gguf_open_part(path, e);
    if (g && join(g, e) < 0) {
        gguf_close(g);
        return NULL;
    }
    return g;
}
