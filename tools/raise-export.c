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
#include "base/text.h"
#include "data/export.h"
#include "learn/chosen.h"
#include "reading.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum match { MATCH_FILE, MATCH_RECORDS };

struct options {
    struct opt_common common;
    int kind; /* index into kinds */
    int match;
    bool is_best, is_unique;
    const char *with, *features, *stanza;
    int64_t limit; /* the rest up to `records`: of a draw */
    bool is_sampled;
    int on_error;
    const char *without, *apart, *records, *field;
    const char *const *choices; /* trajectories or plans; none: a draw */
    int n_choices;
    const char *const *paths; /* of the dataset */
    int n_paths;
    int64_t max_record;
};

/* A format may leave the layout as it is; a layout leaves the format to the output's name. */
enum { NO_FORMAT = -1 };
static const struct {
    const char *name;
    int format; /* enum export_format */
    enum export_layout layout;
} kinds[] = {{"auto", NO_FORMAT, EXPORT_AS_IS},
             {"json", EXPORT_JSON, EXPORT_AS_IS},
             {"jsonl", EXPORT_JSONL, EXPORT_AS_IS},
             {"csv", EXPORT_CSV, EXPORT_AS_IS},
             {"messages", NO_FORMAT, EXPORT_MESSAGES},
             {"alpaca", NO_FORMAT, EXPORT_ALPACA},
             {"sharegpt", NO_FORMAT, EXPORT_SHAREGPT},
             {"prompt-completion", NO_FORMAT, EXPORT_COMPLETION},
             {"text", EXPORT_TEXT, EXPORT_AS_IS},
             {"indices", EXPORT_INDICES, EXPORT_AS_IS}};
static const char *const formats[] = {"auto",     "json",    "jsonl",    "csv",
                                      "messages", "alpaca",  "sharegpt", "prompt-completion",
                                      "text",     "indices", NULL};
static const char *const matches[] = {"file", "records", NULL};
static const char *const on_error_names[] = {"fail", "skip", NULL};

static const struct opt table[] = {
    {'F', "format", OPT_CHOICE, offsetof(struct options, kind), "FORMAT",
     "auto: by the output's name, else as the dataset; or the layout of its records", 0, 0,
     formats},
    {'f', NULL, OPT_CHOICE, offsetof(struct options, kind), "FORMAT", NULL, 0, 0, formats},
    {'w', "with", OPT_STRING, offsetof(struct options, with), "LIST",
     "fields to put beside each record: step,class,score,source,reward, and of --features "
     "near,gain,consistency,influence",
     0, 0, NULL},
    {0, "features", OPT_STRING, offsetof(struct options, features), "FILE",
     "the features that the records were chosen by", 0, 0, NULL},
    {0, "field", OPT_STRING, offsetof(struct options, field), "NAME",
     "with -F text: this field of each record alone, a line", 0, 0, NULL},
    {0, "unique", OPT_FLAG, offsetof(struct options, is_unique), NULL,
     "write a record that was trained on again only where it came first", 0, 0, NULL},
    {0, "best", OPT_FLAG, offsetof(struct options, is_best), NULL,
     "of several trajectories, take the one with the least final validation loss", 0, 0, NULL},
    {0, "match", OPT_CHOICE, offsetof(struct options, match), "HOW",
     "file: the dataset must be the same file; records: it must hold the chosen records", 0, 0,
     matches},
    {0, "stanza", OPT_PLACE, offsetof(struct options, stanza), "FILE",
     "also write the entry for LLaMA-Factory's dataset_info.json", 0, 0, NULL},
    {0, NULL, OPT_HEADING, 0, NULL, "Without a trajectory", 0, 0, NULL},
    {'n', "limit", OPT_INT, offsetof(struct options, limit), "N",
     "draw N records of the dataset; 0: all", 0, 1e15, NULL},
    {0, "sample", OPT_FLAG, offsetof(struct options, is_sampled), NULL,
     "a seeded sample, not the first", 0, 0, NULL},
    {0, "records", OPT_STRING, offsetof(struct options, records), "FILE",
     "the records with these numbers, one a line, in this order", 0, 0, NULL},
    {0, "without", OPT_STRING, offsetof(struct options, without), "FILE",
     "leave out the records that are in this dataset, too", 0, 0, NULL},
    {0, "apart", OPT_STRING, offsetof(struct options, apart), "FILE",
     "fail if a drawn record is in this dataset, too", 0, 0, NULL},
    {0, "on-error", OPT_CHOICE, offsetof(struct options, on_error), "HOW", "bad records", 0, 0,
     on_error_names},
    {0, "max-record", OPT_INT, offsetof(struct options, max_record), "SIZE",
     "bytes that a record may have; 0: 64M", 0, 4e9, NULL},
    {0, NULL, OPT_END, 0, NULL, NULL, 0, 0, NULL},
};

