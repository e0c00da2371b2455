/* SPDX-License-Identifier: MIT
 * err: error values; see err.h. */
#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

__attribute__((format(printf, 3, 0))) static void format(char *dst, size_t cap, const char *fmt,
                                                         va_list ap)
{
    int n = vsnprintf(dst, cap, fmt, ap);
    if (n < 0)
        snprintf(dst, cap, "(unprintable message)");
    else if ((size_t)n >= cap)
        memcpy(dst + cap - 4, "...", 4);
    for (char *p = dst; *p; p++)
        if (*p == '\n' || *p == '\r')
            *p = ' ';
}

int err_set(struct err *e, int code, const char *fmt, ...)
{
    if (e) {
        va_list ap;
        va_start(ap, fmt);
        char tmp[sizeof e->msg]; /* an argument may be e->msg itself */
        format(tmp, sizeof tmp, fmt, ap);
        va_end(ap);
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
