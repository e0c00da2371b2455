/* SPDX-License-Identifier: MIT
 * raise-plan: a fixed plan of training steps by a baseline method. */
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/opt.h"
#include "base/place.h"
#include "base/text.h"
#include "learn/best.h"
#include "plan/plan_make.h"
#include "reading.h"
#include "stream/prov.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

struct options {
    struct opt_common common;
    const char *features, *val_features, *dataset, *field, *list, *left_out;
    int64_t n_steps, batch, n_top;
    double epochs, max_cosine;
    bool has_repeats;
    int order, prefer, match;
    const struct plan_method *method;
    char **episodes; /* trajectories, for best-of */
    int n_episodes;
    const char *command_line;
};

static const char *const orders[] = {"auto", "score", "shuffle", NULL};
static const char *const ends[] = {"high", "low", NULL};
static const char *const matches[] = {"round-robin", "mean", "max", NULL};

#define AT(field) offsetof(struct options, field)
static const struct opt table[] = {
    {'f', "features", OPT_STRING, AT(features), "FILE", "features (default: standard input)", 0,
     0, NULL},
    {'T', "steps", OPT_INT, AT(n_steps), "N", "training steps", 1, 1e9, NULL},
    {'b', "batch", OPT_INT, AT(batch), "N", "records a step", 1, 1e6, NULL},
    {'B', NULL, OPT_INT, AT(batch), "N", NULL, 1, 1e6, NULL},
    {0, "top", OPT_INT, AT(n_top), "N", "choose N records; 0: steps x batch", 0, 1e12, NULL},
    {0, "repeats", OPT_FLAG, AT(has_repeats), NULL,
     "go through the chosen records again when they are too few", 0, 0, NULL},
    {0, "epochs", OPT_REAL, AT(epochs), "X",
     "go X times through all, or the best --top, instead of --steps; 0: --steps", 0, 1e6, NULL},
    {0, "max-cosine", OPT_REAL, AT(max_cosine), "X",
     "pass over records that are more alike than that to one chosen before; 0: none", 0, 1,
     NULL},
    {0, "order", OPT_CHOICE, AT(order), "ORDER", "order of training", 0, 0, orders},
    {0, "prefer", OPT_CHOICE, AT(prefer), "END", "which scores to choose", 0, 0, ends},
    {0, "left-out", OPT_PLACE, AT(left_out), "FILE",
     "list the records that could not be ranked, as CSV", 0, 0, NULL},
    {0, NULL, OPT_HEADING, 0, NULL, "For rds", 0, 0, NULL},
    {0, "val-features", OPT_STRING, AT(val_features), "FILE", "features of the validation set",
     0, 0, NULL},
    {0, "match", OPT_CHOICE, AT(match), "HOW", "several validation records", 0, 0, matches},
    {0, NULL, OPT_HEADING, 0, NULL, "For scores, deita, alpagasus", 0, 0, NULL},
    {'d', "data", OPT_PATHS, AT(dataset), "FILE", "the dataset of the features", 0, 0, NULL},
    {0, "field", OPT_STRING, AT(field), "NAME", "field that holds the score; two for deita", 0,
     0, NULL},
    {0, NULL, OPT_HEADING, 0, NULL, "For only", 0, 0, NULL},
    {0, "list", OPT_STRING, AT(list), "FILE", "record numbers, one a line", 0, 0, NULL},
    {0, NULL, OPT_HEADING, 0, NULL, "Common", 0, 0, NULL},
    {0, NULL, OPT_END, 0, NULL, NULL, 0, 0, NULL},
};

/* What the request borrows. */
struct inputs {
    struct features f, val;
    struct dataset data;
    struct traj *episodes;
    const char **names; /* of the episodes' files */
    uint64_t *ids;      /* their identities */
    int64_t n_episodes;
    int64_t *list;
    int64_t n_list;
    uint64_t list_hash;
};

/* ---- input ---- */

