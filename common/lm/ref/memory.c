/* SPDX-License-Identifier: MIT
 * The reference device: its table, and plain memory. */
#include "base/mem.h"
#include "lm/ref/ref.h"

#include <stdlib.h>
#include <string.h>

#define REF_ROW(op) .op = ref_##op,
static const struct lm_ops ref_ops = {.name = "ref", LM_OPS_EACH(REF_ROW)};

struct lm_dev *lm_dev_open_ref(void)
{
    struct lm_dev *d = mem_zalloc(1, sizeof *d);
    d->ops = &ref_ops;
    d->act = LM_F32;
    return d;
}

void *ref_alloc(struct lm_dev *d, size_t bytes, struct err *e)
{
    (void)d;
    void *p = malloc(bytes ? bytes : 1);
    if (!p)
        err_set_errno(e, "%zu bytes", bytes);
    return p;
}

void ref_free(struct lm_dev *d, void *p)
{
    (void)d;
    free(p);
}

void ref_upload(struct lm_dev *d, void *dst, const void *src, size_t bytes)
{
    (void)d;
    if (bytes)
        memcpy(dst, src, bytes);
}

void ref_download(struct lm_dev *d, void *dst, const void *src, size_t bytes)
{
    ref_upload(d, dst, src, bytes);
}

void ref_copy(struct lm_dev *d, void *dst, const void *src, size_t bytes)
{
    ref_upload(d, dst, src, bytes);
}

void ref_zero(struct lm_dev *d, void *p, size_t bytes)
{
    (void)d;
    if (bytes)
        memset(p, 0, bytes);
}

void ref_sync(struct lm_dev *d)
{
    (void)d;
}

void ref_to_act(struct lm_dev *d, void *dst, const float *src, size_t n)
{
    ref_upload(d, dst, src, n * sizeof(float));
}

void ref_from_act(struct lm_dev *d, float *dst, const void *src, size_t n)
{
    ref_upload(d, dst, src, n * sizeof(float));
}
