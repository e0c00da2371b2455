/* SPDX-License-Identifier: MIT
 * log: what a program says on standard error; see log.h. */
#include "base/log.h"

#include "base/text.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

const char *log_program = "raise";
int log_level = 1;

static bool bar_on_screen;
static double start_time; /* set before main by mark_start */

__attribute__((constructor)) static void mark_start(void)
{
    start_time = text_clock();
}

/* One line in one write(2), so that the lines of several programs do not mix. Nothing can be
 * said about a standard error that fails. */
static void put(struct buf *line)
{
    for (size_t at = 0; at < line->len;) {
        ssize_t n = write(STDERR_FILENO, line->data + at, line->len - at);
        if (n < 0 && errno != EINTR)
            break;
        at += n > 0 ? (size_t)n : 0;
    }
    buf_free(line);
}

__attribute__((format(printf, 2, 0))) static void say(const char *kind, const char *fmt,
                                                      va_list ap)
{
    struct buf line = {0}, text = {0};
    buf_vprintf(&text, fmt, ap);
    buf_printf(&line, "%s%s: %s", bar_on_screen ? "\r\033[K" : "", log_program, kind);
    text_printable(&line, text.data, text.len);
    buf_putc(&line, '\n');
    put(&line);
    buf_free(&text);
    bar_on_screen = false;
}

#define SAY(min_level, kind)                                                                   \
    do {                                                                                       \
        if (log_level >= (min_level)) {                                                        \
            va_list ap;                                                                        \
            va_start(ap, fmt);                                                                 \
            say(kind, fmt, ap);                                                                \
            va_end(ap);                                                                        \
        }                                                                                      \
    } while (0)

void log_error(const char *fmt, ...)
{
    SAY(0, "");
}

void log_warn(const char *fmt, ...)
{
    SAY(1, "warning: ");
}

void log_note(const char *fmt, ...)
{
    SAY(1, "");
}

void log_detail(const char *fmt, ...)
{
    SAY(2, "");
}

static bool bars_wanted(void)
{
    return isatty(STDERR_FILENO) && !getenv("HF_HUB_DISABLE_PROGRESS_BARS");
}

static void draw(const struct log_bar *b, double now)
{
    char rate[32], left[32], done[32], total[32];
    double spent = now - b->start;
    double speed = spent > 0 ? b->done / spent : 0;
    text_count(rate, speed);
    text_duration(left, speed > 0 ? (b->total - b->done) / speed : -1);
    text_count(done, b->done);
    text_count(total, b->total);
    double share = b->total > 0 ? b->done / b->total : 0;
    struct buf line = {0};
    if (b->is_shown == 1) {
        buf_printf(&line, "%s: %s: %3.0f%% %s of %s %s, %s/s, %s left\n", log_program, b->what,
                   100 * share, done, total, b->unit, rate, left);
        put(&line);
        return;
    }
    char bar[31];
    int full = (int)(30 * (share > 1 ? 1 : share));
    for (int i = 0; i < 30; i++)
        bar[i] = i < full ? '=' : ' ';
    bar[30] = '\0';
    buf_printf(&line, "\r%s: %s [%s] %3.0f%% %s/%s %s %s/s %s left\033[K", log_program, b->what,
               bar, 100 * share, done, total, b->unit, rate, left);
    put(&line);
    bar_on_screen = true;
}

void log_bar_start(struct log_bar *b, const char *what, const char *unit, double total)
{
    memset(b, 0, sizeof *b);
    b->what = what;
    b->unit = unit;
    b->total = total;
    b->start = b->last = text_clock();
    b->is_shown = log_level >= 1 ? (bars_wanted() ? 2 : 1) : 0;
    if (b->is_shown == 2)
        draw(b, b->start);
}

void log_bar_set(struct log_bar *b, double done)
{
    b->done = done;
    if (!b->is_shown)
        return;
    double now = text_clock();
    if (now - b->last < (b->is_shown == 2 ? 1.0 / 6 : 30.0))
        return;
    b->last = now;
    draw(b, now);
}

void log_bar_end(struct log_bar *b)
{
    if (b->is_shown == 2) {
        draw(b, text_clock());
        put(&(struct buf){.data = mem_strdup("\n"), .len = 1});
        bar_on_screen = false;
    }
    b->is_shown = 0;
}

void log_summary(const char *fmt, ...)
{
    if (log_level < 1)
        return;
    struct rusage ru;
    if (getrusage(RUSAGE_SELF, &ru))
        memset(&ru, 0, sizeof ru);
    double cpu = (double)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) +
                 1e-6 * (double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec);
    va_list ap;
    char what[512], peak[32], c[32], w[32];
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    log_note("%s, %s wall, %s CPU, %s peak", what, text_duration(w, text_clock() - start_time),
             text_duration(c, cpu), text_bytes(peak, mem_peak_bytes()));
}
