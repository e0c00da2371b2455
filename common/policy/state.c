/* SPDX-License-Identifier: MIT
 * state: which columns there are, their normalisation, blocks of them; see state.h. */
#include "policy/state.h"

#include "base/clones.h"
#include "base/mem.h"
#include "base/normal.h"
#include "base/opt.h"
#include "features/given.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { R = STATE_ROWS };

/* ---- the tables ---- */

static const struct state_part parts[] = {
    {"stage", PART_STAGE},         {"difficulty", PART_DIFFICULTY},
    {"semantic", PART_SEMANTIC},   {"availability", PART_COUNT},
    {"target", PART_TARGET},       {"consistency", PART_CONSISTENCY},
    {"influence", PART_INFLUENCE}, {"record", PART_RECORD},
    {"given", PART_GIVEN},         {NULL, 0},
};

/* A state_raw whose value of row i is an expression in f and i. */
#define RAW(name, value)                                                                       \
    static void name(const struct features *f, const int64_t *row, int64_t n, double *x)       \
    {                                                                                          \
        for (int64_t r = 0; r < n; r++) {                                                      \
            int64_t i = row[r];                                                                \
            x[r] = value;                                                                      \
        }                                                                                      \
    }

RAW(raw_len_x, f->len_x[i])
RAW(raw_len_y, f->len_y[i])
RAW(raw_logp_yx, (double)f->logp_yx[i] / f->len_y[i])
RAW(raw_logp_y, (double)f->logp_y[i] / f->len_y[i])

RAW(raw_near, (double)f->near[i])
RAW(raw_gain_sum, (double)f->gain_sum[i])
RAW(raw_gain_length, features_gain_length(f, i))
RAW(raw_gain_loss, features_gain_loss(f, i))
RAW(raw_consistency, (double)f->consistency[i])
RAW(raw_influence, (double)f->influence[i])

static int64_t has_near(const struct features *f)
{
    return f->near != NULL;
}

static int64_t has_gain(const struct features *f)
{
    return f->gain_sum != NULL;
}

static int64_t has_consistency(const struct features *f)
{
    return f->consistency != NULL;
}

static int64_t has_influence(const struct features *f)
{
    return f->influence != NULL;
}

