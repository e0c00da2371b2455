/* SPDX-License-Identifier: MIT
 * episode_inputs: an episode's files, and whether they belong together; see the header. */
#include "learn/episode_inputs.h"

#include "base/file.h"
#include "base/mem.h"
#include "learn/learners.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void episode_inputs_free(struct episode_inputs *in)
{
    free(in->record_of);
    episode_set_free(&in->validation);
    episode_set_free(&in->test);
    dataset_free(&in->pool);
    dataset_free(&in->val_data);
    dataset_free(&in->test_data);
    plan_free(&in->plan);
    policy_free(in->policy);
    features_free(&in->features);
    *in = (struct episode_inputs){0};
}

/* ---- what chooses ---- */

static int read_plan(struct episode_inputs *in, const char *plan, struct err *e)
{
    const struct features *f = &in->features;
    int rc = plan_read(&in->plan, plan, e);
    if (!rc && in->plan.features != f->id)
        rc = err_set(e, ERR_MISMATCH, "%s: made for other features than %s", file_name_in(plan),
                     in->features_name);
    for (int64_t i = 0; !rc && i < in->plan.n_picks; i++)
        if (in->plan.pick[i] < 0 || in->plan.pick[i] >= f->n)
            rc = err_set(e, ERR_RANGE, "%s: pick %" PRId64 ": row %" PRId64 " of %" PRId64,
                         file_name_in(plan), i, in->plan.pick[i], f->n);
    return rc;
}

int episode_read_choice(struct episode_inputs *in, const char *features, const char *policy,
                        const char *plan, struct err *e)
{
    int rc = features_read(&in->features, features, e);
    if (rc)
        return rc;
    in->features_name = file_name_in(features);
    if (plan)
        return read_plan(in, plan, e);
    in->policy = policy_read(policy, learners(), e);
    if (!in->policy)
        return e->code;
    if (policy_features(in->policy) != in->features.id)
        return err_set(e, ERR_MISMATCH, "%s: made for other features than %s",
                       file_name_in(policy), in->features_name);
    rc = policy_bind(in->policy, &in->features, e);
    return rc ? err_prefix(e, "%s", file_name_in(policy)) : 0;
}

int episode_read_pool(struct episode_inputs *in, const char *path,
                      const struct data_options *how, struct err *e)
{
    const struct features *f = &in->features;
    struct data_options want = {.on_error = DATA_SKIP,
                                .max_record = how->max_record,
                                .progress = how->progress,
                                .progress_arg = how->progress_arg};
    int rc = dataset_read(&in->pool, path, &want, e);
    if (rc || !f->msg)
        return rc;
    if (f->dataset && f->dataset != in->pool.hash)
        return err_set(e, ERR_MISMATCH, "%s: not the dataset that %s was made from",
                       in->pool.name, in->features_name);
    in->record_of = episode_map_rows(f, &in->pool, e);
    return in->record_of ? 0 : e->code;
}

/* ---- what is measured ---- */

static int refuse_overlap(const struct dataset *a, const struct dataset *b, struct err *e)
{
    int64_t j, i = dataset_overlap(a, b, &j);
    if (i < 0)
        return 0;
    return dataset_name_overlap(a, i, b, j, e);
}

int episode_read_sets(struct episode_inputs *in, const struct episode_sets_options *o,
                      const char *validation, const char *test, struct err *e)
{
    struct data_options val = {.on_error = o->on_error,
                               .limit = o->val_limit,
                               .is_sampled = true,
                               .seed = o->seed,
                               .max_record = o->max_record};
    struct data_options first = {
        .on_error = o->on_error, .limit = o->test_limit, .max_record = o->max_record};
    int rc = dataset_read(&in->val_data, validation, &val, e);
    if (!rc)
        rc = refuse_overlap(&in->val_data, &in->pool, e);
    if (rc || !test)
        return rc;
    rc = dataset_read(&in->test_data, test, &first, e);
    if (!rc)
        rc = refuse_overlap(&in->test_data, &in->pool, e);
    return rc ? rc : refuse_overlap(&in->test_data, &in->val_data, e);
}

static int check_set(const struct lm_config *c, const struct episode_set *s, struct err *e)
{
    struct lm_batch b = lm_pack_batch(&s->pack);
    for (int64_t i = 0; i < b.n_seqs; i++) {
        int64_t from = b.offsets[i], n = b.offsets[i + 1] - from;
        if (lm_config_check_sequence(c, b.ids + from, n, e) < 0)
            return dataset_name_record(e, s->data, s->record[i]);
    }
    return 0;
}

static int check_rows(const struct episode_inputs *in, const struct episode_encoding *how,
                      struct err *e)
{
    const struct features *f = &in->features;
    for (int64_t i = 0; in->record_of && i < f->n; i++) {
        int64_t n = (int64_t)f->len_x[i] + f->len_y[i];
        if (lm_config_check_length(how->config, n < how->max_len ? n : how->max_len, e) < 0)
            return dataset_name_record(e, &in->pool, in->record_of[i]);
    }
    return 0;
}

static int check_model_takes(const struct episode_inputs *in,
                             const struct episode_encoding *how, struct err *e)
{
    if (!how->config)
        return 0;
    int rc = check_rows(in, how, e);
    if (!rc)
        rc = check_set(how->config, &in->validation, e);
    return rc || !in->test_data.n_records ? rc : check_set(how->config, &in->test, e);
}

int episode_make_sets(struct episode_inputs *in, const struct episode_encoding *how,
                      struct err *e)
{
    int rc = episode_set_make(&in->validation, &in->val_data, how->tok, how->tmpl, how->max_len,
                              how->is_cut, e);
    if (!rc && in->test_data.n_records)
        rc = episode_set_make(&in->test, &in->test_data, how->tok, how->tmpl, how->max_len,
                              how->is_cut, e);
    return rc ? rc : check_model_takes(in, how, e);
}

/* ---- lengths ---- */

static int64_t longest_row(const struct features *f)
{
    int64_t longest = 0;
    for (int64_t i = 0; i < f->n; i++)
        if ((int64_t)f->len_x[i] + f->len_y[i] > longest)
            longest = (int64_t)f->len_x[i] + f->len_y[i];
    return longest;
}

int64_t episode_longest(const struct episode_inputs *in, int64_t max_len)
{
    int64_t longest = longest_row(&in->features);
    if (in->validation.longest > longest)
        longest = in->validation.longest;
    if (in->test.longest > longest)
        longest = in->test.longest;
    return longest < max_len ? longest : max_len;
}

char *episode_encoding_differs(const struct episode_inputs *in, const struct tmpl *t,
                               int64_t max_len)
{
    const char *name = in->features.template;
    uint64_t hash = in->features.template_hash;
    int64_t theirs = in->features.max_length > 0 ? in->features.max_length : 0;
    bool has_its_name = !*name || !strcmp(name, tmpl_name(t));
    /* A file of another name, or seen from another folder, may be the same template. */
    if (hash ? hash != tmpl_hash(t) : !has_its_name)
        return has_its_name ? mem_printf("made with another template by the name of %s", name)
                            : mem_printf("made with template %s, training is with %s", name,
                                         tmpl_name(t));
    int64_t longest = theirs && theirs != max_len ? longest_row(&in->features) : 0;
    /* Rows as long as their bound may have been cut at it. */
    if (longest > max_len || (longest && longest == theirs))
        return mem_printf("made with --max-length %" PRId64 ", training is with %" PRId64
                          ", and its longest record has %" PRId64 " tokens",
                          theirs, max_len, longest);
    return NULL;
}
