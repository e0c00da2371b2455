/* SPDX-License-Identifier: MIT
 * raise-ppo: makes a policy, and improves it from trajectories.
 *
 * `--init` writes policy 0 for a set of features. Otherwise: policy k and all trajectories so
 * far in, policy k + 1 out. Which of the trajectories are the policy's own is seen from the
 * policy's identity in them. Without trajectories, --weights alone says what a reward model
 * has learned. */
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/opt.h"
#include "learn/learn.h"
#include "stream/prov.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct options {
    struct opt_common common;
    const char *features, *policy, *metrics, *weights, *without, *start;
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
    {0, "start", OPT_STRING, AT(start), "POLICY",
     "ppo: begin as the linear scorer that this reward model deploys", 0, 0, NULL},
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
             "       raise-ppo -f features -p policy [options] trajectory ...\n"
             "       raise-ppo -p policy --weights FILE",
    .summary = "Makes a policy, and improves it from trajectories.",
    .common = "otusp",
    .common_offset = AT(common),
    .table = table,
    .max_args = -1,
};

/* --paper changes defaults, so that options beside it, before or after, still hold. */
static bool apply_paper(struct options *o, int argc, char **argv)
{
    bool is_paper = false;
    for (int i = 1; i < argc && strcmp(argv[i], "--"); i++)
        is_paper = is_paper || !strcmp(argv[i], "--paper");
    if (is_paper) {
        o->lr = 3e-4;
        o->gamma = 0.99;
        o->lambda = 0.95;
        o->ratio = RATIO_CLASS;
    }
    return is_paper;
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
        size_t len = strcspn(p, ",");
        unsigned part = 0;
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            if (strlen(known[i].name) == len && !strncmp(p, known[i].name, len))
                part = known[i].part;
        if (!part)
            opt_misuse("--without: '%.*s' is not one of stage, difficulty, semantic, "
                       "availability",
                       (int)len, p);
        parts &= ~part;
        p += len + (p[len] == ',');
    }
    return parts;
}

static const char *const difficulty[] = {"len_x", "len_y", "logp_yx", "logp_y"};

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

/* A difficulty that is the same for all tells nothing; it may mean that something went wrong.
 */
static void warn_constant(const struct features *f)
{
    bool is_constant[4] = {true, true, true, true};
    for (int64_t i = 1; i < f->n; i++) {
        is_constant[0] = is_constant[0] && f->len_x[i] == f->len_x[0];
        is_constant[1] = is_constant[1] && f->len_y[i] == f->len_y[0];
        is_constant[2] = is_constant[2] && f->logp_yx[i] == f->logp_yx[0];
        is_constant[3] = is_constant[3] && f->logp_y[i] == f->logp_y[0];
    }
    for (int k = 0; k < 4; k++)
        if (is_constant[k])
            log_warn("%s is the same for all %lld rows", difficulty[k], (long long)f->n);
}

static int start_from(struct policy *p, const struct options *o, const struct features *f,
                      struct prov *prov, struct err *e)
{
    struct policy *model = policy_read(o->start, e);
    int rc = model ? policy_start(p, model, f, e) : e->code;
    if (rc && model)
        err_prefix(e, "%s", o->start);
    if (!rc)
        prov_add_input(prov, o->start, policy_id(model));
    policy_free(model);
    return rc;
}

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
    warn_constant(f);
    int rc = o->start ? start_from(p, o, f, prov, e) : 0;
    if (!rc)
        rc = write_policy(o, p, prov, e);
    policy_free(p);
    return rc;
}

/* The trajectories so far, with the names and identities of their files. */
struct episodes_read {
    struct traj *t;
    const char **name;
    uint64_t *id;
    int64_t n, n_own;
};

