/* SPDX-License-Identifier: MIT
 * choice: multiple choice by log-likelihood; see eval.h and question.h.
 *
 * A question whose choices are one token each, as letters are, is worked off once, and the
 * choices are read off what follows (lm_next_nll), the shots of a subject once for all of its
 * questions; else each choice is a sequence that shares the question (lm_shared_nll). Questions
 * are scored in windows of a fixed number of tokens, in order. */
#include "base/text.h"
#include "eval/asked.h"
#include "eval/eval.h"
#include "eval/shots.h"
#include "lm/batch.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ANSWER, PICK, PICK_NORM, LOGP, NLL, ACC, ACC_NORM, ACC_BYTES };
enum {
    WINDOW_TOKENS = 65536,
    SLOTS = 8 /* sequences of the longest length whose keys and values are kept */
};

const struct eval_schema eval_choice_schema = {
    .columns = {[ANSWER] = {"answer", true},
                [PICK] = {"pick", true},
                [PICK_NORM] = {"pick_norm", true},
                [LOGP] = {"logp", false},
                [NLL] = {"choice_nll", false},
                [ACC] = {"acc", true},
                [ACC_NORM] = {"acc_norm", true},
                [ACC_BYTES] = {"acc_bytes", true}},
    .metrics = {{"acc", ACC, -1},
                {"acc_norm", ACC_NORM, -1},
                {"acc_bytes", ACC_BYTES, -1},
                {"choice_nll", NLL, -1}},
};

/* A question with what stands before it. */
struct item {
    const struct question_file *file;
    const struct question *q;
    const char *before; /* one for all that have the same, owned by the job */
    struct asked a;
    uint64_t hash;
    bool fits;
    int64_t n_shared, group; /* leading tokens that all of the group have; 0: none */
    double logp[QUESTION_MAX_CHOICES];
};

struct job {
    struct eval *v;
    struct question_file *files;
    char **texts; /* what stands before, one a change of it */
    struct item *items;
    int64_t n_items, n_texts;
    size_t texts_cap, items_cap;
};

/* ---- inputs ---- */

static int at_question(const struct item *x, struct err *e)
{
    return err_prefix(e, "%s:%" PRId64 ": record %" PRId64, x->file->name, x->q->line,
                      x->q->record);
}

static int add_file(struct job *j, const struct question_file *f, const char *path,
                    struct shots *shots, struct err *e)
{
    for (int64_t i = 0; i < f->n_problems; i++)
        eval_result_miss(&j->v->result, f->name, f->problems[i].source, f->problems[i].line,
                         "%s", f->problems[i].why);
    for (int64_t i = 0; i < f->n; i++) {
        struct item x = {.file = f, .q = &f->questions[i]};
        const char *before = shots_before(shots, path, x.q, e);
        if (!before)
            return at_question(&x, e);
        if (!j->n_texts || strcmp(j->texts[j->n_texts - 1], before) != 0) {
            MEM_GROW(j->texts, j->texts_cap, j->n_texts + 1);
            j->texts[j->n_texts++] = mem_strdup(before);
        }
        x.before = j->texts[j->n_texts - 1];
        MEM_GROW(j->items, j->items_cap, j->n_items + 1);
        j->items[j->n_items++] = x;
    }
    return 0;
}

static int read_files(struct job *j, struct err *e)
{
    const struct eval_options *o = &j->v->o;
    struct shots shots = {.path = o->shots, .k = o->n_shots, .by = o->by};
    int rc = 0;
    j->files = mem_zalloc((size_t)o->n_files, sizeof *j->files);
    for (int i = 0; rc == 0 && i < o->n_files; i++) {
        rc = question_file_read(&j->files[i], o->files[i], o->style, &o->reading, e);
        if (rc == 0)
            rc = add_file(j, &j->files[i], o->files[i], &shots, e);
    }
    shots_free(&shots);
    return rc;
}

/* ---- as token ids ---- */

/* The texts of a question, to be encoded, hashed and logged. */
struct texts {
    struct buf context, after[QUESTION_MAX_CHOICES];
    const char *list[QUESTION_MAX_CHOICES];
};

