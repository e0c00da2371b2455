/* SPDX-License-Identifier: MIT
 * dataset_reader: records read again from their places; see dataset.h.
 *
 * A reader holds a window of one file. A record that lies in it costs no reading, so in file
 * order there is one for a hundred records; else the window moves, and grows until it holds the
 * record's end. */
#include "data/dataset_impl.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum { WINDOW_BYTES = 1 << 16 };

struct data_reader {
    const struct dataset *d;
    int64_t file; /* -1: none yet */
    int fd;       /* of it; -1: it is in the spool */
    struct buf window;
    int64_t from; /* place of its first byte */
    struct buf object;
    struct arena arena;
    struct data_record record;
};

struct data_reader *data_reader_new(const struct dataset *d)
{
    struct data_reader *r = mem_zalloc(1, sizeof *r);
    *r = (struct data_reader){.d = d, .file = -1, .fd = -1};
    return r;
}

void data_reader_free(struct data_reader *r)
{
    if (!r)
        return;
    if (r->fd >= 0)
        close(r->fd);
    buf_free(&r->window);
    buf_free(&r->object);
    arena_free(&r->arena);
    free(r);
}

int64_t data_store_find(const struct data_store *t, int64_t source)
{
    int64_t lo = 0, hi = t->n_files - 1;
    while (lo < hi) {
        int64_t mid = lo + (hi - lo + 1) / 2;
        if (t->files[mid].source <= source)
            lo = mid;
        else
            hi = mid - 1;
    }
    return lo;
}

static int open_file(struct data_reader *r, int64_t file, struct err *e)
{
    const struct data_file *f = &r->d->store->files[file];
    if (r->file == file)
        return 0;
    if (r->fd >= 0)
        close(r->fd);
    r->fd = -1;
    r->file = -1;
    r->window.len = 0;
    if (f->path && (r->fd = open(f->path, O_RDONLY | O_CLOEXEC)) < 0)
        return err_set_errno(e, "%s", f->name);
    r->file = file;
    return 0;
}

/* The window from `place` on, n bytes of it, or as many as there are. */
static int move_window(struct data_reader *r, const struct data_file *f, int64_t place,
                       size_t n, struct err *e)
{
    int64_t left = f->size - place;
    if ((int64_t)n > left)
        n = left > 0 ? (size_t)left : 0;
    MEM_GROW(r->window.data, r->window.cap, n + 1);
    int64_t got = f->path
                      ? spool_pread(r->fd, place, r->window.data, n, f->name, e)
                      : spool_read(r->d->store->spool, f->base + place, r->window.data, n, e);
    r->from = place;
    r->window.len = got > 0 ? (size_t)got : 0;
    return got < 0 ? (int)got : 0;
}

/* The record in the window from byte `at` on: its JSON text. */
static bool find_end(struct data_reader *r, const struct data_file *f, size_t at,
                     const char **text, size_t *len)
{
    const char *s = r->window.data + at;
    size_t n = r->window.len - at;
    bool is_last = r->from + (int64_t)r->window.len >= f->size;
    if (f->phase != PHASE_ROWS) {
        *text = s;
        *len = data_scan_again(f->phase, s, n, is_last);
        return *len > 0;
    }
    r->object.len = 0;
    if (!data_csv_again(f->csv, s, n, is_last, &r->object))
        return false;
    *text = r->object.data;
    *len = r->object.len;
    return true;
}

static int find_text(struct data_reader *r, const struct data_file *f, int64_t place,
                     const char **text, size_t *len, struct err *e)
{
    int64_t end = r->from + (int64_t)r->window.len;
    if (place >= r->from && place < end && find_end(r, f, (size_t)(place - r->from), text, len))
        return 0;
    for (size_t n = WINDOW_BYTES;; n *= 4) {
        int rc = move_window(r, f, place, n, e);
        if (rc < 0 || find_end(r, f, 0, text, len))
            return rc;
        if (r->window.len < n)
            return err_set(e, ERR_MISMATCH, "is not there any more");
    }
}

const struct data_record *data_reader_get(struct data_reader *r, int64_t i, struct err *e)
{
    struct err local = ERR_INIT;
    const struct data_row *row = &r->d->records[i];
    int64_t file = data_store_find(r->d->store, row->source), line = row->line;
    const struct data_file *f = &r->d->store->files[file];
    const char *text = NULL;
    size_t len = 0;
    e = e ? e : &local;
    if (open_file(r, file, e) < 0)
        return NULL;
    arena_reset(&r->arena);
    int rc = find_text(r, f, row->place, &text, &len, e);
    if (rc == 0)
        rc = data_record_parse(&r->record, text, len, f->phase == PHASE_ROWS, row->place,
                               &r->arena, &line, e);
    if (rc == ERR_IO)
        return NULL;
    r->record.source = row->source;
    r->record.line = row->line;
    if (rc == 0 && r->record.hash == row->hash)
        return &r->record;
    err_set(e, ERR_MISMATCH, "the file was changed while it was read");
    return NULL;
}
