/* SPDX-License-Identifier: MIT
 * raise-ppo: makes a policy, and improves it from trajectories.
 *
 * `--init` writes policy 0 for a set of features. Otherwise: policy k and all trajectories so
 * far in, policy k + 1 out. Which of the trajectories are the policy's own is seen from the
 * policy's identity in them. */
#include "base/cpu.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/opt.h"
#include "rl/learn.h"
#include "stream/prov.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct options {
    struct opt_common common;
    const char *features, *policy, *metrics, *weights, *without;
    bool is_init, is_paper;
    int learner, ratio;
    int64_t n_hidden, n_epochs, n_new;
    double lr, gamma, lambda, clip, entropy, grad_clip, kappa, memory;
    char **files;
    int n_files;
    const char *command_line;
};

static const char *const learners[] = {"ppo", "reward-model", NULL};
static const char *const ratios[] = {"mean", "class", "item", NULL};

#define AT(field) offsetof(struct options, field)
static const struct opt table[] = {
    {'f', "features", OPT_STRING, AT(features), "FILE", "features with classes", 0, 0, NULL},
    {'p', "policy", OPT_STRING, AT(policy), "FILE", "the policy to improve", 0, 0, NULL},
    {0, "init", OPT_FLAG, AT(is_init), NULL, "make policy 0", 0, 0, NULL},
    {0, "metrics", OPT_STRING, AT(metrics), "FILE", "write a CSV row an epoch", 0, 0, NULL},
    {0, "weights", OPT_STRING, AT(weights), "FILE",
     "reward model: write what the target likes, a CSV row a feature", 0, 0, NULL},
    {0, "new", OPT_INT, AT(n_new), "N",
     "the last N trajectories are the policy's own; 0: see by identity", 0, 1e6, NULL},
    {0, NULL, OPT_HEADING, 0, NULL, "With --init", 0, 0, NULL},
    {0, "learner", OPT_CHOICE, AT(learner), "NAME", "how to learn", 0, 0, learners},
    {0, "hidden", OPT_INT, AT(n_hidden), "N", "ppo: hidden units of the scorer", 1, 4096, NULL},
    {0, "without", OPT_STRING, AT(without), "PARTS",
     "leave out of the state: stage, difficulty, semantic, availability (comma-separated)", 0,
     0, NULL},
    {0, "kappa", OPT_REAL, AT(kappa), "X", "reward model: sharpness of the choice", 1e-3, 100,
     NULL},
    {0, NULL, OPT_HEADING, 0, NULL, "Learning", 0, 0, NULL},
    {0, "epochs", OPT_INT, AT(n_epochs), "N", "ppo: epochs an update", 1, 1000, NULL},
    {0, "lr", OPT_REAL, AT(lr), "X", "ppo: Adam's learning rate", 1e-9, 10, NULL},
    {0, "gamma", OPT_REAL, AT(gamma), "X", "ppo: discount", 0, 1, NULL},
    {0, "lambda", OPT_REAL, AT(lambda), "X", "ppo: lambda of GAE", 0, 1, NULL},
    {0, "clip", OPT_REAL, AT(clip), "X", "ppo: clip range of the ratio", 1e-6, 1, NULL},
    {0, "entropy", OPT_REAL, AT(entropy), "X", "ppo: weight of the entropy", 0, 10, NULL},
    {0, "ratio", OPT_CHOICE, AT(ratio), "KIND",
     "ppo: ratio of a class's list, its mean over items, or per item", 0, 0, ratios},
    {0, "grad-clip", OPT_REAL, AT(grad_clip), "X", "ppo: largest gradient norm; 0: any", 0, 1e9,
     NULL},
    {0, "memory", OPT_REAL, AT(memory), "X", "reward model: credit that a step passes on", 0,
     0.999, NULL},
    {0, "paper", OPT_FLAG, AT(is_paper), NULL,
     "the paper's settings: lr 3e-4, gamma 0.99, lambda 0.95, ratio class", 0, 0, NULL},
    {0, NULL, OPT_END, 0, NULL, NULL, 0, 0, NULL},
};

static const struct opt_spec spec = {
    .program = "raise-ppo",
    .usage = "--init --learner NAME -f features [options]\n"
             "       raise-ppo -f features -p policy [options] trajectory ...",
    .summary = "Makes a policy, and improves it from trajectories.",
    .common = "otusp",
    .common_offset = AT(common),
    .table = table,
    .max_args = -1,
};

