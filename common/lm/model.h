/* SPDX-License-Identifier: MIT
 *
 * model: what a `struct lm` is made of. Internal to lm/; lm.h is the interface.
 *
 * Weights lie in one float block ("base"), those of the adapters in another; each is described
 * by a table of published tensors. Frozen matrices are not in the block where the device has
 * them otherwise: packed, or as their file has them (kept.c). Tensors that one product uses
 * together are neighbours, so the fused matrix is simply the block from the first one on:
 *
 *     q_proj [H*K, D] | k_proj [G*K, D] | v_proj [G*K, D]    = qkv      [(H + 2G) * K, D]
 *     gate_proj [F, D] | up_proj [F, D]                      = gate_up  [2F, D]
 *     q.lora_A [r, D] | k.lora_A [r, D] | v.lora_A [r, D]    = A of qkv [3r, D]
 *
 * Matrices come before vectors in a block: weight decay is then one call for each half.
 * Gradients and AdamW's moments are blocks of the same layout as the trainable one.
 */
#ifndef RAISE_LM_MODEL_H
#define RAISE_LM_MODEL_H

#include "lm/lm.h"
#include "lm/source.h"

#include <math.h>

/* ---- tables ---- */

struct lm_tensor {
    struct lm_param p;         /* name owned by the table */
    int64_t n;                 /* values */
    int64_t offset;            /* of the first value in its block; -1: not kept as float */
    bool is_matrix, is_joined; /* joined: follows the tensor before without a gap */
    uint64_t hash;             /* of name, shape and values, when loaded */
};

struct lm_table {
    struct lm_tensor *t;
    size_t n, cap;
    int64_t n_matrix; /* floats of the matrices' half */
    int64_t n_floats; /* all, padding included */
};

enum lm_group { GROUP_QKV, GROUP_O, GROUP_GATE_UP, GROUP_DOWN, N_GROUPS };

/* One projection of a group that has an adapter. */
struct lm_part {
    int64_t col, n_out; /* columns of the group's output */
    int64_t lora_b;     /* [n_out, r] in the adapter block */
};

struct lm_linear {
    struct lm_matrix *m;
    int64_t n_out, n_in;
    size_t first; /* tensor of the base table */
    int n_tensors;
    int64_t w;      /* offset in the base block; -1: not kept */
    void *kept;     /* its tensors as the file has them, device; NULL: float, or packed */
    bool is_narrow; /* they are not all float */
    int64_t bias;   /* -1: none */
    int n_parts;    /* adapters */
    struct lm_part parts[3];
    int64_t lora_a; /* [n_parts * r, n_in] in the adapter block */
    int64_t xa_col; /* column of n_parts * r values in the layer's xa */
};

struct lm_layer {
    int64_t norm1, norm2, q_norm, k_norm; /* offsets in the base block; -1: none */
    struct lm_linear lin[N_GROUPS];
};

/* ---- activations (see acts.c for types and sizes) ---- */

/* What backward needs of a layer. When only forward runs, all layers share one. */
struct lm_saved {
    float *x_in, *x_mid; /* residual before each norm */
    float *rstd1, *rstd2;
    void *qkv_raw;          /* before q/k norm; NULL without */
    float *rstd_q, *rstd_k; /* q/k norm */
    void *qkv;              /* after rotation */
    void *o;
    float *lse;
    void *gate_up;
    void *xa; /* scaled x A^T of each adapted projection */
};

/* Most rows that attention may work on for each of a piece's own (see share.c); and numbers a
 * token that a piece uploads: id, position, row, target, offset (and one more), its place in
 * the order of ids, and what share.c adds. */
enum { SHARE_MOST = 4, PIECE_INTS = 6 + 3 + 2 * SHARE_MOST };

/* Where sequences share rows (share.c): "all" rows are those of the sequences, one after the
 * other, each with a copy of what it shares. */
struct lm_share_rows {
    int32_t *offsets; /* [n_seqs + 1] of the sequences in all rows */
    int32_t *spread;  /* [T_all] the piece's row of each */
    int32_t *home;    /* [T] the first copy of each of the piece's rows */
    int32_t *starts;  /* [T + 1] of its copies in `copies` */
    int32_t *copies;  /* [T_all] */
};

