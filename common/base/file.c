/* SPDX-License-Identifier: MIT
 * file: whole files, mapped files, atomic output; see file.h. */
#include "base/file.h"

#include "base/guard.h"
#include "base/limit.h"
#include "base/mem.h"
#include "base/temp.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>

struct outfile {
    int fd;
    char *path;        /* as the caller names it; NULL: standard output */
    char *target;      /* where symbolic links lead */
    struct temp *temp; /* NULL: written in place (standard output, a device, a pipe) */
    int64_t n_bytes;
};

bool file_is_std(const char *path)
{
    return !path || (path[0] == '-' && !path[1]);
}

const char *file_name_in(const char *path)
{
    return file_is_std(path) ? "(standard input)" : path;
}

const char *file_name_out(const char *path)
{
    return file_is_std(path) ? "(standard output)" : path;
}

bool file_exists(const char *path)
{
    struct stat st;
    return !stat(path, &st);
}

int file_read_all(const char *path, char **data, size_t *len, struct err *e)
{
    const char *name = file_name_in(path);
    int fd = file_is_std(path) ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set_errno(e, "%s", name);
    int rc = 0;
    struct buf b = {0};
    while (!rc) {
        if (b.cap - b.len < 65536 + 1 && (rc = limit_room(b.cap / 2 + 65536, name, e)) < 0)
            break;
        MEM_GROW(b.data, b.cap, b.len + 65536 + 1);
        ssize_t n = read(fd, b.data + b.len, b.cap - b.len - 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            rc = err_set_errno(e, "%s", name);
        if (n <= 0)
            break;
        b.len += (size_t)n;
    }
    if (fd != STDIN_FILENO)
        close(fd);
    if (rc) {
        buf_free(&b);
        return rc;
    }
    *data = buf_str(&b);
    *len = b.len;
    return 0;
}

int file_check_regular(const char *path, struct err *e)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return err_set_errno(e, "%s", path);
    return S_ISREG(st.st_mode) ? 0 : err_set(e, ERR_IO, "%s: not a regular file", path);
}

int file_map_open(struct file_map *m, const char *path, struct err *e)
{
    static const unsigned char nothing[1];
    struct stat st;
    int rc = 0;
    m->data = nothing;
    m->len = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe is not waited for */
    if (fd < 0)
        return err_set_errno(e, "%s", path);
    if (fstat(fd, &st) < 0) {
        rc = err_set_errno(e, "%s", path);
    } else if (!S_ISREG(st.st_mode)) {
        rc = err_set(e, ERR_IO, "%s: not a regular file", path);
    } else if (st.st_size > 0) {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED) {
            rc = err_set_errno(e, "%s: mmap", path);
        } else {
            m->data = p;
            m->len = (size_t)st.st_size;
            guard_add(p, m->len, path, &st);
            temp_catch_signals();
        }
    }
    close(fd);
    return rc;
}

void file_map_close(struct file_map *m)
{
    if (m->len)
        guard_remove(m->data);
    if (m->len)
        munmap((void *)(uintptr_t)m->data, m->len);
    m->data = NULL;
    m->len = 0;
}

void file_map_release(const void *data, size_t len)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), at = (uintptr_t)data;
    uintptr_t first = at / page * page, last = (at + len + page - 1) / page * page;
    if (len)
        (void)madvise((void *)first, last - first, MADV_DONTNEED); /* only memory is at stake */
}

int file_refuse_tty(const char *path, struct err *e)
{
    if (file_is_std(path) && isatty(STDOUT_FILENO))
        return err_set(e, ERR_IO,
                       "(standard output): will not write binary data to a terminal");
    return 0;
}

/* ---- output ---- */

/* Follows `path`, if it is a symbolic link, to where the bytes will be, there or not; owned by
 * the caller. NULL with errno set. */
static char *resolve(const char *path)
{
    enum { MAX_LINKS = 40 };
    char *name = mem_strdup(path), link[PATH_MAX];
    for (int i = 0; i < MAX_LINKS; i++) {
        ssize_t n = readlink(name, link, sizeof link);
        if (n < 0)
            return name; /* no link, or not there: opening it tells what is wrong */
        const char *slash = *link == '/' ? NULL : strrchr(name, '/');
        char *next =
            mem_printf("%.*s%.*s", slash ? (int)(slash - name) + 1 : 0, name, (int)n, link);
        free(name);
        name = next;
    }
    free(name);
    errno = ELOOP;
    return NULL;
}

