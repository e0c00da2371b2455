/* SPDX-License-Identifier: MIT
 * raise-export: the records that were chosen, as a file that trainers load.
 *
 * A trajectory or a plan names records by their number and the hash of their content; this
 * reads the dataset again, checks that it is the one that was chosen from, and writes the
 * records in training order. Without either it draws from the dataset itself: the first records
 * or a sample, without those of another file. */
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/opt.h"
#include "base/place.h"
#include "data/export.h"
#include "features/features.h"
#include "learn/traj.h"
#include "plan/plan.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum match { MATCH_FILE, MATCH_RECORDS };
enum { FORMAT_AUTO };

struct options {
    struct opt_common common;
    int format; /* FORMAT_AUTO, or an export_format + 1 */
    int match;
    bool is_best, is_unique;
    const char *with, *features, *stanza;
    int64_t limit; /* the rest up to `apart`: of a draw */
    bool is_sampled;
    int on_error;
    const char *without, *apart;
    const char *const *choices; /* trajectories or plans; none: a draw */
    int n_choices;
    const char *dataset;
};

static const char *const formats[] = {"auto",     "json",    "jsonl", "csv",
                                      "messages", "indices", NULL};
static const char *const matches[] = {"file", "records", NULL};
static const char *const on_error_names[] = {"fail", "skip", NULL};

static const struct opt table[] = {
    {'f', "format", OPT_CHOICE, offsetof(struct options, format), "FORMAT",
     "auto: by the output's name, else as the dataset", 0, 0, formats},
    {'w', "with", OPT_STRING, offsetof(struct options, with), "LIST",
     "fields to put beside each record: step,class,score,source,reward, and of --features "
     "near,gain,consistency,influence",
     0, 0, NULL},
    {0, "features", OPT_STRING, offsetof(struct options, features), "FILE",
     "the features that the records were chosen by", 0, 0, NULL},
    {0, "unique", OPT_FLAG, offsetof(struct options, is_unique), NULL,
     "write a record that was trained on again only where it came first", 0, 0, NULL},
    {0, "best", OPT_FLAG, offsetof(struct options, is_best), NULL,
     "of several trajectories, take the one with the least final validation loss", 0, 0, NULL},
    {0, "match", OPT_CHOICE, offsetof(struct options, match), "HOW",
     "file: the dataset must be the same file; records: it must hold the chosen records", 0, 0,
     matches},
    {0, "stanza", OPT_STRING, offsetof(struct options, stanza), "FILE",
     "also write the entry for LLaMA-Factory's dataset_info.json", 0, 0, NULL},
    {0, NULL, OPT_HEADING, 0, NULL, "Without a trajectory", 0, 0, NULL},
    {'n', "limit", OPT_INT, offsetof(struct options, limit), "N",
     "draw N records of the dataset; 0: all", 0, 1e15, NULL},
    {0, "sample", OPT_FLAG, offsetof(struct options, is_sampled), NULL,
     "a seeded sample, not the first", 0, 0, NULL},
    {0, "without", OPT_STRING, offsetof(struct options, without), "FILE",
     "leave out the records that are in this dataset, too", 0, 0, NULL},
    {0, "apart", OPT_STRING, offsetof(struct options, apart), "FILE",
     "fail if a drawn record is in this dataset, too", 0, 0, NULL},
    {0, "on-error", OPT_CHOICE, offsetof(struct options, on_error), "HOW", "bad records", 0, 0,
     on_error_names},
    {0, NULL, OPT_END, 0, NULL, NULL, 0, 0, NULL},
};

static const struct opt_spec spec = {
    .program = "raise-export",
    .usage = "[options] trajectory dataset\n"
             "       raise-export [options] --best trajectory... dataset\n"
             "       raise-export [--limit N] [--sample] [options] dataset",
    .summary = "Writes the chosen records, in training order, in a format that trainers load.",
    .common = "ots",
    .common_offset = offsetof(struct options, common),
    .table = table,
    .min_args = 1,
    .max_args = -1,
};

/* ---- what was chosen ---- */

enum { N_FEATURES = 4 }; /* columns of the features that can stand beside a record */

