/* SPDX-License-Identifier: MIT
 * What format a file has; its records are found by dataset_scan.c or dataset_csv.c. */
#include "base/sniff.h"
#include "data/dataset_impl.h"

#include <stdlib.h>
#include <string.h>

void data_split_free(struct data_split *s)
{
    for (int64_t i = 0; i < s->n_slices; i++)
        free(s->slices[i].why);
    free(s->slices);
    buf_free(&s->csv);
    *s = (struct data_split){0};
}

static bool has_suffix(const char *name, const char *suffix)
{
    size_t n = strlen(name), m = strlen(suffix);
    if (n > 4 && strcmp(name + n - 4, ".zst") == 0)
        n -= 4;
    return n >= m && strncmp(name + n - m, suffix, m) == 0;
}

/* By its first character, at byte `at`; a CSV file has no sign of its own, so its name or a
 * comma or a known column in its first line must speak for it. */
static enum data_format find_format(const struct data_split *s, size_t at)
{
    static const char *const names[] = {"text", "messages", "conversations", NULL};
    const char *head = s->text + at;
    if (has_suffix(s->name, ".csv"))
        return DATA_CSV;
    if (*head == '[')
        return DATA_JSON;
    if (*head == '{' || has_suffix(s->name, ".jsonl"))
        return DATA_JSONL;
    if (memchr(head, ',', strcspn(head, "\r\n")))
        return DATA_CSV;
    head += *head == '"'; /* a file of one column */
    for (int i = 0; names[i]; i++)
        if (strncmp(head, names[i], strlen(names[i])) == 0)
            return DATA_CSV;
    return DATA_AUTO;
}

int data_split(struct data_split *s, struct err *e)
{
    bool has_mark = s->len >= 3 && memcmp(s->text, "\xef\xbb\xbf", 3) == 0; /* byte order */
    size_t at = has_mark ? 3 : 0;
    int64_t line = 1;
    for (; at < s->len && s->text[at] && strchr(" \t\r\n", s->text[at]); at++)
        line += s->text[at] == '\n';
    if (at >= s->len)
        return err_set(e, ERR_EMPTY, "%s: the file is empty: no records", s->name);
    const char *what = s->format == DATA_AUTO ? sniff(s->text + at, s->len - at) : NULL;
    if (what)
        return err_set(e, ERR_FORMAT, "%s: looks like %s", s->name, what);
    if (s->format == DATA_AUTO)
        s->format = find_format(s, at);
    switch (s->format) {
    case DATA_JSON:
        if (s->text[at] != '[')
            return err_set(e, ERR_FORMAT, "%s:%lld: expected '[' (a JSON array), found '%c'",
                           s->name, (long long)line, s->text[at]);
        return data_split_array(s, at, line, e);
    case DATA_JSONL:
        return data_split_lines(s, at, line, e);
    case DATA_CSV:
        return data_split_csv(s, e);
    case DATA_AUTO:
        break;
    }
    return err_set(e, ERR_FORMAT, "%s:%lld: not a JSON array, JSON lines or CSV", s->name,
                   (long long)line);
}