static void texts_make(struct texts *t, const struct job *j, const struct item *x)
{
    *t = (struct texts){0};
    buf_puts(&t->context, x->before);
    question_put(&t->context, x->q, j->v->o.by);
    buf_str(&t->context);
    for (int i = 0; i < x->q->n_choices; i++) {
        buf_putc(&t->after[i], ' ');
        question_put_choice(&t->after[i], x->q, i, j->v->o.by);
        t->list[i] = buf_str(&t->after[i]);
    }
}

static void texts_free(struct texts *t)
{
    buf_free(&t->context);
    for (int i = 0; i < QUESTION_MAX_CHOICES; i++)
        buf_free(&t->after[i]);
}

static int check_choices(const struct item *x, const struct texts *t, struct err *e)
{
    for (int i = 0; i < x->q->n_choices; i++)
        if (t->after[i].len < 2)
            return err_set(e, ERR_FORMAT, "choice %d is empty, and cannot be the answer",
                           i + 1);
    return 0;
}

static int encode(const struct job *j, struct item *x, struct err *e)
{
    const struct eval_options *o = &j->v->o;
    struct texts t;
    texts_make(&t, j, x);
    int rc = check_choices(x, &t, e);
    if (rc == 0 && o->is_raw)
        rc = asked_encode(&x->a, o->tok, t.context.data, t.list, x->q->n_choices, e);
    else if (rc == 0)
        rc = asked_render(&x->a, o->tok, o->tmpl, t.context.data, t.list, x->q->n_choices, e);
    if (rc == 0) {
        struct eval_hash *h = eval_hash_new();
        uint64_t rendered = o->is_raw ? 0 : tmpl_hash(o->tmpl);
        if (rendered)
            eval_hash_add(h, 2, (const char *)&rendered, sizeof rendered);
        eval_hash_add(h, 0, t.context.data, t.context.len);
        for (int i = 0; i < x->q->n_choices; i++)
            eval_hash_add(h, 1, t.after[i].data, t.after[i].len);
        x->hash = eval_hash_end(h);
        x->fits = x->a.longest <= o->max_len ||
                  (o->overlong == EXAMPLE_CUT && asked_cut(&x->a, o->max_len));
    }
    if (rc == 0 && !x->fits && o->overlong == EXAMPLE_FAIL)
        rc = err_set(e, ERR_RANGE, "%" PRId64 " tokens, more than the %" PRId64 " allowed",
                     x->a.longest, o->max_len);
    texts_free(&t);
    return rc;
}

/* In parallel; the first error in the order of the files is told. */
static int encode_all(struct job *j, struct err *e)
{
    int64_t first_bad = j->n_items;
    struct err first = ERR_INIT;
#pragma omp parallel for schedule(dynamic, 8)
    for (int64_t i = 0; i < j->n_items; i++) {
        struct err local = ERR_INIT;
        if (encode(j, &j->items[i], &local) >= 0)
            continue;
#pragma omp critical(eval_choice_error)
        if (i < first_bad) {
            first_bad = i;
            first = local;
        }
    }
    if (first_bad == j->n_items)
        return 0;
    err_set(e, first.code, "%s", first.msg);
    return at_question(&j->items[first_bad], e);
}

/* ---- what is worked off once ---- */

static int64_t n_alike(const struct asked *a, const struct asked *b, int64_t n)
{
    int64_t i = 0;
    while (i < n && i < b->n_context - 1 && a->context[i] == b->context[i])
        i++;
    return i;
}

/* The choices of a question share it, but for its last token, which predicts; questions of one
 * token a choice share their shots, if there are any. */
static void find_shared(struct job *j)
{
    int64_t n_groups = 0;
    for (int64_t i = 0, end; i < j->n_items; i = end) {
        struct item *x = &j->items[i];
        bool is_one = asked_is_one_token(&x->a);
        int64_t n = x->a.n_context - 1;
        for (end = i + 1; is_one && j->v->o.n_shots && end < j->n_items; end++) {
            const struct item *y = &j->items[end];
            if (y->before != x->before || !y->fits || !asked_is_one_token(&y->a))
                break;
            n = n_alike(&x->a, &y->a, n);
        }
        for (int64_t k = i; k < end; k++) {
            j->items[k].n_shared = !x->fits || (is_one && !j->v->o.n_shots) ? 0 : n;
            j->items[k].group = n_groups;
        }
        n_groups++;
    }
}