/* --paper sets what the user did not set: values are compared with the defaults. */
static void apply_paper(struct options *o, const struct options *defaults)
{
    if (!o->is_paper)
        return;
    if (o->lr == defaults->lr)
        o->lr = 3e-4;
    if (o->gamma == defaults->gamma)
        o->gamma = 0.99;
    if (o->ratio == defaults->ratio)
        o->ratio = RATIO_CLASS;
}

static unsigned parts_without(const char *list)
{
    static const struct {
        const char *name;
        unsigned part;
    } known[] = {{"stage", PART_STAGE},
                 {"difficulty", PART_DIFFICULTY},
                 {"semantic", PART_SEMANTIC},
                 {"availability", PART_COUNT}};
    unsigned parts = PART_ALL;
    for (const char *p = list; p && *p;) {
        size_t len = strcspn(p, ","), i = 0;
        while (i < 4 && (strlen(known[i].name) != len || strncmp(p, known[i].name, len)))
            i++;
        if (i == 4)
            opt_misuse("--without: '%.*s' is not one of stage, difficulty, semantic, "
                       "availability",
                       (int)len, p);
        parts &= ~known[i].part;
        p += len + (p[len] == ',');
    }
    return parts;
}

/* ---- output ---- */

static int write_policy(const struct options *o, const struct policy *p, struct prov *prov,
                        struct err *e)
{
    return policy_write(p, o->common.out, o->common.is_uncompressed ? ST_PLAIN : 0,
                        o->common.no_provenance ? NULL : prov, e);
}

static int write_text(const char *path, struct buf *b, struct err *e)
{
    int rc = file_write_all(path, b->data, b->len, e);
    buf_free(b);
    return rc;
}

static int write_metrics(const char *path, const struct learn_metrics *m, int64_t n,
                         struct err *e)
{
    struct buf b = {0};
    buf_puts(&b, "iteration,epoch,loss,policy_loss,entropy,kl,clip_fraction,grad_norm,"
                 "explained_variance,mean_return,reward_sd,s2,v,log_evidence\n");
    for (int64_t i = 0; i < n; i++) {
        const double v[] = {m[i].loss,
                            m[i].policy_loss,
                            m[i].entropy,
                            m[i].kl,
                            m[i].clip_fraction,
                            m[i].grad_norm,
                            m[i].explained_variance,
                            m[i].mean_return,
                            m[i].reward_sd,
                            m[i].s2,
                            m[i].v,
                            m[i].log_evidence};
        buf_printf(&b, "%lld,%lld", (long long)m[i].iteration, (long long)m[i].epoch);
        for (size_t k = 0; k < sizeof v / sizeof *v; k++)
            buf_printf(&b, ",%.17g", v[k]);
        buf_putc(&b, '\n');
    }
    return write_text(path, &b, e);
}

static int write_weights(const char *path, const struct policy *p, struct err *e)
{
    static const char *const difficulty[] = {"len_x", "len_y", "logp_yx", "logp_y"};
    struct buf b = {0};
    buf_puts(&b, "feature,weight,standard_error\n");
    for (int64_t i = 0; i < policy_n_static(p); i++) {
        double mean, se;
        int64_t k = policy_weight(p, i, &mean, &se);
        if (k < 4)
            buf_puts(&b, difficulty[k]);
        else
            buf_printf(&b, "embedding_%lld", (long long)(k - 4));
        buf_printf(&b, ",%.17g,%.17g\n", mean, se);
    }
    return write_text(path, &b, e);
}

/* ---- work ---- */

static int init(const struct options *o, const struct features *f, struct prov *prov,
                struct err *e)
{
    const struct policy_options po = {.learner = (enum policy_learner)o->learner,
                                      .parts = parts_without(o->without),
                                      .n_hidden = o->n_hidden,
                                      .seed = o->common.seed,
                                      .kappa = o->kappa};
    struct policy *p = policy_new(f, &po, e);
    if (!p)
        return e->code;
    int rc = write_policy(o, p, prov, e);
    policy_free(p);
    return rc;
}

static int64_t count_own(const struct options *o, const struct policy *p, const struct traj *t)
{
    uint64_t id = policy_id(p);
    int64_t n = 0;
    if (o->n_new)
        return o->n_new < o->n_files ? o->n_new : o->n_files;
    while (n < o->n_files && t[o->n_files - 1 - n].policy == id)
        n++;
    return n;
}

