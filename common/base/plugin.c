/* SPDX-License-Identifier: MIT
 * plugin: where the plugin for GPUs is; see plugin.h. */
#include "base/plugin.h"

#include "base/mem.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *beside_executable(const char *name)
{
    char exe[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe);
    if (n <= 0 || (size_t)n >= sizeof exe)
        return mem_strdup(name);
    exe[n] = '\0';
    char *slash = strrchr(exe, '/');
    if (slash)
        *slash = '\0';
    return mem_printf("%s/%s", exe, name);
}

char *plugin_cuda_path(void)
{
    const char *set = getenv("RAISE_CUDA_PLUGIN");
    if (set && *set)
        return mem_strdup(set);
    char *path = beside_executable("raise-cuda.so");
    if (access(path, F_OK) == 0)
        return path;
    char *installed = beside_executable("../lib/raise/raise-cuda.so");
    if (access(installed, F_OK) == 0) {
        free(path);
        return installed;
    }
    free(installed);
    return path; /* named in the message that it is missing */
}
