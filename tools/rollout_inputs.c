/* SPDX-License-Identifier: MIT
 * rollout: inputs, and whether they belong together; see rollout.h. */
#include "reading.h"
#include "rollout.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void name_lost(const struct episode_set *s, int64_t max_len)
{
    const struct dataset *d = s->data;
    if (s->n_cut)
        log_warn("%s: %" PRId64 " records cut to %" PRId64 " tokens", d->name, s->n_cut,
                 max_len);
    for (int64_t i = 0; i < s->n_dropped; i++) {
        char *place = dataset_place(d, s->dropped[i]);
        log_warn("%s: left out: no token of its response counts within %" PRId64 " tokens",
                 place, max_len);
        free(place);
    }
    log_detail("%s: %" PRId64 " records, %" PRId64 " response tokens", d->name, s->pack.n_seqs,
               s->n_targets);
}

static int read_sets(struct rollout *r, struct err *e)
{
    const struct rollout_options *o = r->o;
    const struct episode_sets_options want = {.on_error =
                                                  (enum data_on_error)o->records.on_error,
                                              .max_record = o->records.max_record,
                                              .val_limit = o->val_limit,
                                              .test_limit = o->test_limit,
                                              .seed = o->common.seed};
    const struct episode_encoding how = {.tok = r->s.tok,
                                         .tmpl = r->s.tmpl,
                                         .max_len = r->s.max_len,
                                         .config = &r->s.config,
                                         .is_cut = !o->session.overlong};
    int rc = episode_read_sets(&r->in, &want, o->validation, o->test, e);
    session_name_skipped(&r->in.val_data);
    session_name_skipped(&r->in.test_data);
    if (!rc)
        rc = episode_make_sets(&r->in, &how, e);
    if (rc)
        return rc;
    session_check_records(&r->s, &r->in.val_data);
    if (o->test)
        session_check_records(&r->s, &r->in.test_data);
    name_lost(&r->in.validation, how.max_len);
    if (o->test)
        name_lost(&r->in.test, how.max_len);
    return 0;
}

static int set_steps(struct rollout *r, struct err *e)
{
    const struct rollout_options *o = r->o;
    const struct plan *plan = &r->in.plan;
    struct episode *k = &r->episode;
    int64_t n = r->in.features.n;
    k->n_steps = o->n_steps ? o->n_steps : o->plan ? plan->n_steps : 10;
    if (o->plan && k->n_steps > plan->n_steps)
        return err_set(e, ERR_RANGE, "%s: has %" PRId64 " steps, --steps asks for %" PRId64,
                       o->plan, plan->n_steps, k->n_steps);
    if (!o->plan && n < o->batch)
        return err_set(e, ERR_RANGE, "%s: %" PRId64 " rows are fewer than a batch of %" PRId64,
                       o->features, n, o->batch);
    if (!o->plan && !o->has_repeats && n / o->batch < k->n_steps)
        log_warn("%s: %" PRId64 " rows for %" PRId64 " steps of %" PRId64
                 ": when all are used, the choice begins anew",
                 o->features, n, k->n_steps, o->batch);
    k->n_warmup = o->n_warmup >= 0 ? o->n_warmup : k->n_steps / 3;
    return 0;
}

int rollout_read_inputs(struct rollout *r, struct err *e)
{
    const struct rollout_options *o = r->o;
    int rc = set_steps(r, e);
    struct data_options how = {.max_record = o->records.max_record};
    struct reading bar;
    if (rc)
        return rc;
    reading_start(&bar, &how, &o->data, 1);
    rc = episode_read_pool(&r->in, o->data, &how, e);
    reading_end(&bar);
    if (rc)
        return rc;
    session_check_records(&r->s, &r->in.pool);
    return read_sets(r, e);
}

int rollout_open_encoding(struct rollout *r, struct err *e)
{
    const struct rollout_options *o = r->o;
    const struct features *f = &r->in.features;
    bool is_auto = strcmp(o->session.template, "auto") == 0;
    if (is_auto && f->template[0])
        r->session.template = f->template;
    int rc = session_encoding(&r->s, &r->session, e);
    if (!rc && !o->session.max_length && f->max_length > 0 && f->max_length < r->s.max_len)
        r->s.max_len = f->max_length;
    char *differs = rc ? NULL : episode_encoding_differs(&r->in, r->s.tmpl, r->s.max_len);
    if (differs)
        rc = err_set(e, ERR_MISMATCH, "%s: %s", o->features, differs);
    else if (!rc && is_auto && f->template[0])
        log_note("template: %s, as of %s", tmpl_name(r->s.tmpl), o->features);
    free(differs);
    return rc;
}