struct selection {
    const char *name;
    int64_t n, n_steps;
    int64_t *source;
    uint64_t *record_hash;
    uint64_t dataset;                      /* 0: not told */
    uint64_t features;                     /* that `row` counts in; 0: not told */
    int64_t *row;                          /* of the features, one a pick */
    double *step, *class, *score, *reward; /* one a pick; NaN where there is none */
    double *feature[N_FEATURES];           /* the same; NULL: not asked for */
    double loss;                           /* final validation loss; NaN for a plan */
    bool is_plan;
};

static void selection_free(struct selection *s)
{
    free(s->source);
    free(s->record_hash);
    free(s->step);
    free(s->class);
    free(s->score);
    free(s->reward);
    free(s->row);
    for (int k = 0; k < N_FEATURES; k++)
        free(s->feature[k]);
    *s = (struct selection){0};
}

static double *nans(int64_t n)
{
    double *v = mem_alloc((size_t)n, sizeof *v);
    for (int64_t i = 0; i < n; i++)
        v[i] = (double)NAN;
    return v;
}

/* Copies what trajectories and plans have in common. */
static void selection_init(struct selection *s, int64_t n, const int64_t *row,
                           const int64_t *source, const uint64_t *record_hash,
                           const float *score)
{
    s->n = n;
    s->row = mem_dup(row, (size_t)n * sizeof *row);
    s->source = mem_dup(source, (size_t)n * sizeof *source);
    s->record_hash = mem_dup(record_hash, (size_t)n * sizeof *record_hash);
    s->step = nans(n);
    s->class = nans(n);
    s->score = nans(n);
    s->reward = nans(n);
    for (int64_t i = 0; i < n; i++)
        s->score[i] = (double)score[i];
}

static int load_plan(struct selection *s, const struct st_msg *m, struct err *e)
{
    struct plan p;
    int rc = plan_from_msg(&p, m, e);
    if (rc < 0)
        return rc;
    selection_init(s, p.n_picks, p.pick, p.source, p.record_hash, p.pick_score);
    s->n_steps = p.n_steps;
    s->dataset = p.dataset;
    s->features = p.features;
    s->loss = (double)NAN;
    s->is_plan = true;
    for (int64_t t = 0; t < p.n_steps; t++)
        for (int64_t i = p.step_offset[t]; i < p.step_offset[t + 1]; i++)
            s->step[i] = (double)(t + 1);
    plan_free(&p);
    return 0;
}

static int load_trajectory(struct selection *s, const struct st_msg *m, struct err *e)
{
    struct traj t;
    int rc = traj_from_msg(&t, m, e);
    if (rc < 0)
        return rc;
    selection_init(s, t.n_picks, t.pick, t.source, t.record_hash, t.pick_score);
    s->n_steps = t.n_steps;
    s->dataset = t.dataset;
    s->features = t.features;
    bool is_ok = strcmp(t.status, "ok") == 0;
    s->loss = is_ok ? -t.perf[t.n_steps] : (double)NAN;
    for (int64_t list = 0; list < t.n_steps * t.n_classes; list++)
        for (int64_t i = t.list_offset[list]; i < t.list_offset[list + 1]; i++) {
            int64_t step = list / t.n_classes;
            s->step[i] = (double)(step + 1);
            s->class[i] = (double)(list % t.n_classes);
            s->reward[i] = t.perf[step + 1] - t.perf[step];
        }
    if (!is_ok)
        log_warn("%s: the episode did not end well: %s", s->name, t.status);
    traj_free(&t);
    return 0;
}

static int load(struct selection *s, const char *path, struct err *e)
{
    *s = (struct selection){.name = file_name_in(path)};
    struct st_msg *m = st_read(path, NULL, e);
    if (!m)
        return e->code;
    const char *kind = st_msg_meta(m, "raise.kind");
    int rc;
    if (kind && strcmp(kind, "plan") == 0)
        rc = load_plan(s, m, e);
    else if (kind && strcmp(kind, "trajectory") == 0)
        rc = load_trajectory(s, m, e);
    else
        rc = err_set(e, ERR_MISMATCH, "%s: expected a trajectory or a plan, found %s", s->name,
                     kind ? kind : "a file that names no raise.kind");
    st_msg_free(m);
    return rc;
}

