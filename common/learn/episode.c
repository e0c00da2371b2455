/* SPDX-License-Identifier: MIT
 * episode: T steps of choosing, training and measuring; see episode.h. */
#include "learn/episode.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "learn/checkpoint.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

/* ---- sets ---- */

int episode_set_make(struct episode_set *s, const struct dataset *d, const struct tok *tok,
                     const struct tmpl *tmpl, int64_t max_len, bool is_cut, struct err *e)
{
    struct example_set all = {0};
    *s = (struct episode_set){.data = d};
    int rc =
        example_set_make(&all, tok, tmpl, d, max_len, is_cut ? EXAMPLE_CUT : EXAMPLE_FAIL, e);
    if (rc)
        return rc;
    XXH64_state_t *hash = XXH64_createState(), *encoding = XXH64_createState();
    XXH64_reset(hash, 0);
    XXH64_reset(encoding, 0);
    s->record = mem_alloc((size_t)d->n_records, sizeof *s->record);
    s->dropped = mem_alloc((size_t)d->n_records, sizeof *s->dropped);
    for (int64_t i = 0; i < d->n_records; i++) {
        const struct example *x = &all.examples[i];
        if (!x->n || !x->n_response) {
            s->dropped[s->n_dropped++] = i;
            continue;
        }
        s->record[s->pack.n_seqs] = i;
        lm_pack_add(&s->pack, x->ids, x->is_loss, x->n);
        XXH64_update(hash, &d->records[i].hash, sizeof d->records[i].hash);
        XXH64_update(encoding, &x->n, sizeof x->n);
        XXH64_update(encoding, x->ids, (size_t)x->n * sizeof *x->ids);
        XXH64_update(encoding, x->is_loss, (size_t)x->n * sizeof *x->is_loss);
        s->n_cut += x->is_cut;
        s->n_targets += x->n_response;
        if (x->n > s->longest)
            s->longest = x->n;
    }
    s->hash = XXH64_digest(hash);
    s->encoding = XXH64_digest(encoding);
    XXH64_freeState(hash);
    XXH64_freeState(encoding);
    example_set_free(&all);
    if (!s->pack.n_seqs)
        return err_set(e, ERR_EMPTY,
                       "%s: none of %" PRId64 " records has a response token within %" PRId64
                       " tokens",
                       d->name, d->n_records, max_len);
    return 0;
}

void episode_set_free(struct episode_set *s)
{
    lm_pack_free(&s->pack);
    free(s->record);
    free(s->dropped);
    *s = (struct episode_set){0};
}

int episode_set_loss(struct lm *m, const struct episode_set *s, double *loss, struct err *e)
{
    struct lm_batch b = lm_pack_batch(&s->pack);
    int64_t bad = -1;
    int rc = lm_mean_nll(m, &b, loss, &bad, e);
    if (rc == ERR_NONFINITE && bad >= 0)
        return dataset_name_record(e, s->data, s->record[bad]);
    return rc;
}

int64_t *episode_map_rows(const struct features *f, const struct dataset *d, struct err *e)
{
    const struct data_claim c = {f->n, f->source, f->hash, "row", "the features"};
    int64_t *rows = mem_alloc((size_t)f->n, sizeof *rows);
    if (dataset_join(d, &c, rows, e) == 0)
        return rows;
    free(rows);
    return NULL;
}

/* ---- one step ---- */

/* The batch of the present step. */
struct batch {
    int64_t *picks; /* rows of the features */
    int64_t n;
    int64_t *list_offset; /* [C + 1] */
    double *list_logp;    /* [C] */
    float *scores;        /* [N]; NULL with a plan */
    struct selector *selector;
    int32_t *alike;  /* [N] zeros: the classes of a step that has no quotas; NULL */
    int64_t *listed; /* [T B] where one list is deployed; NULL */
    struct lm_pack pack;
    struct data_reader *reader; /* of the pool */
};

static bool is_within(const struct episode *k)
{
    return !k->plan && policy_learner(k->policy)->is_within;
}

/* Of the lists that a step is made of. */
static int64_t n_classes(const struct episode *k)
{
    return k->plan || is_within(k) ? 1 : k->features->n_classes;
}

