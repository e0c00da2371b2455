/* SPDX-License-Identifier: MIT
 * guard: mapped files and whether they changed; see guard.h.
 *
 * A slot is never freed, so that the handler of a signal may walk the list at any time; what it
 * reads of a slot in use was written before the slot's `data`. */
#include "base/guard.h"

#include "base/mem.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>

struct slot {
    _Atomic(const unsigned char *) data; /* NULL: free */
    size_t len;
    char *path;
    struct stat st;
    struct slot *next;
};

static _Atomic(struct slot *) slots; /* only ever grows, at its head */
static char *changed;                /* a file that is mapped no more */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

bool guard_is_same(const struct stat *was, const struct stat *is)
{
    return was->st_dev == is->st_dev && was->st_ino == is->st_ino &&
           was->st_size == is->st_size && was->st_mtim.tv_sec == is->st_mtim.tv_sec &&
           was->st_mtim.tv_nsec == is->st_mtim.tv_nsec;
}

static bool has_changed(const struct slot *s)
{
    struct stat now;
    return stat(s->path, &now) < 0 || !guard_is_same(&s->st, &now);
}

void guard_add(const void *data, size_t len, const char *path, const struct stat *st)
{
    pthread_mutex_lock(&lock);
    struct slot *s = atomic_load(&slots);
    while (s && atomic_load(&s->data))
        s = s->next;
    if (!s) {
        s = mem_zalloc(1, sizeof *s);
        s->next = atomic_load(&slots);
        atomic_store(&slots, s);
    }
    free(s->path);
    s->path = mem_strdup(path);
    s->len = len;
    s->st = *st;
    atomic_store(&s->data, data);
    pthread_mutex_unlock(&lock);
}

void guard_remove(const void *data)
{
    pthread_mutex_lock(&lock);
    for (struct slot *s = atomic_load(&slots); s; s = s->next) {
        if (atomic_load(&s->data) != data)
            continue;
        if (!changed && has_changed(s))
            changed = mem_strdup(s->path);
        atomic_store(&s->data, NULL);
        break;
    }
    pthread_mutex_unlock(&lock);
}

int guard_check(struct err *e)
{
    pthread_mutex_lock(&lock);
    const char *path = changed;
    for (struct slot *s = atomic_load(&slots); s && !path; s = s->next)
        if (atomic_load(&s->data) && has_changed(s))
            path = s->path;
    int rc = path
                 ? err_set(e, ERR_IO, "%s: changed while it was read: nothing is written", path)
                 : 0;
    pthread_mutex_unlock(&lock);
    return rc;
}

const char *guard_name_at(const void *address)
{
    const unsigned char *at = address;
    for (struct slot *s = atomic_load(&slots); s; s = s->next) {
        const unsigned char *data = atomic_load(&s->data);
        if (data && at >= data && at < data + s->len)
            return s->path;
    }
    return NULL;
}