static int read_one(struct episodes_read *x, int64_t i, struct err *e)
{
    const char *name = file_name_in(x->name[i]);
    struct st_msg *m = st_read(x->name[i], "trajectory", e);
    if (!m)
        return e->code;
    int rc = traj_from_msg(&x->t[i], m, name, e);
    x->id[i] = st_msg_hash(m);
    st_msg_free(m);
    for (int64_t k = 0; k < i && !rc; k++)
        if (x->id[k] == x->id[i])
            rc = err_set(e, ERR_MISMATCH, "%s and %s are the same trajectory", x->name[k],
                         x->name[i]);
    if (!rc && strcmp(x->t[i].status, "ok"))
        log_warn("%s: left out: %s", name, x->t[i].status);
    return rc;
}

/* Puts the policy's own trajectories last, in their order. --new: the last ones must be. */
static int put_own_last(struct episodes_read *x, const struct options *o,
                        const struct policy *p, struct err *e)
{
    uint64_t id = policy_id(p);
    struct traj *t = mem_alloc((size_t)x->n, sizeof *t);
    const char **name = mem_alloc((size_t)x->n, sizeof *name);
    int64_t n = 0;
    int rc = 0;
    for (int own = 0; own < 2; own++)
        for (int64_t i = 0; i < x->n; i++)
            if ((o->n_new ? i >= x->n - o->n_new : x->t[i].policy == id) == own) {
                t[n] = x->t[i];
                name[n++] = x->name[i];
                x->n_own += own;
            }
    memcpy(x->t, t, (size_t)n * sizeof *t);
    memcpy(x->name, name, (size_t)n * sizeof *name);
    free(t);
    free(name);
    if (policy_learner(p) == POLICY_REWARD_MODEL)
        return 0;
    for (int64_t i = x->n - x->n_own; i < x->n && !rc; i++)
        if (x->t[i].policy != id)
            rc = err_set(e, ERR_MISMATCH, "%s: was not drawn from %s", file_name_in(x->name[i]),
                         o->policy);
    if (!x->n_own)
        rc = err_set(e, ERR_MISMATCH, "none of %lld trajectories was drawn from %s",
                     (long long)x->n, o->policy);
    return rc;
}

static int read_episodes(struct episodes_read *x, const struct options *o,
                         const struct features *f, const struct policy *p, struct prov *prov,
                         struct err *e)
{
    x->n = o->n_files;
    x->t = mem_zalloc((size_t)x->n, sizeof *x->t);
    x->id = mem_zalloc((size_t)x->n, sizeof *x->id);
    x->name = mem_alloc((size_t)x->n, sizeof *x->name);
    for (int64_t i = 0; i < x->n; i++)
        x->name[i] = o->files[i];
    for (int64_t i = 0; i < x->n; i++) {
        int rc = read_one(x, i, e);
        if (rc)
            return rc;
        if (x->t[i].features != f->id)
            return err_set(e, ERR_MISMATCH, "%s: was made with other features than %s",
                           file_name_in(x->name[i]), file_name_in(o->features));
        prov_add_input(prov, x->name[i], x->id[i]);
    }
    return put_own_last(x, o, p, e);
}

static void episodes_close(struct episodes_read *x)
{
    for (int64_t i = 0; i < x->n; i++)
        traj_free(&x->t[i]);
    free(x->t);
    free(x->id);
    free(x->name);
}

static int improve(const struct options *o, const struct features *f, struct policy *p,
                   const struct episodes_read *x, struct prov *prov, struct err *e)
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
    int64_t n_dropped = 0;
    int64_t n = learn_update(p, f, x->t, x->name, x->n, x->n_own, &lo, m, &n_dropped, e);
    int rc = n < 0 ? (int)n : 0;
    if (!rc && o->metrics)
        rc = write_metrics(o->metrics, m, n, e);
    if (!rc && o->weights)
        rc = write_weights(o->weights, p, e);
    if (!rc)
        rc = write_policy(o, p, prov, e);
    if (!rc)
        log_summary("policy %lld from %lld episodes, %lld of them its own with a mean gain of "
                    "%.6g nats, %lld left out",
                    (long long)policy_iteration(p), (long long)x->n, (long long)x->n_own,
                    m[0].mean_return, (long long)n_dropped);
    free(m);
    return rc;
}