/* One column for each of the fields that a file may have. */
#define GIVEN(k)                                                                               \
    RAW(raw_given_##k, (double)f->given[i * f->n_given + (k)])                                 \
    static int64_t has_given_##k(const struct features *f)                                     \
    {                                                                                          \
        return f->n_given > (k);                                                               \
    }
#define GIVEN_ROW(k)                                                                           \
    {                                                                                          \
        "given_" #k, PART_GIVEN, NORM_ZSCORE, .width = has_given_##k, .raw = raw_given_##k     \
    }
GIVEN(0)
GIVEN(1)
GIVEN(2)
GIVEN(3)
GIVEN(4)
GIVEN(5)
GIVEN(6)
GIVEN(7)
_Static_assert(GIVEN_MAX == 8, "a column for each");

static int64_t embedding_width(const struct features *f)
{
    return f->dim;
}

static const float *embedding_rows(const struct features *f)
{
    return f->embedding;
}

static const struct state_column columns[] = {
    {"len_x", PART_DIFFICULTY, NORM_ZSCORE, .raw = raw_len_x},
    {"len_y", PART_DIFFICULTY, NORM_ZSCORE, .raw = raw_len_y},
    {"logp_yx", PART_DIFFICULTY, NORM_ZSCORE, .raw = raw_logp_yx},
    {"logp_y", PART_DIFFICULTY, NORM_ZSCORE, .raw = raw_logp_y},
    {"embedding", PART_SEMANTIC, NORM_BLOCK, .width = embedding_width, .rows = embedding_rows},
    {"near", PART_TARGET, NORM_RANK, .width = has_near, .raw = raw_near},
    {"gain_sum", PART_TARGET, NORM_RANK, .width = has_gain, .raw = raw_gain_sum},
    {"gain_length", PART_TARGET, NORM_RANK, .width = has_gain, .raw = raw_gain_length},
    {"gain_loss", PART_TARGET, NORM_RANK, .width = has_gain, .raw = raw_gain_loss},
    {"consistency", PART_CONSISTENCY, NORM_CENTER, .width = has_consistency,
     .raw = raw_consistency},
    {"influence", PART_INFLUENCE, NORM_RANK, .width = has_influence, .raw = raw_influence},
    {"n_turns", PART_RECORD, NORM_RANK, .record = "n_turns"},
    {"chars_y", PART_RECORD, NORM_RANK, .record = "chars_y"},
    GIVEN_ROW(0),
    GIVEN_ROW(1),
    GIVEN_ROW(2),
    GIVEN_ROW(3),
    GIVEN_ROW(4),
    GIVEN_ROW(5),
    GIVEN_ROW(6),
    GIVEN_ROW(7),
    {.name = NULL},
};

/* Columns of a policy file without names. */
#define COLUMNS_BEFORE_NAMES "len_x len_y logp_yx logp_y embedding[%" PRId64 "]"
enum { N_SCALARS_BEFORE_NAMES = 4 };

const struct state_part *state_parts(void)
{
    return parts;
}

const struct state_column *state_columns(void)
{
    return columns;
}

unsigned state_all_parts(void)
{
    unsigned all = 0;
    for (const struct state_part *p = parts; p->name; p++)
        all |= p->bit;
    return all;
}

static int unknown_part(const char *name, size_t len, struct err *e)
{
    struct buf all = {0};
    for (const struct state_part *p = parts; p->name; p++)
        buf_printf(&all, "%s%s", p == parts ? "" : ", ", p->name);
    err_set(e, ERR_RANGE, "'%.*s' is not one of %s", (int)len, name, buf_str(&all));
    buf_free(&all);
    return ERR_RANGE;
}

int state_parse_parts(const char *list, unsigned *bits, struct err *e)
{
    *bits = 0;
    for (const char *at = list; at && *at;) {
        size_t len = strcspn(at, ",");
        const struct state_part *p = parts;
        while (p->name && (strlen(p->name) != len || strncmp(at, p->name, len) != 0))
            p++;
        if (!p->name)
            return unknown_part(at, len, e);
        *bits |= p->bit;
        at += len + (at[len] == ',');
    }
    return 0;
}

static int64_t width_in(const struct state_column *c, const struct features *f)
{
    if (c->record)
        return features_record_at(f, c->record) >= 0;
    return c->width ? c->width(f) : 1;
}

/* ---- the columns of one policy ---- */

static void add_column(struct state *s, const struct state_column *row, int64_t width)
{
    struct state_col *c = &s->cols[s->n_cols++];
    bool is_on = s->parts & row->part;
    *c = (struct state_col){row, width, s->n_norm, is_on ? s->n_static : -1, NULL, -1};
    s->n_norm += width;
    s->n_static += is_on ? width : 0;
}

static void alloc_norm(struct state *s)
{
    s->center = mem_zalloc((size_t)s->n_norm, sizeof *s->center);
    s->scale = mem_zalloc((size_t)s->n_norm, sizeof *s->scale);
}

void state_free(struct state *s)
{
    for (int64_t k = 0; k < s->n_cols; k++)
        free(s->cols[k].made);
    free(s->cols);
    free(s->center);
    free(s->scale);
    *s = (struct state){0};
}

int64_t state_n_inputs(const struct state *s)
{
    return s->n_static + (state_has_stage(s) ? 2 : 0) + (state_has_count(s) ? 1 : 0);
}

bool state_has_stage(const struct state *s)
{
    return s->parts & PART_STAGE;
}

bool state_has_count(const struct state *s)
{
    return s->parts & PART_COUNT;
}

char *state_names(const struct state *s)
{
    struct buf b = {0};
    for (int64_t k = 0; k < s->n_cols; k++) {
        const struct state_col *c = &s->cols[k];
        buf_printf(&b, "%s%s", k ? " " : "", c->row->name);
        if (c->row->rows)
            buf_printf(&b, "[%" PRId64 "]", c->width);
    }
    return buf_str(&b);
}

char *state_phi_name(const struct state *s, int64_t k)
{
    for (int64_t i = 0; i < s->n_cols; i++) {
        const struct state_col *c = &s->cols[i];
        if (c->phi_at >= 0 && k >= c->phi_at && k < c->phi_at + c->width)
            return c->row->rows ? mem_printf("%s_%" PRId64, c->row->name, k - c->phi_at)
                                : mem_strdup(c->row->name);
    }
    return mem_strdup("");
}

const char *state_phi_part(const struct state *s, int64_t k)
{
    const struct state_part *part = parts;
    for (int64_t i = 0; i < s->n_cols; i++) {
        const struct state_col *c = &s->cols[i];
        while (c->phi_at >= 0 && k >= c->phi_at && k < c->phi_at + c->width && part->name &&
               part->bit != c->row->part)
            part++;
    }
    return part->name ? part->name : "";
}

static int64_t n_columns(const struct state_column *table)
{
    int64_t n = 0;
    while (table[n].name)
        n++;
    return n;
}

/* One name of a list: its row, and its width in *width. */
static const struct state_column *parse_name(const struct state_column *table, const char *name,
                                             size_t len, int64_t *width, struct err *e)
{
    size_t stem = strcspn(name, "[ ");
    const struct state_column *c = table;
    char digits[20];
    while (c->name && (strlen(c->name) != stem || strncmp(name, c->name, stem) != 0))
        c++;
    *width = 1;
    if (!c->name) {
        err_set(e, ERR_UNSUPPORTED, "state column \"%.*s\" is not known", (int)stem, name);
        return NULL;
    }
    if (stem == len && !c->rows)
        return c;
    size_t n = len > stem + 2 ? len - stem - 2 : 0;
    if (!c->rows || !n || n >= sizeof digits || name[len - 1] != ']') {
        err_set(e, ERR_FORMAT, "metadata raise.columns: \"%.*s\"", (int)len, name);
        return NULL;
    }
    memcpy(digits, name + stem + 1, n);
    digits[n] = '\0';
    if (opt_parse_int(digits, 1, INT32_MAX, width, e) < 0) {
        err_prefix(e, "metadata raise.columns");
        return NULL;
    }
    return c;
}

static int parse_names(struct state *s, const struct state_column *table, const char *names,
                       struct err *e)
{
    for (const char *at = names; *at;) {
        size_t len = strcspn(at, " ");
        int64_t width;
        const struct state_column *c = parse_name(table, at, len, &width, e);
        if (!c)
            return e->code;
        for (int64_t k = 0; k < s->n_cols; k++)
            if (s->cols[k].row == c)
                return err_set(e, ERR_FORMAT, "metadata raise.columns: \"%s\" twice", c->name);
        add_column(s, c, width);
        at += len + (at[len] == ' ');
    }
    return 0;
}

int state_restore(struct state *s, const struct state_column *table, unsigned parts_on,
                  const char *names, int64_t n_norm, struct err *e)
{
    *s = (struct state){.parts = parts_on};
    s->cols = mem_zalloc((size_t)n_columns(table), sizeof *s->cols);
    char *old = mem_printf(COLUMNS_BEFORE_NAMES, n_norm - N_SCALARS_BEFORE_NAMES);
    int rc = 0;
    if (parts_on & ~state_all_parts())
        rc = err_set(e, ERR_RANGE, "metadata raise.parts: %u is not between 1 and %u", parts_on,
                     state_all_parts());
    if (!rc && !names && n_norm <= N_SCALARS_BEFORE_NAMES)
        rc = err_set(e, ERR_RANGE, "norm_center: %" PRId64 " entries", n_norm);
    if (!rc)
        rc = parse_names(s, table, names ? names : old, e);
    if (!rc && s->n_norm != n_norm)
        rc = err_set(e, ERR_MISMATCH,
                     "norm_center: %" PRId64 " entries, raise.columns are %" PRId64, n_norm,
                     s->n_norm);
    free(old);
    if (!rc)
        alloc_norm(s);
    return rc;
}

/* ---- raw values, and what is made of them once ---- */

/* Raw values of a column of one number for rows row[0..n); x [n] (written). */
static void raw_values(const struct state_col *c, const struct features *f, const int64_t *row,
                       int64_t n, double *x)
{
    if (!c->row->record)
        c->row->raw(f, row, n, x);
    else
        for (int64_t r = 0; r < n; r++)
            x[r] = (double)f->record[row[r] * f->n_record + c->record_at];
}

/* The same, made ones where there are some, for rows first .. first + n - 1, n <= R. */
static void raw_run(const struct state_col *c, const struct features *f, int64_t first,
                    int64_t n, double *x)
{
    int64_t row[R];
    if (c->made) {
        for (int64_t r = 0; r < n; r++)
            x[r] = (double)c->made[first + r];
        return;
    }
    for (int64_t r = 0; r < n; r++)
        row[r] = first + r;
    raw_values(c, f, row, n, x);
}

static void make_values(struct state_col *c, const struct features *f)
{
    if (!c->row->make && c->row->norm != NORM_RANK)
        return;
    size_t n = (size_t)f->n;
    float *made = mem_alloc(n, sizeof *made);
    if (c->row->make)
        c->row->make(f, made);
    if (c->row->norm == NORM_RANK) {
        double *x = mem_alloc(n, sizeof *x);
        for (int64_t i = 0; i < f->n; i++)
            if (c->row->make)
                x[i] = (double)made[i];
            else
                raw_values(c, f, &i, 1, &x[i]);
        normal_scores(x, f->n, made);
        free(x);
    }
    free(c->made);
    c->made = made;
}

int state_bind(struct state *s, const struct features *f, struct err *e)
{
    for (int64_t k = 0; k < s->n_cols; k++) {
        struct state_col *c = &s->cols[k];
        int64_t width = width_in(c->row, f);
        if (width != c->width)
            return err_set(e, ERR_MISMATCH,
                           "the policy has %" PRId64 " of %s, the features %" PRId64, c->width,
                           c->row->name, width);
        if (c->row->record)
            c->record_at = features_record_at(f, c->row->record);
        make_values(c, f);
    }
    s->is_bound = true;
    return 0;
}

/* ---- normalisation ---- */

/* Is the sum of squares about the mean more than what rounding leaves of equal values? */
static bool is_spread(double square, int64_t n, double mean)
{
    return square > 1e-20 * (double)n * (1 + mean * mean);
}

/* Adds x - center and its square, for one column's rows first .. end - 1. */
static void add_sums(const struct state_col *c, const struct features *f, int64_t first,
                     int64_t end, const double *center, double *sum, double *square)
{
    if (c->row->rows) {
        const float *x = c->row->rows(f) + first * c->width;
        for (int64_t i = first; i < end; i++, x += c->width)
            for (int64_t k = 0; k < c->width; k++) {
                double d = (double)x[k] - center[k];
                sum[k] += d;
                square[k] += d * d;
            }
        return;
    }
    for (int64_t at = first; at < end; at += R) {
        double x[R];
        int64_t n = end - at < R ? end - at : R;
        raw_run(c, f, at, n, x);
        for (int64_t r = 0; r < n; r++) {
            double d = x[r] - *center;
            *sum += d;
            *square += d * d;
        }
    }
}

/* Sums over the pool of x - center and of its square, each column: blocks of rows of fixed size
 * are summed apart and merged in order, the same for any number of threads. */
static void column_sums(const struct state *s, const struct features *f, double *sum,
                        double *square)
{
    enum { ROWS = 1 << 14 };
    int64_t n = s->n_norm, blocks = (f->n + ROWS - 1) / ROWS;
    double *part = mem_zalloc((size_t)(blocks * 2 * n), sizeof *part);
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < blocks; b++) {
        double *x = part + b * 2 * n, *q = x + n;
        int64_t end = (b + 1) * ROWS < f->n ? (b + 1) * ROWS : f->n;
        for (int64_t k = 0; k < s->n_cols; k++) {
            int64_t at = s->cols[k].norm_at;
            add_sums(&s->cols[k], f, b * ROWS, end, s->center + at, x + at, q + at);
        }
    }
    memset(sum, 0, (size_t)n * sizeof *sum);
    memset(square, 0, (size_t)n * sizeof *square);
    for (int64_t b = 0; b < blocks; b++)
        for (int64_t k = 0; k < n; k++) {
            sum[k] += part[b * 2 * n + k];
            square[k] += part[b * 2 * n + n + k];
        }
    free(part);
}

