/* SPDX-License-Identifier: MIT
 * traj: trajectories, in memory and as files; see traj.h. */
#include "learn/traj.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/opt.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void traj_init(struct traj *t, int64_t n_steps, int64_t n_classes, int64_t max_picks)
{
    size_t T = (size_t)n_steps, lists = T * (size_t)n_classes, n = (size_t)max_picks;
    memset(t, 0, sizeof *t);
    t->n_steps = n_steps;
    t->n_classes = n_classes;
    t->pick = mem_zalloc(n, sizeof *t->pick);
    t->pick_score = mem_zalloc(n, sizeof *t->pick_score);
    t->list_offset = mem_zalloc(lists + 1, sizeof *t->list_offset);
    t->list_logp = mem_zalloc(lists, sizeof *t->list_logp);
    t->perf = mem_zalloc(T + 1, sizeof *t->perf);
    t->train_loss = mem_zalloc(T, sizeof *t->train_loss);
    t->lr = mem_zalloc(T, sizeof *t->lr);
    t->grad_norm = mem_zalloc(T, sizeof *t->grad_norm);
    t->n_tokens = mem_zalloc(T, sizeof *t->n_tokens);
    t->source = mem_zalloc(n, sizeof *t->source);
    t->record_hash = mem_zalloc(n, sizeof *t->record_hash);
    t->tau = 1;
    t->test_loss_before = t->test_loss = (double)NAN;
    snprintf(t->mode, sizeof t->mode, "sample");
    snprintf(t->status, sizeof t->status, "ok");
}

void traj_free(struct traj *t)
{
    if (!t)
        return;
    void *const owned[] = {t->pick,     t->pick_score, t->list_offset, t->list_logp,
                           t->perf,     t->train_loss, t->lr,          t->grad_norm,
                           t->n_tokens, t->source,     t->record_hash, t->history};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++)
        free(owned[i]);
    memset(t, 0, sizeof *t);
}

/* ---- writing ---- */

static void set_hash(struct st_msg *m, const char *key, uint64_t hash)
{
    char hex[17];
    if (hash)
        st_msg_set_meta(m, key, prov_hex(hex, hash));
}

static void set_int(struct st_msg *m, const char *key, int64_t v)
{
    char s[32];
    snprintf(s, sizeof s, "%lld", (long long)v);
    st_msg_set_meta(m, key, s);
}

static void set_real(struct st_msg *m, const char *key, double v)
{
    char s[40];
    snprintf(s, sizeof s, "%.17g", v);
    if (isfinite(v))
        st_msg_set_meta(m, key, s);
}

static void add1(struct st_msg *m, const char *name, enum st_dtype dtype, int64_t n,
                 const void *data)
{
    st_msg_add(m, name, dtype, 1, &n, data);
}

static void set_meta(struct st_msg *m, const struct traj *t)
{
    char seed[32];
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)t->seed);
    st_msg_set_meta(m, "raise.kind", "trajectory");
    st_msg_set_meta(m, "raise.version", ST_FORMAT_VERSION);
    set_hash(m, "raise.features", t->features);
    set_hash(m, "raise.policy", t->policy);
    set_hash(m, "raise.dataset", t->dataset);
    set_hash(m, "raise.validation", t->validation);
    set_hash(m, "raise.model", t->model);
    set_int(m, "raise.episode", t->episode);
    st_msg_set_meta(m, "raise.seed", seed);
    st_msg_set_meta(m, "raise.mode", t->mode);
    set_int(m, "raise.n_steps", t->n_steps);
    set_int(m, "raise.n_classes", t->n_classes);
    set_int(m, "raise.batch", t->batch);
    set_real(m, "raise.tau", t->tau);
    set_int(m, "raise.repeats", t->has_repeats);
    st_msg_set_meta(m, "raise.status", t->status);
    set_real(m, "raise.test_loss_before", t->test_loss_before);
    set_real(m, "raise.test_loss", t->test_loss);
}

