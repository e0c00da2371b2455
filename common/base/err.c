/* SPDX-License-Identifier: MIT
 * err: error values; see err.h. */
#include "base/err.h"

#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Marks text that fills its buffer as cut, between two characters. */
static void cut(char *dst, size_t cap)
{
    char *end = dst + cap - 4;
    while (end > dst && ((unsigned char)*end & 0xc0) == 0x80)
        end--;
    memcpy(end, "...", 4);
}

/* Names and texts from files go into messages: what could steer a terminal becomes visible. */
static void make_printable(char *dst, size_t cap)
{
    struct buf b = {0};
    for (char *p = dst; *p; p++)
        if (*p == '\n' || *p == '\r')
            *p = ' ';
    text_printable(&b, dst, strlen(dst));
    if (strcmp(buf_str(&b), dst) != 0) {
        snprintf(dst, cap, "%s", b.data);
        if (b.len >= cap)
            cut(dst, cap);
    }
    buf_free(&b);
}

__attribute__((format(printf, 3, 0))) static void format(char *dst, size_t cap, const char *fmt,
                                                         va_list ap)
{
    int n = vsnprintf(dst, cap, fmt, ap);
    if (n < 0)
        snprintf(dst, cap, "(unprintable message)");
    else if ((size_t)n >= cap)
        cut(dst, cap);
}

int err_set(struct err *e, int code, const char *fmt, ...)
{
    if (e) {
        va_list ap;
        va_start(ap, fmt);
        char tmp[sizeof e->msg]; /* an argument may be e->msg itself */
        format(tmp, sizeof tmp, fmt, ap);
        va_end(ap);
        make_printable(tmp, sizeof tmp);
        memcpy(e->msg, tmp, sizeof tmp);
        e->code = code;
    }
    return code;
}

int err_set_errno(struct err *e, const char *fmt, ...)
{
    int saved = errno;
    if (e) {
        va_list ap;
        va_start(ap, fmt);
        char tmp[sizeof e->msg];
        format(tmp, sizeof tmp, fmt, ap);
        va_end(ap);
        err_set(e, ERR_IO, "%s: %s", tmp, strerror(saved));
    }
    return ERR_IO;
}

int err_prefix(struct err *e, const char *fmt, ...)
{
    if (!e)
        return ERR_FORMAT;
    va_list ap;
    va_start(ap, fmt);
    char tmp[512];
    format(tmp, sizeof tmp, fmt, ap);
    va_end(ap);
    return err_set(e, e->code, "%s: %s", tmp, e->msg);
}
