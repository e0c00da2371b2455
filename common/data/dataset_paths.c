/* SPDX-License-Identifier: MIT
 * dataset_paths: which files a dataset is; see dataset_impl.h. */
#include "base/file.h"
#include "base/mem.h"
#include "data/dataset_impl.h"

#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct list {
    char **files;
    size_t n, cap;
};

static void add(struct list *l, const char *path)
{
    MEM_GROW(l->files, l->cap, l->n + 1);
    l->files[l->n++] = mem_strdup(path);
}

void data_paths_free(char **files, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        free(files[i]);
    free(files);
}

static bool ends_with(const char *s, size_t n, const char *end)
{
    size_t m = strlen(end);
    return n > m && strncmp(s + n - m, end, m) == 0;
}

/* What stands beside datasets, by the Hub's programs. */
static bool is_about_data(const char *name)
{
    static const char *const names[] = {"dataset_info.json", "dataset_infos.json",
                                        "dataset_dict.json", "state.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

static bool is_data(const char *name)
{
    static const char *const packed[] = {".zst", ".gz", ".xz"};
    static const char *const kinds[] = {".json", ".jsonl", ".ndjson", ".csv"};
    size_t n = strlen(name);
    if (name[0] == '.' || is_about_data(name))
        return false;
    for (size_t i = 0; i < sizeof packed / sizeof *packed; i++)
        if (ends_with(name, n, packed[i])) {
            n -= strlen(packed[i]);
            break;
        }
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (ends_with(name, n, kinds[i]))
            return true;
    return false;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int nothing_in(const char *path, const char *parquet, struct err *e)
{
    if (parquet)
        return err_set(e, ERR_UNSUPPORTED,
                       "%s: Parquet files (%s) are not read; to make them JSON lines: python3 "
                       "-c \"import pandas; pandas.read_parquet('%s').to_json('data.jsonl', "
                       "orient='records', lines=True)\"",
                       path, parquet, path);
    return err_set(e, ERR_EMPTY,
                   "%s: no file in this folder is called .json, .jsonl, .ndjson or .csv, "
                   "with .zst, .gz or .xz after it or not",
                   path);
}

/* Its datasets by name, not those of folders in it. */
static int add_folder(struct list *l, const char *path, struct err *e)
{
    DIR *dir = opendir(path);
    char *parquet = NULL;
    size_t first = l->n;
    if (!dir)
        return err_set_errno(e, "%s", path);
    for (const struct dirent *x; (x = readdir(dir));) {
        char *full =
            mem_printf("%s%s%s", path, path[strlen(path) - 1] == '/' ? "" : "/", x->d_name);
        struct stat st;
        if (is_data(x->d_name) && stat(full, &st) == 0 && !S_ISDIR(st.st_mode))
            add(l, full);
        if (!parquet && ends_with(x->d_name, strlen(x->d_name), ".parquet"))
            parquet = mem_strdup(x->d_name);
        free(full);
    }
    closedir(dir);
    int rc = l->n > first ? 0 : nothing_in(path, parquet, e);
    free(parquet);
    if (rc == 0)
        qsort(l->files + first, l->n - first, sizeof *l->files, compare_names);
    return rc;
}

static int add_path(struct list *l, const char *path, struct err *e);

/* The shell's patterns, where a program's option took them unexpanded. */
static int add_pattern(struct list *l, const char *path, struct err *e)
{
    glob_t g;
    int code = glob(path, 0, NULL, &g), rc = 0;
    if (code != 0 && code != GLOB_NOMATCH)
        return err_set(e, ERR_IO, "%s: the pattern cannot be looked up", path);
    if (code == GLOB_NOMATCH)
        rc = err_set(e, ERR_IO, "%s: no file matches", path);
    for (size_t i = 0; rc == 0 && i < g.gl_pathc; i++)
        rc = add_path(l, g.gl_pathv[i], e);
    globfree(&g);
    return rc;
}

static int add_path(struct list *l, const char *path, struct err *e)
{
    struct stat st;
    bool is_there = file_is_std(path) || stat(path, &st) == 0;
    if (!is_there && strpbrk(path, "*?["))
        return add_pattern(l, path, e);
    if (is_there && !file_is_std(path) && S_ISDIR(st.st_mode))
        return add_folder(l, path, e);
    add(l, path ? path : "-"); /* what is not there is told when it is opened */
    return 0;
}

int data_paths_list(const char *const *paths, int64_t n, char ***files, int64_t *n_files,
                    struct err *e)
{
    struct list l = {0};
    int rc = 0;
    for (int64_t i = 0; i < n && rc == 0; i++)
        rc = add_path(&l, paths[i], e);
    *files = l.files;
    *n_files = (int64_t)l.n;
    return rc;
}
