/* SPDX-License-Identifier: MIT
 * piece: batches checked and cut into micro-batches; see model.h.
 *
 * A sequence's tokens after the one that predicts its last target change no loss, so in mode
 * PIECE_TARGETS they are left out, as are sequences without targets. What sequences begin with
 * alike is there once (share.c); so are, where nothing goes backward, tokens that predict. */
#include "base/mem.h"
#include "lm/model.h"

#include <stdlib.h>
#include <string.h>

int lm_batch_check(const struct lm *m, const struct lm_batch *b, struct err *e)
{
    if (b->n_seqs < 0 || b->offsets[0] != 0 || b->offsets[b->n_seqs] != b->n_tokens)
        return err_set(e, ERR_RANGE, "batch: offsets do not run from 0 to %lld",
                       (long long)b->n_tokens);
    for (int64_t s = 0; s < b->n_seqs; s++) {
        int64_t from = b->offsets[s], to = b->offsets[s + 1];
        if (to < from)
            return err_set(e, ERR_RANGE, "batch: offsets of sequence %lld decrease",
                           (long long)s);
        if (lm_config_check_sequence(&m->c, b->ids + from, to - from, e) < 0)
            return err_prefix(e, "sequence %lld of the batch", (long long)s);
        if (to > from && b->is_loss && b->is_loss[from])
            return err_set(e, ERR_RANGE,
                           "sequence %lld of the batch: its first token is a "
                           "target, but nothing predicts it",
                           (long long)s);
    }
    return 0;
}

int64_t lm_batch_targets(const struct lm_batch *b)
{
    int64_t n = 0;
    for (int64_t t = 0; b->is_loss && t < b->n_tokens; t++)
        n += b->is_loss[t] != 0;
    return n;
}

/* Tokens of the next sequence that the mode needs. */
static int64_t needed(const struct lm_batch *b, const struct lm_piece *p,
                      enum lm_piece_mode mode)
{
    int64_t s = p->next, from = b->offsets[s], to = b->offsets[s + 1];
    if (mode == PIECE_LAST || (mode == PIECE_ALL && s < p->n_whole))
        return to - from;
    if (!b->is_loss)
        return 0;
    while (to > from && !b->is_loss[to - 1])
        to--;
    return to > from ? to - 1 - from : 0;
}

static void append_row(struct lm_piece *p, int64_t token, int32_t target, int64_t s)
{
    p->rows[p->n_rows] = (int32_t)token;
    p->targets[p->n_rows] = target;
    p->row_seq[p->n_rows++] = s;
}

/* Tokens of the next sequence that others may share: those before the first that predicts a
 * target, and never all n. Where nothing goes backward, one that predicts a target, too: it is
 * then a row of each. */
static int64_t shareable(const struct lm_batch *b, const struct lm_piece *p, int64_t n)
{
    int64_t from = b->offsets[p->next], i = 1;
    if (!b->is_loss || p->is_scoring)
        return n - 1;
    while (i < n && !b->is_loss[from + i])
        i++;
    return i < n ? i - 1 : n - 1;
}

/* rows [n]: where its tokens are among the piece's, or will be. */
static void append_sequence(struct lm_piece *p, const struct lm_batch *b, int64_t s, int64_t n,
                            const int32_t *rows, enum lm_piece_mode mode)
{
    int64_t from = b->offsets[s];
    MEM_GROW(p->ids, p->cap_tokens, p->T + n);
    MEM_GROW(p->positions, p->cap_positions, p->T + n);
    MEM_GROW(p->rows, p->cap_rows, p->n_rows + n);
    MEM_GROW(p->targets, p->cap_targets, p->n_rows + n);
    MEM_GROW(p->row_seq, p->cap_row_seq, p->n_rows + n);
    MEM_GROW(p->offsets, p->cap_offsets, p->n_seqs + 2);
    MEM_GROW(p->seq, p->cap_seqs, p->n_seqs + 1);
    for (int64_t i = 0; i < n; i++) {
        int64_t next = from + i + 1;
        bool is_new = !rows || rows[i] >= p->T;
        if (mode != PIECE_LAST && b->is_loss && next < b->offsets[s + 1] && b->is_loss[next])
            append_row(p, is_new ? p->T : rows[i], b->ids[next], s);
        if (!is_new)
            continue;
        p->ids[p->T] = b->ids[from + i];
        p->positions[p->T] = (int32_t)i;
        p->T++;
    }
    if (mode == PIECE_LAST)
        append_row(p, p->T - 1, 0, s);
    p->seq[p->n_seqs++] = s;
    p->T_all += n;
    p->offsets[p->n_seqs] = (int32_t)p->T;
}