static int parse_list(struct inputs *in, const char *path, char *text, struct err *e)
{
    size_t cap = 0;
    int64_t line = 0;
    char *save = text;
    for (char *s; (s = strsep(&save, "\n"));) {
        struct err why = ERR_INIT;
        line++;
        s[strcspn(s, "\r")] = '\0';
        if (!*s)
            continue;
        MEM_GROW(in->list, cap, in->n_list + 1);
        if (opt_parse_int(s, 0, INT64_MAX, &in->list[in->n_list++], &why) < 0)
            return err_set(e, ERR_FORMAT, "%s:%" PRId64 ": %s", file_name_in(path), line,
                           why.msg);
    }
    return 0;
}

static int read_list(struct inputs *in, const char *path, struct err *e)
{
    char *text;
    size_t len;
    int rc = file_read_all(path, &text, &len, e);
    if (rc < 0)
        return rc;
    in->list_hash = XXH64(text, len, 0); /* parsing cuts it up */
    rc = parse_list(in, path, text, e);
    free(text);
    return rc;
}

static int read_episode(struct inputs *in, const char *path, struct err *e)
{
    int64_t k = in->n_episodes;
    struct st_msg *m = st_read(path, "trajectory", e);
    if (!m)
        return e->code;
    in->names[k] = file_name_in(path);
    in->ids[k] = st_msg_hash(m);
    int rc = traj_from_msg(&in->episodes[k], m, e);
    st_msg_free(m);
    if (!rc && !traj_is_ok(&in->episodes[k]))
        log_warn("%s: left out, the episode did not end well: %s", in->names[k],
                 in->episodes[k].status);
    in->n_episodes += !rc;
    return rc;
}

static int read_episodes(struct inputs *in, const struct options *o, struct err *e)
{
    size_t n = (size_t)o->n_episodes;
    in->episodes = mem_zalloc(n, sizeof *in->episodes);
    in->names = mem_zalloc(n, sizeof *in->names);
    in->ids = mem_zalloc(n, sizeof *in->ids);
    int rc = 0;
    for (size_t k = 0; k < n && !rc; k++)
        rc = read_episode(in, o->episodes[k], e);
    return rc;
}

static int read_inputs(struct inputs *in, const struct options *o, struct err *e)
{
    const struct data_options skip = {.on_error = DATA_SKIP};
    unsigned needs = o->method->needs;
    if (needs & PLAN_NEEDS_EPISODES)
        return read_episodes(in, o, e);
    int rc = features_read(&in->f, o->features, e);
    if (!rc && needs & PLAN_NEEDS_VAL)
        rc = features_read(&in->val, o->val_features, e);
    if (!rc && needs & PLAN_NEEDS_FIELD)
        rc = reading_one(&in->data, o->dataset, &skip, e);
    if (!rc && needs & PLAN_NEEDS_LIST)
        rc = read_list(in, o->list, e);
    return rc;
}

static void free_inputs(struct inputs *in)
{
    features_free(&in->f);
    features_free(&in->val);
    dataset_free(&in->data);
    for (int64_t k = 0; k < in->n_episodes; k++)
        traj_free(&in->episodes[k]);
    free(in->episodes);
    free(in->names);
    free(in->ids);
    free(in->list);
}

/* ---- output ---- */

static struct prov *provenance(const struct options *o, const struct inputs *in)
{
    if (o->common.no_provenance)
        return NULL;
    struct prov *p = prov_new("raise-plan", o->command_line, o->common.seed);
    for (int64_t k = 0; k < in->n_episodes; k++)
        prov_add_input(p, o->episodes[k], in->ids[k]);
    if (!in->n_episodes)
        prov_add_input(p, o->features, in->f.id);
    if (o->method->needs & PLAN_NEEDS_VAL)
        prov_add_input(p, o->val_features, in->val.id);
    if (o->method->needs & PLAN_NEEDS_FIELD)
        dataset_add_inputs(&in->data, p);
    if (o->method->needs & PLAN_NEEDS_LIST)
        prov_add_input(p, o->list, in->list_hash);
    return p;
}

