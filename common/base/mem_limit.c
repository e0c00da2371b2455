/* SPDX-License-Identifier: MIT
 * mem_limit: how much memory may still be taken; see mem.h.
 *
 *     /proc/meminfo        MemAvailable: 12345 kB
 *     /proc/self/cgroup    0::/user.slice/job_1            v2, below /sys/fs/cgroup
 *                          7:memory:/slurm/job_1           v1, below /sys/fs/cgroup/memory
 *
 * A group's limit binds all groups below it, so every level from the process's own to the root
 * counts. Inside a container the path may name a folder that is not mounted there: levels that
 * cannot be read are passed over. */
#include "base/mem.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* The number that the file begins with; -1: there is none ("max"), or no file. */
static int64_t read_number(const char *folder, const char *name)
{
    char *path = mem_printf("%s/%s", folder, name);
    FILE *f = fopen(path, "r");
    long long v = -1;
    if (f) {
        if (fscanf(f, "%lld", &v) != 1)
            v = -1;
        fclose(f);
    }
    free(path);
    return (int64_t)v;
}

/* What the kernel calls the same in its two versions of control groups. */
static const struct version {
    const char *mount, *limit, *used;
    const char *cache[3]; /* of memory.stat: pages that make room when memory is short */
} v2 = {"/sys/fs/cgroup",
        "memory.max",
        "memory.current",
        {"inactive_file", "active_file", "slab_reclaimable"}},
  v1 = {"/sys/fs/cgroup/memory",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        {"total_inactive_file", "total_active_file", NULL}};

static int64_t read_cache(const struct version *v, const char *folder)
{
    char *path = mem_printf("%s/memory.stat", folder), key[64];
    FILE *f = fopen(path, "r");
    long long value;
    int64_t sum = 0;
    while (f && fscanf(f, "%63s %lld", key, &value) == 2)
        for (int i = 0; i < 3; i++)
            if (v->cache[i] && !strcmp(key, v->cache[i]))
                sum += (int64_t)value;
    if (f)
        fclose(f);
    free(path);
    return sum;
}

static void lower(int64_t *least, int64_t bytes)
{
    bytes = bytes < 1 ? 1 : bytes;
    if (!*least || bytes < *least)
        *least = bytes;
}

/* From the group at `path` up to the root; *least becomes smaller, or stays. */
static void walk_groups(const struct version *v, const char *root, const char *path,
                        int64_t *least)
{
    char *folder = mem_printf("%s%s%s", root, v->mount, path);
    size_t top = strlen(root) + strlen(v->mount), len = strlen(folder);
    for (;;) {
        while (len > top && folder[len - 1] == '/')
            len--;
        folder[len] = '\0';
        int64_t limit = read_number(folder, v->limit), used = read_number(folder, v->used);
        if (limit > 0 && used >= 0)
            lower(least, limit - used + read_cache(v, folder));
        if (len <= top)
            break;
        while (len > top && folder[len - 1] != '/')
            len--;
    }
    free(folder);
}

/* Whether "memory" is one of the names in a list between commas. */
static bool has_memory(const char *names)
{
    for (; *names; names += strcspn(names, ","), names += *names == ',')
        if (!strncmp(names, "memory", 6) && (names[6] == ',' || !names[6]))
            return true;
    return false;
}

/* Each line of /proc/self/cgroup: number, controllers, path. */
static void read_groups(const char *root, int64_t *least)
{
    char *path = mem_printf("%s/proc/self/cgroup", root), line[4096];
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        char *names = strchr(line, ':'), *group = names ? strchr(names + 1, ':') : NULL;
        if (!group)
            continue;
        *names++ = *group++ = '\0';
        if (!*names)
            walk_groups(&v2, root, group, least);
        else if (has_memory(names))
            walk_groups(&v1, root, group, least);
    }
    if (f)
        fclose(f);
    free(path);
}

int64_t mem_available_under(const char *root)
{
    char *path = mem_printf("%s/proc/meminfo", root), line[256];
    FILE *f = fopen(path, "r");
    int64_t least = 0;
    long long kib;
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %lld kB", &kib) == 1)
            lower(&least, (int64_t)kib * 1024);
    if (f)
        fclose(f);
    free(path);
    read_groups(root, &least);
    return least;
}

int64_t mem_available_bytes(void)
{
    struct rlimit limit;
    int64_t least = mem_available_under(""), pages = read_number("/proc/self", "statm");
    if (!getrlimit(RLIMIT_AS, &limit) && limit.rlim_cur != RLIM_INFINITY && pages >= 0)
        lower(&least, (int64_t)limit.rlim_cur - pages * (int64_t)sysconf(_SC_PAGESIZE));
    return least;
}
