/* SPDX-License-Identifier: MIT
 * Records of a dataset by their numbers, as a file lists them; see dataset.h. */
#include "base/file.h"
#include "base/mem.h"
#include "base/opt.h"
#include "data/dataset_impl.h"

#include <stdlib.h>
#include <string.h>

static int find_line(const struct dataset *d, const char *line, int64_t *row, struct err *e)
{
    int64_t source;
    if (line[strspn(line, "0123456789")] || opt_parse_int(line, 0, INT64_MAX, &source, e) < 0)
        return err_set(e, ERR_FORMAT, "\"%.40s\" is not a record number", line);
    *row = dataset_find_number(d, source, 0);
    return *row < 0 ? err_set(e, ERR_RANGE, "%s has no record %s", d->name, line) : 0;
}

int dataset_find_numbers(const struct dataset *d, const char *path, int64_t **rows, int64_t *n,
                         struct err *e)
{
    char *text = NULL;
    size_t len, cap = 0;
    int64_t n_lines = 0;
    *rows = NULL;
    *n = 0;
    int rc = file_read_all(path, &text, &len, e);
    if (rc < 0)
        return rc;
    for (char *line = text, *end; rc == 0 && line < text + len; line = end + 1) {
        end = line + strcspn(line, "\n");
        *end = '\0';
        MEM_GROW(*rows, cap, (size_t)n_lines + 1);
        rc = find_line(d, line, &(*rows)[n_lines++], e);
        if (rc < 0)
            err_prefix(e, "%s:%lld", file_name_in(path), (long long)n_lines);
    }
    if (rc == 0 && n_lines == 0)
        rc = err_set(e, ERR_EMPTY, "%s: no record number", file_name_in(path));
    free(text);
    if (rc < 0) {
        free(*rows);
        *rows = NULL;
        return rc;
    }
    *n = n_lines;
    return 0;
}
