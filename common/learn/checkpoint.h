/* SPDX-License-Identifier: MIT
 *
 * checkpoint: an episode that stands still after a step, as a file.
 *
 * What the next step depends on: trainable values, the optimiser's moments and count, and what
 * was chosen and measured so far. Draws are functions of (seed, step, row), and who was used is
 * replayed from the picks, so an episode that goes on from here takes the same steps, bit for
 * bit, as one that never stopped. File kind "checkpoint" (raise-stream(5)): the tensors below
 * beside those of a trajectory, whose steps to come are empty.
 *
 *     if (checkpoint_read(&c, path, run, &e) == 0)      // this very run, after c.n_done steps
 *     ...
 *     rc = checkpoint_write(path, run, lm, &traj, t, n_cut, &e);
 */
#ifndef RAISE_LEARN_CHECKPOINT_H
#define RAISE_LEARN_CHECKPOINT_H

#include "learn/traj.h"
#include "lm/lm.h"

struct checkpoint {
    uint64_t run;      /* identity of the run: inputs, options, arithmetic */
    int64_t n_done;    /* steps taken, at least 1 */
    int64_t n_cut;     /* picks that were cut so far */
    int64_t n_values;  /* of each of the state's blocks */
    struct lm_state s; /* owned */
    struct traj t;     /* owned; steps after n_done have no picks */
};
extern const struct st_table checkpoint_table;

/* Whole or not at all (file.h), over one of that name. */
int checkpoint_write(const char *path, uint64_t run, struct lm *m, const struct traj *t,
                     int64_t n_done, int64_t n_cut, struct err *e) RAISE_MUST_CHECK;
/* ERR_MISMATCH: of another run. *c is owned by the caller, checkpoint_free, also on failure. */
int checkpoint_read(struct checkpoint *c, const char *path, uint64_t run,
                    struct err *e) RAISE_MUST_CHECK;
void checkpoint_free(struct checkpoint *c);

/* Copies the steps that are done into t, which has the same steps and classes, and room. */
void checkpoint_fill(const struct checkpoint *c, struct traj *t);

#endif