struct lm_scratch {
    int32_t *input; /* one upload; the next six point into it, set for each piece */
    int32_t *ids, *positions, *offsets, *rows, *targets, *order;
    struct lm_share_rows share; /* of the piece, on the device */
    void *all_qkv, *all_o;      /* where sequences share rows: attention's, each with its own */
    void *all_dqkv, *all_do;    /* backward only */
    float *losses;              /* of the piece's rows */
    float *x_out;               /* residual after the last layer */
    void *y;                    /* normed */
    void *delta; /* a block's output; in backward the gradient of a norm's output */
    void *h;     /* silu(gate) * up */
    /* backward only */
    float *dx;
    void *dx_act; /* dx as act: the same buffer in float runs */
    void *dh, *dqkv, *d_o, *dxa;
    float *attn_delta;
    /* classifier, a chunk of rows */
    float *logits, *row_x, *row_dx, *row_rstd;
    void *dlogits, *row_y, *row_dy;
    float *pooled;
};

struct lm_acts {
    void *block;
    struct lm_saved *saved; /* n_saved */
    int64_t n_saved;
    struct lm_scratch s;
    int64_t cap_tokens, cap_rows;
    bool is_training; /* has backward's buffers */
};

/* ---- a model ---- */

struct lm {
    struct lm_config c;
    struct lm_options o;
    struct lm_dev *d;
    char *path, *arith;
    uint64_t hash;

    struct lm_table base, lora;
    struct lm_layer *layers;
    float *weights;        /* base block, device */
    int64_t embed, norm_f; /* offsets */
    void *embed_act;       /* the frozen embedding as act, device; NULL: float, in the block */
    bool is_embed_act;     /* it will be */
    struct lm_linear head; /* the classifier */
    bool is_kept;          /* frozen matrices stay as the file has them */
    int64_t kept_bytes;    /* of all of them */
    struct lm_linear embedding; /* of an untied model, kept so; else without a matrix */
    float *wide;                /* all of them as float, while lm_generate runs; else NULL */
    float *cos_sin;             /* device [n_positions, K] */
    int64_t n_positions;

    bool has_lora;
    float lora_scale;
    int64_t xa_width;      /* values of xa a token and layer */
    float *adapter;        /* masters, device */
    void *adapter_act;     /* as act; == adapter in float runs */
    uint64_t adapter_hash; /* of the file that it was read from; 0: drawn */
    float *kept;           /* the other state of a forked adapter; NULL: none */
    void *kept_act;        /* as adapter_act */
    uint64_t kept_hash;

    bool is_trainable;
    float *grads, *moment1, *moment2;
    int64_t n_steps;

    struct lm_acts acts;

    void (*on_work)(void *arg, double n_tokens);
    void *work_arg;
};
static inline void lm_tell_work(const struct lm *m, double n_tokens)
{
    if (m->on_work)
        m->on_work(m->work_arg, n_tokens);
}

/* lm.c: device, options and tables, without any weight. `choice` may be NULL. */
struct lm_choice;
struct lm *lm_skeleton(const char *path, const struct lm_options *o, struct lm_source *src,
                       struct lm_choice *choice, struct err *e);

/* device.c */
struct lm_choice {
    char why[256];   /* why "auto" took the CPU; empty: nothing to say */
    bool is_warning; /* there is a plugin, but not this program's */
};
struct lm_dev *lm_device_open(const struct lm_options *o, struct lm_choice *choice,
                              struct err *e);
char *lm_device_arith(const struct lm_dev *d); /* owned by the caller */
/* The micro-batch that the options ask for on this device, whatever the longest sequence. */
int64_t lm_device_tokens(const struct lm_dev *d, const struct lm_options *o);
/* Sequences at once: as asked, or, asked -n, what suits the device and is at most n. */
int64_t lm_device_slots(const struct lm_dev *d, int64_t asked);

/* layout.c */
void lm_table_free(struct lm_table *t);
void lm_layout_base(struct lm *m, bool is_all_kept);
void lm_layout_lora(struct lm *m);
static inline struct lm_table *lm_trainable(struct lm *m)
{
    return m->o.tuning == LM_TUNE_FULL ? &m->base : &m->lora;
}
static inline float *lm_trainable_block(struct lm *m)
{
    return m->o.tuning == LM_TUNE_FULL ? m->weights : m->adapter;
}

/* acts.c: makes room for `n_tokens` at once; `is_training` with all layers' activations. */
int lm_acts_reserve(struct lm *m, int64_t n_tokens, bool is_training, struct err *e);
void lm_acts_free(struct lm *m);
int64_t lm_acts_bytes(const struct lm *m, int64_t n_tokens, bool is_training);
int64_t lm_acts_logit_bytes(const struct lm *m, int64_t n_tokens); /* the classifier's part */
/* Rotary table for positions below n. */
int lm_rope_reserve(struct lm *m, int64_t n, struct err *e);