static bool has_repeats(const struct episode *k)
{
    return k->has_repeats || is_within(k);
}

static void batch_init(struct batch *b, const struct episode *k, int64_t largest)
{
    int64_t C = n_classes(k);
    *b = (struct batch){.reader = data_reader_new(k->pool)};
    b->picks = mem_alloc((size_t)largest, sizeof *b->picks);
    b->list_offset = mem_zalloc((size_t)C + 1, sizeof *b->list_offset);
    b->list_logp = mem_zalloc((size_t)C, sizeof *b->list_logp);
    if (k->plan)
        return;
    b->scores = mem_alloc((size_t)k->features->n, sizeof *b->scores);
    b->alike = is_within(k) ? mem_zalloc((size_t)k->features->n, sizeof *b->alike) : NULL;
    b->selector = selector_new(k->features->n, b->alike ? b->alike : k->features->class_of, C);
}

static void batch_free(struct batch *b)
{
    free(b->picks);
    free(b->list_offset);
    free(b->list_logp);
    free(b->scores);
    free(b->listed);
    selector_free(b->selector);
    free(b->alike);
    lm_pack_free(&b->pack);
    data_reader_free(b->reader);
}

static void take_planned(const struct episode *k, int64_t t, struct batch *b)
{
    int64_t from = k->plan->step_offset[t - 1];
    b->n = k->plan->step_offset[t] - from;
    memcpy(b->picks, k->plan->pick + from, (size_t)b->n * sizeof *b->picks);
    b->list_offset[1] = b->n;
}

static bool has_list(const struct episode *k)
{
    return !k->plan && k->is_deployed && !k->is_drawn && !k->is_greedy && !k->has_repeats &&
           policy_learner(k->policy)->weights;
}

bool episode_has_quotas(const struct episode *k)
{
    return n_classes(k) > 1 && !has_list(k);
}

static bool picks_best(const struct episode *k)
{
    return is_within(k) || (!k->plan && !k->is_deployed && policy_picks_best(k->policy));
}

/* Step t of the list that is deployed, class by class. */
static void take_listed(const struct episode *k, int64_t t, struct batch *b)
{
    const int64_t *rows = b->listed + (t - 1) * k->batch;
    int64_t C = n_classes(k);
    b->n = 0;
    for (int64_t c = 0; c < C; c++) {
        b->list_offset[c] = b->n;
        for (int64_t i = 0; i < k->batch; i++)
            if (k->features->class_of[rows[i]] == c)
                b->picks[b->n++] = rows[i];
    }
    b->list_offset[C] = b->n;
}

static int make_list(const struct episode *k, const struct policy_stage *s, struct batch *b,
                     struct err *e)
{
    int64_t n = k->n_steps * k->batch;
    b->listed = mem_alloc((size_t)n, sizeof *b->listed);
    int rc = policy_score(k->policy, k->features, s, selector_counts(b->selector), true,
                          k->seed, b->scores, e);
    return rc ? rc : select_best(b->scores, k->features->n, n, k->seed, b->listed, e);
}

static int choose(const struct episode *k, const struct traj *h, int64_t t, struct batch *b,
                  struct err *e)
{
    const struct policy_past past = {.n_steps = t - 1,
                                     .offset = h->list_offset,
                                     .pick = h->pick,
                                     .loss = h->pick_loss,
                                     .lr = h->lr,
                                     .grad_norm = h->grad_norm};
    struct policy_stage stage = {.t = t,
                                 .n_steps = k->n_steps,
                                 .perf_start = h->perf[0],
                                 .perf_now = h->perf[t - 1],
                                 .batch = k->batch,
                                 .past = is_within(k) ? &past : NULL};
    struct select_options want = {.batch = k->batch,
                                  .tau = k->tau,
                                  .is_greedy = k->is_greedy || picks_best(k),
                                  .has_repeats = has_repeats(k),
                                  .seed = k->seed,
                                  .step = t};
    if (k->plan) {
        take_planned(k, t, b);
        return 0;
    }
    if (has_list(k)) {
        int rc = t == 1 ? make_list(k, &stage, b, e) : 0;
        if (!rc)
            take_listed(k, t, b);
        return rc;
    }
    int rc = policy_score(k->policy, k->features, &stage, selector_counts(b->selector),
                          k->is_deployed, k->seed, b->scores, e);
    if (rc < 0)
        return rc;
    b->n =
        select_batch(b->selector, b->scores, &want, b->picks, b->list_offset, b->list_logp, e);
    return b->n < 0 ? (int)b->n : 0;
}

