/* SPDX-License-Identifier: MIT
 *
 * lm: a language model that can be scored and fine-tuned.
 *
 *     struct lm_options o = LM_OPTIONS_DEFAULTS;
 *     struct lm *m = lm_open("SmolLM2.gguf", &o, &e);
 *     lm_step(m, &batch, lr, &stats, &e);      // one AdamW step on packed sequences
 *     lm_nll(m, &val, nll, count, &e);         // summed response NLL of each sequence
 *     lm_reset(m, seed, &e);                   // back to M_0
 *
 * Batches are padding-free: sequences end to end, attention never crosses a border. A batch
 * with more tokens than the plan's micro-batch is worked off in pieces, gradients summed and
 * weighted by tokens, so that the result is that of the whole batch. Loss counts tokens with
 * is_loss; a batch without any is ERR_EMPTY. Not thread-safe; it uses threads inside.
 */
#ifndef RAISE_LM_LM_H
#define RAISE_LM_LM_H

#include "lm/backend.h"
#include "lm/config.h"

enum lm_precision { LM_PRECISION_AUTO, LM_PRECISION_FP32, LM_PRECISION_BF16 };
enum lm_tuning { LM_TUNE_NONE, LM_TUNE_LORA, LM_TUNE_FULL };
enum lm_projection {
    LM_Q = 1,
    LM_K = 2,
    LM_V = 4,
    LM_O = 8,
    LM_GATE = 16,
    LM_UP = 32,
    LM_DOWN = 64,
    LM_ALL_PROJECTIONS = 127
};

/* By the bits of enum lm_projection: "q_proj" and so on. */
enum { LM_N_PROJECTIONS = 7 };
extern const char *const lm_projection_names[LM_N_PROJECTIONS];
/* "q,v", "q_proj,v_proj" or "all" to enum lm_projection, or-ed. ERR_RANGE names what is none.
 */
int lm_projections_parse(const char *s, unsigned *targets, struct err *e) RAISE_MUST_CHECK;

struct lm_options {
    enum lm_precision precision;
    const char *device; /* "cpu" (NULL), "cuda[:N]", "auto" (cuda, else cpu) or "ref" */
    bool recompute;     /* keeps one row a token and layer, computes the layer again backward */
    enum lm_tuning tuning;
    int64_t lora_rank;
    double lora_alpha;
    unsigned lora_targets; /* enum lm_projection, or-ed */
    uint64_t seed;         /* of A's initial values */
    int64_t micro_tokens;  /* most tokens worked on at once; 0: 16384 on a GPU, on a CPU 4096
                            * to train and 1024 to score */
    int64_t longest;       /* the longest sequence to come: micro_tokens is never less, and no
                            * longer than the model's window (lm_config_check_length); 0: unknown */
    int64_t n_slots;       /* sequences of `longest` tokens that lm_generate shall work on at
                            * once (generate.h): the plan counts their cache; -n: what suits
                            * the device, 32 on a CPU and 256 on a GPU, at most n; 0: it is not
                            * called, or takes what suits */
    bool is_saved;         /* lm_save_model will be called: the plan counts its copy */
    bool is_widened;       /* frozen matrices are kept as float, whatever their file has: for
                            * comparisons */
    bool is_apart;         /* what sequences begin with alike is worked on for each of them, and
                            * not once: for comparisons */
    double beta1, beta2, eps, weight_decay;
    double clip; /* global gradient norm; 0: off */
};
#define LM_OPTIONS_DEFAULTS                                                                    \
    {                                                                                          \
        .lora_rank = 16, .lora_alpha = 32, .lora_targets = LM_ALL_PROJECTIONS, .seed = 42,     \
        .micro_tokens = 4096, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0,    \
        .clip = 1                                                                              \
    }

struct lm; /* owned; lm_close */

/* Bytes that a model will take, before it is loaded, in the memory of its device. On a GPU the
 * micro-batch is halved until it fits, or down to the longest sequence: see micro_tokens. */
struct lm_memory {
    int64_t weights, adapter, optimizer, gradients, activations, logits, workspace;
    int64_t attention; /* scratch of the CPU's attention, for the longest sequence */
    int64_t widening;  /* what more of it the products with frozen weights take that are kept as
                        * their file has them */
    int64_t saving;    /* the copy that lm_save_model writes, with is_saved; activations are
                        * gone by then */
    int64_t cache;     /* of keys and values, of n_slots sequences */
    int64_t n_slots;   /* what fits of the options' */
    int64_t total;
    int64_t host;          /* beside the device's, on a GPU */
    int64_t available;     /* free on the device; 0: unknown */
    int64_t asked_tokens;  /* the options' micro_tokens, or what suits the device */
    int64_t wanted_tokens; /* that, or the longest sequence */
    int64_t micro_tokens;  /* what fits */
    bool is_gpu;
    char arith[128];       /* as lm_arith_path */
    char device_note[256]; /* why "auto" took the CPU; empty: nothing to say */
    bool is_warning;       /* the note: there is a plugin, but not this program's */
};
int lm_plan(const char *path, const struct lm_options *o, struct lm_memory *plan,
            struct err *e) RAISE_MUST_CHECK;
