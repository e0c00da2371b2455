/* SPDX-License-Identifier: MIT
 *
 * state: state fusion. Row i at step t is s = [u1 u2 | phi_i | count]:
 *     u1 = 5 (P_{t-1} - P_0) / |P_0|,  u2 = 2 (t-1)/T - 1          part "stage"
 *     phi_i: the static columns of row i, each brought to one scale  a part or several
 *     count: times selected so far in this episode                  part "availability"
 * Each part can be switched off: its numbers are absent.
 *
 * Two tables say what there is, state_parts() and state_columns() (state.c). To add a column:
 *     1. a row in `columns`: its name, its part, how it is brought to scale (enum state_norm),
 *        and where its raw values come from, one of
 *          raw    a number a row, from what the features hold of that row alone
 *          rows   a block of numbers a row that stands in the features as it is
 *          record a column of the record itself, by its name (features/record.h)
 *          make   all rows at once, where a value depends on other rows or on a whole tensor
 *     2. `width`, if a features file may lack what it is made of: 0 then, and with it the
 *        column, and a part that loses all of its columns, are absent. That is no error unless
 *        the part was asked for. For `record` that goes without saying.
 *     3. for a new part, a row in `parts`, with a bit of its own, which policy files keep
 *     4. the page: raise-ppo(1), "What a policy sees"; and a value in tests/unit/test_policy.c
 * Columns stand in phi, and in the constants of the normalisation, in the table's order. New
 * rows go to the end: a file's own list of names decides what its numbers are, so old files
 * hold; a file without names has the first four columns and the embedding.
 *
 * The constants travel in the policy: what a policy file says does not depend on the pool being
 * there. What has a value of its own for every row (NORM_RANK, make) is made again from the
 * features when the policy is bound to them.
 */
#ifndef RAISE_POLICY_STATE_H
#define RAISE_POLICY_STATE_H

#include "features/features.h"

enum {
    PART_STAGE = 1,
    PART_DIFFICULTY = 2,
    PART_SEMANTIC = 4,
    PART_COUNT = 8,
    PART_PAPER = 15, /* all of the above: what the paper's policy sees */
    PART_TARGET = 16,
    PART_CONSISTENCY = 32,
    PART_INFLUENCE = 64,
    PART_RECORD = 128,
    PART_GIVEN = 256
};

struct state_part {
    const char *name; /* what --with and --without call it */
    unsigned bit;     /* PART_...; raise.parts of a policy file is the sum */
};
/* The table of parts, ending with a row without a name; and all bits of it. */
const struct state_part *state_parts(void);
unsigned state_all_parts(void);
/* Bits of "stage,semantic"; NULL and "": none. ERR_RANGE lists the names that there are. */
int state_parse_parts(const char *list, unsigned *bits, struct err *e) RAISE_MUST_CHECK;

/* How raw values become comparable. Constant columns become 0. */
enum state_norm {
    NORM_ZSCORE, /* centred, divided by the standard deviation over the pool; each column */
    NORM_BLOCK,  /* each column centred, the whole block divided by one root mean square */
    NORM_CENTER, /* centred: what its scale means is kept */
    NORM_NONE,   /* as it is */
    NORM_RANK    /* z of (rank - 1/2) / N in the pool, ties at their mean rank: wild tails */
};

/* x [n] (written): raw values of rows row[0..n). */
typedef void state_raw(const struct features *f, const int64_t *row, int64_t n, double *x);
struct state_column {
    const char *name; /* in policy files and --weights; of a block's: name_0, name_1, ... */
    unsigned part;
    enum state_norm norm;
    int64_t (*width)(const struct features *f); /* numbers a row; NULL: 1 */
    state_raw *raw;
    const float *(*rows)(const struct features *f);   /* [N, width], borrowed */
    void (*make)(const struct features *f, float *x); /* x [N] (written) */
    const char *record;                               /* name in the features' record_names */
};
/* The table of columns, ending with a row without a name. */
const struct state_column *state_columns(void);

