/* SPDX-License-Identifier: MIT
 *
 * adapter_file: a LoRA adapter's folder in PEFT's layout, opened and held against what we can
 * do. Internal to lm/.
 *
 * adapter_model.safetensors holds "base_model.model.<published name>.lora_A.weight" [r, n_in]
 * and lora_B.weight [n_out, r]; adapter_config.json rank, alpha and the projections. Where some
 * have another rank (rank_pattern), all are given the largest, the others' matrices being zero
 * beyond their own; another alpha becomes a factor of B. What changes the arithmetic (DoRA,
 * biases, saved modules) is refused by name.
 * rsLoRA scales by alpha / sqrt(r): the same as alpha sqrt(r), and that is what it becomes
 * here.
 */
#ifndef RAISE_LM_ADAPTER_FILE_H
#define RAISE_LM_ADAPTER_FILE_H

#include "base/file.h"
#include "stream/st.h"

#include <jansson.h>

#define LM_ADAPTER_PREFIX "base_model.model."

struct lm_adapter_file {
    char *path; /* of the tensors, for messages */
    struct file_map map;
    struct st_msg *msg; /* points into the map */
    json_t *config;
    int64_t rank;     /* the largest */
    double alpha;     /* of plain LoRA with that rank */
    unsigned targets; /* projections that the file has a tensor of, in any layer */
};

/* ERR_UNSUPPORTED names what is not plain LoRA, ERR_EMPTY a file without adapters. On failure
 * there is nothing to close. */
int lm_adapter_file_open(struct lm_adapter_file *f, const char *dir,
                         struct err *e) RAISE_MUST_CHECK;
void lm_adapter_file_close(struct lm_adapter_file *f);

/* Of one tensor, by its published name "X.lora_A.weight": its own rank, and what B is
 * multiplied by to have its own scale under f's rank and alpha. */
int lm_adapter_file_scale(const struct lm_adapter_file *f, const char *name, int64_t *rank,
                          double *times, struct err *e) RAISE_MUST_CHECK;

/* xxh64 over rank, alpha and each tensor's name, shape and values as float, by name: the same
 * for any order, element type or place of the file, another for another arithmetic. Never 0. */
int lm_adapter_file_hash(const struct lm_adapter_file *f, uint64_t *hash,
                         struct err *e) RAISE_MUST_CHECK;

#endif