/* The one to export: the only one, or the one with the least final loss (the first of equals).
 */
static int choose(struct selection *best, const struct options *o, struct err *e)
{
    int rc = load(best, o->choices[0], e);
    for (int i = 0; rc == 0 && i < o->n_choices; i++) {
        struct selection s = {0};
        if (i > 0)
            rc = load(&s, o->choices[i], e);
        const struct selection *now = i > 0 ? &s : best;
        if (rc == 0 && o->is_best && now->is_plan)
            rc = err_set(e, ERR_UNSUPPORTED, "%s: a plan has no validation loss to compare",
                         now->name);
        if (rc < 0 || i == 0)
            continue;
        if (isnan(best->loss) || s.loss < best->loss) {
            struct selection worse = *best;
            *best = s;
            s = worse;
        }
        selection_free(&s);
    }
    if (rc == 0 && o->is_best && isnan(best->loss))
        rc = err_set(e, ERR_EMPTY, "none of the %d episodes ended well", o->n_choices);
    if (rc == 0 && o->is_best)
        log_note("%s has the least final validation loss, %.6g", best->name, best->loss);
    return rc;
}

/* ---- what its features say ---- */

/* In the order of `fields`. */
static void list_features(const struct features *f, const float *column[N_FEATURES])
{
    column[0] = f->near;
    column[1] = f->gain_sum;
    column[2] = f->consistency;
    column[3] = f->influence;
}

static int take_features(struct selection *s, const char *path, struct err *e)
{
    const float *column[N_FEATURES];
    struct features f;
    int rc = features_read(&f, path, e);
    if (rc < 0)
        return rc;
    list_features(&f, column);
    if (s->features != f.id)
        rc = err_set(e, ERR_MISMATCH, "%s: was chosen by other features than %s", s->name,
                     file_name_in(path));
    for (int64_t i = 0; rc == 0 && i < s->n; i++)
        if (s->row[i] >= f.n)
            rc = err_set(e, ERR_RANGE, "%s: row %" PRId64 " of %" PRId64, s->name, s->row[i],
                         f.n);
    for (int k = 0; rc == 0 && k < N_FEATURES; k++) {
        s->feature[k] = nans(s->n);
        for (int64_t i = 0; column[k] && i < s->n; i++)
            s->feature[k][i] = (double)column[k][s->row[i]];
    }
    features_free(&f);
    return rc;
}

/* ---- its records ---- */

static int wrong_file(const struct selection *s, const struct dataset *d, struct err *e)
{
    return err_set(e, ERR_MISMATCH,
                   "%s: not the file that %s was chosen from (content %016" PRIx64
                   ", expected %016" PRIx64 "); --match records takes any file that holds the "
                   "chosen records",
                   d->name, s->name, d->hash, s->dataset);
}

static int find_records(int64_t *rows, const struct options *o, const struct selection *s,
                        const struct dataset *d, struct err *e)
{
    const struct data_claim c = {s->n, s->source, s->record_hash, "pick", s->name};
    if (o->match != MATCH_FILE)
        return dataset_join_content(d, &c, rows, e);
    return s->dataset && s->dataset != d->hash ? wrong_file(s, d, e)
                                               : dataset_join(d, &c, rows, e);
}

/* Leaves the first of each record; what belongs to the picks moves along. Returns how many. */
static int64_t drop_repeats(int64_t *rows, struct selection *s, int64_t n_records)
{
    bool *is_seen = mem_zalloc((size_t)n_records, sizeof *is_seen);
    double *columns[] = {s->step,       s->class,      s->score,      s->reward,
                         s->feature[0], s->feature[1], s->feature[2], s->feature[3]};
    int64_t n = 0;
    for (int64_t i = 0; i < s->n; i++) {
        if (is_seen[rows[i]])
            continue;
        is_seen[rows[i]] = true;
        rows[n] = rows[i];
        for (size_t k = 0; k < sizeof columns / sizeof *columns; k++)
            if (columns[k])
                columns[k][n] = columns[k][i];
        n++;
    }
    free(is_seen);
    return n;
}

