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
    else if (!what && n > 8 && !memcmp(head + 7, "\0{", 2)) /* behind its header's length */
        what = "a safetensors file (the model is the folder that it is in)";
    return err_set(e, ERR_FORMAT, "%s: %s, neither a model's folder nor a GGUF file", path,
                   what ? what : "a file");
}

/* ---- the cache ---- */

#define NAME_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."

/* org/name, or name: of letters, digits and "-_.", which no relative path begins with. */
static bool is_hub_name(const char *s, size_t len)
{
    const char *slash = memchr(s, '/', len);
    size_t org = slash ? (size_t)(slash - s) : 0;
    const char *name = slash ? slash + 1 : s;
    size_t n = len - (size_t)(name - s);
    return n > 0 && s[0] != '.' && name[0] != '.' && strspn(name, NAME_CHARS) >= n &&
           (!slash || (org > 0 && strspn(s, NAME_CHARS) == org));
}

/* A path below refs/ or snapshots/ that does not leave them. */
static bool is_revision(const char *s)
{
    return strspn(s, NAME_CHARS "/") == strlen(s) && *s && *s != '.' && *s != '/' &&
           !strstr(s, "..");
}

size_t model_path_name(const char *given, const char **revision)
{
    const char *at = strchr(given, '@');
    size_t n = at ? (size_t)(at - given) : strlen(given);
    bool is_named = at && is_hub_name(given, n) && is_revision(at + 1) && !file_exists(given);
    *revision = is_named ? at + 1 : NULL;
    return is_named ? n : strlen(given);
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

/* models--org--name in the cache; n: bytes of the name. */
static char *repo_folder(const char *cache, const char *given, size_t n)
{
    const char *slash = memchr(given, '/', n);
    if (!slash)
        return mem_printf("%s/models--%.*s", cache, (int)n, given);
    return mem_printf("%s/models--%.*s--%.*s", cache, (int)(slash - given), given,
                      (int)(given + n - slash - 1), slash + 1);
}

/* The commit that a branch or tag names, or that is one itself; NULL: there is none. */
static char *commit_of(const char *repo, const char *revision)
{
    char *path = mem_printf("%s/refs/%s", repo, revision), *text = NULL;
    size_t len;
    if (file_read_all(path, &text, &len, NULL) == 0)
        text[strcspn(text, " \t\r\n/")] = '\0';
    free(path);
    if (text)
        return text;
    path = mem_printf("%s/snapshots/%s", repo, revision);
    text = file_exists(path) ? mem_strdup(revision) : NULL;
    free(path);
    return text;
}

static int find_snapshot(const char *given, size_t n, const char *revision, const char *repo,
                         char **path, struct err *e)
{
    const char *ref = revision ? revision : "main";
    char *commit = commit_of(repo, ref);
    char *fetch = mem_printf("hf download %.*s%s%s", (int)n, given,
                             revision ? " --revision " : "", revision ? revision : "");
    int rc = 0;
    if (!commit || !*commit) {
        rc =
            err_set(e, ERR_IO,
                    "%s: no such folder or file, and not in the Hugging Face cache: %s/refs/%s "
                    "is not there (HF_HUB_CACHE or HF_HOME says where the cache is; to fetch "
                    "it: %s)",
                    given, repo, ref, fetch);
    } else {
        *path = mem_printf("%s/snapshots/%s", repo, commit);
        char *config = mem_printf("%s/config.json", *path);
        if (!file_exists(config)) {
            rc =
                err_set(e, ERR_FORMAT,
                        "%s: its snapshot in the Hugging Face cache has no config.json: %s (to "
                        "fetch the rest: %s)",
                        given, *path, fetch);
            free(*path);
            *path = NULL;
        }
        free(config);
    }
    free(commit);
    free(fetch);
    return rc;
}

int model_path_find(const char *given, char **path, struct err *e)
{
    const char *revision;
    size_t n = model_path_name(given, &revision);
    *path = NULL;
    if (file_exists(given) || !is_hub_name(given, n)) {
        *path = mem_strdup(given);
        return 0;
    }
    char *cache = cache_folder(), *repo = repo_folder(cache, given, n);
    int rc = find_snapshot(given, n, revision, repo, path, e);
    free(repo);
    free(cache);
    return rc;
}