/* The scales of one column from its sums of squares about the center. */
static void fit_scale(struct state *s, const struct state_col *c, int64_t n_rows,
                      const double *square)
{
    double total = 0, *scale = s->scale + c->norm_at, *center = s->center + c->norm_at;
    for (int64_t k = 0; k < c->width; k++) {
        total += square[k];
        scale[k] =
            is_spread(square[k], n_rows, center[k]) ? sqrt(square[k] / (double)n_rows) : 1;
    }
    double rms = total > 0 ? sqrt(total / ((double)n_rows * (double)c->width)) : 1;
    for (int64_t k = 0; k < c->width; k++)
        switch (c->row->norm) {
        case NORM_ZSCORE:
            break;
        case NORM_BLOCK:
            scale[k] = rms;
            break;
        case NORM_CENTER:
            scale[k] = 1;
            break;
        case NORM_NONE:
        case NORM_RANK:
            center[k] = 0;
            scale[k] = 1;
            break;
        }
}

static void fit_norm(struct state *s, const struct features *f)
{
    int64_t n = s->n_norm;
    double *sum = mem_alloc((size_t)n * 2, sizeof *sum), *square = sum + n;
    column_sums(s, f, sum, square);
    for (int64_t k = 0; k < n; k++)
        s->center[k] = sum[k] / (double)f->n;
    column_sums(s, f, sum, square);
    for (int64_t k = 0; k < s->n_cols; k++)
        fit_scale(s, &s->cols[k], f->n, square + s->cols[k].norm_at);
    free(sum);
}

