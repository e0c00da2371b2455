/* SPDX-License-Identifier: MIT
 * raise-ppo: makes a policy, and improves it from trajectories.
 *
 * `--init` writes policy 0 for a set of features. Otherwise: policy k and all trajectories so
 * far in, policy k + 1 out. Which of the trajectories are the policy's own is seen from the
 * policy's identity in them. Without trajectories, --weights alone says what a policy has
 * learned. What a learner has of its own, options too, comes from its row (policy/learner.h).
 */
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/opt.h"
#include "base/place.h"
#include "base/text.h"
#include "learn/learn.h"
#include "learned.h"
#include "stream/prov.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LEARNERS = 16, MAX_ROWS = 80 };

struct options {
    struct opt_common common;
    const char *features, *policy, *metrics, *weights, *liked, *with, *without, *start;
    bool is_init, is_paper;
    int learner; /* of learners() */
    int64_t n_new;
    size_t own[MAX_LEARNERS]; /* where each learner's options stand, from this struct on */
    char **files;
    int n_files;
    char *command_line;
};

static const char program[] = "raise-ppo";

#define AT(field) offsetof(struct options, field)
static const struct opt shared[] = {
    {'f', "features", OPT_STRING, AT(features), "FILE", "features with classes", 0, 0, NULL},
    {'p', "policy", OPT_STRING, AT(policy), "FILE", "the policy to improve", 0, 0, NULL},
    {0, "init", OPT_FLAG, AT(is_init), NULL, "make policy 0", 0, 0, NULL},
    {0, "metrics", OPT_PLACE, AT(metrics), "FILE", "write a row an epoch: CSV, or .jsonl", 0, 0,
     NULL},
    {0, "weights", OPT_PLACE, AT(weights), "FILE",
     "write what the target likes, a CSV row a feature", 0, 0, NULL},
    {0, "liked", OPT_PLACE, AT(liked), "FILE",
     "write the rows that each weight likes most and least, as CSV", 0, 0, NULL},
    {0, "new", OPT_INT, AT(n_new), "N",
     "the last N trajectories are the policy's own; 0: see by identity", 0, 1e6, NULL},
    {0, NULL, OPT_HEADING, 0, NULL, "With --init", 0, 0, NULL},
    {0, "learner", OPT_CHOICE, AT(learner), "NAME", "how to learn", 0, 0, NULL},
    {0, "without", OPT_STRING, AT(without), "PARTS", "leave out of the state, comma-separated",
     0, 0, NULL},
    {0, "with", OPT_STRING, AT(with), "PARTS",
     "parts that the features must have; others are left out where they lack them", 0, 0, NULL},
    {0, "start", OPT_STRING, AT(start), "POLICY",
     "begin with the scores that this policy, which has weights, deploys", 0, 0, NULL},
    {0, "paper", OPT_FLAG, AT(is_paper), NULL, "the paper's settings", 0, 0, NULL},
    {0, NULL, OPT_END, 0, NULL, NULL, 0, 0, NULL},
};

/* The rows above and those of all learners, as one table; the structs that they fill stand one
 * after the other. */
struct composed {
    struct opt row[MAX_ROWS];
    int n_rows;
    const char *name[MAX_LEARNERS + 1]; /* --learner's choices */
    struct buf without, paper;          /* help of --without, --paper */
    char *heading[MAX_LEARNERS];
    struct options *o; /* the learners' follow it */
};

static void add_rows(struct composed *c, const struct opt *row, size_t offset)
{
    for (; row->type != OPT_END && c->n_rows < MAX_ROWS - 1; row++) {
        struct opt *x = &c->row[c->n_rows++];
        *x = *row;
        x->offset += offset;
        if (row->offset == AT(learner) && row->type == OPT_CHOICE && !offset)
            x->choices = c->name;
        if (row->offset == AT(without) && row->type == OPT_STRING && !offset)
            x->help = buf_str(&c->without);
        if (row->offset == AT(is_paper) && row->type == OPT_FLAG && !offset)
            x->help = buf_str(&c->paper);
    }
}

static void *own_options(const struct options *o, int learner)
{
    return (char *)(uintptr_t)o + o->own[learner];
}

