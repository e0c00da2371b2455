/* SPDX-License-Identifier: MIT
 *
 * embed: records to rows of features: lengths, log-probabilities, embedding.
 *
 * Of a record with prompt x and response y (the tokens that count in the loss, in order):
 *     len_x, len_y   tokens of each
 *     logp_yx        sum over y of log p(token | everything before it), nats
 *     logp_y         the same of the sequence  s y,  s the start token: the tokenizer's BOS,
 *                    else EOS, else padding token. It has as many terms as logp_yx.
 *     embedding      mean over *all* tokens of x y of the last hidden state (after the final
 *                    norm), D wide; reduced from D to d by adaptive average pooling: bin j is
 *                    the mean of the entries floor(jD/d) .. ceil((j+1)D/d) - 1
 *     gain_sum       logp_yx under the other state of the model's adapter (lm_adapter_fork)
 *                    less logp_yx, if asked for; see gain.h
 *     record         columns of the record itself, those asked for; see record.h
 * A window's sequences x y are scored in the order of their tokens, so that what they begin
 * with alike is worked on once, and then those of y alone, the longest first; each window is a
 * work of its own, so its rows do not depend on where a run began.
 */
#ifndef RAISE_FEATURES_EMBED_H
#define RAISE_FEATURES_EMBED_H

#include "features/features.h"
#include "features/given.h"
#include "features/influence.h"
#include "features/record.h"
#include "lm/lm.h"

struct embed_options {
    const struct tok *tok;
    const struct tmpl *tmpl;
    int64_t max_len;
    enum example_overlong overlong;
    const struct lm_config *config; /* what the model takes: embed_measure asks; may be NULL */
    int64_t batch_tokens;           /* about what is worked on at once */
    int64_t dim;                    /* width of the rows: d_model, or less: pooled */
    bool has_gain;             /* score responses under the adapter's other state as well */
    const struct given *given; /* measured, for that column; NULL: without */
    const struct influence *influence; /* prepared, for that column; NULL: without */
    struct record_choice record;       /* columns of the record itself; borrowed */
    void (*progress)(void *arg, int64_t n_tokens);  /* after each batch, and with 0
                                                     * after a window; may be NULL */
    void (*measured)(void *arg, int64_t n_records); /* while tokens are counted: so far; may be
                                                     * NULL */
    void *progress_arg;
};

#define EMBED_FIELD(name, type, dtype, shape, flags) type *name;
struct embed_rows { /* columns as in features.h, owned; grows */
    int64_t n, dim, n_record, n_given;
    FEATURES_COLUMNS(EMBED_FIELD)
    int64_t cap;
};
extern const struct st_table embed_rows_table;
/* Empty rows of such a width, with or without the optional columns. */
void embed_rows_start(struct embed_rows *r, const struct embed_options *o);
void embed_rows_clear(struct embed_rows *r);
void embed_rows_free(struct embed_rows *r);
/* Adds the columns to a msg (borrowed until the rows change), and back: appends all rows of a
 * msg, whose embedding must be r->dim wide. */
void embed_rows_to_msg(const struct embed_rows *r, struct st_msg *m);
int embed_rows_append(struct embed_rows *r, const struct st_msg *m,
                      struct err *e) RAISE_MUST_CHECK;
/* Rows [from, from + n), or fewer at the end. Borrows; not to be freed. */
struct embed_rows embed_rows_slice(const struct embed_rows *r, int64_t from, int64_t n);

/* A record that gives no row, and why. */
enum embed_why {
    EMBED_OVERLONG,
    EMBED_UNSCORED,
    EMBED_LOGP,
    EMBED_EMBEDDING,
    EMBED_GRADIENT,
    EMBED_N_WHYS
};
struct embed_drop {
    int64_t source, line;
    int64_t why; /* enum embed_why */
};
const char *embed_why_text(int64_t why);
struct embed_drops {
    struct embed_drop *drop;
    size_t n, cap;
};
void embed_drops_add(struct embed_drops *d, const struct data_row *r, enum embed_why why);
void embed_drops_free(struct embed_drops *d);

/* Whether an encoded record gives a row: neither dropped nor without a response token. */
static inline bool embed_is_scorable(const struct example *x)
{
    return x->n > 0 && x->n_response > 0;
}

/* The start token s; -1 when the tokenizer has none of the three. */
int32_t embed_start_token(const struct tok *t);

/* What a window will cost, by tokenising it. Dropped records are added to *drops. A record that
 * the model cannot take, by a token or its length, is an error that names it. */
struct embed_cost {
    int64_t n_rows, n_cut, n_tokens, longest; /* tokens of x y (again for the gain, and for each
                                                 epoch of influence) and of s y */
};
int embed_measure(const struct embed_options *o, const struct dataset *d, int64_t from,
                  int64_t n, struct embed_cost *cost, struct embed_drops *drops,
                  struct err *e) RAISE_MUST_CHECK;

/* Scores records [from, from + n) and appends their rows in dataset order. A record with a
 * value that is not finite is left out and added to *drops; those that embed_measure dropped
 * are left out silently. */
int embed_window(struct lm *m, const struct embed_options *o, const struct dataset *d,
                 int64_t from, int64_t n, struct embed_rows *rows, struct embed_drops *drops,
                 struct err *e) RAISE_MUST_CHECK;

/* dst[d] = adaptive average pooling of src[D], D >= d. */
void embed_pool(float *dst, int64_t d, const float *src, int64_t D);

#endif