static int encode(struct episode *k, struct batch *b, struct err *e)
{
    lm_pack_clear(&b->pack);
    for (int64_t i = 0; i < b->n; i++) {
        struct example x = {0};
        int64_t at = k->record_of[b->picks[i]];
        const struct data_record *r = data_reader_get(b->reader, at, e);
        int rc = r ? example_make(k->tok, k->tmpl, r, k->max_len,
                                  k->is_cut ? EXAMPLE_CUT : EXAMPLE_FAIL, &x, e)
                   : e->code;
        if (rc < 0)
            return dataset_name_record(e, k->pool, at);
        if (!rc || !x.n_response) {
            example_free(&x);
            err_set(e, ERR_EMPTY, "no token of its response is within %" PRId64 " tokens",
                    k->max_len);
            return dataset_name_record(e, k->pool, at);
        }
        rc = lm_config_check_sequence(lm_get_config(k->lm), x.ids, x.n, e);
        if (rc < 0) {
            example_free(&x);
            return dataset_name_record(e, k->pool, at);
        }
        lm_pack_add(&b->pack, x.ids, x.is_loss, x.n);
        k->n_cut += x.is_cut;
        example_free(&x);
    }
    return 0;
}

/* The lines of the batch's records, for an error about all of them. */
static int name_batch(const struct episode *k, const struct batch *b, struct err *e)
{
    struct err why = *e;
    struct buf lines = {0};
    for (int64_t i = 0; i < b->n; i++)
        buf_printf(&lines, "%s%" PRIu32, i ? ", " : "",
                   k->pool->records[k->record_of[b->picks[i]]].line);
    err_set(e, why.code, "%s; the batch: %s lines %s", why.msg, k->pool->name, buf_str(&lines));
    buf_free(&lines);
    return e->code;
}

static void record_choice(const struct episode *k, const struct batch *b, int64_t t,
                          struct traj *h)
{
    int64_t C = h->n_classes, *offset = h->list_offset + (t - 1) * C;
    for (int64_t c = 0; c < C; c++) {
        offset[c] = h->n_picks + b->list_offset[c];
        h->list_logp[(t - 1) * C + c] = b->list_logp[c];
    }
    offset[C] = h->n_picks + b->n;
    for (int64_t i = 0; i < b->n; i++) {
        int64_t at = h->n_picks++, row = b->picks[i];
        h->pick[at] = row;
        h->pick_score[at] =
            b->scores ? b->scores[row] : k->plan->pick_score[k->plan->step_offset[t - 1] + i];
        h->source[at] = k->features->source[row];
        h->record_hash[at] = k->features->hash[row];
    }
}

/* Not an error, but how it went; see episode.h. 1: the episode is over. */
static int diverged(struct episode *k, int64_t t, const struct batch *b, struct traj *h,
                    struct err *e)
{
    traj_end(h, t, e->msg);
    name_batch(k, b, e);
    err_prefix(e, "step %" PRId64, t);
    k->ended = *e;
    *e = (struct err)ERR_INIT;
    return 1;
}

/* What the step's records lost each, for a learner that goes by it. */
static void record_losses(const struct batch *b, const double *nll, bool is_known,
                          struct traj *h)
{
    float *loss = h->pick_loss + h->n_picks - b->n;
    for (int64_t i = 0; i < b->n; i++) {
        int64_t n = 0;
        for (int64_t k = b->pack.offsets[i]; k < b->pack.offsets[i + 1]; k++)
            n += b->pack.is_loss[k] != 0;
        loss[i] = is_known ? (float)(nll[i] / (double)n) : NAN;
    }
}