static int64_t count_repeats(const int64_t *rows, int64_t n, int64_t n_records)
{
    bool *is_seen = mem_zalloc((size_t)n_records, sizeof *is_seen);
    int64_t n_repeats = 0;
    for (int64_t i = 0; i < n; i++) {
        n_repeats += is_seen[rows[i]];
        is_seen[rows[i]] = true;
    }
    free(is_seen);
    return n_repeats;
}

/* ---- output ---- */

enum { OF_FEATURES = 5, N_FIELDS = OF_FEATURES + N_FEATURES };
static const char *const fields[N_FIELDS] = {
    "raise_step", "raise_class", "raise_score",       "raise_source",   "raise_reward",
    "raise_near", "raise_gain",  "raise_consistency", "raise_influence"};

/* One bit a field of `list`, in its order; misuse ends the program. */
static int parse_with(const char *list, int order[N_FIELDS])
{
    int n = 0;
    for (const char *p = list; p;) {
        size_t len = strcspn(p, ",");
        int k = 0;
        while (k < N_FIELDS &&
               (strlen(fields[k]) - 6 != len || memcmp(fields[k] + 6, p, len) != 0))
            k++;
        if (k == N_FIELDS)
            opt_misuse("--with: unknown field \"%.*s\"; known: step, class, score, source, "
                       "reward, near, gain, consistency, influence",
                       (int)len, p);
        for (int i = 0; i < n; i++)
            if (order[i] == k)
                opt_misuse("--with: \"%.*s\" twice", (int)len, p);
        order[n++] = k;
        p = p[len] ? p + len + 1 : NULL;
    }
    return n;
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

static enum export_format pick_format(const struct options *o, const struct dataset *d)
{
    if (o->format != FORMAT_AUTO)
        return (enum export_format)(o->format - 1);
    if (!file_is_std(o->common.out)) {
        if (ends_with(o->common.out, ".json"))
            return EXPORT_JSON;
        if (ends_with(o->common.out, ".jsonl"))
            return EXPORT_JSONL;
        if (ends_with(o->common.out, ".csv"))
            return EXPORT_CSV;
    }
    return d->format == DATA_CSV     ? EXPORT_CSV
           : d->format == DATA_JSONL ? EXPORT_JSONL
                                     : EXPORT_JSON;
}

static int write_records(const struct options *o, enum export_format f,
                         const struct selection *s, const struct dataset *d,
                         const int64_t *rows, int64_t n, struct err *e)
{
    int order[N_FIELDS], n_extras = o->with ? parse_with(o->with, order) : 0;
    double *source = mem_alloc((size_t)n, sizeof *source);
    const double *values[N_FIELDS] = {s->step,       s->class,      s->score,
                                      source,        s->reward,     s->feature[0],
                                      s->feature[1], s->feature[2], s->feature[3]};
    struct export_extra extras[N_FIELDS];
    for (int64_t i = 0; i < n; i++)
        source[i] = (double)d->records[rows[i]].source;
    for (int i = 0; i < n_extras; i++) {
        bool is_float = values[order[i]] == s->score || order[i] >= OF_FEATURES;
        bool is_double = values[order[i]] == s->reward;
        extras[i] = (struct export_extra){.name = fields[order[i]],
                                          .is_integer = !is_float && !is_double,
                                          .is_float = is_float,
                                          .values = values[order[i]]};
    }
    struct outfile *out = outfile_open(o->common.out, e);
    int rc = out ? export_write(out, f, d, rows, n, extras, n_extras, e) : e->code;
    if (out && rc < 0)
        outfile_abort(out);
    else if (out)
        rc = outfile_commit(out, e);
    free(source);
    return rc;
}

static int write_stanza(const struct options *o, enum export_format f, const struct dataset *d,
                        const int64_t *rows, int64_t n, struct err *e)
{
    char *text = export_stanza(f, d, rows, n, o->common.out, e);
    int rc = text ? file_write_all(o->stanza, text, strlen(text), e) : e->code;
    free(text);
    return rc;
}

static int write_all(const struct options *o, struct selection *s, const struct dataset *d,
                     struct err *e)
{
    int64_t *rows = mem_alloc((size_t)s->n, sizeof *rows), n = s->n;
    enum export_format f = pick_format(o, d);
    int rc = find_records(rows, o, s, d, e);
    if (rc == 0) {
        int64_t n_repeats = count_repeats(rows, n, d->n_records);
        if (o->is_unique)
            n = drop_repeats(rows, s, d->n_records);
        rc = write_records(o, f, s, d, rows, n, e);
        if (rc == 0 && o->stanza)
            rc = write_stanza(o, f, d, rows, n, e);
        if (rc == 0)
            log_summary("%" PRId64 " records of %" PRId64 " steps, %" PRId64 " repeats %s", n,
                        s->n_steps, n_repeats, o->is_unique ? "left out" : "among them");
    }
    free(rows);
    return rc;
}

/* ---- a draw: no trajectory, the dataset alone ---- */

/* Another file, whose bad records are none that *d could share. */
static int read_other(struct dataset *other, const char *path, struct err *e)
{
    struct data_options how = {.on_error = DATA_SKIP};
    return dataset_read(other, path, &how, e);
}

static int check_apart(const struct dataset *d, const char *path, struct err *e)
{
    struct dataset other = {0};
    int64_t j, i;
    int rc = read_other(&other, path, e);
    if (rc == 0 && (i = dataset_overlap(d, &other, &j)) >= 0)
        rc = err_set(e, ERR_MISMATCH,
                     "%s:%" PRId64 ": record %" PRId64 ": is also %s:%" PRId64
                     ": record %" PRId64,
                     d->name, d->records[i].line, d->records[i].source, other.name,
                     other.records[j].line, other.records[j].source);
    dataset_free(&other);
    return rc;
}

static int leave_out(struct dataset *d, const char *path, int64_t *n_out, struct err *e)
{
    struct dataset other = {0};
    int rc = read_other(&other, path, e);
    if (rc == 0)
        *n_out = dataset_leave_out(d, &other);
    if (rc == 0 && d->n_records == 0)
        rc = err_set(e, ERR_EMPTY, "%s: every record is in %s, too", d->name, other.name);
    dataset_free(&other);
    return rc;
}

static void tell_draw(const struct options *o, const struct dataset *d, int64_t n_out)
{
    struct buf b = {0};
    if (o->is_sampled)
        buf_printf(&b, ", a sample by seed %" PRIu64, o->common.seed);
    if (n_out)
        buf_printf(&b, ", without %" PRId64 " that are in %s", n_out, file_name_in(o->without));
    if (d->n_problems)
        buf_printf(&b, ", %" PRId64 " bad ones skipped", d->n_problems);
    log_summary("%" PRId64 " records of %s (%016" PRIx64 ")%s", d->n_records, d->name, d->hash,
                b.data ? b.data : "");
    buf_free(&b);
}

static int write_draw(const struct options *o, const struct dataset *d, struct err *e)
{
    int64_t n = d->n_records, *rows = mem_alloc((size_t)n, sizeof *rows);
    struct selection s = {0}; /* of the fields beside a record, only `source` is asked for */
    enum export_format f = pick_format(o, d);
    for (int64_t i = 0; i < n; i++)
        rows[i] = i;
    int rc = write_records(o, f, &s, d, rows, n, e);
    if (rc == 0 && o->stanza)
        rc = write_stanza(o, f, d, rows, n, e);
    free(rows);
    return rc;
}

/* --without comes before the choice, so that as many are drawn as there are; else the reader
 * chooses, and looks no further than it must. */
static int draw(const struct options *o, struct err *e)
{
    struct dataset d = {0};
    struct data_options how = {.on_error = (enum data_on_error)o->on_error,
                               .limit = o->without ? 0 : o->limit,
                               .is_sampled = o->is_sampled,
                               .seed = o->common.seed};
    int64_t n_out = 0;
    int rc = dataset_read(&d, o->dataset, &how, e);
    if (rc == 0 && o->without)
        rc = leave_out(&d, o->without, &n_out, e);
    if (rc == 0 && o->without && o->limit > 0 && o->limit < d.n_records) {
        if (o->is_sampled)
            dataset_keep_sample(&d, o->limit, o->common.seed);
        else
            d.n_records = o->limit;
    }
    if (rc == 0 && o->apart)
        rc = check_apart(&d, o->apart, e);
    if (rc == 0 && o->limit > d.n_records)
        log_warn("%s: %" PRId64 " records, fewer than --limit %" PRId64, d.name, d.n_records,
                 o->limit);
    if (rc == 0)
        rc = write_draw(o, &d, e);
    if (rc == 0)
        tell_draw(o, &d, n_out);
    dataset_free(&d);
    return rc;
}

/* Bad records cannot have been chosen, so they are passed over here. */
static int run(const struct options *o, struct err *e)
{
    struct selection s = {0};
    struct dataset d = {0};
    struct data_options how = {.on_error = DATA_SKIP};
    int rc = choose(&s, o, e);
    if (rc == 0 && s.n == 0)
        rc = err_set(e, ERR_EMPTY, "%s: no record was chosen", s.name);
    if (rc == 0 && o->features)
        rc = take_features(&s, o->features, e);
    if (rc == 0)
        rc = dataset_read(&d, o->dataset, &how, e);
    if (rc == 0)
        rc = write_all(o, &s, &d, e);
    selection_free(&s);
    dataset_free(&d);
    return rc;
}

/* What belongs to a trajectory, and what to a draw, is not mixed. */
static void check_draw(const struct options *o)
{
    int order[N_FIELDS];
    bool is_draw = o->n_choices == 0;
    if (!is_draw && (o->limit || o->is_sampled || o->without || o->apart || o->on_error))
        opt_misuse("--limit, --sample, --without, --apart and --on-error are for a dataset "
                   "without a trajectory");
    if (is_draw && (o->is_best || o->is_unique || o->match))
        opt_misuse("--best, --unique and --match need a trajectory");
    if (is_draw && o->is_sampled && !o->limit)
        opt_misuse("--sample needs --limit: how many?");
    if (is_draw && o->with && (parse_with(o->with, order) > 1 || fields[order[0]] != fields[3]))
        opt_misuse("--with: without a trajectory only the field \"source\" is known");
}

/* What cannot be meant is refused before anything is read. */
static void check_options(const struct options *o)
{
    int order[N_FIELDS];
    check_draw(o);
    if (o->n_choices > 1 && !o->is_best)
        opt_misuse("%d trajectories and one dataset: --best takes the best of several",
                   o->n_choices);
    if (o->stanza && file_is_std(o->common.out))
        opt_misuse("--stanza needs -o: it names the file that the records go to");
    if (o->with && o->format == EXPORT_INDICES + 1)
        opt_misuse("--with: indices have no room for other fields");
    int n = o->with ? parse_with(o->with, order) : 0;
    bool is_needed = false;
    for (int i = 0; i < n; i++) {
        is_needed |= order[i] >= OF_FEATURES;
        if (order[i] >= OF_FEATURES && !o->features)
            opt_misuse("--with: %s needs --features", fields[order[i]] + 6);
    }
    if (o->features && !is_needed)
        opt_misuse("--features is for --with near, gain, consistency or influence");
}

static void check_places(const struct options *o)
{
    struct places p = {0};
    for (int i = 0; i < o->n_choices; i++)
        places_add(&p, PLACE_INPUT, "a trajectory", o->choices[i]);
    places_add(&p, PLACE_INPUT, "the dataset", o->dataset);
    places_add(&p, PLACE_INPUT, "--features", o->features);
    places_add(&p, PLACE_INPUT, "--without", o->without);
    places_add(&p, PLACE_INPUT, "--apart", o->apart);
    places_add(&p, PLACE_FILE, "--stanza", o->stanza);
    places_add(&p, PLACE_FILE, "-o", o->common.out ? o->common.out : "-");
    opt_check_places(&p);
}

int main(int argc, char **argv)
{
    struct options o = {.common = OPT_COMMON_DEFAULTS};
    struct err e = ERR_INIT;
    int first = opt_parse(&spec, &o, argc, argv);
    o.choices = (const char *const *)(argv + first);
    o.n_choices = argc - first - 1;
    o.dataset = argv[argc - 1];
    check_options(&o);
    check_places(&o);
    int rc = o.n_choices ? run(&o, &e) : draw(&o, &e);
    if (rc == 0)
        rc = file_close_stdout(&e);
    if (rc < 0)
        log_error("%s", e.msg);
    return rc < 0;
}
