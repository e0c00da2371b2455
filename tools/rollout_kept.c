/* SPDX-License-Identifier: MIT
 * rollout: what is kept for other runs, and by what they know that it is theirs; see rollout.h.
 */
#include "base/text.h"
#include "base/version.h"
#include "rollout.h"

#include <inttypes.h>

#include <xxhash.h>

/* ---- losses before the first step ---- */

/* All that such a loss depends on, but for the records. New adapters change nothing, so that
 * the seed is not among it. */
static void put_way(const struct rollout *r, struct buf *b)
{
    const struct rollout_options *o = r->o;
    buf_printf(b, "%s %s %d %d\n", RAISE_VERSION, lm_arith_path(r->s.lm), o->is_full,
               o->has_recompute);
    buf_printf(b, "%016" PRIx64 " %016" PRIx64 "\n", lm_hash(r->s.lm),
               lm_adapter_hash(r->s.lm));
    buf_printf(b, "%" PRId64 " %.17g %u %" PRId64 "\n", o->lora_rank, o->lora_alpha, o->targets,
               lm_micro_tokens(r->s.lm));
}

uint64_t rollout_untrained_key(const struct rollout *r, const struct episode_set *s)
{
    struct buf b = {0};
    put_way(r, &b);
    buf_printf(&b, "%016" PRIx64 " %016" PRIx64 "\n", s->hash, s->encoding);
    uint64_t key = XXH64(b.data, b.len, 0);
    buf_free(&b);
    return key;
}

/* The file is of use to others only: an episode is not given up for it. */
void rollout_keep_untrained(const struct rollout *r, uint64_t key, double loss)
{
    struct err why = ERR_INIT;
    if (!r->o->untrained || untrained_find(&r->untrained, key))
        return;
    if (untrained_add(r->o->untrained, key, loss, &why) < 0)
        log_warn("%s; the next episode measures it again", why.msg);
}

/* ---- checkpoints ---- */

static void on_saved(void *arg, int64_t n_done, bool is_taken_up, const struct err *why)
{
    struct rollout *r = arg;
    const char *path = r->checkpoint;
    if (why && is_taken_up)
        log_warn("%s; the episode begins anew", why->msg);
    else if (why)
        log_warn("%s; the episode goes on without it", why->msg);
    else if (is_taken_up)
        log_note("%s: goes on after step %" PRId64, path, n_done);
    if (!why)
        log_when_killed("%s has %" PRId64 " steps; the same command goes on from there", path,
                        n_done);
}

/* All that changes what a step does: what is in the file is of no other run. */
static uint64_t identify(const struct rollout *r)
{
    const struct rollout_options *o = r->o;
    const struct episode_inputs *in = &r->in;
    const struct episode *k = &r->episode;
    struct buf b = {0};
    buf_printf(&b, "%s %s %s\n", RAISE_VERSION, lm_arith_path(r->s.lm), tmpl_name(r->s.tmpl));
    buf_printf(&b, "%d %d %" PRIu64 "\n", o->session.overlong, o->records.on_error, k->seed);
    const uint64_t hashes[] = {lm_hash(r->s.lm),
                               lm_adapter_hash(r->s.lm),
                               in->features.id,
                               in->policy ? policy_id(in->policy) : 0,
                               o->plan ? in->plan.id : 0,
                               in->pool.hash,
                               in->validation.hash,
                               in->validation.encoding,
                               o->common.seed};
    for (size_t i = 0; i < sizeof hashes / sizeof *hashes; i++)
        buf_printf(&b, "%016" PRIx64 "\n", hashes[i]);
    const int64_t whole[] = {r->s.max_len,     k->n_steps,
                             k->n_warmup,      o->batch,
                             o->lora_rank,     o->targets,
                             o->is_greedy,     o->is_deployed,
                             o->is_drawn,      o->is_full,
                             o->schedule,      o->has_repeats,
                             o->has_recompute, lm_micro_tokens(r->s.lm)};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        buf_printf(&b, "%" PRId64 "\n", whole[i]);
    const double real[] = {o->tau, o->lr, o->lora_alpha, o->weight_decay, o->clip};
    for (size_t i = 0; i < sizeof real / sizeof *real; i++)
        buf_printf(&b, "%.17g\n", real[i]);
    uint64_t hash = XXH64(b.data, b.len, 0);
    buf_free(&b);
    return hash;
}

void rollout_keep_checkpoints(struct rollout *r)
{
    const struct rollout_options *o = r->o;
    if (!r->checkpoint)
        return;
    r->saving = (struct episode_saving){.path = r->checkpoint,
                                        .run = identify(r),
                                        .every_steps = o->every_steps,
                                        .every_seconds = o->every_seconds,
                                        .on_saved = on_saved};
    r->episode.saving = &r->saving;
}