/* Devices and pipes are written in place: never rename over /dev/null. */
static int open_output(struct outfile *o)
{
    struct stat st;
    bool is_there = !stat(o->path, &st);
    if (is_there && !S_ISREG(st.st_mode)) {
        o->fd = open(o->path, O_WRONLY | O_CLOEXEC);
        return o->fd < 0 ? -1 : 0;
    }
    o->target = resolve(o->path);
    o->temp = o->target ? temp_open(o->target, is_there ? &st : NULL, &o->fd) : NULL;
    return o->temp ? 0 : -1;
}

static void release(struct outfile *o)
{
    if (o->path && o->fd >= 0)
        close(o->fd); /* of a temporary: after its rename, so that its lock outlives its name */
    free(o->path);
    free(o->target);
    free(o);
}

struct outfile *outfile_open(const char *path, struct err *e)
{
    struct outfile *o = mem_zalloc(1, sizeof *o);
    o->fd = STDOUT_FILENO;
    if (file_is_std(path))
        return o;
    o->fd = -1;
    o->path = mem_strdup(path);
    if (open_output(o) < 0) {
        err_set_errno(e, "%s", path);
        release(o);
        return NULL;
    }
    return o;
}

struct outfile *outfile_open_growing(const char *path, struct err *e)
{
    struct outfile *o = mem_zalloc(1, sizeof *o);
    o->fd = STDOUT_FILENO;
    if (file_is_std(path))
        return o;
    o->path = mem_strdup(path);
    o->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (o->fd >= 0)
        return o;
    err_set_errno(e, "%s", path);
    release(o);
    return NULL;
}

int outfile_write(struct outfile *o, const void *p, size_t len, struct err *e)
{
    const char *s = p;
    o->n_bytes += (int64_t)len;
    while (len) {
        ssize_t n = write(o->fd, s, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(e, "%s", file_name_out(o->path));
        s += n;
        len -= (size_t)n;
    }
    return 0;
}

int64_t outfile_tell(const struct outfile *o)
{
    return o->n_bytes;
}

static void sync_folder(const char *path)
{
    char *dir = mem_strdup(path);
    char *slash = strrchr(dir, '/');
    if (slash)
        slash[slash == dir] = '\0';
    int fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd); /* some file systems refuse it; the rename itself has succeeded */
        close(fd);
    }
    free(dir);
}

/* What a file system did not tell at fsync, nobody can be told at close. */
int outfile_commit(struct outfile *o, struct err *e)
{
    int rc = guard_check(e);
    if (rc < 0) {
        outfile_abort(o);
        return rc;
    }
    if (o->temp) {
        if (fsync(o->fd) < 0) {
            rc = err_set_errno(e, "%s", o->path);
            temp_remove(o->temp);
        } else if (temp_keep(o->temp, o->target) < 0) {
            rc = err_set_errno(e, "%s", o->path);
        } else {
            sync_folder(o->target);
        }
    } else if (o->path) {
        rc = close(o->fd) < 0 ? err_set_errno(e, "%s", o->path) : 0;
        o->fd = -1;
    } /* standard output is checked by file_close_stdout at the end of the program */
    release(o);
    return rc;
}

void outfile_abort(struct outfile *o)
{
    if (!o)
        return;
    if (o->temp)
        temp_remove(o->temp);
    release(o);
}

int file_write_all(const char *path, const void *p, size_t len, struct err *e)
{
    struct outfile *o = outfile_open(path, e);
    if (!o)
        return e ? e->code : ERR_IO;
    int rc = outfile_write(o, p, len, e);
    if (rc < 0) {
        outfile_abort(o);
        return rc;
    }
    return outfile_commit(o, e);
}

int file_mkdirs(const char *path, struct err *e)
{
    char *dir = mem_strdup(path);
    int rc = 0;
    for (char *p = dir + 1; !rc; p++) {
        char c = *p;
        if (c && c != '/')
            continue;
        *p = '\0';
        if (mkdir(dir, 0777) < 0 && errno != EEXIST)
            rc = err_set_errno(e, "%s", dir);
        *p = c;
        if (!c)
            break;
    }
    free(dir);
    return rc;
}

void file_open_std(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
            (void)open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

int file_close_stdout(struct err *e)
{
    int failed = ferror(stdout);
    if (fclose(stdout) || failed)
        return err_set_errno(e, "(standard output)");
    return guard_check(e);
}

int file_hash(const char *path, uint64_t *hash, struct err *e)
{
    struct file_map m;
    int rc = file_map_open(&m, path, e);
    if (rc < 0)
        return rc;
    *hash = XXH64(m.data, m.len, 0);
    file_map_close(&m);
    return 0;
}
