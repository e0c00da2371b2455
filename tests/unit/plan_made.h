/* SPDX-License-Identifier: MIT
 *
 * plan_made: for the tests of plans: random features, and a plan that must succeed or be
 * refused. */
#ifndef RAISE_TESTS_PLAN_MADE_H
#define RAISE_TESTS_PLAN_MADE_H

#include "base/mem.h"
#include "base/rng.h"
#include "plan/plan_make.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N = 300, N_VAL = 7, DIM = 5 };

/* Random features that own their columns; row i is record 10 i + 3. */
static void make_features(struct features *f, int64_t n, uint64_t seed)
{
    struct rng r;
    rng_init(&r, seed, 0);
    int32_t *len = mem_alloc((size_t)n, sizeof *len);
    float *yx = mem_alloc((size_t)n, sizeof *yx), *y = mem_alloc((size_t)n, sizeof *y);
    float *x = mem_alloc((size_t)(n * DIM), sizeof *x);
    uint64_t *hash = mem_alloc((size_t)n, sizeof *hash);
    int64_t *source = mem_alloc((size_t)n, sizeof *source);
    for (int64_t i = 0; i < n; i++) {
        len[i] = 1 + (int32_t)rng_below(&r, 90);
        y[i] = (float)(-len[i] * (2 + rng_unit(&r)));
        yx[i] = (float)((double)y[i] * (0.5 + 0.6 * rng_unit(&r)));
        hash[i] = rng_u64(&r);
        source[i] = 10 * i + 3;
        for (int j = 0; j < DIM; j++)
            x[i * DIM + j] = (float)rng_normal(&r);
    }
    *f = (struct features){.n = n,
                           .dim = DIM,
                           .n_classes = 1,
                           .len_x = len,
                           .len_y = len,
                           .logp_yx = yx,
                           .logp_y = y,
                           .embedding = x,
                           .hash = hash,
                           .source = source,
                           .id = seed,
                           .msg = st_msg_new()};
}

#define FREE(p) free((void *)(uintptr_t)(p))
static void free_made(struct features *f)
{
    FREE(f->len_x); /* and len_y */
    FREE(f->logp_yx);
    FREE(f->logp_y);
    FREE(f->embedding);
    FREE(f->hash);
    FREE(f->source);
    st_msg_free(f->msg);
}

static struct plan_request request(const char *method, const struct features *f)
{
    return (struct plan_request){.method = plan_method_find(method),
                                 .f = f,
                                 .n_steps = 4,
                                 .batch = 5,
                                 .order = PLAN_BY_SCORE,
                                 .seed = 42};
}

/* Makes a plan that must succeed, and checks what every plan promises. */
static void make(struct plan *p, struct plan_report *r, const struct plan_request *q)
{
    struct err e = ERR_INIT;
    int rc = plan_make(p, r, q, &e);
    if (rc)
        print_error("%s\n", e.msg);
    assert_int_equal(rc, 0);
    if (!(q->epochs > 0)) {
        assert_int_equal(p->n_steps, q->n_steps);
        assert_int_equal(p->n_picks, q->n_steps * q->batch);
    }
    assert_true(p->features == q->f->id);
    assert_string_equal(p->method, q->method->name);
    int64_t *uses = mem_zalloc((size_t)q->f->n, sizeof *uses), most = 0, n_used = 0;
    for (int64_t k = 0; k < p->n_picks; k++) {
        int64_t i = p->pick[k];
        assert_in_range(i, 0, q->f->n - 1);
        assert_int_equal(p->source[k], q->f->source[i]);
        assert_true(p->record_hash[k] == q->f->hash[i]);
        n_used += !uses[i]++;
        most = uses[i] > most ? uses[i] : most;
    }
    for (int64_t t = 0; t < p->n_steps; t++)
        assert_int_equal(p->step_offset[t], t * q->batch);
    assert_int_equal(p->step_offset[p->n_steps], p->n_picks);
    assert_in_range(p->n_picks, p->step_offset[p->n_steps - 1] + 1, p->n_steps * q->batch);
    assert_int_equal(n_used, r->n_used);
    assert_true(most == 1 || q->has_repeats || q->epochs > 1);
    for (int64_t i = 0; i < q->f->n; i++) /* nothing is used twice more than another */
        assert_true(!uses[i] || uses[i] >= most - 1);
    free(uses);
}

static void done(struct plan *p, struct plan_report *r)
{
    plan_free(p);
    plan_report_free(r);
}

static void refuses(const struct plan_request *q, int code, const char *what)
{
    struct err e = ERR_INIT;
    struct plan p;
    struct plan_report r;
    assert_int_equal(plan_make(&p, &r, q, &e), code);
    if (!strstr(e.msg, what))
        print_error("expected \"%s\", got \"%s\"\n", what, e.msg);
    assert_non_null(strstr(e.msg, what));
    assert_null(p.pick);
    plan_report_free(&r);
}

#endif
