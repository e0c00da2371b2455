/* SPDX-License-Identifier: MIT
 * chosen: picks out of trajectories and plans; see chosen.h. */
#include "learn/chosen.h"

#include "base/file.h"
#include "base/mem.h"
#include "features/features.h"
#include "learn/traj.h"
#include "plan/plan.h"
#include "stream/zio.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const struct chosen_field chosen_fields[CHOSEN_N_FIELDS] = {
    [CHOSEN_STEP] = {"raise_step", CHOSEN_INTEGER, 0},
    [CHOSEN_CLASS] = {"raise_class", CHOSEN_INTEGER, 0},
    [CHOSEN_SCORE] = {"raise_score", CHOSEN_FLOAT, 0},
    [CHOSEN_SOURCE] = {"raise_source", CHOSEN_INTEGER, 0},
    [CHOSEN_REWARD] = {"raise_reward", CHOSEN_DOUBLE, 0},
    [CHOSEN_NEAR] = {"raise_near", CHOSEN_FLOAT, ST_AT(struct features, ST_F32, near)},
    [CHOSEN_GAIN] = {"raise_gain", CHOSEN_FLOAT, ST_AT(struct features, ST_F32, gain_sum)},
    [CHOSEN_CONSISTENCY] = {"raise_consistency", CHOSEN_FLOAT,
                            ST_AT(struct features, ST_F32, consistency)},
    [CHOSEN_INFLUENCE] = {"raise_influence", CHOSEN_FLOAT,
                          ST_AT(struct features, ST_F32, influence)},
};

void chosen_free(struct chosen *c)
{
    free(c->row);
    free(c->source);
    free(c->record_hash);
    for (int k = 0; k < CHOSEN_N_FIELDS; k++)
        free(c->values[k]);
    free(c->status);
    *c = (struct chosen){0};
}

static double *nans(int64_t n)
{
    double *v = mem_alloc((size_t)n, sizeof *v);
    for (int64_t i = 0; i < n; i++)
        v[i] = (double)NAN;
    return v;
}

/* ---- reading ---- */

/* Copies what trajectories and plans have in common. */
static void init(struct chosen *c, int64_t n, const int64_t *row, const int64_t *source,
                 const uint64_t *record_hash, const float *score)
{
    c->n = n;
    c->row = mem_dup(row, (size_t)n * sizeof *row);
    c->source = mem_dup(source, (size_t)n * sizeof *source);
    c->record_hash = mem_dup(record_hash, (size_t)n * sizeof *record_hash);
    for (int k = 0; k < CHOSEN_OF_FEATURES; k++)
        c->values[k] = nans(n);
    for (int64_t i = 0; i < n; i++)
        c->values[CHOSEN_SCORE][i] = (double)score[i];
}

static int take_plan(struct chosen *c, const struct st_msg *m, struct err *e)
{
    struct plan p;
    int rc = plan_from_msg(&p, m, e);
    if (rc < 0)
        return rc;
    init(c, p.n_picks, p.pick, p.source, p.record_hash, p.pick_score);
    c->n_steps = p.n_steps;
    c->dataset = p.dataset;
    c->features = p.features;
    c->loss = (double)NAN;
    c->is_plan = true;
    for (int64_t t = 0; t < p.n_steps; t++)
        for (int64_t i = p.step_offset[t]; i < p.step_offset[t + 1]; i++)
            c->values[CHOSEN_STEP][i] = (double)(t + 1);
    plan_free(&p);
    return 0;
}

static int take_trajectory(struct chosen *c, const struct st_msg *m, struct err *e)
{
    struct traj t;
    int rc = traj_from_msg(&t, m, e);
    if (rc < 0)
        return rc;
    init(c, t.n_picks, t.pick, t.source, t.record_hash, t.pick_score);
    c->n_steps = t.n_steps;
    c->dataset = t.dataset;
    c->features = t.features;
    c->loss = traj_is_ok(&t) ? -t.perf[t.n_steps] : (double)NAN;
    c->status = traj_is_ok(&t) ? NULL : mem_strdup(t.status);
    for (int64_t list = 0; list < t.n_steps * t.n_classes; list++)
        for (int64_t i = t.list_offset[list]; i < t.list_offset[list + 1]; i++) {
            int64_t step = list / t.n_classes;
            c->values[CHOSEN_STEP][i] = (double)(step + 1);
            c->values[CHOSEN_CLASS][i] = (double)(list % t.n_classes);
            c->values[CHOSEN_REWARD][i] = t.perf[step + 1] - t.perf[step];
        }
    traj_free(&t);
    return 0;
}

/* A safetensors header: eight bytes of length, and an object; or so it is called, which tells
 * of one that is damaged. */
