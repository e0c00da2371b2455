/* SPDX-License-Identifier: MIT
 *
 * target: what raise-embed is told of a target, and what it tells of the work for it
 * (features/probe.h): option rows, words, errors that name the options.
 *
 *     struct options { ...; struct target_options target; };
 *     static const struct opt table[] = {..., TARGET_ROWS(struct options, target), ...};
 *     struct options o = {..., .target = TARGET_DEFAULTS};
 *     target_check(&o.target);
 *     struct target t = {.o = &o.target};
 *     rc = target_read(&t, &pool, &want, &e);
 *     ... job.how is set ...
 *     target_begin(&t, &job, seed);
 *     ... embed_run_measure; then target_measure, target_plan, and the model is opened ...
 *     rc = target_make(&t, lm, &e);
 *     ... target_parameters to the end of job.reading; the rows; embed_run_free ...
 *     target_free(&t);
 *
 * Without --target every function does nothing, and succeeds.
 */
#ifndef RAISE_TOOLS_TARGET_H
#define RAISE_TOOLS_TARGET_H

#include "base/opt.h"
#include "base/place.h"
#include "features/probe.h"
#include "session.h"

struct target_options {
    const char *path; /* NULL: no target */
    int64_t limit, n_steps, n_epochs;
    double lr, influence_lr;
    bool has_influence;
};
#define TARGET_DEFAULTS                                                                        \
    {                                                                                          \
        .n_steps = 3, .lr = 3e-4, .n_epochs = 4, .influence_lr = 3e-4                          \
    }

#define TARGET_ROWS(O, at)                                                                     \
    {0,         "target",                                                                      \
     OPT_PATHS, offsetof(O, at.path),                                                          \
     "FILE",    "records of the target: adds the gain",                                        \
     0,         0,                                                                             \
     NULL},                                                                                    \
        {0,       "target-limit",                                                              \
         OPT_INT, offsetof(O, at.limit),                                                       \
         "N",     "a seeded sample of N of them; 0: all",                                      \
         0,       1e9,                                                                         \
         NULL},                                                                                \
        {0,   "target-steps",        OPT_INT, offsetof(O, at.n_steps),                         \
         "N", "steps of 32 on them", 1,       1e6,                                             \
         NULL},                                                                                \
        {0, "target-lr", OPT_REAL, offsetof(O, at.lr), "X", "learning rate of these steps",    \
         0, 1e30,        NULL},                                                                \
        {0,        "influence",                                                                \
         OPT_FLAG, offsetof(O, at.has_influence),                                              \
         NULL,     "with --target: LESS, by a gradient of every record and epoch",             \
         0,        0,                                                                          \
         NULL},                                                                                \
        {0,       "influence-epochs",                                                          \
         OPT_INT, offsetof(O, at.n_epochs),                                                    \
         "N",     "epochs of its warm-up on a twentieth of the records",                       \
         1,       1000,                                                                        \
         NULL},                                                                                \
    {                                                                                          \
        0, "influence-lr", OPT_REAL, offsetof(O, at.influence_lr), "X",                        \
            "learning rate of its warm-up", 0, 1e30, NULL                                      \
    }

/* Misuse: --influence alone, or a target from standard input. */
void target_check(const struct target_options *o);

struct target {
    const struct target_options *o; /* borrowed */
    struct dataset data;
    struct probe probe;
};

/* how: as the pool was read, but for the limit; warns of records that are in both. */
int target_read(struct target *t, const struct dataset *pool, const struct data_options *how,
                struct err *e) RAISE_MUST_CHECK;
void target_begin(struct target *t, struct embed_run *job, uint64_t seed);
/* Once the job is measured: names the records that drop out, and says what the work will be. */
int target_measure(struct target *t, struct err *e) RAISE_MUST_CHECK;
/* What the work asks of the model and of memory. */
int target_plan(const struct target *t, const char *model, struct lm_options *lo,
                struct session_need *need, struct err *e) RAISE_MUST_CHECK;
/* Probe and warm-up. ERR_RANGE: the probe made the target's own loss no better. */
int target_make(struct target *t, struct lm *m, struct err *e) RAISE_MUST_CHECK;
/* Lines "key=value" for a part, owned by the caller; "" without a target. */
char *target_parameters(const struct target *t);
/* Target, probe and warm-up as inputs. */
void target_add_inputs(const struct target *t, struct prov *p);
/* After embed_run_free. */
void target_free(struct target *t);

#endif
