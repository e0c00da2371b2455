/* SPDX-License-Identifier: MIT
 * traj: trajectories, in memory and as files; see traj.h. */
#include "learn/traj.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define AT(type, field) ST_FIELD(struct traj, type, field)
#define COUNT(field) ST_COUNT(struct traj, field)

static const struct st_size sizes[] = {
    {"n", COUNT(n_picks)}, {"T", COUNT(n_steps)}, {"C", COUNT(n_classes)}, {NULL, 0}};
static const struct st_column columns[] = {
    PICKS_ROWS(struct traj),
    {"list_offset", AT(ST_I64, list_offset), "[T C + 1]", 0},
    {"list_logp", AT(ST_F64, list_logp), "[T C]", 0},
    {"perf", AT(ST_F64, perf), "[T + 1]", 0},
    {"train_loss", AT(ST_F64, train_loss), "[T]", 0},
    {"lr", AT(ST_F64, lr), "[T]", 0},
    {"grad_norm", AT(ST_F64, grad_norm), "[T]", 0},
    {"n_tokens", AT(ST_I64, n_tokens), "[T]", 0},
    PICKS_RECORDS(struct traj),
    {"pick_loss", AT(ST_F32, pick_loss), "[n]", ST_OPTIONAL},
    {.name = NULL}};
static const struct st_key keys[] = {
    {"raise.features", AT(ST_KEY_HASH, features), 0, 0, ST_OPTIONAL},
    {"raise.policy", AT(ST_KEY_HASH, policy), 0, 0, ST_OPTIONAL},
    {"raise.dataset", AT(ST_KEY_HASH, dataset), 0, 0, ST_OPTIONAL},
    {"raise.validation", AT(ST_KEY_HASH, validation), 0, 0, ST_OPTIONAL},
    {"raise.encoding", AT(ST_KEY_HASH, encoding), 0, 0, ST_OPTIONAL},
    {"raise.model", AT(ST_KEY_HASH, model), 0, 0, ST_OPTIONAL},
    {"raise.adapter", AT(ST_KEY_HASH, adapter), 0, 0, ST_OPTIONAL},
    {"raise.episode", AT(ST_KEY_INT, episode), 0, 1e15, 0},
    {"raise.seed", AT(ST_KEY_UINT, seed), 0, 0, 0},
    {"raise.mode", AT(ST_KEY_TEXT, mode), 0, 0, 0},
    {"raise.n_steps", AT(ST_KEY_INT, n_steps), 1, INT32_MAX, 0},
    {"raise.n_classes", AT(ST_KEY_INT, n_classes), 1, INT32_MAX, 0},
    {"raise.batch", AT(ST_KEY_INT, batch), 1, INT32_MAX, 0},
    {"raise.tau", AT(ST_KEY_REAL, tau), 0, 1e300, 0},
    {"raise.repeats", AT(ST_KEY_BOOL, has_repeats), 0, 0, 0},
    {"raise.status", AT(ST_KEY_TEXT, status), 0, 0, 0},
    {"raise.test_loss_before", AT(ST_KEY_REAL, test_loss_before), 0, 0, ST_OPTIONAL},
    {"raise.test_loss", AT(ST_KEY_REAL, test_loss), 0, 0, ST_OPTIONAL},
    {"raise.history", AT(ST_KEY_STRING, history), 0, 0, ST_OPTIONAL},
    {.name = NULL}};
const struct st_table traj_table = {"trajectory", sizes, columns, keys};

void traj_init(struct traj *t, int64_t n_steps, int64_t n_classes, int64_t max_picks)
{
    *t = (struct traj){.n_steps = n_steps, .n_classes = n_classes, .n_picks = max_picks};
    st_table_alloc(&traj_table, t);
    t->n_picks = 0;
    t->tau = 1;
    t->test_loss_before = t->test_loss = (double)NAN;
    snprintf(t->mode, sizeof t->mode, "sample");
    snprintf(t->status, sizeof t->status, "ok");
}

