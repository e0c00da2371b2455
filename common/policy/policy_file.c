/* SPDX-License-Identifier: MIT
 * policy_file: policies as files; see policy.h for tensors and metadata. */
#include "base/file.h"
#include "base/mem.h"
#include "base/opt.h"
#include "policy/policy_priv.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const learner_names[] = {"ppo", "reward-model"};

static void set_real(struct st_msg *m, const char *key, double v)
{
    char s[40];
    snprintf(s, sizeof s, "%.17g", v);
    st_msg_set_meta(m, key, s);
}

static void add(struct st_msg *m, const char *name, enum st_dtype t, int64_t rows, int64_t cols,
                const void *data)
{
    int64_t shape[2] = {rows, cols};
    st_msg_add(m, name, t, cols ? 2 : 1, shape, data);
}

static void add_tensors(struct st_msg *m, const struct policy *p)
{
    int64_t n_norm = N_DIFFICULTY + p->dim;
    add(m, "norm_center", ST_F64, n_norm, 0, p->norm_center);
    add(m, "norm_scale", ST_F64, n_norm, 0, p->norm_scale);
    if (p->learner == POLICY_PPO) {
        add(m, "W", ST_F32, p->n_hidden, p->n_in, policy_W(p));
        add(m, "b", ST_F32, p->n_hidden, 0, policy_b(p));
        add(m, "o", ST_F32, p->n_hidden, 0, policy_o(p));
        add(m, "adam_m", ST_F32, p->n_net, 0, p->adam_m);
        add(m, "adam_v", ST_F32, p->n_net, 0, p->adam_v);
        add(m, "critic", ST_F64, N_CRITIC, 0, p->critic);
    } else {
        add(m, "mu", ST_F64, p->n_static, 0, p->mu);
        add(m, "sigma", ST_F64, p->n_static, p->n_static, p->sigma);
        add(m, "beta", ST_F64, N_CRITIC, 0, p->beta);
    }
}

static void set_meta(struct st_msg *m, const struct policy *p)
{
    char hex[17];
    st_msg_set_meta(m, "raise.kind", "policy");
    st_msg_set_meta(m, "raise.version", ST_FORMAT_VERSION);
    st_msg_set_meta(m, "raise.learner", learner_names[p->learner]);
    st_msg_set_meta(m, "raise.features", prov_hex(hex, p->features));
    set_real(m, "raise.parts", p->parts);
    set_real(m, "raise.iteration", (double)p->iteration);
    set_real(m, "raise.reward_sd", p->reward_sd);
    if (p->learner == POLICY_PPO) {
        set_real(m, "raise.adam_step", (double)p->adam_step);
    } else {
        set_real(m, "raise.kappa", p->kappa);
        set_real(m, "raise.memory", p->memory);
        set_real(m, "raise.s2", p->s2);
        set_real(m, "raise.v", p->v);
    }
}

uint64_t policy_id(const struct policy *p)
{
    struct st_msg *m = st_msg_new();
    add_tensors(m, p);
    uint64_t id = st_msg_hash(m);
    st_msg_free(m);
    return id;
}

int policy_write(const struct policy *p, const char *path, int flags, const struct prov *prov,
                 struct err *e)
{
    struct st_msg *m = st_msg_new();
    set_meta(m, p);
    prov_write(prov, m, p->history);
    add_tensors(m, p);
    int rc = st_write(path, flags, m, e);
    st_msg_free(m);
    return rc;
}

static int get_real(const struct st_msg *m, const char *key, double min, double max, double *v,
                    struct err *e)
{
    const char *s = st_msg_meta(m, key);
    if (!s)
        return err_set(e, ERR_FORMAT, "metadata %s is missing", key);
    if (opt_parse_real(s, min, max, v, e) < 0)
        return err_prefix(e, "metadata %s", key);
    return 0;
}

/* A tensor's values, all of them finite. */
static int get(const struct st_msg *m, const char *name, enum st_dtype t, int64_t rows,
               int64_t cols, void *dst, struct err *e)
{
    int64_t shape[2] = {rows, cols};
    const struct st_tensor *x = st_msg_need(m, name, t, cols ? 2 : 1, shape, e);
    if (!x)
        return e->code;
    const float *f = x->data;
    const double *d = x->data;
    size_t n = x->len / st_dtype_size(t);
    for (size_t i = 0; i < n; i++)
        if (!(t == ST_F32 ? isfinite(f[i]) : isfinite(d[i])))
            return err_set(e, ERR_NONFINITE, "%s: entry %zu is not finite", name, i);
    memcpy(dst, x->data, x->len);
    return 0;
}