/* One line a reason: how many, and where to look. Reasons are static strings. */
static void report_left_out(const struct plan_report *r, const struct features *f)
{
    enum { N_REASONS = 8 };
    struct {
        const char *why;
        int64_t n, first;
    } reason[N_REASONS] = {{0}};
    for (int64_t i = 0; i < r->n_left_out; i++) {
        int k = 0;
        while (k < N_REASONS - 1 && reason[k].why && strcmp(reason[k].why, r->left_out[i].why))
            k++;
        if (!reason[k].n++) {
            reason[k].why = r->left_out[i].why;
            reason[k].first = f->source[r->left_out[i].row];
        }
    }
    for (int k = 0; k < N_REASONS && reason[k].n; k++)
        log_warn("%" PRId64 " records left out: %s (the first: record %" PRId64 ")",
                 reason[k].n, reason[k].why, reason[k].first);
}

static int write_left_out(const char *path, const struct plan_report *r,
                          const struct features *f, struct err *e)
{
    struct buf b = {0};
    buf_puts(&b, "row,record,why,value\n");
    for (int64_t i = 0; i < r->n_left_out; i++) {
        const struct plan_left_out *x = &r->left_out[i];
        buf_printf(&b, "%" PRId64 ",%" PRId64 ",%s,", x->row, f->source[x->row], x->why);
        if (!isnan(x->value))
            text_put_real(&b, x->value, TEXT_FLOAT); /* as the plan's own scores */
        buf_putc(&b, '\n');
    }
    int rc = file_write_all(path, b.data, b.len, e);
    buf_free(&b);
    return rc;
}

static void report(const struct options *o, const struct plan_report *r, const struct plan *p,
                   int64_t n)
{
    const char *method = o->method->name;
    if (!isnan(r->best))
        log_note("%s: scores of the chosen records: %.6g to %.6g", method, r->worst, r->best);
    log_summary("%s: %" PRId64 " of %" PRId64 " record%s in %" PRId64 " step%s of %" PRId64,
                method, r->n_used, n, text_s(n), p->n_steps, text_s(p->n_steps), o->batch);
}

static int plan_by_ranking(struct plan *p, struct plan_report *r, const struct options *o,
                           const struct inputs *in, struct err *e)
{
    struct plan_request q = {.method = o->method,
                             .f = &in->f,
                             .val = &in->val,
                             .data = &in->data,
                             .field = o->field,
                             .list = in->list,
                             .n_list = in->n_list,
                             .n_steps = o->n_steps,
                             .batch = o->batch,
                             .n_top = o->n_top,
                             .has_repeats = o->has_repeats,
                             .epochs = o->epochs,
                             .max_cosine = o->max_cosine,
                             .order = (enum plan_order)o->order,
                             .prefer = (enum plan_prefer)o->prefer,
                             .match = (enum plan_match)o->match,
                             .seed = o->common.seed};
    int rc = plan_make(p, r, &q, e);
    report_left_out(r, &in->f);
    if (!rc && o->left_out)
        rc = write_left_out(o->left_out, r, &in->f, e);
    return rc;
}

static int plan_of_best(struct plan *p, const struct inputs *in, struct err *e)
{
    int64_t k = best_episode(in->episodes, in->names, in->n_episodes, e);
    if (k < 0)
        return (int)k;
    const struct traj *t = &in->episodes[k];
    best_plan(p, t);
    log_note("best-of: of %" PRId64 " episodes %s has the least final validation loss, %.6g",
             in->n_episodes, in->names[k], -t->perf[t->n_steps]);
    return 0;
}

static int run(const struct options *o, struct err *e)
{
    struct inputs in = {0};
    struct plan plan = {0};
    struct plan_report r = {0};
    struct prov *prov = NULL;
    int rc = file_refuse_tty(o->common.out, e);
    if (!rc)
        rc = read_inputs(&in, o, e);
    if (!rc)
        rc =
            in.n_episodes ? plan_of_best(&plan, &in, e) : plan_by_ranking(&plan, &r, o, &in, e);
    if (!rc) {
        prov = provenance(o, &in);
        rc =
            plan_write(&plan, o->common.out, o->common.is_uncompressed ? ST_PLAIN : 0, prov, e);
    }
    if (!rc && !in.n_episodes)
        report(o, &r, &plan, in.f.n);
    prov_free(prov);
    plan_report_free(&r);
    plan_free(&plan);
    free_inputs(&in);
    return rc;
}