int traj_write(const struct traj *t, const char *path, int flags, const struct prov *p,
               struct err *e)
{
    struct st_msg *m = st_msg_new();
    int64_t T = t->n_steps, lists = T * t->n_classes;
    set_meta(m, t);
    prov_write(p, m, t->history);
    add1(m, "pick", ST_I64, t->n_picks, t->pick);
    add1(m, "pick_score", ST_F32, t->n_picks, t->pick_score);
    add1(m, "list_offset", ST_I64, lists + 1, t->list_offset);
    add1(m, "list_logp", ST_F64, lists, t->list_logp);
    add1(m, "perf", ST_F64, T + 1, t->perf);
    add1(m, "train_loss", ST_F64, T, t->train_loss);
    add1(m, "lr", ST_F64, T, t->lr);
    add1(m, "grad_norm", ST_F64, T, t->grad_norm);
    add1(m, "n_tokens", ST_I64, T, t->n_tokens);
    add1(m, "source", ST_I64, t->n_picks, t->source);
    add1(m, "record_hash", ST_U64, t->n_picks, t->record_hash);
    int rc = st_write(path, flags, m, e);
    st_msg_free(m);
    return rc;
}

/* ---- reading ---- */

static uint64_t get_hash(const struct st_msg *m, const char *key)
{
    uint64_t h = 0;
    const char *s = st_msg_meta(m, key);
    return s && prov_unhex(s, &h) ? h : 0;
}

static int get_int(const struct st_msg *m, const char *key, int64_t min, int64_t max,
                   int64_t *v, struct err *e)
{
    const char *s = st_msg_meta(m, key);
    if (!s)
        return err_set(e, ERR_FORMAT, "metadata %s is missing", key);
    if (opt_parse_int(s, min, max, v, e) < 0)
        return err_prefix(e, "metadata %s", key);
    return 0;
}

static int get_real(const struct st_msg *m, const char *key, double otherwise, double *v,
                    struct err *e)
{
    const char *s = st_msg_meta(m, key);
    *v = otherwise;
    if (s && opt_parse_real(s, 0, 0, v, e) < 0)
        return err_prefix(e, "metadata %s", key);
    return 0;
}

static void get_text(const struct st_msg *m, const char *key, char *dst, size_t cap)
{
    const char *s = st_msg_meta(m, key);
    snprintf(dst, cap, "%s", s ? s : "");
}

static int copy1(const struct st_msg *m, const char *name, enum st_dtype dtype, int64_t n,
                 void *dst, struct err *e)
{
    const struct st_tensor *t = st_msg_need(m, name, dtype, 1, &n, e);
    if (!t)
        return e->code;
    if (t->len)
        memcpy(dst, t->data, t->len);
    return 0;
}

static int check_offsets(const char *name, const int64_t *offset, int64_t n, int64_t end,
                         struct err *e)
{
    for (int64_t i = 0; i < n; i++)
        if (offset[i] > offset[i + 1])
            return err_set(e, ERR_FORMAT, "%s: entry %lld descends", name, (long long)i + 1);
    if (offset[0] != 0 || offset[n] != end)
        return err_set(e, ERR_FORMAT, "%s: goes from %lld to %lld, expected 0 to %lld", name,
                       (long long)offset[0], (long long)offset[n], (long long)end);
    return 0;
}

