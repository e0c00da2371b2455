/* SPDX-License-Identifier: MIT
 * gsm8k: worked problems continued by the model; see eval.h and answer.h.
 *
 * The prompt is that of lm-evaluation-harness: k worked problems, then the question,
 *
 *     Question: ...\nAnswer: ...\n\nQuestion: ...\nAnswer:
 *
 * under a template all of it is the user's turn. The tokens that the shots give every prompt
 * are computed once (lm_generate_options.n_shared). */
#include "base/text.h"
#include "eval/answer.h"
#include "eval/eval.h"
#include "lm/batch.h"
#include "lm/generate.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { STRICT, FLEXIBLE, IS_CUT, PROMPT_TOKENS, NEW_TOKENS };

const struct eval_schema eval_gsm8k_schema = {
    .columns = {[STRICT] = {"strict_match", true},
                [FLEXIBLE] = {"flexible_extract", true},
                [IS_CUT] = {"unfinished", true},
                [PROMPT_TOKENS] = {"prompt_tokens", true},
                [NEW_TOKENS] = {"new_tokens", true}},
    .metrics = {{"strict_match", STRICT, -1},
                {"flexible_extract", FLEXIBLE, -1},
                {"unfinished", IS_CUT, -1}},
};

static const char *const stops[] = {"Question:", "</s>", "<|im_end|>"};
enum { N_STOPS = sizeof stops / sizeof *stops };

struct problem {
    const struct dataset *d;
    int64_t i;                       /* of d->records */
    char *question, *answer, *asked; /* owned; asked: the prompt as the template renders it */
    int32_t *ids;                    /* owned: [n], of the prompt */
    int64_t n;
    uint64_t hash;
    bool fits;
};

struct job {
    struct eval *v;
    struct dataset *files, shots_file;
    struct buf shots; /* text before each question */
    struct problem *problems;
    int64_t n_problems, n_fit;
    size_t problems_cap;
    struct lm_pack pack; /* of those that fit */
    struct lm_generated *made;
    int64_t n_shared;
};

/* ---- inputs ---- */

static const struct data_turn *question_of(const struct data_record *r)
{
    for (int i = r->n_turns - 1; i >= 0; i--)
        if (r->turns[i].role == DATA_USER)
            return &r->turns[i];
    return NULL;
}

static const struct data_turn *answer_of(const struct data_record *r)
{
    return &r->turns[r->n_turns - 1];
}

/* A question, and an answer that ends in "#### NUMBER". */
static const char *fault_of(const struct data_record *r)
{
    const struct data_turn *a = answer_of(r);
    if (!question_of(r))
        return "no question";
    if (a->role != DATA_ASSISTANT ||
        !answer_is(answer_strict(a->text, a->len), a->text, a->len))
        return "its answer does not end with \"#### NUMBER\"";
    return NULL;
}

static int put_shot(struct job *j, const struct data_record *r, struct err *e)
{
    const char *fault = fault_of(r);
    if (fault)
        return err_set(e, ERR_FORMAT, "%s", fault);
    buf_printf(&j->shots, "Question: %s\nAnswer: %s\n\n", question_of(r)->text,
               answer_of(r)->text);
    return 0;
}

static int read_shots(struct job *j, struct err *e)
{
    const struct eval_options *o = &j->v->o;
    struct dataset *d = &j->shots_file;
    struct data_options which = {
        .limit = o->n_shots, .is_sampled = o->are_shots_sampled, .seed = o->reading.seed};
    int rc = o->n_shots ? dataset_read(d, o->shots, &which, e) : 0;
    if (rc < 0 || !o->n_shots)
        return rc;
    struct data_reader *reader = data_reader_new(d);
    for (int64_t i = 0; rc == 0 && i < d->n_records; i++) {
        const struct data_record *r = data_reader_get(reader, i, e);
        rc = r ? put_shot(j, r, e) : e->code;
        if (rc < 0)
            rc = dataset_name_record(e, d, i);
    }
    data_reader_free(reader);
    if (rc == 0 && d->n_records < o->n_shots)
        rc = err_set(e, ERR_EMPTY, "%s: %" PRId64 " problems, fewer than %" PRId64 " shots",
                     d->name, d->n_records, o->n_shots);
    return rc;
}

/* A problem among its own shots would only be copied. */
static int check_apart(const struct job *j, const struct data_record *r, struct err *e)
{
    const struct dataset *d = &j->shots_file;
    for (int64_t i = 0; i < d->n_records; i++)
        if (d->records[i].hash == r->hash) {
            char *place = dataset_place(d, i);
            err_set(e, ERR_MISMATCH, "is also a shot: %s", place);
            free(place);
            return e->code;
        }
    return 0;
}

