/* SPDX-License-Identifier: MIT
 * temp: temporary files that become their target or vanish; see temp.h. */
#define _GNU_SOURCE /* program_invocation_short_name */
#include "base/temp.h"

#include "base/guard.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define SUFFIX ".tmp-raise."

enum { FREE, BUSY, LIVE, GONE, MAX_TRIES = 1000 };

struct temp {
    atomic_int state;
    struct temp *next; /* fixed once the slot is in the list */
    pid_t owner;       /* a forked child has no business with its parent's */
    char name[PATH_MAX];
};

static _Atomic(struct temp *) slots; /* only ever grows, at its head */
static atomic_bool is_ending;        /* a handler, or exit(), is removing them */
static char words[2][TEMP_WORDS];    /* one is being written while the other may be read */
static _Atomic(const char *) last_words;

/* ---- ending ---- */

static void nap(void)
{
    (void)poll(NULL, 0, 1);
}

/* Only async-signal-safe calls. */
static void remove_all(void)
{
    int saved = errno;
    atomic_store(&is_ending, true);
    for (struct temp *t = atomic_load(&slots); t; t = t->next) {
        int state = LIVE;
        if (t->owner != getpid())
            continue;
        while (!atomic_compare_exchange_strong(&t->state, &state, BUSY) && state == BUSY) {
            nap();
            state = LIVE;
        }
        if (state == LIVE) {
            unlink(t->name);
            atomic_store(&t->state, GONE);
        }
    }
    errno = saved;
}

static void say_last_words(int sig)
{
    const char *text = atomic_exchange(&last_words, NULL);
    if (text && (sig == SIGINT || sig == SIGTERM || sig == SIGHUP || sig == SIGXCPU)) {
        ssize_t n = write(STDERR_FILENO, text, strlen(text));
        (void)n;
    }
}

static void say(const char *text)
{
    ssize_t n = write(STDERR_FILENO, text, strlen(text));
    (void)n;
}

/* A mapped file has become shorter, and its end was to be read. */
static void end_for_file(const char *path)
{
    static char line[PATH_MAX + 128];
    static const char *part[5];
    size_t n = 0;
    part[0] = program_invocation_short_name;
    part[1] = ": ";
    part[2] = path;
    part[3] = ": was made shorter while it was read: nothing is written\n";
    for (const char **p = part; *p; p++)
        for (const char *c = *p; *c && n + 1 < sizeof line; c++)
            line[n++] = *c;
    say(line);
    _exit(EXIT_FAILURE);
}

static void on_signal(int sig, siginfo_t *info, void *context)
{
    (void)context;
    if (sig == SIGXFSZ && info->si_pid == getpid())
        return; /* a limit on the size of files: the write tells it */
    remove_all();
    const char *path = sig == SIGBUS && info->si_code > 0 ? guard_name_at(info->si_addr) : NULL;
    if (path)
        end_for_file(path);
    say_last_words(sig);
    signal(sig, SIG_DFL);
    raise(sig); /* blocked until the handler returns */
}

/* Those that end a process and can be caught. The last are its own faults: removing a file is
 * all that is done then. A handler that is there already (a sanitizer's) stays. */
void temp_catch_signals(void)
{
    static const int sigs[] = {SIGINT,  SIGTERM, SIGHUP,  SIGQUIT, SIGPIPE, SIGXCPU,
                               SIGXFSZ, SIGUSR1, SIGUSR2, SIGALRM, SIGPROF, SIGVTALRM,
                               SIGPOLL, SIGBUS,  SIGSEGV, SIGFPE,  SIGILL,  SIGABRT};
    static atomic_flag done = ATOMIC_FLAG_INIT;
    if (atomic_flag_test_and_set(&done))
        return;
    atexit(remove_all);
    struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO}, was;
    sigemptyset(&sa.sa_mask);
    for (size_t i = 0; i < sizeof sigs / sizeof *sigs; i++)
        sigaddset(&sa.sa_mask, sigs[i]);
    for (size_t i = 0; i < sizeof sigs / sizeof *sigs; i++)
        if (!sigaction(sigs[i], NULL, &was) && was.sa_handler == SIG_DFL)
            sigaction(sigs[i], &sa, NULL);
}

/* ---- slots; signals are blocked in between ---- */

static void begin(sigset_t *old)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, old);
}

static void end(const sigset_t *old)
{
    pthread_sigmask(SIG_SETMASK, old, NULL);
}

/* Where another thread ends the process, there is nothing left to do but wait for it. */
static RAISE_NORETURN void wait_for_the_end(const sigset_t *old)
{
    end(old);
    for (;;)
        nap();
}

/* From `state` to BUSY; false: it is in another. */
static bool seize(struct temp *t, int state, const sigset_t *old)
{
    int found = state;
    if (!atomic_compare_exchange_strong(&t->state, &found, BUSY))
        return false;
    if (atomic_load(&is_ending)) {
        atomic_store(&t->state, state);
        wait_for_the_end(old);
    }
    return true;
}

