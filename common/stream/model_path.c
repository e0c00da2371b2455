/* SPDX-License-Identifier: MIT
 * model_path: folders and GGUFs told apart; see model_path.h. */
#include "stream/model_path.h"

#include "base/sniff.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

int model_path_kind(const char *path, struct err *e)
{
    unsigned char head[SNIFF_BYTES];
    struct stat st;
    if (stat(path, &st) < 0)
        return err_set_errno(e, "%s", path);
    if (S_ISDIR(st.st_mode))
        return MODEL_FOLDER;
    if (!S_ISREG(st.st_mode))
        return err_set(e, ERR_IO, "%s: neither a folder nor a regular file", path);
    FILE *f = fopen(path, "rb");
    if (!f)
        return err_set_errno(e, "%s", path);
    errno = 0;
    size_t n = fread(head, 1, sizeof head, f);
    int code = ferror(f) ? err_set_errno(e, "%s", path) : 0;
    fclose(f);
    if (code < 0)
        return code;
    if (n >= 4 && !memcmp(head, "GGUF", 4))
        return MODEL_GGUF;
    const char *what = sniff(head, n);
    if (!n)
        what = "an empty file";
    return err_set(e, ERR_FORMAT, "%s: %s, neither a model's folder nor a GGUF file", path,
                   what ? what : "a file");
}