static int add_record(struct job *j, const struct dataset *d, int64_t i,
                      const struct data_record *r, struct err *e)
{
    const char *fault = fault_of(r);
    if (fault && j->v->o.reading.on_error == DATA_SKIP) {
        eval_result_miss(&j->v->result, d->name, r->source, r->line, "%s", fault);
        return 0;
    }
    if (fault)
        return err_set(e, ERR_FORMAT, "%s", fault);
    if (check_apart(j, r, e) < 0)
        return e->code;
    MEM_GROW(j->problems, j->problems_cap, j->n_problems + 1);
    j->problems[j->n_problems++] =
        (struct problem){.d = d,
                         .i = i,
                         .question = mem_strdup(question_of(r)->text),
                         .answer = mem_strdup(answer_of(r)->text)};
    return 0;
}

static int read_file(struct job *j, struct dataset *d, const char *path, struct err *e)
{
    int rc = dataset_read(d, path, &j->v->o.reading, e);
    if (rc < 0)
        return rc;
    for (int64_t k = 0; k < d->n_problems; k++)
        eval_result_miss(&j->v->result, d->name, d->problems[k].source, d->problems[k].line,
                         "%s", data_problem_text(&d->problems[k]));
    struct data_reader *reader = data_reader_new(d);
    for (int64_t i = 0; rc == 0 && i < d->n_records; i++) {
        const struct data_record *r = data_reader_get(reader, i, e);
        rc = r ? add_record(j, d, i, r, e) : e->code;
        if (rc < 0)
            rc = dataset_name_record(e, d, i);
    }
    data_reader_free(reader);
    return rc;
}

static int read_files(struct job *j, struct err *e)
{
    const struct eval_options *o = &j->v->o;
    int rc = read_shots(j, e);
    j->files = mem_zalloc((size_t)o->n_files, sizeof *j->files);
    for (int i = 0; rc == 0 && i < o->n_files; i++)
        rc = read_file(j, &j->files[i], o->files[i], e);
    return rc;
}

/* ---- as token ids ---- */

/* What is asked, as a record whose response is a placeholder. */
struct asking {
    struct buf text;
    struct data_turn turns[2];
    struct data_record record;
};

static void asking_make(struct asking *a, const struct job *j, const char *question)
{
    *a = (struct asking){0};
    buf_append(&a->text, j->shots.len ? j->shots.data : "", j->shots.len);
    buf_printf(&a->text, "Question: %s\nAnswer:", question);
    a->turns[0] =
        (struct data_turn){.role = DATA_USER, .text = buf_str(&a->text), .len = a->text.len};
    a->turns[1] = (struct data_turn){.role = DATA_ASSISTANT, .text = "0", .len = 1};
    a->record = (struct data_record){.layout = DATA_QA, .n_turns = 2, .turns = a->turns};
}

/* The ids before the response: *ids, owned by the caller. */
static int encode_prompt(const struct eval_options *o, const struct data_record *r,
                         int32_t **ids, int64_t *n, struct err *e)
{
    struct example x = {0};
    int rc = example_make(o->tok, o->tmpl, r, 0, EXAMPLE_FAIL, &x, e);
    if (rc < 0)
        return rc;
    for (*n = 0; *n < x.n && !x.is_loss[*n]; ++*n)
        ;
    *ids = mem_dup(x.ids, (size_t)*n * sizeof **ids);
    example_free(&x);
    return *n ? 0 : err_set(e, ERR_EMPTY, "the prompt has no token");
}

/* The prompt's text and its hash, as eval_loss makes it of what is no response. */
static int render(const struct eval_options *o, const struct data_record *r, struct problem *p,
                  struct err *e)
{
    struct tmpl_text t;
    struct buf text = {0};
    int rc = tmpl_render(o->tmpl, r, &t, e);
    if (rc < 0)
        return rc;
    struct eval_hash *h = eval_hash_new();
    for (int i = 0; i < t.n_segments && !t.segments[i].is_response; i++) {
        const struct tmpl_segment *s = &t.segments[i];
        eval_hash_add(h, s->is_markup << 1 | s->wants_eos << 2, s->text, s->len);
        buf_append(&text, s->text, s->len);
    }
    p->hash = eval_hash_end(h);
    p->asked = buf_str(&text);
    tmpl_text_free(&t);
    return 0;
}