bool chosen_is_choice(const char *path)
{
    unsigned char head[9];
    size_t len = strlen(path);
    if (len > 7 && strcmp(path + len - 7, ".st.zst") == 0)
        return true;
    struct zin *z = zin_open(path, NULL);
    int64_t n = 0, got = 1;
    while (z && got > 0 && n < 9) {
        got = zin_read(z, head + n, sizeof head - (size_t)n, NULL);
        n += got > 0 ? got : 0;
    }
    zin_close(z);
    return n == 9 && head[8] == '{' && head[6] == 0 && head[7] == 0;
}

int chosen_read(struct chosen *c, const char *path, struct err *e)
{
    *c = (struct chosen){.name = file_name_in(path)};
    struct st_msg *m = st_read(path, NULL, e);
    if (!m)
        return e->code;
    const char *kind = st_msg_meta(m, "raise.kind");
    int rc;
    if (kind && strcmp(kind, "plan") == 0)
        rc = take_plan(c, m, e);
    else if (kind && strcmp(kind, "trajectory") == 0)
        rc = take_trajectory(c, m, e);
    else
        rc = err_set(e, ERR_MISMATCH, "%s: expected a trajectory or a plan, found %s", c->name,
                     kind ? kind : "a file that names no raise.kind");
    st_msg_free(m);
    return rc;
}

void chosen_rows(struct chosen *c, const struct dataset *d, const int64_t *rows, int64_t n)
{
    *c = (struct chosen){.name = d->name, .n = n, .loss = (double)NAN};
    double *source = c->values[CHOSEN_SOURCE] = nans(c->n);
    for (int64_t i = 0; i < c->n; i++)
        source[i] = (double)d->records[rows ? rows[i] : i].source;
}

int chosen_take_features(struct chosen *c, const char *path, struct err *e)
{
    struct features f;
    int rc = features_read(&f, path, e);
    if (rc < 0)
        return rc;
    if (c->features != f.id)
        rc = err_set(e, ERR_MISMATCH, "%s: was chosen by other features than %s", c->name,
                     file_name_in(path));
    for (int64_t i = 0; rc == 0 && i < c->n; i++)
        if (c->row[i] >= f.n)
            rc = err_set(e, ERR_RANGE, "%s: row %" PRId64 " of %" PRId64, c->name, c->row[i],
                         f.n);
    for (int k = CHOSEN_OF_FEATURES; rc == 0 && k < CHOSEN_N_FIELDS; k++) {
        const float *column;
        memcpy(&column, (const char *)&f + chosen_fields[k].feature, sizeof column);
        free(c->values[k]);
        c->values[k] = nans(c->n);
        for (int64_t i = 0; column && i < c->n; i++)
            c->values[k][i] = (double)column[c->row[i]];
    }
    features_free(&f);
    return rc;
}

/* ---- its records ---- */

static int wrong_file(const struct chosen *c, const struct dataset *d, struct err *e)
{
    return err_set(e, ERR_MISMATCH,
                   "%s: not the file that %s was chosen from (content %016" PRIx64
                   ", expected %016" PRIx64 "); --match records takes any file that holds the "
                   "chosen records",
                   d->name, c->name, d->hash, c->dataset);
}

int chosen_find(struct chosen *c, const struct dataset *d, bool is_by_content, int64_t *rows,
                struct err *e)
{
    const struct data_claim claim = {c->n, c->source, c->record_hash, "pick", c->name};
    if (!is_by_content && c->dataset && c->dataset != d->hash)
        return wrong_file(c, d, e);
    int rc = is_by_content ? dataset_join_content(d, &claim, rows, e)
                           : dataset_join(d, &claim, rows, e);
    for (int64_t i = 0; rc == 0 && i < c->n; i++)
        c->values[CHOSEN_SOURCE][i] = (double)d->records[rows[i]].source;
    return rc;
}

int64_t chosen_drop_repeats(struct chosen *c, int64_t *rows, int64_t n_records)
{
    bool *is_seen = mem_zalloc((size_t)n_records, sizeof *is_seen);
    int64_t n = 0;
    for (int64_t i = 0; i < c->n; i++) {
        if (is_seen[rows[i]])
            continue;
        is_seen[rows[i]] = true;
        rows[n] = rows[i];
        for (int k = 0; k < CHOSEN_N_FIELDS; k++)
            if (c->values[k])
                c->values[k][n] = c->values[k][i];
        n++;
    }
    free(is_seen);
    return n;
}

int64_t chosen_count_repeats(const struct chosen *c, const int64_t *rows, int64_t n_records)
{
    bool *is_seen = mem_zalloc((size_t)n_records, sizeof *is_seen);
    int64_t n_repeats = 0;
    for (int64_t i = 0; i < c->n; i++) {
        n_repeats += is_seen[rows[i]];
        is_seen[rows[i]] = true;
    }
    free(is_seen);
    return n_repeats;
}

struct export_extra chosen_extra(const struct chosen *c, int k)
{
    const struct chosen_field *f = &chosen_fields[k];
    return (struct export_extra){.name = f->name,
                                 .is_integer = f->type == CHOSEN_INTEGER,
                                 .is_float = f->type == CHOSEN_FLOAT,
                                 .values = c->values[k]};
}
