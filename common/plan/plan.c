/* SPDX-License-Identifier: MIT
 * plan: reading and writing fixed plans; see plan.h. What goes into one: plan_make.h. */
#include "plan/plan.h"

#include "base/file.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void plan_init(struct plan *p, int64_t n_steps, int64_t n_picks)
{
    *p = (struct plan){.n_steps = n_steps, .n_picks = n_picks};
    p->pick = mem_zalloc((size_t)n_picks, sizeof *p->pick);
    p->pick_score = mem_zalloc((size_t)n_picks, sizeof *p->pick_score);
    p->source = mem_zalloc((size_t)n_picks, sizeof *p->source);
    p->record_hash = mem_zalloc((size_t)n_picks, sizeof *p->record_hash);
    p->step_offset = mem_zalloc((size_t)n_steps + 1, sizeof *p->step_offset);
}

void plan_free(struct plan *p)
{
    if (!p)
        return;
    free(p->pick);
    free(p->pick_score);
    free(p->source);
    free(p->record_hash);
    free(p->step_offset);
    free(p->history);
    *p = (struct plan){0};
}

static void set_hash(struct st_msg *m, const char *key, uint64_t hash)
{
    char hex[17];
    if (hash)
        st_msg_set_meta(m, key, prov_hex(hex, hash));
}

int plan_write(const struct plan *p, const char *path, int flags, const struct prov *prov,
               struct err *e)
{
    struct st_msg *m = st_msg_new();
    const int64_t n[] = {p->n_picks}, n_offsets[] = {p->n_steps + 1};
    char steps[24];
    snprintf(steps, sizeof steps, "%" PRId64, p->n_steps);
    st_msg_set_meta(m, "raise.kind", "plan");
    st_msg_set_meta(m, "raise.version", ST_FORMAT_VERSION);
    st_msg_set_meta(m, "raise.method", p->method);
    st_msg_set_meta(m, "raise.n_steps", steps);
    set_hash(m, "raise.features", p->features);
    set_hash(m, "raise.dataset", p->dataset);
    st_msg_add(m, "pick", ST_I64, 1, n, p->pick);
    st_msg_add(m, "pick_score", ST_F32, 1, n, p->pick_score);
    st_msg_add(m, "source", ST_I64, 1, n, p->source);
    st_msg_add(m, "record_hash", ST_U64, 1, n, p->record_hash);
    st_msg_add(m, "step_offset", ST_I64, 1, n_offsets, p->step_offset);
    prov_write(prov, m, p->history);
    int rc = st_write(path, flags, m, e);
    st_msg_free(m);
    return rc;
}

static int check(const struct plan *p, const char *name, struct err *e)
{
    const int64_t *at = p->step_offset;
    for (int64_t t = 0; t < p->n_steps; t++)
        if (at[t] < 0 || at[t + 1] <= at[t])
            return err_set(e, ERR_FORMAT, "%s: step %" PRId64 " has no records", name, t + 1);
    if (at[0])
        return err_set(e, ERR_FORMAT, "%s: step_offset starts at %" PRId64, name, at[0]);
    if (at[p->n_steps] != p->n_picks)
        return err_set(e, ERR_FORMAT,
                       "%s: step_offset ends at %" PRId64 ", there are %" PRId64 " picks", name,
                       at[p->n_steps], p->n_picks);
    for (int64_t i = 0; i < p->n_picks; i++)
        if (p->pick[i] < 0 || p->source[i] < 0)
            return err_set(e, ERR_RANGE,
                           "%s: pick %" PRId64 ": row %" PRId64 ", record %" PRId64, name, i,
                           p->pick[i], p->source[i]);
    return 0;
}

static int find_hash(const struct st_msg *m, const char *name, const char *key, uint64_t *hash,
                     struct err *e)
{
    const char *value = st_msg_meta(m, key);
    if (value && !prov_unhex(value, hash))
        return err_set(e, ERR_FORMAT, "%s: metadata %s is not a hash: \"%s\"", name, key,
                       value);
    return 0;
}

/* Copies the tensors out of m. */
static int fill(struct plan *p, const struct st_msg *m, const char *name, struct err *e)
{
    const struct st_tensor *pick, *score, *source, *hash, *offset;
    const int64_t any[] = {-1};
    if (!(offset = st_msg_need(m, "step_offset", ST_I64, 1, any, e)) ||
        !(pick = st_msg_need(m, "pick", ST_I64, 1, any, e)))
        return e->code;
    const int64_t n[] = {pick->shape[0]};
    if (!(score = st_msg_need(m, "pick_score", ST_F32, 1, n, e)) ||
        !(source = st_msg_need(m, "source", ST_I64, 1, n, e)) ||
        !(hash = st_msg_need(m, "record_hash", ST_U64, 1, n, e)))
        return e->code;
    if (offset->shape[0] < 2)
        return err_set(e, ERR_EMPTY, "%s: a plan without steps", name);
    plan_init(p, offset->shape[0] - 1, n[0]);
    memcpy(p->pick, pick->data, pick->len);
    memcpy(p->pick_score, score->data, score->len);
    memcpy(p->source, source->data, source->len);
    memcpy(p->record_hash, hash->data, hash->len);
    memcpy(p->step_offset, offset->data, offset->len);
    return check(p, name, e);
}

int plan_from_msg(struct plan *p, const struct st_msg *m, const char *name, struct err *e)
{
    struct err local = ERR_INIT;
    e = e ? e : &local;
    *p = (struct plan){0};
    const char *method = st_msg_meta(m, "raise.method");
    const char *history = st_msg_meta(m, "raise.history");
    int rc = fill(p, m, name, e);
    if (!rc)
        rc = find_hash(m, name, "raise.features", &p->features, e);
    if (!rc)
        rc = find_hash(m, name, "raise.dataset", &p->dataset, e);
    if (!rc) {
        snprintf(p->method, sizeof p->method, "%s", method ? method : "");
        p->history = history ? mem_strdup(history) : NULL;
    } else {
        plan_free(p);
    }
    return rc;
}

int plan_read(struct plan *p, const char *path, struct err *e)
{
    struct err local = ERR_INIT;
    e = e ? e : &local;
    *p = (struct plan){0};
    struct st_msg *m = st_read(path, "plan", e);
    if (!m)
        return e->code;
    int rc = plan_from_msg(p, m, file_name_in(path), e);
    st_msg_free(m);
    return rc;
}
