/* SPDX-License-Identifier: MIT
 * cuda_dispatch: opens a GPU through the plugin raise-cuda.so, so that the programs themselves
 * need no CUDA library.
 *
 * The plugin (base/plugin.h says which file) exports raise_cuda_version and raise_cuda_abi,
 * which must be this program's, as struct lm_ops is shared, and raise_cuda_open. It stays
 * loaded until the program ends. */
#include "base/plugin.h"
#include "base/version.h"
#include "lm/backend.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct lm_dev *open_plugin(const char *path, int index, struct err *e)
{
    if (access(path, F_OK) != 0) {
        err_set_errno(e, "cuda: plugin %s", path);
        return NULL;
    }
    void *so = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!so) {
        err_set(e, ERR_UNSUPPORTED, "cuda: %s", dlerror());
        return NULL;
    }
    const char *version = dlsym(so, "raise_cuda_version");
    const int64_t *abi = dlsym(so, "raise_cuda_abi");
    struct lm_dev *(*open)(int, struct err *);
    void *entry = dlsym(so, "raise_cuda_open");
    memcpy(&open, &entry, sizeof open); /* ISO C has no cast from object to function */
    struct lm_dev *d = NULL;
    if (!version || !entry)
        err_set(e, ERR_FORMAT, "cuda: %s is not a plugin of RAISE", path);
    else if (strcmp(version, RAISE_VERSION) != 0)
        err_set(e, ERR_MISMATCH, "cuda: plugin %s is of version %.32s, this program of %s",
                path, version, RAISE_VERSION);
    else if (!abi || *abi != (int64_t)LM_ABI)
        err_set(e, ERR_MISMATCH, "cuda: plugin %s is of another build of %s: make cuda", path,
                RAISE_VERSION);
    else
        d = open(index, e);
    if (!d)
        dlclose(so);
    return d;
}

struct lm_dev *lm_dev_open_cuda(int index, struct err *e)
{
    char *path = plugin_cuda_path();
    struct lm_dev *d = open_plugin(path, index, e);
    free(path);
    return d;
}