static bool words(const char *option, struct buf *b)
{
    for (int i = 0; option && !strcmp(option, "with") && i < CHOSEN_N_FIELDS; i++)
        buf_printf(b, " %s", chosen_fields[i].name + sizeof "raise_" - 1);
    return false;
}

static const struct opt_spec spec = {
    .program = "raise-export",
    .usage = "[options] trajectory dataset...\n"
             "       raise-export [options] --best trajectory... dataset...\n"
             "       raise-export [--limit N] [--sample] [options] dataset...",
    .summary = "Writes the chosen records, in training order, in a format that trainers load.",
    .common = "ots",
    .common_offset = offsetof(struct options, common),
    .table = table,
    .min_args = 1,
    .max_args = -1,
    .words = words,
    .input =
        "It reads what raise-rollout or raise-plan wrote and the dataset that was chosen from, "
        "the same file that the features were made of; or a dataset alone, to draw from.",
    .examples = "raise-export -o subset.jsonl final.st.zst data.jsonl\n"
                "raise-export -s 1 --sample -n 1000 -o sample.jsonl data.jsonl",
};

/* ---- what was chosen ---- */

static int load(struct chosen *c, const char *path, struct err *e)
{
    int rc = chosen_read(c, path, e);
    if (rc == 0 && c->status)
        log_warn("%s: the episode did not end well: %s", c->name, c->status);
    return rc;
}

/* The one to export: the only one, or the one with the least final loss (the first of equals).
 */
static int choose(struct chosen *best, const struct options *o, struct err *e)
{
    int rc = load(best, o->choices[0], e);
    for (int i = 0; rc == 0 && i < o->n_choices; i++) {
        struct chosen s = {0};
        if (i > 0)
            rc = load(&s, o->choices[i], e);
        const struct chosen *now = i > 0 ? &s : best;
        if (rc == 0 && o->is_best && now->is_plan)
            rc = err_set(e, ERR_UNSUPPORTED, "%s: a plan has no validation loss to compare",
                         now->name);
        if (rc == 0 && i > 0 && (isnan(best->loss) || s.loss < best->loss)) {
            struct chosen worse = *best;
            *best = s;
            s = worse;
        }
        chosen_free(&s);
    }
    if (rc == 0 && o->is_best && isnan(best->loss))
        rc = err_set(e, ERR_EMPTY, "none of the %d episodes ended well", o->n_choices);
    if (rc == 0 && o->is_best)
        log_note("%s has the least final validation loss, %.6g", best->name, best->loss);
    return rc;
}

/* ---- output ---- */