static int update(const struct options *o, const struct features *f, struct policy *p,
                  struct prov *prov, struct err *e)
{
    struct episodes_read x = {0};
    if (policy_features(p) != f->id)
        return err_set(e, ERR_MISMATCH, "%s: was made for other features than %s", o->policy,
                       file_name_in(o->features));
    prov_add_input(prov, o->policy, policy_id(p));
    int rc = read_episodes(&x, o, f, p, prov, e);
    if (!rc)
        rc = improve(o, f, p, &x, prov, e);
    episodes_close(&x);
    return rc;
}

static int run(const struct options *o, struct err *e)
{
    struct features f = {0};
    struct policy *p = NULL;
    int rc = o->is_init || o->n_files ? file_refuse_tty(o->common.out, e) : 0;
    if (!rc && o->policy && !(p = policy_read(o->policy, e)))
        rc = e->code;
    if (!rc && o->weights && policy_learner(p) != POLICY_REWARD_MODEL)
        rc = err_set(e, ERR_UNSUPPORTED, "%s: --weights: only a reward model has them",
                     o->policy);
    if (!rc && p && !o->n_files) {
        rc = write_weights(o->weights, p, e);
        policy_free(p);
        return rc;
    }
    if (!rc)
        rc = features_read(&f, o->features, e);
    if (!rc) {
        struct prov *prov = prov_new(spec.program, o->command_line, o->common.seed);
        prov_add_input(prov, o->features, f.id);
        if (!f.has_classes)
            log_detail("%s has no classes: one class", file_name_in(o->features));
        if (!o->is_init)
            prov_set_no_seed(prov);
        rc = o->is_init ? init(o, &f, prov, e) : update(o, &f, p, prov, e);
        prov_free(prov);
    }
    features_free(&f);
    policy_free(p);
    return rc;
}

/* What cannot be meant is refused before anything is read. */
static void check_options(const struct options *o)
{
    int n_out = file_is_std(o->common.out) + (o->metrics && file_is_std(o->metrics)) +
                (o->weights && file_is_std(o->weights));
    int n_in = file_is_std(o->features) + (o->policy && file_is_std(o->policy));
    if (o->is_init && (o->policy || o->n_files || o->metrics || o->weights))
        opt_misuse("--init takes no policy, trajectories, --metrics or --weights");
    if (o->is_init && o->start && o->learner != POLICY_PPO)
        opt_misuse("--start is for --learner ppo");
    if (!o->is_init && (o->start || o->without))
        opt_misuse("--start and --without are for --init");
    if (!o->is_init && !o->policy)
        opt_misuse("--init, or -p POLICY to improve, is missing");
    if (!o->is_init && !o->n_files && !o->weights)
        opt_misuse("trajectories, or --weights, are missing");
    if (!o->is_init && !o->n_files)
        return;
    if (!o->features)
        opt_misuse("-f FEATURES is missing");
    for (int i = 0; i < o->n_files; i++)
        n_in += file_is_std(o->files[i]);
    if (n_in > 1)
        opt_misuse("standard input can be read only once");
    if (n_out > 1)
        opt_misuse("only one output can go to standard output: -o is missing");
    if (o->n_new > o->n_files)
        opt_misuse("--new %lld, but %d trajectories", (long long)o->n_new, o->n_files);
    parts_without(o->without);
}

int main(int argc, char **argv)
{
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
    char *line = opt_command_line(argc, argv);
    bool is_paper = apply_paper(&o, argc, argv);
    int first = opt_parse(&spec, &o, argc, argv);
    o.command_line = line;
    o.files = argv + first;
    o.n_files = argc - first;
    if (o.is_paper && !is_paper)
        opt_misuse("--paper cannot be abbreviated");
    check_options(&o);
    int rc = run(&o, &e);
    free(line);
    if (!rc)
        rc = file_close_stdout(&e);
    if (rc < 0)
        log_error("%s", e.msg);
    return rc < 0;
}
