/* SPDX-License-Identifier: MIT
 * shots: answered questions before a question; see shots.h. */
#include "eval/shots.h"

#include "base/file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void shots_free(struct shots *s)
{
    question_file_free(&s->file);
    free(s->read);
    buf_free(&s->text);
}

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* DIR/NAME_dev.csv of .../NAME_test.csv.zst, compressed or not; owned by the caller. */
static char *path_in(const char *folder, const char *benchmark)
{
    const char *base = strrchr(benchmark, '/') ? strrchr(benchmark, '/') + 1 : benchmark;
    size_t n = strcspn(base, ".");
    for (size_t i = 0; i < n; i++) {
        const char *end = base + n - i - 1;
        if (*end == '_') { /* the last of them begins the split's name */
            n -= i + 1;
            break;
        }
    }
    char *path = mem_printf("%s/%.*s_dev.csv", folder, (int)n, base);
    if (file_exists(path))
        return path;
    char *packed = mem_printf("%s.zst", path);
    if (!file_exists(packed)) {
        free(packed);
        return path;
    }
    free(path);
    return packed;
}

static int read_shots(struct shots *s, const char *benchmark,
                      const struct question_style *style, struct err *e)
{
    struct data_options all = {.on_error = DATA_FAIL};
    char *path = is_folder(s->path) ? path_in(s->path, benchmark) : mem_strdup(s->path);
    if (s->read && strcmp(s->read, path) == 0) {
        free(path);
        return 0;
    }
    question_file_free(&s->file);
    free(s->read);
    s->read = NULL;
    s->key = (struct question){0};
    int rc = question_file_read(&s->file, path, style, &all, e);
    if (rc < 0)
        free(path);
    else
        s->read = path;
    return rc;
}

static bool is_same(const struct question *a, const struct question *b)
{
    bool is = strcmp(a->text, b->text) == 0 && a->n_choices == b->n_choices;
    for (int i = 0; is && i < a->n_choices; i++)
        is = strcmp(a->choices[i], b->choices[i]) == 0;
    return is;
}

static bool is_of_subject(const struct question *shot, const struct question *q)
{
    return !*shot->subject || !*q->subject || strcmp(shot->subject, q->subject) == 0;
}

/* The k questions, into s->text. */
static int put_shots(struct shots *s, const struct question *q, struct err *e)
{
    int64_t n = 0;
    for (int64_t i = 0; i < s->file.n && n < s->k; i++) {
        const struct question *shot = &s->file.questions[i];
        if (!is_of_subject(shot, q))
            continue;
        question_put(&s->text, shot, s->by);
        buf_putc(&s->text, ' ');
        question_put_choice(&s->text, shot, shot->answer, s->by);
        buf_puts(&s->text, "\n\n");
        n++;
    }
    if (n == s->k)
        return 0;
    return err_set(e, ERR_EMPTY, "%s: %" PRId64 " questions%s%s, fewer than %" PRId64 " shots",
                   s->file.name, n, *q->subject ? " about " : "", q->subject, s->k);
}

static int check_apart(const struct shots *s, const struct question *q, struct err *e)
{
    int64_t n = 0;
    for (int64_t i = 0; i < s->file.n && n < s->k; i++) {
        const struct question *shot = &s->file.questions[i];
        if (!is_of_subject(shot, q))
            continue;
        if (is_same(shot, q))
            return err_set(e, ERR_MISMATCH, "is also a shot: %s:%" PRId64 ": record %" PRId64,
                           s->file.name, shot->line, shot->record);
        n++;
    }
    return 0;
}

const char *shots_before(struct shots *s, const char *path, const struct question *q,
                         struct err *e)
{
    if (s->k && read_shots(s, path, q->style, e) < 0)
        return NULL;
    if (s->k && check_apart(s, q, e) < 0)
        return NULL;
    if (s->key.style == q->style && strcmp(s->key.subject, q->subject) == 0)
        return buf_str(&s->text);
    s->text.len = 0;
    s->key = (struct question){0};
    question_put_about(&s->text, q, s->by);
    if (s->k && put_shots(s, q, e) < 0)
        return NULL;
    s->key = *q;
    return buf_str(&s->text);
}