/* lora.c: masters drawn from `seed`, B = 0; then the copies that the products use. */
void lm_lora_init(struct lm *m, uint64_t seed);
void lm_lora_refresh(struct lm *m);
int lm_lora_attach(struct lm *m, struct err *e);
void lm_lora_detach(struct lm *m);

/* layout.c: identity of a tensor, of its values and before them. */
uint64_t lm_tensor_hash(const struct lm_tensor *t, const float *x); /* content identity */
uint64_t lm_tensor_seed(const struct lm_tensor *t);                 /* the hash before values */

/* weights.c */
int lm_weights_load(struct lm *m, struct lm_source *s, struct err *e);
int lm_weights_reload(struct lm *m, struct err *e); /* back to the file's; full tuning */
void lm_weights_refresh(struct lm *m); /* packed matrices, after the masters changed */
int lm_optimizer_attach(struct lm *m, struct err *e);

/* kept.c: frozen matrices as their file has them. lm_kept_plan: their bytes, and which are
 * narrow, before they are loaded. */
void lm_kept_plan(struct lm *m, const struct lm_source *s);
int64_t lm_kept_scratch(const struct lm *m); /* bytes to widen them in, a panel at a time */
int lm_kept_load(struct lm *m, struct lm_source *s, struct lm_linear *lin, struct err *e);
/* A pass of few tokens widens as much as one of many, so while there are only such passes the
 * matrices are float, all of them, where there is room: lm_kept_wide_bytes of
 * lm_available_bytes beside a quarter that is left alone. The results are the same. */
int64_t lm_kept_wide_bytes(const struct lm *m);
static inline bool lm_kept_has_room(int64_t bytes, int64_t available)
{
    return bytes > 0 && available > 0 && bytes <= available / 4 * 3;
}
void lm_kept_widen(struct lm *m, int64_t taken); /* bytes allocated and not touched yet */
void lm_kept_narrow(struct lm *m);
/* The embedding where it is kept; NULL. */
static inline const struct lm_matrix *lm_kept_embedding(const struct lm *m)
{
    return !m->is_kept ? NULL : m->c.is_tied ? m->head.m : m->embedding.m;
}

/* linear.c: y = x W^T + bias + adapters, and the gradients of what is trainable. */
void lm_linear_forward(struct lm *m, const struct lm_linear *lin, void *y, const void *x,
                       void *xa, int64_t T);
/* Backward in two halves, so that x may be recomputed between them. First dx (written; NULL:
 * not wanted), which leaves the adapters' inner gradient in s.dxa; then the weights' gradients.
 */
void lm_linear_backward_input(struct lm *m, const struct lm_linear *lin, void *dx,
                              const void *dy, int64_t T);
void lm_linear_backward_weights(struct lm *m, const struct lm_linear *lin, const void *dy,
                                const void *x, const void *xa, int64_t T);
/* True when a gradient of this group's weights or adapters is wanted. */
bool lm_linear_is_tuned(const struct lm *m, const struct lm_linear *lin);

/* cached.c: keys and values of every layer, k beside v: row r of layer l, 2 G K acts, is at
 * (l * n_rows + r) * 2 G K. */
struct lm_cache {
    void *block; /* device */
    int64_t n_rows;
    const int32_t *cells; /* device [T]: the rows that a piece's tokens are kept in */
    const int32_t *first; /* device [T]: the first row that each token sees; its cell is the
                           * last. NULL: the piece's sequences are whole, and see themselves */
};

/* Bytes of n rows of the cache, over all layers. */
static inline int64_t lm_slot_bytes(const struct lm *m, int64_t n)
{
    const struct lm_config *c = &m->c;
    return 2 * c->n_layers * n * c->n_kv_heads * c->d_head * (int64_t)lm_act_size(m->d);
}

/* room.c: what is free for the model's device; 0: unknown. */
int64_t lm_available_bytes(const struct lm *m);
void *lm_dev_alloc(struct lm *m, const char *what, int64_t bytes, struct err *e);