/* 0; 1: it diverged; < 0. */
static int take_step(struct episode *k, int64_t t, struct batch *b, struct traj *h,
                     struct lm_step_stats *s, struct err *e)
{
    int rc = choose(k, h, t, b, e);
    if (!rc)
        rc = encode(k, b, e);
    if (rc)
        return rc;
    record_choice(k, b, t, h);
    struct lm_batch batch = lm_pack_batch(&b->pack);
    h->lr[t - 1] = k->lr * lm_schedule_factor(k->schedule, t, k->n_warmup, k->n_steps);
    double *nll = h->pick_loss ? mem_alloc((size_t)b->n, sizeof *nll) : NULL;
    rc = lm_step_each(k->lm, &batch, h->lr[t - 1], s, nll, e);
    if (!rc && !isfinite(s->loss))
        rc = err_set(e, ERR_NONFINITE, "the loss is not finite");
    if (nll)
        record_losses(b, nll, !rc, h);
    free(nll);
    if (rc == ERR_NONFINITE)
        return diverged(k, t, b, h, e);
    if (rc)
        return name_batch(k, b, e);
    h->train_loss[t - 1] = s->loss;
    h->grad_norm[t - 1] = s->grad_norm;
    h->n_tokens[t - 1] = s->n_tokens;
    double loss;
    rc = episode_set_loss(k->lm, k->validation, &loss, e);
    if (rc) {
        err_prefix(e, "validation");
        return rc == ERR_NONFINITE ? diverged(k, t, b, h, e) : name_batch(k, b, e);
    }
    h->perf[t] = -loss;
    return 0;
}

/* ---- the episode ---- */

static void tell(const struct episode *k, const struct traj *h, int64_t t, double start)
{
    struct episode_step s = {.t = t,
                             .n_steps = k->n_steps,
                             .val_loss = -h->perf[t],
                             .epoch = (double)h->n_picks / (double)k->features->n,
                             .seconds = text_clock() - start};
    if (t) {
        s.train_loss = h->train_loss[t - 1];
        s.reward = h->perf[t] - h->perf[t - 1];
        s.lr = h->lr[t - 1];
        s.grad_norm = h->grad_norm[t - 1];
        s.n_tokens = h->n_tokens[t - 1];
    }
    if (k->on_step)
        k->on_step(k->arg, &s);
}

static int64_t largest_batch(const struct episode *k)
{
    int64_t most = k->plan ? 1 : k->batch;
    for (int64_t t = 0; k->plan && t < k->n_steps; t++) {
        int64_t n = k->plan->step_offset[t + 1] - k->plan->step_offset[t];
        most = n > most ? n : most;
    }
    return most;
}

static void describe(const struct episode *k, struct traj *t, int64_t largest)
{
    const char *mode = k->plan                        ? "plan"
                       : k->is_greedy || is_within(k) ? "greedy"
                       : has_list(k)                  ? "best"
                       : picks_best(k)                ? "pairs"
                                                      : "sample";
    const char *history = k->plan ? k->plan->history : policy_history(k->policy);
    t->batch = largest;
    t->features = k->features->id;
    t->policy = k->policy ? policy_id(k->policy) : 0;
    t->dataset = k->pool->hash;
    t->validation = k->validation->hash;
    t->encoding = k->validation->encoding;
    t->model = lm_hash(k->lm);
    t->adapter = lm_adapter_hash(k->lm);
    t->tau = k->tau;
    t->has_repeats = has_repeats(k);
    snprintf(t->mode, sizeof t->mode, "%s", mode);
    snprintf(t->status, sizeof t->status, "ok");
    t->history = history ? mem_strdup(history) : NULL;
}

/* ---- checkpoints ---- */

static void on_saved(const struct episode *k, int64_t n_done, bool is_taken_up,
                     const struct err *why)
{
    if (k->saving->on_saved)
        k->saving->on_saved(k->arg, n_done, is_taken_up, why);
}

/* What select_batch did to who was used. Of a step for which fewer than B were left, these were
 * taken first, and do not count as used in the next round, to which the others belong. */
static void replay_choice(struct selector *s, const struct traj *t, int64_t step)
{
    const int64_t *offset = t->list_offset + (step - 1) * t->n_classes;
    int64_t from = offset[0], n = offset[t->n_classes] - from, n_more = 0;
    bool has_clear = !t->has_repeats && selector_n_available(s) < n;
    int64_t *more = mem_alloc((size_t)n, sizeof *more);
    for (int64_t i = from; i < from + n; i++) {
        if (has_clear && selector_is_available(s, t->pick[i]))
            selector_mark(s, t->pick + i, 1);
        else
            more[n_more++] = t->pick[i];
    }
    if (has_clear)
        selector_clear(s);
    selector_mark(s, more, n_more);
    free(more);
}

