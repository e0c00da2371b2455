/* SPDX-License-Identifier: MIT
 *
 * probe: what a run for a target makes before its rows are scored, the gain's probe (gain.h)
 * and, if asked for, the influence's warm-up (influence.h), and where they are kept so that a
 * continued run need not make them again:
 *
 *     OUT.part     windows that are done (embed_run.h)
 *     OUT.probe/   the probe: an adapter as any other
 *     OUT.warmup   states and directions
 *
 * The part's parameters hold the hashes of both, so that it is continued under no others. They
 * go when no part is left. A run without a part has its probe in a folder of its own in TMPDIR
 * or /tmp, and its warm-up nowhere.
 *
 *     struct probe p = {.target = &records, .n_steps = 3, .lr = 3e-4, ...};
 *     probe_begin(&p, &job);                 // job.how is set; has the gain and influence now
 *     rc = embed_run_measure(&job, &e);
 *     rc = gain_measure(&p.gain, &e);
 *     rc = probe_plan(&p, path, &lm_options, &bytes, &e);    // then the model is opened
 *     rc = probe_place(&p, &e);
 *     rc = probe_make(&p, lm, &e);           // p.gain.loss_tuned below p.gain.loss: of use
 *     rc = probe_warm_up(&p, lm, &e);
 *     char *lines = probe_parameters(&p);    // to the end of job.reading
 *     ... embed_run_open, score, finish, free ...
 *     probe_free(&p);
 */
#ifndef RAISE_FEATURES_PROBE_H
#define RAISE_FEATURES_PROBE_H

#include "features/embed_run.h"

struct probe {
    /* the caller's; borrowed */
    const struct dataset *target;
    int64_t target_limit; /* how the target was sampled: only told in the parameters */
    int64_t n_steps;      /* of gain */
    double lr;
    bool has_influence;
    int64_t n_epochs; /* of influence */
    double influence_lr;
    uint64_t seed; /* of both */
    /* set by probe_begin; the results in gain and influence are owned */
    struct embed_run *job;
    struct gain gain;
    struct influence influence;
    /* found by probe_place; owned, but `out` */
    const char *out;
    char *dir, *warmup; /* warmup may be NULL */
    bool is_made_before, is_warm_before;
};

/* Describes gain and influence, and tells the job of them; job.how is set but for these. */
void probe_begin(struct probe *p, struct embed_run *job);
/* Asks *lo for a model that both can be made with: LoRA, the longest record of either side, and
 * as many tokens at once as a model that only scores, so that other columns have the same
 * bytes. *bytes grows by the host's memory that is taken beside the model's own. */
int probe_plan(const struct probe *p, const char *model, struct lm_options *lo, int64_t *bytes,
               struct err *e) RAISE_MUST_CHECK;
/* Finds places, and whether an unfinished run that is now continued made them. ERR_IO: there is
 * no folder for temporary files. */
int probe_place(struct probe *p, struct err *e) RAISE_MUST_CHECK;
/* The probe, made or taken from its place; on success the job's rows have a gain. */
int probe_make(struct probe *p, struct lm *m, struct err *e) RAISE_MUST_CHECK;
/* The warm-up, made or taken from its place; nothing without influence. */
int probe_warm_up(struct probe *p, struct lm *m, struct err *e) RAISE_MUST_CHECK;
/* Lines "key=value": what makes a run with these another one. Owned by the caller. */
char *probe_parameters(const struct probe *p);
/* After embed_run_free: removes what no part needs any more. */
void probe_free(struct probe *p);

#endif