/* piece.c: micro-batches, cut at the borders of sequences. */
enum lm_piece_mode {
    PIECE_TARGETS, /* sequences with targets, up to what predicts the last one */
    PIECE_ALL,     /* every token */
    PIECE_LAST     /* every token, and each sequence's last is a row, without a target */
};
struct lm_piece {
    int64_t T, n_seqs, n_rows;
    int64_t next;                 /* sequence of the batch that the next piece starts with */
    int32_t *ids, *positions;     /* [T] */
    int32_t *offsets;             /* [n_seqs + 1] */
    int32_t *order;               /* [T] tokens by id, then by place; full tuning only */
    int64_t *seq;                 /* [n_seqs]: its number in the batch */
    int32_t *rows, *targets;      /* [n_rows]: token that predicts, id predicted */
    int64_t *row_seq;             /* [n_rows]: sequence in the batch */
    int32_t *input;               /* what is uploaded */
    const struct lm_cache *cache; /* borrowed; NULL: none */
    bool is_apart;                /* the caller's: no row is shared */
    bool is_scoring;              /* nothing goes backward */
    int64_t n_whole;              /* PIECE_ALL: of sequences from this on as PIECE_TARGETS */
    bool is_shared;               /* some are */
    int64_t T_all;                /* rows of all sequences, what is shared counted for each */
    struct lm_share *share;       /* share.c's; NULL: nothing was shared yet */
    size_t cap_tokens, cap_positions, cap_offsets, cap_seqs, cap_rows, cap_targets, cap_row_seq;
    size_t cap_order, cap_input;
};
int lm_batch_check(const struct lm *m, const struct lm_batch *b, struct err *e);
int64_t lm_batch_targets(const struct lm_batch *b);
/* The next piece, uploaded, with buffers large enough; 1, 0 at the end, < 0. */
int lm_piece_next(struct lm *m, const struct lm_batch *b, enum lm_piece_mode mode,
                  bool is_training, struct lm_piece *p, struct err *e);
void lm_piece_free(struct lm_piece *p);

/* share.c: tokens that sequences of a piece begin with alike are worked on once. */
struct lm_share {
    struct lm_share_rows at; /* on the host */
    size_t cap_offsets, cap_spread, cap_home, cap_starts, cap_copies;
    uint64_t *key; /* the trie: parent's row and id, and the row; open addressing */
    int32_t *row;
    size_t n_slots;
};
/* The piece has no sequence yet; most_rows: that will be shareable. */
void lm_share_begin(struct lm_piece *p, int64_t most_rows);
/* Rows of sequence s's n tokens, of which the first n_shareable may be shared, [n] (written):
 * one that the piece has, or p->T and on for those that it must append. Returns how many are
 * new. */
int64_t lm_share_rows(struct lm_piece *p, const int32_t *ids, int64_t n, int64_t n_shareable);
/* The piece is complete: what goes back and forth. */
void lm_share_finish(struct lm_piece *p);
void lm_share_free(struct lm_share *h);

/* forward.c, backward.c: leave the residual in s.x_out; take its gradient from s.dx. */
void lm_forward(struct lm *m, const struct lm_piece *p, bool is_training);
void lm_backward(struct lm *m, const struct lm_piece *p);
/* Computes again what backward needs of layer l, from its x_in, into the buffers it shares. */
void lm_forward_again(struct lm *m, int64_t l, const struct lm_piece *p);
/* classifier.c: losses of the piece's rows, to s.losses [n_rows] on the device; with
 * is_training also s.dx, the gradient of grad_scale * sum of losses, and the classifier's own
 * gradients. */
void lm_classify(struct lm *m, const struct lm_piece *p, bool is_training, float grad_scale);
/* Logits of the piece's rows [at, at + n), n up to acts.cap_rows, to s.logits [n, V]. */
void lm_row_logits(struct lm *m, int64_t at, int64_t n);

/* score.c: losses of a piece that went forward, added to nll and count (each may be NULL) at
 * p->row_seq. loss [n_rows]: host scratch. */
void lm_score_targets(struct lm *m, const struct lm_piece *p, float *loss, double *nll,
                      int64_t *count);
/* next.c: of the candidates after the piece's sequences p->seq, each of which has a row, to
 * nll at the candidate's place. loss [n_seqs]: host scratch. */
void lm_score_next(struct lm *m, struct lm_piece *p, const struct lm_next *next, float *loss,
                   double *nll);
int lm_next_check(const struct lm *m, const struct lm_batch *b, const struct lm_next *next,
                  struct err *e);

static inline const void *lm_cols(const struct lm *m, const void *x, int64_t col)
{
    return (const char *)x + (size_t)col * lm_act_size(m->d);
}
static inline void *lm_cols_mut(const struct lm *m, void *x, int64_t col)
{
    return (char *)x + (size_t)col * lm_act_size(m->d);
}
static inline const float *lm_weight(const struct lm *m, int64_t offset)
{
    return offset < 0 ? NULL : m->weights + offset;
}
/* Gradient of a base tensor in full tuning; NULL otherwise. */
static inline float *lm_weight_grad(const struct lm *m, int64_t offset)
{
    return m->o.tuning == LM_TUNE_FULL && offset >= 0 ? m->grads + offset : NULL;
}

#endif