/* Steps that are done, or 0. */
static int64_t take_up(struct episode *k, struct batch *b, struct traj *t, struct err *e)
{
    struct err why = ERR_INIT;
    struct checkpoint c;
    if (!k->saving || !file_exists(k->saving->path))
        return 0;
    int rc = checkpoint_read(&c, k->saving->path, k->saving->run, &why);
    if (!rc && (c.t.n_steps != k->n_steps || c.t.n_classes != t->n_classes ||
                c.n_values != lm_n_values(k->lm) || !c.t.pick_loss != !t->pick_loss))
        rc = err_set(&why, ERR_MISMATCH, "%s: of another run", k->saving->path);
    if (rc) {
        on_saved(k, 0, true, &why);
        checkpoint_free(&c);
        return 0;
    }
    checkpoint_fill(&c, t);
    k->n_cut = c.n_cut;
    if (has_list(k))
        rc = make_list(
            k, &(struct policy_stage){1, k->n_steps, t->perf[0], t->perf[0], k->batch, NULL}, b,
            e);
    for (int64_t i = 1; !k->plan && !has_list(k) && i <= c.n_done; i++)
        replay_choice(b->selector, t, i);
    if (!rc)
        lm_state_set(k->lm, &c.s);
    int64_t n_done = c.n_done;
    checkpoint_free(&c);
    for (int64_t i = 0; !rc && i <= n_done; i++)
        tell(k, t, i, text_clock());
    on_saved(k, n_done, true, NULL);
    return rc ? rc : n_done;
}

/* An episode is not given up for a checkpoint that cannot be written. */
static void save(struct episode *k, const struct traj *t, int64_t n_done, double *last)
{
    const struct episode_saving *s = k->saving;
    struct err why = ERR_INIT;
    if (!s || n_done == k->n_steps)
        return;
    if (s->every_seconds > 0 ? text_clock() - *last < s->every_seconds
                             : n_done % s->every_steps != 0)
        return;
    int rc = checkpoint_write(s->path, s->run, k->lm, t, n_done, k->n_cut, &why);
    on_saved(k, n_done, false, rc ? &why : NULL);
    *last = text_clock();
}

static int measure_first(struct episode *k, struct traj *t, struct err *e)
{
    double start = text_clock(), loss = k->untrained ? *k->untrained : 0;
    int rc = k->untrained ? 0 : episode_set_loss(k->lm, k->validation, &loss, e);
    if (rc)
        return err_prefix(e, "validation before the first step");
    t->perf[0] = -loss;
    tell(k, t, 0, start);
    return 0;
}

static int run_steps(struct episode *k, struct batch *b, struct traj *t, struct err *e)
{
    double last_save = text_clock();
    int64_t n_done = take_up(k, b, t, e);
    int rc = n_done < 0 ? (int)n_done : n_done ? 0 : measure_first(k, t, e);
    for (int64_t i = n_done + 1; !rc && i <= k->n_steps; i++) {
        struct lm_step_stats s = {0};
        double start = text_clock();
        rc = take_step(k, i, b, t, &s, e);
        if (rc < 0)
            return err_prefix(e, "step %" PRId64, i);
        if (rc)
            return 0;
        tell(k, t, i, start);
        save(k, t, i, &last_save);
    }
    return rc;
}

int episode_run(struct episode *k, struct traj *t, struct err *e)
{
    struct err local = ERR_INIT;
    e = e ? e : &local;
    k->ended = (struct err)ERR_INIT;
    struct batch b;
    int64_t largest = largest_batch(k);
    int64_t n_picks = k->plan ? k->plan->step_offset[k->n_steps] : k->n_steps * largest;
    traj_init(t, k->n_steps, n_classes(k), n_picks);
    if (is_within(k))
        t->pick_loss = mem_zalloc((size_t)n_picks, sizeof *t->pick_loss);
    describe(k, t, largest);
    batch_init(&b, k, largest);
    int rc = run_steps(k, &b, t, e);
    batch_free(&b);
    return rc;
}
