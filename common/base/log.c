/* SPDX-License-Identifier: MIT
 * log: what a program says on standard error; see log.h. */
#include "base/log.h"

#include "base/mem.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

const char *log_program = "raise";
int log_level = 1;

static bool bar_on_screen;
static double start_time; /* set before main by mark_start */

__attribute__((constructor)) static void mark_start(void)
{
    start_time = log_seconds();
}

__attribute__((format(printf, 2, 0))) static void say(const char *kind, const char *fmt,
                                                      va_list ap)
{
    if (bar_on_screen)
        fputs("\r\033[K", stderr);
    bar_on_screen = false;
    fprintf(stderr, "%s: %s", log_program, kind);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
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

double log_seconds(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

char *log_bytes(char *dst, int64_t n)
{
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double v = (double)n;
    int u = 0;
    while (v >= 1024 && u < 4) {
        v /= 1024;
        u++;
    }
    snprintf(dst, 32, u ? "%.1f %s" : "%.0f %s", v, unit[u]);
    return dst;
}

char *log_count(char *dst, double n)
{
    static const char *const unit[] = {"", "k", "M", "G", "T"};
    int u = 0;
    while (n >= 10000 && u < 4) {
        n /= 1000;
        u++;
    }
    snprintf(dst, 32, u || n < 100 ? "%.4g%s" : "%.0f%s", n, unit[u]);
    return dst;
}

char *log_duration(char *dst, double seconds)
{
    if (!(seconds >= 0 && seconds < 1e9))
        snprintf(dst, 32, "?");
    else if (seconds < 100)
        snprintf(dst, 32, "%.1fs", seconds);
    else if (seconds < 6000)
        snprintf(dst, 32, "%dm%02ds", (int)seconds / 60, (int)seconds % 60);
    else
        snprintf(dst, 32, "%dh%02dm", (int)(seconds / 3600), (int)(seconds / 60) % 60);
    return dst;
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
    log_count(rate, speed);
    log_duration(left, speed > 0 ? (b->total - b->done) / speed : -1);
    log_count(done, b->done);
    log_count(total, b->total);
    double share = b->total > 0 ? b->done / b->total : 0;
    if (b->is_shown == 1) {
        fprintf(stderr, "%s: %s: %3.0f%% %s of %s %s, %s/s, %s left\n", log_program, b->what,
                100 * share, done, total, b->unit, rate, left);
        return;
    }
    char bar[31];
    int full = (int)(30 * (share > 1 ? 1 : share));
    for (int i = 0; i < 30; i++)
        bar[i] = i < full ? '=' : ' ';
    bar[30] = '\0';
    fprintf(stderr, "\r%s: %s [%s] %3.0f%% %s/%s %s %s/s %s left\033[K", log_program, b->what,
            bar, 100 * share, done, total, b->unit, rate, left);
    bar_on_screen = true;
}

void log_bar_start(struct log_bar *b, const char *what, const char *unit, double total)
{
    memset(b, 0, sizeof *b);
    b->what = what;
    b->unit = unit;
    b->total = total;
    b->start = b->last = log_seconds();
    b->is_shown = log_level >= 1 ? (bars_wanted() ? 2 : 1) : 0;
    if (b->is_shown == 2)
        draw(b, b->start);
}

void log_bar_set(struct log_bar *b, double done)
{
    b->done = done;
    if (!b->is_shown)
        return;
    double now = log_seconds();
    if (now - b->last < (b->is_shown == 2 ? 1.0 / 6 : 30.0))
        return;
    b->last = now;
    draw(b, now);
}

void log_bar_end(struct log_bar *b)
{
    if (b->is_shown == 2) {
        draw(b, log_seconds());
        fputc('\n', stderr);
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
    log_note("%s, %s wall, %s CPU, %s peak", what, log_duration(w, log_seconds() - start_time),
             log_duration(c, cpu), log_bytes(peak, mem_peak_bytes()));
}