/* Tokens that the model will go through for item i. */
static int64_t tokens_of(const struct job *j, int64_t i)
{
    const struct item *x = &j->items[i];
    bool is_first = i == 0 || j->items[i - 1].group != x->group;
    int64_t n = x->a.n_context - x->n_shared, all = is_first ? x->n_shared : 0;
    if (asked_is_one_token(&x->a))
        return all + n;
    for (int k = 0; k < x->a.n_after; k++)
        all += n + x->a.after_len[k] - 1;
    return all;
}

static int measure(struct job *j, struct eval_work *w, struct err *e)
{
    int64_t n_fit = 0;
    w->bytes = 2 * (int64_t)WINDOW_TOKENS * 5;
    for (int64_t i = 0; i < j->n_items; i++) {
        const struct item *x = &j->items[i];
        w->bytes += (int64_t)(sizeof *x + sizeof(struct eval_row)) + 4 * x->a.longest;
        if (!x->fits) {
            eval_result_miss(&j->v->result, x->file->name, x->q->record, x->q->line,
                             "%" PRId64 " tokens, more than the %" PRId64 " allowed",
                             x->a.longest, j->v->o.max_len);
            continue;
        }
        n_fit++;
        w->n_tokens += tokens_of(j, i);
        w->n_slots = x->n_shared ? SLOTS : w->n_slots;
        w->longest = x->a.longest > w->longest ? x->a.longest : w->longest;
    }
    if (!n_fit)
        return err_set(e, ERR_EMPTY,
                       "none of the %" PRId64 " questions fits into %" PRId64 " tokens",
                       j->n_items, j->v->o.max_len);
    return 0;
}

/* ---- scores ---- */

/* Sequences that are scored in one call: those of what follows, or whole ones. */
struct lot {
    struct lm_pack pack;
    int64_t *first, *n_shared; /* of groups (lm_groups) */
    int64_t n_groups, group;   /* group: the item's number of the last */
    bool is_shared;            /* each group shares something */
    int32_t *ids;              /* candidates, with their offsets (lm_next) */
    int64_t *offsets;
    double **to; /* where each candidate's, or sequence's, result goes */
    int64_t n_ids;
    size_t first_cap, shared_cap, ids_cap, offsets_cap, to_cap;
};
enum { LOT_NEXT, LOT_WHOLE, N_LOTS };

struct window {
    struct lot lot[N_LOTS];
    uint8_t *flags; /* zeros, then ones at the end of a sequence */
    size_t flags_cap;
};

/* The next sequence of the lot is of the item: of the group before, or of a new one. */
static void join_group(struct lot *l, const struct item *x)
{
    if (!l->n_groups || l->group != x->group) {
        l->is_shared = (l->is_shared || !l->n_groups) && x->n_shared > 0;
        MEM_GROW(l->first, l->first_cap, l->n_groups + 2);
        MEM_GROW(l->n_shared, l->shared_cap, l->n_groups + 1);
        l->first[l->n_groups] = l->pack.n_seqs;
        l->n_shared[l->n_groups++] = x->n_shared;
        l->group = x->group;
    }
    l->first[l->n_groups] = l->pack.n_seqs + 1;
}

static void add_next(struct window *w, struct item *x)
{
    struct lot *l = &w->lot[LOT_NEXT];
    MEM_GROW(w->flags, w->flags_cap, x->a.n_context);
    memset(w->flags, 0, (size_t)x->a.n_context);
    join_group(l, x);
    lm_pack_add(&l->pack, x->a.context, w->flags, x->a.n_context);
    MEM_GROW(l->offsets, l->offsets_cap, l->pack.n_seqs + 1);
    MEM_GROW(l->ids, l->ids_cap, l->n_ids + x->a.n_after);
    MEM_GROW(l->to, l->to_cap, l->n_ids + x->a.n_after);
    for (int i = 0; i < x->a.n_after; i++) {
        l->to[l->n_ids] = &x->logp[i];
        l->ids[l->n_ids++] = x->a.after[i][0];
    }
    l->offsets[0] = 0;
    l->offsets[l->pack.n_seqs] = l->n_ids;
}

