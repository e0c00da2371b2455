/* SPDX-License-Identifier: MIT
 *
 * eval: what can be measured of a model, a row a task.
 *
 * A task is a function that reads its files, encodes them, asks for the model once it knows how
 * much work there is, and fills a result (result.h):
 *
 *     int eval_loss(struct eval *v, struct err *e)
 *     {
 *         ... read v->o.files, encode by v->o.tok ...
 *         struct lm *m = eval_open(v, &(struct eval_work){.longest = 120, .n_tokens = 9000},
 * e); if (!m) return e->code;
 *         ... struct eval_row *row = eval_result_add(&v->result, ...); row->value[0] = nll ...
 *     }
 *
 * Another task is a file with such a function and its schema, both declared here, and a row of
 * eval_tasks in eval.c.
 */
#ifndef RAISE_EVAL_EVAL_H
#define RAISE_EVAL_EVAL_H

#include "data/dataset.h"
#include "eval/question.h"
#include "eval/result.h"
#include "lm/lm.h"
#include "text/example.h"

/* What a task is told. All borrowed. */
struct eval_options {
    const char *const *files; /* benchmark files */
    int n_files;
    const struct tok *tok;
    const struct tmpl *tmpl;
    bool is_raw;     /* the template is "none": a prompt is encoded as it is */
    int64_t max_len; /* of a sequence, in tokens */
    enum example_overlong overlong;
    struct data_options reading; /* limit, sample and seed are of each file */
    bool is_logged;              /* samples are wanted */
    int64_t n_shots;             /* answered questions before each */
    const char *shots;           /* where they are from: a file or a folder; NULL: no shots */
    enum question_by by;
    const struct question_style *style; /* NULL: each layout's own */
    bool are_shots_sampled; /* drawn from their file by reading.seed; false: the first */
    int64_t max_new;        /* most tokens of an answer that the model writes */
    int64_t n_slots;        /* answers written at once; 0: what suits the device */
};

/* What a task is about to do, for the plan of memory and the bar, which follows what the model
 * tells (lm_on_work). */
struct eval_work {
    int64_t longest;  /* tokens of the longest sequence */
    int64_t n_tokens; /* that the model will go forward through */
    int64_t bytes;    /* of the host's memory, beside the model */
    int64_t n_slots;  /* sequences whose keys and values are kept, as lm_options has it */
};

struct eval {
    struct eval_options o;
    /* The model, opened once and owned by the caller; NULL on failure. */
    struct lm *(*open)(void *arg, const struct eval_work *w, struct err *e);
    /* Records that the template renders have been read; may be NULL. */
    void (*on_records)(void *arg, const struct dataset *d);
    void *arg;
    struct eval_result result;
    struct buf samples; /* JSON lines, one a row, with is_logged */
};

static inline struct lm *eval_open(struct eval *v, const struct eval_work *w, struct err *e)
{
    return v->open(v->arg, w, e);
}

/* Options that a task takes beside those of all. */
enum { EVAL_TEMPLATE = 1, EVAL_SHOTS = 2, EVAL_BY = 4, EVAL_WRITES = 8 };

struct eval_task {
    const char *name;
    unsigned takes;
    int (*run)(struct eval *v, struct err *e);
    const struct eval_schema *schema;
    const char *template; /* where the user names none */
};
extern const struct eval_task eval_tasks[];               /* up to one without a name */
const struct eval_task *eval_task_find(const char *name); /* NULL: no such */
const struct eval_schema *eval_schema_of(const char *task);

/* ---- the tasks ---- */

/* loss.c: the NLL of each record's response, in nats, under the template. Metrics: loss, the
 * mean over all tokens of responses, as raise-rollout has it; record_loss, the mean over
 * records of each one's mean. */
int eval_loss(struct eval *v, struct err *e) RAISE_MUST_CHECK;
extern const struct eval_schema eval_loss_schema;

/* choice.c: multiple choice (question.h) by the log-likelihood of each choice after the
 * question. Metrics: acc, the most likely one is right; acc_norm and acc_bytes, the most likely
 * by character or by byte is (of one letter each is the same); choice_nll, -log of the right
 * one's share of all choices' likelihood. Of equals the first counts. */
int eval_choice(struct eval *v, struct err *e) RAISE_MUST_CHECK;
extern const struct eval_schema eval_choice_schema;

/* gsm8k.c: problems whose answer ends with "#### NUMBER" (GSM8K), continued greedily up to
 * max_new tokens, a stop string or the end token. Metrics: strict_match and flexible_extract,
 * the number found in the one or the other way is right (answer.h); unfinished, the length
 * ended it. */
int eval_gsm8k(struct eval *v, struct err *e) RAISE_MUST_CHECK;
extern const struct eval_schema eval_gsm8k_schema;

#endif