/* ---- options ---- */

/* "method" and its table, for -h. */
static char *summary(void)
{
    struct buf b = {0};
    buf_puts(&b, "Writes a plan of training steps by a fixed method:");
    for (const struct plan_method *m = plan_methods(); m->name; m++)
        buf_printf(&b, "\n  %-11s %s", m->name, m->help);
    return buf_str(&b);
}

static bool words(const char *option, struct buf *b)
{
    for (const struct plan_method *m = plan_methods(); !option && m->name; m++)
        buf_printf(b, " %s", m->name);
    return false;
}

static void check_options(struct options *o, const char *name)
{
    const struct plan_method *method = plan_methods();
    while (method->name && strcmp(method->name, name))
        method++;
    if (!method->name)
        opt_misuse("unknown method '%s'", name);
    o->method = method;
    unsigned needs = method->needs;
    const struct {
        unsigned need;
        const char *option, *value;
    } rows[] = {{PLAN_NEEDS_VAL, "--val-features", o->val_features},
                {PLAN_NEEDS_FIELD, "--data", o->dataset},
                {PLAN_NEEDS_FIELD, "--field", o->field},
                {PLAN_NEEDS_LIST, "--list", o->list},
                {PLAN_NEEDS_EPISODES, "trajectories", o->n_episodes ? "" : NULL}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (needs & rows[i].need && !rows[i].value)
            opt_misuse("%s needs %s", name, rows[i].option);
        if (!(needs & rows[i].need) && rows[i].value)
            opt_misuse("%s does not use %s", name, rows[i].option);
    }
    if (needs & PLAN_NEEDS_EPOCHS && !(o->epochs > 0))
        opt_misuse("%s needs --epochs", name);
    if (needs & PLAN_NEEDS_EPISODES && o->features)
        opt_misuse("%s does not use --features", name);
}

static void check_places(const struct options *o)
{
    struct places p = {0};
    if (!o->n_episodes)
        places_add(&p, PLACE_INPUT, "-f", o->features ? o->features : "-");
    for (int i = 0; i < o->n_episodes; i++)
        places_add(&p, PLACE_INPUT, "a trajectory", o->episodes[i]);
    places_add(&p, PLACE_INPUT, "--val-features", o->val_features);
    places_add_paths(&p, "--data", o->dataset);
    places_add(&p, PLACE_INPUT, "--list", o->list);
    places_add(&p, PLACE_FILE, "--left-out", o->left_out);
    places_add(&p, PLACE_FILE, "-o", o->common.out ? o->common.out : "-");
    opt_check_places(&p);
}

int main(int argc, char **argv)
{
    struct options o = {.common = OPT_COMMON_DEFAULTS, .n_steps = 10, .batch = 16};
    struct err e = ERR_INIT;
    char *help = summary();
    const struct opt_spec spec = {
        .program = "raise-plan",
        .usage = "[options] -f features method\n"
                 "       raise-plan [options] best-of trajectory ...",
        .summary = help,
        .common = "otusp",
        .common_offset = offsetof(struct options, common),
        .table = table,
        .min_args = 1,
        .max_args = -1,
        .words = words,
        .input = "It reads features, as raise-embed and raise-cluster write them, and for some "
                 "methods the records, a list or trajectories besides.",
        .examples = "raise-plan -f features.st.zst -T 50 -b 16 -o plan.st.zst random\n"
                    "raise-plan -f features.st.zst -o plan.st.zst ifd",
    };
    int first = opt_parse(&spec, &o, argc, argv);
    char *command_line = opt_command_line(&spec, argc, argv);
    o.episodes = argv + first + 1;
    o.n_episodes = argc - first - 1;
    check_options(&o, argv[first]);
    check_places(&o);
    o.command_line = command_line;
    int rc = run(&o, &e);
    if (!rc)
        rc = file_close_stdout(&e);
    if (rc < 0)
        log_error("%s", e.msg);
    free(command_line);
    free(help);
    return rc < 0;
}
