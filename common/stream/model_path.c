/* SPDX-License-Identifier: MIT
 * model_path: folders and GGUFs told apart; see model_path.h. */
#include "stream/model_path.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/sniff.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
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

/* ---- the cache ---- */

/* org/name, or name: of letters, digits and "-_.", which no relative path begins with. */
static bool is_hub_name(const char *s)
{
    static const char *const chars =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";
    const char *slash = strchr(s, '/');
    size_t org = slash ? (size_t)(slash - s) : 0, n = slash ? strlen(slash + 1) : strlen(s);
    const char *name = slash ? slash + 1 : s;
    return n > 0 && s[0] != '.' && name[0] != '.' && strspn(name, chars) == n &&
           (!slash || (org > 0 && strspn(s, chars) == org));
}

static const char *set(const char *name)
{
    const char *v = getenv(name);
    return v && *v ? v : NULL;
}

static char *cache_folder(void)
{
    const char *home = set("HOME");
    if (set("HF_HUB_CACHE"))
        return mem_strdup(set("HF_HUB_CACHE"));
    if (set("HUGGINGFACE_HUB_CACHE"))
        return mem_strdup(set("HUGGINGFACE_HUB_CACHE"));
    if (set("HF_HOME"))
        return mem_printf("%s/hub", set("HF_HOME"));
    if (set("XDG_CACHE_HOME"))
        return mem_printf("%s/huggingface/hub", set("XDG_CACHE_HOME"));
    return mem_printf("%s/.cache/huggingface/hub", home ? home : "");
}

/* models--org--name in the cache. */
static char *repo_folder(const char *cache, const char *given)
{
    const char *slash = strchr(given, '/');
    if (!slash)
        return mem_printf("%s/models--%s", cache, given);
    return mem_printf("%s/models--%.*s--%s", cache, (int)(slash - given), given, slash + 1);
}

/* The commit that refs/main names; NULL: there is none. */
static char *main_commit(const char *repo)
{
    char *path = mem_printf("%s/refs/main", repo), *text = NULL;
    size_t len;
    if (file_read_all(path, &text, &len, NULL) == 0)
        text[strcspn(text, " \t\r\n/")] = '\0';
    free(path);
    return text;
}

static int find_snapshot(const char *given, const char *repo, char **path, struct err *e)
{
    char *commit = main_commit(repo);
    if (!commit || !*commit) {
        free(commit);
        return err_set(
            e, ERR_IO,
            "%s: no such folder or file, and not in the Hugging Face cache: %s/refs/main "
            "is not there (HF_HUB_CACHE or HF_HOME says where the cache is; to fetch it: "
            "hf download %s)",
            given, repo, given);
    }
    *path = mem_printf("%s/snapshots/%s", repo, commit);
    char *config = mem_printf("%s/config.json", *path);
    bool is_there = file_exists(config);
    free(config);
    free(commit);
    if (is_there)
        return 0;
    err_set(e, ERR_FORMAT,
            "%s: its snapshot in the Hugging Face cache has no config.json: %s (to fetch the "
            "rest: hf download %s)",
            given, *path, given);
    free(*path);
    *path = NULL;
    return ERR_FORMAT;
}

int model_path_find(const char *given, char **path, struct err *e)
{
    *path = NULL;
    if (file_exists(given) || !is_hub_name(given)) {
        *path = mem_strdup(given);
        return 0;
    }
    char *cache = cache_folder(), *repo = repo_folder(cache, given);
    int rc = find_snapshot(given, repo, path, e);
    free(repo);
    free(cache);
    return rc;
}
