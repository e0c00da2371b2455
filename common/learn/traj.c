/* SPDX-License-Identifier: MIT
 * traj: trajectories, in memory and as files; see traj.h. */
#include "learn/traj.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define AT(field) offsetof(struct traj, field)
#define CAP(field) sizeof(((struct traj *)0)->field)

static const struct st_size sizes[] = {
    {"n", AT(n_picks)}, {"T", AT(n_steps)}, {"C", AT(n_classes)}, {NULL, 0}};
static const struct st_column columns[] = {
    PICKS_ROWS(struct traj),
    {"list_offset", ST_I64, AT(list_offset), "[T C + 1]", 0},
    {"list_logp", ST_F64, AT(list_logp), "[T C]", 0},
    {"perf", ST_F64, AT(perf), "[T + 1]", 0},
    {"train_loss", ST_F64, AT(train_loss), "[T]", 0},
    {"lr", ST_F64, AT(lr), "[T]", 0},
    {"grad_norm", ST_F64, AT(grad_norm), "[T]", 0},
    {"n_tokens", ST_I64, AT(n_tokens), "[T]", 0},
    PICKS_RECORDS(struct traj),
    {"pick_loss", ST_F32, AT(pick_loss), "[n]", ST_OPTIONAL},
    {NULL, 0, 0, NULL, 0}};
static const struct st_key keys[] = {
    {"raise.features", ST_KEY_HASH, AT(features), 0, 0, 0, ST_OPTIONAL},
    {"raise.policy", ST_KEY_HASH, AT(policy), 0, 0, 0, ST_OPTIONAL},
    {"raise.dataset", ST_KEY_HASH, AT(dataset), 0, 0, 0, ST_OPTIONAL},
    {"raise.validation", ST_KEY_HASH, AT(validation), 0, 0, 0, ST_OPTIONAL},
    {"raise.encoding", ST_KEY_HASH, AT(encoding), 0, 0, 0, ST_OPTIONAL},
    {"raise.model", ST_KEY_HASH, AT(model), 0, 0, 0, ST_OPTIONAL},
    {"raise.adapter", ST_KEY_HASH, AT(adapter), 0, 0, 0, ST_OPTIONAL},
    {"raise.episode", ST_KEY_INT, AT(episode), 0, 1e15, 0, 0},
    {"raise.seed", ST_KEY_UINT, AT(seed), 0, 0, 0, 0},
    {"raise.mode", ST_KEY_TEXT, AT(mode), 0, 0, CAP(mode), 0},
    {"raise.n_steps", ST_KEY_INT, AT(n_steps), 1, INT32_MAX, 0, 0},
    {"raise.n_classes", ST_KEY_INT, AT(n_classes), 1, INT32_MAX, 0, 0},
    {"raise.batch", ST_KEY_INT, AT(batch), 1, INT32_MAX, 0, 0},
    {"raise.tau", ST_KEY_REAL, AT(tau), 0, 1e300, 0, 0},
    {"raise.repeats", ST_KEY_BOOL, AT(has_repeats), 0, 0, 0, 0},
    {"raise.status", ST_KEY_TEXT, AT(status), 0, 0, CAP(status), 0},
    {"raise.test_loss_before", ST_KEY_REAL, AT(test_loss_before), 0, 0, 0, ST_OPTIONAL},
    {"raise.test_loss", ST_KEY_REAL, AT(test_loss), 0, 0, 0, ST_OPTIONAL},
    {"raise.history", ST_KEY_STRING, AT(history), 0, 0, 0, ST_OPTIONAL},
    {NULL, 0, 0, 0, 0, 0, 0}};
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
    } bound[] = {
        {"features", AT(features), false},
        {"datasets", AT(dataset), false},
        {"models", AT(model), false},
        {"adapters", AT(adapter), true},
        {"validation sets", AT(validation), false},
        {"encodings of the validation set (template, tokens, length)", AT(encoding), false}};
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