void traj_free(struct traj *t)
{
    if (!t)
        return;
    st_table_free(&traj_table, t);
    memset(t, 0, sizeof *t);
}

int traj_write(const struct traj *t, const char *path, int flags, const struct prov *p,
               struct err *e)
{
    struct st_msg *m = st_msg_new();
    st_table_put(&traj_table, t, m);
    prov_write(p, m, t->history);
    int rc = st_write(path, flags, m, e);
    st_msg_free(m);
    return rc;
}

bool traj_is_ok(const struct traj *t)
{
    return !strcmp(t->status, "ok");
}

void traj_end(struct traj *t, int64_t step, const char *why)
{
    int64_t C = t->n_classes;
    snprintf(t->status, sizeof t->status, "diverged at step %" PRId64 ": %s", step, why);
    for (int64_t k = step; k <= t->n_steps; k++)
        t->perf[k] = t->train_loss[k - 1] = t->grad_norm[k - 1] = (double)NAN;
    for (int64_t k = step; k < t->n_steps; k++) {
        t->lr[k] = (double)NAN;
        t->n_tokens[k] = 0;
        for (int64_t c = 0; c <= C; c++)
            t->list_offset[k * C + c] = t->n_picks;
        for (int64_t c = 0; c < C; c++)
            t->list_logp[k * C + c] = 0;
    }
}

static uint64_t hash_at(const struct traj *t, size_t at)
{
    uint64_t hash;
    memcpy(&hash, (const char *)t + at, sizeof hash);
    return hash;
}

const char *traj_differ(const struct traj *a, const struct traj *b)
{
    static const struct {
        const char *what;
        size_t at;
        bool is_none; /* 0: there is none; else: not told, so not compared */
    } bound[] = {{"features", ST_AT(struct traj, ST_KEY_HASH, features), false},
                 {"datasets", ST_AT(struct traj, ST_KEY_HASH, dataset), false},
                 {"models", ST_AT(struct traj, ST_KEY_HASH, model), false},
                 {"adapters", ST_AT(struct traj, ST_KEY_HASH, adapter), true},
                 {"validation sets", ST_AT(struct traj, ST_KEY_HASH, validation), false},
                 {"encodings of the validation set (template, tokens, length)",
                  ST_AT(struct traj, ST_KEY_HASH, encoding), false}};
    for (size_t i = 0; i < sizeof bound / sizeof *bound; i++) {
        uint64_t x = hash_at(a, bound[i].at), y = hash_at(b, bound[i].at);
        if (x != y && (bound[i].is_none || (x && y)))
            return bound[i].what;
    }
    return NULL;
}

static int check(const struct traj *t, const char *name, struct err *e)
{
    int64_t lists = t->n_steps * t->n_classes;
    int rc = picks_check_offsets(name, "list_offset", t->list_offset, lists, t->n_picks, e);
    if (!rc)
        rc = picks_check_rows(name, t->pick, t->source, t->n_picks, e);
    for (int64_t i = 0; i <= t->n_steps && !rc && traj_is_ok(t); i++)
        if (!isfinite(t->perf[i]))
            rc =
                err_set(e, ERR_NONFINITE, "%s: perf: entry %" PRId64 " is not finite", name, i);
    return rc;
}

int traj_from_msg(struct traj *t, const struct st_msg *m, struct err *e)
{
    *t =
        (struct traj){.n_picks = -1, .test_loss_before = (double)NAN, .test_loss = (double)NAN};
    int rc = st_table_take(&traj_table, t, m, e);
    if (!rc)
        rc = check(t, st_msg_name(m), e);
    if (rc < 0)
        traj_free(t);
    return rc;
}

int traj_read(struct traj *t, const char *path, struct err *e)
{
    struct err local = ERR_INIT;
    e = e ? e : &local;
    memset(t, 0, sizeof *t);
    struct st_msg *m = st_read(path, "trajectory", e);
    if (!m)
        return e->code;
    int rc = traj_from_msg(t, m, e);
    st_msg_free(m);
    return rc;
}