static struct temp *seize_free(const sigset_t *old)
{
    for (struct temp *t = atomic_load(&slots); t; t = t->next)
        if (atomic_load(&t->state) == FREE && seize(t, FREE, old))
            return t;
    struct temp *t = mem_zalloc(1, sizeof *t);
    t->next = atomic_load(&slots);
    while (!atomic_compare_exchange_weak(&slots, &t->next, t))
        ;
    return seize(t, FREE, old) ? t : seize_free(old);
}

/* ---- leftovers ---- */

/* Is `name` what temp_open() would have called a temporary for `base`? */
static bool is_ours(const char *name, const char *base)
{
    size_t n = strlen(base), m = strlen(SUFFIX);
    if (strncmp(name, base, n) != 0 || strncmp(name + n, SUFFIX, m) != 0)
        return false;
    name += n + m;
    return *name && !name[strspn(name, "-0123456789")];
}

/* Removes a temporary that no process holds. Where locks do not work, nothing is removed. */
static void remove_stale(int dir, const char *name)
{
    int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat st;
    if (fd < 0)
        return;
    if (!fstat(fd, &st) && S_ISREG(st.st_mode) && flock(fd, LOCK_EX | LOCK_NB) == 0)
        unlinkat(dir, name, 0);
    close(fd);
}

/* What killed runs left for this target. */
static void clean_up(const char *target)
{
    char *path = mem_strdup(target), *slash = strrchr(path, '/');
    const char *base = slash ? slash + 1 : path;
    DIR *d = opendir(!slash ? "." : slash == path ? "/" : (*slash = '\0', path));
    if (d) {
        for (struct dirent *x; (x = readdir(d));)
            if (is_ours(x->d_name, base))
                remove_stale(dirfd(d), x->d_name);
        closedir(d);
    }
    free(path);
}

/* ---- one temporary ---- */

/* A new file under the first free name, locked; -1 with errno set. */
static int create(struct temp *t, const char *target, mode_t mode)
{
    t->owner = getpid();
    for (int i = 0; i < MAX_TRIES; i++) {
        char number[16] = "";
        if (i)
            snprintf(number, sizeof number, "-%d", i);
        int n = snprintf(t->name, sizeof t->name, "%s" SUFFIX "%ld%s", target, (long)t->owner,
                         number);
        if (n < 0 || (size_t)n >= sizeof t->name) {
            errno = ENAMETOOLONG;
            return -1;
        }
        int fd = open(t->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
        if (fd < 0 && errno != EEXIST)
            return -1;
        if (fd < 0)
            continue;
        struct stat st;
        (void)flock(fd, LOCK_EX | LOCK_NB); /* not everywhere: then nobody cleans up */
        if (!fstat(fd, &st) && st.st_nlink > 0)
            return fd;
        close(fd); /* taken for a leftover before it was locked */
    }
    errno = EEXIST;
    return -1;
}

/* As far as it is allowed: only root may give a file away, and not every file system has modes.
 * The file was created with no more rights than these. */
static void resemble(int fd, const struct stat *like)
{
    int rc = 0;
    if (like->st_uid != geteuid() || like->st_gid != getegid())
        rc = fchown(fd, like->st_uid, like->st_gid);
    rc |= fchmod(fd, like->st_mode & 0777);
    (void)rc;
}

struct temp *temp_open(const char *target, const struct stat *like, int *fd)
{
    sigset_t old;
    temp_catch_signals();
    clean_up(target);
    begin(&old);
    struct temp *t = seize_free(&old);
    *fd = create(t, target, like ? like->st_mode & 0777 : 0666);
    int saved = errno;
    atomic_store(&t->state, *fd < 0 ? FREE : LIVE);
    end(&old);
    if (*fd >= 0 && like)
        resemble(*fd, like);
    errno = saved;
    return *fd < 0 ? NULL : t;
}

static int finish(struct temp *t, const char *target)
{
    sigset_t old;
    begin(&old);
    if (!seize(t, LIVE, &old))
        wait_for_the_end(&old);
    int rc = target ? rename(t->name, target) : -1, saved = errno;
    if (rc < 0)
        unlink(t->name);
    atomic_store(&t->state, FREE);
    end(&old);
    errno = saved;
    return rc;
}

int temp_keep(struct temp *t, const char *target)
{
    return finish(t, target);
}

void temp_remove(struct temp *t)
{
    (void)finish(t, NULL);
}

void temp_last_words(const char *text)
{
    char *next = words[atomic_load(&last_words) == words[0]];
    temp_catch_signals();
    if (text)
        snprintf(next, TEMP_WORDS, "%s", text);
    atomic_store(&last_words, text ? next : NULL);
}
