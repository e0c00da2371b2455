/* SPDX-License-Identifier: MIT
 *
 * model_path: what a path to a model names. The one definition for weights, configuration and
 * tokenizer: a folder is a Hugging Face folder, a file that begins with "GGUF" a GGUF, whatever
 * their names.
 */
#ifndef RAISE_STREAM_MODEL_PATH_H
#define RAISE_STREAM_MODEL_PATH_H

#include "base/err.h"

enum model_path { MODEL_FOLDER, MODEL_GGUF };

/* Which of them, or < 0: ERR_IO when it cannot be read, ERR_FORMAT names what it is instead. */
int model_path_kind(const char *path, struct err *e) RAISE_MUST_CHECK;

#endif