/* Fits with all that may be made; cut from the left, as the harness does, where asked to. */
static int fit(const struct eval_options *o, struct problem *p, struct err *e)
{
    int64_t most = o->max_len - o->max_new;
    p->fits = p->n <= most;
    if (p->fits || o->overlong == EXAMPLE_DROP)
        return 0;
    if (o->overlong == EXAMPLE_FAIL || most < 1)
        return err_set(e, ERR_RANGE,
                       "a prompt of %" PRId64 " tokens and %" PRId64
                       " more, beyond the %" PRId64 " allowed",
                       p->n, o->max_new, o->max_len);
    memmove(p->ids, p->ids + p->n - most, (size_t)most * sizeof *p->ids);
    p->n = most;
    p->fits = true;
    return 0;
}

static int encode(const struct job *j, struct problem *p, struct err *e)
{
    struct asking a;
    asking_make(&a, j, p->question);
    int rc = encode_prompt(&j->v->o, &a.record, &p->ids, &p->n, e);
    if (rc == 0)
        rc = render(&j->v->o, &a.record, p, e);
    if (rc == 0)
        rc = fit(&j->v->o, p, e);
    buf_free(&a.text);
    return rc < 0 ? dataset_name_record(e, p->d, p->i) : 0;
}

static int64_t n_common(const int32_t *a, int64_t n_a, const int32_t *b, int64_t n_b)
{
    int64_t n = 0;
    while (n < n_a && n < n_b && a[n] == b[n])
        n++;
    return n;
}

/* The tokens that shots and template give a prompt whatever its question: those that two
 * questions have in common, which depends on no problem of the file. */
static int find_shared(struct job *j, struct err *e)
{
    struct asking a, b;
    int32_t *ids_a = NULL, *ids_b = NULL;
    int64_t n_a, n_b;
    if (!j->v->o.n_shots)
        return 0;
    asking_make(&a, j, "A");
    asking_make(&b, j, "7 ?");
    int rc = encode_prompt(&j->v->o, &a.record, &ids_a, &n_a, e);
    if (rc == 0)
        rc = encode_prompt(&j->v->o, &b.record, &ids_b, &n_b, e);
    if (rc == 0)
        j->n_shared = n_common(ids_a, n_a, ids_b, n_b);
    for (int64_t i = 0; rc == 0 && i < j->n_problems; i++) { /* not if it was cut */
        const struct problem *p = &j->problems[i];
        if (p->fits &&
            (p->n <= j->n_shared || n_common(p->ids, p->n, ids_a, n_a) < j->n_shared))
            j->n_shared = 0;
    }
    free(ids_a);
    free(ids_b);
    buf_free(&a.text);
    buf_free(&b.text);
    return rc;
}

static int measure(struct job *j, struct eval_work *w, struct err *e)
{
    const struct eval_options *o = &j->v->o;
    uint8_t *none = NULL;
    size_t cap = 0;
    for (int64_t i = 0; i < j->n_problems; i++) {
        const struct problem *p = &j->problems[i];
        const struct data_row *row = &p->d->records[p->i];
        w->bytes += (int64_t)(sizeof *p + sizeof(struct eval_row)) + 8 * (p->n + o->max_new);
        if (!p->fits) {
            eval_result_miss(&j->v->result, p->d->name, row->source, row->line,
                             "a prompt of %" PRId64 " tokens and %" PRId64
                             " more, beyond the %" PRId64 " allowed",
                             p->n, o->max_new, o->max_len);
            continue;
        }
        if ((size_t)p->n > cap) {
            MEM_GROW(none, cap, p->n);
            memset(none, 0, cap);
        }
        lm_pack_add(&j->pack, p->ids, none, p->n);
        j->n_fit++;
        w->n_tokens += p->n - j->n_shared + o->max_new - 1;
        w->longest = p->n + o->max_new > w->longest ? p->n + o->max_new : w->longest;
    }
    w->n_tokens += j->n_shared;
    w->n_slots = -j->n_fit; /* what suits the device, and no more */
    if (o->n_slots)
        w->n_slots = o->n_slots < j->n_fit ? o->n_slots : j->n_fit;
    free(none);
    if (!j->n_fit)
        return err_set(e, ERR_EMPTY,
                       "none of the %" PRId64 " problems fits into %" PRId64 " tokens",
                       j->n_problems, o->max_len);
    return 0;
}

/* ---- answers ---- */

static bool is_over(void *arg, int64_t seq, const int32_t *ids, int64_t n)
{
    (void)seq;
    return lm_stops_cut(arg, ids, n, NULL);
}

/* The end of a text, and special tokens that a stop string names. */
static int64_t find_stop_ids(const struct tok *t, int32_t ids[N_STOPS + 1])
{
    int64_t n = 0;
    if (tok_eos(t) >= 0)
        ids[n++] = tok_eos(t);
    for (int i = 0; i < N_STOPS; i++)
        if (tok_id(t, stops[i]) >= 0)
            ids[n++] = tok_id(t, stops[i]);
    return n;
}

