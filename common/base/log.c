/* SPDX-License-Identifier: MIT
 * log: what a program says on standard error; see log.h. */
#include "base/log.h"

#include "base/temp.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
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

/* As huggingface_hub reads its variables. */
static bool is_set(const char *variable)
{
    static const char *const yes[] = {"1", "true", "yes", "on"};
    const char *value = getenv(variable);
    for (size_t i = 0; value && i < sizeof yes / sizeof *yes; i++)
        if (!strcasecmp(value, yes[i]))
            return true;
    return false;
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

/* One of make's jobs, and nobody asked for more: notes are left to make. */
static bool is_job(void)
{
    return log_level == 1 && is_set("RAISE_JOB");
}

void log_note(const char *fmt, ...)
{
    if (!is_job())
        SAY(1, "");
}

void log_detail(const char *fmt, ...)
{
    SAY(2, "");
}

/* ---- the bar ---- */

enum { HIDDEN, LINES, BAR };

static bool bars_wanted(void)
{
    const char *make = getenv("MAKEFLAGS");
    return isatty(STDERR_FILENO) && !is_set("HF_HUB_DISABLE_PROGRESS_BARS") &&
           !(make && strstr(make, "--jobserver"));
}

static int columns(void)
{
    struct winsize w;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col ? w.ws_col : 80;
}

static double share_of(const struct log_bar *b)
{
    double done = b->work > 0 ? b->worked : b->done, all = b->work > 0 ? b->work : b->total;
    return all > 0 ? done < all ? done / all : 1 : 0;
}

/* "3 of 12 steps, 5.3s/step": a unit that takes more than a second is told in seconds. */
static void put_count(struct buf *b, const struct log_bar *bar)
{
    char done[TEXT_AMOUNT], total[TEXT_AMOUNT], rate[TEXT_AMOUNT];
    double spent = bar->counted_to - bar->counted_from;
    double speed = spent > 0 ? bar->done / spent : 0;
    buf_puts(b, text_count(done, bar->done));
    if (bar->total > 0)
        buf_printf(b, " of %s", text_count(total, bar->total));
    buf_printf(b, " %s", bar->unit);
    if (speed >= 1)
        buf_printf(b, ", %s/s", text_count(rate, speed));
    else if (speed > 0)
        buf_printf(b, ", %s/%.*s", text_duration(rate, 1 / speed), (int)strlen(bar->unit) - 1,
                   bar->unit);
}

/* What fits into the terminal: percentage and time left in any case, then the name, the count,
 * and a bar of what is left over. The last column stays empty, lest the terminal wraps. */
static void put_bar(struct buf *line, const char *head, double share, const char *count,
                    const char *left)
{
    enum { LEAST = 5, MOST = 30 };
    int room = columns() - 1 - (int)strlen("100% ") - (int)strlen(left);
    int n_head = (int)strlen(head), n_count = (int)strlen(count) + 2;
    bool has_head = n_head <= room;
    room -= has_head ? n_head : 0;
    bool has_count = n_count <= room;
    room -= has_count ? n_count : 0;
    int n_bar = room - 3 > MOST ? MOST : room - 3;
    buf_printf(line, "\r%s", has_head ? head : "");
    if (n_bar >= LEAST) {
        buf_putc(line, '[');
        for (int i = 0; i < n_bar; i++)
            buf_putc(line, i < (int)(n_bar * share) ? '=' : ' ');
        buf_puts(line, "] ");
    }
    buf_printf(line, "%3d%% %s%s%s\033[K", (int)(100 * share), has_count ? count : "",
               has_count ? ", " : "", left);
}

static void draw(const struct log_bar *b, double now)
{
    char left[TEXT_AMOUNT + 8];
    double spent = now - b->start, share = share_of(b);
    struct buf line = {0}, head = {0}, count = {0};
    text_duration(left, share > 0 ? spent / share - spent : -1);
    strcat(left, " left");
    buf_printf(&head, "%s: %s ", log_program, b->what);
    put_count(&count, b);
    if (b->is_shown == BAR)
        put_bar(&line, buf_str(&head), share, buf_str(&count), left);
    else
        buf_printf(&line, "%s: %s: %d%%, %s, %s\n", log_program, b->what, (int)(100 * share),
                   buf_str(&count), left);
    bar_on_screen = b->is_shown == BAR;
    put(&line);
    buf_free(&head);
    buf_free(&count);
}

static void start(struct log_bar *b, const char *what, const char *unit, double total)
{
    memset(b, 0, sizeof *b);
    b->what = what;
    b->unit = unit;
    b->total = total;
    b->start = b->last = b->counted_from = b->counted_to = text_clock();
    b->is_shown = log_level < 1 ? HIDDEN : bars_wanted() ? BAR : is_job() ? HIDDEN : LINES;
}

void log_bar_start(struct log_bar *b, const char *what, const char *unit, double total)
{
    start(b, what, unit, total);
    if (b->is_shown == BAR)
        draw(b, b->start);
}

void log_bar_start_passing(struct log_bar *b, const char *what, const char *unit, double total)
{
    start(b, what, unit, total);
    b->is_passing = true;
}

static void redraw(struct log_bar *b, double now)
{
    if (!b->is_shown || now - b->last < (b->is_shown == BAR ? 1.0 / 6 : 30.0))
        return;
    if (b->is_passing && now - b->start < 0.7)
        return;
    b->last = now;
    draw(b, now);
}

void log_bar_set(struct log_bar *b, double done)
{
    double now = text_clock();
    if (!b->done && done <= 0)
        b->counted_from = now;
    if (done > b->done)
        b->counted_to = now;
    b->done = done;
    redraw(b, now);
}

void log_bar_work(struct log_bar *b, double worked, double work)
{
    b->worked = worked;
    b->work = work;
    redraw(b, text_clock());
}

void log_bar_end(struct log_bar *b)
{
    struct buf line = {0};
    bool is_wiped = is_job() || b->is_passing;
    if (b->is_shown == BAR && !is_wiped)
        draw(b, text_clock());
    if (b->is_shown == BAR && (!b->is_passing || bar_on_screen)) {
        buf_puts(&line, is_wiped ? "\r\033[K" : "\n");
        put(&line);
        bar_on_screen = false;
    }
    b->is_shown = HIDDEN;
}

void log_when_killed(const char *fmt, ...)
{
    struct buf line = {0}, text = {0};
    va_list ap;
    if (!fmt || log_level < 1) {
        temp_last_words(NULL);
        return;
    }
    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    /* The first byte ends a bar, or the "^C" of a terminal. */
    buf_printf(&line, "%s%s: ", isatty(STDERR_FILENO) ? "\n" : "", log_program);
    text_printable(&line, text.data, text.len);
    if (line.len > TEMP_WORDS - 2)
        line.len = TEMP_WORDS - 2;
    buf_putc(&line, '\n');
    temp_last_words(buf_str(&line));
    buf_free(&line);
    buf_free(&text);
}

void log_start_clock(void)
{
    start_time = text_clock();
}

/* One line in one write, so that programs side by side may share the file. */
static void put_spent(double cpu)
{
    const char *path = getenv("RAISE_SPENT");
    int fd = path && *path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666) : -1;
    char line[128];
    if (fd < 0)
        return;
    int n = snprintf(line, sizeof line, "%s,%.3f,%.3f,%lld\n", log_program,
                     text_clock() - start_time, cpu, (long long)mem_peak_bytes());
    if (write(fd, line, (size_t)n) != n)
        log_warn("%s: %s", path, strerror(errno));
    close(fd);
}

void log_summary(const char *fmt, ...)
{
    struct rusage ru;
    if (getrusage(RUSAGE_SELF, &ru))
        memset(&ru, 0, sizeof ru);
    double cpu = (double)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) +
                 1e-6 * (double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec);
    put_spent(cpu);
    if (log_level < 1)
        return;
    va_list ap;
    char what[512], peak[32], c[32], w[32];
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    log_note("%s, %s wall, %s CPU, %s peak", what, text_duration(w, text_clock() - start_time),
             text_duration(c, cpu), text_bytes(peak, mem_peak_bytes()));
}