/* One line about a plan: "weights 513.0 MiB, activations 96.0 MiB". Owned by the caller. */
char *lm_memory_text(const struct lm_memory *p);

/* `path`: a Hugging Face folder or a GGUF file (stream/model_path.h). */
struct lm *lm_open(const char *path, const struct lm_options *o,
                   struct err *e) RAISE_MUST_CHECK;
void lm_close(struct lm *m); /* NULL-safe */
const struct lm_config *lm_get_config(const struct lm *m);
/* Identity of the weights as loaded (content, not path). */
uint64_t lm_hash(const struct lm *m);
/* "cpu-avx512-fp32-SkylakeX": for provenance. Borrowed. */
const char *lm_arith_path(const struct lm *m);
int64_t lm_n_trainable(const struct lm *m);
/* Most tokens worked on at once: less than was asked for after memory ran out. */
int64_t lm_micro_tokens(const struct lm *m);

/* For a bar: on_work is told after each piece of work how many tokens it went forward through.
 * A token of a step or gradient counts lm_step_passes times, as what goes backward costs. */
void lm_on_work(struct lm *m, void (*on_work)(void *arg, double n_tokens), void *arg);
double lm_step_passes(const struct lm *m);

struct lm_batch {
    const int32_t *ids;     /* [n_tokens] */
    const uint8_t *is_loss; /* [n_tokens]; 1: this token is a target, never a sequence's
                             * first (ERR_RANGE); NULL: none is */
    const int64_t *offsets; /* [n_seqs + 1], from 0; a sequence may be empty, and none longer
                             * than the model's context (ERR_RANGE) */
    int64_t n_seqs;
    int64_t n_tokens;
};

/* Forward only. nll[n_seqs]: sum of -log p over a sequence's targets, in nats; count[n_seqs]:
 * how many targets (0 gives nll 0). Work proceeds by micro-batches. */
int lm_nll(struct lm *m, const struct lm_batch *b, double *nll, int64_t *count,
           struct err *e) RAISE_MUST_CHECK;

/* What may follow each sequence: candidates of sequence s are ids[offsets[s]] to
 * ids[offsets[s + 1] - 1], each one token. */
struct lm_next {
    const int32_t *ids;
    const int64_t *offsets; /* [n_seqs + 1], from 0 */
};
/* nll [offsets[n_seqs]]: -log p of each candidate as the next token of its sequence, in nats.
 * The sequence is worked off once for all of them. is_loss is not read. ERR_RANGE: a candidate
 * is no token of the model, or follows an empty sequence. */
int lm_next_nll(struct lm *m, const struct lm_batch *b, const struct lm_next *next, double *nll,
                struct err *e) RAISE_MUST_CHECK;

/* Sequences that begin alike: those of group i are first[i] to first[i + 1] - 1, and their
 * first n_shared[i] >= 1 tokens are the same. At least one token of each comes after, before
 * its first target. */
struct lm_groups {
    const int64_t *first;    /* [n + 1], from 0 to the batch's n_seqs */
    const int64_t *n_shared; /* [n] */
    int64_t n;
};
/* As lm_nll, or with `next` as lm_next_nll, but what a group shares is worked off once, and its
 * keys and values are kept: in room for options.n_slots [8] of the longest sequences, or fewer
 * where there is no more memory. The same to rounding. count may be NULL. ERR_RANGE: groups
 * that are none. */
int lm_shared_nll(struct lm *m, const struct lm_batch *b, const struct lm_groups *g,
                  const struct lm_next *next, double *nll, int64_t *count,
                  struct err *e) RAISE_MUST_CHECK;

/* As lm_nll, and pooled [n_pooled, D]: of the first n_pooled sequences the mean over their
 * tokens of the last hidden state after the final norm. nll and count may be NULL. */
int lm_embed(struct lm *m, const struct lm_batch *b, int64_t n_pooled, float *pooled,
             double *nll, int64_t *count, struct err *e) RAISE_MUST_CHECK;

/* Mean NLL over all targets of the batch, in nats a token: what validation and test losses are.
 * Summed sequence by sequence in double. ERR_EMPTY without targets. ERR_NONFINITE: *bad (may be
 * NULL) is the sequence at fault. */
int lm_mean_nll(struct lm *m, const struct lm_batch *b, double *mean, int64_t *bad,
                struct err *e) RAISE_MUST_CHECK;

struct lm_step_stats {
    double loss;      /* mean NLL of the batch's targets, before the step */
    double grad_norm; /* global, before clipping */
    int64_t n_tokens, n_targets;
};
/* One optimiser step with learning rate lr. ERR_NONFINITE leaves the parameters unchanged. */
int lm_step(struct lm *m, const struct lm_batch *b, double lr, struct lm_step_stats *s,
            struct err *e) RAISE_MUST_CHECK;
/* The same, and nll [n_seqs] (written; NULL: not asked): the sum over each sequence's targets,
 * before the step, out of the pass that the gradient needs anyway. */
int lm_step_each(struct lm *m, const struct lm_batch *b, double lr, struct lm_step_stats *s,
                 double *nll, struct err *e) RAISE_MUST_CHECK;

