/* SPDX-License-Identifier: MIT
 * policy_file: policies as files; see policy.h. */
#include "base/mem.h"
#include "policy/policy_body.h"

#include <stdlib.h>
#include <string.h>

/* What all policies have in a file. */
struct head {
    char learner[64];
    uint64_t features;
    int64_t parts, iteration, n_norm;
    char *columns; /* NULL: a file from before there were names */
    double reward_sd, *center, *scale;
    char *history;
};
#define AT(type, field) ST_FIELD(struct head, type, field)
#define COUNT(field) ST_COUNT(struct head, field)
static const struct st_size sizes[] = {{"n", COUNT(n_norm)}, {NULL, 0}};
static const struct st_column columns[] = {
    {"norm_center", AT(ST_F64, center), "[n]", ST_FINITE},
    {"norm_scale", AT(ST_F64, scale), "[n]", ST_FINITE},
    {.name = NULL},
};
static const struct st_key keys[] = {
    {"raise.learner", AT(ST_KEY_TEXT, learner), .flags = 0},
    {"raise.features", AT(ST_KEY_HASH, features), .flags = 0},
    {"raise.parts", AT(ST_KEY_INT, parts), .min = 1, .max = INT32_MAX},
    {"raise.columns", AT(ST_KEY_STRING, columns), .flags = ST_OPTIONAL},
    {"raise.iteration", AT(ST_KEY_INT, iteration), .max = 1e9},
    {"raise.reward_sd", AT(ST_KEY_REAL, reward_sd), .flags = 0},
    {.name = NULL},
};
const struct st_table policy_head_table = {"policy", sizes, columns, keys};

static void put(const struct policy *p, struct st_msg *m)
{
    const struct state *s = &p->state;
    struct head h = {.features = p->features,
                     .parts = s->parts,
                     .iteration = p->iteration,
                     .n_norm = s->n_norm,
                     .columns = state_names(s),
                     .reward_sd = p->reward_sd,
                     .center = s->center,
                     .scale = s->scale};
    memcpy(h.learner, p->learner->name, strlen(p->learner->name) + 1);
    st_table_put(&policy_head_table, &h, m);
    st_table_put(p->learner->table, p->self, m);
    free(h.columns);
}

uint64_t policy_id(const struct policy *p)
{
    struct st_msg *m = st_msg_new();
    put(p, m);
    uint64_t id = st_msg_hash(m);
    st_msg_free(m);
    return id;
}

int policy_write(const struct policy *p, const char *path, int flags, const struct prov *prov,
                 struct err *e)
{
    struct st_msg *m = st_msg_new();
    put(p, m);
    prov_write(prov, m, p->history);
    int rc = st_write(path, flags, m, e);
    st_msg_free(m);
    return rc;
}

static const struct learner *find(const struct learner *const *known, const char *name)
{
    while (*known && strcmp((*known)->name, name) != 0)
        known++;
    return *known;
}

/* The state's constants, from norm_center and norm_scale. */
static int take_norm(struct state *s, const struct head *h, struct err *e)
{
    size_t bytes = (size_t)h->n_norm * sizeof(double);
    for (int64_t k = 0; k < h->n_norm; k++)
        if (!(h->scale[k] > 0))
            return err_set(e, ERR_RANGE, "norm_scale: entry %lld is not positive",
                           (long long)k);
    memcpy(s->center, h->center, bytes);
    memcpy(s->scale, h->scale, bytes);
    return 0;
}

/* What follows the head. A learner's sizes come from tensors that are present, so that nothing
 * larger than the file is allocated. */
static int take_own(struct policy *p, const struct st_msg *m, struct err *e)
{
    const struct learner *l = p->learner;
    p->self = mem_zalloc(1, l->self_size);
    l->size(p, NULL);
    int rc = st_table_check(l->table, p->self, m, e);
    if (!rc && l->place && (rc = l->place(p, e)))
        err_prefix(e, "%s", st_msg_name(m));
    return rc ? rc : st_table_take(l->table, p->self, m, e);
}

static int from_head(struct policy *p, const struct head *h, const struct learner *const *known,
                     const struct st_msg *m, struct err *e)
{
    const char *history = st_msg_meta(m, "raise.history");
    p->learner = find(known, h->learner);
    p->features = h->features;
    p->iteration = h->iteration;
    p->reward_sd = h->reward_sd;
    p->history = history ? mem_strdup(history) : NULL;
    int rc = 0;
    if (!p->learner)
        rc = err_set(e, ERR_UNSUPPORTED, "learner \"%s\" is not known", h->learner);
    if (!rc)
        rc = state_restore(&p->state, state_columns(), (unsigned)h->parts, h->columns,
                           h->n_norm, e);
    if (!rc)
        rc = take_norm(&p->state, h, e);
    if (rc)
        return err_prefix(e, "%s", st_msg_name(m));
    return take_own(p, m, e);
}

struct policy *policy_read(const char *path, const struct learner *const *known, struct err *e)
{
    struct err local = ERR_INIT;
    struct head h = {.n_norm = -1};
    e = e ? e : &local;
    struct st_msg *m = st_read(path, "policy", e);
    if (!m)
        return NULL;
    struct policy *p = mem_zalloc(1, sizeof *p);
    int rc = st_table_take(&policy_head_table, &h, m, e);
    if (!rc)
        rc = from_head(p, &h, known, m, e);
    st_table_free(&policy_head_table, &h);
    st_msg_free(m);
    if (rc < 0) {
        policy_free(p);
        return NULL;
    }
    return p;
}