/* Help that comes from the tables of parts and learners. */
static void describe(struct composed *c)
{
    buf_puts(&c->without, "leave out of the state, comma-separated:");
    for (const struct state_part *p = state_parts(); p->name; p++)
        buf_printf(&c->without, "%s %s", p == state_parts() ? "" : ",", p->name);
    buf_puts(&c->paper, "the paper's state and settings as defaults");
    for (int i = 0; learners()[i]; i++)
        for (const struct learner_setting *s = learners()[i]->paper; s && s->option; s++)
            buf_printf(&c->paper, "%s %s %s", s == learners()[i]->paper ? ":" : ",", s->option,
                       s->value);
}

static void compose(struct composed *c)
{
    const struct learner *const *l = learners();
    size_t size = sizeof *c->o, own[MAX_LEARNERS];
    *c = (struct composed){0};
    for (int i = 0; i < MAX_LEARNERS && l[i]; i++) {
        own[i] = (size + 15) / 16 * 16;
        size = own[i] + l[i]->options_size;
        c->name[i] = l[i]->name;
        c->heading[i] = mem_printf("Learner %s, %s", l[i]->name, l[i]->help);
    }
    describe(c);
    const struct opt common[] = {{.type = OPT_HEADING, .help = "Common"}, {0}};
    add_rows(c, shared, 0);
    c->o = mem_zalloc(1, size);
    for (int i = 0; c->name[i]; i++) {
        const struct opt heading[] = {{.type = OPT_HEADING, .help = c->heading[i]}, {0}};
        c->o->own[i] = own[i];
        memcpy(own_options(c->o, i), l[i]->defaults, l[i]->options_size);
        add_rows(c, heading, 0);
        add_rows(c, l[i]->options, own[i]);
    }
    add_rows(c, common, 0);
}

static void composed_free(struct composed *c)
{
    for (int i = 0; i < MAX_LEARNERS; i++)
        free(c->heading[i]);
    buf_free(&c->without);
    buf_free(&c->paper);
    free(c->o->command_line);
    free(c->o);
}

/* --paper changes defaults, so that options beside it, before or after, still hold. */
static bool apply_paper(struct options *o, int argc, char **argv, struct err *e)
{
    bool is_paper = false;
    for (int i = 1; i < argc && strcmp(argv[i], "--"); i++)
        is_paper = is_paper || !strcmp(argv[i], "--paper");
    for (int i = 0; is_paper && learners()[i]; i++) {
        const struct learner *l = learners()[i];
        for (const struct learner_setting *s = l->paper; s && s->option; s++)
            for (const struct opt *row = l->options; row->type != OPT_END; row++)
                if (row->name && !strcmp(row->name, s->option) &&
                    opt_set(row, own_options(o, i), s->value, e) < 0)
                    opt_misuse("--paper: --%s: %s", s->option, e->msg);
    }
    return is_paper;
}

static const struct learner *chosen(const struct options *o)
{
    return learners()[o->learner];
}

static unsigned parse_parts(const char *option, const char *list)
{
    struct err e = ERR_INIT;
    unsigned parts;
    if (state_parse_parts(list, &parts, &e) < 0)
        opt_misuse("--%s: %s", option, e.msg);
    return parts;
}

/* ---- output ---- */

static int write_policy(const struct options *o, const struct policy *p, struct prov *prov,
                        struct err *e)
{
    return policy_write(p, o->common.out, o->common.is_uncompressed ? ST_PLAIN : 0,
                        o->common.no_provenance ? NULL : prov, e);
}

/* ---- work ---- */

static void warn_constant(void *arg, const char *column)
{
    log_warn("%s is the same for all %lld rows", column, (long long)*(int64_t *)arg);
}

static void tell_outlook(const struct policy *p, const struct learn_report *r)
{
    char *line = policy_learner(p)->outlook ? policy_learner(p)->outlook(p, r) : NULL;
    if (line)
        log_note("%s", line);
    free(line);
}

