/* SPDX-License-Identifier: MIT
 *
 * json_file: the JSON files of a model's folder. Internal to lm/.
 */
#ifndef RAISE_LM_JSON_FILE_H
#define RAISE_LM_JSON_FILE_H

#include "base/err.h"

#include <jansson.h>

/* The object that the file holds, owned by the caller (json_decref). NULL: ERR_IO, or
 * ERR_FORMAT with line and reason, or with what the file is instead (an HTML page, a git-lfs
 * pointer). */
json_t *lm_json_read(const char *path, struct err *e) RAISE_MUST_CHECK;

#endif
