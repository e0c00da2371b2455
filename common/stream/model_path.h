/* SPDX-License-Identifier: MIT
 *
 * model_path: what a path to a model names. The one definition for weights, configuration and
 * tokenizer: a folder is a Hugging Face folder, a file that begins with "GGUF" a GGUF, whatever
 * their names. A name of the Hub, org/name, that is no path here is a snapshot in the Hugging
 * Face cache, which programs of Hugging Face have put there; nothing is fetched. Behind '@'
 * stands its revision, as elsewhere: a branch, a tag or a whole commit.
 */
#ifndef RAISE_STREAM_MODEL_PATH_H
#define RAISE_STREAM_MODEL_PATH_H

#include "base/err.h"

#include <stddef.h>

enum model_path { MODEL_FOLDER, MODEL_GGUF };

/* Which of them, or < 0: ERR_IO when it cannot be read, ERR_FORMAT names what it is instead. */
int model_path_kind(const char *path, struct err *e) RAISE_MUST_CHECK;

/* Where the model is that a user names: `given` itself, or the snapshot of its revision (of
 * refs/main, where none is named) in the cache (HF_HUB_CACHE, HF_HOME/hub,
 * XDG_CACHE_HOME/huggingface/hub, ~/.cache/huggingface/hub: the first that is set, as
 * huggingface_hub has it). *path is owned by the caller. ERR_IO names the place that was looked
 * at; ERR_FORMAT: the snapshot lacks a model. */
int model_path_find(const char *given, char **path, struct err *e) RAISE_MUST_CHECK;

/* How many bytes of what a user names are the name; the rest is a revision, *revision being
 * where it begins behind the '@', NULL: there is none. */
size_t model_path_name(const char *given, const char **revision);

#endif