static int get_tensors(struct policy *p, const struct st_msg *m, struct err *e)
{
    int64_t n_norm = N_DIFFICULTY + p->dim;
    if (get(m, "norm_center", ST_F64, n_norm, 0, p->norm_center, e) < 0 ||
        get(m, "norm_scale", ST_F64, n_norm, 0, p->norm_scale, e) < 0)
        return e->code;
    for (int64_t k = 0; k < n_norm; k++)
        if (!(p->norm_scale[k] > 0))
            return err_set(e, ERR_RANGE, "norm_scale: entry %lld is not positive",
                           (long long)k);
    if (p->learner == POLICY_PPO) {
        if (get(m, "W", ST_F32, p->n_hidden, p->n_in, policy_W(p), e) < 0 ||
            get(m, "b", ST_F32, p->n_hidden, 0, policy_b(p), e) < 0 ||
            get(m, "o", ST_F32, p->n_hidden, 0, policy_o(p), e) < 0 ||
            get(m, "adam_m", ST_F32, p->n_net, 0, p->adam_m, e) < 0 ||
            get(m, "adam_v", ST_F32, p->n_net, 0, p->adam_v, e) < 0 ||
            get(m, "critic", ST_F64, N_CRITIC, 0, p->critic, e) < 0)
            return e->code;
        return 0;
    }
    if (get(m, "mu", ST_F64, p->n_static, 0, p->mu, e) < 0 ||
        get(m, "sigma", ST_F64, p->n_static, p->n_static, p->sigma, e) < 0 ||
        get(m, "beta", ST_F64, N_CRITIC, 0, p->beta, e) < 0)
        return e->code;
    return 0;
}

static int get_meta(struct policy *p, const struct st_msg *m, struct err *e)
{
    double parts, iteration, adam_step = 0;
    const char *learner = st_msg_meta(m, "raise.learner");
    const char *features = st_msg_meta(m, "raise.features");
    const char *history = st_msg_meta(m, "raise.history");
    if (!learner || (strcmp(learner, "ppo") && strcmp(learner, "reward-model")))
        return err_set(e, ERR_UNSUPPORTED, "learner \"%s\" is not known",
                       learner ? learner : "");
    if (!features || !prov_unhex(features, &p->features))
        return err_set(e, ERR_FORMAT, "metadata raise.features is missing or no hash");
    p->learner = strcmp(learner, "ppo") ? POLICY_REWARD_MODEL : POLICY_PPO;
    if (get_real(m, "raise.parts", 1, PART_ALL, &parts, e) < 0 ||
        get_real(m, "raise.iteration", 0, 1e9, &iteration, e) < 0 ||
        get_real(m, "raise.reward_sd", 0, 0, &p->reward_sd, e) < 0)
        return e->code;
    if (p->learner == POLICY_PPO) {
        if (get_real(m, "raise.adam_step", 0, 1e12, &adam_step, e) < 0)
            return e->code;
    } else if (get_real(m, "raise.kappa", 0, 1e6, &p->kappa, e) < 0 ||
               get_real(m, "raise.memory", 0, 1, &p->memory, e) < 0 ||
               get_real(m, "raise.s2", 0, 0, &p->s2, e) < 0 ||
               get_real(m, "raise.v", 0, 0, &p->v, e) < 0) {
        return e->code;
    }
    p->parts = (unsigned)parts;
    p->iteration = (int64_t)iteration;
    p->adam_step = (int64_t)adam_step;
    p->history = history ? mem_strdup(history) : NULL;
    return 0;
}

/* Sizes come from tensors that are present, so nothing larger than the file is allocated. */
static int from_msg(struct policy *p, const struct st_msg *m, struct err *e)
{
    const struct st_tensor *norm = st_msg_need(m, "norm_center", ST_F64, 1, (int64_t[]){-1}, e);
    if (!norm || get_meta(p, m, e) < 0)
        return e->code;
    p->dim = norm->shape[0] - N_DIFFICULTY;
    if (p->dim < 1)
        return err_set(e, ERR_RANGE, "norm_center: %lld entries", (long long)norm->shape[0]);
    p->n_hidden = 1;
    if (p->learner == POLICY_PPO) {
        const struct st_tensor *b = st_msg_need(m, "b", ST_F32, 1, (int64_t[]){-1}, e);
        if (!b)
            return e->code;
        p->n_hidden = b->shape[0];
        if (p->n_hidden < 1)
            return err_set(e, ERR_RANGE, "b: no hidden units");
    }
    policy_alloc(p);
    return get_tensors(p, m, e);
}

struct policy *policy_read(const char *path, struct err *e)
{
    struct err local = ERR_INIT;
    e = e ? e : &local;
    struct st_msg *m = st_read(path, "policy", e);
    if (!m)
        return NULL;
    struct policy *p = mem_zalloc(1, sizeof *p);
    int rc = from_msg(p, m, e);
    st_msg_free(m);
    if (rc < 0) {
        if (!strstr(e->msg, file_name_in(path)))
            err_prefix(e, "%s", file_name_in(path));
        policy_free(p);
        return NULL;
    }
    return p;
}
