/* SPDX-License-Identifier: MIT
 *
 * source: the weights of a model file by their published (Hugging Face) names, as float.
 * Internal to lm/.
 *
 *     struct lm_source *s = lm_source_open(path, &e);
 *     lm_source_read(s, "model.norm.weight", 1, (int64_t[]){D}, dst, &e);
 *     lm_source_check(s, &e);      // nothing in the file was left unread
 *
 * GGUF's names are translated, and its Llama q and k rows, which are stored permuted for
 * interleaved rotary pairs, are put back. Shapes are checked; what is missing, of another
 * shape or of a type that we do not know is an error that names file and tensor.
 */
#ifndef RAISE_LM_SOURCE_H
#define RAISE_LM_SOURCE_H

#include "lm/config.h"
#include "stream/gguf_quant.h"

struct lm_source; /* owned; lm_source_close */
/* A Hugging Face folder (model.safetensors or shards with their index) or a GGUF file, as
 * stream/model_path.h tells them apart. */
struct lm_source *lm_source_open(const char *path, struct err *e) RAISE_MUST_CHECK;
void lm_source_close(struct lm_source *s); /* NULL-safe */
const struct lm_config *lm_source_config(const struct lm_source *s);

/* dst: shape[0] * shape[1] floats, written; in parallel. */
int lm_source_read(struct lm_source *s, const char *name, int n_dims, const int64_t *shape,
                   float *dst, struct err *e) RAISE_MUST_CHECK;
/* The type that a tensor may be kept in, whichever kind of file it is; F32 for what is read as
 * float. NULL: it is missing, or of a type that we do not read. */
const struct gguf_type *lm_source_type(const struct lm_source *s, const char *name);
/* As lm_source_read, but dst [shape[0]] gets rows of blocks of that type. */
int lm_source_keep(struct lm_source *s, const char *name, int n_dims, const int64_t *shape,
                   void *dst, struct err *e) RAISE_MUST_CHECK;
/* The file has this tensor as BF16, so that nothing is lost in keeping it so. */
bool lm_source_is_bf16(const struct lm_source *s, const char *name);
/* ERR_UNSUPPORTED with the name of a tensor that no lm_source_read asked for. */
int lm_source_check(struct lm_source *s, struct err *e) RAISE_MUST_CHECK;

#endif
