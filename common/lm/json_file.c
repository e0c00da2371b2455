/* SPDX-License-Identifier: MIT
 * json_file: JSON objects read from files; see json_file.h. */
#include "lm/json_file.h"

#include "base/file.h"
#include "base/sniff.h"

#include <stdlib.h>

json_t *lm_json_read(const char *path, struct err *e)
{
    char *text = NULL;
    size_t len;
    json_error_t je;
    if (file_check_regular(path, e) < 0 || file_read_all(path, &text, &len, e) < 0)
        return NULL;
    json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &je);
    const char *what = root ? NULL : sniff(text, len);
    if (what)
        err_set(e, ERR_FORMAT, "%s: %s", path, what);
    else if (!root)
        err_set(e, ERR_FORMAT, "%s:%d: %s", path, je.line, je.text);
    free(text);
    if (root && !json_is_object(root)) {
        err_set(e, ERR_FORMAT, "%s: not a JSON object", path);
        json_decref(root);
        return NULL;
    }
    return root;
}
