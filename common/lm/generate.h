/* SPDX-License-Identifier: MIT
 *
 * generate: greedy generation, many prompts at once, with a cache of keys and values.
 *
 *     struct lm_options lo = LM_OPTIONS_DEFAULTS;
 *     lo.longest = 900 + 256;                        // longest prompt and what it may grow by
 *     lo.n_slots = 32;                               // the plan counts their cache
 *     struct lm *m = lm_open("SmolLM2.gguf", &lo, &e);
 *     struct lm_generate_options o = {.max_new = 256, .stop_ids = &eos, .n_stop_ids = 1};
 *     struct lm_generated *g = mem_zalloc(n, sizeof *g);
 *     lm_generate(m, &prompts, &o, g, &e);           // g[i].ids [g[i].n]
 *     lm_generated_free(g, n);                       // g itself is the caller's
 *
 * Each next token is the one with the greatest logit, of equal ones the first. Prompts are
 * packed end to end as lm_nll packs sequences, and their keys and values kept; a step then
 * computes one row for each sequence that is not over. A sequence has a slot, `longest` rows of
 * every layer's cache; when it ends, the next prompt takes the slot. So sequences end
 * independently, and no padding is computed.
 *
 * Memory: a slot takes 2 L longest G K values, 4 bytes each in fp32, 2 in bf16. lm_plan counts
 * options.n_slots of them (fewer where they do not fit: it halves), and lm_generate takes what
 * lm_plan would, or half as often as memory is refused. The cache lives as long as the call. So
 * does, in fp32, a copy as float of frozen matrices that are kept as their file has them, if
 * lm_plan and what is free then have room for it: a step of few rows would spend its time on
 * widening them.
 *
 * In fp32 the tokens depend on the prompt and on n_shared alone: not on the number of threads,
 * nor on what is generated beside it, its place or the number of slots (lm_dev's is_rowwise).
 * In bf16 and on a GPU they depend on the batch where two logits are within rounding. They are
 * those of the scoring forward pass over the grown sequence, unless two logits are as near as
 * its own rounding.
 *
 * lm_on_work is told of each token that goes forward: prompts', and all that are made but the
 * last of each. Adapters, forked or not, take part as in lm_nll. Not thread-safe; threads are
 * used inside.
 */
#ifndef RAISE_LM_GENERATE_H
#define RAISE_LM_GENERATE_H

#include "lm/lm.h"
#include "text/tok.h"

enum lm_end {
    LM_END_LENGTH, /* max_new tokens were made */
    LM_END_TOKEN,  /* the last one is of stop_ids */
    LM_END_CALLER  /* is_over said so */
};

struct lm_generate_options {
    int64_t max_new;         /* most tokens for a prompt, at least 1 */
    const int32_t *stop_ids; /* [n_stop_ids], borrowed; a sequence ends with any of them */
    int64_t n_stop_ids;
    int64_t n_shared; /* the first tokens that all prompts have in common, fewer than any has:
                       * computed once and copied, as a k-shot prompt's examples. 0: none */
    /* Called after each token, with all that was made for prompt `seq` of the batch so far;
     * true ends the sequence. NULL: never. By one thread. */
    bool (*is_over)(void *arg, int64_t seq, const int32_t *ids, int64_t n);
    void *arg;
};

struct lm_generated {
    int32_t *ids; /* [n], owned; with the stop token that ended it */
    int64_t n;
    enum lm_end end;
};

/* Continues each prompt of the batch (its is_loss is not looked at); out [n_seqs] is written,
 * owned by the caller: lm_generated_free, also after an error. ERR_EMPTY: an empty prompt.
 * ERR_RANGE: max_new, n_shared, ids, or a prompt that with max_new tokens is longer than the
 * model's context; ERR_UNSUPPORTED: than its window (lm_config_check_length). ERR_MEMORY: not
 * even one slot fits. ERR_NONFINITE: a logit is NaN. The message names the prompt. */
int lm_generate(struct lm *m, const struct lm_batch *prompts,
                const struct lm_generate_options *o, struct lm_generated *out,
                struct err *e) RAISE_MUST_CHECK;
void lm_generated_free(struct lm_generated *g, int64_t n); /* leaves n empty ones */

/* ---- stop strings ---- */

/* Texts that end a sequence, for is_over's use. Borrowed. */
struct lm_stops {
    const struct tok *tok;
    const char *const *texts; /* [n]; an empty one never stops */
    int64_t n;
};
/* Appends the text of ids, without special tokens, up to the first stop string, to *out (NULL:
 * not wanted). True: there was one. Texts are cut one after the other in their order, as
 * lm-evaluation-harness does; the first one that occurs decides only what is kept. Ids without
 * a token (a padded vocabulary has such) end the text before them. */
bool lm_stops_cut(const struct lm_stops *s, const int32_t *ids, int64_t n, struct buf *out);

#endif