static int generate(struct job *j, struct lm *m, struct err *e)
{
    int32_t ids[N_STOPS + 1];
    struct lm_stops texts = {j->v->o.tok, stops, N_STOPS};
    struct lm_generate_options go = {.max_new = j->v->o.max_new,
                                     .stop_ids = ids,
                                     .n_stop_ids = find_stop_ids(j->v->o.tok, ids),
                                     .n_shared = j->n_shared,
                                     .is_over = is_over,
                                     .arg = &texts};
    struct lm_batch b = lm_pack_batch(&j->pack);
    j->made = mem_zalloc((size_t)b.n_seqs, sizeof *j->made);
    return lm_generate(m, &b, &go, j->made, e);
}

static void put_text(struct buf *b, const char *key, const char *s, size_t len)
{
    buf_printf(b, ", \"%s\": ", key);
    text_json_string(b, s, len);
}

static void log_sample(struct buf *b, const struct eval_row *row, const struct problem *p,
                       const struct lm_generated *g, const char *text, size_t len)
{
    static const char *const ends[] = {
        [LM_END_LENGTH] = "length", [LM_END_TOKEN] = "token", [LM_END_CALLER] = "text"};
    struct answer strict = answer_strict(text, len), flexible = answer_flexible(text, len);
    eval_put_sample(b, row);
    put_text(b, "context", p->asked, strlen(p->asked));
    put_text(b, "generated", text, len);
    buf_puts(b, ", \"ids\": [");
    for (int64_t i = 0; i < g->n; i++)
        buf_printf(b, "%s%" PRId32, i ? ", " : "", g->ids[i]);
    buf_puts(b, "]");
    put_text(b, "end", ends[g->end], strlen(ends[g->end]));
    put_text(b, "strict", strict.text, strict.len);
    put_text(b, "flexible", flexible.text, flexible.len);
    put_text(b, "answer", p->answer, strlen(p->answer));
    buf_puts(b, "}\n");
}

static void add_row(struct job *j, const struct problem *p, const struct lm_generated *g)
{
    const struct lm_stops texts = {j->v->o.tok, stops, N_STOPS};
    const struct data_row *of = &p->d->records[p->i];
    size_t want = strlen(p->answer);
    struct buf text = {0};
    bool is_last = g->end == LM_END_TOKEN; /* whose text, if it has one, is no answer */
    lm_stops_cut(&texts, g->ids, g->n - is_last, &text);
    size_t len = text.len;
    const char *s = buf_str(&text);
    struct eval_row *row =
        eval_result_add(&j->v->result, p->d->name, of->source, of->line, "", p->hash);
    row->value[STRICT] = answer_is(answer_strict(s, len), p->answer, want);
    row->value[FLEXIBLE] = answer_is(answer_flexible(s, len), p->answer, want);
    row->value[IS_CUT] = g->end == LM_END_LENGTH;
    row->value[PROMPT_TOKENS] = (double)p->n;
    row->value[NEW_TOKENS] = (double)g->n;
    if (j->v->o.is_logged)
        log_sample(&j->v->samples, row, p, g, s, len);
    buf_free(&text);
}

static void job_free(struct job *j)
{
    if (j->made)
        lm_generated_free(j->made, j->n_fit);
    free(j->made);
    for (int64_t i = 0; i < j->n_problems; i++) {
        free(j->problems[i].question);
        free(j->problems[i].answer);
        free(j->problems[i].asked);
        free(j->problems[i].ids);
    }
    for (int i = 0; j->files && i < j->v->o.n_files; i++)
        dataset_free(&j->files[i]);
    dataset_free(&j->shots_file);
    free(j->files);
    free(j->problems);
    buf_free(&j->shots);
    lm_pack_free(&j->pack);
}

int eval_gsm8k(struct eval *v, struct err *e)
{
    struct job j = {.v = v};
    struct eval_work w = {0};
    int rc = read_files(&j, e);
    for (int64_t i = 0; rc == 0 && i < j.n_problems; i++)
        rc = encode(&j, &j.problems[i], e);
    if (rc == 0)
        rc = find_shared(&j, e);
    if (rc == 0)
        rc = measure(&j, &w, e);
    struct lm *m = rc == 0 ? eval_open(v, &w, e) : NULL;
    if (rc == 0)
        rc = m ? generate(&j, m, e) : e->code;
    for (int64_t i = 0, k = 0; rc == 0 && i < j.n_problems; i++)
        if (j.problems[i].fits)
            add_row(&j, &j.problems[i], &j.made[k++]);
    job_free(&j);
    return rc;
}