/* Rows that n tokens of sequence s have at most. */
static int64_t n_targets(const struct lm_batch *b, int64_t s, int64_t n)
{
    int64_t from = b->offsets[s], count = 0;
    for (int64_t i = 1; b->is_loss && i <= n && from + i < b->offsets[s + 1]; i++)
        count += b->is_loss[from + i] != 0;
    return count;
}

/* The next sequence, of n tokens, if there is room for it. */
static bool append(const struct lm *m, struct lm_piece *p, const struct lm_batch *b, int64_t n,
                   bool is_sharing, enum lm_piece_mode mode)
{
    int64_t s = p->next, n_new = n;
    if (is_sharing) {
        int64_t most = shareable(b, p, n);
        most = most < m->o.micro_tokens ? most : m->o.micro_tokens; /* the trie has room */
        n_new = lm_share_rows(p, b->ids + b->offsets[s], n, most);
    }
    int64_t micro = m->o.micro_tokens;
    if (p->T &&
        (p->T + n_new > micro || (is_sharing && (p->T_all + n > SHARE_MOST * micro ||
                                                 p->n_rows + n_targets(b, s, n) > micro))))
        return false;
    append_sequence(p, b, s, n, is_sharing ? p->share->at.spread + p->T_all : NULL, mode);
    if (is_sharing) {
        MEM_GROW(p->share->at.offsets, p->share->cap_offsets, p->n_seqs + 1);
        p->share->at.offsets[p->n_seqs] = (int32_t)p->T_all;
    }
    return true;
}

/* Tokens by id, then by place: a counting sort. */
static void sort_by_id(const struct lm *m, struct lm_piece *p)
{
    int32_t *at = mem_zalloc((size_t)m->c.n_vocab + 1, sizeof *at);
    MEM_GROW(p->order, p->cap_order, p->T);
    for (int64_t t = 0; t < p->T; t++)
        at[p->ids[t] + 1]++;
    for (int64_t v = 0; v < m->c.n_vocab; v++)
        at[v + 1] += at[v];
    for (int64_t t = 0; t < p->T; t++)
        p->order[at[p->ids[t]]++] = (int32_t)t;
    free(at);
}

