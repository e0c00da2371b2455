/* SPDX-License-Identifier: MIT
 * room: memory of the device that a model is on. */
#include "base/mem.h"
#include "lm/model.h"

void *lm_dev_alloc(struct lm *m, const char *what, int64_t bytes, struct err *e)
{
    struct err why = ERR_INIT;
    void *p = m->d->ops->alloc(m->d, (size_t)(bytes > 0 ? bytes : 1), &why);
    if (!p)
        err_set(e, ERR_MEMORY, "%s: %s of %lld bytes: %s", m->path, what, (long long)bytes,
                *why.msg ? why.msg : "does not fit in memory");
    /* cppcheck-suppress returnDanglingLifetime; p is of the device, not of why */
    return p;
}

/* What is free on the device; the workspace, taken already, counts as free. */
int64_t lm_available_bytes(const struct lm *m)
{
    size_t n_free = 0, n_total = 0;
    if (!lm_dev_is_gpu(m->d))
        return mem_available_bytes();
    m->d->ops->memory_info(m->d, &n_free, &n_total);
    return (int64_t)n_free + m->d->workspace_bytes;
}