static int get_meta(struct traj *t, const struct st_msg *m, struct err *e)
{
    int64_t repeats;
    if (get_int(m, "raise.batch", 1, INT32_MAX, &t->batch, e) < 0 ||
        get_int(m, "raise.episode", 0, INT32_MAX, &t->episode, e) < 0 ||
        get_int(m, "raise.repeats", 0, 1, &repeats, e) < 0 ||
        get_real(m, "raise.tau", 1, &t->tau, e) < 0 ||
        get_real(m, "raise.test_loss_before", (double)NAN, &t->test_loss_before, e) < 0 ||
        get_real(m, "raise.test_loss", (double)NAN, &t->test_loss, e) < 0)
        return e->code;
    const char *seed = st_msg_meta(m, "raise.seed"), *history = st_msg_meta(m, "raise.history");
    t->seed = seed ? strtoull(seed, NULL, 10) : 0;
    t->has_repeats = repeats != 0;
    t->features = get_hash(m, "raise.features");
    t->policy = get_hash(m, "raise.policy");
    t->dataset = get_hash(m, "raise.dataset");
    t->validation = get_hash(m, "raise.validation");
    t->model = get_hash(m, "raise.model");
    get_text(m, "raise.mode", t->mode, sizeof t->mode);
    get_text(m, "raise.status", t->status, sizeof t->status);
    t->history = history ? mem_strdup(history) : NULL;
    return 0;
}

static int get_tensors(struct traj *t, const struct st_msg *m, struct err *e)
{
    int64_t T = t->n_steps, lists = T * t->n_classes, n = t->n_picks;
    if (copy1(m, "pick", ST_I64, n, t->pick, e) < 0 ||
        copy1(m, "pick_score", ST_F32, n, t->pick_score, e) < 0 ||
        copy1(m, "list_offset", ST_I64, lists + 1, t->list_offset, e) < 0 ||
        copy1(m, "list_logp", ST_F64, lists, t->list_logp, e) < 0 ||
        copy1(m, "perf", ST_F64, T + 1, t->perf, e) < 0 ||
        copy1(m, "train_loss", ST_F64, T, t->train_loss, e) < 0 ||
        copy1(m, "lr", ST_F64, T, t->lr, e) < 0 ||
        copy1(m, "grad_norm", ST_F64, T, t->grad_norm, e) < 0 ||
        copy1(m, "n_tokens", ST_I64, T, t->n_tokens, e) < 0 ||
        copy1(m, "source", ST_I64, n, t->source, e) < 0 ||
        copy1(m, "record_hash", ST_U64, n, t->record_hash, e) < 0 ||
        check_offsets("list_offset", t->list_offset, lists, n, e) < 0)
        return e->code;
    for (int64_t i = 0; i < n; i++)
        if (t->pick[i] < 0)
            return err_set(e, ERR_FORMAT, "pick: entry %lld is negative", (long long)i);
    for (int64_t i = 0; i <= T && !strcmp(t->status, "ok"); i++)
        if (!isfinite(t->perf[i]))
            return err_set(e, ERR_NONFINITE, "perf: entry %lld is not finite", (long long)i);
    return 0;
}

/* The perf tensor bounds n_steps and list_logp bounds T*C before anything is allocated. */
static int from_msg(struct traj *t, const struct st_msg *m, struct err *e)
{
    int64_t T, C;
    const struct st_tensor *pick = st_msg_need(m, "pick", ST_I64, 1, (int64_t[]){-1}, e);
    if (!pick || get_int(m, "raise.n_steps", 1, INT32_MAX, &T, e) < 0 ||
        get_int(m, "raise.n_classes", 1, INT32_MAX, &C, e) < 0 ||
        !st_msg_need(m, "perf", ST_F64, 1, (int64_t[]){T + 1}, e) ||
        !st_msg_need(m, "list_logp", ST_F64, 1, (int64_t[]){T * C}, e))
        return e->code;
    traj_init(t, T, C, pick->shape[0]);
    t->n_picks = pick->shape[0];
    int rc = get_meta(t, m, e);
    return rc < 0 ? rc : get_tensors(t, m, e);
}

int traj_from_msg(struct traj *t, const struct st_msg *m, const char *name, struct err *e)
{
    struct err local = ERR_INIT;
    e = e ? e : &local;
    memset(t, 0, sizeof *t);
    int rc = from_msg(t, m, e);
    if (rc < 0) {
        traj_free(t);
        if (!strstr(e->msg, name))
            err_prefix(e, "%s", name);
    }
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
    int rc = traj_from_msg(t, m, file_name_in(path), e);
    st_msg_free(m);
    return rc;
}