static void add_whole(struct window *w, struct item *x)
{
    struct lot *l = &w->lot[LOT_WHOLE];
    const struct asked *a = &x->a;
    int32_t *ids = mem_alloc((size_t)a->longest, sizeof *ids);
    memcpy(ids, a->context, (size_t)a->n_context * sizeof *ids);
    MEM_GROW(w->flags, w->flags_cap, a->longest);
    memset(w->flags, 0, (size_t)a->n_context);
    memset(w->flags + a->n_context, 1, (size_t)(a->longest - a->n_context));
    for (int i = 0; i < a->n_after; i++) {
        memcpy(ids + a->n_context, a->after[i], (size_t)a->after_len[i] * sizeof *ids);
        join_group(l, x);
        lm_pack_add(&l->pack, ids, w->flags, a->n_context + a->after_len[i]);
        MEM_GROW(l->to, l->to_cap, l->pack.n_seqs);
        l->to[l->pack.n_seqs - 1] = &x->logp[i];
    }
    free(ids);
}

static void window_free(struct window *w)
{
    for (int k = 0; k < N_LOTS; k++) {
        lm_pack_free(&w->lot[k].pack);
        free(w->lot[k].first);
        free(w->lot[k].n_shared);
        free(w->lot[k].ids);
        free(w->lot[k].offsets);
        free(w->lot[k].to);
    }
    free(w->flags);
}

static int score_lot(struct lot *l, bool is_next, struct lm *m, struct err *e)
{
    int64_t n = is_next ? l->n_ids : l->pack.n_seqs;
    double *nll = mem_alloc((size_t)n, sizeof *nll);
    struct lm_batch b = lm_pack_batch(&l->pack);
    struct lm_groups g = {l->first, l->n_shared, l->n_groups};
    struct lm_next next = {l->ids, l->offsets}, *candidates = is_next ? &next : NULL;
    int rc = 0;
    if (n && l->is_shared)
        rc = lm_shared_nll(m, &b, &g, candidates, nll, NULL, e);
    else if (n && is_next)
        rc = lm_next_nll(m, &b, candidates, nll, e);
    else if (n)
        rc = lm_nll(m, &b, nll, NULL, e);
    for (int64_t i = 0; rc == 0 && i < n; i++)
        *l->to[i] = -nll[i];
    free(nll);
    lm_pack_clear(&l->pack);
    l->n_ids = l->n_groups = 0;
    return rc;
}

static int score_all(struct job *j, struct lm *m, struct err *e)
{
    struct window w = {.flags = NULL};
    int64_t n_tokens = 0;
    int rc = 0;
    for (int64_t i = 0; rc == 0 && i < j->n_items; i++) {
        struct item *x = &j->items[i];
        if (x->fits && asked_is_one_token(&x->a))
            add_next(&w, x);
        else if (x->fits)
            add_whole(&w, x);
        n_tokens += x->fits ? x->a.longest * (asked_is_one_token(&x->a) ? 1 : x->a.n_after) : 0;
        if (n_tokens < WINDOW_TOKENS && i + 1 < j->n_items)
            continue;
        for (int k = 0; rc == 0 && k < N_LOTS; k++)
            rc = score_lot(&w.lot[k], k == LOT_NEXT, m, e);
        n_tokens = 0;
    }
    window_free(&w);
    return rc;
}

/* ---- rows ---- */

static int64_t n_characters(const char *s, size_t len)
{
    int64_t n = 0;
    for (size_t i = 0; i < len; i++)
        n += ((unsigned char)s[i] & 0xc0) != 0x80;
    return n;
}