/* The fields of `list`, in its order; misuse ends the program. */
static int parse_with(const char *list, int order[CHOSEN_N_FIELDS])
{
    static const size_t prefix = sizeof "raise_" - 1;
    int n = 0;
    for (const char *p = list; p;) {
        size_t len = strcspn(p, ",");
        int k = 0;
        while (k < CHOSEN_N_FIELDS && (strlen(chosen_fields[k].name + prefix) != len ||
                                       memcmp(chosen_fields[k].name + prefix, p, len) != 0))
            k++;
        if (k == CHOSEN_N_FIELDS)
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

static int write_records(const struct options *o, const struct export_job *job, struct err *e)
{
    struct pack *out = pack_open(o->common.out, e);
    int rc = !out       ? e->code
             : o->field ? export_write_field(out, job, o->field, e)
                        : export_write(out, job, e);
    if (out && rc < 0)
        pack_abort(out);
    else if (out)
        rc = pack_commit(out, e);
    return rc;
}

/* Of what was asked for and the output's name, which must not contradict each other; misuse
 * ends the program. Nothing said: as the dataset, or, of another layout, JSON lines. */
static enum export_format format_of(const struct options *o, enum data_format like)
{
    static const enum export_format as[] = {[DATA_AUTO] = EXPORT_JSON,
                                            [DATA_JSON] = EXPORT_JSON,
                                            [DATA_JSONL] = EXPORT_JSONL,
                                            [DATA_CSV] = EXPORT_CSV};
    struct err e = ERR_INIT;
    enum export_format named = EXPORT_JSON;
    bool is_foreign;
    int asked = kinds[o->kind].format;
    int rc = export_format_of(o->common.out, &named, &is_foreign, &e);
    if (rc < 0 && (asked == NO_FORMAT || is_foreign))
        opt_misuse("-o %s", e.msg);
    if (rc == 1 && asked != NO_FORMAT && asked != (int)named)
        opt_misuse("--format %s, and -o %s says another", kinds[o->kind].name, o->common.out);
    if (rc == 1)
        return named;
    if (asked != NO_FORMAT)
        return (enum export_format)asked;
    return kinds[o->kind].layout == EXPORT_AS_IS ? as[like] : EXPORT_JSONL;
}

static void on_written(void *arg, int64_t n_written)
{
    log_bar_set(arg, (double)n_written);
}

/* The records, and their stanza. rows NULL: all. */
static int write_files(const struct options *o, const struct chosen *c, const struct dataset *d,
                       const int64_t *rows, struct err *e)
{
    int order[CHOSEN_N_FIELDS], n_extras = o->with ? parse_with(o->with, order) : 0;
    struct export_extra extras[CHOSEN_N_FIELDS];
    for (int i = 0; i < n_extras; i++)
        extras[i] = chosen_extra(c, order[i]);
    struct export_job job = {.format = format_of(o, d->format),
                             .layout = kinds[o->kind].layout,
                             .d = d,
                             .rows = rows,
                             .n_rows = c->n,
                             .extras = extras,
                             .n_extras = n_extras};
    struct log_bar bar;
    log_bar_start_passing(&bar, "writing", "records", (double)c->n);
    job.progress = on_written;
    job.progress_arg = &bar;
    int rc = write_records(o, &job, e);
    log_bar_end(&bar);
    job.progress = NULL;
    if (rc < 0 || !o->stanza)
        return rc;
    char *text = export_stanza(&job, o->common.out, e);
    rc = text ? file_write_all(o->stanza, text, strlen(text), e) : e->code;
    free(text);
    return rc;
}

static int write_chosen(const struct options *o, struct chosen *c, const struct dataset *d,
                        struct err *e)
{
    int64_t *rows = mem_alloc((size_t)c->n, sizeof *rows);
    int rc = chosen_find(c, d, o->match == MATCH_RECORDS, rows, e);
    if (rc == 0) {
        int64_t n_repeats = chosen_count_repeats(c, rows, d->n_records);
        if (o->is_unique)
            c->n = chosen_drop_repeats(c, rows, d->n_records);
        rc = write_files(o, c, d, rows, e);
        if (rc == 0)
            log_summary("%" PRId64 " record%s of %" PRId64 " step%s, %" PRId64 " repeat%s %s",
                        c->n, text_s(c->n), c->n_steps, text_s(c->n_steps), n_repeats,
                        text_s(n_repeats), o->is_unique ? "left out" : "among them");
    }
    free(rows);
    return rc;
}

/* ---- a draw: no trajectory, the dataset alone ---- */

static void tell_draw(const struct options *o, const struct dataset *d, int64_t n_out,
                      int64_t n_written)
{
    struct buf b = {0};
    if (o->is_sampled)
        buf_printf(&b, ", a sample by seed %" PRIu64, o->common.seed);
    if (n_out)
        buf_printf(&b, ", without %" PRId64 " that are in %s", n_out, file_name_in(o->without));
    if (d->n_problems)
        buf_printf(&b, ", %" PRId64 " bad ones skipped", d->n_problems);
    log_summary("%" PRId64 " record%s of %s (%016" PRIx64 ")%s", n_written, text_s(n_written),
                d->name, d->hash, buf_str(&b));
    buf_free(&b);
}

/* *n_written: records that went out, of d's or of --records. */
static int write_draw(const struct options *o, const struct dataset *d, int64_t *n_written,
                      struct err *e)
{
    int64_t *rows = NULL, n = d->n_records;
    int rc = o->records ? dataset_find_numbers(d, o->records, &rows, &n, e) : 0;
    if (rc < 0)
        return rc;
    struct chosen c = {.name = d->name, .n = n, .loss = (double)NAN};
    if (o->with) /* the records' numbers */
        chosen_rows(&c, d, rows, n);
    rc = write_files(o, &c, d, rows, e);
    chosen_free(&c);
    free(rows);
    *n_written = n;
    return rc;
}

/* --without comes before the choice, so that as many are drawn as there are; else the reader
 * chooses, and looks no further than it must. */
static int draw(const struct options *o, struct err *e)
{
    struct dataset d = {0};
    struct data_options how = {.on_error = (enum data_on_error)o->on_error,
                               .max_record = o->max_record,
                               .limit = o->without ? 0 : o->limit,
                               .is_sampled = o->is_sampled,
                               .seed = o->common.seed};
    int64_t n_out = 0, n_written = 0;
    int rc = reading_all(&d, o->paths, o->n_paths, &how, e);
    if (rc == 0 && o->without)
        rc = dataset_leave_out_file(&d, o->without, &n_out, e);
    if (rc == 0 && o->without && o->limit > 0 && o->limit < d.n_records) {
        if (o->is_sampled)
            dataset_keep_sample(&d, o->limit, o->common.seed);
        else
            d.n_records = o->limit;
    }
    if (rc == 0 && o->apart)
        rc = dataset_check_apart(&d, o->apart, e);
    if (rc == 0 && o->limit > d.n_records)
        log_warn("%s: %" PRId64 " record%s, fewer than --limit %" PRId64, d.name, d.n_records,
                 text_s(d.n_records), o->limit);
    if (rc == 0)
        rc = write_draw(o, &d, &n_written, e);
    if (rc == 0)
        tell_draw(o, &d, n_out, n_written);
    dataset_free(&d);
    return rc;
}

/* Bad records cannot have been chosen, so they are passed over here. */
static int run(const struct options *o, struct err *e)
{
    struct chosen c = {0};
    struct dataset d = {0};
    struct data_options how = {.on_error = DATA_SKIP, .max_record = o->max_record};
    int rc = choose(&c, o, e);
    if (rc == 0 && c.n == 0)
        rc = err_set(e, ERR_EMPTY, "%s: no record was chosen", c.name);
    if (rc == 0 && o->features)
        rc = chosen_take_features(&c, o->features, e);
    if (rc == 0)
        rc = reading_all(&d, o->paths, o->n_paths, &how, e);
    if (rc == 0)
        rc = write_chosen(o, &c, &d, e);
    chosen_free(&c);
    dataset_free(&d);
    return rc;
}

/* What belongs to a trajectory, and what to a draw, is not mixed. */
static void check_draw(const struct options *o)
{
    int order[CHOSEN_N_FIELDS];
    bool is_draw = o->n_choices == 0;
    if (!is_draw &&
        (o->limit || o->is_sampled || o->without || o->apart || o->on_error || o->records))
        opt_misuse("--limit, --sample, --records, --without, --apart and --on-error are for a "
                   "dataset without a trajectory");
    if (o->records && o->limit)
        opt_misuse("--records says which records: --limit has nothing to choose");
    if (is_draw && (o->is_best || o->is_unique || o->match))
        opt_misuse("--best, --unique and --match need a trajectory");
    if (is_draw && o->is_sampled && !o->limit)
        opt_misuse("--sample needs --limit: how many?");
    if (is_draw && o->with && (parse_with(o->with, order) > 1 || order[0] != CHOSEN_SOURCE))
        opt_misuse("--with: without a trajectory only the field \"source\" is known");
}

/* What cannot be meant is refused before anything is read. */
static void check_options(const struct options *o)
{
    int order[CHOSEN_N_FIELDS];
    check_draw(o);
    (void)format_of(o, DATA_AUTO);
    if (o->n_choices > 1 && !o->is_best)
        opt_misuse("%d trajectories: --best takes the best of several", o->n_choices);
    if (o->stanza && file_is_std(o->common.out))
        opt_misuse("--stanza needs -o: it names the file that the records go to");
    if (o->field && kinds[o->kind].format != EXPORT_TEXT)
        opt_misuse("--field goes with -F text");
    if (o->field && o->with)
        opt_misuse("--field writes that field alone, and --with others beside a record");
    if (o->with && kinds[o->kind].format == EXPORT_INDICES)
        opt_misuse("--with: indices have no room for other fields");
    int n = o->with ? parse_with(o->with, order) : 0;
    bool is_needed = false;
    for (int i = 0; i < n; i++) {
        is_needed |= order[i] >= CHOSEN_OF_FEATURES;
        if (order[i] >= CHOSEN_OF_FEATURES && !o->features)
            opt_misuse("--with: %s needs --features",
                       strchr(chosen_fields[order[i]].name, '_') + 1);
    }
    if (o->features && !is_needed)
        opt_misuse("--features is for --with near, gain, consistency or influence");
}

static void check_places(const struct options *o)
{
    struct places p = {0};
    for (int i = 0; i < o->n_choices; i++)
        places_add(&p, PLACE_INPUT, "a trajectory", o->choices[i]);
    for (int i = 0; i < o->n_paths; i++)
        places_add(&p, PLACE_INPUT, "the dataset", o->paths[i]);
    places_add(&p, PLACE_INPUT, "--features", o->features);
    places_add(&p, PLACE_INPUT, "--records", o->records);
    places_add(&p, PLACE_INPUT, "--without", o->without);
    places_add(&p, PLACE_INPUT, "--apart", o->apart);
    places_add(&p, PLACE_FILE, "--stanza", o->stanza);
    places_add(&p, PLACE_FILE, "-o", o->common.out ? o->common.out : "-");
    opt_check_places(&p);
}

/* A trajectory or a plan, before the dataset; standard input is one where a dataset follows. */
static bool is_choice(const char *path)
{
    return file_is_std(path) || chosen_is_choice(path);
}

int main(int argc, char **argv)
{
    struct options o = {.common = OPT_COMMON_DEFAULTS};
    struct err e = ERR_INIT;
    int first = opt_parse(&spec, &o, argc, argv);
    o.choices = (const char *const *)(argv + first);
    while (first + o.n_choices < argc - 1 && is_choice(o.choices[o.n_choices]))
        o.n_choices++;
    o.paths = o.choices + o.n_choices;
    o.n_paths = argc - first - o.n_choices;
    check_options(&o);
    check_places(&o);
    int rc = o.n_choices ? run(&o, &e) : draw(&o, &e);
    if (rc == 0)
        rc = file_close_stdout(&e);
    if (rc < 0)
        log_error("%s", e.msg);
    return rc < 0;
}