static int improve(const struct options *o, const struct features *f, struct policy *p,
                   const struct traj *t, struct prov *prov, struct err *e)
{
    const struct learn_options lo = {.n_epochs = o->n_epochs,
                                     .lr = o->lr,
                                     .gamma = o->gamma,
                                     .lambda = o->lambda,
                                     .clip = o->clip,
                                     .entropy = o->entropy,
                                     .ratio = (enum learn_ratio)o->ratio,
                                     .grad_clip = o->grad_clip,
                                     .memory = o->memory};
    struct learn_metrics *m = mem_zalloc((size_t)o->n_epochs, sizeof *m);
    int64_t n_dropped = 0, n_own = count_own(o, p, t);
    if (!n_own && policy_learner(p) == POLICY_PPO) {
        free(m);
        return err_set(e, ERR_MISMATCH, "%s: no trajectory was drawn from this policy",
                       o->policy);
    }
    int64_t n = learn_update(p, f, t, (const char *const *)o->files, o->n_files, n_own, &lo, m,
                             &n_dropped, e);
    int rc = n < 0 ? (int)n : 0;
    if (!rc && n_dropped)
        log_warn("%lld of %d episodes have no usable rewards and were left out",
                 (long long)n_dropped, o->n_files);
    if (!rc && o->metrics)
        rc = write_metrics(o->metrics, m, n, e);
    if (!rc && o->weights)
        rc = policy_learner(p) == POLICY_REWARD_MODEL
                 ? write_weights(o->weights, p, e)
                 : err_set(e, ERR_UNSUPPORTED, "--weights: only a reward model has them");
    if (!rc)
        rc = write_policy(o, p, prov, e);
    if (!rc)
        log_summary("policy %lld from %d episodes (%lld its own), gain of its own %.6g nats",
                    (long long)policy_iteration(p), o->n_files, (long long)n_own,
                    m[0].mean_return);
    free(m);
    return rc;
}

static int update(const struct options *o, const struct features *f, struct prov *prov,
                  struct err *e)
{
    struct traj *t = mem_zalloc((size_t)o->n_files, sizeof *t);
    struct policy *p = policy_read(o->policy, e);
    int rc = p ? 0 : e->code;
    if (!rc && policy_features(p) != f->id)
        rc = err_set(e, ERR_MISMATCH, "%s: the policy was made for other features than %s",
                     o->policy, file_name_in(o->features));
    if (!rc)
        prov_add_input(prov, o->policy, policy_id(p));
    for (int i = 0; i < o->n_files && !rc; i++) {
        uint64_t hash;
        rc = traj_read(&t[i], o->files[i], e);
        if (!rc)
            rc = file_hash(o->files[i], &hash, e);
        if (!rc)
            prov_add_input(prov, o->files[i], hash);
    }
    if (!rc)
        rc = improve(o, f, p, t, prov, e);
    for (int i = 0; i < o->n_files; i++)
        traj_free(&t[i]);
    free(t);
    policy_free(p);
    return rc;
}

static int run(const struct options *o, struct err *e)
{
    struct features f = {0};
    int rc = file_refuse_tty(o->common.out, e);
    if (!rc)
        rc = features_read(&f, o->features, e);
    if (rc < 0)
        return rc;
    struct prov *prov = prov_new(spec.program, o->command_line, o->common.seed);
    prov_add_input(prov, o->features, f.id);
    if (!f.has_classes)
        log_detail("%s has no classes: one class", file_name_in(o->features));
    rc = o->is_init ? init(o, &f, prov, e) : update(o, &f, prov, e);
    prov_free(prov);
    features_free(&f);
    return rc;
}

int main(int argc, char **argv)
{
    cpu_fix_blas(argv);
    struct options o = {.common = OPT_COMMON_DEFAULTS,
                        .n_hidden = 32,
                        .n_epochs = 4,
                        .lr = 3e-2,
                        .gamma = 0,
                        .lambda = 0.95,
                        .clip = 0.2,
                        .entropy = 0.01,
                        .grad_clip = 1,
                        .kappa = 3,
                        .memory = 0.5};
    struct err e = ERR_INIT;
    const struct options defaults = o;
    char *line = opt_command_line(argc, argv);
    int first = opt_parse(&spec, &o, argc, argv);
    apply_paper(&o, &defaults);
    o.command_line = line;
    o.files = argv + first;
    o.n_files = argc - first;
    if (!o.features)
        opt_misuse("-f FEATURES is missing");
    if (o.is_init ? o.policy || o.n_files : !o.policy || !o.n_files)
        opt_misuse(o.is_init ? "--init takes neither a policy nor trajectories"
                             : "-p POLICY and at least one trajectory are needed");
    int rc = run(&o, &e);
    free(line);
    if (!rc)
        rc = file_close_stdout(&e);
    if (rc < 0)
        log_error("%s", e.msg);
    return rc < 0;
}
