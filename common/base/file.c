/* SPDX-License-Identifier: MIT
 * file: whole files, mapped files, atomic output; see file.h. */
#include "base/file.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>

struct outfile {
    int fd;
    char *path; /* NULL: standard output */
    char *tmp;  /* NULL: written in place (standard output, a device, a pipe) */
    int64_t n_bytes;
    struct outfile *next;
};

/* Open output files, for the signal handler. Changed only with signals blocked. */
static struct outfile *open_files;

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
    for (;;) {
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

int file_map_open(struct file_map *m, const char *path, struct err *e)
{
    static const unsigned char nothing[1];
    struct stat st;
    int rc = 0;
    m->data = nothing;
    m->len = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
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
        }
    }
    close(fd);
    return rc;
}

void file_map_close(struct file_map *m)
{
    if (m->len)
        munmap((void *)(uintptr_t)m->data, m->len);
    m->data = NULL;
    m->len = 0;
}

int file_refuse_tty(const char *path, struct err *e)
{
    if (file_is_std(path) && isatty(STDOUT_FILENO))
        return err_set(e, ERR_IO,
                       "(standard output): will not write binary data to a terminal");
    return 0;
}

static void remove_all_and_reraise(int sig)
{
    for (struct outfile *o = open_files; o; o = o->next)
        if (o->tmp)
            unlink(o->tmp);
    signal(sig, SIG_DFL);
    raise(sig);
}

static void block_signals(sigset_t *old)
{
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, old);
}

static void catch_signals(void)
{
    static const int sigs[] = {SIGINT, SIGTERM, SIGHUP};
    static bool done;
    if (done)
        return;
    done = true;
    for (size_t i = 0; i < sizeof sigs / sizeof *sigs; i++) {
        struct sigaction sa = {0}, was;
        if (!sigaction(sigs[i], NULL, &was) && was.sa_handler == SIG_IGN)
            continue; /* nohup stays nohup */
        sa.sa_handler = remove_all_and_reraise;
        sigemptyset(&sa.sa_mask);
        sigaction(sigs[i], &sa, NULL);
    }
}

struct outfile *outfile_open(const char *path, struct err *e)
{
    struct outfile *o = mem_zalloc(1, sizeof *o);
    o->fd = STDOUT_FILENO;
    if (file_is_std(path))
        return o;
    catch_signals();
    sigset_t old;
    block_signals(&old);
    o->path = mem_strdup(path);
    struct stat st;
    bool is_special =
        !stat(path, &st) && !S_ISREG(st.st_mode); /* never rename over /dev/null */
    o->tmp = is_special ? NULL : mem_printf("%s.tmp%ld", path, (long)getpid());
    o->fd = is_special ? open(path, O_WRONLY | O_CLOEXEC)
                       : open(o->tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (o->fd < 0) {
        err_set_errno(e, "%s", path);
        free(o->tmp);
        free(o->path);
        free(o);
        o = NULL;
    } else {
        o->next = open_files;
        open_files = o;
    }
    sigprocmask(SIG_SETMASK, &old, NULL);
    return o;
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

static void forget(struct outfile *o)
{
    for (struct outfile **p = &open_files; *p; p = &(*p)->next)
        if (*p == o) {
            *p = o->next;
            break;
        }
    free(o->path);
    free(o->tmp);
    free(o);
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

int outfile_commit(struct outfile *o, struct err *e)
{
    if (!o->path) {
        free(o);
        return 0; /* checked by file_close_stdout at the end of the program */
    }
    int rc = 0;
    sigset_t old;
    block_signals(&old);
    if (o->tmp && fsync(o->fd) < 0)
        rc = err_set_errno(e, "%s", o->path);
    if (close(o->fd) < 0 && !rc)
        rc = err_set_errno(e, "%s", o->path);
    if (!rc && o->tmp && rename(o->tmp, o->path) < 0)
        rc = err_set_errno(e, "%s", o->path);
    if (rc && o->tmp)
        unlink(o->tmp);
    else if (o->tmp)
        sync_folder(o->path);
    forget(o);
    sigprocmask(SIG_SETMASK, &old, NULL);
    return rc;
}

void outfile_abort(struct outfile *o)
{
    if (!o)
        return;
    if (!o->path) {
        free(o);
        return;
    }
    sigset_t old;
    block_signals(&old);
    close(o->fd);
    if (o->tmp)
        unlink(o->tmp);
    forget(o);
    sigprocmask(SIG_SETMASK, &old, NULL);
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

int file_close_stdout(struct err *e)
{
    int failed = ferror(stdout);
    if (fclose(stdout) || failed)
        return err_set_errno(e, "(standard output)");
    return 0;
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