/* Everything in one upload: a GPU's driver takes as long for 4 bytes as for 40,000. */
static void upload(struct lm *m, struct lm_piece *p)
{
    struct lm_scratch *s = &m->acts.s;
    const struct lm_share_rows y = p->is_shared ? p->share->at : (struct lm_share_rows){0};
    bool has_order = m->o.tuning == LM_TUNE_FULL;
    if (has_order)
        sort_by_id(m, p); /* sets p->order */
    const struct {
        const int32_t *from;
        int32_t **to;
        int64_t n;
    } part[] = {{p->ids, &s->ids, p->T},
                {p->positions, &s->positions, p->T},
                {p->rows, &s->rows, p->n_rows},
                {p->targets, &s->targets, p->n_rows},
                {p->offsets, &s->offsets, p->n_seqs + 1},
                {p->order, &s->order, has_order ? p->T : 0},
                {y.offsets, &s->share.offsets, p->is_shared ? p->n_seqs + 1 : 0},
                {y.spread, &s->share.spread, p->is_shared ? p->T_all : 0},
                {y.home, &s->share.home, p->is_shared ? p->T : 0},
                {y.starts, &s->share.starts, p->is_shared ? p->T + 1 : 0},
                {y.copies, &s->share.copies, p->is_shared ? p->T_all : 0}};
    int64_t at = 0, total = 0;
    for (size_t i = 0; i < sizeof part / sizeof *part; i++)
        total += part[i].n;
    MEM_GROW(p->input, p->cap_input, total);
    for (size_t i = 0; i < sizeof part / sizeof *part; at += part[i++].n) {
        if (part[i].n)
            memcpy(p->input + at, part[i].from, (size_t)part[i].n * sizeof *part[i].from);
        *part[i].to = s->input + at;
    }
    m->d->ops->upload(m->d, s->input, p->input, (size_t)at * sizeof *p->input);
}

/* Sequences from p->next on, up to the micro-batch, or one. */
static void fill(const struct lm *m, const struct lm_batch *b, bool is_sharing,
                 enum lm_piece_mode mode, struct lm_piece *p)
{
    p->T = p->T_all = p->n_seqs = p->n_rows = 0;
    MEM_GROW(p->offsets, p->cap_offsets, 1);
    p->offsets[0] = 0;
    if (is_sharing)
        lm_share_begin(p, SHARE_MOST * m->o.micro_tokens);
    for (; p->next < b->n_seqs; p->next++) {
        int64_t n = needed(b, p, mode);
        if (n && !append(m, p, b, n, is_sharing, mode))
            break;
    }
}

/* What is shared costs copies in attention: less than a sixteenth of the rows is not worth it.
 */
static void cut(const struct lm *m, const struct lm_batch *b, enum lm_piece_mode mode,
                struct lm_piece *p)
{
    int64_t start = p->next;
    p->is_shared = !p->is_apart && !m->o.is_apart;
    if (p->is_shared) {
        fill(m, b, true, mode, p);
        p->is_shared = p->T_all - p->T > p->T_all / 16;
    }
    if (p->is_shared) {
        lm_share_finish(p);
        return;
    }
    p->next = start;
    fill(m, b, false, mode, p);
}

/* Memory ran out: half the micro-batch, if that can help. */
static bool make_smaller(struct lm *m, const struct lm_piece *p)
{
    if (p->n_seqs < 2 && m->o.micro_tokens <= p->T)
        return false;
    int64_t half = (m->o.micro_tokens < p->T ? m->o.micro_tokens : p->T) / 2;
    m->o.micro_tokens = m->o.micro_tokens > p->T ? p->T : half < 1 ? 1 : half;
    return true;
}

int lm_piece_next(struct lm *m, const struct lm_batch *b, enum lm_piece_mode mode,
                  bool is_training, struct lm_piece *p, struct err *e)
{
    int64_t start = p->next;
    p->T = 0;
    p->is_scoring = !is_training;
    if (mode == PIECE_TARGETS && !b->is_loss)
        return 0;
    for (;;) {
        struct err why = ERR_INIT;
        p->next = start;
        cut(m, b, mode, p);
        int code = p->T ? lm_acts_reserve(m, p->T, is_training, &why) : 0;
        if (code >= 0)
            break;
        if (code != ERR_MEMORY || !make_smaller(m, p)) {
            *e = why;
            return code;
        }
    }
    if (!p->T)
        return 0;
    upload(m, p);
    return 1;
}

void lm_piece_free(struct lm_piece *p)
{
    free(p->ids);
    free(p->positions);
    free(p->offsets);
    free(p->seq);
    free(p->rows);
    free(p->targets);
    free(p->row_seq);
    free(p->order);
    free(p->input);
    lm_share_free(p->share);
    *p = (struct lm_piece){0};
}
