/* SPDX-License-Identifier: MIT
 * plan: reading and writing fixed plans; see plan.h. What goes into one: plan_make.h. */
#include "plan/plan.h"

#include <inttypes.h>

#define AT(type, field) ST_FIELD(struct plan, type, field)
#define COUNT(field) ST_COUNT(struct plan, field)

static const struct st_size sizes[] = {{"n", COUNT(n_picks)}, {"T", COUNT(n_steps)}, {NULL, 0}};
static const struct st_column columns[] = {
    PICKS_ROWS(struct plan),
    PICKS_RECORDS(struct plan),
    {"step_offset", AT(ST_I64, step_offset), "[T + 1]", 0},
    {.name = NULL}};
static const struct st_key keys[] = {
    {"raise.features", AT(ST_KEY_HASH, features), 0, 0, ST_OPTIONAL},
    {"raise.dataset", AT(ST_KEY_HASH, dataset), 0, 0, ST_OPTIONAL},
    {"raise.method", AT(ST_KEY_TEXT, method), 0, 0, 0},
    {"raise.n_steps", AT(ST_KEY_INT, n_steps), 1, INT32_MAX, 0},
    {"raise.history", AT(ST_KEY_STRING, history), 0, 0, ST_OPTIONAL},
    {.name = NULL}};
const struct st_table plan_table = {"plan", sizes, columns, keys};

void plan_init(struct plan *p, int64_t n_steps, int64_t n_picks)
{
    *p = (struct plan){.n_steps = n_steps, .n_picks = n_picks};
    st_table_alloc(&plan_table, p);
}

void plan_free(struct plan *p)
{
    if (!p)
        return;
    st_table_free(&plan_table, p);
    *p = (struct plan){0};
}

int plan_write(const struct plan *p, const char *path, int flags, const struct prov *prov,
               struct err *e)
{
    struct st_msg *m = st_msg_new();
    st_table_put(&plan_table, p, m);
    prov_write(prov, m, p->history);
    int rc = st_write(path, flags, m, e);
    st_msg_free(m);
    return rc;
}

static int check(const struct plan *p, const char *name, struct err *e)
{
    const int64_t *at = p->step_offset;
    for (int64_t t = 0; t < p->n_steps; t++)
        if (at[t + 1] == at[t])
            return err_set(e, ERR_FORMAT, "%s: step %" PRId64 " has no records", name, t + 1);
    int rc = picks_check_offsets(name, "step_offset", at, p->n_steps, p->n_picks, e);
    return rc ? rc : picks_check_rows(name, p->pick, p->source, p->n_picks, e);
}

int plan_from_msg(struct plan *p, const struct st_msg *m, struct err *e)
{
    *p = (struct plan){.n_picks = -1};
    int rc = st_table_take(&plan_table, p, m, e);
    if (!rc)
        rc = check(p, st_msg_name(m), e);
    if (rc < 0)
        plan_free(p);
    else
        p->id = st_msg_hash(m);
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
    int rc = plan_from_msg(p, m, e);
    st_msg_free(m);
    return rc;
}