/* One row of the table, as a policy has it. */
struct state_col {
    const struct state_column *row;
    int64_t width;
    int64_t norm_at;   /* its first entry in center and scale */
    int64_t phi_at;    /* its first entry in phi; -1: its part is off */
    float *made;       /* owned: [N] values that stand for raw ones; NULL: none */
    int64_t record_at; /* in a row of the features it is bound to, if row->record */
};

struct state {
    unsigned parts; /* those that are on */
    int64_t n_cols;
    struct state_col *cols;
    int64_t n_norm;         /* entries of all columns, parts that are off included */
    int64_t n_static;       /* of phi */
    double *center, *scale; /* [n_norm] */
    bool is_bound;          /* state_bind */
};

/* Those of `columns` (state_columns()) that f has, their constants over f's rows; bound to f.
 * parts: those wanted; of them `needed` must be there (ERR_MISMATCH). state_free in every case.
 */
int state_init(struct state *s, const struct state_column *columns, const struct features *f,
               unsigned parts, unsigned needed, struct err *e) RAISE_MUST_CHECK;
/* From a policy file: its list of names (state_names; NULL: a file from before there were
 * names) for n_norm entries. center and scale are zero and the caller's to fill.
 * ERR_UNSUPPORTED: a column that is not in the table; ERR_FORMAT, ERR_RANGE: a list that is
 * none. */
int state_restore(struct state *s, const struct state_column *columns, unsigned parts,
                  const char *names, int64_t n_norm, struct err *e) RAISE_MUST_CHECK;
/* Before anything is asked about rows of f. ERR_MISMATCH: f lacks a column or has it wider. */
int state_bind(struct state *s, const struct features *f, struct err *e) RAISE_MUST_CHECK;
void state_free(struct state *s);
/* "len_x len_y logp_yx logp_y embedding[32]", all columns; owned by the caller. */
char *state_names(const struct state *s);
/* The name of entry k of phi, "len_x" or "embedding_3"; owned by the caller. */
char *state_phi_name(const struct state *s, int64_t k);
/* The name of its part; static. */
const char *state_phi_part(const struct state *s, int64_t k);
/* Length of s: phi, the stage's two, the count. */
int64_t state_n_inputs(const struct state *s);
bool state_has_stage(const struct state *s);
bool state_has_count(const struct state *s);

/* phi of row i, n_static floats (written). */
void state_row(const struct state *s, const struct features *f, int64_t i, float *phi);
/* phi [n_static, STATE_ROWS] (written) of n rows: rows[0..n), or at, at+1, ... if NULL; column
 * by column, so that one row is one SIMD lane. Lanes past the last row are zero. */
enum { STATE_ROWS = 128 };
void state_block(const struct state *s, const struct features *f, const int32_t *rows,
                 int64_t at, int64_t n, float *phi);

/* Names of the columns with a raw value that is the same for all rows of f: they tell nothing,
 * and something may have gone wrong. Calls `tell` for each. */
void state_each_constant(const struct state *s, const struct features *f,
                         void (*tell)(void *arg, const char *name), void *arg);

/* The steps of this episode that are done, for a learner that goes by them (learner.h). */
struct policy_past {
    int64_t n_steps;
    const int64_t
        *offset;         /* [n_steps + 1] picks of step k (from 0): [offset[k], offset[k+1]) */
    const int64_t *pick; /* rows */
    const float *loss;   /* mean NLL of each in its step, before the step's change */
    const double *lr, *grad_norm; /* [n_steps]; the norm before clipping */
};

/* The stage at step t, all that a policy needs besides the rows. */
struct policy_stage {
    int64_t t, n_steps;             /* t from 1 */
    double perf_start;              /* P_0 */
    double perf_now;                /* P_{t-1} */
    int64_t batch;                  /* B; 0: not told */
    const struct policy_past *past; /* NULL: not told */
};
/* u1, u2 of a stage. */
void state_stage_inputs(const struct policy_stage *s, float u[2]);

#endif