/* Takes out of `parts_on` those that have columns, of which f has none. */
static int check_parts(const struct state_column *table, const struct features *f,
                       unsigned *parts_on, unsigned needed, struct err *e)
{
    unsigned has_column = 0, is_there = 0;
    for (const struct state_column *c = table; c->name; c++) {
        has_column |= c->part;
        is_there |= width_in(c, f) ? c->part : 0;
    }
    for (const struct state_part *p = parts; p->name; p++)
        if (p->bit & needed & has_column & ~is_there)
            return err_set(e, ERR_MISMATCH, "the features have no column of part %s", p->name);
    *parts_on &= ~(has_column & ~is_there);
    return 0;
}

int state_init(struct state *s, const struct state_column *table, const struct features *f,
               unsigned parts_on, unsigned needed, struct err *e)
{
    *s = (struct state){0};
    int rc = check_parts(table, f, &parts_on, needed, e);
    if (rc)
        return rc;
    s->parts = parts_on;
    s->cols = mem_zalloc((size_t)n_columns(table), sizeof *s->cols);
    for (const struct state_column *c = table; c->name; c++)
        if (width_in(c, f))
            add_column(s, c, width_in(c, f));
    alloc_norm(s);
    rc = state_bind(s, f, e);
    if (!rc)
        fit_norm(s, f);
    return rc;
}

