/* SPDX-License-Identifier: MIT
 *
 * embed_run: a dataset's records to a file of features, so that a kill costs one window.
 *
 * The records are worked off in windows (embed.h). A finished window is appended to OUT.part
 * (stream/part.h); at the end the windows become the shards of the output. A run to standard
 * output, or to a device or pipe, has no part and writes each shard as it fills. Windows are
 * independent of each other, so a continued run gives the bytes of an unbroken one.
 *
 *     struct embed_run r = {.how = how, .data = &d, .from = 0, .n = d.n_records, .out = path};
 *     rc = embed_run_measure(&r, &e);         // r.cost: what there is to do; before the load
 *     r.lm = lm; r.prov = prov; ...
 *     rc = embed_run_open(&r, &e);            // r.n_before windows are done already
 *     rc = embed_run_score(&r, &e);
 *     rc = embed_run_finish(&r, &e);          // the output stands, the part is gone
 *     embed_run_free(&r);                     // in any case
 *
 * What goes into a row is decided in embed_window; a file's metadata in embed_run's set_meta;
 * what makes a run another one, so that a part is not continued by it, in its parameters().
 */
#ifndef RAISE_FEATURES_EMBED_RUN_H
#define RAISE_FEATURES_EMBED_RUN_H

#include "features/gain.h"
#include "stream/part.h"
#include "stream/prov.h"

enum { EMBED_WINDOW = 512, EMBED_SHARD_WINDOWS = 8 }; /* records a window, windows a shard */

struct embed_run {
    /* The caller's, before embed_run_measure; all borrowed. */
    struct embed_options how;   /* batch_tokens may be set until embed_run_open */
    const struct dataset *data; /* of all shards */
    int64_t from, n;            /* the records of this one */
    const char *out;            /* NULL or "-": standard output */
    bool is_uncompressed;
    int64_t pca_dim; /* 0: rows are pooled to how.dim; else how.dim is reduced to it by PCA */
    bool is_resumed; /* take up OUT.part, and keep it when this run fails */
    /* The caller's, before embed_run_open. */
    struct lm *lm;
    const struct prov *prov; /* NULL: no history in the output */
    const char *reading; /* lines "key=value": how the dataset was read, and the probe made */
    const struct gain *gain; /* NULL: none; else probed, and how.has_gain is set */
    /* Found by embed_run_measure. */
    int64_t n_windows;
    int64_t *window_tokens; /* [n_windows], owned */
    struct embed_cost cost;
    /* Records without a row: those that measuring found, then those that scoring found. */
    struct embed_drops drops;
    /* Found by embed_run_open. */
    int64_t n_before;     /* windows that the part held */
    double n_tokens_left; /* to be scored */
    /* The work. */
    int64_t n_written; /* rows */
    struct part *part; /* NULL: rows go straight to the writer */
    struct st_writer *writer;
    struct embed_rows rows;   /* on their way to the writer */
    struct embed_rows window; /* scored just now */
    float *target_reduced;    /* the target's embeddings, as PCA has the rows'; owned */
};

/* Shard i of k: the records [N*i/k, N*(i+1)/k) of N, without overflow. */
void embed_run_shard(struct embed_run *r, int64_t i, int64_t k);
/* Tokenises everything once: what there is to do, and what drops out. ERR_EMPTY when no record
 * can be scored. */
int embed_run_measure(struct embed_run *r, struct err *e) RAISE_MUST_CHECK;
/* Bytes of rows that will be held in memory, once measured. */
int64_t embed_run_bytes(const struct embed_run *r);
/* Will the windows be kept in OUT.part: is the output a file? */
bool embed_run_has_part(const struct embed_run *r);
/* An unfinished run left OUT.part. Owned by the caller: its path; NULL when there is none. */
char *embed_run_old_part(const struct embed_run *r);
int embed_run_open(struct embed_run *r, struct err *e) RAISE_MUST_CHECK;
int embed_run_score(struct embed_run *r, struct err *e) RAISE_MUST_CHECK;
/* From the part to the output. ERR_EMPTY when no record gave a row. */
int embed_run_finish(struct embed_run *r, struct err *e) RAISE_MUST_CHECK;
/* Windows that a part keeps when the run is freed or killed now: 0 after success. */
int64_t embed_run_n_kept(const struct embed_run *r);
void embed_run_free(struct embed_run *r);

#endif
