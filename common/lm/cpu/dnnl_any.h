/* SPDX-License-Identifier: MIT
 *
 * dnnl_any: the part of oneDNN that matmul_bf16.c uses, alike for versions 2 (Debian 12) and 3
 * (Debian 13). Three things changed in between: a memory descriptor is a value in 2 and an
 * object to be destroyed in 3 (here: a value of one owner, md_free; borrowed as `md_of(&d)`); a
 * primitive descriptor is made without an operation's descriptor; and the factor on a product
 * is an output scale in 2 and a linear post-operation before the sum in 3.
 *
 * Tried with 2.6 and 3.2 on a CPU with AVX512-BF16, and compiled with the headers of 3.6.
 * Version 3.2 was seen to add up one product (131 x 301 x 67, two threads) differently in two
 * runs; from 3.6 on the same bytes in every run are asked for.
 */
#ifndef RAISE_LM_CPU_DNNL_ANY_H
#define RAISE_LM_CPU_DNNL_ANY_H

#include <assert.h>

#include <dnnl.h>

/* A failure in here is a bug of ours (sizes were checked before) or the end of memory. */
static inline void must(dnnl_status_t status)
{
    assert(status == dnnl_success);
    (void)status;
}

#if DNNL_VERSION_MAJOR >= 3

typedef const_dnnl_memory_desc_t md_ref;
static inline md_ref md_of(const dnnl_memory_desc_t *d)
{
    return *d;
}

static inline void md_free(dnnl_memory_desc_t *d)
{
    if (*d)
        must(dnnl_memory_desc_destroy(*d));
    *d = NULL;
}

static inline dnnl_memory_desc_t md_strided(const dnnl_dims_t dims, dnnl_data_type_t type,
                                            const dnnl_dims_t strides)
{
    dnnl_memory_desc_t d;
    must(dnnl_memory_desc_create_with_strides(&d, 2, dims, type, strides));
    return d;
}

static inline dnnl_memory_desc_t md_any(const dnnl_dims_t dims, dnnl_data_type_t type)
{
    dnnl_memory_desc_t d;
    must(dnnl_memory_desc_create_with_tag(&d, 2, dims, type, dnnl_format_tag_any));
    return d;
}

static inline dnnl_memory_desc_t md_of_weights(const_dnnl_primitive_desc_t pd)
{
    dnnl_memory_desc_t d;
    must(
        dnnl_memory_desc_clone(&d, dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0)));
    return d;
}

static inline void scale_and_add(dnnl_primitive_attr_t attr, dnnl_post_ops_t post, float alpha,
                                 float beta)
{
#if DNNL_VERSION_MAJOR > 3 || DNNL_VERSION_MINOR >= 6
    must(dnnl_primitive_attr_set_deterministic(attr, 1));
#endif
    if (alpha != 1)
        must(dnnl_post_ops_append_eltwise(post, dnnl_eltwise_linear, alpha, 0));
    if (beta != 0)
        must(dnnl_post_ops_append_sum(post, beta, 0, dnnl_data_type_undef));
    if (alpha != 1 || beta != 0)
        must(dnnl_primitive_attr_set_post_ops(attr, post));
}

static inline dnnl_primitive_desc_t
matmul_pd(md_ref a, md_ref b, md_ref c, const_dnnl_primitive_attr_t attr, dnnl_engine_t engine)
{
    dnnl_primitive_desc_t pd;
    must(dnnl_matmul_primitive_desc_create(&pd, engine, a, b, NULL, c, attr));
    return pd;
}

#else

typedef const dnnl_memory_desc_t *md_ref;
static inline md_ref md_of(const dnnl_memory_desc_t *d)
{
    return d;
}

static inline void md_free(dnnl_memory_desc_t *d)
{
    (void)d;
}

static inline dnnl_memory_desc_t md_strided(const dnnl_dims_t dims, dnnl_data_type_t type,
                                            const dnnl_dims_t strides)
{
    dnnl_memory_desc_t d;
    must(dnnl_memory_desc_init_by_strides(&d, 2, dims, type, strides));
    return d;
}

static inline dnnl_memory_desc_t md_any(const dnnl_dims_t dims, dnnl_data_type_t type)
{
    dnnl_memory_desc_t d;
    must(dnnl_memory_desc_init_by_tag(&d, 2, dims, type, dnnl_format_tag_any));
    return d;
}

static inline dnnl_memory_desc_t md_of_weights(const_dnnl_primitive_desc_t pd)
{
    return *dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
}

static inline void scale_and_add(dnnl_primitive_attr_t attr, dnnl_post_ops_t post, float alpha,
                                 float beta)
{
    if (alpha != 1)
        must(dnnl_primitive_attr_set_output_scales(attr, 1, 0, &alpha));
    if (beta == 0)
        return;
    must(dnnl_post_ops_append_sum(post, beta));
    must(dnnl_primitive_attr_set_post_ops(attr, post));
}

static inline dnnl_primitive_desc_t
matmul_pd(md_ref a, md_ref b, md_ref c, const_dnnl_primitive_attr_t attr, dnnl_engine_t engine)
{
    dnnl_matmul_desc_t op;
    dnnl_primitive_desc_t pd;
    must(dnnl_matmul_desc_init(&op, a, b, NULL, c));
    must(dnnl_primitive_desc_create(&pd, &op, attr, engine, NULL));
    return pd;
}

#endif

static inline dnnl_memory_desc_t md_transposed(md_ref of)
{
    const int swap[2] = {1, 0};
    dnnl_memory_desc_t d;
    must(dnnl_memory_desc_permute_axes(&d, of, swap));
    return d;
}

#endif