/* Back to M_0: adapters re-drawn from `seed` (B = 0), full weights read again from the file
 * (ERR_MISMATCH: it is another by now), optimiser zeroed. */
int lm_reset(struct lm *m, uint64_t seed, struct err *e) RAISE_MUST_CHECK;

/* Logits of every token, [n_tokens, V]: for tests and small inputs. */
int lm_logits(struct lm *m, const struct lm_batch *b, float *logits,
              struct err *e) RAISE_MUST_CHECK;

/* Trainable parameters by their published names
 * ("model.layers.0.self_attn.q_proj.lora_A.weight", "model.embed_tokens.weight"), for tests,
 * saving and loading. Host copies, float. */
struct lm_param {
    const char *name;
    int n_dims;
    int64_t shape[2];
};
int64_t lm_n_params(const struct lm *m);
const struct lm_param *lm_param_at(const struct lm *m, int64_t i);
void lm_param_get(struct lm *m, int64_t i, float *dst);
void lm_param_set(struct lm *m, int64_t i, const float *src);
/* Gradient of the batch's mean loss, as lm_step would use it (no clipping, no update). */
int lm_gradient(struct lm *m, const struct lm_batch *b, struct lm_step_stats *s,
                struct err *e) RAISE_MUST_CHECK;
void lm_param_grad(struct lm *m, int64_t i, float *dst);

/* ---- training's state, and gradients beside a direction ---- */

/* What lm_step changes: trainable values, AdamW's moments and the number of steps; host copies
 * in the order of one block, lm_n_values floats each. Start from zeros: get allocates. */
struct lm_state {
    float *values, *moment1, *moment2; /* owned; lm_state_free */
    int64_t n_steps;
};
int64_t lm_n_values(const struct lm *m); /* 0: opened without tuning */
void lm_state_get(struct lm *m, struct lm_state *s);
void lm_state_set(struct lm *m, const struct lm_state *s); /* of the same model and options */
void lm_state_free(struct lm_state *s);
/* The gradient that lm_gradient left, dst [lm_n_values]. */
void lm_gradient_get(struct lm *m, float *dst);
/* The same gradient as AdamW would apply it in the next step after the state s, which the model
 * is in: x = m' / (sqrt(v') + eps), moments with the gradient in them, corrected for their
 * start, neither clipped nor decayed. dot: sum of x direction [lm_n_values]; norm: of x. The
 * same for any number of threads. ERR_NONFINITE without a word. */
int lm_adam_along(struct lm *m, const struct lm_state *s, const float *direction, double *dot,
                  double *norm) RAISE_MUST_CHECK;

/* PEFT layout: adapter_model.safetensors and adapter_config.json in `dir` (created). */
int lm_save_adapter(struct lm *m, const char *dir, const char *base_name,
                    struct err *e) RAISE_MUST_CHECK;
/* A model opened without tuning takes rank, alpha and projections from the file; one opened for
 * LoRA must have the same (ERR_MISMATCH), and lm_reset draws a new one over it. What changes
 * the arithmetic and is not plain LoRA (DoRA, patterns, saved modules) is ERR_UNSUPPORTED;
 * rsLoRA is read as the plain LoRA that it equals. A projection that the file adapts in some
 * layers only is left as it is in the others, by training, too. */
int lm_load_adapter(struct lm *m, const char *dir, struct err *e) RAISE_MUST_CHECK;
/* Identity of an adapter by content, not path: rank, alpha (rsLoRA as what it equals) and each
 * tensor's name, shape and values as float; never 0. Errors as of lm_load_adapter. */
int lm_adapter_identify(const char *dir, uint64_t *hash, struct err *e) RAISE_MUST_CHECK;
/* The same of the adapter that lm_load_adapter put on the model, trained since or not; 0: none,
 * or lm_reset drew a new one. */
uint64_t lm_adapter_hash(const struct lm *m);
/* Two states of an adapter over the same frozen weights, as before and after some steps: fork
 * keeps a copy of the present one aside (replacing an earlier one), swap exchanges the two, at
 * no cost; without a fork it does nothing. Training, loading and saving are about the present
 * one; the optimiser's state is not forked. ERR_RANGE: the model has no adapter. */
int lm_adapter_fork(struct lm *m, struct err *e) RAISE_MUST_CHECK;
void lm_adapter_swap(struct lm *m);
/* Hugging Face layout: config.json and model.safetensors (adapters merged). `like`: the model
 * that it came from, whose tokenizer files are copied; a GGUF has none to copy. */
int lm_save_model(struct lm *m, const char *dir, const char *like,
                  struct err *e) RAISE_MUST_CHECK;

/* Learning-rate schedules: factor in [0, 1] for step t of n_steps, both from 1. Warm-up is
 * linear over n_warmup steps, t / n_warmup; then constant, or linear or cosine from 1 at the
 * first step after it towards 0, which step n_steps + 1 would have (as transformers counts). */
enum lm_schedule { LM_CONSTANT, LM_LINEAR, LM_COSINE };
double lm_schedule_factor(enum lm_schedule s, int64_t t, int64_t n_warmup, int64_t n_steps);

#endif