/* The first of the most likely, by the sum over `per`. */
static int pick(const struct item *x, const double *per)
{
    int best = 0;
    for (int i = 1; i < x->q->n_choices; i++)
        if (x->logp[i] / per[i] > x->logp[best] / per[best])
            best = i;
    return best;
}

/* log of the answer's share of all choices' likelihood. */
static double share(const struct item *x, int best)
{
    double rest = 0;
    for (int i = 0; i < x->q->n_choices; i++)
        rest += i == best ? 0 : exp(x->logp[i] - x->logp[best]);
    return x->logp[x->q->answer] - x->logp[best] - log1p(rest);
}

static void fill_row(double *value, const struct item *x, const struct texts *t)
{
    double one[QUESTION_MAX_CHOICES], chars[QUESTION_MAX_CHOICES], bytes[QUESTION_MAX_CHOICES];
    int answer = x->q->answer;
    for (int i = 0; i < x->q->n_choices; i++) {
        size_t len = t->after[i].len - 1; /* without the blank */
        one[i] = 1;
        bytes[i] = (double)len;
        chars[i] = (double)n_characters(t->list[i] + 1, len);
    }
    value[ANSWER] = answer;
    value[PICK] = pick(x, one);
    value[PICK_NORM] = pick(x, chars);
    value[LOGP] = x->logp[answer];
    value[NLL] = -share(x, pick(x, one));
    value[ACC] = pick(x, one) == answer;
    value[ACC_NORM] = pick(x, chars) == answer;
    value[ACC_BYTES] = pick(x, bytes) == answer;
}

static void log_sample(struct buf *b, const struct eval_row *row, const struct item *x,
                       const struct texts *t)
{
    eval_put_sample(b, row);
    buf_puts(b, ", \"context\": ");
    text_json_string(b, t->context.data, t->context.len);
    buf_puts(b, ", \"choices\": [");
    for (int i = 0; i < x->q->n_choices; i++) {
        buf_puts(b, i ? ", " : "");
        text_json_string(b, t->after[i].data, t->after[i].len);
    }
    buf_puts(b, "], \"logp\": [");
    for (int i = 0; i < x->q->n_choices; i++) {
        buf_puts(b, i ? ", " : "");
        text_put_real(b, x->logp[i], TEXT_DOUBLE);
    }
    buf_printf(b, "], \"answer\": %d}\n", x->q->answer);
}

static int add_row(struct job *j, const struct item *x, struct err *e)
{
    struct eval_row *row = eval_result_add(&j->v->result, x->file->name, x->q->record,
                                           x->q->line, x->q->subject, x->hash);
    struct texts t;
    for (int i = 0; i < x->q->n_choices; i++)
        if (!isfinite(x->logp[i])) {
            err_set(e, ERR_NONFINITE, "the log-likelihood of choice %d is not finite", i + 1);
            return at_question(x, e);
        }
    texts_make(&t, j, x);
    fill_row(row->value, x, &t);
    if (j->v->o.is_logged)
        log_sample(&j->v->samples, row, x, &t);
    texts_free(&t);
    return 0;
}

static void job_free(struct job *j)
{
    for (int64_t i = 0; i < j->n_items; i++)
        asked_free(&j->items[i].a);
    for (int64_t i = 0; i < j->n_texts; i++)
        free(j->texts[i]);
    for (int i = 0; j->files && i < j->v->o.n_files; i++)
        question_file_free(&j->files[i]);
    free(j->items);
    free(j->texts);
    free(j->files);
}

int eval_choice(struct eval *v, struct err *e)
{
    struct job j = {.v = v};
    struct eval_work w = {0};
    int rc = read_files(&j, e);
    if (rc == 0)
        rc = encode_all(&j, e);
    if (rc == 0) {
        find_shared(&j);
        rc = measure(&j, &w, e);
    }
    struct lm *m = rc == 0 ? eval_open(v, &w, e) : NULL;
    if (rc == 0)
        rc = m ? score_all(&j, m, e) : e->code;
    for (int64_t i = 0; rc == 0 && i < j.n_items; i++)
        if (j.items[i].fits)
            rc = add_row(&j, &j.items[i], e);
    job_free(&j);
    return rc;
}