void state_each_constant(const struct state *s, const struct features *f,
                         void (*tell)(void *arg, const char *name), void *arg)
{
    for (int64_t k = 0; k < s->n_cols; k++) {
        const struct state_col *c = &s->cols[k];
        double first = 0, x = 0;
        int64_t i = 0;
        if (!c->row->raw && !c->row->record)
            continue;
        raw_values(c, f, &i, 1, &first);
        for (i = 1, x = first; i < f->n && x == first; i++)
            raw_values(c, f, &i, 1, &x);
        if (x == first)
            tell(arg, c->row->name);
    }
}

/* ---- rows and blocks ---- */

void state_row(const struct state *s, const struct features *f, int64_t i, float *phi)
{
    for (int64_t k = 0; k < s->n_cols; k++) {
        const struct state_col *c = &s->cols[k];
        const double *center = s->center + c->norm_at, *scale = s->scale + c->norm_at;
        if (c->phi_at < 0)
            continue;
        if (c->row->rows) {
            const float *x = c->row->rows(f) + i * c->width;
            float by = (float)(1 / *scale);
            for (int64_t j = 0; j < c->width; j++)
                phi[c->phi_at + j] = (x[j] - (float)center[j]) * by;
        } else {
            double x;
            raw_run(c, f, i, 1, &x);
            phi[c->phi_at] = (float)((x - *center) / *scale);
        }
    }
}

CLONES static void block_of_rows(const float *const *x, int64_t n, int64_t width,
                                 const double *center, float scale, float *phi)
{
    for (int64_t r = 0; r < n; r++)
        for (int64_t k = 0; k < width; k++)
            phi[k * R + r] = (x[r][k] - (float)center[k]) * scale;
}

static void block_of_raw(const struct state_col *c, const struct features *f,
                         const int64_t *row, int64_t n, double center, double scale, float *phi)
{
    double x[R];
    if (c->made)
        for (int64_t r = 0; r < n; r++)
            x[r] = (double)c->made[row[r]];
    else
        raw_values(c, f, row, n, x);
    for (int64_t r = 0; r < n; r++)
        phi[r] = (float)((x[r] - center) / scale);
}

void state_block(const struct state *s, const struct features *f, const int32_t *rows,
                 int64_t at, int64_t n, float *phi)
{
    int64_t row[R];
    if (n < R)
        memset(phi, 0, (size_t)(s->n_static * R) * sizeof *phi);
    for (int64_t r = 0; r < n; r++)
        row[r] = rows ? rows[r] : at + r;
    for (int64_t k = 0; k < s->n_cols; k++) {
        const struct state_col *c = &s->cols[k];
        const double *center = s->center + c->norm_at, *scale = s->scale + c->norm_at;
        const float *x[R];
        if (c->phi_at < 0)
            continue;
        if (!c->row->rows) {
            block_of_raw(c, f, row, n, *center, *scale, phi + c->phi_at * R);
            continue;
        }
        const float *base = c->row->rows(f);
        for (int64_t r = 0; r < n; r++)
            x[r] = base + row[r] * c->width;
        block_of_rows(x, n, c->width, center, (float)(1 / *scale), phi + c->phi_at * R);
    }
}

void state_stage_inputs(const struct policy_stage *s, float u[2])
{
    double base = fabs(s->perf_start) > 1e-12 ? fabs(s->perf_start) : 1e-12;
    u[0] = (float)(5 * (s->perf_now - s->perf_start) / base);
    u[1] = (float)(2 * (double)(s->t - 1) / (double)s->n_steps - 1);
}