static int start_from(struct policy *p, const struct options *o, const struct features *f,
                      struct prov *prov, struct err *e)
{
    struct policy *model = policy_read(o->start, learners(), e);
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
    unsigned parts = o->is_paper ? PART_PAPER : state_all_parts();
    unsigned needed = parse_parts("with", o->with);
    const struct policy_options po = {.learner = chosen(o),
                                      .parts = (parts | needed) &
                                               ~parse_parts("without", o->without),
                                      .needed = needed,
                                      .seed = o->common.seed,
                                      .own = own_options(o, o->learner)};
    int64_t n_rows = f->n;
    struct policy *p = policy_new(f, &po, e);
    if (!p)
        return e->code;
    state_each_constant(policy_state(p), f, warn_constant, &n_rows);
    int rc = o->start ? start_from(p, o, f, prov, e) : 0;
    if (!rc)
        rc = write_policy(o, p, prov, e);
    if (!rc)
        tell_outlook(p, NULL);
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
    int rc = traj_from_msg(&x->t[i], m, e);
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
    if (!policy_learner(p)->needs_own_episodes)
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

/* The options of the policy's own learner. */
static const void *options_of(const struct options *o, const struct policy *p)
{
    int i = 0;
    while (learners()[i] != policy_learner(p))
        i++;
    return own_options(o, i);
}

static int improve(const struct options *o, const struct features *f, struct policy *p,
                   const struct episodes_read *x, struct prov *prov, struct err *e)
{
    struct learn_report r;
    int rc = learn_update(p, f, x->t, x->name, x->n, x->n_own, options_of(o, p), &r, e);
    if (!rc && o->metrics)
        rc = learned_metrics(o->metrics, &r, e);
    if (!rc && o->weights)
        rc = learned_weights(o->weights, p, e);
    if (!rc && o->liked)
        rc = learned_liked(o->liked, p, f, e);
    if (!rc)
        rc = write_policy(o, p, prov, e);
    if (!rc && r.is_unchanged)
        log_warn("none of %lld episode%s ended well that %s could learn from: the policy is "
                 "written as it was",
                 (long long)x->n, text_s(x->n), o->policy);
    else if (!rc)
        log_summary("policy %lld from %lld episode%s, %lld of them its own with a mean gain of "
                    "%.6g nats, %lld left out",
                    (long long)policy_iteration(p), (long long)x->n, text_s(x->n),
                    (long long)x->n_own, r.mean_return, (long long)r.n_dropped);
    if (!rc && !r.is_unchanged)
        tell_outlook(p, &r);
    learn_report_free(&r);
    return rc;
}

static int bind(const struct options *o, const struct features *f, struct policy *p,
                struct err *e)
{
    if (policy_features(p) != f->id)
        return err_set(e, ERR_MISMATCH, "%s: was made for other features than %s", o->policy,
                       file_name_in(o->features));
    return policy_bind(p, f, e) ? err_prefix(e, "%s", o->policy) : 0;
}

static int update(const struct options *o, const struct features *f, struct policy *p,
                  struct prov *prov, struct err *e)
{
    struct episodes_read x = {0};
    int rc = bind(o, f, p, e);
    if (rc)
        return rc;
    prov_add_input(prov, o->policy, policy_id(p));
    rc = read_episodes(&x, o, f, p, prov, e);
    if (!rc)
        rc = improve(o, f, p, &x, prov, e);
    episodes_close(&x);
    return rc;
}

/* What a policy has learned, and nothing new. */
static int ask(const struct options *o, struct policy *p, struct err *e)
{
    struct features f = {0};
    int rc = o->weights ? learned_weights(o->weights, p, e) : 0;
    if (rc || !o->liked)
        return rc;
    rc = features_read(&f, o->features, e);
    if (!rc)
        rc = bind(o, &f, p, e);
    if (!rc)
        rc = learned_liked(o->liked, p, &f, e);
    features_free(&f);
    return rc;
}

static int run(const struct options *o, struct err *e)
{
    struct features f = {0};
    struct policy *p = NULL;
    int rc = o->is_init || o->n_files ? file_refuse_tty(o->common.out, e) : 0;
    if (!rc && o->policy && !(p = policy_read(o->policy, learners(), e)))
        rc = e->code;
    if (!rc && (o->weights || o->liked) && !policy_learner(p)->weights)
        rc = err_set(e, ERR_UNSUPPORTED, "%s: %s: learner %s has none", o->policy,
                     o->weights ? "--weights" : "--liked", policy_learner(p)->name);
    if (!rc && p && !o->n_files) {
        rc = ask(o, p, e);
        policy_free(p);
        return rc;
    }
    if (!rc)
        rc = features_read(&f, o->features, e);
    if (!rc) {
        struct prov *prov = prov_new(program, o->command_line, o->common.seed);
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

static void check_places(const struct options *o)
{
    struct places p = {0};
    places_add(&p, PLACE_INPUT, "-f", o->features);
    places_add(&p, PLACE_INPUT, "-p", o->policy);
    places_add(&p, PLACE_INPUT, "--start", o->start);
    for (int i = 0; i < o->n_files; i++)
        places_add(&p, PLACE_INPUT, "a trajectory", o->files[i]);
    places_add(&p, PLACE_FILE, "--metrics", o->metrics);
    places_add(&p, PLACE_FILE, "--weights", o->weights);
    places_add(&p, PLACE_FILE, "--liked", o->liked);
    if (o->is_init || o->n_files)
        places_add(&p, PLACE_FILE, "-o", o->common.out ? o->common.out : "-");
    opt_check_places(&p);
}

/* What cannot be meant is refused before anything is read. */
static void check_options(const struct options *o)
{
    unsigned both = parse_parts("with", o->with) & parse_parts("without", o->without);
    if (o->is_init &&
        (o->policy || o->n_files || o->metrics || o->weights || o->liked || o->n_new))
        opt_misuse("--init takes no policy, trajectories, --new, --metrics, --weights or "
                   "--liked");
    if (o->is_init && o->start && !chosen(o)->start)
        opt_misuse("--start is not for --learner %s", chosen(o)->name);
    if (!o->is_init && (o->start || o->without || o->with))
        opt_misuse("--start, --with and --without are for --init");
    if (both)
        opt_misuse("--with and --without name the same part");
    if (!o->is_init && !o->policy)
        opt_misuse("--init, or -p POLICY to improve, is missing");
    if (!o->is_init && !o->n_files && !o->weights && !o->liked)
        opt_misuse("trajectories, or --weights, are missing");
    if (!o->is_init && !o->n_files &&
        ((o->features && !o->liked) || o->common.out || o->metrics || o->n_new))
        opt_misuse("-f, -o, --metrics and --new need trajectories to learn from");
    if (!o->is_init && !o->n_files && !o->liked)
        return;
    if (!o->features)
        opt_misuse("-f FEATURES is missing");
    if (o->n_new > o->n_files)
        opt_misuse("--new %lld, but %d trajectories", (long long)o->n_new, o->n_files);
}

static bool words(const char *option, struct buf *b)
{
    if (option && (!strcmp(option, "with") || !strcmp(option, "without")))
        for (const struct state_part *p = state_parts(); p->name; p++)
            buf_printf(b, " %s", p->name);
    return false;
}

static int parse(struct composed *c, int argc, char **argv)
{
    const struct opt_spec spec = {
        .program = program,
        .usage = "--init --learner NAME -f features [options]\n"
                 "       raise-ppo -f features -p policy [options] trajectory ...\n"
                 "       raise-ppo -p policy --weights FILE\n"
                 "       raise-ppo -p policy -f features --liked FILE",
        .summary = "Makes a policy, and improves it from trajectories.",
        .common = "otusp",
        .common_offset = AT(common),
        .table = c->row,
        .max_args = -1,
        .words = words,
        .input =
            "It reads features and a policy; and to learn, the trajectories of that policy's "
            "episodes so far, as raise-rollout writes them.",
        .examples = "raise-ppo --init --learner reward-model -f features.st.zst -o p.0\n"
                    "raise-ppo -f features.st.zst -p p.0 -o p.1 traj.1",
    };
    struct err e = ERR_INIT;
    log_program = program;
    bool is_paper = apply_paper(c->o, argc, argv, &e);
    int first = opt_parse(&spec, c->o, argc, argv);
    c->o->command_line = opt_command_line(&spec, argc, argv);
    if (c->o->is_paper && !is_paper)
        opt_misuse("--paper cannot be abbreviated");
    return first;
}

int main(int argc, char **argv)
{
    struct composed c;
    struct err e = ERR_INIT;
    compose(&c);
    c.o->common = (struct opt_common)OPT_COMMON_DEFAULTS;
    int first = parse(&c, argc, argv);
    c.o->files = argv + first;
    c.o->n_files = argc - first;
    check_options(c.o);
    check_places(c.o);
    int rc = run(c.o, &e);
    composed_free(&c);
    if (!rc)
        rc = file_close_stdout(&e);
    if (rc < 0)
        log_error("%s", e.msg);
    return rc < 0;
}
